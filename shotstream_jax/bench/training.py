"""One optimiser step of every stage, on random arguments: the very programs that `train` runs."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from shotstream_jax.bench.subject import BenchPart
from shotstream_jax.presets import Preset
from shotstream_jax.train.build import make_stage
from shotstream_jax.train.recipe import TrainRecipe
from shotstream_jax.train.stages.stage import abstract_start


def training_parts(recipe: TrainRecipe, preset: Preset, mesh: Mesh) -> Iterator[BenchPart]:
    """The programs of a recipe's stage, with arguments on the mesh."""
    stage = make_stage(recipe, preset, mesh, data=None)
    for program in stage.programs(*abstract_start(stage)):
        # Its own arrays for each program, because a step takes its state away.
        arguments = random_arguments(program.arguments)
        yield BenchPart(
            f"train {recipe.stage}",
            program.name,
            program._replace(arguments=arguments),
            carried=(0, _state),
        )


def _state(result: Any) -> Any:
    """The state in a step's result: alone, or the first of several values."""
    return result[0] if isinstance(result, tuple) else result


def random_arguments(abstract: Any) -> Any:
    """Arrays of these shapes, made where they lie.

    Floats are small and not negative (optimisers keep squares), integers are zero. What is not a
    ShapeDtypeStruct stays as it is.
    """

    def make(path: Any, like: Any) -> Any:
        """One leaf's array."""
        if not isinstance(like, jax.ShapeDtypeStruct):
            return like

        def draw() -> jax.Array:
            """Numbers |N(0, 0.02²)|."""
            key = jax.random.key(len(path))
            return jnp.abs(0.02 * jax.random.normal(key, like.shape, like.dtype))

        def zeros() -> jax.Array:
            """Zeros."""
            return jnp.zeros(like.shape, like.dtype)

        floating = jnp.issubdtype(like.dtype, jnp.floating)
        make_array = draw if floating else zeros
        return jax.jit(make_array, out_shardings=like.sharding)()

    return jax.tree_util.tree_map_with_path(make, abstract)
