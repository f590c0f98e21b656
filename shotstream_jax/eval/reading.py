"""What the probe reads in a shot, its answers a frame and for the whole shot."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.core.typing import UInt8, typechecked
from shotstream_jax.eval.labels import Labels
from shotstream_jax.eval.probe import Probe
from shotstream_jax.model import Params
from shotstream_jax.vae.codec import from_uint8

AT_ONCE = 8  # shots; bounds the memory


@dataclasses.dataclass(frozen=True, eq=False)
class Reading:
    """present [p, n], from 0 to 1 · box [p, n, 4], shares of the picture · the rest are numbers of labels' choices.

    frames: accent, pattern [p, n]; place, side, variant, items [p]. shot: the same without p, from the mean of the
    logarithms of the frames' probabilities; action [n]; distance, move.
    """

    present: np.ndarray
    box: np.ndarray
    frames: Mapping[str, np.ndarray]
    shot: Mapping[str, np.ndarray]

    @property
    def who(self) -> np.ndarray:
        """Of each character whether it is in the shot: in the mean of its frames."""
        return self.present.mean(axis=0) > 0.5


class Reader:
    """A trained probe, compiled once for each size of shots."""

    def __init__(self, labels: Labels, params: Params):
        self.labels, self._probe, self._params = labels, Probe(labels), params

    @typechecked
    def read(self, pixels: UInt8[np.ndarray, "b p y x 3"]) -> list[Reading]:
        """A reading of each shot."""
        found = []
        for first in range(0, len(pixels), AT_ONCE):
            part = pixels[first : first + AT_ONCE]
            padded = np.concatenate([part, part[:1].repeat(AT_ONCE - len(part), axis=0)])
            answers = jax.device_get(self._answers(padded))
            found += [
                self._reading({k: v[i] for k, v in answers.items()}) for i in range(len(part))
            ]
        return found

    @functools.cached_property
    def _answers(self):
        return jax.jit(
            lambda pixels: self._probe.apply(
                {"params": self._params}, from_uint8(jnp.asarray(pixels))
            )
        )

    def _reading(self, answers: dict[str, np.ndarray]) -> Reading:
        present, box = 1 / (1 + np.exp(-answers["present"])), answers["box"]
        no_choice = ("present", "box", "attention")
        sure = {name: _log_softmax(answers[name]) for name in answers if name not in no_choice}
        names = [*self.labels.of_characters, *self.labels.of_place]
        place = sure["place"].mean(0).argmax()
        sure["variant"] = sure["variant"][:, place]
        frames = {name: sure[name].argmax(-1) for name in names}
        shot = {
            name: (logp.mean(0) if name in names else logp).argmax(-1)
            for name, logp in sure.items()
        }
        return Reading(present, box, frames, shot)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    top = logits - logits.max(-1, keepdims=True)
    return top - np.log(np.exp(top).sum(-1, keepdims=True))


@typechecked
def oracle_scores(
    labels: Labels, readings: Sequence[Reading], truths: Sequence[Mapping]
) -> dict[str, float]:
    """Shares of right answers, a shot, where there is something to choose: who (all of them), box (of those present:
    intersection over union, the mean of the frames) and every question. truths: as labels.shot_truth has them.
    """
    there = np.stack([truth["present"].any(0) for truth in truths])
    scores = {
        "who": float(
            np.mean([np.array_equal(r.who, t) for r, t in zip(readings, there, strict=True)])
        )
    }
    for name, choices in ({"action": labels.actions} | labels.of_characters).items():
        if len(choices) > 1:
            right = [
                reading.shot[name] == truth[name]
                for reading, truth in zip(readings, truths, strict=True)
            ]
            scores[name] = float(np.stack(right)[there].mean())
    for name, choices in (labels.of_place | labels.of_camera).items():
        if len(choices) > 1:
            right = [
                reading.shot[name] == truth[name]
                for reading, truth in zip(readings, truths, strict=True)
            ]
            scores[name] = float(np.mean(right))
    overlaps = [
        overlap(r.box, t["box"])[t["present"]] for r, t in zip(readings, truths, strict=True)
    ]
    return scores | {"box": float(np.concatenate(overlaps).mean())}


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes […, 4]; 0 of empty ones."""
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    area = lambda low, high: np.clip(high - low, 0, None).prod(-1)  # noqa: E731
    both = area(low, high)
    union = area(a[..., :2], a[..., 2:]) + area(b[..., :2], b[..., 2:]) - both
    return both / np.maximum(union, 1e-9)
