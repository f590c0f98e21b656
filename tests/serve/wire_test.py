"""A server against peers that do not keep to HTTP: slow, endless, ambiguous, too large."""

import contextlib
import itertools
import json
import os

import pytest

pytest.importorskip("uvicorn")

from shotstream_jax.serve import patience
from shotstream_jax.serve.settings import Limits
from tests.serve.wire import LONGEST, answers, connected, rest_of, statuses, wired

LIMITS = Limits(requests=1e6, burst=10**6, head=0.3, pause=0.3, slowest=10**6, hello=0.3, send=0.3)
END = b"Connection: close\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patience, "KEEP_ALIVE", 0)
        folder = tmp_path_factory.mktemp("stories")
        with wired(folder, LIMITS) as server:
            server.folder = folder
            yield server


@pytest.fixture(scope="module")
def port(server):
    return server.port


def head(port, line=b"GET /api/model", *fields):
    """A request's head without its end."""
    lines = [line + b" HTTP/1.1", b"Host: 127.0.0.1:%d" % port, *fields, b""]
    return b"\r\n".join(lines)


def story_of(port):
    """A new story's name and token."""
    fields = (b"Content-Type: application/json", b"Content-Length: 2")
    answer = answers(port, head(port, b"POST /api/stories", *fields) + END + b"{}")
    made = json.loads(answer.partition(b"\r\n\r\n")[2])
    return made["id"], made["token"]


def socket_head(port, story):
    """The head of a socket's request."""
    fields = (
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    )
    return head(port, f"GET /api/stories/{story}/live".encode(), *fields) + b"\r\n"


def frame(opcode, data=b"", is_last=True):
    """A WebSocket frame of a client, masked with zeros."""
    first = (0x80 if is_last else 0) | opcode
    size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    return bytes([first]) + size + bytes(4) + data


def is_well(port):
    """Whether the server answers an ordinary request."""
    return statuses(answers(port, head(port) + END)) == [200]


def drip(connection, pieces):
    """Sends one piece after the other until the server has ended the connection."""
    connection.settimeout(0.02)
    received = b""
    for piece in itertools.islice(pieces, int(LONGEST / 0.02)):
        try:
            connection.sendall(piece)
            answer = connection.recv(2**16)
        except TimeoutError:
            continue
        except ConnectionError:
            return received
        if not answer:
            return received
        received += answer
    raise AssertionError("the server waits for ever")


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nA: ", b"\x16\x03\x01"])
def test_a_head_that_does_not_come_is_not_waited_for(port, sent):
    with contextlib.closing(connected(port)) as connection:
        connection.sendall(sent)
        assert statuses(rest_of(connection)) in ([], [400])
    with contextlib.closing(connected(port)) as connection:
        connection.sendall(sent)
        assert statuses(drip(connection, itertools.repeat(b"x"))) in ([], [400])
    assert is_well(port)


def test_a_body_that_drips_is_not_waited_for(port):
    fields = (b"Content-Type: application/json", b"Content-Length: 60000")
    for line in (b"POST /api/stories", b"POST /api/stories/import"):
        with contextlib.closing(connected(port)) as connection:
            connection.sendall(head(port, line, *fields) + b"\r\n")
            assert statuses(drip(connection, itertools.repeat(b" "))) == [408]
    assert is_well(port)


def test_the_rest_of_a_refused_body_is_not_waited_for(port):
    story, _ = story_of(port)
    line = f"POST /api/stories/{story}/pictures".encode()
    with contextlib.closing(connected(port)) as connection:
        connection.sendall(head(port, line, b"Transfer-Encoding: chunked") + b"\r\n")
        assert statuses(drip(connection, itertools.repeat(b"1\r\nx\r\n"))) == [401]


def test_who_asks_and_does_not_read_is_let_go(server, port):
    story, token = story_of(port)
    large = server.folder / story / "pictures" / f"{'a' * 26}.png"
    large.parent.mkdir()
    large.write_bytes(bytes(2**24))  # more than the system keeps for a connection
    line = f"GET /api/stories/{story}/pictures/{'a' * 26}".encode()
    with contextlib.closing(connected(port, room=2048)) as connection:
        authorization = f"Authorization: Bearer {token}".encode()
        connection.sendall(head(port, line, authorization) + b"\r\n")
        assert connection.recv(12).endswith(b"200")
        ended = [server.connections for _ in range(2000) if server.connections and is_well(port)]
        assert ended and not server.connections


