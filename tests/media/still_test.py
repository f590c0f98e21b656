"""Still pictures of every kind and size, cropped and padded."""

import io

import numpy as np
import pytest
from PIL import Image

from shotstream_jax.core.errors import InputError
from shotstream_jax.media.reader import read_frames
from shotstream_jax.media.still import fit_pixels, read_picture

# Four colours: a turned or mirrored picture is seen to be one.
CORNERS = np.array([[[250, 0, 0], [0, 250, 0]], [[0, 0, 250], [250, 250, 0]]], np.uint8)
PICTURE = CORNERS.repeat(16, 0).repeat(24, 1)  # 32 × 48


def corners(pixels):
    """The colours of the four quarters' middles."""
    rows, columns = pixels.shape[0] // 4, pixels.shape[1] // 4
    return pixels[rows :: 2 * rows, columns :: 2 * columns][:2, :2].astype(int)


def is_close(pixels, expected) -> bool:
    return bool(np.abs(corners(pixels) - expected).max() <= 8)


def converted(mode):
    return Image.fromarray(PICTURE).convert(mode)


def half_clear(mode):
    image = converted("RGB").convert("RGBA")
    image.putalpha(Image.fromarray(np.full(PICTURE.shape[:2], 128, np.uint8)))
    return image.convert(mode)


