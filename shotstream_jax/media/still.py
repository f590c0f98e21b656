"""Still pictures of any size → pixels of a format: the right way up, cropped or padded.

    the first picture of an animation
    turned and mirrored as its EXIF says
    palettes, greys, 16 bits and CMYK become RGB of 8 bits
    alpha: over black, as a film's

Of a stranger's file no more is unpacked than its header is allowed to claim.
"""

import pathlib
import warnings
from typing import TYPE_CHECKING

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import UInt8, typechecked
from shotstream_jax.core.values import as_path

if TYPE_CHECKING:  # imported when a file is opened
    from PIL import Image

# How a picture of another shape is fitted: its sides cut off, or black bars beside it.
FITS = ("crop", "pad")

_KINDS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF")
_NAMES = "PNG, JPEG, WebP, GIF, BMP or AVIF"
_MOST_BYTES = 256 * 2**20
_MOST_PIXELS = 100_000_000


def check_fit(fit: object) -> str:
    """One of FITS. Raises InputError for anything else."""
    if not isinstance(fit, str) or fit not in FITS:
        raise InputError(f"fit {fit!r:.40} must be one of {', '.join(FITS)}")
    return fit


@typechecked
def read_picture(
    path: str | pathlib.Path, height: int, width: int, fit: str = "crop"
) -> UInt8[np.ndarray, "y x 3"]:
    """A picture's file as pixels [height, width, 3].

    fit: "crop" scales it until it covers the size and cuts its centre out, "pad" until all of it
    is seen, with black bars beside it. Raises InputError for a file that is no picture, is damaged,
    or is larger than 100 million pixels.
    """
    check_fit(fit)
    where = as_path(path, "a picture's file")
    try:
        if not where.is_file():
            raise InputError(f"picture {path} is not there, or is no file")
        if where.stat().st_size > _MOST_BYTES:
            raise InputError(f"picture {path} is too large: more than {_MOST_BYTES >> 20} MB")
    except OSError as error:
        raise InputError(f"picture {path} cannot be read: {error.strerror}") from None
    return _fitted(_rgb(where), height, width, fit)


def fit_pixels(
    pixels: np.ndarray, height: int, width: int, fit: str = "crop"
) -> UInt8[np.ndarray, "y x 3"]:
    """As `read_picture`, of pixels. Raises InputError if they are not uint8 [y, x, 3]."""
    from PIL import Image

    check_fit(fit)
    is_picture = pixels.ndim == 3 and pixels.shape[2:] == (3,) and pixels.size > 0
    if not is_picture or pixels.dtype != np.uint8:
        raise InputError(
            f"a picture's pixels must be uint8 [height, width, 3], not {pixels.dtype} "
            f"{list(pixels.shape)}"
        )
    return _fitted(Image.fromarray(np.ascontiguousarray(pixels)), height, width, fit)


def _rgb(path: pathlib.Path) -> "Image.Image":
    """The picture the right way up, in RGB of 8 bits."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Damage is an error below; and from its own limit on, near the one here, Pillow warns.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_KINDS) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise InputError(
                        f"picture {path} has {image.width}×{image.height} pixels: at most "
                        f"{_MOST_PIXELS // 10**6} million are read"
                    )
                ImageOps.exif_transpose(image, in_place=True)
                return _without_alpha(image)
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"picture {path} is no {_NAMES}: save it as one of them") from None
    except Image.DecompressionBombError:
        raise InputError(
            f"picture {path} has too many pixels: at most {_MOST_PIXELS // 10**6} million are read"
        ) from None
    except Exception as error:  # damaged files raise whatever their decoder stumbles over
        raise InputError(
            f"picture {path} is damaged or cut off ({error}): get another copy"
        ) from None


def _without_alpha(image: "Image.Image") -> "Image.Image":
    """RGB of 8 bits; what is transparent lies over black."""
    from PIL import Image

    # 16 bits of grey: converted by Pillow, all that is brighter than 1/256 would be white.
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.float32) / 257
        image = Image.fromarray(np.clip(np.round(grey), 0, 255).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, image).convert("RGB")


def _fitted(image: "Image.Image", height: int, width: int, fit: str) -> np.ndarray:
    """Pixels [height, width, 3]."""
    from PIL import Image

    across = width / image.width
    down = height / image.height
    if fit == "crop":
        # The centre of the side that is too long; only that is scaled.
        scale = max(across, down)
        left = (image.width - width / scale) / 2
        top = (image.height - height / scale) / 2
        box = (max(left, 0), max(top, 0), image.width - max(left, 0), image.height - max(top, 0))
        return np.asarray(image.resize((width, height), _filter(scale), box))
    scale = min(across, down)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    canvas = Image.new("RGB", (width, height))
    place = ((width - inner[0]) // 2, (height - inner[1]) // 2)
    canvas.paste(image.resize(inner, _filter(scale)), place)
    return np.asarray(canvas)


def _filter(scale: float) -> "Image.Resampling":
    """How pixels are mixed."""
    from PIL import Image

    # Pictures that were enlarged by a whole number get their pixels back as they were.
    if scale < 1 and (1 / scale).is_integer():
        return Image.Resampling.BOX
    return Image.Resampling.BICUBIC
