"""PyTorch's part: loading the user's weights, and pictures as networks want them.

Pictures are prepared as VBench prepares them: the shorter side is scaled without antialiasing,
values are rounded to whole numbers, then taken to 0–1 and normalised.
"""

import contextlib
import importlib.util
import operator
import pathlib
import pickle
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import UInt8

if TYPE_CHECKING:  # large, and an extra of this package
    import torch

_REMEDY = "pip install 'shotstream-jax[score]'"


class PictureForm(NamedTuple):
    """How a network wants pictures. side: of the shorter side. crop: to a square in the middle."""

    side: int
    mode: str
    crop: bool
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


def check_torch() -> None:
    """Raises InputError if PyTorch, torchvision or transformers is not installed."""
    for name in ("torch", "torchvision", "transformers"):
        if importlib.util.find_spec(name) is None:
            raise InputError(f"scores by networks need {name}: {_REMEDY}")


def device() -> "torch.device":
    """A GPU if PyTorch has one."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_transformer(kind: str, folder: pathlib.Path, **options: Any) -> Any:
    """A model of transformers from its folder. kind: the name of its class, which takes `options`.

    Raises InputError if the folder has none.
    """
    import torch
    import transformers

    # What is missing is said below, in one line.
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    model_class = operator.attrgetter(kind)(transformers)
    with one_line(folder):
        model, report = model_class.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, dtype=torch.float32, **options
        )
    missing = sorted(report["missing_keys"])
    if missing:
        raise InputError(f"{folder} is no {kind}: it lacks {missing[0]} ({len(missing)} in all)")
    return model.to(device()).eval()


def load_state(path: pathlib.Path) -> "dict[str, torch.Tensor]":
    """The tensors of a .pth, .pt, .bin or .safetensors file; nothing in it is executed.

    Raises InputError if it has none.
    """
    import torch
    from safetensors.torch import load_file

    with one_line(path):
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        # Some files have the tensors one floor down.
        state = content.get("model", content)
        tensors = {}
        for name, value in state.items():
            if isinstance(value, torch.Tensor):
                tensors[name] = value
        return tensors


def load_tokenizer(folder: pathlib.Path) -> Any:
    """CLIP's tokeniser, of the vocabulary in a folder. Raises InputError if there is none."""
    import transformers

    with one_line(folder):
        return transformers.CLIPTokenizer.from_pretrained(folder, local_files_only=True)


@contextlib.contextmanager
def one_line(place: pathlib.Path) -> Iterator[None]:
    """What goes wrong while weights are read, as an InputError that names them."""
    try:
        yield
    except (
        OSError,
        ValueError,
        KeyError,
        AttributeError,
        RuntimeError,
        pickle.PickleError,
    ) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{place} cannot be read as weights: {reason:.200}") from None


def as_seen(pictures: UInt8[np.ndarray, "n y x 3"], form: PictureForm) -> "torch.Tensor":
    """Pictures as a network wants them, [n, 3, h, w]."""
    import torch

    x = torch.from_numpy(pictures).to(device()).permute(0, 3, 1, 2).float()
    # 1. The shorter side; the longer one is rounded down.
    height, width = x.shape[2:]
    shorter = min(height, width)
    size = (form.side * height // shorter, form.side * width // shorter)
    if size != (height, width):
        x = torch.nn.functional.interpolate(x, size, mode=form.mode, align_corners=False)
        x = x.round().clamp(0, 255)
    # 2. The middle.
    if form.crop:
        top = round((size[0] - form.side) / 2)
        left = round((size[1] - form.side) / 2)
        x = x[:, :, top : top + form.side, left : left + form.side]
    # 3. Normalised.
    mean = torch.tensor(form.mean, device=x.device)[None, :, None, None]
    deviation = torch.tensor(form.deviation, device=x.device)[None, :, None, None]
    return (x / 255 - mean) / deviation
