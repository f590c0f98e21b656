"""What the probe reads in a shot: its answers about each frame and about the whole shot."""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.core.typing import Array, Params, UInt8, typechecked
from shotstream_jax.eval.labels import Labels
from shotstream_jax.eval.probe import Probe, probe_answers
from shotstream_jax.vae.codec import from_uint8

# Shots that are read at once; bounds the memory.
BATCH_SIZE = 8

# Answers of the probe that are not a choice.
_NOT_A_CHOICE = ("present", "box", "attention")


@dataclasses.dataclass(frozen=True, eq=False)
class Reading:
    """The probe's answers about one shot; of questions with choices, the choice's number.

    present: [p, n], from 0 to 1. box: [p, n, 4], shares of the picture.
    frames: accent, pattern [p, n]; place, side, variant, items [p]. shot: the same without p, from
    the mean of the logarithms of the frames' probabilities; action [n]; distance, move.
    """

    present: np.ndarray
    box: np.ndarray
    frames: Mapping[str, np.ndarray]
    shot: Mapping[str, np.ndarray]

    @property
    def who(self) -> np.ndarray:
        """Of each character whether it is in the shot [n]: in the mean of its frames."""
        return self.present.mean(axis=0) > 0.5


class Reader:
    """A trained probe, compiled once for each size of shots."""

    def __init__(self, labels: Labels, params: Params):
        self.labels = labels
        self._probe = Probe(labels)
        self._params = params
        self._compiled_probe = jax.jit(self._apply_probe)

    def _apply_probe(self, pixels: Array) -> dict[str, Array]:
        return probe_answers(self._probe, self._params, from_uint8(pixels))

    @typechecked
    def read(self, pixels: UInt8[np.ndarray, "b p y x 3"]) -> list[Reading]:
        """A reading of each shot."""
        readings = []
        for first in range(0, len(pixels), BATCH_SIZE):
            shots = pixels[first : first + BATCH_SIZE]
            # The last batch is filled up, so that all have one size and the probe is compiled once.
            filling = shots[:1].repeat(BATCH_SIZE - len(shots), axis=0)
            batch = jnp.asarray(np.concatenate([shots, filling]))
            answers = jax.device_get(self._compiled_probe(batch))
            for i in range(len(shots)):
                of_shot = {name: values[i] for name, values in answers.items()}
                readings.append(self._reading(of_shot))
        return readings

    def _reading(self, answers: dict[str, np.ndarray]) -> Reading:
        """The most probable choices of a shot's logits."""
        log_probabilities = {}
        for name, logits in answers.items():
            if name not in _NOT_A_CHOICE:
                log_probabilities[name] = _log_softmax(logits)
        # Of the landmark's variant, which was asked for every place, the answer for the place that
        # was read.
        place = np.argmax(log_probabilities["place"].mean(axis=0))
        log_probabilities["variant"] = log_probabilities["variant"][:, place]

        # Each frame by itself.
        frames = {}
        for name in (*self.labels.character_choices, *self.labels.place_choices):
            frames[name] = log_probabilities[name].argmax(axis=-1)
        # The whole shot: questions of single frames by the mean over them.
        shot = {}
        for name, values in log_probabilities.items():
            if name in frames:
                values = values.mean(axis=0)
            shot[name] = values.argmax(axis=-1)
        # From a logit to a probability.
        present = 1 / (1 + np.exp(-answers["present"]))
        return Reading(present, answers["box"], frames, shot)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


@typechecked
def oracle_scores(
    labels: Labels,
    readings: Sequence[Reading],
    truths: Sequence[Mapping],
) -> dict[str, float]:
    """How well the probe reads shots whose truth is known, as labels.shot_truth gives it.

    who: share of the shots whose characters are all read rightly. Every question that has a choice:
    share of right answers, about a character only where it is in the shot. box: mean intersection
    over union, in the frames that show the character.
    """
    # [shots, n]: whether a character is in any frame.
    present = np.stack([truth["present"].any(axis=0) for truth in truths])
    right_who = []
    for reading, really_there in zip(readings, present, strict=True):
        right_who.append(np.array_equal(reading.who, really_there))
    scores = {"who": float(np.mean(right_who))}

    # About each character, where it is in the shot.
    for name, choices in ({"action": labels.actions} | labels.character_choices).items():
        if len(choices) > 1:
            right = _right_answers(name, readings, truths)  # [shots, n]
            scores[name] = float(right[present].mean())

    # About the place and the camera.
    for name, choices in (labels.place_choices | labels.camera_choices).items():
        if len(choices) > 1:
            right = _right_answers(name, readings, truths)  # [shots]
            scores[name] = float(right.mean())

    # The boxes, in the frames that show the character.
    overlaps = []
    for reading, truth in zip(readings, truths, strict=True):
        overlap = box_overlap(reading.box, truth["box"])  # [p, n]
        overlaps.append(overlap[truth["present"]])
    scores["box"] = float(np.concatenate(overlaps).mean())
    return scores


def _right_answers(
    name: str,
    readings: Sequence[Reading],
    truths: Sequence[Mapping],
) -> np.ndarray:
    """Whether a question is answered rightly, [shots] or [shots, n]."""
    right = []
    for reading, truth in zip(readings, truths, strict=True):
        right.append(reading.shot[name] == truth[name])
    return np.stack(right)


def box_overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes […, 4] (left, top, right, bottom); 0 of empty ones."""
    a_low, a_high = np.split(a, 2, axis=-1)
    b_low, b_high = np.split(b, 2, axis=-1)
    # The common box may be the wrong way round; its area is then 0.
    common_low = np.maximum(a_low, b_low)
    common_high = np.minimum(a_high, b_high)
    intersection = _area(common_low, common_high)
    both = _area(a_low, a_high) + _area(b_low, b_high)
    union = both - intersection
    return intersection / np.maximum(union, 1e-9)


def _area(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Of boxes between the corners low and high […, 2]; 0 if they are the wrong way round."""
    sides = np.clip(high - low, 0, None)
    return sides.prod(axis=-1)
