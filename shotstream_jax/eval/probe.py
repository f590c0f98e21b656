"""The probe: a small network that reads a shot of the drawn world. It was shown rendered pictures only.

A trunk of strided convolutions turns each frame into cells. Every character, and the place, looks at the cells with an
attention map of its own; what it sees, and where, is the evidence from which a frame's questions are answered. Actions
and the camera take the evidence of all frames.
"""

import flax.linen as nn
import jax.numpy as jnp

from shotstream_jax.core.typing import Array, Float, typechecked
from shotstream_jax.eval.labels import Labels

_LAYERS = ((32, 4, 2), (64, 3, 2), (80, 3, 1))  # width, size, stride
_EVIDENCE, _SPAN = 64, 5


class Probe(nn.Module):
    """Logits for every question of eval/labels."""

    labels: Labels

    @nn.compact
    @typechecked
    def __call__(self, pixels: Float[Array, "b p y x 3"]) -> dict[str, Array]:
        """pixels in [−1, 1], each side at least 8.

        present [b, p, n] (one logit) · box [b, p, n, 4] · accent, pattern [b, p, n, choices] · action [b, n, choices]
        place, side, items [b, p, choices] · variant [b, p, places, choices], of each place the landmark could be of ·
        distance, move [b, choices] · attention [b, p, n, rows, columns] of cells, for training
        """
        labels, people = self.labels, len(self.labels.characters)
        cells = self._trunk(pixels)
        seen, at, attention = self._look(cells, people + 1)
        own, scene = seen[:, :, :people], seen[:, :, people]
        answers = {
            "attention": attention[:, :, :people],
            "present": nn.Dense(1, name="present")(own)[..., 0],
        }
        answers["box"] = nn.Dense(4, name="box")(own) + jnp.tile(at[:, :, :people], 2)
        for name, choices in labels.of_characters.items():
            answers[name] = nn.Dense(len(choices), name=name)(own)
        for name, choices in labels.of_place.items():
            ways = len(labels.of_place["place"]) if name == "variant" else 1
            given = nn.Dense(ways * len(choices), name=name)(scene)
            answers[name] = given.reshape(*given.shape[:2], ways, -1) if ways > 1 else given
        over_time = jnp.moveaxis(jnp.concatenate([own, at[:, :, :people]], axis=-1), 1, 2)
        answers["action"] = nn.Dense(len(labels.actions), name="action")(
            _over_time(over_time, "action")
        )
        moving = _over_time(scene, "camera")
        return answers | {
            name: nn.Dense(len(choices), name=name)(moving)
            for name, choices in labels.of_camera.items()
        }

    def _trunk(self, pixels: Array) -> Array:
        """Cells [b, p, rows, columns, c], one for 4×4 pixels."""
        b, p, *_ = pixels.shape
        h = pixels.reshape(b * p, *pixels.shape[2:])
        for i, (width, size, stride) in enumerate(_LAYERS):
            h = nn.relu(nn.Conv(width, (size, size), stride, name=f"conv{i}")(h))
        return nn.LayerNorm(name="norm")(h.reshape(b, p, *h.shape[1:]))

    def _look(self, cells: Array, count: int) -> tuple[Array, Array, Array]:
        """For each of those who ask: evidence [b, p, n, c], the middle of where it was found, and the attention."""
        attention = nn.softmax(nn.Dense(count, name="attention")(cells), axis=(2, 3))
        seen = jnp.einsum("bpyxn,bpyxc->bpnc", attention, cells)
        at = jnp.einsum("bpyxn,yxu->bpnu", attention, cell_centres(*cells.shape[2:4]))
        who = self.param("who", nn.initializers.normal(0.5), (count, _EVIDENCE))
        evidence = nn.relu(
            nn.Dense(_EVIDENCE, name="evidence")(jnp.concatenate([seen, at], -1)) + who[None, None]
        )
        return evidence, at, jnp.moveaxis(attention, -1, 2)


def cell_centres(rows: int, columns: int) -> Array:
    """[rows, columns, 2]: how far to the right and down, from 0 to 1."""
    u, v = (jnp.arange(columns) + 0.5) / columns, (jnp.arange(rows) + 0.5) / rows
    return jnp.stack(jnp.meshgrid(u, v), axis=-1)


def _over_time(evidence: Array, name: str) -> Array:
    """[…, p, c] → […, c]"""
    for i in range(2):
        evidence = nn.relu(nn.Conv(_EVIDENCE, (_SPAN,), name=f"{name}_time{i}")(evidence))
    return evidence.mean(axis=-2)
