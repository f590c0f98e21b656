"""The storyboard on Ray Serve: a process is killed in mid-shot, and the story goes on elsewhere."""

import pytest

pytest.importorskip("ray", reason="pip install 'shotstream-jax[ray]'")

from benchmarks.stress.ray_death import RayServer, kill_once

CHUNKS = 8


def test_a_process_that_is_killed_in_mid_shot_is_replaced_with_the_same_bits(tmp_path):
    server = RayServer(tmp_path)
    try:
        story, shot = server.new_shot(CHUNKS)
        assert [chunk for _, chunk in server.watch(story, shot)] == list(range(CHUNKS))
        expected = server.films(story, shot, CHUNKS)
        assert kill_once(server, CHUNKS, after=2)["films"] == expected
        # The page is there, and what is wrong is refused as by one process.
        assert b"<!doctype html>" in server.read("/")
        with pytest.raises(OSError, match="401"):
            server.films(dict(story, token="wrong"), shot, 1)
    finally:
        code = server.stop()
    assert code == 0
    (log,) = (tmp_path / "stories" / story["id"]).glob("log.*.jsonl")
    assert '"done"' in log.read_text()
