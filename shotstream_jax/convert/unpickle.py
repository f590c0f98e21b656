"""Pickles of weight files, interpreted: dicts, lists and numbers, and calls of known names alone.

Python's own unpickler runs what a pickle says, and one changed byte of it can make it reserve more
memory than there is. Here a name stands for what the caller's table has, a call calls only that,
and attributes are never set. The opcodes are taken apart by `pickletools`.
"""

import collections
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

# An opcode that puts its argument on the stack.
_VALUES = {
    "BININT",
    "BININT1",
    "BININT2",
    "LONG1",
    "LONG4",
    "BINFLOAT",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "BINSTRING",
    "SHORT_BINSTRING",
    "BINBYTES",
    "SHORT_BINBYTES",
}
_MAKERS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": set,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}

_LARGEST_INTEGER = 2048  # bits
# No weight file comes near; what is nested more deeply cannot be written or shown.
_DEEPEST = 60
_MOST_VALUES = 4_000_000


class Call(NamedTuple):
    """What a name in a pickle stands for, if it may be called."""

    function: Callable[..., Any]


class Unread:
    """An object whose attributes a pickle may set, which is done for none of them."""


def load_pickle(
    file: BinaryIO,
    find_name: Callable[[str, str], Any],
    load_persistent: Callable[[Any], Any],
) -> Any:
    """The value of the next pickle in a file, which is then at its end.

    find_name: (module, name) → what it stands for, a `Call` if it may be called. load_persistent:
    what a persistent id stands for. Raises ValueError, LookupError or TypeError for anything that
    is no pickle, or one that does more than weight files need.
    """
    machine = _Machine(find_name, load_persistent)
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "STOP":
            break
        machine.step(opcode.name, argument)
    value = machine.stack.pop()
    _check_nesting(value)
    return value


def _check_nesting(value: Any) -> None:
    """Refuses what is nested without end, as a list in itself, or too often."""
    level = [value]
    count = 0
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list | tuple | set):
                inner += item
            if count + len(inner) > _MOST_VALUES:
                raise ValueError("it holds too many values")
        count += len(inner)
        level = inner
        if not level:
            return
    raise ValueError("it is nested too deeply")


class _Machine:
    """A pickle's stack and memo."""

    def __init__(
        self, find_name: Callable[[str, str], Any], load_persistent: Callable[[Any], Any]
    ) -> None:
        self.stack: list[Any] = []
        self._outer: list[list[Any]] = []  # the stacks below each mark
        self._memo: dict[int, Any] = {}
        self._find_name = find_name
        self._load_persistent = load_persistent

    def step(self, name: str, argument: Any) -> None:
        """Does one opcode."""
        if name in _VALUES:
            self.stack.append(_checked(argument))
        elif name in _MAKERS:
            self.stack.append(_MAKERS[name]())
        elif name in _TUPLES:
            items = [self.stack.pop() for _ in range(_TUPLES[name])]
            self.stack.append(tuple(reversed(items)))
        elif name not in ("PROTO", "FRAME"):
            self._change(name, argument)

    def _change(self, name: str, argument: Any) -> None:
        """The opcodes that work on what is on the stack."""
        match name:
            case "MARK":
                self._outer.append(self.stack)
                self.stack = []
            case "TUPLE":
                items = tuple(self._above_mark())
                self.stack.append(items)
            case "APPEND" | "APPENDS" | "SETITEM" | "SETITEMS" | "ADDITEMS":
                self._fill(name)
            # The memo, by numbers that the pickle names or that count up.
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self.stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = self.stack[-1]
            case "BINGET" | "LONG_BINGET":
                self.stack.append(self._memo[argument])
            # Names, what they are called with, and ids of what lies elsewhere.
            case "GLOBAL":
                module, _, attribute = argument.partition(" ")
                self.stack.append(self._find_name(module, attribute))
            case "STACK_GLOBAL":
                attribute = self.stack.pop()
                module = self.stack.pop()
                self.stack.append(self._find_name(str(module), str(attribute)))
            case "REDUCE" | "NEWOBJ":
                self._call()
            case "BINPERSID":
                pid = self.stack.pop()
                self.stack.append(self._load_persistent(pid))
            case "BUILD":
                self._leave_attributes()
            case _:
                raise ValueError(f"its pickle has the opcode {name}, which weight files do not use")

    def _above_mark(self) -> list[Any]:
        """What was put on the stack since the last mark."""
        items = self.stack
        self.stack = self._outer.pop()
        return items

    def _fill(self, name: str) -> None:
        """Adds items to the list, set or dict below them."""
        match name:
            case "APPEND":
                items = [self.stack.pop()]
            case "SETITEM":
                items = self.stack[-2:]
                del self.stack[-2:]
            case _:
                items = self._above_mark()
        target = self.stack[-1]
        if name in ("APPEND", "APPENDS") and isinstance(target, list):
            target.extend(items)
        elif name == "ADDITEMS" and isinstance(target, set):
            target.update(map(_checked_key, items))
        elif name in ("SETITEM", "SETITEMS") and isinstance(target, dict):
            keys = map(_checked_key, items[::2])
            target.update(zip(keys, items[1::2], strict=True))
        else:
            raise ValueError(f"its pickle adds items to a {type(target).__name__}")

    def _call(self) -> None:
        arguments = self.stack.pop()
        called = self.stack.pop()
        if not isinstance(called, Call) or not isinstance(arguments, tuple):
            raise ValueError("its pickle calls what cannot be called")
        self.stack.append(called.function(*arguments))

    def _leave_attributes(self) -> None:
        """Attributes, as the versions that a state dict keeps of its modules, are not weights."""
        self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, collections.OrderedDict | Unread):
            raise ValueError(f"its pickle sets attributes of a {type(target).__name__}")


def _checked(value: Any) -> Any:
    """A number that can be shown; texts and the like as they are."""
    if isinstance(value, int) and value.bit_length() > _LARGEST_INTEGER:
        raise ValueError(f"its pickle has an integer of {value.bit_length()} bits")
    return value


def _checked_key(key: Any) -> Any:
    """A key that can be compared: hashing what is deeply nested would not come back."""
    if isinstance(key, tuple) and any(isinstance(item, tuple) for item in key):
        raise ValueError("its pickle has a key of tuples in tuples")
    return key
