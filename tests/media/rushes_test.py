"""Rushes: a film that is whole after every piece, and cuts of it to the bit."""

import io
import subprocess

import av
import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.media.pieces import chunk_file
from shotstream_jax.media.rushes import FrameSpan, Rushes, cut_film

RNG = np.random.default_rng(0)
CHUNKS = [RNG.integers(0, 256, (count, 16, 24, 3), np.uint8) for count in (5, 6, 1, 3)]


def decoded(file) -> np.ndarray:
    with av.open(file) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


@pytest.fixture(scope="module")
def apart() -> list[np.ndarray]:
    """Each piece as it is decoded by itself."""
    return [decoded(io.BytesIO(chunk_file(frames, 8, scale=8))) for frames in CHUNKS]


@pytest.fixture
def rushes(tmp_path) -> Rushes:
    rushes = Rushes(tmp_path / "new" / "all.mp4", 8, scale=8)
    for frames in CHUNKS:
        rushes.write(frames)
    return rushes


def test_they_are_whole_after_every_piece(tmp_path, apart):
    rushes = Rushes(tmp_path / "all.mp4", 8, scale=8)
    assert not rushes.path.exists()
    for count, frames in enumerate(CHUNKS, 1):
        rushes.write(frames)
        # While the file is open no frame is withheld, and each comes at its time.
        with av.open(str(rushes.path)) as container:
            shown = list(container.decode(video=0))
        pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in shown])
        assert np.array_equal(pictures, np.concatenate(apart[:count]))
        assert [frame.time * 8 for frame in shown] == list(range(len(shown)))
        assert rushes.frames == len(shown)
    assert rushes.facts(tmp_path / "x.mp4", 9)["height"] == 128


def test_a_reader_that_follows_the_file_gets_every_frame(rushes):
    """`tail -f` and a pipe into a player: the file is only ever appended to."""
    with av.open(io.BytesIO(rushes.path.read_bytes()), "r", format="mp4") as container:
        whole = sum(1 for _ in container.decode(video=0))
    pipe = subprocess.Popen(["cat", rushes.path], stdout=subprocess.PIPE)
    with av.open(pipe.stdout, "r", format="mp4") as container:  # which cannot be wound back
        assert sum(1 for _ in container.decode(video=0)) == whole == rushes.frames
    pipe.wait()


@pytest.mark.parametrize("chosen", [(0, 1, 2, 3), (0, 3), (1,), (0, 2, 3)])
def test_a_cut_has_the_same_frames(rushes, apart, tmp_path, chosen):
    starts = np.cumsum([0, *(len(frames) for frames in CHUNKS)])
    spans = [FrameSpan(starts[number], starts[number + 1]) for number in chosen]
    cut_film(rushes.path, spans, tmp_path / "cut" / "film.mp4")
    film = str(tmp_path / "cut" / "film.mp4")
    assert np.array_equal(decoded(film), np.concatenate([apart[number] for number in chosen]))
    with av.open(film) as container:
        track = container.streams.video[0]
        frames = sum(span.stop - span.start for span in spans)
        assert track.frames == frames and track.average_rate == 8
        assert float(track.duration * track.time_base) == pytest.approx(frames / 8)
        times = [frame.time * 8 for frame in container.decode(video=0)]
    assert times == list(range(frames))


def test_a_disk_that_fills_up_leaves_what_was_made(rushes, monkeypatch, tmp_path):
    before = rushes.path.read_bytes()

    def write(data):
        with rushes.path.open("ab") as file:
            file.write(data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rushes, "_file", _Full(rushes._file, write))
    with pytest.raises(InputError, match=r"No space left on device; what was made is there"):
        rushes.write(CHUNKS[0])
    assert rushes.path.read_bytes() == before
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        cut_film(rushes.path, [FrameSpan(0, 5)], tmp_path / "file" / "x.mp4")


class _Full:
    """A file whose disk takes a few bytes more."""

    def __init__(self, file, write):
        self.tell = file.tell
        self.write = write
