"""Runs of the command line: what a workdir holds, and that an interrupted run loses nothing."""

import dataclasses
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from typing import Any

import jax
import numpy as np
import pytest

from shotstream_jax import cli
from shotstream_jax.checkpoint.arrays import open_array
from shotstream_jax.checkpoint.checkpoint import Checkpoint, open_checkpoint
from shotstream_jax.checkpoint.load import load
from shotstream_jax.checkpoint.trained_for import TrainedFor, trained_for
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import make_mesh
from shotstream_jax.data.dataset import open_dataset
from shotstream_jax.model import PARTS
from shotstream_jax.nn.rope import SHOT_PHASE
from shotstream_jax.testing import tiny_preset
from shotstream_jax.train import __main__ as train
from shotstream_jax.train import build, ode_pairs
from shotstream_jax.train.recipe import TrainRecipe
from shotstream_jax.train.run.log import cut_back
from shotstream_jax.train.run.start import new_run, resumed_run
from tests.compilation import FAST_COMPILATION
from tests.train.material import make_checkpoint, make_dataset
from tests.train.runs import ROOT, arguments, in_process

pytestmark = pytest.mark.usefixtures("programs_are_kept")

KILLED_STEPS = 20  # of the runs that are killed


def read_recipe(stage: str, material: pathlib.Path, *fields: str) -> TrainRecipe:
    config, *words = arguments(stage, material, pathlib.Path("unused"), *fields)[:-1]
    return build.read_recipe(cli.load_config(config.removeprefix("--config="), words))


