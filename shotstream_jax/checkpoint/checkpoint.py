"""A checkpoint: a name or a folder, opened once; its weights are read when they are asked for."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from shotstream_jax.checkpoint.arrays import StoredArray, place_array
from shotstream_jax.checkpoint.folder import read_config
from shotstream_jax.checkpoint.parts import ParamPath, find_part, open_part
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import param_shardings
from shotstream_jax.model import PARTS, Params, abstract_params, param_dtype
from shotstream_jax.presets import PRESETS, Preset, preset_from_dict
from shotstream_jax.text.tokenizer import ByteTokenizer, FileTokenizer, Tokenizer

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

    name: as the caller gave it. parts: the parts that it has, by "dit", "vae" and "text"; what a shipped model lacks is
    the part of `tiny`. vocabulary: the file of its tokeniser, which models that read bytes do not have.
    """

    name: str
    preset: Preset
    parts: Mapping[str, StoredPart]
    vocabulary: pathlib.Path

    @property
    def missing(self) -> list[str]:
        """The parts that it lacks."""
        return [part for part in PARTS if part not in self.parts]

    def tokenizer(self) -> Tokenizer:
        """Its tokeniser. Raises InputError if tokenizer.json is missing or damaged."""
        if self.preset.byte_tokens:
            return ByteTokenizer()
        return FileTokenizer(self.vocabulary)

    def stored_arrays(self, part: str) -> dict[ParamPath, StoredArray]:
        """One part's parameters by path, not read yet.

        Raises InputError if the checkpoint lacks the part or a parameter, or if a shape is not the preset's.
        """
        if part not in self.parts:
            raise InputError(f"{self.name} lacks its {part} part: import it with that part")
        place = self.parts[part].place
        shapes = {}
        for keys, leaf in jax.tree.leaves_with_path(abstract_params(self.preset, part)):
            shapes[_param_path(keys)] = leaf.shape
        arrays = open_part(place, shapes)
        for path, stored in arrays.items():
            if stored.shape != shapes[path]:
                name = "/".join(path)
                raise InputError(
                    f"{place}: {name} has shape {stored.shape}, expected {shapes[path]}: convert it again"
                )
        return arrays

    def load_params(
        self, part: str, dtype: jnp.dtype = jnp.float32, mesh: Mesh | None = None
    ) -> Params:
        """One part's parameters: matrices in `dtype`, the rest in float32 (model.param_dtype).

        mesh: each parameter goes where the rules of core/sharding put it, and each device reads its own slice only;
        without a mesh all go to the first device. Raises InputError as `stored_arrays` does.
        """
        arrays = self.stored_arrays(part)
        abstract = abstract_params(self.preset, part)
        shardings = param_shardings(mesh, part, abstract) if mesh else None

        def load(keys: tuple[Any, ...], _: jax.ShapeDtypeStruct, sharding: Any = None) -> jax.Array:
            return place_array(arrays[_param_path(keys)], param_dtype(keys, dtype), sharding)

        if shardings is None:
            return jax.tree_util.tree_map_with_path(load, abstract)
        return jax.tree_util.tree_map_with_path(load, abstract, shardings)


def open_checkpoint(checkpoint: str | pathlib.Path | Checkpoint) -> Checkpoint:
    """Opens a checkpoint folder, or a shipped model by its name; reads its config.json and no weights.

    One that is open already is returned as it is. Raises InputError if there is no such checkpoint.
    """
    if isinstance(checkpoint, Checkpoint):
        return checkpoint
    folder = _find_folder(checkpoint)
    config = read_config(folder)
    parts = _stored_parts(folder, config)
    vocabulary = folder
    if folder.parent == WEIGHTS:
        # A shipped model is stored without the parts that it shares with the first one.
        shared = WEIGHTS / SHIPPED[0]
        if folder != shared:
            parts = _stored_parts(shared, read_config(shared)) | parts
    if "text" in parts:
        vocabulary = parts["text"].place.parent
    return Checkpoint(
        name=str(checkpoint),
        preset=preset_from_dict(config["sizes"]),
        parts=parts,
        vocabulary=vocabulary / "tokenizer.json",
    )


def _find_folder(checkpoint: str | pathlib.Path) -> pathlib.Path:
    """A checkpoint's folder, by its path or the name of a shipped model."""
    if pathlib.Path(checkpoint).is_dir():
        return pathlib.Path(checkpoint)
    if str(checkpoint) in SHIPPED:
        return WEIGHTS / str(checkpoint)
    if str(checkpoint) in PRESETS:
        raise InputError(
            f"no weights of {checkpoint} are shipped: give the folder of a checkpoint of that size"
        )
    raise InputError(
        f"checkpoint {checkpoint} is neither a folder nor one of the shipped models: "
        f"{', '.join(SHIPPED)}"
    )


def _stored_parts(folder: pathlib.Path, config: Mapping[str, Any]) -> dict[str, StoredPart]:
    parts = {}
    for part, entry in config["parts"].items():
        parts[part] = StoredPart(find_part(folder, part), entry)
    return parts


def _param_path(keys: tuple[Any, ...]) -> ParamPath:
    """jax's path of a leaf as names."""
    return tuple(key.key for key in keys)
