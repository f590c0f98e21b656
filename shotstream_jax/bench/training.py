"""One optimiser step of every stage, on random arguments: the very programs that `train` runs."""

import functools
from collections.abc import Callable, Collection, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from shotstream_jax.bench.models import scattered
from shotstream_jax.bench.subject import BenchPart
from shotstream_jax.core.typing import DType
from shotstream_jax.presets import Preset
from shotstream_jax.train.build import make_stage
from shotstream_jax.train.recipe import TrainRecipe
from shotstream_jax.train.stages.stage import abstract_start


def training_parts(
    recipe: TrainRecipe, preset: Preset, mesh: Mesh, names: Collection[str] = ()
) -> Iterator[BenchPart]:
    """The programs of a recipe's stage, with arguments on the mesh; of `names`, or all."""
    stage = make_stage(recipe, preset, mesh, data=None)
    for program in stage.programs(*abstract_start(stage)):
        if names and program.name not in names:
            continue
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

    def make(like: Any) -> Any:
        """One leaf's array."""
        if not isinstance(like, jax.ShapeDtypeStruct):
            return like
        return _maker(like.shape, like.dtype, like.sharding)()

    return jax.tree.map(make, abstract)


@functools.cache
def _maker(shape: tuple[int, ...], dtype: DType, sharding: Any) -> Callable[[], jax.Array]:
    """What makes an array; a state has hundreds of arrays, but few that differ in this."""

    def numbers() -> jax.Array:
        """Numbers with a root mean square of 0.02, or zeros."""
        if jnp.issubdtype(dtype, jnp.floating):
            return jnp.abs(0.02 * scattered(shape)).astype(dtype)
        return jnp.zeros(shape, dtype)

    return jax.jit(numbers, out_shardings=sharding)
