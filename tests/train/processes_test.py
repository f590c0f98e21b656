"""Two real processes equal one.

They have the same losses and weights, and either can continue from the other's snapshots.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.core.sharding import make_mesh
from shotstream_jax.data.dataset import open_dataset
from shotstream_jax.train.build import make_stage, open_checkpoints, read_recipe
from shotstream_jax.train.run.loop import Run
from tests.compilation import FAST_COMPILATION
from tests.train.material import make_checkpoint, make_dataset

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = str(ROOT / "configs" / "teacher.py")
# Over four devices, two a process: the halves of a frame's tokens are in different processes, the
# halves of a width in the same one.
MESH = {"fsdp": 1, "sequence": 2, "tensor": 2}
STEPS = 3
MEASURED = ("seconds", "tokens_per_s", "tflops", "host_memory_mb")


@pytest.fixture(scope="module")
def fields(tmp_path_factory) -> list[str]:
    """The recipe's overrides."""
    folder = tmp_path_factory.mktemp("processes")
    run = {
        "batch": 2,
        "log_every": 1,
        "save_every": 2,
        "held_out_every": 0,
        "sample_every": 0,
        "steps": STEPS,
    }
    start = {
        "start.checkpoint": make_checkpoint(folder / "start"),
        "start.scratch": False,
        "trained.what": "self_attention",
        "data.path": make_dataset(folder / "data"),
    }
    values = (
        start | {f"run.{k}": v for k, v in run.items()} | {f"mesh.{k}": v for k, v in MESH.items()}
    )
    return [f"--config.{name}={value}" for name, value in values.items()]


def start(fields: list[str], workdir: pathlib.Path, *more: str) -> subprocess.Popen:
    """The recipe by two processes, with two devices each."""
    command = [
        sys.executable,
        "-m",
        "shotstream_jax.train",
        "--config",
        CONFIG,
        *fields,
        *more,
        "--workdir",
        workdir,
    ]
    environ = os.environ | {
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        "XLA_FLAGS": FAST_COMPILATION,
        "DEVICES": "2",
    }
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(
        [ROOT / "launch" / "local.sh", "2", *command], cwd=ROOT, env=environ, **pipes
    )


def alone(fields: list[str]) -> tuple:
    """The same for this process, by four of its devices: what a Run is made of."""
    recipe = read_recipe(cli.load_config(CONFIG, fields))
    checkpoints = open_checkpoints(recipe)
    dataset = open_dataset(recipe.data.path)
    mesh = make_mesh(MESH, jax.devices()[:4])
    stage = make_stage(recipe, checkpoints.start.preset, mesh, dataset, checkpoints)
    return recipe, stage, dataset, checkpoints


def rows(workdir: pathlib.Path) -> list[dict[str, float]]:
    """metrics.jsonl without what depends on the machine."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in MEASURED} for line in lines]


def assert_same(a: pathlib.Path, b: pathlib.Path, steps: int) -> None:
    """Two finished runs: the metrics of every step, the newest snapshots, the result."""
    assert (
        [row["step"] for row in rows(a)] == [row["step"] for row in rows(b)] == list(range(steps))
    )
    for one, other in zip(rows(a), rows(b), strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    numbers = [
        sorted(path.name for path in (workdir / "checkpoints").iterdir()) for workdir in (a, b)
    ]
    assert numbers[0] == numbers[1]
    models = [open_checkpoint(w / "model").load_params("dit") for w in (a, b)]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5, rtol=0), *models)


def test_two_processes_are_one(fields, tmp_path):
    both, one = tmp_path / "both", tmp_path / "one"
    with start(fields, both) as launched:  # it compiles while this process does
        recipe, stage, dataset, checkpoints = alone(fields)
        Run(recipe, stage, dataset, checkpoints, one).train()
        output = launched.communicate(timeout=240)[0]
    assert launched.returncode == 0, output
    assert_same(both, one, STEPS)
    further = dataclasses.replace(recipe, run=dataclasses.replace(recipe.run, steps=STEPS + 1))
    further_stage = dataclasses.replace(stage, recipe=further)
    for workdir in (both, one):
        Run(further, further_stage, dataset, checkpoints, workdir).train()
    assert_same(both, one, STEPS + 1)
