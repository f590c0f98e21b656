"""Every stage's step.

One device equals eight, all arrays lie where they should, micro-batches change nothing, programs
are compiled once, and adapters and averages are as they should be.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import activation_spec, constrain, make_mesh
from shotstream_jax.data.rows import ShotBatch
from shotstream_jax.data.samples import DataConfig
from shotstream_jax.dit.conditions import Conditions, Dropout, Dropped
from shotstream_jax.dit.lora import LoraConfig
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.generate.sampler import SamplerConfig, shot_velocity
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.model import random_params
from shotstream_jax.testing import tiny_preset
from shotstream_jax.train.build import make_stage
from shotstream_jax.train.losses.consistency import ConsistencyConfig
from shotstream_jax.train.losses.dmd import DmdConfig
from shotstream_jax.train.losses.flow_matching import FlowDraws, flow_loss, velocity_error
from shotstream_jax.train.losses.ode_regression import PairBatch
from shotstream_jax.train.losses.truth import TruthConfig
from shotstream_jax.train.optim import OptimConfig
from shotstream_jax.train.recipe import (
    ConsistencyRecipe,
    DmdRecipe,
    MeshConfig,
    OdeRecipe,
    PairsConfig,
    RunConfig,
    StartConfig,
    TeacherRecipe,
)
from shotstream_jax.train.setup import check_train_mesh, shardings_of, to_devices
from shotstream_jax.train.stages import consistency, dmd_inter, dmd_intra, ode_init, teacher
from shotstream_jax.train.stages.stage import abstract_start, compiled_step
from shotstream_jax.train.state import Trained
from shotstream_jax.world.class_maps import CLASSES

PRESET, FRAMES, BATCH, LR = tiny_preset(), 4, 4, 1e-3
MESHES = {
    "one": ({}, 1),
    "split": ({"fsdp": 2, "sequence": 2, "tensor": 2}, 8),
    "rows": ({"data": 2, "fsdp": 2, "sequence": 2}, 8),
}
GRID = PRESET.latent_grid(PRESET.video)
TEXT_LR = LR / 10  # the text encoder's
TRUTH = TruthConfig(weight=0.5, layer=1)
LORA = Trained("lora", LoraConfig(rank=4, alpha=8.0))


def recipe(stage: str, **run: Any) -> Any:
    common = {
        "stage": stage,
        "start": StartConfig("unused"),
        "data": DataConfig("unused", FRAMES),
        "run": RunConfig(steps=2, batch=BATCH, **run),
        "mesh": MeshConfig(),
        "optim": OptimConfig(LR, clip=1.0),
        "trained": Trained("all"),
        "dropout": Dropout(context=0.5, text=0.5),
    }
    dmd = {"teacher": "unused", "critic": OptimConfig(LR, clip=10.0), "fake": Trained("all")}
    dmd["distillation"] = DmdConfig(critic_steps=1)
    sampler = SamplerConfig()
    match stage:
        case "teacher":
            return TeacherRecipe(
                **common | {"trained": Trained("self_attention", ema=0.9)}, sampler=sampler
            )
        case "teacher_and_text":
            both = {"text_lr": TEXT_LR, "mask_weight": 3.0, "sampler": sampler, "truth": TRUTH}
            return TeacherRecipe(
                **common | {"stage": "teacher", "trained": Trained(ema=0.9)}, **both
            )
        case "causal_teacher":
            causal = {"mask_weight": 3.0, "sampler": sampler, "causal": True, "truth": TRUTH}
            return TeacherRecipe(**common | {"stage": "teacher"}, **causal)
        case "consistency":
            return ConsistencyRecipe(
                **common | {"trained": Trained(ema=0.9)}, consistency=ConsistencyConfig(pieces=2)
            )
        case "ode_init":
            return OdeRecipe(
                **common, pairs=PairsConfig("unused", count=1, batch=1, sampler=sampler)
            )
        case "dmd_intra":
            return DmdRecipe(**common, **dmd)
    return DmdRecipe(**common | {"trained": LORA}, **dmd | {"fake": LORA}, shots=3)


STAGES = ("teacher", "teacher_and_text", "causal_teacher", "ode_init", "consistency")
STAGES += ("dmd_intra", "dmd_inter")


def make(stage: str, mesh_name: str, **run: Any) -> Any:
    shape, devices = MESHES[mesh_name]
    mesh = make_mesh(shape, jax.devices()[:devices])
    return make_stage(recipe(stage, **run), PRESET, mesh, data=None)


def rows(stage: str) -> Any:
    """A global batch as the pipeline gives it."""
    generator = np.random.default_rng(5)

    def normal(*shape: int) -> np.ndarray:
        return generator.standard_normal((BATCH, *shape)).astype(np.float32)

    latent, text = (*GRID, PRESET.dit.channels), (PRESET.dit.text_len, PRESET.dit.text_dim)
    if stage == "dmd_inter":
        return normal(3, *text)
    ids = np.tile(np.int32([0, 0, 1, 1, 2]), (BATCH, 1))
    conditions = Conditions(normal(4, *latent), FrameIds(ids, ids), normal(5, *text))
    if stage in ("teacher", "consistency"):
        return ShotBatch(normal(FRAMES, *latent), conditions)
    if stage == "causal_teacher":
        target = normal(FRAMES, *latent)
        mask = generator.uniform(size=target.shape[:-1]).astype(np.float32)
        return ShotBatch(target, conditions, mask, labels_of_rows())
    if stage == "teacher_and_text":  # three captions, of 4, 6 and 8 tokens, in five slots
        target = normal(FRAMES, *latent)
        tokens = np.zeros((BATCH, 5, PRESET.dit.text_len), np.int32)
        mask = generator.uniform(size=target.shape[:-1]).astype(np.float32)
        for slot, length in enumerate((4, 6, 8)):
            tokens[:, slot, :length] = generator.integers(1, PRESET.text.vocab, (BATCH, length))
        conditions = dataclasses.replace(conditions, text=tokens)
        return ShotBatch(target, conditions, mask, labels_of_rows())
    if stage == "ode_init":
        return PairBatch(normal(5, FRAMES, *latent), conditions)
    return conditions


def labels_of_rows() -> np.ndarray:
    """Classes of [context, target]; more than half of the cells show nothing."""
    generator = np.random.default_rng(8)
    shape = (BATCH, PRESET.memory.context + FRAMES, *GRID, len(CLASSES))
    something = generator.integers(0, CLASSES, shape)
    return (something * generator.integers(0, 2, shape)).astype(np.int32)


@functools.cache
def weights(seed: int) -> Any:
    return random_params(PRESET, seed)


def begin(stage: Any) -> tuple[Any, Any]:
    """State and fixed arrays on the mesh, as train/run/start makes them from checkpoints."""
    loaded = {o: weights({"start": 1, "teacher": 2}[o.checkpoint])[o.part] for o in stage.origins}
    shape = (1, PRESET.dit.text_len, PRESET.dit.text_dim)
    negative = np.random.default_rng(6).standard_normal(shape).astype(np.float32)
    if stage.negative == "tokens":
        negative = np.zeros(shape[:2], np.int32)
    state_places, fixed_places = shardings_of(abstract_start(stage))
    state = jax.jit(stage.initial_state, out_shardings=state_places)(loaded)
    return state, jax.jit(stage.fixed, out_shardings=fixed_places)(loaded, negative)


def networks(state: Any) -> dict[str, Any]:
    """The networks of a stage's state, by name."""
    holder = state.networks if hasattr(state, "networks") else state
    fields = {f.name: getattr(holder, f.name) for f in dataclasses.fields(holder)}
    return {name: network for name, network in fields.items() if network is not None}


