"""Group 11: self-forcing rollouts with recorded draws, and distribution matching.

The reference's own generator gradients contain a leak through its caches, which is not part of the
method (docs/method.md, section 6). So gradients are compared with `rollout_exit…_detached`, which
was recorded without the leak. Outputs and losses do not have it.
"""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.dit.conditions import Conditions, Dropped, drop_context
from shotstream_jax.dit.student import Student
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.generate.sampler import Guidance, shot_velocity
from shotstream_jax.memory.window import MemoryConfig
from shotstream_jax.train.losses import dmd
from shotstream_jax.train.losses.rollout import replay, rollout
from tests.parity.reference import (
    CHUNK,
    CONFIG,
    DIT,
    FEW_STEPS,
    arrays,
    dit_public,
    gradients,
    ids,
    video_last,
    weights,
)

DATA = arrays("g11_dmd.npz")
COND, FRAMES = CONFIG["cond"], CONFIG["F"]
FLAGS = DATA["in/flags"][: COND + 1]
CONDITIONS = Conditions(
    video_last(DATA["in/context_latent"]), ids(FLAGS, FLAGS), jnp.asarray(DATA["in/embeds"])[None]
)
NEGATIVE = jnp.asarray(DATA["in/neg_embeds"])
NETWORKS = dmd.DmdModels(
    Student(DIT, memory=MemoryConfig(context=COND, chunk=CHUNK)),
    Teacher(DIT),
    FEW_STEPS,
    Schedule(),
    dmd.DmdConfig(),
)
NONE = Dropped(jnp.zeros(1, bool), jnp.zeros(1, bool))
GENERATOR_ENTRY, _, CRITIC_ENTRY = DATA["out/timestep_ids_gen_dml_critic"]
LEAK = "its gradient contains the leak through the reference's caches (docs/method.md, section 6)"


@functools.cache
def params(name: str):
    return jax.tree.map(jnp.asarray, weights("dit", name))


def draws_of(name: str) -> list[np.ndarray]:
    return [DATA[k] for k in sorted(k for k in DATA if re.fullmatch(rf"in/draws_{name}_\d+", k))]


def last_step(name: str) -> int:
    """The step that a rollout stops at: it has one draw for each step up to it in every chunk.

    The generator's and the critic's draws have the start before them and the score's noise after.
    """
    count = len(draws_of(name))
    if name in ("gen", "critic"):
        count -= 2
    return count // (FRAMES // CHUNK) - 1


GENERATOR_LAST, CRITIC_LAST = last_step("gen"), last_step("critic")


