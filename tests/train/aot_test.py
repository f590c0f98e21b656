"""What a recipe needs on a TPU slice."""

import functools
import json

import jax
import pytest

from shotstream_jax.aot.collectives import Collectives
from shotstream_jax.aot.compile import GIB, Compiled, Program
from shotstream_jax.core.devices import HBM
from shotstream_jax.train import __main__ as train
from shotstream_jax.train import aot


def test_programs_need_no_files(monkeypatch):
    """The abstract arguments of every tiny recipe's steps, on a processor's devices."""
    monkeypatch.setattr(aot, "aot_devices", lambda name: jax.devices()[:4])
    seen = []
    monkeypatch.setattr(aot, "compile_program", functools.partial(_trace, seen))
    recipes = ("teacher", "causal_teacher", "ode_init", "consistency", "dmd_intra", "dmd_short")
    recipes += ("dmd_inter",)
    for name in recipes:
        fields = ["--config.run.batch=4", "--config.data.frames=3"]
        train.main(["--config", name, *fields, "--aot", "here"])
    step, generator, critic = (seen.count(name) for name in ("step", "generator", "critic"))
    assert (step, generator, critic, seen.count("extend_history")) == (4, 3, 3, 1)


def _trace(seen: list[str], program: Program, remedy: str) -> Compiled:
    jax.eval_shape(program.jitted, *program.arguments)
    seen.append(program.name)
    return Compiled(program.name, 0.0, 0, 0, 0, 0, program.flops, 0.0, Collectives({}, {}, 0, 0))


def test_a_slice_that_is_not_there(tmp_path, capsys):
    pytest.importorskip("libtpu", reason="pip install 'shotstream-jax[aot]'")
    path = tmp_path / "report.json"
    words = ["--config", "teacher", "--aot", "v5e:2x2", "--json", str(path)]
    fields = ("data.frames=3", "run.batch=4", "mesh.data=1", "mesh.fsdp=-1")
    train.main([*words, *(f"--config.{field}" for field in fields)])
    (step,) = json.loads(path.read_text())["programs"]
    assert 0 < step["argument"] < step["total"] < HBM["TPU v5 lite"] * GIB and step["flops"] > 0
    assert step["collectives"]["count"]["all-gather"] > 0  # fsdp
    assert "fsdp=4" in capsys.readouterr().out
