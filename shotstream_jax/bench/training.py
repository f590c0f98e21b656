"""One optimiser step of every stage, on drawn numbers: the very programs that `train` runs."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from shotstream_jax.bench.parts import Part
from shotstream_jax.presets import Preset
from shotstream_jax.train.__main__ import make_stage
from shotstream_jax.train.recipe import Recipe
from shotstream_jax.train.run.start import abstract_frozen, abstract_state


def training_parts(recipe: Recipe, preset: Preset, mesh: Mesh) -> Iterator[Part]:
    """The programs of a recipe's stage."""
    stage = make_stage(recipe, preset, mesh, dataset=None)
    for program in stage.programs(abstract_state(stage), abstract_frozen(stage)):
        program = program._replace(arguments=drawn(program.arguments))
        yield Part(f"train {recipe.stage}", program.name, program, carried=(0, _state))


def _state(made: Any) -> Any:
    """The state comes back alone or first of several results."""
    return made[0] if isinstance(made, tuple) else made


def drawn(abstract: Any) -> Any:
    """Arrays of these shapes, made where they lie: small normal numbers, and zeros for integers."""

    def make(path: Any, like: Any) -> Any:
        if not isinstance(like, jax.ShapeDtypeStruct):
            return like
        floating = jnp.issubdtype(like.dtype, jnp.floating)
        # Optimisers keep squares, which are not negative.
        draw = lambda: jnp.abs(
            0.02 * jax.random.normal(jax.random.key(len(path)), like.shape, like.dtype)
        )
        zeros = lambda: jnp.zeros(like.shape, like.dtype)  # noqa: E731
        return jax.jit(draw if floating else zeros, out_shardings=like.sharding)()

    return jax.tree_util.tree_map_with_path(make, abstract)
