"""How a run starts: weights onto the mesh, a state around them, and what an earlier run of the same workdir left."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.core.sharding import param_shardings, with_shardings
from shotstream_jax.data.records import Dataset
from shotstream_jax.model import PARTS, Params, abstract_params, init_part
from shotstream_jax.text.tokenizer import PAD, tokenize
from shotstream_jax.train.recipe import Recipe
from shotstream_jax.train.setup import Frozen, Origin, Setup, State
from shotstream_jax.train.stage import Data, Stage


def fresh_state(recipe: Recipe, stage: Stage, dataset: Data) -> tuple[State, Frozen]:
    """State and frozen parameters before the first step, sharded; the mesh must be set."""
    setup, networks = stage.setup, stage.networks
    loaded = {origin: _weights(recipe, setup, origin) for origin in networks.origins}
    abstract = networks.abstract(setup)
    places = jax.tree.map(lambda a: a.sharding, abstract)
    state, frozen = jax.jit(functools.partial(networks.start, setup), out_shardings=places)(loaded)
    if "negative" in stage.needs():
        frozen["negative"] = jax.device_put(negative_text(setup, dataset), setup.whole)
    if "negative_ids" in stage.needs():
        frozen["negative_ids"] = jax.device_put(negative_ids(recipe, setup, dataset), setup.whole)
    if "vae" in stage.needs():
        frozen["vae"] = open_checkpoint(recipe.start.checkpoint).load_params("vae", mesh=setup.mesh)
    return state | jax.tree.map(_zeros, stage.extras()), frozen


def abstract_state(stage: Stage) -> State:
    """The shapes and places of the state, as a checkpoint is restored."""
    return stage.networks.abstract(stage.setup)[0] | stage.extras()


def abstract_frozen(stage: Stage) -> Frozen:
    """Shapes and places of what the steps only read."""
    setup, frozen = stage.setup, stage.networks.abstract(stage.setup)[1]
    if "vae" in stage.needs():
        vae = abstract_params(setup.preset, "vae")
        frozen["vae"] = with_shardings(vae, param_shardings(setup.mesh, "vae", vae))
    if "negative" in stage.needs():
        shape = (1, setup.preset.dit.text_len, setup.preset.dit.text_dim)
        frozen["negative"] = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=setup.whole)
    if "negative_ids" in stage.needs():
        shape = (1, setup.preset.dit.text_len)
        frozen["negative_ids"] = jax.ShapeDtypeStruct(shape, jnp.int32, sharding=setup.whole)
    return frozen


def negative_text(setup: Setup, dataset: Dataset) -> np.ndarray:
    """The negative prompt's embedding [1, l, e], zero-padded."""
    text = np.zeros((1, setup.preset.dit.text_len, setup.preset.dit.text_dim), np.float32)
    text[0, : len(dataset.negative)] = dataset.negative
    return text


def negative_ids(recipe: Recipe, setup: Setup, dataset: Dataset) -> np.ndarray:
    """The negative prompt's tokens [1, l]; none at all of an empty one, whose embedding is zeros."""
    prompt, length = dataset.settings.negative_prompt, setup.preset.dit.text_len
    tokenizer = open_checkpoint(recipe.start.checkpoint).tokenizer()
    return (
        tokenize(tokenizer, prompt, length).ids[None]
        if prompt
        else np.full((1, length), PAD, np.int32)
    )


def _weights(recipe: Recipe, setup: Setup, origin: Origin) -> Params:
    """Of a checkpoint, or fresh ones in their place."""
    if origin.checkpoint == "teacher":
        return open_checkpoint(recipe.teacher).load_params(origin.part, mesh=setup.mesh)
    if not recipe.start.scratch:
        return open_checkpoint(recipe.start.checkpoint).load_params(origin.part, mesh=setup.mesh)
    places = param_shardings(setup.mesh, origin.part, abstract_params(setup.preset, origin.part))
    init = functools.partial(init_part, setup.preset, origin.part)
    return jax.jit(
        lambda: init(setup.key("init", PARTS.index(origin.part))), out_shardings=places
    )()


def _zeros(like: jax.ShapeDtypeStruct) -> Any:
    return jax.jit(lambda: jnp.zeros(like.shape, like.dtype), out_shardings=like.sharding)()
