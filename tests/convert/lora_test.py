"""Adapters in public files: every naming, every source of alpha, what is refused, merging."""

import json

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shotstream_jax.convert.lora.adapter import read_adapter
from shotstream_jax.convert.lora.merge import Weighted, merge_adapters
from shotstream_jax.convert.torch_io import write_torch
from shotstream_jax.core.errors import InputError
from tests.convert.adapters import (
    ENDINGS,
    FORMS,
    LAYERS,
    SHAPES,
    Factors,
    base_state,
    layer_name,
    random_factors,
)
from tests.convert.containers import write_safetensors_file

Q = "blocks.0.self_attn.q"
RNG = np.random.default_rng(0)
BASE = base_state(RNG)
FACTORS = random_factors(RNG, Q, 4)
PLAIN = {f"{Q}.lora_A.weight": FACTORS.down, f"{Q}.lora_B.weight": FACTORS.up}


def merged(path, base=None, strength=1.0, **options) -> dict[str, np.ndarray]:
    base = BASE if base is None else base
    shapes = {name: array.shape for name, array in base.items()}
    adapter = read_adapter(path, shapes, **options)
    state = merge_adapters(base, [Weighted(adapter, strength)])
    return {name: np.asarray(array) for name, array in state.items()}


def written(folder, state, metadata=None, name="x.safetensors"):
    if name.endswith(".safetensors"):
        write_safetensors_file(folder / name, state, metadata)
    else:
        write_torch(folder / name, state)
    return folder / name


def check(got: dict, changed: dict) -> None:
    """These parameters have these values, all others are the base's, bit for bit."""
    for name, original in BASE.items():
        if name in changed:
            np.testing.assert_allclose(got[name], changed[name], rtol=1e-4, atol=1e-4, err_msg=name)
        else:
            assert np.array_equal(got[name], original), name


def with_product(layer: str, factors: Factors, strength=1.0) -> np.ndarray:
    name = f"{layer}.weight"
    return BASE[name] + strength * factors.product(SHAPES[name])


@pytest.mark.parametrize("endings", ENDINGS, ids=lambda e: e[0])
@pytest.mark.parametrize("form", FORMS)
def test_every_naming(tmp_path, form, endings):
    name = layer_name(form, Q)
    state = {name + endings[0]: FACTORS.down, name + endings[1]: FACTORS.up}
    check(merged(written(tmp_path, state)), {f"{Q}.weight": with_product(Q, FACTORS)})


@pytest.mark.parametrize(
    "down, up",
    [
        (
            "lora_unet_blocks_0.self_attn.q.lora_down.weight",
            "lora_unet_blocks_0.self_attn.q.lora_up.weight",
        ),
        (
            "base_model.model._fsdp_wrapped_module.blocks.0._fsdp_wrapped_module."
            "_checkpoint_wrapped_module.self_attn.q.lora_A.default.weight",
            "base_model.model._fsdp_wrapped_module.blocks.0._fsdp_wrapped_module."
            "_checkpoint_wrapped_module.self_attn.q.lora_B.default.weight",
        ),
        (
            "transformer.blocks.0.attn1.processor.to_q_lora.down.weight",
            "transformer.blocks.0.attn1.processor.to_q_lora.up.weight",
        ),
        ("lycoris_blocks_0_self_attn_q.lora_down.weight", "blocks.0.attn1.to_q.lora_B"),
    ],
)
def test_odd_namings(tmp_path, down, up):
    path = written(tmp_path, {down: FACTORS.down, up: FACTORS.up})
    check(merged(path), {f"{Q}.weight": with_product(Q, FACTORS)})


def settings_of(alpha: float, rank: int, **more) -> dict:
    return {"peft_type": "LORA", "lora_alpha": alpha, "r": rank, "bias": "none", **more}


