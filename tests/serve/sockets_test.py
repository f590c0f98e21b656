"""Sockets: what is no hello, too many of them, and peers that take nothing."""

import asyncio
import json

import pytest

from shotstream_jax.serve.live import Viewers
from shotstream_jax.serve.settings import Limits
from tests.serve.conftest import messages, new_story, served

NOBODY = "a" * 26


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("", 4400),
        ("[]", 4400),
        ('{"hello": 2, "token": "x"}', 4400),
        ('{"hello": 1, "token": "x", "have": -1}', 4400),
        ('{"hello": 1, "token": "x", "more": 1}', 4400),
        ("{" * 5000, 4400),
        ('{"hello": 1, "token": ' + "[" * 5000, 4400),
        ('{"hello": 1, "token": "' + "x" * 101 + '"}', 4400),
        ('{"hello": 1, "token": "x", "have": 1e400}', 4400),
        ('{"hello": 1, "token": "x", "chunks": 9223372036854775808}', 4400),
        ('{"hello": 1, "token": "\\ud800"}', 4400),
        ('{"hello": 1, "token": "\u00e9\\u0000"}', 4401),
        ('{"hello": 1, "token": ""}', 4401),
        (b"\0\1", 4400),
        ('{"hello": 1, "token": "x"}', 4401),
    ],
)
def test_a_socket_that_does_not_say_hello_is_closed(client, story, sent, code):
    with client.websocket_connect(f"{story.url}/live") as socket:
        if isinstance(sent, bytes):
            socket.send_bytes(sent)
        else:
            socket.send_text(sent)
        assert [event["code"] for event in messages(socket)] == [code]


def test_sockets_of_no_story_and_too_many(client, story):
    with client.websocket_connect(f"/api/stories/{NOBODY}/live") as socket:
        socket.send_json({"hello": 1, "token": story.token})
        assert [event["code"] for event in messages(socket)] == [4401]
    removed = new_story(client)
    removed.call("DELETE")
    with removed.watched() as sent:
        assert [event["code"] for event in sent] == [4404]
    with story.watched() as sent:
        next(sent)
        for _ in range(7):
            client.service.studio.desk(story.id).watch(lambda: None)
        with story.watched() as late:
            assert [event["code"] for event in late] == [1013]


def test_a_client_that_goes_on_talking_is_closed(client, story):
    with client.websocket_connect(f"{story.url}/live") as socket:
        socket.send_json({"hello": 1, "token": story.token})
        socket.send_json({"hello": 1, "token": story.token})
        assert [event for event in messages(socket)][-1] == {
            "event": "closed",
            "code": 4400,
            "shot": None,
        }


class Deaf:
    """A socket whose peer takes nothing after its hello."""

    def __init__(self, token):
        self.hello = json.dumps({"hello": 1, "token": token})
        self.closed = None

    async def accept(self):
        pass

    async def receive(self):
        hello = self.hello
        self.hello = None
        if hello is None:
            await asyncio.Event().wait()
        return {"type": "websocket.receive", "text": hello}

    async def send_text(self, _):
        await asyncio.Event().wait()

    async def close(self, code, _):
        self.closed = code


def test_a_viewer_that_takes_nothing_is_let_go(tmp_path):
    with served(tmp_path, Limits(requests=1e6, burst=10**6, send=0.1)) as client:
        story = new_story(client)
        deaf = Deaf(story.token)
        asyncio.run(Viewers(client.service).welcome(deaf, story.id))
        assert deaf.closed == 1013
        assert client.service.studio.desk(story.id).viewers() == 0