def test_a_socket_that_only_pings_and_does_not_read_is_let_go(port):
    story, token = story_of(port)
    with contextlib.closing(connected(port, room=2048)) as connection:
        connection.sendall(socket_head(port, story))
        assert statuses(connection.recv(2**16)) == [101]
        hello = frame(1, json.dumps({"hello": 1, "token": token}).encode())
        connection.sendall(hello)
        connection.settimeout(0.1)
        pings = frame(9, bytes(100)) * 1000
        left = pings
        with pytest.raises(ConnectionError):
            for _ in range(LONGEST * 1000):
                with contextlib.suppress(TimeoutError):
                    left = left[connection.send(left) :] or pings
    assert is_well(port)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"", 4400),
        (frame(2, b"\0\1"), 4400),
        (frame(1, b"x" * 16_000, is_last=False) + frame(0, b"x" * 1000), 1009),
        (frame(1, is_last=False) + frame(0, is_last=False) * 100, 1009),
        (frame(1, b"\xff\xfe"), 1007),
        (frame(3, b"x"), 1002),
        (b"\xf1\x80\0\0\0\0", 1002),
        (b"\x81\x05hello", 1002),
        (frame(8, b"\0"), 1002),
    ],
)
def test_frames_that_are_no_hello_end_the_socket(port, sent, code):
    story, _ = story_of(port)
    with contextlib.closing(connected(port)) as connection:
        connection.sendall(socket_head(port, story))
        assert statuses(connection.recv(2**16)) == [101]
        connection.sendall(sent)
        assert rest_of(connection)[2:4] == code.to_bytes(2, "big")


CHUNKED = b"Transfer-Encoding: chunked"
NEXT = b"GET /api/model HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ((b"Content-Length: 2", CHUNKED), b"0\r\n\r\n"),
        ((CHUNKED, b"Content-Length: 2"), b"{}"),
        ((b"Content-Length: 2", b"Content-Length: 3"), b"{}"),
        ((b"Content-Length: 2, 3",), b"{}"),
        ((b"Content-Length: +2",), b"{}"),
        ((b"Content-Length: -2",), b"{}"),
        ((b"Content-Length: 0x2",), b"{}"),
        ((b"Content-Length : 2",), b"{}"),
        ((b"Transfer-Encoding: xchunked",), b"{}"),
        ((b"Transfer-Encoding: chunked, identity",), b"0\r\n\r\n"),
        ((CHUNKED, CHUNKED), b"0\r\n\r\n"),
        ((b"Transfer-Encoding:\x0bchunked",), b"0\r\n\r\n"),
        ((CHUNKED,), b"zz\r\n{}\r\n0\r\n\r\n"),
        ((CHUNKED,), b"2;\n{}\r\n0\r\n\r\n"),
        ((b"Host: evil.example",), b""),
    ],
)
def test_a_request_with_two_ends_is_one_request(port, fields, body):
    """What stands behind it is not answered: a proxy may take it for part of another's request."""
    sent = head(port, b"POST /api/stories", b"Content-Type: application/json", *fields)
    data = answers(port, sent + b"\r\n" + body + NEXT % port)
    assert len(statuses(data)) == 1 and statuses(data)[0] in (400, 422, 501), data
    assert is_well(port)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /%s HTTP/1.1\r\n\r\n" % (b"a" * 2**20),
        b"GET / HTTP/1.1\r\nA: %s\r\n\r\n" % (b"a" * 2**20),
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: \0\r\n\r\n",
        b"GET / HTTP/1.1\r\nA\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT evil.example:80 HTTP/1.1\r\n\r\n",
        b"OPTIONS * HTTP/1.0\r\n\r\n",
        b"GET http://evil.example/api/model HTTP/1.0\r\nHost: evil.example\r\n\r\n",
        os.urandom(4096),
    ],
    ids=range(12),
)
def test_what_is_no_request_is_refused(port, sent):
    assert all(400 <= status < 500 for status in statuses(answers(port, sent)))
    assert is_well(port)


def test_no_more_sockets_than_a_story_takes(port):
    story, token = story_of(port)
    hello = frame(1, json.dumps({"hello": 1, "token": token}).encode())
    with contextlib.ExitStack() as stack:
        seen = []
        for _ in range(12):
            connection = stack.enter_context(contextlib.closing(connected(port)))
            connection.sendall(socket_head(port, story))
            assert statuses(connection.recv(2**16)) == [101]
            seen.append(connection)
        for connection in seen:
            connection.sendall(hello)
        ends = 0
        for connection in seen:
            data = connection.recv(2**16)
            while b"welcome" not in data and b"viewers" not in data:
                data += connection.recv(2**16)
            ends += b"viewers" in data
        assert ends == 12 - LIMITS.viewers
