"""The truth as a second task of the teacher: which cells count, the loss, and whom it teaches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import make_mesh
from shotstream_jax.data.dataset import Dataset, open_dataset
from shotstream_jax.data.rows import UNKNOWN, embedding_reader, target_row
from shotstream_jax.data.samples import DataConfig, Sample
from shotstream_jax.dit.truth import TruthHead
from shotstream_jax.train.losses.truth import truth_loss, truth_targets
from shotstream_jax.train.stages.teacher import teacher_loss
from shotstream_jax.train.stages.teacher_state import TeacherParams
from shotstream_jax.world.class_maps import CLASSES
from tests.train import stages_test
from tests.train.material import make_dataset

CONTEXT = 2


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    return open_dataset(make_dataset(tmp_path_factory.mktemp("labels") / "data", clips=1))


def row(dataset: Dataset, shot: int):
    cfg = DataConfig(str(dataset.folder), frames=4, held_out=0.0)
    return target_row(dataset, Sample(0, shot), cfg, embedding_reader(24), with_labels=True)


def test_labels_of_a_row_belong_to_its_frames(dataset):
    """Each context frame has the labels that are stored with its latent."""
    record = dataset.record(0)
    found = row(dataset, 2)
    context = found.conditions.context
    np.testing.assert_array_equal(found.labels[len(context) :], record.labels[2][:4])
    stored = np.concatenate(record.context).astype(np.float32)
    stored_labels = np.concatenate(record.context_labels)
    for latent, labels in zip(context, found.labels, strict=False):
        (place,) = np.flatnonzero((stored == latent).all(axis=(1, 2, 3)))
        np.testing.assert_array_equal(labels, stored_labels[place])
    assert len({labels.tobytes() for labels in found.labels[: len(context)]}) > 1


def test_before_a_first_shot_nothing_is_known(dataset):
    labels = row(dataset, 0).labels
    assert (labels[:-4] == UNKNOWN).all() and (labels[-4:] != UNKNOWN).all()


def test_the_loss_by_hand():
    """Every kind of cells counts a quarter of a map, and what is dropped not at all."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (3, 5, 2, 4, 2)) * rng.integers(0, 2, (3, 5, 2, 4, 2))
    labels[2, :CONTEXT] = UNKNOWN
    dropped = np.array([False, True, False])
    logits = [rng.standard_normal((3, 5, 2, 4, count)).astype(np.float32) for count in (3, 4)]

    # Cell by cell: its kind, its cross-entropy, and whether it is right.
    kinds: dict[tuple, list[tuple[float, bool]]] = {}
    for b, f, y, x, number in np.ndindex(labels.shape):
        label, part = labels[b, f, y, x, number], "context" if f < CONTEXT else "target"
        if part == "context" and (dropped[b] or b == 2):
            continue
        z = logits[number][b, f, y, x].astype(np.float64)
        entropy = np.log(np.exp(z).sum()) - z[label]
        kind = kinds.setdefault(("ab"[number], part, label > 0), [])
        kind.append((entropy, z.argmax() == label))
    means = {kind: np.mean(cells, axis=0) for kind, cells in kinds.items()}
    assert len(means) == 8

    targets = truth_targets(jnp.asarray(labels), jnp.asarray(dropped), CONTEXT)
    loss, metrics = truth_loss(logits, targets, ("a", "b"), CONTEXT)
    np.testing.assert_allclose(loss, np.mean([mean[0] for mean in means.values()]), rtol=1e-5)
    for name in "ab":
        for part in ("context", "target"):
            key = f"truth/{part}/{name}"
            entropies = [means[name, part, kind][0] for kind in (True, False)]
            np.testing.assert_allclose(
                metrics[f"{key}/cross_entropy"], np.mean(entropies), rtol=1e-5
            )
            right = means[name, part, True][1]
            np.testing.assert_allclose(metrics[f"{key}/accuracy"], right, rtol=1e-5)


