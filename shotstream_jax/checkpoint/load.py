"""A checkpoint's name or folder → a model that can stream, straight onto one device or a mesh."""

import dataclasses
import os
import pathlib
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from shotstream_jax.checkpoint import folder as native
from shotstream_jax.checkpoint.arrays import open_array, read_array
from shotstream_jax.convert.rules import to_public
from shotstream_jax.convert.tables import part_table
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import param_shardings
from shotstream_jax.model import PARTS, Model, Params, abstract_params, compute_params, param_dtype
from shotstream_jax.nn.quantize import check_quantize, is_quantized, quantize_blocks
from shotstream_jax.presets import PRESETS, Preset, preset_from_dict
from shotstream_jax.text.tokenizer import ByteTokenizer, FileTokenizer, Tokenizer

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
SHIPPED = ("tiny", "tiny-teacher")
WEIGHTS = (
    pathlib.Path(__file__).parents[1] / "weights"
)  # a folder for each of them; what it lacks is that of tiny


def load(
    checkpoint: str | pathlib.Path = "tiny",
    dtype: str = "float32",
    mesh: Mesh | None = None,
    vae_device: jax.Device | None = None,
    quantize: str = "none",
) -> Model:
    """A model from a native checkpoint folder, or by a shipped model's name ("tiny"; "tiny-teacher" is for training).

    dtype: the type of its matmuls. mesh: where the parameters go, by the rules of core/sharding (`part_mesh` makes
    one); each device reads its own slices only, and the stream runs on all of them. vae_device: the autoencoder's own,
    so that it decodes while the next chunk is made; without it the autoencoder is where the rest is. quantize: none,
    int8 or fp8, for the Linears of the transformer's blocks (nn/quantize); their weights are kept in 8 bits.
    Raises InputError.
    """
    use_persistent_cache()
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is not known; choose one of {', '.join(DTYPES)}")
    check_quantize(quantize, mesh.devices.flat[0] if mesh else jax.devices()[0])
    preset, lacking = (
        preset_of(checkpoint),
        [part for part in PARTS if not _holder(checkpoint, part)],
    )
    if lacking:
        raise InputError(
            f"{checkpoint} lacks {', '.join(lacking)}: import it with all three parts to stream"
        )
    tokenizer = load_tokenizer(preset, checkpoint)
    params = {part: load_weights(checkpoint, part, DTYPES[dtype], mesh) for part in PARTS}
    params["dit"] = quantize_blocks(params["dit"], quantize)
    if mesh:
        params = {
            part: jax.device_put(tree, param_shardings(mesh, part, tree))
            for part, tree in params.items()
        }
    if vae_device:
        params["vae"] = jax.device_put(params["vae"], vae_device)
    origin = (
        str(checkpoint)
        if quantize == "none"
        else f"{checkpoint}; the transformer's blocks in {quantize}"
    )
    return Model(preset, params, tokenizer, DTYPES[dtype], origin)


def preset_of(checkpoint: str | pathlib.Path) -> Preset:
    """The sizes of a checkpoint, without reading its weights."""
    return preset_from_dict(native.read_config(_folder(checkpoint))["sizes"])


def _folder(checkpoint: str | pathlib.Path) -> pathlib.Path:
    """Where a checkpoint is: it is a folder, or the name of a shipped model."""
    if pathlib.Path(checkpoint).is_dir():
        return pathlib.Path(checkpoint)
    if str(checkpoint) in SHIPPED:
        return WEIGHTS / str(checkpoint)
    if str(checkpoint) in PRESETS:
        raise InputError(
            f"no weights of {checkpoint} are shipped: give the folder of a checkpoint of that size"
        )
    raise InputError(
        f"checkpoint {checkpoint} is neither a folder nor one of the shipped models: {', '.join(SHIPPED)}"
    )


def _holder(checkpoint: str | pathlib.Path, part: str) -> pathlib.Path | None:
    """The folder that has a checkpoint's part: its own, or of a shipped model that of tiny."""
    folders = [_folder(checkpoint)]
    if folders[0].parent == WEIGHTS:
        folders.append(WEIGHTS / SHIPPED[0])
    return next((folder for folder in folders if part in native.read_config(folder)["parts"]), None)


def load_tokenizer(preset: Preset, checkpoint: str | pathlib.Path) -> Tokenizer:
    """The tokeniser of a checkpoint folder or a shipped model, without its weights."""
    if preset.byte_tokens:
        return ByteTokenizer()
    return FileTokenizer((_holder(checkpoint, "text") or _folder(checkpoint)) / "tokenizer.json")


