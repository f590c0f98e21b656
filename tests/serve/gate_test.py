"""A gate before two tellers, all in one process: requests find their story, and a death its way."""

import contextlib

import pytest
from starlette.testclient import TestClient

from shotstream_jax.serve.gate import TellerGoneError, can_be_repeated, make_gate, whose
from shotstream_jax.serve.service import Service
from shotstream_jax.serve.settings import Limits, ServeSettings
from shotstream_jax.serve.teller import Teller
from shotstream_jax.serve.unfinished import Unfinished
from tests.serve.conftest import LIMITS, MODEL, new_story, served

CHUNK = MODEL.preset.memory.chunk


class Tellers:
    """Two tellers; who of them is alive; after how many of its messages one dies."""

    def __init__(self, folder, limits):
        self.settings = ServeSettings(
            folder, 2, hosts=("testserver",), limits=limits, is_shared=True
        )
        self.services = [
            Service(MODEL, MODEL.preset.video, self.settings, pytest.fail) for _ in range(2)
        ]
        self.tellers = [Teller(service, wake=None) for service in self.services]
        self.alive = [0, 1]
        self.asked = []
        self.dies_after = None

    async def ask(self, story, scope, messages):
        """As a router does: always the same one of those that live."""
        number = self.alive[sum(story.encode()) % len(self.alive)] if self.alive else None
        self.asked.append((story, number))
        if number is None:
            raise TellerGoneError
        async for message in self.tellers[number].answer(scope, messages):
            if self.dies_after == 0 and number in self.alive:
                self.alive.remove(number)
                self.dies_after = None
            if number not in self.alive:
                raise TellerGoneError
            yield message
            if self.dies_after is not None:
                self.dies_after -= 1

    async def figures(self):
        return {f"teller {n}": teller.figures() for n, teller in enumerate(self.tellers)}


@contextlib.contextmanager
def gated(folder, limits=LIMITS):
    """A client of the gate; the tellers as `client.tellers`."""
    tellers = Tellers(folder, limits)
    for service in tellers.services:
        service.start()
        service.wait_until_warm()
    with TestClient(make_gate(tellers.settings, tellers.ask, tellers.figures)) as client:
        client.tellers = tellers
        yield client
    for service in tellers.services:
        service.stop()


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    with gated(tmp_path_factory.mktemp("gated")) as client:
        yield client


def test_a_story_is_told_through_the_gate(gate):
    story = new_story(gate)
    first = story.ask("the fox runs", frames=CHUNK * 2)["id"]
    seen = story.wait(first)
    assert [event["event"] for event in seen].count("chunk") == 2
    assert story.films(first, 2)[0] == next(e["film"] for e in seen if e["event"] == "chunk")
    assert story.call("GET", "/archive")[:2] == b"PK"
    assert gate.get("/").text.startswith("<!doctype html>")
    assert "default-src 'none'" in gate.get("/static/main.js").headers["content-security-policy"]
    assert gate.get("/health/ready").json() == {"status": "ready"}
    # All of the story's requests went to one teller.
    assert len({number for whom, number in gate.tellers.asked if whom == story.id}) == 1


def test_the_gate_refuses_as_a_server_does(gate):
    story = new_story(gate)
    assert gate.get("/api/model", headers={"host": "evil.example"}).status_code == 421
    assert story.call("GET", token="wrong", status=401)["code"] == "wrong_token"
    assert gate.get("/api/nothing").json()["code"] == "http_404"
    asked = len(gate.tellers.asked)
    large = b"x" * (LIMITS.body + 1)
    assert gate.post("/api/stories", content=large).status_code == 413
    assert len(gate.tellers.asked) == asked


@pytest.mark.parametrize("first", ["hello?", "x" * 20_000, '{"hello": 1, "token": ""}'])
def test_a_socket_without_a_right_hello_ends(gate, first):
    story = new_story(gate)
    with gate.websocket_connect(f"{story.url}/live") as socket:
        socket.send_text(first)
        message = socket.receive()
        assert (message["type"], message["code"] // 10) == ("websocket.close", 440)


def test_a_second_word_of_a_viewer_ends_its_socket(gate):
    story = new_story(gate)
    with gate.websocket_connect(f"{story.url}/live") as socket:
        socket.send_json({"hello": 1, "token": story.token})
        assert "welcome" in socket.receive_text()
        socket.send_text("more")
        assert socket.receive()["code"] == 4400
    studio = gate.tellers.services
    assert all(not desk.viewers() for s in studio for desk in s.studio._awake.values())


def test_figures_are_those_of_all_tellers(gate):
    lines = gate.get("/metrics").text.splitlines()
    places = [line for line in lines if line.startswith("shotstream_places_used{")]
    assert [line.split('"')[1] for line in places] == ["teller 0", "teller 1"]


def test_a_teller_that_dies_in_mid_shot_is_replaced_with_the_same_bits(tmp_path):
    with served(tmp_path / "alone") as client:
        undisturbed = new_story(client)
        shot = undisturbed.ask("the fox runs", frames=CHUNK * 6)["id"]
        undisturbed.wait(shot)
        expected = undisturbed.films(shot, 6)
    with gated(tmp_path / "gated") as client:
        story = new_story(client)
        with story.watched() as sent:
            assert next(sent)["event"] == "welcome"
            shot = story.ask("the fox runs", frames=CHUNK * 6)["id"]
            client.tellers.dies_after = 4
            seen = list(sent)
        assert (seen[-1]["event"], seen[-1]["code"]) == ("closed", 1012)
        story.wait(shot)
        assert len(client.tellers.alive) == 1
        assert story.films(shot, 6) == expected


def test_what_can_be_repeated_is(tmp_path):
    with gated(tmp_path) as client:
        story = new_story(client)
        client.tellers.dies_after = 0
        assert story.read().head is None
        client.tellers.alive = []
        answer = client.get("/api/model")
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")


@pytest.mark.parametrize(
    "method, path, key, expected",
    [
        ("GET", "/api/model", False, True),
        ("POST", f"/api/stories/{'a' * 26}/shots", False, False),
        ("POST", f"/api/stories/{'a' * 26}/shots", True, True),
        ("POST", f"/api/stories/{'a' * 26}/shots/{'b' * 26}/cut", False, True),
        ("POST", "/api/stories", False, False),
        ("POST", "/api/stories/import", False, False),
        ("DELETE", f"/api/stories/{'a' * 26}", False, True),
    ],
)
def test_what_makes_something_is_not_asked_twice_without_a_key(method, path, key, expected):
    headers = [(b"idempotency-key", b"k" * 16)] if key else []
    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    assert can_be_repeated(scope) is expected
    if "a" * 26 in path:
        assert whose(scope) == "a" * 26


def test_what_nobody_makes_is_found(tmp_path):
    with served(tmp_path, Limits(requests=1e6, burst=10**6), is_shared=True) as client:
        story = new_story(client)
        done = story.ask("the fox runs", frames=CHUNK)["id"]
        story.wait(done)
        unfinished = Unfinished(client.service.studio.store)
        assert unfinished.names() == []
        client.service._device.stop()
        shot = story.ask("it sleeps")["id"]
        assert unfinished.names() == unfinished.names() == [story.id]
        story.call("DELETE", f"/shots/{shot}")
        assert unfinished.names() == []
