"""The captions of a story: a small grammar with paraphrases.

    global caption   A cartoon about WHO [and WHO], WHERE [and WHERE].
    shot caption     [DISTANCE: ] WHO DOES [and WHO DOES] WHERE. [MOVE.]      or with WHERE first
                     WHO and WHO DO WHERE, if both do the same

WHO are named from left to right. Only the full world's captions describe the camera. Every phrase
below has one meaning only, so a caption can be parsed.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np

from shotstream_jax.text.prompts import Script
from shotstream_jax.world.plot import PlotShot, Role, Subset, choose_one

ADJECTIVES = {
    "bear": "brown",
    "fox": "orange",
    "rabbit": "pink",
    "giraffe": "tall",
    "robot": "grey",
    "ghost": "white",
    "frog": "green",
    "elephant": "purple",
}
PLACE_PHRASES = {
    "meadow": ("in the meadow", "in a meadow"),
    "beach": ("on the beach", "at the beach"),
    "forest": ("in the forest", "in the woods"),
    "town": ("in the town", "in the street"),
    "snow": ("in the snow", "in the snowy mountains"),
    "moon": ("on the moon", "up on the moon"),
}
ACTION_PHRASES = {  # each for one character, and for two who do the same
    "walk": (
        ("walks", "walk"),
        ("is walking", "are walking"),
    ),
    "jump": (
        ("jumps", "jump"),
        ("is jumping", "are jumping"),
        ("jumps up and down", "jump up and down"),
    ),
    "wave": (
        ("waves", "wave"),
        ("is waving", "are waving"),
        ("waves hello", "wave hello"),
    ),
    "dance": (
        ("dances", "dance"),
        ("is dancing", "are dancing"),
    ),
    "sleep": (
        ("sleeps", "sleep"),
        ("is sleeping", "are sleeping"),
        ("is asleep", "are asleep"),
    ),
    "spin": (
        ("turns cartwheels", "turn cartwheels"),
        ("does cartwheels", "do cartwheels"),
    ),
}
DIRECTION_PHRASES = {-1: " to the left", 1: " to the right"}
DISTANCE_PHRASES = {
    "near": ("Close-up", "A close shot"),
    "medium": ("Medium shot", "A medium shot"),
    "far": ("Wide shot", "From far away"),
}
MOVE_PHRASES = {
    "still": ("", "The camera stands still."),
    "pan left": ("The camera pans left.", "The camera moves to the left."),
    "pan right": ("The camera pans right.", "The camera moves to the right."),
    "zoom in": ("The camera zooms in.", "The camera comes closer."),
    "zoom out": ("The camera zooms out.", "The camera backs away."),
}
OPENINGS = ("A cartoon about", "A cartoon of", "A little story about")

_PLACE_FIRST = 0.25  # share of the captions that begin with the place


def write_captions(
    rng: np.random.Generator, shots: Sequence[PlotShot], with_camera: bool
) -> Script:
    """The captions of a story.

    with_camera: they describe the camera's distance and move, and the direction of a walk.
    """
    # In the order of their first occurrence.
    names: dict[str, None] = {}
    places: dict[str, None] = {}
    for shot in shots:
        places[shot.place] = None
        for role in shot.roles:
            names[role.name] = None

    # The global caption names all of them, each character with its adjective.
    who = [_with_article(f"{ADJECTIVES[name]} {name}") for name in names]
    where = [choose_one(rng, PLACE_PHRASES[place]) for place in places]
    opening = choose_one(rng, OPENINGS)
    global_caption = f"{opening} {' and '.join(who)}, {' and '.join(where)}."

    captions = [_shot_caption(rng, shot, with_camera) for shot in shots]
    return Script(global_caption, tuple(captions))


def falsify_caption(caption: str, what: str, subset: Subset) -> str:
    """The caption with every character, place or action replaced by the next one of the subset.

    what: "who", "where" or "action". All other words stay as they are.
    """
    replacements = _replacements(what, subset)
    # Longer phrases first, as some contain others.
    longest_first = sorted(replacements, key=len, reverse=True)
    alternatives = "|".join(map(re.escape, longest_first))
    pattern = re.compile(rf"\b({alternatives})\b", re.IGNORECASE)

    def replace(found: re.Match[str]) -> str:
        """The replacement of a phrase that was found."""
        return replacements[found[0].lower()]

    return _capitalize(pattern.sub(replace, caption))


def _replacements(what: str, subset: Subset) -> dict[str, str]:
    """For each phrase for one of the subset's values, the matching phrase for the next value."""
    phrases: Mapping[str, tuple[str, ...]]
    if what == "who":
        values = subset.characters
        phrases = {name: _name_phrases(name) for name in values}
    elif what == "where":
        values = subset.places
        phrases = PLACE_PHRASES
    else:
        values = subset.actions
        phrases = {action: _all_action_phrases(action) for action in values}

    replacements: dict[str, str] = {}
    next_values = (*values[1:], values[0])
    for value, next_value in zip(values, next_values, strict=True):
        # A value may have more phrases than the next one, whose are then used again.
        next_phrases = cycle(phrases[next_value])
        for phrase, next_phrase in zip(phrases[value], next_phrases, strict=False):
            replacements[phrase] = next_phrase
    return replacements