def load_part(
    preset: Preset,
    part: str,
    folder: pathlib.Path,
    dtype: jnp.dtype = jnp.float32,
    mesh: Mesh | None = None,
) -> Params:
    """One part's parameters from a native folder, each on its rule's sharding (no mesh: on the first device)."""
    abstract = abstract_params(preset, part)
    shardings = (
        param_shardings(mesh, part, abstract) if mesh else jax.tree.map(lambda _: None, abstract)
    )
    leaves, tree = jax.tree_util.tree_flatten_with_path(abstract)
    places = jax.tree.leaves(shardings, is_leaf=lambda x: x is None)
    stores = [
        open_array(folder / part, "/".join(k.key for k in path)) for path, _ in leaves
    ]  # all, before any is read
    for store, (path, leaf) in zip(stores, leaves, strict=True):
        if tuple(store.shape) != leaf.shape:
            raise InputError(
                f"{folder / part}: {path[-1].key} has shape {store.shape} for {leaf.shape}: convert it again"
            )
    arrays = [
        read_array(store, param_dtype(path, dtype), place)
        for store, (path, _), place in zip(stores, leaves, places, strict=True)
    ]
    return jax.tree.unflatten(tree, arrays)


def load_weights(
    checkpoint: str | pathlib.Path,
    part: str,
    dtype: jnp.dtype = jnp.float32,
    mesh: Mesh | None = None,
) -> Params:
    """One part's parameters of a checkpoint folder or a shipped model, on the mesh by their rules."""
    return load_part(preset_of(checkpoint), part, part_folder(checkpoint, part), dtype, mesh)


def part_folder(checkpoint: str | pathlib.Path, part: str) -> pathlib.Path:
    """The native folder that holds a checkpoint's part. Raises InputError if none does."""
    folder = _holder(checkpoint, part)
    if folder is None:
        raise InputError(f"{checkpoint} lacks its {part} part: import it with that part")
    return folder


def save_parts(
    trained: Params, preset: Preset, checkpoint: str | pathlib.Path, folder: pathlib.Path
) -> None:
    """A native folder with these parts (numpy) and the rest of `checkpoint`; replaces an older one as a whole.

    preset: its sizes; the shapes of all parameters are those of the checkpoint.
    """
    start = pathlib.Path(checkpoint)
    made = folder.with_name(folder.name + ".new")
    shutil.rmtree(made, ignore_errors=True)
    partial, parts = native.stage(made), {}
    for part in PARTS:
        if part not in trained and start.is_dir():
            # Nobody writes into a checkpoint's arrays, so the copies can share the disk's blocks.
            shutil.copytree(start / part, partial / part, copy_function=_link)
            parts[part] = native.read_config(start)["parts"][part]
            continue
        tree = (
            trained[part]
            if part in trained
            else jax.tree.map(np.asarray, load_weights(checkpoint, part))
        )
        table = part_table(preset, part)
        whole = native.Part(table, abstract_params(preset, part), to_public(table, tree))
        parts[part] = native.write_part(partial / part, whole, lambda _: None)
    _copy_tokenizer(load_tokenizer(preset, checkpoint), partial)
    native.finish(partial, made, dataclasses.asdict(preset), parts)
    shutil.rmtree(folder, ignore_errors=True)
    made.replace(folder)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copy2(source, target)


def _copy_tokenizer(tokenizer: Tokenizer, folder: pathlib.Path) -> None:
    if isinstance(tokenizer, FileTokenizer):
        shutil.copy(tokenizer.path, folder / "tokenizer.json")


def save(model: Model, folder: str | pathlib.Path) -> None:
    """Writes a native folder that `load` accepts; it has its name only when it is whole."""
    folder = pathlib.Path(folder)
    if is_quantized(model.params["dit"]):
        raise InputError(
            "the model's weights are rounded to 8 bits: load it with quantize='none' to save it"
        )
    partial = native.stage(folder)
    parts: dict[str, Any] = {}
    for part in PARTS:
        table, params = part_table(model.preset, part), jax.tree.map(np.asarray, model.params[part])
        whole = native.Part(table, abstract_params(model.preset, part), to_public(table, params))
        parts[part] = native.write_part(partial / part, whole, lambda _: None)
    _copy_tokenizer(model.tokenizer, partial)
    native.finish(partial, folder, dataclasses.asdict(model.preset), parts)


def cast(params: Params, dtype: jnp.dtype) -> Params:
    """Parameters on the first device in the types that `load` gives them."""
    return {
        part: jax.tree.map(jnp.asarray, compute_params(tree, dtype))
        for part, tree in params.items()
    }