def test_a_batch_without_any_context_is_finite():
    labels = jnp.full((2, 3, 1, 1, 1), UNKNOWN)
    targets = truth_targets(labels, jnp.zeros(2, bool), CONTEXT)
    loss, metrics = truth_loss([jnp.ones((2, 3, 1, 1, 4))], targets, ("a",), CONTEXT)
    assert loss == 0 and all(value == 0 for value in metrics.values())


def test_the_head_puts_cells_where_latents_have_them():
    """With weights that copy a token, its patch is a square of neighbours."""
    patch, count = 2, 2
    head = TruthHead((count,), patch, 1e-6)
    tokens = np.random.default_rng(1).standard_normal((1, 1, 6, patch**2 * count))
    tokens = (tokens - tokens.mean(-1, keepdims=True)) / tokens.std(-1, keepdims=True)
    identity = {"kernel": np.eye(8, dtype=np.float32), "bias": np.zeros(8, np.float32)}
    (logits,) = head.apply({"params": {"linear": identity}}, jnp.float32(tokens), (2, 3))
    assert logits.shape == (1, 1, 4, 6, count)
    for y, x in np.ndindex(4, 6):
        token = tokens[0, 0, y // 2 * 3 + x // 2].reshape(patch, patch, count)
        np.testing.assert_allclose(logits[0, 0, y, x], token[y % 2, x % 2], atol=1e-4)


@pytest.mark.parametrize("name", ["teacher_and_text", "causal_teacher"])
def test_it_teaches_the_head_and_the_layers_below(name):
    """The loss with the truth less that without it: no gradient behind layer 1, nor in the head
    of the transformer."""
    stage = stages_test.make(name, "one")
    plain = dataclasses.replace(
        stage, recipe=dataclasses.replace(stage.recipe, truth=type(stage.recipe.truth)())
    )
    batch = jax.tree.map(jnp.asarray, stages_test.rows(name))
    # Embeddings, so that no text encoder is needed.
    text = stages_test.rows("teacher").conditions.text
    batch = dataclasses.replace(batch, conditions=dataclasses.replace(batch.conditions, text=text))
    labels = batch.labels
    draws = stages_test.teacher._draw(stage, batch, "train", 0)
    targets = truth_targets(labels, draws.dropped.context, stage.setup.preset.memory.context)

    def truth_part(params):
        given = TeacherParams(params["dit"], None, params["head"])
        whole, metrics = teacher_loss(stage, given, batch, draws, targets)
        flow, _ = teacher_loss(plain, given, batch, draws, None)
        return whole - flow, (metrics, flow)

    with jax.set_mesh(make_mesh({}, jax.devices()[:1])):
        head = stage.truth.initial_state().moves
        params = {"dit": stages_test.weights(1)["dit"], "head": head}
        gradient = jax.jit(jax.value_and_grad(truth_part, has_aux=True))
        (value, (metrics, flow)), grads = gradient(params)
    np.testing.assert_allclose(value, 0.5 * metrics["truth/loss"], rtol=1e-4)
    np.testing.assert_allclose(metrics["flow_loss"], flow, rtol=1e-5)
    assert np.abs(grads["head"]["linear"]["kernel"]).max() > 1e-3
    assert np.abs(grads["dit"]["patch_embedding"]["kernel"]).max() > 1e-3
    for leaf in jax.tree.leaves(grads["dit"]["blocks"]):
        # Stacked, layers first. The flow losses of both passes cancel up to rounding.
        assert np.abs(leaf[1:]).max() < 1e-5
    assert np.abs(grads["dit"]["blocks"]["ffn_in"]["kernel"][0]).max() > 1e-3
    assert np.abs(grads["dit"]["head"]["kernel"]).max() < 1e-5


def test_labels_of_another_world(tmp_path):
    dataset = open_dataset(make_dataset(tmp_path / "data", clips=1))
    record = dataset.record(0)
    labels = record.labels[0].copy()
    labels[0, 0, 0, 1] = CLASSES[1]
    other = dataclasses.replace(record, labels=[labels, *record.labels[1:]])

    class Other:
        def record(self, i):
            return other

    part = stages_test.make("causal_teacher", "one").truth
    part.check(dataset, "data")
    with pytest.raises(InputError, match=r"labels of data go up to .* make them by shotstream"):
        part.check(Other(), "data")
