"""Group 13: adapters and the official checkpoint files.

Adapters are applied, merged and read from every file layout; their gradients are compared too.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.convert import public
from shotstream_jax.convert.checkpoints import write_public
from shotstream_jax.convert.lora.adapter import read_adapter
from shotstream_jax.convert.lora.merge import Weighted, merge_adapters, state_shapes
from shotstream_jax.convert.reader import open_part_of_file
from shotstream_jax.convert.tables import dit_table, part_table
from shotstream_jax.convert.torch_io import read_torch
from shotstream_jax.core.errors import InputError
from shotstream_jax.dit.lora import LoraConfig, apply_lora, init_lora
from shotstream_jax.dit.student import Student
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.memory.window import MemoryConfig
from shotstream_jax.model import abstract_params
from tests.parity.reference import (
    CHUNK,
    CONFIG,
    DIT,
    FEW_STEPS,
    ROOT,
    arrays,
    gradients,
    ids,
    kept_step_numbers,
    preset,
    video_last,
    weights,
)
from tests.public_layout import from_public, lora_table, read_lora, to_public

DATA = arrays("g13_lora.npz")
LORA = LoraConfig(rank=CONFIG["lora_rank"], alpha=CONFIG["lora_alpha"])
FLAGS, TEXT = DATA["in/flags"], jnp.asarray(DATA["in/embeds"])[None]
X, IDS = video_last(DATA["in/x"]), ids(FLAGS, FLAGS)
MODEL = preset(MemoryConfig())
KEYS = {"generator": "generator_lora", "critic": "critic_lora"}
FILES = ("tiny_lora.pt", "tiny_lora.safetensors")
CKPT = ROOT / "ckpt"


def base(model: str):
    return jax.tree.map(
        jnp.asarray, weights("dit", {"generator": "generator", "critic": "fake_score"}[model])
    )


def merge(state, key: str, **options):
    """A public state dict with the fixture's adapter merged."""
    adapter = read_adapter(CKPT / FILES[0], state_shapes(state), key=key, **options)
    return merge_adapters(state, [Weighted(adapter, 1.0)])


def adapter(model: str, file: str = FILES[0]):
    return read_lora(CKPT / file, MODEL, KEYS[model], rank=LORA.rank)


@jax.jit
def generator(params):
    student = Student(DIT, memory=MemoryConfig(context=CONFIG["cond"], chunk=CHUNK))
    return student.apply({"params": params}, X, jnp.asarray(DATA["in/timestep"]), IDS, TEXT)


@jax.jit
def critic(params):
    return Teacher(DIT).apply(
        {"params": params}, X, jnp.asarray(DATA["in/t_uniform"][:, 0]), IDS, TEXT
    )


MODELS = {"generator": generator, "critic": critic}


@pytest.mark.parametrize("model", MODELS, ids=lambda m: f"g13-{m}-base")
def test_base(model, close):
    close(MODELS[model](base(model)), video_last(DATA[f"out/{model}/base_flow"]), "flow")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("file", FILES, ids=lambda f: f"g13-{f}")
def test_applied(model, file, close):
    flow = MODELS[model](apply_lora(base(model), adapter(model, file), LORA))
    close(flow, video_last(DATA[f"out/{model}/lora_unmerged_flow"]), "unmerged")
    if model == "generator":
        x_0 = Schedule().velocity_to_x0(flow, X, jnp.asarray(DATA["in/timestep"]))
        close(x_0, video_last(DATA["out/generator/lora_unmerged_x0"]), "x0")


@pytest.mark.parametrize("model", MODELS, ids=lambda m: f"g13-{m}-merged")
def test_merged(model, close):
    """Merging the public files and then converting: the same flow as the reference's merged one."""
    state = to_public(
        dit_table(DIT), weights("dit", {"generator": "generator", "critic": "fake_score"}[model])
    )
    merged = merge(state, KEYS[model], alpha=LORA.alpha, rank=LORA.rank)
    params = from_public(dit_table(DIT), abstract_params(MODEL, "dit"), merged)
    close(MODELS[model](params), video_last(DATA[f"out/{model}/lora_merged_flow"]), "flow")


@pytest.mark.parametrize("model", ["generator"], ids=lambda m: f"g13-{m}-gradients")
def test_gradients(model, close_gradients):
    proj, params = video_last(DATA["in/proj"]), base(model)
    loss = lambda lora: jnp.sum(generator(apply_lora(params, lora, LORA)) * proj)  # noqa: E731
    grads = to_public(lora_table(DIT, LORA.rank), jax.jit(jax.grad(loss))(adapter(model)))
    want = {
        key.replace(".default.", "."): value
        for key, value in gradients("g13_lora__generator").items()
    }
    close_gradients(
        grads, {k if k in grads else f"base_model.model.{k}": v for k, v in want.items()}
    )


