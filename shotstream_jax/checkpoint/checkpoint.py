"""A checkpoint: a name or a folder, opened once; its weights are read when they are asked for."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.sharding import Mesh, Sharding

from shotstream_jax.checkpoint.arrays import StoredArray, place_array
from shotstream_jax.checkpoint.folder import read_config
from shotstream_jax.checkpoint.hub import fetch_checkpoint, is_hub_name
from shotstream_jax.checkpoint.parts import ParamPath, find_part, open_part
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import param_shardings
from shotstream_jax.core.typing import DType
from shotstream_jax.core.values import as_path
from shotstream_jax.model import PARTS, Params, abstract_decoder, abstract_params, param_dtype
from shotstream_jax.nn.quantize import LargestInputs
from shotstream_jax.presets import (
    DECODERS,
    OWN_DECODER,
    PRESETS,
    TINY_DECODERS,
    DecoderConfig,
    Preset,
    decoder_from_dict,
    preset_from_dict,
)
from shotstream_jax.text.tokenizer import ByteTokenizer, FileTokenizer, Tokenizer

LARGEST_INPUTS = "largest_inputs"  # of a calibration, in the transformer's entry of config.json
SHIPPED = ("tiny", "tiny-teacher")
WEIGHTS = pathlib.Path(__file__).parents[1] / "weights"  # has a folder for each shipped model


@dataclasses.dataclass(frozen=True)
class StoredPart:
    """Where a part of a checkpoint lies, and its entry in that folder's config.json."""

    place: pathlib.Path
    entry: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose config.json has been read; `open_checkpoint` makes one.

    name: as the caller gave it. parts: the parts that it has, by "dit", "vae" and "text", and
    smaller decoders by their kinds; what a shipped model lacks is the part of `tiny`. vocabulary:
    the file of its tokeniser, which models that read bytes do not have.
    """

    name: str
    preset: Preset
    parts: Mapping[str, StoredPart]
    vocabulary: pathlib.Path

    def __repr__(self) -> str:
        # Without all the sizes and places, which are screens of text.
        return f"Checkpoint({self.name!r}, preset {self.preset.name!r}, parts {sorted(self.parts)})"

    @property
    def missing(self) -> list[str]:
        """The parts that it lacks."""
        return [part for part in PARTS if part not in self.parts]

    @property
    def largest_inputs(self) -> LargestInputs | None:
        """What a calibration for 8 bits found (generate/calibrate); None if there was none."""
        if "dit" not in self.parts:
            return None
        return self.parts["dit"].entry.get(LARGEST_INPUTS)

    def decoder(self, kind: str) -> DecoderConfig | None:
        """The sizes of what makes the frames that are shown; None for the autoencoder itself.

        kind: one of DECODERS. Raises InputError if it is not known, or if the checkpoint lacks it.
        """
        if kind == OWN_DECODER:
            return None
        if kind not in DECODERS:
            raise InputError(f"decoder {kind!r} is not known; choose one of {', '.join(DECODERS)}")
        if kind not in self.parts:
            raise InputError(
                f"{self.name} has no decoder {kind}: "
                f"shotstream convert add-decoder {self.name} FILE --out NEW makes one that has"
            )
        return decoder_from_dict(kind, self.parts[kind].entry["sizes"])

    def tokenizer(self) -> Tokenizer:
        """Its tokeniser.

        Raises InputError if tokenizer.json is missing or damaged, or does not fit the text encoder.
        """
        # Bytes need no vocabulary.
        if self.preset.byte_tokens:
            return ByteTokenizer()
        return FileTokenizer(self.vocabulary, self.preset.text.vocab)

    def stored_arrays(self, part: str) -> dict[ParamPath, StoredArray]:
        """One part's parameters by path, not read yet.

        Raises InputError if the checkpoint lacks the part or a parameter, or if a shape is not the
        preset's.
        """
        return self._open_arrays(part, self._abstract(part))

    def load_params(
        self, part: str, dtype: DType = jnp.float32, mesh: Mesh | None = None
    ) -> Params:
        """One part's parameters: matrices in `dtype`, the rest in float32 (model.param_dtype).

        mesh: each parameter goes where the rules of core/sharding put it, and each device reads its
        own slice only; without a mesh all go to the first device. Raises InputError as
        `stored_arrays` does.
        """
        # All arrays are opened and checked before the first is read.
        abstract = self._abstract(part)
        arrays = self._open_arrays(part, abstract)
        flat, tree = jax.tree.flatten_with_path(abstract)

        # In the order of the tree's leaves; None is the first device.
        shardings: list[Sharding | None] = [None] * len(flat)
        if mesh:
            rules = "decoder" if part in TINY_DECODERS else part
            shardings = jax.tree.leaves(param_shardings(mesh, rules, abstract))

        # Matrices in the given type, the rest in float32.
        leaves = []
        for (keys, _), sharding in zip(flat, shardings, strict=True):
            path = tuple(key.key for key in keys)
            leaf_dtype = param_dtype(keys, dtype)
            leaves.append(place_array(arrays[path], leaf_dtype, sharding))
        return jax.tree.unflatten(tree, leaves)

    def read_params(self, part: str, dtype: DType = jnp.float32) -> Params:
        """As `load_params`, in the host's memory: numpy's arrays."""
        abstract = self._abstract(part)
        arrays = self._open_arrays(part, abstract)

        def read(keys: tuple[Any, ...], _: jax.ShapeDtypeStruct) -> np.ndarray:
            """One parameter."""
            stored = arrays[tuple(key.key for key in keys)]
            return stored.read().astype(param_dtype(keys, dtype), copy=False)

        return jax.tree_util.tree_map_with_path(read, abstract)

    def _abstract(self, part: str) -> Params:
        """Shapes and types of one part's parameters."""
        sizes = self.decoder(part) if part in TINY_DECODERS else None
        if sizes is None:
            return abstract_params(self.preset, part)
        return abstract_decoder(sizes)

    def _open_arrays(self, part: str, abstract: Params) -> dict[ParamPath, StoredArray]:
        """The stored arrays of the parameters in `abstract`, whose shapes they must have."""
        if part not in self.parts:
            raise InputError(f"{self.name} lacks its {part} part: import it with that part")
        place = self.parts[part].place
        expected = flax.traverse_util.flatten_dict(abstract)
        arrays = open_part(place, expected)
        for path, stored in arrays.items():
            shape = expected[path].shape
            if stored.shape != shape:
                name = "/".join(path)
                raise InputError(
                    f"{place}: {name} has shape {stored.shape}, expected {shape}: convert it again"
                )
        return arrays


