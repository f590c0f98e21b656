"""Which stories are in memory: at most so many, those that were used last.

A story is on disk whole, so one that nobody watches can leave at any time. Without that, whoever
makes stories faster than they fall asleep would keep everyone else out.
"""

import time

from shotstream_jax.serve.refusal import Refusal
from shotstream_jax.serve.story_desk import StoryDesk

_IN_USE = 5.0  # seconds for which a request may have a story in hand

Awake = dict[str, StoryDesk]


def make_room_for_story(awake: Awake, most: int) -> None:
    """Room for another story; the one that was not used for longest makes it. Raises Refusal."""
    if len(awake) < most:
        return
    for desk in sorted(awake.values(), key=lambda desk: desk.touched):
        if _let_go(awake, desk, _IN_USE):
            return
    raise Refusal(503, "full", "too many stories are open", "try again in some minutes", 60)


def let_idle_go(awake: Awake, idle: float) -> None:
    """Stories leave that nobody has watched or changed for so many seconds."""
    for desk in list(awake.values()):
        _let_go(awake, desk, idle)


def _let_go(awake: Awake, desk: StoryDesk, idle: float) -> bool:
    """A story leaves if it was not used for so long, and nothing of it is to be made."""
    with desk.lock:
        is_idle = time.monotonic() - desk.touched > idle
        if not is_idle or desk.viewers() or desk.board.queue() or desk.making is not None:
            return False
        desk.close()
    del awake[desk.id]
    return True
