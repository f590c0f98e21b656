"""The model's passes against the same mathematics in PyTorch's layers, on this machine's processor.

    pip install 'shotstream-jax[convert]'        # brings torch
    python -m benchmarks.speed.against_torch
    python -m benchmarks.speed.against_torch --parts dit --dtype bfloat16 --size 240x416 --layers 2

Sizes are wan-1.3b's, with fewer layers (all are alike) and a smaller picture. Both sides have the
same weights and inputs; before anything is timed their results are compared. They are then called
in turn, with as many threads, in a steady state: a shot's last chunk, the fourth decoded chunk.
Takes some minutes and 10 GB of memory. Prints a line for each part: both medians and their ratio.
"""

import argparse
import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.speed.torch_peer import torch
from benchmarks.speed.torch_peer.dit import ChunkPass
from benchmarks.speed.torch_peer.text import Encode
from benchmarks.speed.torch_peer.vae import Decode
from shotstream_jax import cli
from shotstream_jax.bench.measure import timed_in_turn
from shotstream_jax.core.errors import InputError
from shotstream_jax.dit.student import Student
from shotstream_jax.dit.trunk import time_sinusoid
from shotstream_jax.generate import shot
from shotstream_jax.memory.cache import KV, Caches, FrameIds
from shotstream_jax.model import Params, compute_params, random_params
from shotstream_jax.nn.rope import rotations
from shotstream_jax.presets import Preset, find_preset
from shotstream_jax.text.encode import encode_prompt
from shotstream_jax.text.umt5 import UMT5, relative_buckets
from shotstream_jax.vae import codec
from shotstream_jax.vae.model import VAE

# Largest difference of the results, relative to their norm, that rounding explains.
TOLERANCE = {"float32": 1e-4, "bfloat16": 3e-2}
# Of the picture, by part: the autoencoder takes minutes for a large one. The text encoder has none.
SIZES = {"dit": "240x416", "vae": "64x112", "text": "240x416"}
# A call of ours and one of torch's.
Pair = tuple[Callable[[], jax.Array], Callable[[], torch.Tensor]]


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("benchmarks.speed.against_torch", __doc__)
    p.add_argument(
        "--parts",
        default=",".join(PARTS),
        metavar="PART,…",
        help="some of %(default)s (default: all)",
    )
    p.add_argument(
        "--dtype",
        default="float32",
        choices=list(TOLERANCE),
        help="of the transformer's matmuls (default: %(default)s)",
    )
    p.add_argument(
        "--size",
        metavar="HEIGHTxWIDTH",
        help=f"of the picture (default: {SIZES['dit']}; the autoencoder's {SIZES['vae']})",
    )
    p.add_argument(
        "--layers",
        type=int,
        default=2,
        metavar="N",
        help="of the transformer and of the text encoder (default: %(default)s)",
    )
    p.add_argument(
        "--seconds",
        type=float,
        default=30,
        metavar="S",
        help="spent on each part (default: %(default)s)",
    )
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command with these options."""
    args = parser().parse_args(argv)
    parts = args.parts.split(",")
    for name in parts:
        if name not in PARTS:
            raise InputError(f"--parts {name}: there are {', '.join(PARTS)}")
    cores = os.cpu_count() or 1
    torch.set_num_threads(cores)
    torch.set_grad_enabled(False)
    preset = smaller(find_preset("wan-1.3b"), args.layers)
    params = random_params(preset, 0)
    cli.print_line(
        f"{cores} cores, jax {jax.__version__}, torch {torch.__version__}; {args.layers} layers"
    )
    for name in parts:
        size = args.size or SIZES[name]
        height, width = map(int, size.split("x"))
        grid = (height // preset.vae.space, width // preset.vae.space)
        compare(name, PARTS[name](preset, params, grid, args.dtype), size, args)
        sys.stdout.flush()


def compare(name: str, pair: Pair, size: str, args: argparse.Namespace) -> None:
    """Compares the two sides' results, times both and prints the part's line."""
    ours, theirs = pair
    dtype = args.dtype if name == "dit" else "float32"
    difference = relative(np.asarray(ours(), np.float32), theirs().float().numpy())
    if not difference < TOLERANCE[dtype]:
        sys.exit(
            f"{name}: the results differ by {difference:.1e}: this is not the same mathematics"
        )
    mine, other = timed_in_turn([ours, theirs], args.seconds)
    cli.print_line(
        f"{name:5} {size:8} {dtype:9} ours {1e3 * mine.median:8.0f} ms   "
        f"torch {1e3 * other.median:8.0f} ms   ratio {mine.median / other.median:.2f}   "
        f"({mine.calls} calls each, difference {difference:.0e})"
    )


def smaller(preset: Preset, layers: int) -> Preset:
    """The preset with so many layers, and with a small vocabulary."""
    dit = dataclasses.replace(preset.dit, layers=layers)
    text = dataclasses.replace(preset.text, layers=layers, vocab=512)
    return dataclasses.replace(preset, dit=dit, text=text)


def dit_pair(preset: Preset, params: Params, grid: tuple[int, int], dtype: str) -> Pair:
    """A denoising pass over a shot's last chunk: 27 frames of keys."""
    cfg = preset.dit
    memory = preset.memory
    kind = jnp.dtype(dtype)
    fill = memory.window - memory.chunk
    student = Student(cfg, kind, memory=memory)
    weights = jax.tree.map(jnp.asarray, compute_params(params["dit"], kind))
    caches = filled_caches(student, grid, kind, fill)
    x = normal(4, (1, memory.chunk, *grid, cfg.channels))
    t = jnp.array([500.0])
    ids = FrameIds(
        phase=jnp.full((1, memory.chunk), 3, jnp.int32),
        caption=jnp.full((1, memory.chunk), 2, jnp.int32),
    )

    # Torch's side: the rotations, caches and inputs as its own tensors, one story.
    peer = ChunkPass(params["dit"], cfg, getattr(torch, dtype))
    position = memory.context + fill + np.arange(memory.chunk)[None]
    tables = rotations(position, np.asarray(ids.phase), cfg.grid(*grid), cfg.head_dim)
    cosine, sine = np.array(tables)[:, 0]  # [f·t, k/2] each, as are the rows below
    pairs = cosine.shape[-1]
    turns = torch.complex(
        torch.tensor(cosine.reshape(-1, pairs)),
        torch.tensor(sine.reshape(-1, pairs)),
    )
    cache = []
    text = []
    for layer in range(cfg.layers):
        frames_kv = (caches.frames.keys[layer, 0], caches.frames.values[layer, 0])
        text_kv = (caches.text.keys[layer, 0, 2], caches.text.values[layer, 0, 2])
        cache.append(tuple(map(to_torch, frames_kv)))
        text.append(tuple(map(to_torch, text_kv)))
    # The chunk's first token in the cache.
    at = (memory.context + fill) * len(turns) // memory.chunk
    x_torch = to_torch(x[0])
    sinusoid = to_torch(time_sinusoid(t, cfg.freq_dim))

    denoise = jax.jit(functools.partial(student.apply, method="denoise"), donate_argnums=4)

    def ours() -> jax.Array:
        """Our call."""
        nonlocal caches
        v, caches = denoise({"params": weights}, x, t, ids, caches)
        return v[0]

    def theirs() -> torch.Tensor:
        """Torch's call."""
        return peer(x_torch, sinusoid, turns, cache, at, text)

    return ours, theirs


