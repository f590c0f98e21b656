"""Ours against the same mathematics in PyTorch's own layers, on this machine's processor.

    pip install 'shotstream-jax[convert]'        # brings torch
    python -m benchmarks.against_torch           # --parts dit,vae,text --dtype bfloat16 --size 240x416 --layers 2

Sizes are wan-1.3b's, with fewer layers (all are alike) and a smaller picture. Both sides have the same weights and
inputs; before anything is timed their results are compared. They are then called in turn, with as many threads.
Steady state: a shot's last chunk, the fourth decoded chunk.
"""

import argparse
import dataclasses
import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks.torch_peer.dit import ChunkPass
from benchmarks.torch_peer.text import Encode
from benchmarks.torch_peer.vae import Decode
from shotstream_jax.bench.measure import timed_in_turn
from shotstream_jax.dit.student import Student
from shotstream_jax.dit.trunk import time_sinusoid
from shotstream_jax.generate import shot
from shotstream_jax.memory.cache import KV, FrameIds
from shotstream_jax.model import compute_params, random_params
from shotstream_jax.nn.rope import rotations
from shotstream_jax.presets import Preset, find_preset
from shotstream_jax.text.umt5 import UMT5, relative_buckets
from shotstream_jax.vae import codec
from shotstream_jax.vae.model import VAE

# Largest difference of the results, relative to their norm, beyond which the mathematics is not the same.
TOLERANCE = {"float32": 1e-4, "bfloat16": 3e-2}
Pair = tuple[Callable[[], Any], Callable[[], Any]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default="dit,vae,text")
    parser.add_argument(
        "--dtype", default="float32", choices=list(TOLERANCE), help="of the dit's matmuls"
    )
    parser.add_argument("--size", default="240x416")
    parser.add_argument("--layers", type=int, default=2, help="of the dit and of the text encoder")
    parser.add_argument("--seconds", type=float, default=30, help="for each part")
    args = parser.parse_args()
    torch.set_num_threads(os.cpu_count())
    torch.set_grad_enabled(False)
    height, width = map(int, args.size.split("x"))
    preset, grid = smaller(find_preset("wan-1.3b"), args.layers), (height // 8, width // 8)
    params = random_params(preset, 0)
    say(
        f"{os.cpu_count()} cores, jax {jax.__version__}, torch {torch.__version__}; {args.size}, {args.layers} layers"
    )
    for name in args.parts.split(","):
        ours, theirs = PARTS[name](preset, params, grid, args.dtype)
        difference = relative(np.asarray(ours(), np.float32), theirs().float().numpy())
        dtype = args.dtype if name == "dit" else "float32"
        if not difference < TOLERANCE[dtype]:
            sys.exit(
                f"{name}: the results differ by {difference:.1e}: this is not the same mathematics"
            )
        mine, other = timed_in_turn([ours, theirs], args.seconds)
        say(
            f"{name:5} {dtype:9} ours {1e3 * mine.median:8.0f} ms   torch {1e3 * other.median:8.0f} ms   "
            f"ratio {mine.median / other.median:.2f}   ({mine.calls} calls each, difference {difference:.0e})"
        )


def smaller(preset: Preset, layers: int) -> Preset:
    dit, text = (
        dataclasses.replace(preset.dit, layers=layers),
        dataclasses.replace(preset.text, layers=layers, vocab=512),
    )
    return dataclasses.replace(preset, dit=dit, text=text)


def dit_pair(preset: Preset, params: Any, grid: tuple[int, int], dtype: str) -> Pair:
    """A denoising pass over a shot's last chunk: 27 frames of keys."""
    cfg, memory, kind = preset.dit, preset.memory, jnp.dtype(dtype)
    student = Student(cfg, kind, memory=memory)
    weights = jax.tree.map(jnp.asarray, compute_params(params["dit"], kind))
    fill = memory.window - memory.chunk
    draw = lambda i, shape: jax.random.normal(jax.random.key(i), shape)  # noqa: E731
    caches = student.init_caches(1, *grid)
    filled = lambda kv, i: KV(
        *(draw(i + j, a.shape).astype(kind) for j, a in enumerate((kv.keys, kv.values)))
    )
    caches = caches.replace(
        frames=filled(caches.frames, 0), text=filled(caches.text, 2), fill=jnp.array([fill])
    )
    x, t = draw(4, (1, memory.chunk, *grid, cfg.channels)), jnp.array([500.0])
    ids = FrameIds(*(jnp.full((1, memory.chunk), n, jnp.int32) for n in (3, 2)))

    peer = ChunkPass(params["dit"], cfg, getattr(torch, dtype))
    position = memory.context + fill + np.arange(memory.chunk)[None]
    turns = np.array(rotations(position, np.asarray(ids.phase), cfg.grid(*grid), cfg.head_dim))[
        :, 0
    ]
    turns = torch.complex(*(torch.tensor(a.reshape(-1, a.shape[-1])) for a in turns))
    given = [to_torch(a) for a in (x[0], time_sinusoid(t, cfg.freq_dim))]
    cache = [
        tuple(to_torch(a[i, 0]) for a in (caches.frames.keys, caches.frames.values))
        for i in range(cfg.layers)
    ]
    text = [
        tuple(to_torch(a[i, 0, 2]) for a in (caches.text.keys, caches.text.values))
        for i in range(cfg.layers)
    ]
    at = (memory.context + fill) * turns.shape[0] // memory.chunk

    denoise = jax.jit(functools.partial(student.apply, method="denoise"), donate_argnums=4)

    def ours() -> Any:
        nonlocal caches
        v, caches = denoise({"params": weights}, x, t, ids, caches)
        return v[0]

    return ours, lambda: peer(*given[:1], given[1], turns, cache, at, text)


def vae_pair(preset: Preset, params: Any, grid: tuple[int, int], dtype: str) -> Pair:
    """A chunk in the middle of a shot. The stream is not handed on: both sides decode the same chunk again."""
    vae, weights, chunk = (
        VAE(preset.vae),
        jax.tree.map(jnp.asarray, params["vae"]),
        preset.memory.chunk,
    )
    z = jax.random.normal(jax.random.key(0), (1, chunk, *grid, preset.vae.channels))
    stream, _, _ = shot.decode_first(vae, weights, z)
    for _ in range(2):
        stream, _, _ = shot.decode_next(vae, weights, z, stream)
    peer, given = Decode(params["vae"], jax.tree.map(np.array, stream), preset.vae), to_torch(z[0])
    step = jax.jit(lambda p, s, z: codec.decode_next(vae, p, s, z))
    return lambda: step(weights, stream, z)[1][0], lambda: peer(given)


def text_pair(preset: Preset, params: Any, grid: tuple[int, int], dtype: str) -> Pair:
    cfg, length, valid = preset.text, preset.dit.text_len, 100
    text, weights = UMT5(cfg), jax.tree.map(jnp.asarray, params["text"])
    ids = np.arange(length) % 300
    distance = np.arange(length)[None, :] - np.arange(length)[:, None]
    peer = Encode(params["text"], cfg, relative_buckets(distance, cfg.buckets, cfg.max_distance))
    given = jnp.asarray(ids[None], jnp.int32), jnp.array([valid])
    return lambda: shot.encode_prompt(text, weights, *given)[0], lambda: peer(
        torch.tensor(ids), valid
    )


PARTS = {"dit": dit_pair, "vae": vae_pair, "text": text_pair}


def to_torch(a: Any) -> torch.Tensor:
    narrow = a.dtype == jnp.bfloat16
    tensor = torch.tensor(np.array(a, np.float32))
    return tensor.to(torch.bfloat16) if narrow else tensor


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
