"""A checkpoint's name or folder → a model that can stream.

A folder holds config.json ({"preset": "wan-1.3b"}), transformer.safetensors, vae.safetensors and
text_encoder.safetensors under the public parameter names, and the text encoder's tokenizer.json.
"""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.convert.files import SafetensorsState, save_safetensors
from shotstream_jax.convert.rules import Table, check_keys, from_public, to_public
from shotstream_jax.convert.tables import dit_table, umt5_table, vae_table
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.errors import InputError
from shotstream_jax.model import PARTS, Model, Params, abstract_params, random_params
from shotstream_jax.presets import PRESETS, Preset, find_preset
from shotstream_jax.text.tokenizer import ByteTokenizer, FileTokenizer

FILES = {"dit": "transformer.safetensors", "vae": "vae.safetensors", "text": "text_encoder.safetensors"}
TABLES: dict[str, Callable[[Preset], Table]] = {
    "dit": lambda preset: dit_table(preset.dit),
    "vae": lambda preset: vae_table(preset.vae),
    "text": lambda preset: umt5_table(preset.text),
}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
SHIPPED = ("tiny",)
RANDOM_SEED = 0


def load(checkpoint: str | pathlib.Path = "tiny", dtype: str = "float32") -> Model:
    """A model from a checkpoint folder, or by a shipped model's name; `dtype` is the type of its matmuls.

    The name "tiny" gives seeded random weights until trained ones are shipped. Raises InputError.
    """
    use_persistent_cache()
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is not known; choose one of {', '.join(DTYPES)}")
    preset, folder = preset_of(checkpoint), pathlib.Path(checkpoint)
    if folder.is_dir():
        tokenizer = ByteTokenizer() if preset.byte_tokens else FileTokenizer(folder / "tokenizer.json")
        parts = {
            part: open_part(preset, part, folder / FILES[part]) for part in PARTS
        }  # all checked before any is read
        params = {part: read_part(preset, part, state) for part, state in parts.items()}
        origin = str(folder)
    else:
        tokenizer, params, origin = ByteTokenizer(), random_params(preset, RANDOM_SEED), f"random, seed {RANDOM_SEED}"
    return Model(preset, cast(params, DTYPES[dtype]), tokenizer, DTYPES[dtype], origin)


def preset_of(checkpoint: str | pathlib.Path) -> Preset:
    """The sizes of a checkpoint, without reading its weights."""
    if pathlib.Path(checkpoint).is_dir():
        return find_preset(_read_config(pathlib.Path(checkpoint) / "config.json"))
    if str(checkpoint) in SHIPPED:
        return find_preset(str(checkpoint))
    if str(checkpoint) in PRESETS:
        raise InputError(f"no weights of {checkpoint} are shipped: give the folder of a checkpoint of that size")
    raise InputError(f"checkpoint {checkpoint} is neither a folder nor one of the shipped models: {', '.join(SHIPPED)}")


def save(model: Model, folder: str | pathlib.Path) -> None:
    """Writes a folder that `load` accepts; config.json comes last, so an interrupted one is not accepted."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        state = to_public(TABLES[part](model.preset), jax.tree.map(np.asarray, model.params[part]))
        save_safetensors(state, folder / FILES[part])
    (folder / "config.json").write_text(json.dumps({"preset": model.preset.name}) + "\n")


def cast(params: Params, dtype: jnp.dtype) -> Params:
    """Matrices take the compute type (half the memory in bf16); vectors, tables and the time embedding stay float32."""
    flat = flax.traverse_util.flatten_dict(params)
    narrow = lambda path: path[-1] in ("kernel", "embedding") and not path[1].startswith("time_")  # noqa: E731
    return flax.traverse_util.unflatten_dict(
        {path: jnp.asarray(a, dtype if narrow(path) else jnp.float32) for path, a in flat.items()}
    )


def open_part(preset: Preset, part: str, path: str | pathlib.Path) -> SafetensorsState:
    """A part's .safetensors file, its keys and shapes checked against the preset; errors name the file."""
    state = SafetensorsState(path)
    try:
        check_keys(TABLES[part](preset), state)
    except InputError as error:
        raise InputError(f"{path}: {error} (preset {preset.name})") from None
    return state


def read_part(preset: Preset, part: str, state: SafetensorsState) -> Params:
    """The part's parameters (numpy)."""
    return from_public(TABLES[part](preset), abstract_params(preset, part), state)


def _read_config(path: pathlib.Path) -> str:
    try:
        config: Any = json.loads(path.read_text("utf-8-sig"))
        return config["preset"]
    except FileNotFoundError:
        holds = ", ".join(("config.json", *FILES.values(), "tokenizer.json"))
        raise InputError(
            f"{path.parent} is no checkpoint: it has no config.json (a checkpoint holds {holds})"
        ) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f'{path} must be readable JSON like {{"preset": "wan-1.3b"}}') from None
