"""Pieces of film: each by itself, and joined to the bit."""

import io

import av
import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.media.pieces import chunk_file, join

RNG = np.random.default_rng(0)
CHUNKS = [RNG.integers(0, 256, (count, 16, 24, 3), np.uint8) for count in (5, 6, 1)]


def decoded(file) -> np.ndarray:
    with av.open(file) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def test_a_piece_has_all_of_its_frames_and_begins_by_itself():
    for frames in CHUNKS:
        piece = chunk_file(frames, 8, scale=8)
        shown = decoded(io.BytesIO(piece))
        assert shown.shape == (len(frames), 128, 192, 3)
        # The middles of the enlarged pixels keep their colours.
        middles = shown[:, 4::8, 4::8].astype(int)
        assert np.abs(middles - frames).mean() < 6
        with av.open(io.BytesIO(piece)) as container:
            assert next(container.demux(video=0)).is_keyframe
        assert b"moof" in piece and piece.index(b"moov") < piece.index(b"moof")


def test_joined_pieces_have_the_same_frames_and_an_index(tmp_path):
    pieces = [chunk_file(frames, 8, scale=8) for frames in CHUNKS]
    join(pieces, tmp_path / "out" / "film.mp4")
    apart = np.concatenate([decoded(io.BytesIO(piece)) for piece in pieces])
    assert np.array_equal(decoded(str(tmp_path / "out" / "film.mp4")), apart)
    with av.open(str(tmp_path / "out" / "film.mp4")) as container:
        track = container.streams.video[0]
        assert track.frames == len(apart) and track.average_rate == 8
        assert float(track.duration * track.time_base) == pytest.approx(len(apart) / 8)
    content = (tmp_path / "out" / "film.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat") and b"moof" not in content


def test_what_cannot_be_joined_is_named_and_leaves_nothing(tmp_path):
    small, large = chunk_file(CHUNKS[0], 8), chunk_file(CHUNKS[0], 8, scale=2)
    faster = chunk_file(CHUNKS[0], 16)
    for pieces, message in (
        ([], "no pieces"),
        ([small, large], "piece 2 has 48×32"),
        ([small, faster], "at 16"),
    ):
        with pytest.raises(InputError, match=message):
            join(pieces, tmp_path / "film.mp4")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        join([small], tmp_path / "file" / "film.mp4")
    with pytest.raises(InputError, match="at least one frame"):
        chunk_file(CHUNKS[0][:0], 8)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]
