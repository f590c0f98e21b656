"""Values of recipes in other types: numpy's numbers are numbers, texts and truth values are not."""

import dataclasses

import numpy as np
import pytest
from ml_collections import ConfigDict

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.core.errors import InputError
from shotstream_jax.data.samples import DataConfig
from shotstream_jax.eval.report import summarise, summary_table
from shotstream_jax.testing import tiny_model
from shotstream_jax.train.optim import OptimConfig
from shotstream_jax.train.recipe import RunConfig
from shotstream_jax.train.state import TrainState


def test_numbers_of_numpy():
    run = RunConfig(np.int64(3), np.int32(2))
    assert run == RunConfig(3, 2) and type(run.steps) is int
    fields = ConfigDict({"steps": np.int64(3), "batch": 2})
    assert cli.build(RunConfig, fields, "config.run") == run
    rate = cli.build(OptimConfig, ConfigDict({"lr": 1, "clip": np.float32(0.5)}), "config.optim")
    assert rate == OptimConfig(1.0, 0.5) and type(rate.lr) is float
    assert type(DataConfig("d", np.int64(6)).frames) is int


@pytest.mark.parametrize("value", ["3", 3.5, None, True, 0, -2])
def test_what_is_no_count(value):
    for name in ("steps", "batch"):
        with pytest.raises(InputError, match=f"run.{name} "):
            RunConfig(**({"steps": 4, "batch": 2} | {name: value}))
    with pytest.raises(InputError, match=r"data.frames "):
        DataConfig("d", value)


def test_a_truth_value_is_no_number():
    with pytest.raises(InputError, match=r"config.run.steps must be int, not True"):
        cli.build(RunConfig, ConfigDict({"steps": True, "batch": 2}), "config.run")


def test_what_is_large_is_a_line():
    model = tiny_model()
    state = TrainState(model.params["dit"], {}, None)
    for value in (model, open_checkpoint("tiny"), state):
        assert len(repr(value)) < 200 and repr(value).startswith(type(value).__name__)
    assert "Array" not in repr(dataclasses.replace(model, origin="here"))


def test_one_story_has_no_intervals():
    figures = [{"a": np.array([0.5, 0.25, 0.75])}, {"a": np.array([0.5, 0.5, 0.5])}]
    assert " to " in summary_table(summarise(figures, {}))[1]
    (_, alone) = summary_table(summarise(figures[:1], {}))
    assert " to " not in alone and "0.500" in alone
