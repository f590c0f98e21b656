"""One row of a batch: a target shot and its conditions, from a clip's record.

Rows have the types of batches (dit/conditions.Conditions, ShotBatch), without the batch dimension;
data/batches stacks them.
"""

from collections.abc import Callable

import flax
import numpy as np

from shotstream_jax.core.typing import Array, Float, Int, Leaf
from shotstream_jax.data.dataset import Dataset
from shotstream_jax.data.records import ClipRecord
from shotstream_jax.data.samples import DataConfig, Sample
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.memory.plan import EMPTY, plan_shot
from shotstream_jax.text.prompts import shot_prompt
from shotstream_jax.text.tokenizer import Tokenizer, tokenize

# The class of a cell of which nothing is to be learned.
UNKNOWN = -1

# What fills the caption slot of a clip's shot, by the shot's number.
CaptionReader = Callable[[ClipRecord, int], np.ndarray]


@flax.struct.dataclass
class ShotBatch:
    """Target shots with their conditions.

    target: clean latents of the shots.
    mask: how much each cell of them matters beyond 1, 0 … 1; None where masks are not used.
    labels: what each cell of [context, target] shows, a class in each map, 0: nothing, UNKNOWN: the
      frame is not there; None where labels are not used.
    """

    target: Float[Array, "b f h w c"]
    conditions: Conditions
    mask: Float[Array, "b f h w"] | None = None
    labels: Int[Array, "b frames h w maps"] | None = None


def embedding_reader(length: int) -> CaptionReader:
    """Reads a prompt's embedding as it is stored, zero-padded to [length, e]."""

    def read(record: ClipRecord, shot: int) -> np.ndarray:
        """A shot's caption for its slot."""
        embedding = record.text[shot]
        padded = np.zeros((length, embedding.shape[1]), embedding.dtype)
        padded[: len(embedding)] = embedding[:length]
        return padded

    return read


def token_reader(tokenizer: Tokenizer, length: int) -> CaptionReader:
    """Reads a prompt's token ids [length], for a text encoder that is in training."""

    def read(record: ClipRecord, shot: int) -> np.ndarray:
        """A shot's caption for its slot."""
        prompt = shot_prompt(record.global_caption, shot, record.captions[shot])
        return tokenize(tokenizer, prompt, length).ids

    return read


def target_row(
    dataset: Dataset,
    sample: Sample,
    cfg: DataConfig,
    read_caption: CaptionReader,
    with_mask: bool = False,
    with_labels: bool = False,
) -> ShotBatch:
    """One target shot and its conditions; its mask and its labels, if asked for."""
    # The target, cut to the recipe's length [f, h, w, c].
    record = dataset.record(sample.clip)
    target: Leaf = record.targets[sample.shot][: cfg.frames].astype(np.float32)
    conditions = condition_row(record, sample.shot, dataset.settings.context, read_caption)
    if cfg.captions == "target":
        # All frames read the target's caption, in the one slot that is left.
        caption = read_caption(record, sample.shot)
        slots = np.zeros_like(conditions.ids.caption)
        conditions = _numpy_conditions(
            conditions.context, conditions.ids.phase, slots, caption[None]
        )
    # What matters more in it, on the same latent cells.
    mask: Leaf = None
    if with_mask:
        mask = record.masks[sample.shot][: cfg.frames].astype(np.float32)
    # What there is to see in the context and in it.
    labels: Leaf = None
    if with_labels:
        of_target = record.labels[sample.shot][: cfg.frames]
        of_context = _context_labels(record, sample.shot, dataset.settings.context)
        labels = np.concatenate([of_context, of_target]).astype(np.int32)
    return ShotBatch(target, conditions, mask, labels)


def condition_row(
    record: ClipRecord, shot: int, budget: int, read_caption: CaptionReader
) -> Conditions:
    """The conditions of a clip's shot, on its true earlier shots (memory/plan has the rule).

    budget: the number C of context frames.
    """
    # Which frames, phases and captions: the plan of inference.
    earlier = [(int(first), int(stop)) for first, stop in record.shots[:shot]]
    plan = plan_shot(earlier, budget)
    # Context latents, [C, h, w, c]; zeros before a first shot.
    context = np.zeros((budget, *record.targets[0].shape[1:]), np.float32)
    if shot > 0:
        for i, (source, frame) in enumerate(zip(plan.shots, plan.frames, strict=True)):
            context[i] = _context_latent(record, int(source), int(frame))
    # Captions in their slots, [C + 1, …]; empty ones are zeros.
    captions: list[np.ndarray] = []
    for source in plan.slots:
        if source == EMPTY:
            captions.append(np.zeros_like(captions[0]))
        else:
            captions.append(read_caption(record, int(source)))
    return _numpy_conditions(context, plan.phase, plan.caption, np.stack(captions))


def _context_labels(
    record: ClipRecord, shot: int, budget: int
) -> Int[np.ndarray, "context h w maps"]:
    """Labels of the context frames of a shot; UNKNOWN before a first shot, which has none."""
    labels = np.full((budget, *record.labels[0].shape[1:]), UNKNOWN, np.int32)
    if shot == 0:
        return labels
    # The frames of `condition_row`.
    earlier = [(int(first), int(stop)) for first, stop in record.shots[:shot]]
    plan = plan_shot(earlier, budget)
    for i, (source, frame) in enumerate(zip(plan.shots, plan.frames, strict=True)):
        position = _stored_position(record, int(source), int(frame))
        labels[i] = record.context_labels[int(source)][position]
    return labels


def captions_row(
    dataset: Dataset, clip: int, shots: int, read_caption: CaptionReader
) -> Float[np.ndarray, "shots l e"]:
    """The captions of a clip's first shots: all that a story needs that makes its own history."""
    record = dataset.record(clip)
    return np.stack([read_caption(record, shot) for shot in range(shots)])


def _numpy_conditions(context: Leaf, phase: Leaf, caption: Leaf, text: Leaf) -> Conditions:
    """Conditions of one row: numpy arrays without a batch dimension."""
    return Conditions(context, FrameIds(phase, caption), text)


def _context_latent(record: ClipRecord, shot: int, frame: int) -> np.ndarray:
    """The stored latent [h, w, c] of a frame that later shots can ask for."""
    return record.context[shot][_stored_position(record, shot, frame)]


def _stored_position(record: ClipRecord, shot: int, frame: int) -> int:
    """Where a frame is among those of its shot that are stored."""
    return int(np.flatnonzero(record.frames[shot] == frame)[0])
