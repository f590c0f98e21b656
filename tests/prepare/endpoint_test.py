"""Captions asked of an endpoint: a server of the test's own, its moods, and what is kept."""

import base64
import json

import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.prepare.endpoint import Endpoint, ask_captions
from shotstream_jax.prepare.filters import FilmShot
from shotstream_jax.prepare.steps import PreparedClip
from tests.prepare.caption_server import GOOD, Server


@pytest.fixture
def server():
    found = Server()
    yield found
    found.stop()


def clips(out, *names):
    """Clips of two shots, each with a sheet of its own."""
    (out / "clips").mkdir(exist_ok=True)
    made = []
    for name in names:
        (out / "clips" / f"{name}.png").write_bytes(f"picture of {name}".encode())
        shots = [FilmShot(k, k + 1, float(k), k + 1.0, 16, "") for k in range(2)]
        made.append(PreparedClip(name, shots))
    return made


def test_what_is_asked_and_what_is_kept(server, tmp_path):
    one, two = clips(tmp_path, "one", "two")
    scripts = ask_captions(server.endpoint(key="secret"), tmp_path, [one, two])
    assert scripts["one"].global_caption == GOOD["global_caption"]
    assert scripts["two"].shots == tuple(GOOD["shots"])
    path, token, body = server.asked[0]
    assert (path, token) == ("/v1/chat/completions", "Bearer secret")
    text, picture = body["messages"][0]["content"]
    assert "exactly 2 texts" in text["text"]
    encoded = picture["image_url"]["url"].removeprefix("data:image/png;base64,")
    assert base64.b64decode(encoded) == b"picture of one"
    assert body["response_format"]["json_schema"]["schema"]["properties"]["shots"]["maxItems"] == 2
    # The same again costs nothing; another picture or another model is asked for anew.
    assert ask_captions(server.endpoint(), tmp_path, [one, two]) == scripts
    assert len(server.asked) == 2
    (tmp_path / "clips/two.png").write_bytes(b"other")
    ask_captions(server.endpoint(), tmp_path, [one, two])
    assert len(server.asked) == 3
    other = Endpoint(server.endpoint().url, "other-model", wait=0.0)
    ask_captions(other, tmp_path, [one])
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    "mood",
    [
        (429, {"Retry-After": "0"}, "slow down"),
        (503, {}, "starting"),
        (200, {}, "not JSON"),
        (200, {}, json.dumps({"choices": []})),
        "I see a fox.",
        json.dumps({**GOOD, "shots": ["only one"]}),
        json.dumps({**GOOD, "shots": ["one", 2]}),
        json.dumps([GOOD]),
    ],
)
def test_what_may_pass_is_asked_again(server, tmp_path, mood):
    server.moods = [mood]
    assert list(ask_captions(server.endpoint(), tmp_path, clips(tmp_path, "one"))) == ["one"]
    assert len(server.asked) == 2


def test_an_answer_in_a_fence_is_read(server, tmp_path):
    server.moods = [f"```json\n{json.dumps(GOOD)}\n```"]
    assert list(ask_captions(server.endpoint(), tmp_path, clips(tmp_path, "one"))) == ["one"]
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("moods", "requests"), [([(400, {}, "too large")], 2), (["no", "no", "no"], 4)]
)
def test_a_clip_without_an_answer_stops_no_other(server, tmp_path, moods, requests):
    server.moods = moods
    found = ask_captions(server.endpoint(), tmp_path, clips(tmp_path, "one", "two"))
    assert list(found) == ["two"] and len(server.asked) == requests
    assert not (tmp_path / "captions/one.json").exists()


def test_an_endpoint_that_refuses_or_is_not_there_is_one_line(server, tmp_path):
    server.moods = [(401, {}, "who?")]
    with pytest.raises(InputError, match=r"refuses \(401 .*OPENAI_API_KEY"):
        ask_captions(server.endpoint(), tmp_path, clips(tmp_path, "one", "two"))
    nobody = Endpoint("http://127.0.0.1:9/v1", "a-model", wait=0.0, tries=2)
    with pytest.raises(InputError, match="does not answer"):
        ask_captions(nobody, tmp_path, clips(tmp_path, "one"))


@pytest.mark.parametrize(
    ("url", "model", "message"),
    [("localhost:8000", "m", "must be like http"), ("http://x/v1", "", "needs --captions-model")],
)
def test_mistakes_are_one_line(url, model, message):
    with pytest.raises(InputError, match=message):
        Endpoint(url, model)


def test_the_key_is_in_no_message():
    assert "secret" not in repr(Endpoint("http://x/v1", "m", "secret"))