def chunk_noise(start: np.ndarray, draws: list[np.ndarray], last: int) -> jnp.ndarray:
    """Recorded draws in our layout.

    For each chunk: the start, one for each later step (zeros if unused), and that of the commit.
    """
    chunks = []
    for chunk in range(FRAMES // CHUNK):
        fresh = draws[chunk * (last + 1) : (chunk + 1) * (last + 1)]
        unused = [np.zeros_like(fresh[0])] * (len(FEW_STEPS.nominal) - 1 - last)
        first = start[0, chunk * CHUNK : (chunk + 1) * CHUNK]
        chunks.append(np.stack([first, *fresh[:-1], *unused, fresh[-1]]))
    return jnp.asarray(np.moveaxis(np.stack(chunks)[None], 4, -1))


@jax.jit
def made(params, noise, last):
    return rollout(NETWORKS.student, params, CONDITIONS, noise, last, FEW_STEPS, Schedule())


# Rollouts that stop all chunks at one step, by name: rollout_exit<step>, perhaps with a variant.
ROLLOUTS = sorted({m[1] for k in DATA if (m := re.match(r"out/(rollout_exit\d+\w*)/output", k))})
(DETACHED,) = [case for case in ROLLOUTS if case.endswith("_detached")]
LEAKY = [case for case in ROLLOUTS if "_" not in case.removeprefix("rollout_")]


def recorded(case: str) -> tuple[int, jnp.ndarray]:
    """The step that all chunks stop at, and the recorded draws in our layout."""
    draws = case.split("_")[1]
    last = int(draws.removeprefix("exit"))
    assert last == last_step(draws)
    return last, chunk_noise(DATA["in/noise"], draws_of(draws), last)


MIXED = pytest.param(
    "rollout_exitmix",
    marks=pytest.mark.skip(reason="an exit a chunk: the method draws one for all"),
)


@pytest.mark.parametrize("case", [*ROLLOUTS, MIXED], ids=lambda case: f"g11-{case}")
def test_rollout(case, close):
    last, noise = recorded(case)
    result = made(params("generator"), noise, jnp.int32(last))
    close(result.x_0, video_last(DATA[f"out/{case}/output"]), "sample")
    nominal = [*FEW_STEPS.nominal, 0]
    assert DATA[f"out/{case}/denoised_timestep_from_to"].tolist() == nominal[last : last + 2]
    if f"out/{case}/cache_k_layer0" in DATA:  # the local cache, ours follows the context's keys
        tokens = COND * CONFIG["fs"]
        for got, key in (
            (result.past.keys[0], "cache_k_layer0"),
            (result.past.values[-1], "cache_v_last"),
        ):
            close(jnp.moveaxis(got[:, :, tokens:], 1, 2), DATA[f"out/{case}/{key}"], key)


@functools.cache
def replayed():
    @jax.jit
    def run(params, result, last, proj):
        def loss(params):
            x = replay(NETWORKS.student, params, CONDITIONS, result, last, FEW_STEPS)
            return jnp.sum(x * proj), x

        (_, x), grads = jax.value_and_grad(loss, has_aux=True)(params)
        return x, grads

    last, noise = recorded(DETACHED)
    result = made(params("generator"), noise, jnp.int32(last))
    return run(params("generator"), result, jnp.int32(last), video_last(DATA["in/proj"]))


@pytest.mark.parametrize(
    "case",
    [
        DETACHED,
        *[pytest.param(case, marks=pytest.mark.skip(reason=LEAK)) for case in (*LEAKY, "gen")],
    ],
    ids=lambda case: f"g11-gradients-{case}",
)
def test_gradients(case, close, close_gradients):
    """One parallel pass over all chunks."""
    x, grads = replayed()
    close(x, video_last(DATA[f"out/{case}/output"]), "sample")
    close_gradients(dit_public(grads), gradients(f"g11_dmd__{case}"))


SCORES = dmd.Scores(params("fake_score"), params("teacher"))


@jax.jit
def kl_gradient(x, x_t, t):
    return dmd.kl_gradient(NETWORKS, SCORES, CONDITIONS, NEGATIVE, x, x_t, t)


SCALED = [k.removeprefix("out/") for k in DATA if re.fullmatch(r"out/kl_t\d+", k)]


@pytest.mark.parametrize("case", SCALED, ids=lambda case: f"g11-{case}")
def test_kl_gradient(case, close):
    x, x_t = video_last(DATA["in/x0_fake"]), video_last(DATA["in/noise"])
    t = jnp.asarray([float(case.removeprefix("kl_t"))])
    close(kl_gradient(x, x_t, t), video_last(DATA[f"out/{case}"]), case)


@pytest.mark.parametrize("case", ["kl_t700_nonorm"], ids=lambda case: f"g11-{case}")
def test_kl_gradient_before_its_scale(case, close):
    """A direction does not depend on x: gradient · mean|x − real| is the same for two x."""
    x_t, t = video_last(DATA["in/noise"]), jnp.asarray([700.0])
    want = video_last(DATA[f"out/{case}"])
    got = kl_gradient(video_last(DATA["in/x0_fake"]), x_t, t)
    scale = jnp.sum(got * want) / jnp.sum(got * got)
    close(got * scale, want, case)


def test_kl_gradient_with_memory_guidance():
    """With one network as both scores and no text guidance only the context's guidance is left.

    It is c·(x₀ without context − x₀).
    """
    x, x_t, t = video_last(DATA["in/x0_fake"]), video_last(DATA["in/noise"]), jnp.asarray([700.0])
    same, c = params("teacher"), 0.5
    networks = dataclasses.replace(
        NETWORKS, config=dmd.DmdConfig(guidance=Guidance(0.0, context=c))
    )

    @jax.jit
    def x_0(conditions):
        v = shot_velocity(networks.score, same, conditions, x_t, t)
        return networks.schedule.velocity_to_x0(v, x_t, t)

    away = c * (x_0(CONDITIONS) - x_0(drop_context(CONDITIONS, jnp.ones(1, bool))))
    scale = jnp.mean(jnp.abs(x - x_0(CONDITIONS) - away))
    gradient = jax.jit(dmd.kl_gradient, static_argnums=0)
    got = gradient(networks, dmd.Scores(same, same), CONDITIONS, NEGATIVE, x, x_t, t)
    assert float(jnp.abs(got).max()) > 1e-3
    np.testing.assert_allclose(got, -away / scale, atol=1e-4 * float(jnp.abs(got).max()))


@pytest.mark.parametrize("case", ["dml"], ids=lambda case: f"g11-{case}")
def test_matching_loss(case, close):
    x, entry = video_last(DATA["in/x0_fake"]), DATA["out/timestep_ids_gen_dml_critic"][1:2]
    t = dmd.clamped_time(NETWORKS, jnp.asarray(entry))
    x_t = Schedule().add_noise(x, video_last(draws_of("dml")[0]), t)
    value, grad = jax.value_and_grad(lambda x: dmd.matching_loss(x, kl_gradient(x, x_t, t)))(x)
    close(value, DATA["out/dml/loss"], "loss")
    close(grad, video_last(DATA["out/dml/grad_x0"]), "gradient by the sample")


def draws(name: str, entry: int, last: int) -> dmd.DmdDraws:
    start, *fresh, noise = draws_of(name)
    return dmd.DmdDraws(
        chunk_noise(start, fresh, last), jnp.asarray([entry]), video_last(noise), NONE
    )


@pytest.mark.parametrize("case", ["gen"], ids=lambda case: f"g11-{case}")
def test_generator(case, close):
    last, d = jnp.int32(GENERATOR_LAST), draws("gen", GENERATOR_ENTRY, GENERATOR_LAST)

    @jax.jit
    def run(student, fake, real):
        def loss(student, fake):
            scores = dmd.Scores(fake, real)
            return dmd.generator_loss(NETWORKS, student, scores, CONDITIONS, NEGATIVE, d, last)

        return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(student, fake)

    (value, (metrics, result)), (grads, fake_grads) = run(
        *map(params, ("generator", "fake_score", "teacher"))
    )
    t = dmd.clamped_time(NETWORKS, d.time)
    close(t, DATA["out/gen/timestep"][:, 0], "time")
    close(result.x_0, video_last(DATA["out/gen/pred_x0"]), "sample")
    close(
        Schedule().add_noise(result.x_0, d.noise, t),
        video_last(DATA["out/gen/noisy_latent"]),
        "noised",
    )
    close(
        kl_gradient(result.x_0, Schedule().add_noise(result.x_0, d.noise, t), t),
        video_last(DATA["out/gen/kl_grad"]),
        "gradient",
    )
    close(value, DATA["out/gen/loss"], "loss")
    close(metrics["kl_gradient"], DATA["out/gen/dmdtrain_gradient_norm"], "mean absolute gradient")
    assert not DATA["out/gen/fake_has_grad"] and not any(
        np.any(g) for g in jax.tree.leaves(fake_grads)
    )
    assert any(np.any(g) for g in jax.tree.leaves(grads))


@pytest.mark.parametrize("case", ["critic"], ids=lambda case: f"g11-{case}")
def test_critic(case, close, close_gradients):
    last, d = jnp.int32(CRITIC_LAST), draws("critic", CRITIC_ENTRY, CRITIC_LAST)

    @jax.jit
    def run(student, fake):
        loss = lambda student, fake: dmd.critic_loss(NETWORKS, student, fake, CONDITIONS, d, last)  # noqa: E731
        return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(student, fake)

    (value, result), (student_grads, grads) = run(params("generator"), params("fake_score"))
    close(dmd.clamped_time(NETWORKS, d.time), DATA["out/critic/timestep"][:, 0], "time")
    close(result.x_0, video_last(DATA["out/critic/generated"]), "sample")
    close(value, DATA["out/critic/loss"], "loss")
    close_gradients(dit_public(grads), gradients("g11_dmd__critic_fake_score"))
    assert not DATA["out/critic/gen_has_grad"] and not any(
        np.any(g) for g in jax.tree.leaves(student_grads)
    )
