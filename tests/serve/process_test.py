"""Real servers: killed in mid-shot they make the same bits again; told to end they end in order."""

import signal

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

from benchmarks.served import Served, until
from benchmarks.stress.storyboard_kill import torture


@pytest.fixture(scope="module", autouse=True)
def programs(tmp_path_factory):
    """What one server compiles the others have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOTSTREAM_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


def test_killed_three_times_its_stories_are_those_of_a_server_that_nobody_kills(tmp_path):
    assert torture(tmp_path, kills=3, longest=1.0, seed=0) == []


def test_ended_in_mid_shot_it_ends_in_order(tmp_path):
    server = Served(tmp_path)
    story = server.new_story()
    with story.live() as messages:
        shot = story.ask(frames=32 * server.chunk_frames())
        for message in until(messages, shot, "chunk"):
            first = message
        server.process.send_signal(signal.SIGTERM)
        events = [message["event"] for message in messages]
    assert first["chunk"] == 0 and events[-1] == "bye" and "done" not in events
    assert server.process.wait() == 0
    log = (tmp_path / "stories" / story.id / "log.jsonl").read_text()
    assert log.endswith("\n") and '"failed"' not in log
