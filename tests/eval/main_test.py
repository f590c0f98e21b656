"""The command: from a checkpoint and a probe to a table and JSON, and what it refuses."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.checkpoint.save import save
from shotstream_jax.core.errors import InputError
from shotstream_jax.eval import __main__ as app
from shotstream_jax.eval import cuts, sources
from shotstream_jax.eval.labels import Labels
from shotstream_jax.eval.probe import Probe
from shotstream_jax.eval.probe_files import ShotFormat, save_probe
from shotstream_jax.generate.sampler import Guidance, SamplerConfig
from shotstream_jax.generate.stream import new_story
from shotstream_jax.generate.teacher_stories import teacher_stories
from shotstream_jax.testing import tiny_model
from tests.eval.material import story

FORM = ShotFormat("simple", 8, 12, 11, 8)
FIGURES = {
    "who",
    "where",
    "action",
    "appearance",
    "layout",
    "steady",
    "motion",
    "sca",
    "ssim_within",
    "histogram_between",
}


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def options(model, tmp_path_factory):
    """A small model and an untrained probe for its pictures."""
    folder = tmp_path_factory.mktemp("eval")
    save(model, folder / "model")
    pixels = jnp.zeros((1, FORM.frames, FORM.height, FORM.width, 3))
    params = jax.jit(Probe(Labels(FORM.subset)).init)(jax.random.key(0), pixels)["params"]
    save_probe(folder / "probe.safetensors", FORM, params, {})
    video = ["--config.video.height=8", "--config.video.width=12"]
    return [
        f"--config.checkpoint={folder / 'model'}",
        *video,
        f"--probe={folder / 'probe.safetensors'}",
    ]


def run(options, tmp_path, *more):
    out = tmp_path / "eval.json"
    app.main([*options, "--stories=3", "--shots=4", f"--out={out}", *more])
    return json.loads(out.read_text())


def test_generated(options, tmp_path, capsys):
    pytest.importorskip("scenedetect")
    result = run(options, tmp_path, f"--sheet={tmp_path / 'sheet.png'}")
    assert set(result["figures"]) >= FIGURES - {
        "appearance",
        "layout",
    }  # an untrained probe may see nobody
    assert set(result["ceiling"]) >= FIGURES - {"appearance", "layout"}
    who = result["figures"]["who"]
    assert (
        0 <= who["low"] <= who["mean"] <= who["high"] <= 1
        and who["count"] == 12
        and len(who["by_shot"]) == 4
    )
    assert {"mean", "low", "high"} == set(who["drift"]) and 0 <= who["chance"] <= 1
    assert result["figures"]["sca"]["count"] == 3 and "drift" not in result["figures"]["sca"]
    assert len(result["stories"]) == 3 and len(result["stories"][0]["who"]) == 4
    assert result["stories"][0]["appearance"][0] is None
    assert result["settings"]["recipe"]["video"]["height"] == 8
    assert (tmp_path / "sheet.png").read_bytes()[1:4] == b"PNG"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["figure", "mean", "95", "%"] and any(
        line.startswith("who ") for line in lines
    )


def test_rendered_needs_no_model_and_says_how_good_the_oracle_is(options, tmp_path, monkeypatch):
    pytest.importorskip("scenedetect")
    monkeypatch.setattr(app, "load", None)
    result = run(options, tmp_path, "--source=rendered")
    assert result["ceiling"] is None
    assert set(result["oracle"]) == {"who", "action", "accent", "place", "side", "variant", "box"}


@pytest.mark.parametrize(
    "more, sampler",
    [
        ([], SamplerConfig(50, Guidance(text=5.0, context=0.0))),
        (
            ["--guidance=0", "--context-guidance=3", "--sampler-steps=2"],
            SamplerConfig(2, Guidance(text=0.0, context=3.0)),
        ),
    ],
)
def test_the_teachers_options_count_as_recipes_do(options, tmp_path, monkeypatch, more, sampler):
    class Reached(Exception):
        """Ends the command where the teacher would begin."""

    def record(model, video, seed, given):
        found.append(given)
        raise Reached

    found = []
    monkeypatch.setattr(sources, "teacher_source", record)
    monkeypatch.setattr(app, "check_scenedetect", lambda: None)
    with pytest.raises(Reached):
        run(options, tmp_path, "--source=teacher", *more)
    assert found == [sampler]


@pytest.mark.parametrize(
    "more, complaint",
    [
        (["--stories=1"], "2 or more"),
        (["--shots=1"], "shots 1"),
        (["--source=rendered", "--context=none"], "--context goes with"),
        (["--guidance=2"], "--guidance goes with --source teacher"),
        (["--source=rendered", "--sampler-steps=2"], "--sampler-steps goes with"),
        (["--source=teacher", "--sampler-steps=0"], "--sampler-steps 0 must be at least 1"),
        (["--config.video.height=16"], "reads ShotFormat"),
        (["--subset=full"], "reads ShotFormat"),
        (["--probe=none.safetensors"], "no weight file"),
        (["--out=eval.txt"], "must end in .json"),
        (["--context=yours"], "invalid choice"),
    ],
)
def test_mistakes_are_named_before_the_work(options, tmp_path, monkeypatch, more, complaint):
    monkeypatch.setattr(app, "load", None)
    monkeypatch.setattr(app, "check_scenedetect", lambda: None)
    with pytest.raises(InputError, match=complaint):
        run(options, tmp_path, *more)


def test_without_scenedetect(options, tmp_path, monkeypatch):
    monkeypatch.setattr(cuts.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'shotstream-jax\[eval\]'"):
        run(options, tmp_path)


def test_contexts(model):
    """The first shot is the same whatever is given to later ones, and those differ."""
    told, video = story("simple"), model.preset.video
    own, first, nothing = (
        sources.generated_source(model, video, 5, given)(0, told)
        for given in app.HISTORIES.values()
    )
    other = sources.other_take_source(model, video, 5)(0, told)
    assert own.shape == (5, 11, 8, 12, 3)
    np.testing.assert_array_equal(own, sources.generated_source(model, video, 5)(0, told))
    for made in (first, other):
        np.testing.assert_array_equal(made[0], own[0])
        assert (made[1:] != own[1:]).any()
    assert (nothing != own).any()


def test_another_takes_memory_is_what_changes(model, monkeypatch):
    """With the same seed for both takes it is the story itself."""
    told, video = story("simple"), model.preset.video
    monkeypatch.setattr(sources, "_OTHER_TAKE_SEED", 0)
    own, other = (
        sources.generated_source(model, video, 5)(0, told),
        sources.other_take_source(model, video, 5)(0, told),
    )
    np.testing.assert_array_equal(own, other)


def test_a_teachers_shots_lie_in_order(model):
    told, video = story("simple"), model.preset.video
    sampler = SamplerConfig(3, Guidance(5.0))
    made = sources.teacher_source(model, video, 5, sampler)(0, told)
    begin = new_story(model, told.script.global_caption, 5, video)
    chunks = [chunk for _, chunk in teacher_stories(model, [(begin, told.script.shots)], sampler)]
    np.testing.assert_array_equal(
        np.concatenate(made), np.concatenate([chunk.frames for chunk in chunks])
    )
    assert made.shape == (5, 11, 8, 12, 3) and (made[0] != made[1]).any()
