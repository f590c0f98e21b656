"""What a caller has set in jax changes nothing, and is as it was afterwards."""

import contextlib
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from shotstream_jax.checkpoint.load import load
from shotstream_jax.checkpoint.save import save
from shotstream_jax.core.settings import own_settings
from shotstream_jax.generate.side_by_side import stream_stories
from shotstream_jax.generate.stream import new_story, stream_generate
from shotstream_jax.testing import tiny_model
from tests.train.material import make_checkpoint, make_dataset
from tests.train.runs import in_process


def mesh(kind: AxisType):
    return jax.set_mesh(jax.make_mesh((len(jax.devices()),), ("x",), axis_types=(kind,)))


SETTINGS = {
    "64 bits": lambda: jax.enable_x64(True),
    "strict promotion": lambda: jax.numpy_dtype_promotion("strict"),
    "transfer guard": lambda: jax.transfer_guard("disallow"),
    "mesh": lambda: mesh(AxisType.Auto),
    "explicit mesh": lambda: mesh(AxisType.Explicit),
}


def in_force() -> tuple:
    config = jax.config
    return (
        config.jax_enable_x64,
        config.jax_numpy_dtype_promotion,
        config.jax_transfer_guard,
        jax.sharding.get_abstract_mesh(),
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save(tiny_model(), folder / "m")
    return folder / "m"


def frames(checkpoint) -> np.ndarray:
    model = load(checkpoint)
    assert model.params["dit"]["head"]["kernel"].dtype == jnp.float32
    made = []
    before = in_force()
    for chunk in stream_generate(model, ["a fox", "a cat"], seed=3):
        assert in_force() == before  # the caller's own while it has the chunk
        made.append(chunk.frames)
    return np.concatenate(made)


@pytest.fixture(scope="module")
def plain(checkpoint) -> np.ndarray:
    return frames(checkpoint)


@pytest.mark.parametrize("name", SETTINGS)
def test_streaming(checkpoint, plain, name):
    before = in_force()
    with SETTINGS[name]():
        inside = in_force()
        assert inside != before
        np.testing.assert_array_equal(frames(checkpoint), plain)
        model = load(checkpoint)
        next(stream_stories(model, [(new_story(model), ["a fox"])]))
        assert in_force() == inside
    assert in_force() == before


def test_training(tmp_path):
    make_dataset(tmp_path / "data")
    make_checkpoint(tmp_path / "start")
    fields = ("run.steps=1", "run.batch=8", "data.held_out=0.0")
    losses = []
    for name, settings in (("plain", ()), ("theirs", ("64 bits", "strict promotion", "mesh"))):
        with contextlib.ExitStack() as stack:
            for setting in settings:
                stack.enter_context(SETTINGS[setting]())
            in_process("teacher", tmp_path, tmp_path / name, *fields)
        row = json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[0])
        losses.append(row["loss"])
    assert losses[0] == losses[1]


def test_commands_heed_no_such_variable():
    """A command's own settings hold from its start, whatever the environment says."""
    program = "from shotstream_jax import cli; import jax; cli.run(lambda _: print(S()))".replace(
        "S()", "jax.config.jax_enable_x64, jax.config.jax_numpy_dtype_promotion"
    )
    theirs = {"JAX_ENABLE_X64": "1", "JAX_NUMPY_DTYPE_PROMOTION": "strict"}
    words = [sys.executable, "-c", program]
    said = subprocess.run(words, env=os.environ | theirs, capture_output=True, text=True)
    assert said.stdout == "False standard\n", said.stderr


def test_nothing_is_entered_where_nothing_differs():
    before = in_force()
    with own_settings():
        assert in_force() == before
