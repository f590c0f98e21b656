"""How a run starts: weights onto the mesh, and a new state or an earlier run's."""

import functools
from typing import Any

import jax
import numpy as np

from shotstream_jax.core.sharding import param_shardings
from shotstream_jax.core.typing import Float, Int, Params
from shotstream_jax.data.dataset import Dataset
from shotstream_jax.model import PARTS, abstract_params, init_part
from shotstream_jax.presets import Preset
from shotstream_jax.text.tokenizer import PAD, Tokenizer, tokenize
from shotstream_jax.train.network import Checkpoints, Origin, Weights
from shotstream_jax.train.recipe import StartConfig
from shotstream_jax.train.setup import Setup, shardings_of
from shotstream_jax.train.stages.stage import (
    Stage,
    StageFixed,
    StageState,
    TrainingData,
    abstract_start,
)


def new_run(
    start: StartConfig, checkpoints: Checkpoints, stage: Stage, data: TrainingData
) -> tuple[StageState, StageFixed]:
    """State and fixed arrays before the first step, sharded; the mesh must be set."""
    # 1. Every network's weights, straight onto the mesh.
    weights = {}
    for origin in stage.origins:
        weights[origin] = _load(start, checkpoints, stage, origin)
    # 2. The state around them, made where it will lie.
    abstract_state, _ = abstract_start(stage)
    initial_state = jax.jit(stage.initial_state, out_shardings=shardings_of(abstract_state))
    return initial_state(weights), _fixed(checkpoints, stage, data, weights)


def resumed_run(
    checkpoints: Checkpoints, stage: Stage, data: TrainingData
) -> tuple[StageState, StageFixed]:
    """The shapes of the state, for a snapshot to be restored into, and the fixed arrays.

    Weights that the snapshot has in it are not loaded.
    """
    weights = {}
    for origin in stage.fixed_origins:
        weights[origin] = checkpoints.of(origin).load_params(origin.part, mesh=stage.setup.mesh)
    abstract_state, _ = abstract_start(stage)
    return abstract_state, _fixed(checkpoints, stage, data, weights)


def _fixed(
    checkpoints: Checkpoints, stage: Stage, data: TrainingData, weights: Weights
) -> StageFixed:
    """What the steps only read."""
    # Compiled, so that casts and splits happen on the devices.
    needed = {origin: weights[origin] for origin in stage.fixed_origins}
    _, abstract_fixed = abstract_start(stage)
    make = jax.jit(stage.fixed, out_shardings=shardings_of(abstract_fixed))
    return make(needed, _negative(checkpoints, stage, data))


def _negative(checkpoints: Checkpoints, stage: Stage, data: TrainingData) -> np.ndarray | None:
    """What the stage needs of the negative prompt."""
    preset = stage.setup.preset
    if stage.negative == "none":
        return None
    assert isinstance(data, Dataset)
    if stage.negative == "tokens":
        return negative_tokens(preset, checkpoints.start.tokenizer(), data)
    return negative_embedding(preset, data)


def negative_embedding(preset: Preset, dataset: Dataset) -> Float[np.ndarray, "1 l e"]:
    """The embedding of the data set's negative prompt, zero-padded."""
    padded = np.zeros((1, preset.dit.text_len, preset.dit.text_dim), np.float32)
    padded[0, : len(dataset.negative)] = dataset.negative
    return padded


def negative_tokens(
    preset: Preset, tokenizer: Tokenizer, dataset: Dataset
) -> Int[np.ndarray, "1 l"]:
    """The tokens of the negative prompt; none at all of an empty one, whose embedding is zeros."""
    prompt = dataset.settings.negative_prompt
    length = preset.dit.text_len
    if not prompt:
        return np.full((1, length), PAD, np.int32)
    tokens = tokenize(tokenizer, prompt, length)
    return tokens.ids[None]


def _load(start: StartConfig, checkpoints: Checkpoints, stage: Stage, origin: Origin) -> Params:
    """The weights of a checkpoint, or fresh ones in their place, on the mesh."""
    # Fresh values are for what is trained from nothing, not for what the steps only read.
    is_trained = origin.checkpoint == "start" and origin not in stage.fixed_origins
    if start.scratch and is_trained:
        return _fresh(stage.setup, origin.part)
    return checkpoints.of(origin).load_params(origin.part, mesh=stage.setup.mesh)


def _fresh(setup: Setup, part: str) -> Params:
    """Fresh parameters of a part, made where they lie."""
    abstract = abstract_params(setup.preset, part)
    shardings = param_shardings(setup.mesh, part, abstract)
    init = functools.partial(init_part, setup.preset, part)

    def make() -> Any:
        """Fresh parameters."""
        return init(setup.key("init", PARTS.index(part)))

    return jax.jit(make, out_shardings=shardings)()