@given(data=st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_random_adapters_read_back(tmp_path_factory, data):
    """Naming × ending × layers × ranks × where alpha is said × container."""
    folder = tmp_path_factory.mktemp("adapter")
    form = data.draw(st.sampled_from(FORMS))
    endings = data.draw(st.sampled_from(ENDINGS))
    kind = data.draw(st.sampled_from(["none", "tensor", "config", "header", "diffusers"]))
    container = data.draw(st.sampled_from(["adapter_model.safetensors", "adapter_model.bin"]))
    layers = data.draw(st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, unique=True))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    if kind in ("header", "diffusers"):
        container = "adapter_model.safetensors"
    ranks = st.integers(1, 5)
    alphas = st.sampled_from([0.5, 3.0, 8.0])
    same_rank, same_alpha = data.draw(ranks), data.draw(alphas)

    state, changed = {}, {}
    for layer in layers:
        # What is said once for all is of one rank, as programs that say so have it.
        rank = same_rank if kind in ("config", "diffusers") else data.draw(ranks)
        alpha = {"none": None, "tensor": data.draw(alphas)}.get(kind, same_alpha)
        factors = random_factors(rng, layer, rank, alpha)
        name = layer_name(form, layer)
        state[name + endings[0]] = factors.down
        state[name + endings[1]] = factors.up
        if kind == "tensor":
            state[f"{name}.alpha"] = np.array(alpha, np.float32)
        changed[f"{layer}.weight"] = with_product(layer, factors)
    metadata = {"format": "pt"}
    if kind == "header":
        metadata |= {"lora_alpha": str(same_alpha)}
    if kind == "diffusers":
        said = {f"transformer.{k}": v for k, v in settings_of(same_alpha, same_rank).items()}
        metadata |= {"lora_adapter_metadata": json.dumps(said)}
    if kind == "config":
        text = json.dumps(settings_of(same_alpha, same_rank))
        (folder / "adapter_config.json").write_text(text)
    path = written(folder, state, metadata, container)
    check(merged(path), changed)
    check(merged(folder), changed)


def test_what_wins_among_alphas(tmp_path):
    """The caller's, the tensor's, the config's, the header's; none is a factor of 1."""
    header = {"lora_alpha": "1"}
    expect = lambda alpha: {  # noqa: E731
        f"{Q}.weight": with_product(Q, Factors(FACTORS.down, FACTORS.up, alpha))
    }
    path = written(tmp_path, PLAIN, None, "adapter_model.safetensors")
    check(merged(path), expect(None))
    written(tmp_path, PLAIN, header, "adapter_model.safetensors")
    check(merged(path), expect(1))
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings_of(2, 4)))
    check(merged(path), expect(2))
    with_tensor = PLAIN | {f"{Q}.alpha": np.array([12], ml_dtypes.bfloat16)}
    written(tmp_path, with_tensor, header, "adapter_model.safetensors")
    check(merged(path), expect(12))
    check(merged(path, alpha=5), expect(5))
    # A config beside another file is that file's only if there is no other.
    path = path.rename(tmp_path / "style.safetensors")
    check(merged(path), expect(12))
    written(tmp_path, PLAIN, None, "style.safetensors")
    check(merged(path), expect(2))
    written(tmp_path, PLAIN, None, "another.safetensors")
    check(merged(path), expect(None))


@pytest.mark.parametrize("container", ["x.pt", "x.safetensors"])
@pytest.mark.parametrize("alpha", [8.0, np.float32(8), np.array([[8]], np.float16)])
def test_alphas_of_all_forms(tmp_path, container, alpha):
    """A tensor of any shape with one number; in a .pt file a plain number."""
    if container == "x.safetensors":
        alpha = np.asarray(alpha, np.float16)
    if isinstance(alpha, np.float32):
        alpha = np.asarray(alpha)
    path = written(tmp_path, PLAIN | {f"{Q}.alpha": alpha}, None, container)
    check(merged(path), {f"{Q}.weight": with_product(Q, Factors(FACTORS.down, FACTORS.up, 8))})
    if container == "x.pt":
        inside = {"lora": PLAIN | {f"{Q}.alpha": alpha}, "step": 3}
        got = merged(written(tmp_path, inside, None, "y.pt"))
        check(got, {f"{Q}.weight": with_product(Q, Factors(FACTORS.down, FACTORS.up, 8))})


@pytest.mark.parametrize(
    "metadata, alpha",
    [
        ({"lora_alpha": "8", "r": "4"}, 8),
        ({"alpha": "8.0", "rank": "4"}, 8),
        ({"network_alpha": "8"}, 8),
        ({"lora_alpha": "8", "use_rslora": "True"}, 16),
        ({"ss_network_alpha": "None", "ss_network_dim": "4"}, None),
        ({"ss_network_alpha": "4.0", "ss_network_dim": "4"}, None),
        ({"software": "x", "rank": "4"}, None),
        ({"lora_adapter_metadata": '{"r": 4, "lora_alpha": 8}'}, 8),
        (
            {
                "lora_adapter_metadata": '{"transformer.r": 4, "transformer.lora_alpha": 4, '
                '"transformer.alpha_pattern": {"attn1.to_q": 8}, "text_encoder.lora_alpha": 3}'
            },
            8,
        ),
    ],
    ids=str,
)
def test_alphas_in_the_header(tmp_path, metadata, alpha):
    name = "transformer.blocks.0.attn1.to_q"
    state = {f"{name}.lora_A.weight": FACTORS.down, f"{name}.lora_B.weight": FACTORS.up}
    expected = with_product(Q, Factors(FACTORS.down, FACTORS.up, alpha))
    check(merged(written(tmp_path, state, metadata)), {f"{Q}.weight": expected})


