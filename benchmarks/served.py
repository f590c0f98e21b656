"""A storyboard's server in a process of its own on this machine, and stories as programs have them.

    with Served(folder) as server:
        story = server.new_story()
        with story.live() as messages:
            shot = story.ask("The frog is dancing.")
            …

What the server refuses because it comes too often is asked again when the server says so.
"""

import contextlib
import dataclasses
import json
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

ABOUT = "A cartoon about a green frog."
CAPTION = "The frog is dancing in the meadow."
_HOST = "127.0.0.1"
_TOO_OFTEN = 429
_TRIES = 10  # to connect, when that was too often


class RefusedError(RuntimeError):
    """The server's answer to what it does not do; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status} {message}")
        self.status = status


class Served:
    """`shotstream serve` on a free port of this machine, ready to make shots.

    folder: of its stories and its log. options: of the command.
    """

    def __init__(self, folder: pathlib.Path, options: Sequence[str] = ()) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind((_HOST, 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "shotstream_jax", "serve", *options]
        command += [f"--stories={folder / 'stories'}", f"--port={self.port}"]
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self._wait_until_ready()

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """Of the page."""
        return f"http://{_HOST}:{self.port}/"

    def stop(self) -> int:
        """Ends the server in order, if it runs; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait()

    def kill(self) -> None:
        """Ends the server at once, whatever it is doing."""
        self.process.kill()
        self.process.wait()

    def call(
        self,
        method: str,
        path: str,
        token: str = "",
        body: Any = None,
        key: str = "",
    ) -> Any:
        """A command's answer: JSON as values, anything else as bytes. Raises RefusedError."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        if key:
            headers["Idempotency-Key"] = key
        data = None if body is None else json.dumps(body).encode()
        url = self.address.rstrip("/") + path
        while True:
            request = urllib.request.Request(url, data, headers, method=method)
            try:
                with urllib.request.urlopen(request) as answer:
                    content = answer.read()
                    is_json = answer.headers.get_content_type() == "application/json"
                return json.loads(content) if is_json and content else content
            except urllib.error.HTTPError as error:
                wait = error.headers.get("Retry-After")
                if error.code != _TOO_OFTEN or wait is None:
                    raise RefusedError(error.code, error.read().decode()) from None
            time.sleep(float(wait))

    def new_story(self, seed: int = 1) -> "ServedStory":
        """A new story."""
        made = self.call("POST", "/api/stories", body={"global_caption": ABOUT, "seed": seed})
        return ServedStory(self, made["id"], made["token"])

    def metrics(self) -> dict[str, float]:
        """The server's figures by their names with labels."""
        figures = {}
        for line in self.call("GET", "/metrics").decode().splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                figures[name] = float(value)
        return figures

    def chunk_frames(self) -> int:
        """The latent frames of a chunk, of which a shot has a whole number."""
        return self.call("GET", "/api/model")["chunk"]

    def _wait_until_ready(self) -> None:
        """Raises RuntimeError if the server ends before."""
        while self.process.poll() is None:
            with contextlib.suppress(urllib.error.URLError, RefusedError, ConnectionError):
                self.call("GET", "/health/ready")
                return
            time.sleep(0.02)
        raise RuntimeError(f"the server has ended: see {self.folder / 'server.log'}")


@dataclasses.dataclass
class ServedStory:
    """A story of a server, as its owner has it."""

    server: Served
    id: str
    token: str

    def call(self, method: str, path: str = "", body: Any = None, key: str = "") -> Any:
        """A command's answer."""
        return self.server.call(method, f"/api/stories/{self.id}{path}", self.token, body, key)

    def ask(self, caption: str = CAPTION, key: str = "", **more: Any) -> str:
        """Asks for a shot; its name."""
        return self.call("POST", "/shots", {"caption": caption, **more}, key)["id"]

    def read(self) -> dict[str, Any]:
        """The story; its shots by their names."""
        story = self.call("GET")
        story["shots"] = {shot["id"]: shot for shot in story["shots"]}
        return story

    def films(self, shot: str, chunks: int) -> list[bytes]:
        """The files of a shot's chunks."""
        return [self.call("GET", f"/shots/{shot}/chunks/{number}") for number in range(chunks)]

    @contextlib.contextmanager
    def live(self, have: int = 0) -> Iterator[Iterator[dict[str, Any]]]:
        """What a viewer is sent: events one by one, and chunks as events with their film.

        have: the number of the last event that the viewer has.
        """
        url = f"ws://{_HOST}:{self.server.port}/api/stories/{self.id}/live"
        with _connected(url) as viewer:
            viewer.send(json.dumps({"hello": 1, "token": self.token, "have": have}))
            yield _messages(viewer)

    def wait(self, shot: str, event: str = "done", have: int = 0) -> list[dict[str, Any]]:
        """Waits for an event of a shot; what a viewer was sent until then."""
        with self.live(have) as messages:
            return list(until(messages, shot, event))


def until(
    messages: Iterator[dict[str, Any]], shot: str, event: str = "done"
) -> Iterator[dict[str, Any]]:
    """The messages up to an event of a shot. Raises RuntimeError if it fails, or they end."""
    for message in messages:
        yield message
        if message.get("shot") == shot and message["event"] == event:
            return
        if message.get("shot") == shot and message["event"] == "failed":
            raise RuntimeError(f"shot {shot} has failed: {message['reason']}")
    raise RuntimeError(f"the server has ended the socket before shot {shot} was {event}")


def _connected(url: str) -> ClientConnection:
    """An open socket. Raises InvalidStatus if the server refuses it for good.

    Like a browser's it asks for no sign of life: who reads nothing would close it by that.
    """
    for _ in range(_TRIES):
        with contextlib.suppress(InvalidStatus):
            return connect(url, max_size=None, compression=None, ping_interval=None)
        time.sleep(1)
    return connect(url, max_size=None, compression=None, ping_interval=None)


def _messages(viewer: ClientConnection) -> Iterator[dict[str, Any]]:
    """Single events, until the socket ends; a message with the time at which it came, in seconds
    since 1970."""
    while True:
        try:
            message = viewer.recv()
        except ConnectionClosed:
            return
        came = time.time()
        if isinstance(message, str):
            event = json.loads(message)
            for single in event.get("events", [event]):
                yield {"came": came, **single}
            continue
        (length,) = struct.unpack(">I", message[:4])
        facts = json.loads(message[4 : 4 + length])
        yield {"event": "chunk", "came": came, **facts, "film": message[4 + length :]}
