"""A service with a model of random weights, and a client of its application without a network."""

import contextlib
import json
import signal
import struct
import types

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")

from starlette.testclient import TestClient

from shotstream_jax.serve.app import make_app
from shotstream_jax.serve.service import Service
from shotstream_jax.serve.settings import Limits, ServeSettings
from shotstream_jax.testing import tiny_model

MODEL = tiny_model()
LIMITS = Limits(requests=1e6, burst=10**6)


_LONGEST = 600  # seconds


@pytest.fixture(autouse=True)
def in_time():
    """A test that waits for what never comes fails."""

    def give_up(*_):
        raise TimeoutError(f"the test has not ended in {_LONGEST} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(_LONGEST)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


class Story:
    """A story over HTTP, as its owner has it."""

    def __init__(self, client, made):
        self.client = client
        self.id = made["id"]
        self.token = made["token"]
        self.share = made["share"]
        self.url = f"/api/stories/{self.id}"

    def call(self, method, path="", status=None, token=None, key=None, **body):
        """A command's answer, whose status is checked."""
        headers = {"Authorization": f"Bearer {token or self.token}"}
        if key:
            headers["Idempotency-Key"] = key
        answer = self.client.request(method, self.url + path, json=body or None, headers=headers)
        expected = status or {"POST": 202, "DELETE": 204}.get(method, 200)
        assert answer.status_code == expected, answer.text
        is_json = answer.headers.get("content-type") == "application/json"
        return answer.json() if is_json and answer.content else answer.content

    def ask(self, caption, **more):
        """Asks for a shot."""
        return self.call("POST", "/shots", caption=caption, **more)

    def read(self):
        """The story, its shots by their names."""
        story = self.call("GET")
        story["shots"] = {shot["id"]: shot for shot in story["shots"]}
        return types.SimpleNamespace(**story)

    def films(self, shot, chunks):
        """The files of a shot's chunks."""
        return [self.call("GET", f"/shots/{shot}/chunks/{n}") for n in range(chunks)]

    @contextlib.contextmanager
    def watched(self, **hello):
        """What a viewer is sent, one after another."""
        with self.client.websocket_connect(f"{self.url}/live") as socket:
            socket.send_json({"hello": 1, "token": self.token, **hello})
            yield messages(socket)

    def wait(self, shot, event="done", have=0):
        """Waits for an event of a shot; returns what a viewer was sent until then."""
        seen = []
        with self.watched(have=have) as sent:
            for message in sent:
                seen.append(message)
                if message["event"] == event and message["shot"] == shot:
                    return seen


def messages(socket):
    """A socket's events, those of a replay singly; a chunk is an event with its film."""
    while True:
        message = socket.receive()
        if message["type"] == "websocket.close":
            yield {"event": "closed", "code": message["code"], "shot": None}
            return
        if message.get("text") is not None:
            event = json.loads(message["text"])
            for single in event.get("events", [event]):
                yield {"shot": None, **single}
            continue
        data = message["bytes"]
        (length,) = struct.unpack(">I", data[:4])
        facts = json.loads(data[4 : 4 + length])
        yield {"event": "chunk", **facts, "film": data[4 + length :]}


@contextlib.contextmanager
def served(folder, limits=LIMITS, places=2, model=MODEL, **settings):
    """A running service's client; the service as `client.service`."""
    deaths = []
    settings = ServeSettings(folder, places, ("testserver",), limits=limits, **settings)
    service = Service(model, MODEL.preset.video, settings, deaths.append)
    with TestClient(make_app(service)) as client:
        client.service = service
        yield client
    assert not deaths, deaths


def new_story(client, **fields):
    """A new story."""
    answer = client.post("/api/stories", json={"global_caption": "A fox.", "seed": 3, **fields})
    assert answer.status_code == 201, answer.text
    return Story(client, answer.json())


def opened(client, story):
    """The same story at another server."""
    made = {"id": story.id, "token": story.token, "share": story.share}
    return Story(client, made)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with served(tmp_path_factory.mktemp("stories")) as client:
        yield client


@pytest.fixture
def story(client):
    return new_story(client)


# For tests of the page; what they need is imported for them only.


@pytest.fixture(scope="module")
def browser():
    from tests.serve.pages import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture
def pace():
    from tests.serve.pages import paced

    with paced() as pace:
        yield pace
