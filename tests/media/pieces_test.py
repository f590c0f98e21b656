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


def units(piece: bytes) -> list[list[int]]:
    """The kinds of the H.264 units of each frame (ITU-T H.264, table 7-1)."""
    found = []
    with av.open(io.BytesIO(piece)) as container:
        for packet in container.demux(video=0):
            content = bytes(packet)
            kinds = []
            while content:
                length = int.from_bytes(content[:4], "big")
                kinds.append(content[4] & 31)
                content = content[4 + length :]
            found.append(kinds)
    return found[:-1]  # the last packet only marks the end


def test_a_piece_has_the_same_bits_on_a_machine_with_more_cores():
    """Each thread of the encoder makes a slice of its own, of kind 1 or 5."""
    large = RNG.integers(0, 256, (2, 512, 1024, 3), np.uint8)
    for frames, scale, threads in ((CHUNKS[0], 8, 1), (large, 1, 4)):
        for kinds in units(chunk_file(frames, 8, scale)):
            assert len([kind for kind in kinds if kind in (1, 5)]) == threads


def test_every_piece_begins_with_a_picture_that_needs_no_other():
    """An IDR slice is of kind 5; one sound-less track; a fragment a frame."""
    for frames in CHUNKS:
        piece = chunk_file(frames, 8)
        kinds = units(piece)
        assert len(kinds) == len(frames)
        assert 5 in kinds[0] and 1 not in kinds[0]
        assert piece.count(b"moof") == len(frames)
        with av.open(io.BytesIO(piece)) as container:
            assert [stream.type for stream in container.streams] == ["video"]
            assert container.streams.video[0].average_rate == 8


@pytest.mark.parametrize("height, width, scale", [(17, 25, 2), (16, 25, 4), (2, 2, 1), (17, 25, 8)])
def test_pieces_of_every_size(height, width, scale, tmp_path):
    frames = RNG.integers(0, 256, (3, height, width, 3), np.uint8)
    piece = chunk_file(frames, 30, scale)
    assert decoded(io.BytesIO(piece)).shape == (3, height * scale, width * scale, 3)
    join([piece], str(tmp_path / "film.mp4"))
    assert np.array_equal(decoded(str(tmp_path / "film.mp4")), decoded(io.BytesIO(piece)))


def test_many_pieces_of_one_frame_are_joined_one_at_a_time(tmp_path):
    """More than an hour of prompts; none is held but the one that is copied."""
    frame = RNG.integers(0, 256, (1, 16, 24, 3), np.uint8)
    pieces = [chunk_file(frame ^ np.uint8(number), 8) for number in range(8)]
    join((pieces[number % 8] for number in range(400)), tmp_path / "film.mp4")
    film = decoded(str(tmp_path / "film.mp4"))
    apart = np.concatenate([decoded(io.BytesIO(piece)) for piece in pieces])
    assert np.array_equal(film, np.concatenate([apart] * 50))
    with av.open(str(tmp_path / "film.mp4")) as container:
        times = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
    assert len(set(np.diff(times))) == 1


def test_what_cannot_be_a_film_is_named():
    for frames, fps, scale, message in (
        (CHUNKS[0][:, :15], 8, 1, "24×15 pixels .* both sides must be even"),
        (CHUNKS[0][:, :, :23], 8, 3, "69×48 pixels .* both sides must be even"),
        (CHUNKS[0], 0, 1, "fps 0 must be"),
        (CHUNKS[0], 8, 0, "scale 0 must be"),
    ):
        with pytest.raises(InputError, match=message):
            chunk_file(frames, fps, scale)


def test_pieces_of_earlier_versions_are_joined_with_new_ones(tmp_path, monkeypatch):
    new = chunk_file(CHUNKS[0], 8, scale=8)
    monkeypatch.setattr("shotstream_jax.media.pieces._SQUARES", "")
    old = chunk_file(CHUNKS[1], 8, scale=8)
    join([old, new], tmp_path / "film.mp4")
    apart = np.concatenate([decoded(io.BytesIO(piece)) for piece in (old, new)])
    assert np.array_equal(decoded(str(tmp_path / "film.mp4")), apart)


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
        ([small, b"nothing"], "piece 2 is no film"),
        ([small, small[:300]], "piece 2 is no film"),
        (iter([]), "no pieces"),
    ):
        with pytest.raises(InputError, match=message):
            join(pieces, tmp_path / "film.mp4")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        join([small], tmp_path / "file" / "film.mp4")
    with pytest.raises(InputError, match="at least one frame"):
        chunk_file(CHUNKS[0][:0], 8)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]
