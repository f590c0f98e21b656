"""The state of a telling, as a value: the tree of what was made, and what waits. Pure functions.

Every shot that was made is a node, whose parent is the shot before it. The story as it stands is
the way from the beginning to the head. Going back, another take and undoing only move the head.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

from shotstream_jax.core.errors import InputError
from shotstream_jax.generate.asked import Pin
from shotstream_jax.generate.storyteller.commands import StoryLine, count
from shotstream_jax.media.rushes import FrameSpan

END = StoryLine("end")  # as /cut, but says nothing where no shot is running
_AT_ONCE = ("cut", "retell", "style", END.name)  # what is about the running shot
_AWAY = ("back", "undo", "quit")  # what leaves the running shot, and what waits for its end
_REMEMBERED = 100  # steps that can be undone


@dataclasses.dataclass(frozen=True, eq=False)
class Made:
    """A shot that was made, or what a telling began with.

    number: of the shot, from 1; of the beginning, how many shots it has.
    folder: where the story up to it is kept.
    before: the shot before it; None for the beginning.
    span: its frames in the rushes; None for the beginning.
    """

    number: int
    folder: pathlib.Path
    before: "Made | None" = None
    span: FrameSpan | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Telling:
    """A telling so far.

    head: the last shot of the story as it stands.
    waiting: commands in the order in which they will be carried out.
    pins: frames that all further shots see.
    styles: strengths of adapters in all further shots, by their names.
    heads: earlier heads, the last one last.
    takes: the highest take of each shot, by its number.
    """

    head: Made
    waiting: tuple[StoryLine, ...] = ()
    pins: tuple[Pin, ...] = ()
    styles: Mapping[str, float] = dataclasses.field(default_factory=dict)
    heads: tuple[Made, ...] = ()
    takes: Mapping[int, int] = dataclasses.field(default_factory=dict)


def enter(
    telling: Telling, command: StoryLine, is_typed: bool
) -> tuple[Telling, tuple[StoryLine, ...]]:
    """The telling with a command in it, and those that are left out for it.

    is_typed: by a person, who sees the running shot: what is about it comes before what waits. A
    script's lines are carried out one after the other.
    """
    waiting = telling.waiting
    if is_typed and command.name in _AWAY:
        return _left(telling, END, command)
    place = len(waiting)
    if is_typed and command.name in _AT_ONCE:
        # After the others that came before it.
        place = sum(1 for other in waiting if other.name in _AT_ONCE)
    waiting = (*waiting[:place], command, *waiting[place:])
    return dataclasses.replace(telling, waiting=waiting), ()


def interrupted(telling: Telling, leaves: bool) -> tuple[Telling, tuple[StoryLine, ...]]:
    """The telling after a Ctrl-C: the running shot ends. And the commands that are left out.

    leaves: whether the telling ends too.
    """
    return _left(telling, END, StoryLine("quit")) if leaves else _left(telling, END)


def _left(telling: Telling, *last: StoryLine) -> tuple[Telling, tuple[StoryLine, ...]]:
    """The telling in which these follow what does not wait for a shot's end; and what does."""
    kept: list[StoryLine] = []
    left_out: list[StoryLine] = []
    for command in telling.waiting:
        if command.name in _AT_ONCE or command.name in _AWAY:
            kept.append(command)
        else:
            left_out.append(command)
    return dataclasses.replace(telling, waiting=(*kept, *last)), tuple(left_out)


def next_command(telling: Telling, chunks: int | None) -> tuple[Telling, StoryLine | None]:
    """The command that is to be carried out now, taken out; None if nothing is.

    chunks: of the running shot, since its caption was told; None if no shot is running.
    """
    if not telling.waiting:
        return telling, None
    first = telling.waiting[0]
    if chunks is not None:
        # A caption has at least one chunk; what is not about the running shot waits for its end.
        if first.name not in _AT_ONCE or chunks == 0:
            return telling, None
    return dataclasses.replace(telling, waiting=telling.waiting[1:]), first


def with_shot(telling: Telling, made: Made) -> Telling:
    """The telling with a shot more, which follows the one that it names."""
    return _moved(telling, made)


def gone_back(telling: Telling, number: int) -> Telling:
    """The telling as it was after so many shots. Raises InputError if there are fewer."""
    if number > telling.head.number:
        shots = telling.head.number
        raise InputError(f"the story has {count(shots, 'shot')}: /back 0 to {shots}")
    return _moved(telling, ancestor(telling.head, number))


def undone(telling: Telling) -> Telling:
    """The telling with its head where it was before it last moved. Raises InputError if nowhere."""
    if not telling.heads:
        raise InputError("there is nothing to undo")
    moved = _moved(telling, telling.heads[-1])
    return dataclasses.replace(moved, heads=telling.heads[:-1])


def another_take(telling: Telling, take: int) -> tuple[Telling, int]:
    """The telling in which the head's shot is about to be made once more, and the take's number.

    take: of the shot as it stands.
    """
    number = telling.head.number
    new = max(take, telling.takes.get(number, 0)) + 1
    return dataclasses.replace(telling, takes={**telling.takes, number: new}), new


def ancestor(head: Made, number: int) -> Made:
    """The node after so many shots, on the way to a head that has as many or more."""
    node = head
    while node.number > number and node.before is not None:
        node = node.before
    # A story that was continued has shots before the telling's beginning.
    return node if node.number == number else dataclasses.replace(node, number=number)


def spans(head: Made) -> list[FrameSpan]:
    """The frames of the story as it stands, in the rushes; neighbours are one span."""
    found: list[FrameSpan] = []
    node: Made | None = head
    while node is not None and node.span is not None:
        if found and node.span.stop == found[-1].start:
            found[-1] = FrameSpan(node.span.start, found[-1].stop)
        else:
            found.append(node.span)
        node = node.before
    return found[::-1]


def _moved(telling: Telling, head: Made) -> Telling:
    """The telling with another head."""
    # A frame of a shot that is not before the next one any more stays as a picture.
    pins = []
    for pin in telling.pins:
        is_later = pin.shot is not None and pin.shot >= head.number
        pins.append(dataclasses.replace(pin, shot=None) if is_later else pin)
    heads = (*telling.heads, telling.head)[-_REMEMBERED:]
    return dataclasses.replace(telling, head=head, pins=tuple(pins), heads=heads)
