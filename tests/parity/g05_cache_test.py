"""Group 5: the student's cached passes (prefill, denoise, commit): velocities and caches."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.dit.student import Student
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.memory.cache import Caches
from shotstream_jax.memory.window import MemoryConfig
from tests.parity.reference import (
    CHUNK,
    CONFIG,
    DIT,
    arrays,
    ids,
    video_last,
    weights,
    window_sizes,
)

DATA = arrays("g05_student_cached.npz")
CONTEXT, FLAGS, EMBEDS = CONFIG["cond5"], DATA["in/flags"], jnp.asarray(DATA["in/embeds"])[None]
TOKENS = CONFIG["fs"]
CALLS = [k.removeprefix("in/x_") for k in DATA if k.startswith("in/x_")]
VARIANTS = sorted(
    {m[1] for k in DATA if (m := re.match(r"out/(\w+)/prefill/", k)) and not m[1].endswith("_wo")}
)
COMPARED = [
    k.removeprefix("out/train_vs_cache_maxabs/") for k in DATA if k.startswith("out/train_vs_cache")
]
WITHOUT_ROTATION = (
    "keys cached without rotation, with literal frame numbers: not needed, as positions restart at "
    "every shot"
)
SKIPPED = [
    pytest.param(v, marks=pytest.mark.skip(reason=WITHOUT_ROTATION))
    for v in ("global_wo", "local6_sink0_wo")
]
PARAMS = {"params": weights("dit", "generator")}


def parse(call: str) -> tuple[int, float]:
    """A call's chunk and exact time; names carry whole numbers."""
    chunk, t = map(int, re.fullmatch(r"c(\d+)_t(\d+)", call).groups())
    return chunk, {957: 957.8544, 1000: 1000.0, 737: 737.5887, 0: 0.0}[t]


class Case:
    """One variant: its student, ids and captions."""

    def __init__(self, variant: str):
        memory = MemoryConfig(context=CONTEXT, chunk=CHUNK, **window_sizes(variant))
        self.student = Student(DIT, memory=memory)
        self.plain = "noflags" in variant
        slots = np.zeros((1, self.student.memory.captions, *EMBEDS.shape[2:]), np.float32)
        slots[:, : EMBEDS.shape[1]] = EMBEDS
        self.text = jnp.asarray(slots)

    def ids(self, first: int, stop: int):
        flags = FLAGS[first:stop]
        return ids(np.zeros_like(flags)) if self.plain else ids(flags, flags)

    def chunk_ids(self, chunk: int):
        first = CONTEXT + chunk * CHUNK
        return self.ids(first, first + CHUNK)


@functools.cache
def run(variant: str) -> dict[str, tuple[np.ndarray, np.ndarray, Caches]]:
    """Every call in order: (velocity, x₀, caches after the call).

    The caches are committed after the clean pass.
    """
    case = Case(variant)
    apply = {
        name: jax.jit(functools.partial(case.student.apply, method=name))
        for name in ("denoise", "commit")
    }
    context = video_last(DATA["in/context"])
    caches = case.student.init_caches(1, *context.shape[2:4])
    caches = case.student.apply(
        PARAMS, context, case.ids(0, CONTEXT), case.text, caches, method="prefill_context"
    )
    done = {"prefill": (None, None, caches)}
    for call in CALLS:
        (chunk, t), x = parse(call), video_last(DATA[f"in/x_{call}"])
        v, caches = apply["denoise"](
            PARAMS, x, jnp.full(1, t, jnp.float32), case.chunk_ids(chunk), caches
        )
        if t == 0:
            caches = apply["commit"](PARAMS, x, case.chunk_ids(chunk), caches)
        done[call] = (v, Schedule().velocity_to_x0(v, x, jnp.full((1, CHUNK), t)), caches)
    return done


def whole(variant: str, call: str) -> np.ndarray:
    """The velocities of all frames by the whole-sequence form.

    Its sequence is [context, earlier chunks (clean), this chunk].
    """
    case, (chunk, t) = Case(variant), parse(call)
    pieces = [
        DATA["in/context"],
        *(DATA[f"in/x_c{i}_t0"] for i in range(chunk)),
        DATA[f"in/x_{call}"],
    ]
    x = video_last(np.concatenate(pieces, axis=1))
    times = jnp.zeros(x.shape[:2]).at[:, -CHUNK:].set(t)
    return case.student.apply(PARAMS, x, times, case.ids(0, x.shape[1]), case.text)


def stored(variant: str, caches: Caches, side: str) -> np.ndarray:
    """The visible part of our buffer in the reference's order of frames.

    [layers, 1, tokens, heads, width].
    """
    memory, fill = Case(variant).student.memory, int(caches.fill[0])
    first = fill - CHUNK
    frames = [
        f for r in (*memory.visible_past(first), slice(first, fill)) for f in range(r.start, r.stop)
    ]
    slots = [int(memory.slot(jnp.int32(f // CHUNK * CHUNK))) + f % CHUNK for f in frames]
    tokens = np.concatenate([np.arange(s * TOKENS, (s + 1) * TOKENS) for s in slots])
    return np.swapaxes(np.asarray(getattr(caches.frames, side))[:, :, :, tokens], 2, 3)


@pytest.mark.parametrize("call", CALLS, ids=str)
@pytest.mark.parametrize("variant", [*VARIANTS, *SKIPPED], ids=lambda v: f"g05-{v}")
def test_calls(variant, call, close):
    velocity, x_0, caches = run(variant)[call]
    close(velocity, video_last(DATA[f"out/{variant}/{call}/flow_pred"]), "flow")
    close(x_0, video_last(DATA[f"out/{variant}/{call}/pred_x0"]), "x0")
    if parse(call)[1] == 0:  # after another call the reference's cache holds that pass's noisy keys
        recorded = (
            DATA.get(f"out/{variant}/{call}/cache_k"),
            DATA.get(f"out/{variant}/{call}/cache_v"),
        )
        for side, want in zip(("keys", "values"), recorded, strict=True):
            if want is not None:
                got = stored(variant, caches, side)
                close(got, want[:, :, : got.shape[2]], side)


@pytest.mark.parametrize("variant", [*VARIANTS, *SKIPPED], ids=lambda v: f"g05-{v}-prefill")
def test_prefill(variant, close):
    *_, caches = run(variant)["prefill"]
    for side in ("keys", "values"):
        got = np.swapaxes(
            np.asarray(getattr(caches.frames, side))[:, :, :, : CONTEXT * TOKENS], 2, 3
        )
        close(got, DATA[f"out/{variant}/prefill/context_{side[0]}"], side)
    # Prefill itself makes no velocity; the whole-sequence form's context frames are the same pass.
    v = whole(variant, CALLS[0])[:, :CONTEXT]
    close(v, video_last(DATA[f"out/{variant}/prefill/flow_pred"]), "flow")
    x_0 = Schedule().velocity_to_x0(v, video_last(DATA["in/context"]), jnp.zeros((1, CONTEXT)))
    close(x_0, video_last(DATA[f"out/{variant}/prefill/pred_x0"]), "x0")


@pytest.mark.parametrize("name", COMPARED, ids=lambda name: f"g05-cached-is-whole-{name}")
def test_cached_is_whole(name, close):
    variant, call = name.split("/")
    close(run(variant)[call][0], whole(variant, call)[:, -CHUNK:], "cached against whole")