def open_checkpoint(checkpoint: str | pathlib.Path | Checkpoint) -> Checkpoint:
    """Opens a checkpoint folder, a shipped model by its name, or hf:owner/name on the hub.

    Its config.json is read, and no weights; of a name on the hub all files are fetched that are not
    in the cache (checkpoint/hub). A checkpoint that is open already is returned as it is. Raises
    InputError if there is no such checkpoint.
    """
    if isinstance(checkpoint, Checkpoint):
        return checkpoint
    folder = _find_folder(checkpoint)
    config = read_config(folder)
    parts = _stored_parts(folder, config)
    # A shipped model is stored without the parts that it shares with the first one.
    first = WEIGHTS / SHIPPED[0]
    if folder.parent == WEIGHTS and folder != first:
        parts = _stored_parts(first, read_config(first)) | parts
    # The tokeniser belongs to the text encoder, so it lies beside it.
    home = folder
    if "text" in parts:
        home = parts["text"].place.parent
    return Checkpoint(
        name=str(checkpoint),
        preset=preset_from_dict(config["sizes"]),
        parts=parts,
        vocabulary=home / "tokenizer.json",
    )


def _find_folder(checkpoint: str | pathlib.Path) -> pathlib.Path:
    """A checkpoint's folder, by its path, the name of a shipped model or a name on the hub."""
    if is_hub_name(checkpoint):
        return fetch_checkpoint(checkpoint)
    folder = as_path(checkpoint, "checkpoint")
    # A shipped model's name is always that model: what lies here must not change what it means.
    if str(checkpoint) in SHIPPED:
        if folder.is_dir():
            logging.info("%s is the shipped model; the folder here is ./%s", folder, folder)
        return WEIGHTS / str(checkpoint)
    if folder.is_dir():
        return folder
    # A preset's name is a likely mistake.
    if str(checkpoint) in PRESETS:
        raise InputError(
            f"no weights of {checkpoint} are shipped: give the folder of a checkpoint of that size"
        )
    raise InputError(
        f"checkpoint {checkpoint} is neither a folder nor one of the shipped models: "
        f"{', '.join(SHIPPED)}; on the hub it is hf:owner/name"
    )


def _stored_parts(folder: pathlib.Path, config: Mapping[str, Any]) -> dict[str, StoredPart]:
    """The parts that a folder has by itself."""
    parts = {}
    for part, entry in config["parts"].items():
        parts[part] = StoredPart(find_part(folder, part), entry)
    return parts