GREY = np.asarray(converted("L"))[..., None].repeat(3, -1)
# Name → the picture as it is stored, and as it is seen.
KINDS = {
    "rgb.png": (converted("RGB"), PICTURE),
    "palette.png": (converted("P"), PICTURE),
    "grey.png": (converted("L"), GREY),
    "grey16.png": (Image.fromarray(GREY[..., 0].astype(np.uint16) * 257), GREY),
    "clear.png": (half_clear("RGBA"), PICTURE // 2),
    "clear_grey.png": (half_clear("LA"), GREY // 2),
    "rgb.jpg": (converted("RGB"), PICTURE),
    "grey.jpg": (converted("L"), GREY),
    "cmyk.jpg": (converted("CMYK"), PICTURE),
    "rgb.webp": (converted("RGB"), PICTURE),
    "clear.webp": (half_clear("RGBA"), PICTURE // 2),
    "rgb.bmp": (converted("RGB"), PICTURE),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_picture(name, tmp_path):
    stored, seen = KINDS[name]
    options = {"quality": 100, "subsampling": 0} if name.endswith("jpg") else {}
    stored.save(tmp_path / name, **options)
    assert is_close(read_picture(tmp_path / name, 32, 48), corners(seen))


@pytest.mark.parametrize("name", ["x.gif", "x.png", "x.webp"])
def test_of_an_animation_the_first_picture(name, tmp_path):
    more = Image.fromarray(255 - PICTURE)
    converted("RGB").save(tmp_path / name, save_all=True, append_images=[more, more], duration=99)
    assert is_close(read_picture(tmp_path / name, 32, 48), corners(PICTURE))


# EXIF's orientation → the picture as it is stored, so that it is seen upright.
TURNS = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: p.transpose(1, 0, 2)[::-1],
    7: lambda p: p.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda p: p.transpose(1, 0, 2)[:, ::-1],
}


def turned_file(path, orientation):
    image = Image.fromarray(np.ascontiguousarray(TURNS[orientation](PICTURE)))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(path, exif=exif, quality=100)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", TURNS)
def test_the_right_way_up(orientation, suffix, tmp_path):
    turned_file(tmp_path / f"x.{suffix}", orientation)
    assert is_close(read_picture(tmp_path / f"x.{suffix}", 32, 48), corners(PICTURE))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_film_with_exif_is_read_and_turned(orientation, tmp_path):
    """PyAV refuses the side data of such a frame."""
    turned_file(tmp_path / "x.jpg", orientation)
    frame = read_frames(tmp_path / "x.jpg", np.arange(1), 32, 48)[0]
    assert is_close(frame, corners(PICTURE))


@pytest.mark.parametrize(
    "height, width", [(1, 1), (7, 300), (300, 7), (31, 45), (64, 96), (480, 832), (3000, 1)]
)
def test_any_size_is_cropped_or_padded(height, width, tmp_path):
    Image.new("RGB", (width, height), (200, 100, 50)).save(tmp_path / "x.png")
    cropped = read_picture(tmp_path / "x.png", 32, 48)
    assert (cropped == (200, 100, 50)).all()
    padded = read_picture(tmp_path / "x.png", 32, 48, "pad")
    # All of the picture in the middle, black beside it, and the aspect kept.
    lit = padded.any(-1)
    rows, columns = lit.any(1).sum(), lit.any(0).sum()
    scale = min(32 / height, 48 / width)
    assert (rows, columns) == (max(1, round(height * scale)), max(1, round(width * scale)))
    assert (rows, columns) == (32, columns) or columns == 48
    top, left = (32 - rows) // 2, (48 - columns) // 2
    assert lit.sum() == rows * columns and lit[top, left]
    assert (padded[lit] == (200, 100, 50)).all()


def test_the_centre_is_kept_and_pixels_that_were_enlarged_come_back():
    wide = np.concatenate([0 * PICTURE, PICTURE, 0 * PICTURE], axis=1)
    assert np.array_equal(fit_pixels(wide, 32, 48), PICTURE)
    tall = np.concatenate([0 * PICTURE, PICTURE, 0 * PICTURE])
    assert np.array_equal(fit_pixels(tall, 32, 48), PICTURE)
    noise = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    large = noise.repeat(4, 0).repeat(4, 1)
    assert np.array_equal(fit_pixels(large, 32, 48), noise)
    assert np.array_equal(fit_pixels(noise, 32, 48), noise)
    padded = fit_pixels(large[:, :96], 32, 48, "pad")
    assert np.array_equal(padded[:, 12:36], noise[:, :24]) and not padded[:, :12].any()


def test_what_is_no_picture_is_one_line(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    converted("RGB").save(tmp_path / "x.tiff")
    cases = [
        ("absent.png", "is not there"),
        (".", "is no file"),
        ("text.png", "is no PNG"),
        ("empty.png", "is no PNG"),
        ("x.tiff", "is no PNG"),
    ]
    for name, message in cases:
        with pytest.raises(InputError, match=message):
            read_picture(tmp_path / name, 32, 48)
    for fit in ("stretch", "", None):
        with pytest.raises(InputError, match="must be one of crop, pad"):
            fit_pixels(PICTURE, 32, 48, fit)
    for pixels in (PICTURE[..., 0], PICTURE[..., :2], PICTURE.astype(float), PICTURE[:0]):
        with pytest.raises(InputError, match="must be uint8"):
            fit_pixels(pixels, 32, 48)


@pytest.mark.parametrize("size", [(10_001, 10_000), (60_000, 60_000)])
def test_a_header_that_claims_much_is_refused_before_it_is_unpacked(size, tmp_path):
    data = io.BytesIO()
    Image.new("L", (8, 8)).save(data, "BMP")
    claimed = bytearray(data.getvalue())
    for place, side in ((18, size[0]), (22, size[1])):
        claimed[place : place + 4] = side.to_bytes(4, "little")
    (tmp_path / "x.bmp").write_bytes(claimed)
    with pytest.raises(InputError, match="at most 100 million"):
        read_picture(tmp_path / "x.bmp", 32, 48)


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.webp", "x.gif"])
def test_damaged_files_are_one_line(name, tmp_path):
    """Cut off and with bytes changed: a picture, or an InputError of one line, nothing else."""
    path = tmp_path / name
    turned_file(path, 6)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for case in range(60):
        content = bytearray(whole)
        if case % 3 == 0:
            del content[int(rng.integers(len(content))) :]
        else:
            for place in rng.integers(0, len(content), 5):
                content[place] = int(rng.integers(256))
        path.write_bytes(content)
        try:
            assert read_picture(path, 32, 48).shape == (32, 48, 3)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 10
