"""Public files of smaller decoders (docs/checkpoints.md): which kind a file is, and its weights.

    taehv, lighttae   a tiny autoencoder (vae/tiny); the same names and shapes for both
    lightvae          Wan's autoencoder with narrower layers (vae/model)

taehv reads normalised latents and lighttae reads z·std + mean, so that one taken for the other
gives wrong colours and no error. They are told apart by the caller's word, which always wins; by
the file's SHA-256, if it is known; else by the type of the weights, since taehv is published in
float16 and lighttae in float32.
"""

import dataclasses
import pathlib
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from shotstream_jax.checkpoint.folder import file_hash
from shotstream_jax.checkpoint.parts import PartToWrite
from shotstream_jax.convert.names import Lazy, State, check_keys
from shotstream_jax.convert.reader import first_names, read_weights
from shotstream_jax.convert.recognize import TINY_DECODER
from shotstream_jax.convert.stored import part_of_state
from shotstream_jax.convert.tables import decoder_table, grow_number
from shotstream_jax.core.errors import InputError
from shotstream_jax.model import abstract_decoder
from shotstream_jax.presets import TINY_DECODERS, check_decoder, decoder_config
from shotstream_jax.vae.config import DecoderConfig, TinyConfig, VAEConfig
from shotstream_jax.vae.tiny import GROW

# SHA-256 of a public file → its kind. Empty: none has been seen by the authors of this package.
KNOWN_FILES: dict[str, str] = {}

_WAN_SIGN = "decoder.conv1.bias"  # of one with Wan's layers
_TYPES = {np.dtype(np.float16): "taehv", np.dtype(np.float32): "lighttae"}


class DecoderFile(NamedTuple):
    """A public file of a decoder, checked and not read yet.

    kind: one of presets.TINY_DECODERS. part: its facts say how the kind is known, as `kind_by`.
    """

    kind: str
    part: PartToWrite


def open_decoder(path: pathlib.Path, kind: str | None, vae: VAEConfig) -> DecoderFile:
    """Opens a decoder's file for a model with this autoencoder.

    kind: the caller's word, or None to find it out. Raises InputError if the file is none, if it
    does not fit its kind or the model, or if its kind cannot be told.
    """
    state = _open_state(path)
    if kind is None:
        kind, reason = _find_kind(path, state)
        logging.info("%s: read as %s, %s", path.name, kind, reason)
        if kind != "lightvae":
            logging.info("if its pictures have wrong colours, name the other with --decoder-kind")
    else:
        reason = "named by the caller"
    # All sizes are the file's own, so what differs is a key that is missing or too much.
    cfg = _config_of(path, state, kind, vae)
    check_decoder(kind, cfg, vae)
    if isinstance(cfg, TinyConfig):
        state = _with_last_channels(state, cfg)
    table = decoder_table(cfg)
    try:
        check_keys(table, state)
    except InputError as error:
        raise InputError(f"{path}: {error} (as {kind})") from None
    part = part_of_state(table, abstract_decoder(cfg), state, path)
    facts = {"sizes": dataclasses.asdict(cfg), "kind_by": reason}
    return DecoderFile(kind, dataclasses.replace(part, facts=facts))


def _open_state(path: pathlib.Path) -> State:
    """A decoder's weights under their plain names. Raises InputError if the file has none."""
    file = read_weights(path)
    for part in (TINY_DECODER, "vae"):
        found = [one for one in file.parts if one.part == part]
        if found and found[0].problem:
            raise InputError(f"{path}: {found[0].problem}")
        if found:
            return found[0].state
    names = list(file.unused)
    for state in [*file.unknown.values(), *(one.state for one in file.parts)]:
        names += state
    raise InputError(
        f"{path} is no decoder that is known ({first_names(names, 3)}): "
        f"there are {', '.join(TINY_DECODERS)}"
    )


def _find_kind(path: pathlib.Path, state: State) -> tuple[str, str]:
    """A file's kind, and how it was told."""
    # Names tell a tiny autoencoder from one of Wan's layers.
    if _WAN_SIGN in state:
        return "lightvae", "its names being those of Wan's autoencoder"
    # Which of the two tiny ones it is no name tells.
    known = KNOWN_FILES.get(file_hash(path))
    if known:
        return known, "its SHA-256 being that of a public file"
    types = {np.dtype(array.dtype) for array in state.values()}
    if len(types) == 1 and types <= set(_TYPES):
        found = types.pop()
        return _TYPES[found], f"assumed, since its weights are {found}"
    names = ", ".join(sorted(str(dtype) for dtype in types))
    raise InputError(
        f"{path} may be taehv or lighttae, its types ({names}) do not tell which: "
        "say so with --decoder-kind"
    )


def _config_of(path: pathlib.Path, state: State, kind: str, vae: VAEConfig) -> DecoderConfig:
    """The sizes that a file's shapes have, with a kind's scale of the latents."""
    public_sizes = decoder_config(kind, vae)
    if isinstance(public_sizes, VAEConfig):
        # The decoder's first width is the widest level's.
        width = _width(path, state, _WAN_SIGN, kind)
        return dataclasses.replace(public_sizes, dim=width // vae.mult[-1])
    # The first convolution's outputs, and those of each level's last one.
    names = ["decoder.1.weight"]
    for level in range(len(GROW)):
        names.append(f"decoder.{grow_number(level) + 1}.weight")
    widths = tuple(_width(path, state, name, kind) for name in names)
    encoder = _width(path, state, "encoder.0.weight", kind)
    return dataclasses.replace(public_sizes, decoder=widths, encoder=encoder)


def _width(path: pathlib.Path, state: State, name: str, kind: str) -> int:
    """The outputs of a convolution."""
    if name not in state or not state[name].shape:
        raise InputError(f"{path} lacks {name}: it is not a file of {kind}")
    return state[name].shape[0]


def _with_last_channels(state: State, cfg: TinyConfig) -> State:
    """Some files have growing convolutions for more frames: of those the last ones count."""
    fitting: dict[str, Any] = dict(state)
    for level, frames in enumerate(GROW):
        name = f"decoder.{grow_number(level)}.conv.weight"
        outputs = frames * cfg.decoder[level]
        if name in state and state[name].shape and state[name].shape[0] > outputs:
            fitting[name] = _last_outputs(state[name], outputs)
    return fitting


def _last_outputs(array: Any, outputs: int) -> Lazy:
    """The last outputs of a convolution, not read yet."""

    def read() -> np.ndarray:
        """Of the whole array, the part that counts."""
        return np.asarray(array)[-outputs:]

    return Lazy((outputs, *array.shape[1:]), np.dtype(array.dtype), read)