def filled_caches(student: Student, grid: tuple[int, int], dtype: jnp.dtype, fill: int) -> Caches:
    """Caches of random numbers in which `fill` frames of the shot are committed."""
    caches = student.init_caches(1, *grid)

    def random_kv(like: KV, seed: int) -> KV:
        """Random keys and values of these shapes."""
        keys = normal(seed, like.keys.shape).astype(dtype)
        values = normal(seed + 1, like.values.shape).astype(dtype)
        return KV(keys, values)

    return dataclasses.replace(
        caches,
        frames=random_kv(caches.frames, 0),
        text=random_kv(caches.text, 2),
        fill=jnp.array([fill]),
    )


def vae_pair(preset: Preset, params: Params, grid: tuple[int, int], dtype: str) -> Pair:
    """A chunk in the middle of a shot; the autoencoder runs in float32 whatever `dtype` is.

    The decoder's state is not handed on: both sides decode the same chunk in every call.
    """
    vae = VAE(preset.vae)
    weights = jax.tree.map(jnp.asarray, params["vae"])
    z = normal(0, (1, preset.memory.chunk, *grid, preset.vae.channels))
    stream, _, _ = shot.decode_first_chunk(vae, weights, z)
    for _ in range(2):
        stream, _, _ = shot.decode_next_chunk(vae, weights, z, stream)
    peer = Decode(params["vae"], jax.tree.map(np.array, stream), preset.vae)
    z_torch = to_torch(z[0])

    @jax.jit
    def step(params: Params, stream: codec.VaeStream, z: jax.Array) -> Any:
        """Decodes a later chunk without giving the state away."""
        return codec.decode_next(vae, params, stream, z)

    def ours() -> jax.Array:
        """Our call."""
        _, frames = step(weights, stream, z)
        return frames[0]

    def theirs() -> torch.Tensor:
        """Torch's call."""
        return peer(z_torch)

    return ours, theirs


def text_pair(preset: Preset, params: Params, grid: tuple[int, int], dtype: str) -> Pair:
    """A prompt of 100 tokens, in float32 whatever `dtype` is."""
    cfg = preset.text
    length = preset.dit.text_len
    valid = 100
    text = UMT5(cfg)
    weights = jax.tree.map(jnp.asarray, params["text"])
    ids = np.arange(length) % 300
    distance = np.arange(length)[None, :] - np.arange(length)[:, None]
    buckets = relative_buckets(distance, cfg.buckets, cfg.max_distance)
    peer = Encode(params["text"], cfg, buckets)
    ids_jax = jnp.asarray(ids[None], jnp.int32)
    valid_jax = jnp.array([valid])
    ids_torch = torch.tensor(ids)

    def ours() -> jax.Array:
        """Our call."""
        return encode_prompt(text, weights, ids_jax, valid_jax)[0]

    def theirs() -> torch.Tensor:
        """Torch's call."""
        return peer(ids_torch, valid)

    return ours, theirs


PARTS = {"dit": dit_pair, "vae": vae_pair, "text": text_pair}


def normal(seed: int, shape: Sequence[int]) -> jax.Array:
    """Numbers from N(0, 1)."""
    return jax.random.normal(jax.random.key(seed), tuple(shape))


def to_torch(a: Any) -> torch.Tensor:
    """An array as a tensor; numpy has no bfloat16 of torch's kind."""
    tensor = torch.tensor(np.array(a, np.float32))
    return tensor.to(torch.bfloat16) if a.dtype == jnp.bfloat16 else tensor


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """‖a − b‖ / ‖b‖."""
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


if __name__ == "__main__":
    cli.run(main)
