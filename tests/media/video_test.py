"""Films out: colours that agree with their tags, an index at the front, every kind of file."""

import errno
import os
import struct

import av
import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.media import finish
from shotstream_jax.media.folder import film_writer
from shotstream_jax.media.formats import FORMATS, check_film, enlargement
from shotstream_jax.media.reader import probe, read_frames
from shotstream_jax.media.video import VideoWriter, partial_path
from tests.media import films

COUNT = 12
PICTURES = np.stack([np.roll(films.patches(), 8 * n, axis=1) for n in range(COUNT)])


def made(path, scale: int = 1, **options):
    """A film of all pictures, in two pieces."""
    with VideoWriter(path, 16, scale=scale, **options) as writer:
        writer.write(PICTURES[:5])
        writer.write(PICTURES[5:])
    return path


@pytest.mark.parametrize("name", ["v.mp4", "v.mov", "v.mkv", "v.webm"])
def test_tags_agree_with_the_planes(tmp_path, name):
    """By the definition of BT.709 in the limited range."""
    with av.open(str(made(tmp_path / name, scale=4))) as container:
        context = container.streams.video[0].codec_context
        tags = [context.color_primaries, context.color_trc, context.colorspace, context.color_range]
        y, x = np.mgrid[:3, :4]
        rows, columns = (2 * y + 1) * 64 * 4 // 6, (2 * x + 1) * 96 * 4 // 8
        frame = next(container.decode(video=0)).reformat(format="yuv444p")
    assert list(map(int, tags)) == [1, 1, 1, 1]
    want = films.planes(films.patches(64 * 4, 96 * 4) / 255, matrix=1, is_full=False)
    off = frame.to_ndarray().astype(int) - want
    assert np.abs(off[:, rows, columns]).max() <= 3


@pytest.mark.parametrize("name", ["v.mp4", "v.mov", "b%d:x y.mp4"])
def test_a_finished_film_is_an_ordinary_one(tmp_path, name):
    """Its index is in front of its frames, says how many and how long; nothing else is left."""
    path = made(tmp_path / name)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat") and b"moof" not in data
    timescale, duration = struct.unpack(">II", data[data.index(b"mvhd") + 16 :][:8])
    assert duration / timescale == pytest.approx(COUNT / 16, abs=0.01)
    with path.open("rb") as file, av.open(file) as container:
        assert container.streams.video[0].frames == COUNT
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_pictures_back(tmp_path, suffix):
    path = made(tmp_path / f"v{suffix}", scale=4)
    assert probe(path).frames == COUNT
    off = read_frames(path, np.arange(COUNT), films.HEIGHT, films.WIDTH).astype(int) - PICTURES
    assert (off**2).mean() < 255**2 / 10**4.5  # 45 dB


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_films_grow_in_sight(tmp_path, suffix):
    path = tmp_path / f"v{suffix}"
    with VideoWriter(path, 16, scale=2) as writer:
        for start in range(0, 120, 12):
            writer.write(PICTURES)
            if start == 60:
                with av.open(str(partial_path(path))) as container:
                    shown = sum(1 for _ in container.decode(video=0))
                assert shown > 30 and not path.exists()
    assert probe(path).frames == 120 and not partial_path(path).exists()


def test_data_are_kept_to_the_bit(tmp_path):
    path = made(tmp_path / "v.mp4", lossless=True)
    found = read_frames(path, np.arange(COUNT), films.HEIGHT, films.WIDTH)
    np.testing.assert_array_equal(found, PICTURES)


def test_a_folder_of_pictures(tmp_path):
    path = check_film(f"{tmp_path}/new/frames/")
    with film_writer(path, 16, scale=3) as writer:
        writer.write(PICTURES[:5])
        assert not path.exists()
        writer.write(PICTURES[5:])
    assert [p.name for p in sorted(path.iterdir())] == [f"{n:06d}.png" for n in range(COUNT)]
    last = read_frames(path / "000011.png", np.array([0]), 64 * 3, 96 * 3)[0]
    np.testing.assert_array_equal(last, PICTURES[-1].repeat(3, 0).repeat(3, 1))
    assert writer.facts() == {
        "path": f"{path}/",
        "codec": "png",
        "height": 192,
        "width": 288,
        "scale": 3,
        "frames": COUNT,
        "fps": 16,
        "duration_s": COUNT / 16,
    }
    with pytest.raises(InputError, match="is not empty: name a new folder"):
        check_film(f"{path}/")