def command(*args: str) -> subprocess.Popen:
    """A run in a process of its own, on one fake device."""
    environment = os.environ | {
        "XLA_FLAGS": FAST_COMPILATION,
        "JAX_PLATFORMS": "cpu",
        "SHOTSTREAM_CACHE_DIR": args[-1],
    }
    words = [sys.executable, "-m", "shotstream_jax.train", *args[:-1]]
    return subprocess.Popen(words, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def rows(workdir: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def transformer(workdir: pathlib.Path) -> dict:
    return open_checkpoint(workdir / "model").load_params("dit")


def same(a, b) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_workdir_and_going_on(one_device, material, tmp_path, stopped_after):
    """Four steps at once = two, and two more; the metrics have every step once; the model loads."""
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    extra = (
        "run.steps=4",
        "optim.decay=true",
        "run.held_out_every=2",
        "run.sample_every=4",
        "run.keep_last=1",
        "run.keep_every=3",
        "trained.ema=0.5",
    )
    in_process("teacher", material, whole, *extra)
    stopped_after(2, in_process, "teacher", material, halves, *extra)
    # As if a later step had been logged and not saved, and a line had been cut off.
    with (halves / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "loss": 5.0}\n{"step": 3, "lo')
    in_process("teacher", material, halves, *extra)
    same(transformer(whole), transformer(halves))
    losses = [(r["step"], r["loss"]) for r in rows(whole) if "loss" in r]
    assert [step for step, _ in losses] == [0, 1, 2, 3]
    assert losses == [(r["step"], r["loss"]) for r in rows(halves) if "loss" in r]
    assert [r["step"] for r in rows(whole) if "held_out/loss" in r] == [-1, 1, 3]
    last = rows(whole)[-2]
    assert last["tokens_per_s"] > 0 and last["tflops"] > 0 and last["host_memory_mb"] > 0
    assert sorted(p.name for p in (whole / "checkpoints").iterdir()) == ["3", "4"]
    assert (whole / "samples" / "step_000004.mp4").stat().st_size > 500
    assert list((whole / "tensorboard").iterdir())
    assert load(whole / "model").preset.name == "test"
    video = load(whole / "model").preset.video
    role = trained_for(open_checkpoint(whole / "model"))
    assert role == TrainedFor("teacher", video.height, video.width, shot_frames=4)


def test_a_text_encoder_trained_with_the_teacher(one_device, material, tmp_path, stopped_after):
    """Its weights and its tokeniser are in the result, and what is not trained stays.

    Two steps, stopped after one of them, equal two steps at once, to the last digit of what a head
    has learned of the truth; but the head is not in the result.
    """
    fields = (
        "text_lr=1e-3",
        "truth.weight=0.5",
        "truth.layer=1",
        "mask_weight=16.0",
        "run.remat=dots",
        "data.captions=each",
        "start.scratch=true",
        "trained.ema=0.5",
        "sampler.steps=2",
    )
    fields += ("run.held_out_every=1", "run.steps=2", "run.sample_every=2")
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    in_process("teacher", material, whole, *fields)
    stopped_after(1, in_process, "teacher", material, halves, *fields)
    in_process("teacher", material, halves, *fields)
    last, last_of_halves = (
        next(r for r in rows(folder) if r["step"] == 1) for folder in (whole, halves)
    )
    for name in last:
        if name.startswith("truth/") or name.endswith("loss"):
            assert last[name] == last_of_halves[name], name
    assert last["truth/grad_norm"] > 0
    assert "held_out/truth/target/accent/accuracy" in rows(whole)[-1]
    assert set(open_checkpoint(whole / "model").parts) == set(PARTS)
    parts = {
        name: open_checkpoint(tmp_path / "whole" / "model").load_params(name) for name in PARTS
    }
    for name in PARTS:
        same(parts[name], open_checkpoint(tmp_path / "halves" / "model").load_params(name))
    start = load(material / "start").params
    same(parts["vae"], start["vae"])
    assert (
        np.abs(parts["text"]["embedding"] - start["text"]["embedding"]).max() > 0.1
    )  # fresh weights
    assert (tmp_path / "whole" / "samples" / "step_000002.mp4").exists()
    assert [r["step"] for r in rows(tmp_path / "whole") if "held_out/loss" in r] == [-1, 0, 1]


def test_going_on_loads_no_weights_that_the_snapshot_has(
    one_device, material, tmp_path, monkeypatch
):
    """A run goes on with the weights of its snapshot; only those that do not move are loaded."""
    load_params = Checkpoint.load_params
    loaded = []

    def recording(checkpoint: Checkpoint, part: str, *args: Any, **options: Any) -> Any:
        loaded.append((pathlib.Path(checkpoint.name).name, part))
        return load_params(checkpoint, part, *args, **options)

    monkeypatch.setattr(Checkpoint, "load_params", recording)
    in_process("teacher", material, tmp_path / "all", "run.steps=1")
    assert loaded == [("start", "dit")]
    in_process("teacher", material, tmp_path / "all", "run.steps=2")
    assert loaded == [("start", "dit")]
    # Of two networks in training and a frozen one only the last is loaded again.
    loaded.clear()
    recipe = read_recipe("dmd_intra", material)
    checkpoints = build.open_checkpoints(recipe)
    dataset = open_dataset(material / "data")
    mesh = make_mesh({}, jax.devices()[:1])
    stage = build.make_stage(recipe, checkpoints.start.preset, mesh, dataset, checkpoints)
    with jax.set_mesh(mesh):
        new_run(recipe.start, checkpoints, stage, dataset)
        assert sorted(loaded) == [("start", "dit"), ("teacher", "dit")]
        loaded.clear()
        resumed_run(checkpoints, stage, dataset)
        assert loaded == [("teacher", "dit")]


def test_masks_that_are_not_there(material, tmp_path):
    make_dataset(tmp_path / "data", masks=False)
    words = ("mesh.fsdp=8", "run.batch=8", f"data.path={tmp_path}/data", "mask_weight=2.0")
    with pytest.raises(
        InputError,
        match=r"mask_weight 2.0: .* has no masks; precompute a table with a column mask_path",
    ):
        train.main(arguments("teacher", material, tmp_path / "run", *words))
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_labels_that_are_not_there_and_layers_that_are_not_there(material, tmp_path):
    make_dataset(tmp_path / "data", labels=False)
    words = ("mesh.fsdp=8", "run.batch=8", "truth.weight=0.5")
    for more, message in (
        (f"data.path={tmp_path}/data", r"truth.weight 0.5: .* has no labels; precompute a table"),
        ("truth.layer=9", r"truth.layer 9: the model has 2 layers"),
        ("truth.layer=0", r"truth.layer 0 must be at least 1"),
        ("truth.weight=-1.0", r"truth.weight -1.0 must not be negative"),
    ):
        with pytest.raises(InputError, match=message):
            train.main(
                arguments("teacher", material, tmp_path / "run", *words, "truth.layer=1", more)
            )
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_another_recipe_is_refused(one_device, material, tmp_path):
    in_process("teacher", material, tmp_path / "run", "run.steps=1")
    with pytest.raises(InputError, match=r"data.frames was 4, is 2; use another --workdir"):
        in_process("teacher", material, tmp_path / "run", "run.steps=2", "data.frames=2")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["sizes"]["dit"]["dim"] = 96
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"model.dit.dim was 96, is 48"):
        in_process("teacher", material, tmp_path / "run", "run.steps=2")


def test_what_is_not_finite_stops_the_run(one_device, material, tmp_path):
    with pytest.raises(InputError, match=r"step \d: .*loss.* not finite; stopped"):
        in_process(
            "teacher", material, tmp_path / "run", "run.steps=6", "optim.lr=1e30", "optim.clip=1e30"
        )
    snapshots = [int(p.name) for p in (tmp_path / "run" / "checkpoints").iterdir()]
    bad = next(r["step"] for r in rows(tmp_path / "run") if not np.isfinite(r["loss"]))
    assert max(snapshots, default=0) <= bad


def test_pairs_then_regression_and_restart(one_device, material, tmp_path):
    """Pairs are made once: a batch that is lost is made again as it was, and no other."""
    path, fields = tmp_path / "pairs", ("run.steps=2", "pairs.count=7", "pairs.batch=4")
    words = arguments("ode_init", material, tmp_path / "run", *fields, f"pairs.path={path}")
    ode_pairs.main(words[:-1])
    before = open_array(path, "trajectory").read()
    assert before.shape[:2] == (7, 5) and np.isfinite(before.astype(np.float32)).all()
    (path / "batch-00001.json").unlink()
    first = (path / "batch-00000.json").stat().st_mtime_ns
    store = open_array(path, "trajectory")
    store.write(np.zeros_like(before[4:]), slice(4, None))
    ode_pairs.main(words[:-1])
    np.testing.assert_array_equal(open_array(path, "trajectory").read(), before)
    assert (path / "batch-00000.json").stat().st_mtime_ns == first
    train.main(words)
    assert [r["step"] for r in rows(tmp_path / "run")] == [0, 1]
    with pytest.raises(InputError, match="made with other settings: sampler"):
        ode_pairs.main([*words[:-1], "--config.pairs.sampler.guidance.text=1.5"])


def test_a_story_that_stops_in_the_middle(one_device, material, tmp_path, stopped_after):
    """Stage 4 keeps the story that it is in, and the number of the shot.

    Three steps of two-shot stories, stopped after one of them, equal three steps at once.
    """
    fields = ("shots=2", "distillation.critic_steps=2", "trained.lora.rank=2", "fake.lora.rank=2")
    fields += ("optim.lr=1e-3", "critic.lr=1e-3", "run.steps=3")
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    in_process("dmd_inter", material, whole, *fields)
    stopped_after(1, in_process, "dmd_inter", material, halves, *fields)
    in_process("dmd_inter", material, halves, *fields)
    same(transformer(whole), transformer(halves))
    losses = [
        [{k: v for k, v in r.items() if "loss" in k} for r in rows(d)] for d in (whole, halves)
    ]
    assert losses[0] == losses[1] and len(losses[0]) == 3


def test_kill_loses_nothing_and_sigterm_saves(material, tmp_path):
    """A run that was stopped once and killed twice has the same bits as an uninterrupted one."""
    cache = str(tmp_path / "cache")
    fields = (f"run.steps={KILLED_STEPS}", "optim.lr=1e-3", "optim.decay=true")
    calm, rough = (
        arguments("teacher", material, tmp_path / name, *fields) for name in ("calm", "rough")
    )
    assert command(*calm, cache).communicate() and (tmp_path / "calm" / "model").exists()
    draw, steps = random.Random(0), tmp_path / "rough" / "metrics.jsonl"
    for sign in (signal.SIGTERM, signal.SIGKILL, signal.SIGKILL):
        process, there = command(*rough, cache), size(steps)
        while process.poll() is None and size(steps) <= there:  # until it has made a step
            time.sleep(0.02)
        time.sleep(draw.random() * 0.2)
        process.send_signal(sign)
        said = process.communicate()[1]
        if sign == signal.SIGTERM:
            assert process.returncode == 0 and "asked to stop: saved after step" in said
    assert command(*rough, cache).communicate() and (tmp_path / "rough" / "model").exists()
    same(transformer(tmp_path / "calm"), transformer(tmp_path / "rough"))
    assert [r["step"] for r in rows(tmp_path / "rough")] == list(range(KILLED_STEPS))


def size(path: pathlib.Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_cut_back(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": -1}\n{"step": 0}\n{"step": 1}\n{"st')
    cut_back(path, 1)
    assert path.read_text() == '{"step": -1}\n{"step": 0}\n'
    cut_back(path, 0)  # killed before its first snapshot: begun anew
    assert path.read_text() == ""


def test_a_student_without_shot_phases_is_judged_by_a_teacher_with_them(material, tmp_path):
    dit = dataclasses.replace(tiny_preset().dit, shot_phase=0.0)
    make_checkpoint(tmp_path / "student", preset=dataclasses.replace(tiny_preset(), dit=dit))
    recipe = read_recipe("dmd_intra", material, f"start.checkpoint={tmp_path / 'student'}")
    checkpoints = build.open_checkpoints(recipe)
    dataset, mesh = open_dataset(material / "data"), make_mesh({}, jax.devices()[:1])
    preset = checkpoints.start.preset
    stage = build.make_stage(recipe, preset, mesh, dataset, checkpoints)
    assert (stage.setup.student.cfg.shot_phase, stage.setup.teacher.cfg.shot_phase) == (
        0.0,
        SHOT_PHASE,
    )


@pytest.mark.parametrize(
    "stage, fields, message",
    [
        (
            "teacher",
            ["stage=other"],
            "config.stage 'other' is not known; the stages are autoencoder, teacher",
        ),
        ("teacher", ["optim.lrr=1"], "no such field.*lrr"),
        (
            "teacher",
            ["run.batch=3", "mesh.fsdp=8"],
            "run.batch 3 in 1 pieces does not divide .* multiple of 8",
        ),
        ("teacher", ["mesh.fsdp=3"], "mesh .* does not cover 8 devices"),
        (
            "teacher",
            ["mesh.sequence=4", "mesh.fsdp=2"],
            "6 tokens do not divide over mesh.sequence=4",
        ),
        (
            "teacher",
            ["start.checkpoint=nowhere"],
            "nowhere is neither a folder nor one of the shipped models",
        ),
        ("dmd_intra", ["teacher=nowhere"], "nowhere is neither a folder"),
        ("dmd_intra", ["teacher=tiny"], "teacher tiny has other sizes"),
        ("teacher", ["data.path=nowhere"], "nowhere is not a data set.*precompute"),
        ("teacher", ["data.frames=8"], "no target of 8 latent frames"),
        ("teacher", ["data.frames=3"], "3 latent frames is not a multiple of the chunk, 2"),
        ("teacher", ["data.held_out=0.0", "run.held_out_every=1"], "no sample is held out"),
        ("teacher", ["run.accumulate=3"], "run.batch 8 does not divide into run.accumulate 3"),
        ("teacher", ["run.precision=high"], "run.precision 'high' is not known; .* bfloat16"),
        ("teacher", ["run.remat=some"], "run.remat 'some' is not known"),
        (
            "teacher",
            ["text_lr=-1.0"],
            "text_lr -1.0 must not be negative; 0 freezes the text encoder",
        ),
        (
            "teacher",
            ["mask_weight=-1.0"],
            "mask_weight -1.0 must not be negative; 0 leaves masks out",
        ),
        ("teacher", ["trained.what=heads"], "trained.what 'heads' is not known"),
        ("dmd_inter", ["shots=5"], "no story of 5 shots to train on .the longest has 3"),
        ("dmd_inter", ["shots=4"], "critic_steps 5: the student would learn of one shot in 2 only"),
        (
            "ode_init",
            ["pairs.path=nowhere"],
            "nowhere has no complete set of pairs: run shotstream ode-pairs",
        ),
    ],
)
def test_bad_input_before_the_first_step(material, tmp_path, stage, fields, message):
    words = arguments(stage, material, tmp_path / "run", "mesh.fsdp=8", "run.batch=8", *fields)
    with pytest.raises(InputError, match=message):
        train.main(words)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_workdir_must_be_named(material):
    with pytest.raises(InputError, match="--workdir is missing"):
        train.main(arguments("teacher", material, pathlib.Path("x"))[:-1])
