"""The probe: shapes, masks, augmentation, files, and what the shipped one can read."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.eval.augment import augment
from shotstream_jax.eval.labels import ABSENT, Labels, shot_truth
from shotstream_jax.eval.probe import Probe
from shotstream_jax.eval.probe_files import SHIPPED, ShotFormat, load_probe, save_probe
from shotstream_jax.eval.reading import Reader, box_overlap, oracle_scores
from shotstream_jax.eval.train_probe import LabelledShots, probe_loss
from shotstream_jax.world.render import render_shot
from tests.eval.material import FRAMES, right, story

SMALL = ShotFormat("full", 8, 12, FRAMES, 8)
TINY = ShotFormat("simple", 32, 48, 11, 8)


def params_of(form):
    return Probe(Labels(form.subset)).init(
        jax.random.key(0), jnp.zeros((1, form.frames, form.height, form.width, 3))
    )["params"]


def truth_of(told, number, height=8, width=12):
    _, boxes = render_shot(told, number, height, width)
    return shot_truth(Labels(told.config.subset), told, number, boxes, height, width)


@pytest.mark.parametrize("subset, places, people", [("simple", 4, 4), ("full", 6, 8)])
def test_shapes(subset, places, people):
    probe, pixels = Probe(Labels(subset)), jnp.zeros((2, 21, 32, 48, 3))
    answers = jax.eval_shape(lambda x: probe.init_with_output(jax.random.key(0), x)[0], pixels)
    shapes = {name: answer.shape for name, answer in answers.items()}
    assert shapes["present"] == (2, 21, people) and shapes["box"] == (2, 21, people, 4)
    assert shapes["accent"] == (2, 21, people, 5) and shapes["place"] == (2, 21, places)
    assert shapes["side"] == (2, 21, 2) and shapes["variant"] == (2, 21, places, 3)
    assert shapes["action"] == (2, people, len(Labels(subset).actions))
    params = jax.eval_shape(lambda x: probe.init(jax.random.key(0), x), pixels)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) < 500_000


def test_truth_is_the_stories():
    told = story("full", 3)
    for number, shot in enumerate(told.shots):
        truth, labels = truth_of(told, number, 64, 96), Labels("full")
        people = {labels.characters.index(part.name): part for part in shot.roles}
        assert set(np.flatnonzero(truth["present"].any(0))) == set(people)
        for n in range(len(labels.characters)):
            expected = labels.actions.index(people[n].action) if n in people else ABSENT
            assert truth["action"][n] == expected
        assert labels.place_choices["place"][truth["place"]] == shot.place
        assert labels.place_choices["side"][truth["side"]] == told.layouts[shot.place].side
        assert 0 <= truth["box"].min() and truth["box"].max() <= 1


def perfect_answers(truth, sure=30.0):
    """Logits that say what is true; truth with a leading b."""
    labels, p = Labels("full"), truth["present"].shape[1]
    one_hot = lambda name, choices: sure * jax.nn.one_hot(truth[name], len(choices))  # noqa: E731
    answers = {"present": sure * (2.0 * truth["present"] - 1), "box": truth["box"]}
    answers["attention"] = jnp.full((*truth["present"].shape, 2, 3), 1 / 6)
    for name, choices in (labels.character_choices | labels.place_choices).items():
        answers[name] = one_hot(name, choices)[:, None].repeat(p, 1)
    answers["variant"] = answers["variant"][:, :, None].repeat(6, 2)
    return answers | {
        name: one_hot(name, c)
        for name, c in (labels.camera_choices | {"action": labels.actions}).items()
    }


def test_loss_of_right_and_wrong_answers():
    told = story("full", 1)
    rows = [truth_of(told, number) for number in range(5)]
    truth = {name: jnp.asarray(np.stack([row[name] for row in rows])) for name in rows[0]}
    answers = perfect_answers(truth)
    _, parts = probe_loss(answers, truth)
    assert all(abs(value) < 1e-6 for name, value in parts.items() if name != "attention")
    for name in set(parts) - {"attention", "box"}:
        other = -answers[name]
        assert probe_loss(answers | {name: other}, truth)[1][name] > 1, name
    # Nothing is asked about those who are absent.
    absent = ~truth["present"].any(1)
    disguised = jnp.where(absent[:, None, :, None], -answers["accent"] + 3, answers["accent"])
    assert probe_loss(answers | {"accent": disguised}, truth)[1]["accent"] == parts["accent"]
    elsewhere = answers["box"] + absent[:, None, :, None]
    assert probe_loss(answers | {"box": elsewhere}, truth)[1]["box"] == 0


def test_augmentation_moves_boxes_with_pictures():
    """A white square and its box stay together; some pictures stay as they are."""
    pixels = np.full((64, 2, 32, 48, 3), -1.0, np.float32)
    pixels[:, :, 10:20, 12:24] = 1
    box = np.zeros((64, 2, 2, 4), np.float32)
    box[:, :, 0] = np.array([12, 10, 24, 20]) / np.array([48, 32, 48, 32])
    moved, boxes = map(np.asarray, jax.jit(augment)(jax.random.key(0), pixels, box))
    light = np.clip(moved.mean((1, 4)) + 0.5, 0, None)
    middle = np.stack(
        [light.sum(1) @ (np.arange(48) + 0.5), light.sum(2) @ (np.arange(32) + 0.5)], -1
    )
    middle /= light.sum((1, 2))[:, None]
    expected = (boxes[:, 0, 0, :2] + boxes[:, 0, 0, 2:]) / 2 * [48, 32]
    shift = expected - [18, 15]
    assert np.abs(shift).max() > 1
    assert np.corrcoef((middle - [18, 15]).ravel(), shift.ravel())[0, 1] > 0.98
    assert not boxes[:, :, 1].any()  # nobody is still nowhere
    same = (np.abs(moved - pixels).max((1, 2, 3, 4)) < 1e-5).mean()
    assert 0.05 < same < 0.4 and np.abs(moved).max() <= 1


def test_oracle_scores():
    labels, told = Labels("full"), story("full", 2)
    truths, readings = [truth_of(told, number) for number in range(5)], right(Labels("full"), told)
    seen = [
        np.array_equal(r.who, t["present"].any(0)) for r, t in zip(readings, truths, strict=True)
    ]
    scores = oracle_scores(labels, readings, truths)
    assert scores.pop("box") == 0.0  # these readings have none
    assert scores.pop("who") == np.mean(seen)
    assert set(scores) == {
        "action",
        "accent",
        "pattern",
        "place",
        "side",
        "variant",
        "items",
        "distance",
        "move",
    }
    assert set(scores.values()) == {1.0}


def test_overlap():
    a = np.array([[0.0, 0.0, 0.4, 0.4]])
    assert box_overlap(a, a)[0] == pytest.approx(1)
    assert box_overlap(a, a + 0.2)[0] == pytest.approx(0.04 / 0.28)
    assert box_overlap(a, a + 0.5)[0] == 0


def test_reading_does_not_depend_on_company():
    labels, params = Labels("full"), params_of(SMALL)
    pixels = np.random.default_rng(0).integers(0, 256, (11, FRAMES, 8, 12, 3), np.uint8)
    reader = Reader(labels, params)
    together, alone = reader.read(pixels), reader.read(pixels[9:10])[0]
    assert len(together) == 11
    np.testing.assert_allclose(together[9].present, alone.present, atol=1e-5)
    assert (
        alone.who.shape == (8,)
        and alone.shot["action"].shape == (8,)
        and alone.frames["place"].shape == (FRAMES,)
    )


def test_file(tmp_path):
    path, params = tmp_path / "probe.safetensors", params_of(SMALL)
    save_probe(path, SMALL, params, {"who": 0.5})
    again = load_probe(path, SMALL)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), again, params)
    assert json.loads(path.with_suffix(".json").read_text())["held_out"] == {"who": 0.5}
    with pytest.raises(InputError, match="reads ShotFormat"):
        load_probe(path, TINY)
    path.with_suffix(".json").unlink()
    with pytest.raises(InputError, match="train it again"):
        load_probe(path, SMALL)
    with pytest.raises(InputError, match="there is no weight file"):
        load_probe(tmp_path / "none.safetensors", SMALL)


def test_the_shipped_one_reads_new_stories():
    """Of drawn shots that no training has seen. The scores of many are beside the weights."""
    assert SHIPPED.stat().st_size < 2e6
    reader, shots = (
        Reader(Labels(TINY.subset), load_probe(SHIPPED, TINY)),
        LabelledShots(TINY, "test", 5000),
    )
    truths = [shots[index] for index in range(4000, 4048)]
    readings = reader.read(np.stack([truth.pop("pixels") for truth in truths]))
    scores = oracle_scores(reader.labels, readings, truths)
    assert scores.pop("box") > 0.7
    assert min(scores.values()) > 0.95, scores  # one wrong of 48 is allowed
    stated = json.loads(SHIPPED.with_suffix(".json").read_text())["held_out"]
    assert min(stated[name] for name in scores) >= 0.99
