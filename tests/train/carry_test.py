"""A run in parts of some size goes on where they are joined; what is damaged is named."""

import json
import math
import os
import pathlib

import jax
import numpy as np
import pytest

from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.core.errors import InputError
from shotstream_jax.model import PARTS, abstract_params
from shotstream_jax.presets import PRESETS
from shotstream_jax.train import carry
from tests.train.runs import in_process

pytestmark = pytest.mark.usefixtures("programs_are_kept")

MOVING = ("run.save_every=2", "optim.b1=0.9", "trained.ema=0.9")


def steps_of(workdir: pathlib.Path) -> list[int]:
    return [json.loads(line)["step"] for line in (workdir / "metrics.jsonl").open()]


@pytest.fixture
def halfway(one_device, material, tmp_path):
    """A folder of runs: one after two of four steps."""
    in_process("teacher", material, tmp_path / "here" / "run", "run.steps=2", *MOVING)
    (tmp_path / "here" / "run" / "model").rename(tmp_path / "model")
    return tmp_path / "here"


def test_a_run_goes_on_from_its_parts_bit_for_bit(halfway, material, tmp_path, monkeypatch):
    monkeypatch.setattr(carry, "_MB", 10**5)  # some parts of a small state
    carry.main(["pack", str(halfway), "--out", str(tmp_path / "parts"), "--part-mb", "1"])
    parts = sorted((tmp_path / "parts").glob("part-*"))
    assert len(parts) > 2 and max(part.stat().st_size for part in parts) == 10**5
    carry.main(["unpack", str(tmp_path / "parts"), "--out", str(tmp_path / "there")])
    models = []
    for folder in (halfway, tmp_path / "there"):
        in_process("teacher", material, folder / "run", "run.steps=4", *MOVING)
        assert steps_of(folder / "run") == [0, 1, 2, 3]
        models.append(open_checkpoint(folder / "run" / "model").load_params("dit"))
    jax.tree.map(np.testing.assert_array_equal, *models)


def test_a_run_that_is_done_is_carried_as_its_model(halfway, tmp_path):
    (tmp_path / "model").rename(halfway / "run" / "model")
    carry.pack_runs(halfway / "run", tmp_path / "parts")
    carry.unpack_runs(tmp_path / "parts", tmp_path / "there")
    names = sorted(path.name for path in (tmp_path / "there").iterdir())
    assert names == ["config.json", "metrics.jsonl", "model"]
    carry.main(["pack", str(halfway), "--out", str(tmp_path / "some"), "--runs", "run:vae+text"])
    carry.unpack_runs(tmp_path / "some", tmp_path / "less")
    model = open_checkpoint(tmp_path / "less" / "run" / "model")
    assert sorted(model.parts) == ["text", "vae"]
    assert model.preset == open_checkpoint(halfway / "run" / "model").preset


@pytest.mark.parametrize("moments", ["bf16", "none"])
def test_moments_may_be_lost_and_weights_are_exact(halfway, material, tmp_path, moments):
    carry.pack_runs(halfway, tmp_path / "whole")
    carry.pack_runs(halfway, tmp_path / "parts", moments=moments)
    assert size_of(tmp_path / "parts") < 0.85 * size_of(tmp_path / "whole")
    carry.unpack_runs(tmp_path / "parts", tmp_path / "there")
    before = state_of(halfway / "run")
    after = state_of(tmp_path / "there" / "run")
    jax.tree.map(np.testing.assert_array_equal, before["moves"], after["moves"])
    allclose = np.testing.assert_allclose
    jax.tree.map(lambda a, b: allclose(a, b, rtol=2**-8), before["ema"], after["ema"])
    # The learning rate's place is kept, only Adam's own counter begins again.
    moments_before, moments_after = before["optim"][1], after["optim"][1]
    if moments == "bf16":
        jax.tree.map(lambda a, b: allclose(a, b, rtol=2**-8), moments_before, moments_after)
    else:
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(moments_after))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(moments_before))
    in_process("teacher", material, tmp_path / "there" / "run", "run.steps=3", *MOVING)
    assert steps_of(tmp_path / "there" / "run") == [0, 1, 2]


def test_what_cannot_be_carried_is_one_line(halfway, tmp_path):
    with pytest.raises(InputError, match="nothing to carry"):
        carry.pack_runs(tmp_path, tmp_path / "parts")
    with pytest.raises(InputError, match=r"other has neither a model nor a snapshot"):
        carry.pack_runs(halfway, tmp_path / "parts", wanted={"run": [], "other": []})
    with pytest.raises(InputError, match=r"here holds something else"):
        carry.pack_runs(halfway, halfway)
    carry.pack_runs(halfway, tmp_path / "parts")
    with pytest.raises(InputError, match=r"here is there already"):
        carry.unpack_runs(tmp_path / "parts", halfway)
    part = tmp_path / "parts" / "part-000"
    data = bytearray(part.read_bytes())
    data[1000] ^= 1
    part.write_bytes(data)
    with pytest.raises(InputError, match=r"part-000 is damaged or cut off"):
        carry.unpack_runs(tmp_path / "parts", tmp_path / "there")
    part.unlink()
    with pytest.raises(InputError, match=r"cannot read .*part-000"):
        carry.unpack_runs(tmp_path / "parts", tmp_path / "there")
    (tmp_path / "parts" / "carry.json").write_text("{")
    with pytest.raises(InputError, match=r"carry.json is damaged"):
        carry.unpack_runs(tmp_path / "parts", tmp_path / "there")
    assert sorted(os.listdir(tmp_path)) == ["here", "model", "parts"]


def test_the_files_of_small():
    """25 MB in float16, all together."""
    numbers = 0
    for part in PARTS:
        shapes = abstract_params(PRESETS["small"], part)
        numbers += sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    assert 2 * numbers < 25e6


def size_of(folder: pathlib.Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def state_of(run: pathlib.Path) -> dict:
    """The teacher's state in a run's newest snapshot, as numpy arrays."""
    number = max(int(path.name) for path in (run / "checkpoints").iterdir())
    return carry.read_state(run / "checkpoints" / str(number))["teacher"]