def _name_phrases(name: str) -> tuple[str, ...]:
    """All phrases for a character."""
    described = f"{ADJECTIVES[name]} {name}"
    return (
        f"the {described}",
        f"the {name}",
        _with_article(described),
        _with_article(name),
    )


def _all_action_phrases(action: str) -> tuple[str, ...]:
    """All phrases for an action, of one character and of two."""
    phrases: list[str] = []
    for one_and_two in ACTION_PHRASES[action]:
        phrases.extend(one_and_two)
    return tuple(phrases)


def _shot_caption(rng: np.random.Generator, shot: PlotShot, with_camera: bool) -> str:
    # Who does what, and where.
    actions = _roles_clause(rng, shot.roles, with_camera)
    where = choose_one(rng, PLACE_PHRASES[shot.place])
    if rng.random() < _PLACE_FIRST:
        sentence = f"{where}, {actions}"
    else:
        sentence = f"{actions} {where}"

    # The camera: its distance first, its move last.
    if not with_camera:
        return f"{_capitalize(sentence)}."
    # "still" may have no sentence of its own.
    distance = choose_one(rng, DISTANCE_PHRASES[shot.camera.distance])
    move = choose_one(rng, MOVE_PHRASES[shot.camera.move])
    return f"{distance}: {sentence}. {move}".strip()


def _roles_clause(rng: np.random.Generator, roles: Sequence[Role], with_direction: bool) -> str:
    """Who does what, in one clause for all roles."""
    names = [_name_phrase(rng, role.name) for role in roles]

    # One verb for two who do the same.
    if len(roles) == 2 and _same_action(*roles):
        action = _action_phrase(rng, roles[0], with_direction, two=True)
        return f"{names[0]} and {names[1]} {action}"

    # Else a verb for each.
    clauses = []
    for name, role in zip(names, roles, strict=True):
        action = _action_phrase(rng, role, with_direction, two=False)
        clauses.append(f"{name} {action}")
    return " and ".join(clauses)


def _same_action(first: Role, second: Role) -> bool:
    """Both do the same; if they walk, in the same direction."""
    if first.action != second.action:
        return False
    return first.action != "walk" or first.direction == second.direction


def _action_phrase(rng: np.random.Generator, role: Role, with_direction: bool, two: bool) -> str:
    """What a character does. two: the verb is for two."""
    for_one, for_two = choose_one(rng, ACTION_PHRASES[role.action])
    phrase = for_two if two else for_one
    if with_direction and role.action == "walk":
        phrase += DIRECTION_PHRASES[role.direction]
    return phrase


def _name_phrase(rng: np.random.Generator, name: str) -> str:
    """A phrase for a character; half of the time the plainest one."""
    choices = (
        f"the {name}",
        f"the {name}",
        _with_article(name),
        f"the {ADJECTIVES[name]} {name}",
    )
    return choose_one(rng, choices)


def _with_article(noun: str) -> str:
    article = "an" if noun[0] in "aeiou" else "a"
    return f"{article} {noun}"


def _capitalize(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
