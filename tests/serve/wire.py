"""A real server at an address of this machine, and raw bytes to it."""

import contextlib
import socket
import threading
import types

from shotstream_jax.serve.app import make_app
from shotstream_jax.serve.server import make_server
from shotstream_jax.serve.service import Service
from shotstream_jax.serve.settings import ServeSettings
from tests.serve.conftest import MODEL

LONGEST = 10  # seconds that a test waits for what should happen at once
_MOST = 2**24  # bytes of an answer


@contextlib.contextmanager
def wired(folder, limits):
    """A running server: its port, and the connections that it has."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(128)
    port = listening.getsockname()[1]
    deaths = []
    settings = ServeSettings(folder, places=2, hosts=(f"127.0.0.1:{port}",), limits=limits)
    service = Service(MODEL, MODEL.preset.video, settings, deaths.append)
    server = make_server(make_app(service), service, "127.0.0.1", port, "here")
    # Signals are the main thread's.
    server.capture_signals = contextlib.nullcontext
    running = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    running.start()
    try:
        yield types.SimpleNamespace(port=port, connections=server.server_state.connections)
    finally:
        server.should_exit = True
        running.join()
    assert not deaths, deaths


def connected(port, room=None):
    """A connection. room: bytes that its receiving end holds."""
    connection = socket.socket()
    connection.settimeout(LONGEST)
    if room is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    connection.connect(("127.0.0.1", port))
    return connection


def rest_of(connection):
    """All that comes until the server ends the connection. Raises TimeoutError if it does not."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while (piece := connection.recv(2**16)) and len(data) < _MOST:
            data += piece
    return data


def answers(port, data, longest=LONGEST):
    """What the server answers to some bytes until it ends the connection.

    longest: seconds without a byte. Raises TimeoutError.
    """
    with contextlib.closing(connected(port)) as connection:
        connection.settimeout(longest)
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        return rest_of(connection)


def statuses(data):
    """The statuses of the answers in some bytes."""
    heads = data.split(b"HTTP/1.1 ")[1:]
    return [int(head[:3]) for head in heads]
