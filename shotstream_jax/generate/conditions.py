"""The conditions of a story's next shot, from what the story remembers and what is pinned."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import AnyArray, Array
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.generate.asked import Pin
from shotstream_jax.generate.story import Story
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.memory.plan import FIRST_SHOT_PHASE
from shotstream_jax.memory.select import ContextPick
from shotstream_jax.presets import Preset


class Told(NamedTuple):
    """What a frame is told: the caption of a shot, whose number the prompt names."""

    shot: int
    caption: str


class _Seen(NamedTuple):
    """A context frame: its latent [1, h, w, c], the number that sets its phase, and its caption."""

    latent: AnyArray
    phase: int
    told: Told


def next_shot_conditions(
    preset: Preset,
    story: Story,
    caption: str,
    pins: Sequence[Pin],
    remembered: ContextPick,
    embed: Callable[[Told], Array],
) -> Conditions:
    """Conditions of the next shot for one story (batch 1).

    caption: of the shot. pins: frames that it sees whatever it remembers. remembered: the others
    that it sees (generate/remember). embed: the embedding [1, l, e] of a prompt.
    Raises InputError if there are more pins than context frames, or if one is from no earlier shot.
    """
    own = Told(story.next_shot, caption)
    seen = _context_frames(preset, story, own, pins, remembered)
    # Context latents: [1, C, h, w, c].
    context = jnp.stack([frame.latent for frame in seen], axis=1)
    # A caption has one slot, however many frames read it: those of the context by their shots, the
    # shot's own last. So C + 1 slots are always enough.
    slots = sorted({frame.told for frame in seen} - {own})
    slots.append(own)
    texts = [embed(told) for told in slots]
    empty = preset.memory.captions - len(texts)
    texts.extend([jnp.zeros_like(texts[0])] * empty)
    # Phases and slots of the context and, last, of the shot: [1, C + 1].
    phases = [frame.phase for frame in seen]
    phases.append(story.next_shot or FIRST_SHOT_PHASE)
    numbers = [slots.index(frame.told) for frame in seen]
    numbers.append(slots.index(own))
    ids = FrameIds(
        phase=jnp.asarray([phases], jnp.int32), caption=jnp.asarray([numbers], jnp.int32)
    )
    return Conditions(context, ids, jnp.stack(texts, axis=1))


def _context_frames(
    preset: Preset, story: Story, own: Told, pins: Sequence[Pin], remembered: ContextPick
) -> list[_Seen]:
    """The C frames that the shot sees, by their shots."""
    if len(pins) > story.context:
        raise InputError(f"{len(pins)} frames are pinned; a shot sees {story.context}")
    pinned = [_pinned(story, own, pin) for pin in pins]
    # A first shot sees zeros, or only what is pinned, as often as there are places.
    if not story.shots:
        grid = preset.latent_grid(story.video)
        zeros = _Seen(jnp.zeros((1, *grid, preset.dit.channels)), 0, own)
        spread = np.arange(story.context) * len(pinned) // story.context
        return [pinned[place] for place in spread] if pinned else [zeros] * story.context
    # Any other shot what it remembers, too.
    others = []
    for shot, frame in zip(remembered.shots, remembered.frames, strict=True):
        told = Told(int(shot), story.record(int(shot)).caption)
        others.append(_Seen(kept_latent(story, int(shot), int(frame)), int(shot), told))
    return sorted([*others, *pinned], key=lambda frame: frame.phase)


def _pinned(story: Story, own: Told, pin: Pin) -> _Seen:
    """A pinned frame; a picture counts as a frame of the shot before."""
    before = max(story.next_shot - 1, 0)
    shot = before if pin.shot is None else pin.shot
    if not 0 <= shot <= before:
        raise InputError(
            f"a frame of shot {shot + 1} is pinned for shot {story.next_shot + 1}: pin a frame of "
            "an earlier shot"
        )
    told = own if pin.caption is None else Told(shot, pin.caption)
    return _Seen(pin.latent, shot, told)


def kept_latent(story: Story, shot: int, frame: int) -> AnyArray:
    """The latent [1, h, w, c] of a kept frame; a story keeps every frame that can be picked."""
    record = story.record(shot)
    position = np.flatnonzero(record.frames == frame)[0]
    return record.latents[int(position)]
