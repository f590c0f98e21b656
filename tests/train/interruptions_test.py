"""What ends a run too early: Ctrl-C, another run, a full disk, snapshots that are damaged."""

import json
import os
import pathlib
import resource
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.core.errors import InputError
from shotstream_jax.train import __main__ as train
from shotstream_jax.train import ode_pairs
from shotstream_jax.train.run.log import Log
from shotstream_jax.train.run.snapshots import Snapshots
from shotstream_jax.train.run.workdir import held
from tests.train.material import make_dataset
from tests.train.runs import arguments, in_process

pytestmark = pytest.mark.usefixtures("programs_are_kept")


@pytest.fixture(autouse=True)
def listen_to_ctrl_c():
    """As at a terminal, also where the tests themselves were started without Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def snapshot_names(workdir: pathlib.Path) -> list[str]:
    return sorted(path.name for path in (workdir / "checkpoints").iterdir())


def press_ctrl_c(monkeypatch, after: int, times: int) -> None:
    """Presses it so often while step `after` is made."""
    add = Log.add

    def pressing(self, step, *arguments):
        add(self, step, *arguments)
        if step == after:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Log, "add", pressing)


def test_ctrl_c_saves_and_a_second_one_does_not(
    one_device, material, tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO")
    fields = ("run.steps=3", "run.save_every=100")
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    in_process("teacher", material, whole, *fields)
    with monkeypatch.context() as patch:
        press_ctrl_c(patch, after=1, times=1)
        with pytest.raises(KeyboardInterrupt):
            in_process("teacher", material, halves, *fields)
    assert "Ctrl-C again stops at once" in caplog.text
    assert "saved after step 2; the same command goes on from there" in caplog.text
    assert snapshot_names(halves) == ["2"]
    with monkeypatch.context() as patch:
        press_ctrl_c(patch, after=2, times=2)
        with pytest.raises(KeyboardInterrupt):
            in_process("teacher", material, halves, *fields)
    assert snapshot_names(halves) == ["2"] and not (halves / "model").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    in_process("teacher", material, halves, *fields)
    parts = [open_checkpoint(run / "model").load_params("dit") for run in (whole, halves)]
    jax.tree.map(np.testing.assert_array_equal, *parts)
    assert sorted(path.name for path in halves.iterdir()) == [
        "checkpoints",
        "config.json",
        "metrics.jsonl",
        "model",
        "tensorboard",
    ]


def test_one_run_at_a_time(one_device, material, tmp_path, monkeypatch):
    with held(tmp_path / "run", "--workdir"):
        with pytest.raises(InputError, match=r"run is being written by process \d+ on .*--workdir"):
            in_process("teacher", material, tmp_path / "run", "run.steps=1")
        assert os.listdir(tmp_path / "run") == [".lock"]
        with monkeypatch.context() as patch:  # another process of the same run
            patch.setattr(jax, "process_index", lambda: 1)
            with held(tmp_path / "run", "--workdir"):
                pass
    assert not (tmp_path / "run").exists()  # nothing was written


def test_other_data_under_the_same_path(one_device, material, tmp_path):
    make_dataset(tmp_path / "data")
    fields = (f"data.path={tmp_path}/data",)
    in_process("teacher", material, tmp_path / "run", "run.steps=1", *fields)
    config = tmp_path / "run" / "config.json"
    shutil.rmtree(tmp_path / "data")
    make_dataset(tmp_path / "data", clips=5)
    with pytest.raises(InputError, match=r"run holds a run on other data than .*data has now"):
        in_process("teacher", material, tmp_path / "run", "run.steps=2", *fields)
    before = json.loads(config.read_text())
    del before["samples"]
    del before["recipe"]["truth"]
    config.write_text(json.dumps(before))  # a folder of before this was remembered
    in_process("teacher", material, tmp_path / "run", "run.steps=1", *fields)


def test_pairs_of_another_teacher(one_device, material, tmp_path, caplog):
    fields = ("run.steps=1", "pairs.count=2", "pairs.batch=2")
    fields += (f"pairs.path={tmp_path}/pairs",)
    words = arguments("ode_init", material, tmp_path / "run", *fields)
    with held(tmp_path / "pairs", "pairs.path"):
        with pytest.raises(InputError, match=r"pairs is being written by .*pairs.path"):
            ode_pairs.main(words[:-1])
    ode_pairs.main(words[:-1])
    other = [*words, f"--config.start.checkpoint={material}/teacher"]
    with pytest.raises(
        InputError, match=r"made by another teacher, .*start with the weights \w+, "
    ):
        train.main(other)
    settings = json.loads((tmp_path / "pairs" / "settings.json").read_text())
    # The same clips' names in another order would be other shots under the same numbers.
    (tmp_path / "pairs" / "settings.json").write_text(json.dumps(settings | {"data_sha256": "0"}))
    with pytest.raises(InputError, match="its clips have changed since; make them again"):
        train.main(words)
    del settings["teacher_sha256"], settings["data_sha256"]
    (tmp_path / "pairs" / "settings.json").write_text(json.dumps(settings))
    train.main(words)
    assert "do not say which teacher's weights made them" in caplog.text


STATE = {"a": jnp.arange(3000.0), "b": jnp.ones(7)}
SHAPES = jax.eval_shape(lambda: STATE)


@pytest.fixture
def snapshots(tmp_path):
    """1, 2 and 3, of the state times their numbers."""
    made = Snapshots(tmp_path / "s", keep_last=5)
    for number in (1, 2, 3):
        made.save(number, jax.tree.map(lambda a, n=number: a * n, STATE), {"step": number})
    made.wait()
    yield made
    made.close()


def cut_arrays(folder: pathlib.Path) -> None:
    for path in folder.glob("state/**/d/*"):
        os.truncate(path, 10)


def lose_arrays(folder: pathlib.Path) -> None:
    shutil.rmtree(folder / "state")


def spoil_facts(folder: pathlib.Path) -> None:
    (folder / "meta" / "metadata").write_text("{")


@pytest.mark.parametrize("damage", [cut_arrays, lose_arrays, spoil_facts])
def test_a_damaged_snapshot(snapshots, tmp_path, damage, caplog, capfd):
    """The one before is taken, with a warning; of none at all one line says what to do."""
    damage(tmp_path / "s" / "3")
    number, state, facts = snapshots.restore_newest(SHAPES)
    assert number == 2 and facts == {"step": 2}
    np.testing.assert_array_equal(state["a"], 2 * STATE["a"])
    assert "snapshot 3 cannot be read: " in caplog.text
    assert (tmp_path / "s" / "3.damaged").exists() and snapshots.latest == 2
    snapshots.save(3, STATE, {"step": 3})  # its number is free
    snapshots.wait()
    assert snapshots.restore_newest(SHAPES)[0] == 3
    for number in (1, 2, 3):
        damage(tmp_path / "s" / str(number))
    with pytest.raises(InputError, match=r"no snapshot in .* can be read: .*remove .* begin anew"):
        snapshots.restore_newest(SHAPES)
    assert "Traceback" not in capfd.readouterr().err


def test_a_full_disk(snapshots, tmp_path, caplog, capfd):
    """One line, whenever the error comes; the snapshots before it stay."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cannot write a snapshot to .*: File too large; .*"):
            snapshots.save(4, STATE, {"step": 4})
            snapshots.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not any(record.exc_info for record in caplog.records)
    assert "Traceback" not in capfd.readouterr().err
    assert Snapshots(tmp_path / "s", keep_last=5).restore_newest(SHAPES)[0] == 3
