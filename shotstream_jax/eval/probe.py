"""The probe: a small network that reads a shot of the drawn world, trained on rendered pictures.

A trunk of strided convolutions turns each frame into cells. Every character, and the place, has an
attention map of its own over the cells; what it attends to, and where, is the evidence from which a
frame's questions are answered. Actions and the camera take the evidence of all frames.
"""

import flax.linen as nn
import jax.numpy as jnp

from shotstream_jax.core.typing import Array, Float, Params, typechecked
from shotstream_jax.eval.labels import Labels

# The trunk's convolutions: (width, kernel size, stride).
_LAYERS = ((32, 4, 2), (64, 3, 2), (80, 3, 1))
_ROWS = 32  # of pixels; twice as many have a first convolution twice as large and as wide apart

# Width of the evidence, and frames that a convolution over time spans.
_EVIDENCE = 64
_SPAN = 5


class Probe(nn.Module):
    """Logits for every question of eval/labels."""

    labels: Labels

    @nn.compact
    @typechecked
    def __call__(self, pixels: Float[Array, "b p y x 3"]) -> dict[str, Array]:
        """pixels in [−1, 1], each side at least 8.

        present              [b, p, n], one logit
        box                  [b, p, n, 4]
        accent, pattern      [b, p, n, choices]
        action               [b, n, choices]
        place, side, items   [b, p, choices]
        variant              [b, p, places, choices], of each place the landmark could be of
        distance, move       [b, choices]
        attention            [b, p, n, rows, columns] of cells, for training
        """
        people = len(self.labels.characters)
        cells = self._trunk(pixels)
        # The characters ask first, the place last.
        evidence, centre, attention = self._attend(cells, people + 1)
        of_characters = evidence[:, :, :people]  # [b, p, n, d]
        of_place = evidence[:, :, people]  # [b, p, d]
        character_centre = centre[:, :, :people]  # [b, p, n, 2]

        answers = {"attention": attention[:, :, :people]}
        answers |= self._character_answers(of_characters, character_centre)
        answers |= self._place_answers(of_place)

        # Actions are seen in how a character's evidence and place change, the camera in how the
        # place's evidence does.
        moving = jnp.concatenate([of_characters, character_centre], axis=-1)
        moving = jnp.moveaxis(moving, 1, 2)  # [b, n, p, d + 2]
        action_head = nn.Dense(len(self.labels.actions), name="action")
        action_evidence = _summarise_over_time(moving, "action")  # [b, n, d]
        answers["action"] = action_head(action_evidence)
        camera_evidence = _summarise_over_time(of_place, "camera")  # [b, d]
        for name, choices in self.labels.camera_choices.items():
            head = nn.Dense(len(choices), name=name)
            answers[name] = head(camera_evidence)
        return answers

    def _trunk(self, pixels: Array) -> Array:
        """Cells [b, p, rows, columns, c], one for 4×4 pixels, of 64 rows and more one for 8×8."""
        # Frames are convolved one by one: time joins the batch for that.
        b, p, y, x, colours = pixels.shape
        h = pixels.reshape(b * p, y, x, colours)
        scale = max(1, y // _ROWS)
        for i, (width, size, stride) in enumerate(_LAYERS):
            if i == 0:
                size *= scale
                stride *= scale
            convolution = nn.Conv(width, (size, size), stride, name=f"conv{i}")
            h = nn.relu(convolution(h))
        cells = h.reshape(b, p, *h.shape[1:])
        return nn.LayerNorm(name="norm")(cells)

    def _attend(self, cells: Array, count: int) -> tuple[Array, Array, Array]:
        """What each of `count` askers attends to.

        Returns the evidence [b, p, n, d], the centre of the attention [b, p, n, 2], and the
        attention [b, p, n, rows, columns], which sums to 1 over the cells.
        """
        logits = nn.Dense(count, name="attention")(cells)  # [b, p, rows, columns, n]
        attention = nn.softmax(logits, axis=(2, 3))

        # Means over the cells, weighted by the attention: of what is there, and of where it is.
        rows, columns = cells.shape[2:4]
        positions = cell_centres(rows, columns)
        attended = jnp.einsum("bpyxn,bpyxc->bpnc", attention, cells)
        centre = jnp.einsum("bpyxn,yxu->bpnu", attention, positions)

        # One linear map for all askers, and a learned offset for each.
        seen = jnp.concatenate([attended, centre], axis=-1)
        offset = self.param("who", nn.initializers.normal(0.5), (count, _EVIDENCE))
        mapped = nn.Dense(_EVIDENCE, name="evidence")(seen)
        evidence = nn.relu(mapped + offset[None, None])
        return evidence, centre, jnp.moveaxis(attention, -1, 2)

    def _character_answers(self, evidence: Array, centre: Array) -> dict[str, Array]:
        """present, box and the characters' questions, of each frame."""
        present = nn.Dense(1, name="present")(evidence)  # [b, p, n, 1]
        answers = {"present": present[..., 0]}
        # A box is learned as what its corners are away from the centre of attention.
        corners = nn.Dense(4, name="box")(evidence)
        answers["box"] = corners + jnp.tile(centre, 2)
        for name, choices in self.labels.character_choices.items():
            head = nn.Dense(len(choices), name=name)
            answers[name] = head(evidence)
        return answers

    def _place_answers(self, evidence: Array) -> dict[str, Array]:
        """The place's questions, of each frame."""
        answers = {}
        places = len(self.labels.place_choices["place"])
        for name, choices in self.labels.place_choices.items():
            if name == "variant":
                # Each place has a landmark of its own, so the variant is asked for every place.
                head = nn.Dense(places * len(choices), name=name)
                logits = head(evidence)  # [b, p, places · choices]
                b, p, _ = logits.shape
                answers[name] = logits.reshape(b, p, places, len(choices))
            else:
                head = nn.Dense(len(choices), name=name)
                answers[name] = head(evidence)
        return answers


def probe_answers(
    probe: Probe,
    params: Params,
    pixels: Array,
) -> dict[str, Array]:
    """The answers of a probe with these parameters about pixels [b, p, y, x, 3] in [−1, 1]."""
    answers = probe.apply({"params": params}, pixels)
    assert isinstance(answers, dict)
    return answers


def cell_centres(rows: int, columns: int) -> Array:
    """[rows, columns, 2]: how far each cell's centre lies to the right and down, from 0 to 1."""
    right = (jnp.arange(columns) + 0.5) / columns
    down = (jnp.arange(rows) + 0.5) / rows
    return jnp.stack(jnp.meshgrid(right, down), axis=-1)


def _summarise_over_time(evidence: Array, name: str) -> Array:
    """Two convolutions over time and a mean: […, p, d] → […, d]."""
    for i in range(2):
        convolution = nn.Conv(_EVIDENCE, (_SPAN,), name=f"{name}_time{i}")
        evidence = nn.relu(convolution(evidence))
    return evidence.mean(axis=-2)