def test_kohyas_alpha_is_believed_in_kohyas_form_only(tmp_path):
    """Programs that convert a file multiply alpha in, and leave the header as it was."""
    header = {"ss_network_alpha": "2.0", "ss_network_dim": "4"}
    name = "lora_unet_blocks_0_self_attn_q"
    kohya = {f"{name}.lora_down.weight": FACTORS.down, f"{name}.lora_up.weight": FACTORS.up}
    expected = with_product(Q, Factors(FACTORS.down, FACTORS.up, 2))
    check(merged(written(tmp_path, kohya, header)), {f"{Q}.weight": expected})
    path = written(tmp_path, PLAIN, header)
    with pytest.raises(InputError, match=r"say --alpha 4 if so, or --alpha 2"):
        merged(path)
    check(merged(path, alpha=4), {f"{Q}.weight": with_product(Q, FACTORS)})


def test_whole_differences(tmp_path):
    """Of weights, kernels, norms, biases and modulations, alone and beside factors."""
    differences = {
        "diffusion_model.head.head.diff": "head.head.weight",
        "diffusion_model.time_projection.1.diff_b": "time_projection.1.bias",
        "diffusion_model.blocks.0.self_attn.norm_k.diff": "blocks.0.self_attn.norm_k.weight",
        "diffusion_model.blocks.1.norm3.diff_b": "blocks.1.norm3.bias",
        "diffusion_model.blocks.1.norm3.w_norm": "blocks.1.norm3.weight",
        "diffusion_model.patch_embedding.diff": "patch_embedding.weight",
        "diffusion_model.blocks.1.diff_m": "blocks.1.modulation",
        "diffusion_model.head.diff_m": "head.modulation",
        "diffusion_model.blocks.0.modulation.diff": "blocks.0.modulation",
        f"diffusion_model.{Q}.diff_b": f"{Q}.bias",
    }
    state = {name: RNG.standard_normal(SHAPES[to]).astype("f4") for name, to in differences.items()}
    changed = {to: BASE[to] + 0.5 * state[name] for name, to in differences.items()}
    # An alpha is for factors; it stands beside differences too.
    state |= {f"diffusion_model.{name}": array for name, array in PLAIN.items()}
    state |= {f"diffusion_model.{Q}.alpha": np.array(8, "f4")}
    state |= {"diffusion_model.head.head.alpha": np.array(8, "f4")}
    changed[f"{Q}.weight"] = with_product(Q, Factors(FACTORS.down, FACTORS.up, 8), 0.5)
    check(merged(written(tmp_path, state), strength=0.5), changed)


def test_whole_modules_come_at_their_strength(tmp_path):
    """PEFT's modules_to_save: at strength 1 the file's values, bit for bit; at 0 the base's."""
    new = RNG.standard_normal(SHAPES["head.head.weight"]).astype("f4")
    prefix = "base_model.model."
    state = {f"{prefix}head.head.modules_to_save.default.weight": new}
    state |= {f"{prefix}{name}": array for name, array in PLAIN.items()}
    path = written(tmp_path, state)
    got = merged(path)
    assert np.array_equal(got["head.head.weight"], new)
    assert all(np.array_equal(merged(path, strength=0)[k], BASE[k]) for k in BASE)
    half = (BASE["head.head.weight"] + new) / 2
    changed = {"head.head.weight": half, f"{Q}.weight": with_product(Q, FACTORS, 0.5)}
    check(merged(path, strength=0.5), changed)


@pytest.mark.parametrize("magnitude", ["lora_magnitude_vector.default", "dora_scale"])
@pytest.mark.parametrize("strength", [1.0, 0.3, -1.0])
def test_dora(tmp_path, magnitude, strength):
    """PEFT's vector and LyCORIS' column; a strength goes along the whole change."""
    lengths = np.abs(RNG.standard_normal(8)).astype("f4")
    shape = (8, 1) if magnitude == "dora_scale" else (8,)
    path = written(tmp_path, PLAIN | {f"{Q}.{magnitude}": lengths.reshape(shape)})
    base = BASE[f"{Q}.weight"]
    rows = with_product(Q, FACTORS)
    whole = np.stack(
        [m * row / np.sqrt((row**2).sum()) for m, row in zip(lengths, rows, strict=True)]
    )
    check(merged(path, strength=strength), {f"{Q}.weight": base + strength * (whole - base)})
