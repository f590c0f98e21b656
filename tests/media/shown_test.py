"""Pictures are what a player shows: turns, aspects, colours, fields, transparency, HDR."""

import fractions

import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.media.hdr import HLG, PQ, tone_mapped
from shotstream_jax.media.reader import probe, read_frames
from tests.media import films

BEST = {"crf": "4", "preset": "veryfast"}
FIRST = np.array([0])
WHITE = 255 * 0.875 ** (1 / 2.4)  # HDR's reference white, a little compressed


def shown(path, height=films.HEIGHT, width=films.WIDTH) -> np.ndarray:
    return read_frames(path, FIRST, height, width)[0]


def check_patches(path, height=films.HEIGHT, width=films.WIDTH, tolerance=6):
    """The patches' colours are right."""
    off = films.centres(shown(path, height, width)) - films.centres(films.patches(height, width))
    assert np.abs(off).max() <= tolerance, np.abs(off).max()


@pytest.mark.parametrize(
    "matrix, right",
    [
        ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
        ((0, -1, 1, 0), lambda p: np.rot90(p, 1)),
        ((-1, 0, 0, -1), lambda p: p[::-1, ::-1]),
        ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
        ((1, 0, 0, -1), lambda p: p[::-1]),
        ((0, 1, 1, 0), lambda p: p.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda p: p[::-1, ::-1].transpose(1, 0, 2)),
    ],
)
def test_turned_and_mirrored(tmp_path, matrix, right):
    path = films.write(tmp_path / "v.mp4", [films.patches()] * 2, options=BEST)
    films.turn(path, *matrix)
    want = right(films.patches()).astype(int)
    off = np.abs(shown(path, *want.shape[:2]) - want)
    assert np.median(off) <= 6 and off.mean() < 12


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.ts"])
@pytest.mark.parametrize("aspect", [fractions.Fraction(2), fractions.Fraction(1, 2)])
def test_pixels_that_are_not_square(tmp_path, name, aspect):
    stored = films.patches(64, 48) if aspect > 1 else films.patches(32, 96)
    path = films.write(tmp_path / name, [stored] * 12, options=BEST, aspect=aspect)
    check_patches(path)


def test_sizes_and_aspects_that_change_within_a_film(tmp_path):
    """Each frame by its own, though the decoder is some frames ahead."""
    parts = []
    for height, width, aspect in ((64, 48, 2), (64, 96, 1), (32, 96, fractions.Fraction(1, 2))):
        pictures = [films.patches(height, width)] * 6
        path = tmp_path / "part.ts"
        films.write(path, pictures, options=BEST, aspect=fractions.Fraction(aspect))
        parts.append(path.read_bytes())
    path = tmp_path / "v.ts"
    path.write_bytes(b"".join(parts))
    assert probe(path).frames == 18
    every = read_frames(path, np.arange(18), films.HEIGHT, films.WIDTH).astype(int)
    assert np.abs(every - films.patches()).mean((1, 2, 3)).max() < 12


@pytest.mark.parametrize("matrix", [1, 6, 7, 9])
@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("bits", [8, 10])
def test_matrix_and_range_of_the_colours(tmp_path, matrix, is_full, bits):
    planes = films.planes(films.patches() / 255, matrix, is_full, bits)
    pixels = "yuv444p" if bits == 8 else "yuv444p10le"
    tags = {"colorspace": matrix, "color_range": 2 if is_full else 1}
    path = films.write(tmp_path / "v.mp4", [planes] * 2, pixels, "libx264", pixels, BEST, tags)
    check_patches(path)


@pytest.mark.parametrize(
    "height, width, matrix", [(64, 96, 6), (576, 768, 6), (720, 1280, 1), (96, 1280, 1)]
)
def test_a_film_that_does_not_say_its_matrix(tmp_path, height, width, matrix):
    """HD is BT.709, smaller pictures BT.601."""
    planes = films.planes(films.patches(height, width) / 255, matrix, is_full=False)
    tags = {"colorspace": 2, "color_range": 0}
    path = films.write(tmp_path / "v.mp4", [planes], "yuv444p", "libx264", "yuv444p", BEST, tags)
    check_patches(path, height, width)


def test_colours_of_an_unknown_matrix_are_refused(tmp_path):
    planes = films.planes(films.patches() / 255, 1, is_full=False)
    tags = {"colorspace": 8, "color_range": 1}
    path = films.write(tmp_path / "v.mp4", [planes], "yuv444p", "libx264", "yuv444p", BEST, tags)
    with pytest.raises(InputError, match=r"v.mp4 has colours of matrix 8"):
        shown(path)


@pytest.mark.parametrize(
    "name, codec, pixels",
    [
        ("v.mov", "qtrle", "rgb24"),
        ("v.avi", "rawvideo", "bgr24"),
        ("v.mkv", "ffv1", "gbrp16le"),
        ("v.avi", "mjpeg", "yuvj444p"),
        ("v.mkv", "rawvideo", "nv12"),
        ("v.mov", "rawvideo", "uyvy422"),
        ("v.webm", "libvpx-vp9", "yuv444p"),
    ],
)
def test_formats_of_pixels(tmp_path, name, codec, pixels):
    options = {"qmin": "1", "qmax": "2"} if codec == "mjpeg" else {}
    path = films.write(
        tmp_path / name, [films.patches()] * 2, codec=codec, pixels=pixels, options=options
    )
    check_patches(path, tolerance=9)


