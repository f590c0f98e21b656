"""One optimiser step of every stage, on drawn numbers: the very programs that `train` runs."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from shotstream_jax.bench.parts import Part
from shotstream_jax.presets import Preset
from shotstream_jax.train.__main__ import make_stage
from shotstream_jax.train.begin import abstract_frozen, abstract_state
from shotstream_jax.train.recipe import Recipe
from shotstream_jax.train.stage import Program


def training_parts(recipe: Recipe, preset: Preset, mesh: Mesh) -> Iterator[Part]:
    """The programs of a recipe's stage; the mesh must be set."""
    stage = make_stage(recipe, preset, mesh, dataset=None)
    state, frozen = abstract_state(stage), abstract_frozen(stage)
    for program in stage.programs(state, frozen):
        yield Part(f"train {recipe.stage}", program.name, _repeated(program), program.flops)


def _repeated(program: Program) -> Callable[[], Any]:
    """Its first argument is the state, which it takes away and gives back, alone or first of several results."""
    arrays = drawn(program.arguments)

    def call() -> Any:
        nonlocal arrays
        made = program.jitted(*arrays)
        arrays = (made[0] if isinstance(made, tuple) else made, *arrays[1:])
        return made

    return call


def drawn(abstract: Any) -> Any:
    """Arrays of these shapes, made where they lie: small normal numbers, and zeros for integers."""

    def make(path: Any, like: Any) -> Any:
        if not isinstance(like, jax.ShapeDtypeStruct):
            return like
        floating = jnp.issubdtype(like.dtype, jnp.floating)
        # Optimisers keep squares, which are not negative.
        draw = lambda: jnp.abs(0.02 * jax.random.normal(jax.random.key(len(path)), like.shape, like.dtype))  # noqa: E731
        zeros = lambda: jnp.zeros(like.shape, like.dtype)  # noqa: E731
        return jax.jit(draw if floating else zeros, out_shardings=like.sharding)()

    return jax.tree_util.tree_map_with_path(make, abstract)
