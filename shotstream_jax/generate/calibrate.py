"""How large the inputs of the transformer's Linears get, measured on a few stories.

8-bit streaming needs a scale for every Linear's input. Known beforehand, an activation can be
rounded where it is made (nn/quantize). The scales are those of the largest inputs that occur while
the unrounded model streams: every pass of every chunk, with prompts of the kind that will be asked.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.progress import progress_bar
from shotstream_jax.core.typing import Array, Params
from shotstream_jax.generate.stream import stream_generate
from shotstream_jax.model import Model
from shotstream_jax.nn.quantize import LargestInputs, WatchedKernel, is_quantized, linear_name


class _Record:
    """The largest input of one Linear, a number for each layer."""

    def __init__(self, layers: int) -> None:
        self.largest = np.zeros(layers)

    def note(self, layer: Any, largest: Any) -> None:
        """An input of a layer. The order in which they come does not matter."""
        self.largest[int(layer)] = max(self.largest[int(layer)], float(largest))


def largest_inputs(model: Model, stories: Sequence[tuple[str, Sequence[str]]]) -> LargestInputs:
    """Streams the stories, and returns the largest |input| of every Linear of every layer.

    model: unrounded. stories: (global caption, captions of the shots). Raises InputError if the
    model is rounded, or if an input is not finite.
    """
    if is_quantized(model.params["dit"]):
        raise InputError("the model is rounded to 8 bits already: load it with quantize='none'")
    # The model as it is, but for kernels that note what they are multiplied with.
    watching, found = watch_inputs(model.params["dit"])
    watched = dataclasses.replace(model, params=model.params | {"dit": watching})
    # The frames are thrown away: what counts is noted on the way.
    for seed, (global_caption, captions) in enumerate(progress_bar(stories, unit="story")):
        for _ in stream_generate(watched, captions, global_caption=global_caption, seed=seed):
            pass
    return found()


def watch_inputs(params: Params) -> tuple[Params, Callable[[], LargestInputs]]:
    """The transformer's parameters with every kernel of its blocks watched.

    Returns them, and what gives the largest |input| of every Linear in all passes with them so far.
    That raises InputError if an input was not finite.
    """
    # A record for each Linear; the kernels that carry them go through the passes like others.
    records: dict[str, _Record] = {}

    def watch(path: tuple[Any, ...], leaf: Array) -> Array | WatchedKernel:
        """A kernel with a record of its own, any other parameter as it is."""
        if path[-1].key != "kernel":
            return leaf
        layers = leaf.shape[0]
        record = _Record(layers)
        records[linear_name(path)] = record
        return WatchedKernel(leaf, jnp.arange(layers), record.note)

    def found() -> LargestInputs:
        """What was recorded."""
        # The last records may still be on their way.
        jax.effects_barrier()
        largest = {}
        for name, record in sorted(records.items()):
            if not np.isfinite(record.largest).all():
                raise InputError(f"an input of {name} is not finite: the weights are damaged")
            largest[name] = record.largest.tolist()
        return largest

    blocks: Mapping[str, Any] = jax.tree_util.tree_map_with_path(watch, params["blocks"])
    return params | {"blocks": blocks}, found
