"""A model as a folder of the Diffusers library, which many other programs read too.

    model_index.json                 which class loads which folder
    transformer/ vae/                config.json, diffusion_pytorch_model.safetensors
    text_encoder/                    config.json, model.safetensors
    tokenizer/                       tokenizer.json, tokenizer_config.json, special_tokens_map.json
    scheduler/                       scheduler_config.json

Weights are sharded above 5 GB. The fields of the files are those of the library's public pages.
What they cannot say, such as the shot phase, is kept in the weights' headers (convert/sizes).
"""

import json
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np

from shotstream_jax.checkpoint.parts import Progress
from shotstream_jax.convert.names import State
from shotstream_jax.convert.naming import Naming, diffusers_dit, diffusers_vae, hf_umt5
from shotstream_jax.convert.shards import write_shards
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_json
from shotstream_jax.flow.schedule import TRAIN_TIMES
from shotstream_jax.presets import Preset

_VERSION = "0.33.0"  # of Diffusers, the first that has these classes
_WEIGHTS = "diffusion_pytorch_model"
_TOKENIZER_CLASS = "PreTrainedTokenizerFast"  # takes a tokenizer.json as it is
_TOKENS = {"pad_token": 0, "eos_token": 1, "unk_token": 2}  # the ids that UMT5 was trained with


def write_diffusers(
    states: Mapping[str, State],
    texts: Mapping[str, Mapping[str, str]],
    preset: Preset,
    tokenizer: pathlib.Path | None,
    folder: pathlib.Path,
    progress: Progress,
) -> None:
    """Writes the parts that are there into an empty folder.

    states: each part's plain names and arrays, not read yet. texts: what its files keep
    (convert/sizes). tokenizer: its tokenizer.json. Raises
    OSError, and InputError if the tokeniser cannot be read.
    """
    for part, state in states.items():
        home, stem, config = _component(part, preset, state)
        (folder / home).mkdir()
        named = other_names(state, part_naming(part, preset))
        write_json(folder / home / "config.json", config)
        write_shards(named, folder / home, stem, progress, texts[part])
    if tokenizer:
        _write_tokenizer(tokenizer, preset, folder / "tokenizer")
    (folder / "scheduler").mkdir()
    write_json(folder / "scheduler" / "scheduler_config.json", _scheduler_config(preset))
    write_json(folder / "model_index.json", _model_index(set(states), tokenizer is not None))


def part_naming(part: str, preset: Preset) -> Naming:
    """The names that a part has there."""
    if part == "dit":
        return diffusers_dit()
    if part == "vae":
        return diffusers_vae(preset.vae.blocks + 1)
    return hf_umt5()


def other_names(state: State, naming: Naming) -> dict[str, Any]:
    """A state dict of plain names under another program's."""
    named = {}
    for plain, array in state.items():
        name = naming.from_plain(plain)
        if name is None:
            raise ValueError(f"{naming.label} has no name for {plain}")
        named[name] = array
    return named


def _component(part: str, preset: Preset, state: State) -> tuple[str, str, dict[str, Any]]:
    """A part's folder, the stem of its files there, and its config.json."""
    if part == "dit":
        return "transformer", _WEIGHTS, _transformer_config(preset)
    if part == "vae":
        return "vae", _WEIGHTS, _vae_config(preset)
    types = {np.dtype(array.dtype).name for array in state.values()}
    return "text_encoder", "model", _text_config(preset, types)


def _transformer_config(preset: Preset) -> dict[str, Any]:
    dit = preset.dit
    return {
        "_class_name": "WanTransformer3DModel",
        "_diffusers_version": _VERSION,
        "added_kv_proj_dim": None,
        "attention_head_dim": dit.head_dim,
        "cross_attn_norm": True,
        "eps": dit.eps,
        "ffn_dim": dit.ffn_dim,
        "freq_dim": dit.freq_dim,
        "image_dim": None,
        "in_channels": dit.channels,
        "num_attention_heads": dit.heads,
        "num_layers": dit.layers,
        "out_channels": dit.channels,
        "patch_size": [1, dit.patch, dit.patch],
        "qk_norm": "rms_norm_across_heads",
        "rope_max_seq_len": 1024,
        "text_dim": dit.text_dim,
    }


def _vae_config(preset: Preset) -> dict[str, Any]:
    vae = preset.vae
    return {
        "_class_name": "AutoencoderKLWan",
        "_diffusers_version": _VERSION,
        "attn_scales": [],
        "base_dim": vae.dim,
        "dim_mult": list(vae.mult),
        "dropout": 0.0,
        "latents_mean": list(vae.mean),
        "latents_std": list(vae.std),
        "num_res_blocks": vae.blocks,
        "temperal_downsample": list(vae.time_down),
        "z_dim": vae.channels,
    }


