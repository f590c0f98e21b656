"""Readings that are right about a story, to be made wrong on purpose."""

import dataclasses

import numpy as np

from shotstream_jax.eval.labels import Labels
from shotstream_jax.eval.reading import Reading
from shotstream_jax.world.plot import WorldConfig
from shotstream_jax.world.story import WorldStory, make_story

FRAMES = 6
WORLDS = {
    subset: WorldConfig(subset, fps=8, shots=(5,), lengths=(FRAMES,))
    for subset in ("simple", "full")
}


def story(subset: str = "simple", index: int = 0) -> WorldStory:
    return make_story(WORLDS[subset], 0, "test", index)


def right(labels: Labels, story: WorldStory) -> list[Reading]:
    """As if everything had been read as it was drawn."""
    readings = []
    for shot in story.shots:
        people = {labels.characters.index(part.name): part for part in shot.roles}
        present = np.zeros((FRAMES, len(labels.characters)))
        answers = {
            name: np.zeros(len(labels.characters), int)
            for name in (*labels.character_choices, "action")
        }
        for n, part in people.items():
            present[:, n] = 1
            answers["action"][n] = labels.actions.index(part.action)
            for name, choices in labels.character_choices.items():
                answers[name][n] = choices.index(getattr(story.looks[part.name], name))
        told = (
            {"place": shot.place}
            | dataclasses.asdict(story.layouts[shot.place])
            | dataclasses.asdict(shot.camera)
        )
        answers |= {
            name: choices.index(told[name])
            for name, choices in (labels.place_choices | labels.camera_choices).items()
        }
        framed = {
            name: answers[name] for name in (*labels.character_choices, *labels.place_choices)
        }
        frames = {
            name: np.repeat(np.asarray(value)[None], FRAMES, axis=0)
            for name, value in framed.items()
        }
        readings.append(Reading(present, np.zeros((*present.shape, 4)), frames, answers))
    return readings


def changed(reading: Reading, name: str, value: object) -> Reading:
    """With another answer for the whole shot."""
    return dataclasses.replace(reading, shot=dict(reading.shot) | {name: value})
