"""What happens in a story, as it happens, and on where it was after the line broke."""

import dataclasses
import json
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from shotstream_jax.client.errors import (
    NotAllowedError,
    NotThereError,
    StoryboardError,
    WrongValueError,
    no_answer,
)
from shotstream_jax.client.patience import Patience
from shotstream_jax.client.values import RemoteChunk, StoryEvent
from shotstream_jax.core.errors import InputError

if TYPE_CHECKING:  # an extra: imported when a story is followed
    from websockets.frames import Close

_LARGEST = 64 * 2**20  # bytes of a message
_BAD_HELLO = 4400  # closing codes (docs/serving.md)
_BAD_TOKEN = 4401
_NO_STORY = 4404


@dataclasses.dataclass
class Cursor:
    """What a reader has: the number of its last event, and how many chunks of which shot."""

    have: int = 0
    shot: str | None = None
    chunks: int = 0

    def hello(self, token: str) -> str:
        """The first message to the server."""
        return json.dumps({"hello": 1, "token": token, **dataclasses.asdict(self)})

    def takes(self, item: StoryEvent | RemoteChunk) -> bool:
        """Notes what was read; False for what the reader has already."""
        if isinstance(item, StoryEvent):
            if item.seq is None:
                return True
            is_new = item.seq > self.have
            self.have = max(self.have, item.seq)
            return is_new
        # A server that was killed makes a shot again, with the same bits.
        if item.shot == self.shot and item.number < self.chunks:
            return False
        self.shot = item.shot
        self.chunks = item.number + 1
        return True


def followed(
    url: str, token: str, cursor: Cursor, patience: float
) -> Iterator[StoryEvent | RemoteChunk]:
    """Events and chunks behind a cursor, for ever.

    url: of the story, http or https. patience: seconds for which a broken line is opened again.
    Raises StoryboardError: NoAnswerError after that time, NotAllowedError, NotThereError.
    """
    try:
        from websockets.exceptions import ConnectionClosed, WebSocketException
        from websockets.sync.client import connect
    except ImportError:
        raise InputError(
            "websockets is not installed: pip install 'shotstream-jax[client]'"
        ) from None
    address = f"ws{url.removeprefix('http')}/live"
    tries = Patience(patience)
    while True:
        try:
            # Films do not shrink.
            with connect(address, compression=None, max_size=_LARGEST) as socket:
                socket.send(cursor.hello(token))
                while True:
                    for item in _items(socket.recv()):
                        tries.renew()
                        if cursor.takes(item):
                            yield item
        except ConnectionClosed as error:
            tries.wait(_ended(url, error.rcvd))
        except (OSError, WebSocketException) as error:
            tries.wait(no_answer(url, error))


def _items(message: str | bytes) -> Iterator[StoryEvent | RemoteChunk]:
    """What a message tells: an event, those of a replay singly, or a chunk."""
    if isinstance(message, bytes):
        # The length of the facts, the facts, the film.
        (length,) = struct.unpack(">I", message[:4])
        facts = json.loads(message[4 : 4 + length])
        yield RemoteChunk(
            shot=facts["shot"],
            number=facts["chunk"],
            chunks=facts["chunks"],
            first_frame=facts["first_frame"],
            length=facts["frames"],
            film=message[4 + length :],
        )
        return
    told = json.loads(message)
    for event in told.get("events", [told]):
        kind = event["event"]
        # That of a welcome is the story's, which is about to be told.
        seq = None if kind == "welcome" else event.get("seq")
        yield StoryEvent(kind, seq, event)


def _ended(url: str, close: "Close | None") -> StoryboardError:
    """Why the server has closed the socket; None: it has not said."""
    if close is None:
        return no_answer(url, "the line broke")
    if close.code == _BAD_TOKEN:
        return NotAllowedError("wrong_token", close.reason, "send the story's own")
    if close.code == _NO_STORY:
        return NotThereError("no_story", close.reason, "check the address, or make a story")
    if close.code == _BAD_HELLO:
        return WrongValueError("invalid", close.reason, "use a client of the server's version")
    return no_answer(url, close.reason or f"closed with {close.code}")