def _text_config(preset: Preset, types: set[str]) -> dict[str, Any]:
    text = preset.text
    # A file of several types is loaded in the one that holds them all.
    dtype = types.pop() if len(types) == 1 else "float32"
    return {
        "architectures": ["UMT5EncoderModel"],
        "d_ff": text.ffn_dim,
        "d_kv": text.head_dim,
        "d_model": text.dim,
        "decoder_start_token_id": 0,
        "dense_act_fn": "gelu_new",
        "dropout_rate": 0.1,
        "eos_token_id": 1,
        "feed_forward_proj": "gated-gelu",
        "initializer_factor": 1.0,
        "is_encoder_decoder": True,
        "is_gated_act": True,
        "layer_norm_epsilon": text.eps,
        "model_type": "umt5",
        "num_decoder_layers": text.layers,
        "num_heads": text.heads,
        "num_layers": text.layers,
        "pad_token_id": 0,
        "relative_attention_max_distance": text.max_distance,
        "relative_attention_num_buckets": text.buckets,
        "scalable_attention": True,
        "tie_word_embeddings": False,
        "tokenizer_class": "T5Tokenizer",
        "torch_dtype": dtype,
        "use_cache": True,
        "vocab_size": text.vocab,
    }


def _scheduler_config(preset: Preset) -> dict[str, Any]:
    """Of a sampler for the noise that the model was trained with."""
    return {
        "_class_name": "UniPCMultistepScheduler",
        "_diffusers_version": _VERSION,
        "final_sigmas_type": "zero",
        "flow_shift": preset.steps.shift,
        "num_train_timesteps": TRAIN_TIMES,
        "predict_x0": True,
        "prediction_type": "flow_prediction",
        "solver_order": 2,
        "solver_type": "bh2",
        "timestep_spacing": "linspace",
        "use_flow_sigmas": True,
    }


def _model_index(parts: set[str], has_tokenizer: bool) -> dict[str, Any]:
    """The library and class of each folder; null for what is not there."""
    nothing = [None, None]
    dit = ["diffusers", "WanTransformer3DModel"]
    vae = ["diffusers", "AutoencoderKLWan"]
    text = ["transformers", "UMT5EncoderModel"]
    tokenizer = ["transformers", _TOKENIZER_CLASS]
    return {
        "_class_name": "WanPipeline",
        "_diffusers_version": _VERSION,
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": text if "text" in parts else nothing,
        "tokenizer": tokenizer if has_tokenizer else nothing,
        "transformer": dit if "dit" in parts else nothing,
        "vae": vae if "vae" in parts else nothing,
    }


def _write_tokenizer(file: pathlib.Path, preset: Preset, folder: pathlib.Path) -> None:
    """The tokeniser's own file, and beside it which tokens are special."""
    try:
        described = json.loads(file.read_bytes())
        special = {name: _token(described, token_id) for name, token_id in _TOKENS.items()}
        adds_end = described.get("post_processor") is not None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise InputError(
            f"{file} is no tokenizer.json of UMT5: it lacks the tokens 0 to 2"
        ) from None
    config = {
        "tokenizer_class": _TOKENIZER_CLASS,
        "model_max_length": preset.dit.text_len,
        **special,
    }
    folder.mkdir()
    write_json(folder / "tokenizer_config.json", config)
    write_json(folder / "special_tokens_map.json", special)
    if adds_end:
        shutil.copy(file, folder / "tokenizer.json")
        return
    # This package adds the end token itself; there the file has to say it.
    described["post_processor"] = _end_added(special["eos_token"], _TOKENS["eos_token"])
    write_json(folder / "tokenizer.json", described)


def _token(described: dict[str, Any], token_id: int) -> str:
    """The text of a token of a tokenizer.json."""
    for added in described.get("added_tokens") or []:
        if added["id"] == token_id:
            return added["content"]
    return described["model"]["vocab"][token_id][0]


def _end_added(token: str, token_id: int) -> dict[str, Any]:
    """What a tokenizer.json says so that a text, or each of two, is followed by the end token."""
    end = {"SpecialToken": {"id": token, "type_id": 0}}
    texts = [{"Sequence": {"id": name, "type_id": 0}} for name in ("A", "B")]
    return {
        "type": "TemplateProcessing",
        "single": [texts[0], end],
        "pair": [texts[0], end, texts[1], end],
        "special_tokens": {token: {"id": token, "ids": [token_id], "tokens": [token]}},
    }
