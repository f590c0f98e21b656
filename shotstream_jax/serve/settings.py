"""What a server is told when it starts, and the limits of what it takes."""

import dataclasses
import pathlib

from shotstream_jax.memory.choose import PAPER


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much of everything is taken; whatever is more is refused with a 4xx.

    body, picture, archive: bytes of a request. pictures: of a story. shots, events: of a story.
    queue: shots of a story that are to be made. shot_chunks: of a shot. viewers, sockets: of a
    story, and in all. stories: in memory. requests: a second of an address, on
    average; burst: at once. head: seconds for the head of a request; pause: for its body, besides
    one for every `slowest` bytes. hello: seconds for a socket's hello; send: in which a peer takes
    what it is sent. idle: seconds after which a story that nobody watches leaves the memory.
    """

    body: int = 64 * 1024
    picture: int = 16 * 2**20
    archive: int = 64 * 2**20
    pictures: int = 200
    shots: int = 1000
    events: int = 20_000
    queue: int = 16
    shot_chunks: int = 32
    viewers: int = 8
    sockets: int = 256
    stories: int = 1000
    requests: float = 30.0
    burst: int = 120
    head: float = 10.0
    pause: float = 20.0
    slowest: int = 32 * 1024
    hello: float = 5.0
    send: float = 20.0
    idle: float = 300.0


@dataclasses.dataclass(frozen=True)
class ServeSettings:
    """A server.

    folder: of all stories. places: shots in the making at once. hosts: names that a request may
    call the server by, with the port. origins: pages that may use it; none for those of the host.
    memory: the rule by which new stories remember (memory/choose).
    is_shared: whether other servers use the folder at the same time.
    """

    folder: pathlib.Path
    places: int = 4
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    limits: Limits = dataclasses.field(default_factory=Limits)
    memory: str = PAPER
    is_shared: bool = False
