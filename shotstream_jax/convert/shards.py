"""A state dict as one `.safetensors` file, or as several and an index of them.

model.safetensors
model-00001-of-00002.safetensors, model-00002-of-00002.safetensors, model.safetensors.index.json
"""

import math
import pathlib
from collections.abc import Mapping
from typing import Any

from shotstream_jax.checkpoint.parts import Progress
from shotstream_jax.convert.files import write_safetensors
from shotstream_jax.convert.names import State, state_bytes
from shotstream_jax.core.files import write_json

SHARD_BYTES = 5 * 10**9  # what other programs write, and what file systems of all kinds can hold


def write_shards(
    state: State,
    folder: pathlib.Path,
    stem: str,
    progress: Progress,
    texts: Mapping[str, str],
    most: int = SHARD_BYTES,
) -> None:
    """Writes a state dict into a folder, in its order, one array in memory at a time.

    stem: of the files' names. texts: what each file says in its header. most: bytes of a shard; an
    array that is larger has one of its own. Raises OSError.
    """
    shards = _split(state, most)
    if len(shards) == 1:
        write_safetensors(state, folder / f"{stem}.safetensors", progress, texts)
        return
    weight_map = {}
    for number, shard in enumerate(shards, start=1):
        name = f"{stem}-{number:05}-of-{len(shards):05}.safetensors"
        write_safetensors(shard, folder / name, progress, texts)
        weight_map.update(dict.fromkeys(shard, name))
    index = {"metadata": {"total_size": state_bytes(state)}, "weight_map": weight_map}
    write_json(folder / f"{stem}.safetensors.index.json", index)


def _split(state: State, most: int) -> list[dict[str, Any]]:
    """The arrays in their order, in as few shards as hold them."""
    shards: list[dict[str, Any]] = [{}]
    filled = 0
    for name, array in state.items():
        nbytes = math.prod(array.shape) * array.dtype.itemsize
        if shards[-1] and filled + nbytes > most:
            shards.append({})
            filled = 0
        shards[-1][name] = array
        filled += nbytes
    return shards
