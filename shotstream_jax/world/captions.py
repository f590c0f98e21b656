"""What is told of a story: a grammar with paraphrases.

    global   A cartoon about WHO [and WHO], WHERE [and WHERE].
    shot     [DISTANCE: ] WHO DOES [and WHO DOES] WHERE. [MOVE.]      or  WHERE first
             WHO and WHO DO WHERE, if both do the same

WHO is told from left to right. Of the camera only the full world tells. Every phrase below means one thing, so a
caption can be read back.
"""

import re
from collections.abc import Sequence
from itertools import cycle

import numpy as np

from shotstream_jax.text.prompts import Script
from shotstream_jax.world.plot import Part, Shot, Subset, one

LIKE = {
    "bear": "brown",
    "fox": "orange",
    "rabbit": "pink",
    "giraffe": "tall",
    "robot": "grey",
    "ghost": "white",
    "frog": "green",
    "elephant": "purple",
}
WHERE = {
    "meadow": ("in the meadow", "in a meadow"),
    "beach": ("on the beach", "at the beach"),
    "forest": ("in the forest", "in the woods"),
    "town": ("in the town", "in the street"),
    "snow": ("in the snow", "in the snowy mountains"),
    "moon": ("on the moon", "up on the moon"),
}
DOES = {  # for one, for two
    "walk": (("walks", "walk"), ("is walking", "are walking")),
    "jump": (
        ("jumps", "jump"),
        ("is jumping", "are jumping"),
        ("jumps up and down", "jump up and down"),
    ),
    "wave": (("waves", "wave"), ("is waving", "are waving"), ("waves hello", "wave hello")),
    "dance": (("dances", "dance"), ("is dancing", "are dancing")),
    "sleep": (("sleeps", "sleep"), ("is sleeping", "are sleeping"), ("is asleep", "are asleep")),
    "spin": (("turns cartwheels", "turn cartwheels"), ("does cartwheels", "do cartwheels")),
}
DIRECTION = {-1: " to the left", 1: " to the right"}
DISTANCE = {
    "near": ("Close-up", "A close shot"),
    "medium": ("Medium shot", "A medium shot"),
    "far": ("Wide shot", "From far away"),
}
MOVE = {
    "still": ("", "The camera stands still."),
    "pan left": ("The camera pans left.", "The camera moves to the left."),
    "pan right": ("The camera pans right.", "The camera moves to the right."),
    "zoom in": ("The camera zooms in.", "The camera comes closer."),
    "zoom out": ("The camera zooms out.", "The camera backs away."),
}
OPENING = ("A cartoon about", "A cartoon of", "A little story about")


def write_captions(rng: np.random.Generator, shots: Sequence[Shot], with_camera: bool) -> Script:
    """The captions of a story. with_camera: distance, moves and the direction of a walk are told."""
    people = dict.fromkeys(part.name for shot in shots for part in shot.parts)
    places = dict.fromkeys(shot.place for shot in shots)
    who = " and ".join(_article(f"{LIKE[name]} {name}") for name in people)
    where = " and ".join(one(rng, WHERE[place]) for place in places)
    opening = f"{one(rng, OPENING)} {who}, {where}."
    return Script(opening, tuple(_shot_caption(rng, shot, with_camera) for shot in shots))


def mistell(caption: str, what: str, subset: Subset) -> str:
    """The caption with the subset's next one in place of every character, place or action; the rest as it stands.

    what: "who", "where" or "action".
    """
    phrases = _next_phrases(what, subset)
    longest = sorted(phrases, key=len, reverse=True)
    told = re.compile(rf"\b({'|'.join(map(re.escape, longest))})\b", re.IGNORECASE)
    return _capital(told.sub(lambda found: phrases[found[0].lower()], caption))


def _next_phrases(what: str, subset: Subset) -> dict[str, str]:
    """Each phrase that tells one of the subset's values, and one as like it as can be that tells the next value."""
    values = {"who": subset.characters, "where": subset.places, "action": subset.actions}[what]
    phrases = {"who": _all_who, "where": WHERE.get, "action": _all_does}[what]
    pairs = zip(values, (*values[1:], values[0]), strict=True)
    return {
        told: tell
        for value, after in pairs
        for told, tell in zip(phrases(value), cycle(phrases(after)))
    }


def _all_who(name: str) -> tuple[str, ...]:
    return (
        f"the {LIKE[name]} {name}",
        f"the {name}",
        _article(f"{LIKE[name]} {name}"),
        _article(name),
    )


def _all_does(action: str) -> tuple[str, ...]:
    return tuple(phrase for choice in DOES[action] for phrase in choice)


def _shot_caption(rng: np.random.Generator, shot: Shot, with_camera: bool) -> str:
    action, where = _action(rng, shot.parts, with_camera), one(rng, WHERE[shot.place])
    sentence = f"{where}, {action}" if rng.random() < 0.25 else f"{action} {where}"
    if not with_camera:
        return f"{_capital(sentence)}."
    distance, move = one(rng, DISTANCE[shot.camera.distance]), one(rng, MOVE[shot.camera.move])
    return f"{distance}: {sentence}. {move}".strip()


def _action(rng: np.random.Generator, parts: Sequence[Part], with_direction: bool) -> str:
    def does(part: Part, number: int) -> str:
        way = DIRECTION[part.direction] if with_direction and part.action == "walk" else ""
        return one(rng, DOES[part.action])[number] + way

    who = [_who(rng, part.name) for part in parts]
    alike = {(part.action, part.direction if part.action == "walk" else 0) for part in parts}
    if len(parts) == 2 and len(alike) == 1:
        return f"{who[0]} and {who[1]} {does(parts[0], 1)}"
    return " and ".join(f"{name} {does(part, 0)}" for name, part in zip(who, parts, strict=True))


def _who(rng: np.random.Generator, name: str) -> str:
    return one(rng, (f"the {name}", f"the {name}", _article(name), f"the {LIKE[name]} {name}"))


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