@pytest.mark.parametrize("model", KEYS, ids=lambda m: f"g13-{m}-names")
def test_names(model, tmp_path):
    """Names and shapes are PEFT's, both ways."""
    recorded = json.loads((ROOT / "g13_lora.json").read_text())
    keys = recorded.get(f"{model}_lora_keys", recorded["generator_lora_keys"])
    assert lora_table(DIT, LORA.rank).shapes() == {k: tuple(v) for k, v in keys.items()}
    written = {KEYS[model]: to_public(lora_table(DIT, LORA.rank), adapter(model)), "step": 5}
    write_public(written, tmp_path / "x.pt", lambda _: None)
    same(read_torch(tmp_path / "x.pt")[KEYS[model]], read_torch(CKPT / FILES[0])[KEYS[model]])


@pytest.mark.parametrize("case", ["init"], ids=lambda case: f"g13-{case}")
def test_a_fresh_adapter_changes_nothing(case):
    fresh = init_lora(base("generator"), LORA, jax.random.key(0))
    merged = apply_lora(base("generator"), fresh, LORA)
    jax.tree.map(np.testing.assert_array_equal, merged, base("generator"))
    a = fresh["blocks"]["self_attn"]["q"]["a"]
    assert a.shape == (DIT.layers, DIT.dim, LORA.rank) and 0 < jnp.abs(a).max() <= DIT.dim**-0.5


@pytest.mark.parametrize("case", ["rank"], ids=lambda case: f"g13-{case}")
def test_an_adapter_of_another_rank_is_named(case):
    state = open_part_of_file(CKPT / "tiny_generator.pt", "dit")
    with pytest.raises(
        InputError, match=rf"blocks.0.self_attn.q.* rank {LORA.rank}, not rank {LORA.rank + 1}"
    ):
        merge(state, "generator_lora", rank=LORA.rank + 1)
    with pytest.raises(InputError, match=r"does not fit the transformer: base_model.model.blocks"):
        merge({"other.weight": np.zeros((2, 2), np.float32)}, "generator_lora")
    with pytest.raises(InputError, match="no adapter other_lora"):
        merge(state, "other_lora")


def same(a: dict, b: dict) -> None:
    assert set(a) == set(b)
    for key in a:
        assert a[key].dtype == b[key].dtype and np.array_equal(
            np.asarray(a[key]), np.asarray(b[key])
        ), key


# The official files, one by one.
@pytest.mark.parametrize(
    "file", ["tiny_generator.pt", "tiny_teacher_bf16.pt"], ids=lambda f: f"g13-{f}"
)
def test_transformer_files(file, tmp_path):
    state = open_part_of_file(CKPT / file, "dit")
    assert {k: array.shape for k, array in state.items()} == dit_table(DIT).shapes()
    if "teacher" in file:
        want = to_public(dit_table(DIT), weights("dit", "teacher"))
        same(state, {k: v.astype(state[k].dtype) for k, v in want.items()})
    write_public(public.wrapped(state, "generator"), tmp_path / "x.pt", lambda _: None)
    same(read_torch(tmp_path / "x.pt")["generator"], dict(read_torch(CKPT / file)["generator"]))


@pytest.mark.parametrize("file", ["tiny_merged.pt"], ids=lambda f: f"g13-{f}")
def test_merged_file(file, close):
    state = open_part_of_file(CKPT / "tiny_generator.pt", "dit")
    merged, want = (
        merge(state, "generator_lora", alpha=LORA.alpha),
        open_part_of_file(CKPT / file, "dit"),
    )
    assert set(merged) == set(want)
    for key in want:
        close(merged[key], want[key], key)


@pytest.mark.parametrize("file", ["tiny_models_t5_enc_bf16.pth"], ids=lambda f: f"g13-{f}")
def test_text_encoder_file(file):
    model = MODEL
    state = open_part_of_file(CKPT / file, "text")
    params = from_public(part_table(model, "text"), abstract_params(model, "text"), state)
    want = jax.tree.map(
        lambda a: a.astype(state["norm.weight"].dtype).astype(np.float32), weights("text", "t5")
    )
    jax.tree.map(np.testing.assert_array_equal, params, want)


@pytest.mark.parametrize("file", ["tiny_ode_sample.pt"], ids=lambda f: f"g13-{f}")
def test_ode_sample_file(file):
    sample = read_torch(CKPT / file)
    shape = (1, CONFIG["F"], DIT.channels, CONFIG["lat_h"], CONFIG["lat_w"])
    inputs = [f"{step}_input" for step in kept_step_numbers(sample)]
    assert len(inputs) == len(FEW_STEPS.nominal)
    for key in ("noise", *inputs, "pred_x0"):
        assert sample[key].shape == shape and np.isfinite(np.asarray(sample[key])).all()
    assert np.array_equal(np.asarray(sample["noise"]), np.asarray(sample["0_input"]))
    assert (
        len(sample["caption"]) == CONFIG["nshots"]
        and sample["shot_flags_for_rope"].dtype == np.int32
    )
