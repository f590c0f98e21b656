"""What all stages do alike: show latents as pictures, and keep the model's sizes."""

import functools
from collections.abc import Iterator
from typing import Any

import jax

from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.core.typing import Array
from shotstream_jax.model import Params
from shotstream_jax.presets import Preset
from shotstream_jax.train.recipe import Recipe
from shotstream_jax.train.setup import Setup
from shotstream_jax.vae import codec

_SHOWN = 4  # stories of a sample video


class BaseStage:
    def __init__(self, recipe: Recipe, setup: Setup):
        self.recipe, self.setup = recipe, setup

    def sizes(self, trained: Params, batches: Iterator[dict[str, Array]]) -> Preset:
        return self.setup.preset

    def show(self, latents: Array) -> Array:
        """Some stories' shots [b, f, h, w, c] → uint8 [b, p, y, x, 3], by the checkpoint's autoencoder."""
        return self._decode(latents[:_SHOWN])

    @functools.cached_property
    def _decode(self) -> Any:
        setup = self.setup
        params = open_checkpoint(self.recipe.start.checkpoint).load_params("vae", mesh=setup.mesh)

        def decode(params: Params, z: Array) -> Array:
            return codec.to_uint8(codec.decode(setup.vae, params, z))

        return functools.partial(jax.jit(decode, out_shardings=setup.whole), params)