@pytest.mark.parametrize("name", ["v.avi", "v", "v.MP4", "v.mp4/", "v.mp4.txt"])
def test_other_names_are_refused(tmp_path, name):
    with pytest.raises(
        InputError, match=r"must end in .mp4, .mov, .mkv, .webm, .gif, or in /|leave"
    ):
        check_film(f"{tmp_path}/{name}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text, height, width, scale",
    [
        ("auto", 32, 48, 8),
        ("auto", 64, 96, 4),
        ("auto", 96, 64, 4),
        ("auto", 480, 832, 1),
        ("auto", 256, 512, 1),
        ("1", 32, 48, 1),
        ("7", 32, 48, 7),
    ],
)
def test_scale(text, height, width, scale):
    assert enlargement(text, height, width) == scale


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "two", "171", "auto "])
def test_wrong_scales(text):
    with pytest.raises(InputError, match="must be auto or a whole number from 1 to 170"):
        enlargement(text, 32, 48)


# A full disk: nothing that was made is lost, and one line says what is where.


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_no_room_for_an_ordinary_film(tmp_path, caplog):
    """The film keeps its fragments, under its final name."""
    caplog.set_level("INFO")
    (tmp_path / "v.mp4.partial").symlink_to("/dev/full")
    path = made(tmp_path / "v.mp4")
    assert probe(path).frames == COUNT and b"moof" in path.read_bytes()
    assert "v.mp4 stays in fragments" in caplog.text and "No space left" in caplog.text
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]


def test_a_film_that_is_not_moved_is_kept(tmp_path, monkeypatch):
    """Neither a second film nor a new name is possible: the partial one stays."""
    monkeypatch.setattr(finish, "_copy_frames", full)
    monkeypatch.setattr(finish.os, "replace", full)
    with pytest.raises(InputError, match=r"No space left.*what was made is in .*v.partial.mp4"):
        made(tmp_path / "v.mp4")
    assert probe(tmp_path / "v.partial.mp4").frames == COUNT


def test_a_kill_while_a_film_is_finished_leaves_a_whole_one(tmp_path, monkeypatch):
    def killed(source, copy, container):
        copy.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(finish, "_copy_frames", killed)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "v.mp4")
    assert [p.name for p in tmp_path.iterdir()] == ["v.partial.mp4"]
    assert probe(tmp_path / "v.partial.mp4").frames == COUNT


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".gif"])
def test_a_full_disk_in_every_format(tmp_path, suffix):
    partial_path(tmp_path / f"v{suffix}").symlink_to("/dev/full")
    with pytest.raises(InputError, match="No space left on device; what was made is in") as error:
        made(tmp_path / f"v{suffix}")
    assert "\n" not in str(error.value) and not (tmp_path / f"v{suffix}").exists()


def test_a_full_disk_in_a_folder(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="No space left") as error:
        with film_writer(tmp_path / "frames", 16) as writer:
            writer.write(PICTURES[:3])
            monkeypatch.setattr("shotstream_jax.media.pictures.write_whole", full)
            writer.write(PICTURES[3:])
    assert "\n" not in str(error.value)
    assert len(list((tmp_path / "frames.partial").iterdir())) == 3


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.webm"])
def test_odd_sides_are_one_line_and_leave_nothing(tmp_path, name):
    with pytest.raises(InputError, match="25×16 pixels cannot be written: both sides must be even"):
        with VideoWriter(tmp_path / name, 8) as writer:
            writer.write(np.zeros((2, 16, 25, 3), np.uint8))
    assert not list(tmp_path.iterdir())