@pytest.mark.parametrize(
    "name, codec, pixels", [("v.mkv", "ffv1", "gray"), ("v.mkv", "ffv1", "gray16le")]
)
def test_grey_pictures(tmp_path, name, codec, pixels):
    grey = np.repeat(films.patches()[..., :1], 3, axis=2)
    path = films.write(tmp_path / name, [grey], codec=codec, pixels=pixels)
    assert np.abs(shown(path).astype(int) - grey).max() <= 3


def test_odd_sizes(tmp_path):
    path = films.write(tmp_path / "v.mkv", [films.patches(63, 95)], codec="ffv1", pixels="yuv420p")
    check_patches(path, 63, 95)


@pytest.mark.parametrize(
    "name, codec, pixels",
    [
        ("v.mov", "qtrle", "argb"),
        ("v.mov", "prores_ks", "yuva444p10le"),
        ("v.mkv", "ffv1", "yuva420p"),
        ("v.apng", "apng", "rgba"),
        ("v.webm", "libvpx-vp9", "yuva420p"),
        ("v.webm", "libvpx", "yuva420p"),
    ],
)
def test_transparency_is_over_black(tmp_path, name, codec, pixels):
    """The colour beneath is never seen."""
    picture = np.zeros((64, 96, 4), np.uint8)
    picture[..., 0] = 255
    picture[:, :32, 3] = 255
    picture[:, 32:64, 3] = 128
    options = {"auto-alt-ref": "0"} if codec.startswith("libvpx") else {}
    path = films.write(tmp_path / name, [picture] * 3, "rgba", codec, pixels, options)
    opaque, half, clear = shown(path)[32, [12, 48, 84]].astype(int)
    assert np.abs(opaque - [255, 0, 0]).max() <= 6
    assert np.abs(half - [128, 0, 0]).max() <= 6
    assert clear.max() <= 3


def test_fields_do_not_comb(tmp_path):
    """Two fields, of different times, in every frame: a bar that has moved between them."""
    pictures = []
    for number in range(6):
        picture = np.full((64, 96, 3), 40, np.uint8)
        picture[::2, 8 * number : 8 * number + 12] = 220
        picture[1::2, 8 * number + 16 : 8 * number + 28] = 220
        pictures.append(picture)
    options = BEST | {"x264-params": "interlaced=1"}
    path = films.write(tmp_path / "v.mp4", pictures, options=options)
    assert probe(path).frames == 6
    for picture in read_frames(path, np.arange(6), 64, 96).astype(int):
        combs = picture[1:-1] - (picture[:-2] + picture[2:]) / 2
        assert np.abs(combs).mean() < 3


def test_hdr_tone_mapping():
    """Greys stay grey and in order, white is near white, and no highlight is lost."""
    # PQ's codes of these luminances, in candela/m² (BT.2100).
    power = (np.array([0, 1, 20, 100, 203, 1000, 10000]) / 10000) ** (2610 / 16384)
    codes = ((3424 + 2413 * 32 * power) / (4096 + 2392 * 32 * power)) ** (2523 / 32)
    picture = np.round(65535 * np.repeat(codes, 3)).astype(np.uint16).reshape(1, -1, 3)
    grey = tone_mapped(picture, PQ, is_wide=True)[0].astype(int)
    assert np.ptp(grey, axis=1).max() <= 1
    level = grey[:, 1]
    assert level[0] == 0 and (np.diff(level) > 0).all() and level[-1] == 255
    assert abs(level[4] - WHITE) <= 2
    assert abs(level[2] - 255 * (20 / 203) ** (1 / 2.4)) <= 1.5  # below the knee nothing changes
    # HLG's reference white is at 75 % of the signal, and is 203 candela/m².
    white = np.full((1, 1, 3), round(0.75 * 65535), np.uint16)
    assert np.abs(tone_mapped(white, HLG, is_wide=True).astype(int) - WHITE).max() <= 2


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_hdr_films(tmp_path, transfer):
    """Reference white, and BT.2020's own red, which is BT.709's reddest red."""
    white = 0.5807 if transfer == PQ else 0.75
    picture = np.full((64, 96, 3), white)
    picture[:, 48:, 1:] = 0
    planes = films.planes(picture, matrix=9, is_full=False, bits=10)
    tags = {"colorspace": 9, "color_range": 1, "color_trc": transfer, "color_primaries": 9}
    path = films.write(
        tmp_path / "v.mp4", [planes] * 2, "yuv444p10le", "libx264", "yuv444p10le", BEST, tags
    )
    left, right = shown(path)[32, [24, 72]].astype(int)
    assert np.abs(left - WHITE).max() <= 4
    assert right[0] > 230 and right[1:].max() <= 3