@functools.cache
def two_steps(name: str, mesh_name: str, **run: Any) -> tuple[Any, list[Any], Any]:
    """The stage, the metrics of two steps, and the state after them.

    Where there are generator and critic steps, it is one of each.
    """
    stage = make(name, mesh_name, **run)
    with jax.set_mesh(stage.setup.mesh):
        state, frozen = begin(stage)
        batch, found = to_devices(stage.setup.mesh, rows(name), BATCH), []
        for i in range(2):
            state, metrics = stage.step(i, state, frozen, batch)
            found.append(jax.device_get(metrics))
    return stage, found, state


def second_moments(state: Any) -> list[Any]:
    """0.001·g² of the first step, and so on: the gradients that an optimiser has seen."""
    found = networks(state).values()
    return [leaf for network in found for leaf in jax.tree.leaves(network.optim)]


def same_training(one: tuple, other: tuple) -> None:
    (_, metrics, state), (_, other_metrics, other_state) = one, other
    for a, b in zip(metrics, other_metrics, strict=True):
        assert a.keys() == b.keys() and all(np.isfinite(list(a.values())))
        for name in a:
            np.testing.assert_allclose(b[name], a[name], rtol=2e-4, err_msg=name)
    for a, b in zip(second_moments(state), second_moments(other_state), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        np.testing.assert_allclose(b, a, atol=1e-3 * np.abs(a).max())
    for name, network in networks(state).items():
        other_moves = networks(other_state)[name].moves
        pairs = zip(jax.tree.leaves(network.moves), jax.tree.leaves(other_moves), strict=True)
        for a, b in pairs:
            error = np.abs(np.asarray(a) - np.asarray(b))
            # AdamW's first step with β₁ = 0 is g/|g|: where a gradient is only rounding error, its
            # sign is not certain.
            assert error.max() <= 4.1 * LR and np.mean(error > LR / 50) < 0.01


@pytest.mark.parametrize("name", STAGES)
def test_one_device_is_eight(name):
    same_training(two_steps(name, "one"), two_steps(name, "split"))


def test_rows_over_two_axes():
    same_training(two_steps("teacher", "one"), two_steps("teacher", "rows"))


@pytest.mark.parametrize("name", ["teacher", "causal_teacher"])
def test_micro_batches_change_nothing(name):
    same_training(two_steps(name, "one"), two_steps(name, "one", accumulate=2))


def test_linears_in_bfloat16_change_a_step_a_little():
    _, exact, _ = two_steps("teacher_and_text", "split")
    _, rounded, _ = two_steps("teacher_and_text", "split", precision="bfloat16")
    for a, b in zip(exact, rounded, strict=True):
        for name in ("loss", "grad_norm"):
            np.testing.assert_allclose(b[name], a[name], rtol=2e-2, err_msg=name)
    assert rounded[0]["loss"] != exact[0]["loss"]


@pytest.mark.parametrize("name", STAGES)
def test_everything_lies_where_its_rule_says(name):
    stage, _, state = two_steps(name, "split")
    jax.tree.map(
        lambda a, s: a.sharding == s.sharding or pytest.fail(str(s)),
        state,
        abstract_start(stage)[0],
    )
    network = next(iter(networks(state).values()))
    q = {"teacher": P(None, "fsdp", "tensor"), "dmd_inter": P(None, "fsdp", None)}.get(
        name, P(None, "fsdp", "tensor")
    )
    kernel = lambda tree: tree["blocks"]["self_attn"]["q"]["a" if name == "dmd_inter" else "kernel"]  # noqa: E731
    assert kernel(network.moves).sharding.spec == q
    moments = [a for a in jax.tree.leaves(network.optim) if a.ndim]
    assert [a.sharding for a in moments] == [a.sharding for a in jax.tree.leaves(network.moves)]
    assert len({a.sharding.spec for a in moments}) > 1
    if name == "dmd_inter":
        assert state.history.sharding.spec[0] == ("data", "fsdp")


@pytest.mark.parametrize("name", STAGES)
def test_compiled_once(name):
    stage, *_ = two_steps(name, "one")
    steps = {
        "teacher": (teacher.teacher_step,),
        "teacher_and_text": (teacher.teacher_step,),
        "causal_teacher": (teacher.teacher_step,),
        "consistency": (consistency.consistency_step,),
        "ode_init": (ode_init.regression_step,),
        "dmd_intra": (dmd_intra.intra_generator_step, dmd_intra.intra_critic_step),
        "dmd_inter": (dmd_inter.inter_generator_step, dmd_inter.inter_critic_step),
    }[name]
    if name == "dmd_inter":
        programs = [compiled_step(step, stage, outputs=2) for step in steps]
        programs.append(dmd_inter.compiled_extension(stage))
    else:
        programs = [compiled_step(step, stage) for step in steps]
    assert [program._cache_size() for program in programs] == [1] * len(programs)


def test_only_what_is_trained_moves():
    _, _, state = two_steps("teacher", "one")
    start = weights(1)["dit"]["blocks"]["self_attn"]["q"]["kernel"]
    network = state.teacher
    assert set(network.moves["blocks"]) == {"self_attn"} and set(network.moves) == {"blocks"}
    moved, average = (
        tree["blocks"]["self_attn"]["q"]["kernel"] for tree in (network.moves, network.ema)
    )
    assert np.abs(moved - start).max() > LR
    # 0.9 of the way back at the second step: nearer to the start than to the newest.
    assert 0 < np.abs(average - start).mean() < np.abs(moved - average).mean()


def test_a_mask_weighs_errors():
    """Weights of one are none; where all but a cell's are zero, the error is that cell's."""
    conditions, x, noise, t = jax.tree.map(
        jnp.asarray, (rows("ode_init").conditions, *draws_of_a_target())
    )
    network, schedule, params = Teacher(PRESET.dit), Schedule(), weights(1)["dit"]
    measure = jax.jit(
        lambda w: velocity_error(network, schedule, params, conditions, x, noise, t, w)
    )
    plain = velocity_error(network, schedule, params, conditions, x, noise, t)
    np.testing.assert_allclose(measure(jnp.ones(x.shape[:4])), plain, rtol=1e-5)
    one = jnp.zeros(x.shape[:4]).at[:, 1, 2, 3].set(0.5)
    v = shot_velocity(network, params, conditions, schedule.add_noise(x, noise, t), t)
    np.testing.assert_allclose(
        measure(one), jnp.mean((v - noise + x)[:, 1, 2, 3] ** 2, -1), rtol=1e-4
    )


def test_noise_levels_weigh_alike_without_the_time_weight():
    """At pure noise the paper's weight leaves nothing of the error."""
    conditions, x, noise, t = jax.tree.map(
        jnp.asarray, (rows("ode_init").conditions, *draws_of_a_target())
    )
    network, schedule, params = Teacher(PRESET.dit), Schedule(), weights(1)["dit"]
    entry, kept = schedule.index(t).at[0].set(0), jnp.zeros(len(t), bool)
    draws = FlowDraws(entry, noise, Dropped(kept, kept))
    errors = velocity_error(
        network, schedule, params, conditions, x, noise, jnp.asarray(schedule.times)[entry]
    )
    losses = [
        flow_loss(network, schedule, params, x, conditions, draws, None, on) for on in (True, False)
    ]
    weight = jnp.asarray(schedule.weights)[entry]
    assert weight[0] < 0.01 < errors[0]
    np.testing.assert_allclose(losses, [jnp.mean(weight * errors), jnp.mean(errors)], rtol=1e-5)


def draws_of_a_target() -> tuple[Any, ...]:
    """Latents, noise and times of a batch."""
    generator = np.random.default_rng(7)
    x, noise = generator.standard_normal((2, BATCH, FRAMES, *GRID, PRESET.dit.channels)).astype(
        np.float32
    )
    return x, noise, np.float32([900, 700, 400, 100])


def test_a_text_encoder_learns_with_the_teacher():
    """A text encoder learns at a rate of its own.

    Only the embeddings of the tokens that occur move, apart from the weight decay of all.
    """
    stage, metrics, state = two_steps("teacher_and_text", "one")
    assert stage.origins == (teacher.DIT, teacher.TEXT) and metrics[0]["text/grad_norm"] > 0
    table, start = state.text.moves["embedding"], weights(1)["text"]["embedding"]
    change = np.abs(table - start * (1 - 0.01 * TEXT_LR) ** 2).max(axis=1)
    moved = change > TEXT_LR / 2
    assert change.max() < 4 * TEXT_LR  # two steps at the transformer's would be 10
    told = set(rows("teacher_and_text").conditions.text.ravel().tolist()) - {
        0
    }  # a story whose text is dropped tells nothing
    assert len(told) / 2 < moved.sum() and set(np.flatnonzero(moved).tolist()) <= told
    assert np.any(state.text.ema["embedding"] != start)


def test_stage_four_trains_adapters_on_its_own_history():
    _, metrics, state = two_steps("dmd_inter", "one")
    assert {"generator/loss", "critic/loss"} <= set(metrics[0]) | set(metrics[1])
    for network in (state.networks.student, state.networks.fake):
        b = network.moves["blocks"]["ffn_out"]["b"]
        assert np.any(b) and np.abs(b).max() <= 1.1 * LR
    story = np.asarray(state.history)
    assert np.any(story[:, 0]) and np.any(story[:, 1]) and not np.any(story[:, 2])


def test_an_adapted_fake_score_has_no_base_of_its_own():
    """The real score's parameters are its base: what it was with a copy of them, to the bit."""
    stage = make("dmd_inter", "one")
    state, fixed = begin(stage)
    distillation, networks_fixed = stage.distillation, fixed.networks
    assert networks_fixed.fake == {} and networks_fixed.student
    moves = jax.tree.map(lambda a: a + 0.01, state.networks.fake.moves)
    adapted = dataclasses.replace(state.networks.fake, moves=moves)
    found = distillation.fake_params(
        dataclasses.replace(state.networks, fake=adapted), networks_fixed
    )
    jax.tree.map(np.testing.assert_array_equal, found, LORA.join(moves, weights(2)["dit"]))


def test_activations_take_their_letters():
    mesh = make_mesh(MESHES["split"][0], jax.devices()[:8])
    assert activation_spec(mesh, "b f t d", (4, 3, 6, 48)) == P(
        ("data", "fsdp"), None, "sequence", None
    )
    assert activation_spec(mesh, "b n f t k", (4, 3, 3, 6, 8)) == P(
        ("data", "fsdp"), None, None, "sequence", None
    )
    with pytest.raises(ValueError, match="'b f q d'"):
        activation_spec(mesh, "b f q d", (4, 3, 6, 48))
    with jax.set_mesh(mesh):
        laid = jax.jit(lambda x: constrain(x, "b f t d"))(jnp.zeros((4, 3, 6, 48)))
    assert laid.sharding.spec in (
        P(("data", "fsdp"), None, "sequence"),
        P("fsdp", None, "sequence"),
    )


@pytest.mark.parametrize(
    "shape, change, message",
    [
        ({"fsdp": 8}, {}, r"run.batch 4 in 1 pieces .* = 8 devices: make it a multiple of 8"),
        (
            {"fsdp": 4, "sequence": 2},
            {"accumulate": 2},
            r"run.batch 4 in 2 pieces .* multiple of 8",
        ),
        ({"fsdp": 2, "sequence": 4}, {}, r"6 tokens do not divide over mesh.sequence=4"),
    ],
)
def test_a_batch_that_the_mesh_cannot_deal_out(shape, change, message):
    r = dataclasses.replace(recipe("teacher"), run=RunConfig(steps=1, batch=BATCH, **change))
    with pytest.raises(InputError, match=message):
        check_train_mesh(PRESET, r.run, make_mesh(shape, jax.devices()[:8]), GRID)


def test_shardings_survive_a_step():
    """A step gives back what it took: the next one compiles nothing new."""
    stage, _, state = two_steps("dmd_intra", "split")
    assert jax.tree.leaves(shardings_of(state)) == jax.tree.leaves(
        shardings_of(abstract_start(stage)[0])
    )
