"""A model as the single files that ComfyUI reads, in the folders that it looks into.

    diffusion_models/NAME.safetensors        names behind `model.diffusion_model.`
    vae/NAME_vae.safetensors                 plain names
    text_encoders/NAME_umt5.safetensors      Hugging Face's names, and `spiece_model`

Types stay as they are.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from shotstream_jax.checkpoint.parts import Progress
from shotstream_jax.convert.diffusers import other_names
from shotstream_jax.convert.files import write_safetensors
from shotstream_jax.convert.names import State
from shotstream_jax.convert.naming import hf_umt5

SPIECE = "spiece_model"  # the bytes of a SentencePiece model
_PREFIX = "model.diffusion_model."
_PLACES = {
    "dit": "diffusion_models/{}.safetensors",
    "vae": "vae/{}_vae.safetensors",
    "text": "text_encoders/{}_umt5.safetensors",
}


def write_comfyui(
    states: Mapping[str, State],
    texts: Mapping[str, Mapping[str, str]],
    name: str,
    sentencepiece: bytes | None,
    folder: pathlib.Path,
    progress: Progress,
) -> None:
    """Writes the parts that are there into an empty folder.

    states: each part's plain names and arrays, not read yet. texts: what each file keeps
    (convert/sizes). name: of the files. sentencepiece: the tokeniser's model, which goes among the
    text encoder's weights. Raises OSError.
    """
    for part, state in states.items():
        path = folder / _PLACES[part].format(name)
        path.parent.mkdir()
        named = _own_names(part, state)
        if sentencepiece and part == "text":
            named[SPIECE] = np.frombuffer(sentencepiece, np.uint8)
        write_safetensors(named, path, progress, texts[part])


def _own_names(part: str, state: State) -> dict[str, Any]:
    if part == "text":
        return other_names(state, hf_umt5())
    prefix = _PREFIX if part == "dit" else ""
    return {prefix + name: array for name, array in state.items()}
