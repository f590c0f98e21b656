"""Who may do what: tokens, names, origins, limits; what answers and logs never say."""

import json
import logging
import re
import types

import pytest
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from shotstream_jax.core.errors import InputError
from shotstream_jax.serve import awake
from shotstream_jax.serve.__main__ import parser
from shotstream_jax.serve.guard import Buckets
from shotstream_jax.serve.options import settings_of
from shotstream_jax.serve.settings import Limits
from tests.serve.conftest import MODEL, new_story, served

CHUNK = MODEL.preset.memory.chunk
NOBODY = "a" * 26
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def owned(client):
    """A story with one shot."""
    story = new_story(client)
    shot = story.ask("the fox runs", frames=CHUNK)["id"]
    story.wait(shot)
    return story, shot


def commands(story, shot):
    """Every command of a story: (method, path, body)."""
    shots = f"{story.url}/shots"
    return [
        ("GET", story.url, None),
        ("GET", f"{shots}/{shot}/chunks/0", None),
        ("GET", f"{shots}/{shot}/poster", None),
        ("GET", f"{story.url}/video", None),
        ("GET", f"{story.url}/archive", None),
        ("POST", shots, {"caption": "on"}),
        ("PATCH", story.url, {"title": "mine"}),
        ("PATCH", f"{shots}/{shot}", {"caption": "on"}),
        ("POST", f"{shots}/{shot}/cut", None),
        ("POST", f"{shots}/{shot}/restore", None),
        ("DELETE", f"{shots}/{shot}", None),
        ("POST", f"{story.url}/pictures", {"no": "picture"}),
        ("DELETE", story.url, None),
    ]


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "no_token"),
        ("Basic abc", "no_token"),
        ("Bearer ", "no_token"),
        ("Bearer x", "wrong_token"),
        ("Bearer \xe9\xff", "wrong_token"),
        ("Bearer " + "x" * 20_000, "wrong_token"),
        ("other", "wrong_token"),
        ("upper", "wrong_token"),
    ],
)
def test_without_its_token_nothing_of_a_story_is_seen_or_changed(client, owned, header, code):
    story, shot = owned
    if header == "other":
        header = f"Bearer {new_story(client).token}"
    if header == "upper":
        header = f"Bearer {story.token.upper()}"
    before = story.read()
    for method, path, body in commands(story, shot):
        headers = {"Authorization": header.encode("latin-1")} if header else {}
        answer = client.request(method, path, json=body, headers=headers)
        assert answer.status_code == 401, (method, path, answer.text)
        assert answer.json()["code"] == code
        assert answer.headers["www-authenticate"] == "Bearer"
    # Nor by a token in the address.
    answer = client.get(f"{story.url}?token={story.token}&access_token={story.token}")
    assert answer.status_code == 401
    assert story.read() == before


def test_who_was_shown_a_story_sees_all_and_changes_nothing(owned):
    story, shot = owned
    before = story.read()
    for method, path, body in commands(story, shot):
        headers = {"Authorization": f"Bearer {story.share}"}
        answer = story.client.request(method, path, json=body, headers=headers)
        expected = 200 if method == "GET" else 403
        assert answer.status_code == expected, (method, path, answer.text)
        assert story.token not in answer.text
    shown = story.call("GET", token=story.share)
    assert shown["role"] == "viewer" and shown["share"] is None
    assert story.read() == before


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "testserver:81",
        "",
        "testserver.evil.example",
        "testserver.",
        "testserver@evil.example",
        "[::1]",
        "127.0.0.1",
        "testserver, evil.example",
    ],
)
def test_another_name_of_the_server_is_refused(client, host):
    answer = client.get("/api/model", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (421, "host")


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://testserver:81",
        "http://testserver.evil.example",
        "http://[::1]",
        "file://",
        "",
    ],
)
def test_pages_of_others_are_refused(client, owned, origin):
    story, _ = owned
    answer = client.post("/api/stories", json={}, headers={"Origin": origin})
    assert (answer.status_code, answer.json()["code"]) == (403, "origin")
    opened = client.websocket_connect(f"{story.url}/live", headers={"Origin": origin})
    with pytest.raises((WebSocketDisconnect, WebSocketDenialResponse)), opened:
        pass
    own = client.post("/api/stories", json={}, headers={"Origin": "http://testserver"})
    assert own.status_code == 201


@pytest.mark.parametrize(
    "path", ["/", "/api/model", "/nothing", "/static/main.js", "/openapi.json"]
)
def test_every_answer_is_strict_with_browsers(client, path):
    answer = client.get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert (
        "access-control-allow-origin" not in answer.headers and "set-cookie" not in answer.headers
    )


def test_the_page_asks_for_nothing_from_elsewhere(client):
    page = client.get("/").text
    for name in ("main", "api", "events", "live", "player"):
        script = client.get(f"/static/{name}.js")
        assert script.headers["content-type"].startswith("text/javascript")
        page += script.text
    assert not re.search(r"[\"'`(=]\s*(https?:|wss?:)?//\w", page)


@pytest.mark.parametrize(
    "path",
    [
        "/static/../secret",
        "/static/..%2f..%2fsettings.py",
        "/static/%2e%2e/settings.py",
        "/api/stories/..%2f..%2fsecret",
        "/api/stories/secret",
        f"/api/stories/{NOBODY}/shots/..%2f..%2fsecret/chunks/0",
        f"/api/stories/{NOBODY}/shots/{NOBODY}/chunks/-1",
        f"/api/stories/{NOBODY}/pictures/..%2fsecret",
        "/static/%00",
        "/static//etc/passwd",
        "/static/..%5c..%5csettings.py",
        "/static/" + "a" * 5000,
        "/static/index.html/x",
        "/static",
        "/api/stories/%00",
        f"/api/stories/{NOBODY}%00/video",
        f"/api/stories/{NOBODY}/shots/{NOBODY}/chunks/00000000000000000000001e3",
    ],
)
def test_no_path_leads_out_of_the_stories(client, path):
    answer = client.get(path, headers={"Authorization": "Bearer x"})
    assert answer.status_code in (401, 404, 422), answer.text


@pytest.mark.parametrize(
    "body",
    [
        {"caption": ""},
        {"caption": "  "},
        {"caption": "x" * 2001},
        {"caption": "\0"},
        {"caption": "\ud800"},
        {"caption": 7},
        {"caption": "on", "take": -1},
        {"caption": "on", "take": True},
        {"caption": "on", "take": 2**31},
        {"caption": "on", "take": float("nan")},
        {"caption": "on", "frames": 0},
        {"caption": "on", "frames": -1},
        {"caption": "on", "frames": 10**9},
        {"caption": "on", "frames": 1e400},
        {"caption": "x" * 60_000},
        {"\ud800": "on"},
        {"caption": "on", "frames": CHUNK + 1},
        {"caption": "on", "frames": CHUNK * 33},
        {"caption": "on", "parent": "x"},
        {"caption": "on", "pins": [{"shot": NOBODY}]},
        {"caption": "on", "pins": [{}] * 9},
        {"caption": "on", "x": 1},
    ],
)
def test_a_wrong_shot_is_refused_with_its_remedy(owned, body):
    story, _ = owned
    before = story.read()
    headers = {"Authorization": f"Bearer {story.token}", "Content-Type": "application/json"}
    sent = json.dumps(body)
    answer = story.client.post(f"{story.url}/shots", content=sent, headers=headers)
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert problem["code"] == "invalid" and problem["message"] and problem["remedy"]
    assert story.read() == before


@pytest.mark.parametrize(
    "seed", ["18446744073709551616", "-9223372036854775809", "NaN", "1e400", '"1"', "true", "1.5"]
)
def test_a_seed_out_of_range_is_refused(client, seed):
    sent = f'{{"seed": {seed}}}'
    answer = client.post("/api/stories", content=sent, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


@pytest.mark.parametrize(
    "sent", [b"", b"{", b"\xff\xfe", b"[" * 60_000, b'{"seed": 1' + b"0" * 5000 + b"}", b"\0"]
)
@pytest.mark.parametrize("path", ["/api/stories", "/api/prompts/check"])
def test_what_is_no_json_is_refused(client, path, sent):
    answer = client.post(path, content=sent, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


def test_a_prompt_that_is_no_text_is_refused_when_it_is_checked(client):
    for body in ({"caption": "on", "global_caption": "\0"}, {"caption": "\0"}):
        answer = client.post("/api/prompts/check", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


def test_methods_that_a_path_does_not_take_are_refused(client, owned):
    story, shot = owned
    paths = {
        story.url: "DELETE, GET, PATCH",
        f"{story.url}/shots/{shot}": "DELETE, PATCH",
        "/api/model": "GET",
        "/static/main.js": "GET, HEAD",
    }
    for path, allowed in paths.items():
        for method in ("PUT", "TRACE", "OPTIONS", "PROPFIND"):
            answer = client.request(method, path)
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_files_are_sent_whole(client, owned):
    """No part, and no list of a thousand parts, can be asked for."""
    story, shot = owned
    for path in (f"{story.url}/shots/{shot}/chunks/0", f"{story.url}/video", "/static/main.js"):
        headers = {"Authorization": f"Bearer {story.token}"}
        whole = client.get(path, headers=headers)
        for wish in ("bytes=0-3", "bytes=999999-", "bytes=a-b", "bytes=" + "0-0," * 1000):
            answer = client.get(path, headers={**headers, "Range": wish})
            assert (answer.status_code, len(answer.content)) == (200, len(whole.content))


@pytest.mark.parametrize("more", [{"frames": 2 * CHUNK}, {"pins": [{"picture": NOBODY}]}])
def test_a_key_with_another_request_is_refused(owned, more):
    story, _ = owned
    key = f"attack-{'frames' if 'frames' in more else 'pins'}-0123456789"
    made = story.ask("once", frames=CHUNK, key=key)
    assert story.ask("once", frames=CHUNK, key=key)["id"] == made["id"]
    body = {"frames": CHUNK, **more}
    assert story.ask("once", key=key, status=409, **body)["code"] == "key_used"
    # In another story it is another key.
    other = new_story(story.client).ask("once", frames=CHUNK, key=key)
    assert other["id"] != made["id"]


def test_whoever_makes_stories_keeps_nobody_out(tmp_path, monkeypatch):
    monkeypatch.setattr(awake, "_IN_USE", -1.0)
    with served(tmp_path, Limits(requests=1e6, burst=10**6, stories=3)) as client:
        first = new_story(client, title="First")
        for _ in range(9):
            new_story(client)
        assert client.service.studio.awake() == 3
        assert first.call("GET")["title"] == "First"
        # What is to be made stays.
        for _ in range(3):
            new_story(client).ask("long", frames=CHUNK * 32)
        full = client.post("/api/stories", json={})
        assert (full.status_code, full.json()["code"]) == (503, "full")
        assert int(full.headers["retry-after"]) > 0


def test_limits_of_a_story(tmp_path):
    limits = Limits(requests=1e6, burst=10**6, queue=2, shots=3, events=12)
    with served(tmp_path, limits) as client:
        story = new_story(client)
        shots = [story.ask(text, frames=CHUNK * 32) for text in ("one", "two")]
        full = story.ask("three", status=429)
        assert full["code"] == "queue_full"
        for shot in shots:
            story.call("DELETE", f"/shots/{shot['id']}")
        story.call("PATCH", title="a")
        story.call("PATCH", title="b")
        for title in "cdefgh":
            answer = client.patch(
                story.url,
                json={"title": title},
                headers={"Authorization": f"Bearer {story.token}"},
            )
        assert answer.json()["code"] == "story_full"


def test_who_comes_too_often_waits(tmp_path):
    with served(tmp_path, Limits(requests=0.01, burst=3)) as client:
        answers = [client.get("/api/model") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert int(answers[-1].headers["retry-after"]) > 1
        assert client.get("/health/live").status_code == 200


def test_buckets_fill_with_time_and_forget_the_oldest():
    buckets = Buckets(rate=2.0, burst=2)
    assert [buckets.take("a", 0.0) for _ in range(3)] == [0, 0, 1]
    assert buckets.take("b", 0.0) == 0
    assert buckets.take("a", 0.5) == 0 and buckets.take("a", 0.5) == 1
    for number in range(20_000):
        buckets.take(str(number), 1.0)
    assert len(buckets._left) <= 10_000


def test_logs_have_neither_prompts_nor_tokens(client, caplog):
    caplog.set_level(logging.INFO, "shotstream.serve")
    story = new_story(client, global_caption="A zebra.", title="Zebras")
    shot = story.ask("the zebra runs", frames=CHUNK)["id"]
    story.wait(shot)
    story.ask("zebra " * 400, status=422)
    lines = [vars(record) for record in caplog.records if record.name == "shotstream.serve"]
    said = str([(line["msg"], line.get("facts")) for line in lines])
    assert "/stories/{story}/shots" in said
    for secret in ("zebra", "Zebra", story.token, story.share, story.id, shot):
        assert secret not in said


def test_health_and_figures(client, owned):
    assert client.get("/health/live").json() == {"status": "live"}
    assert client.get("/health/ready").json() == {"status": "ready"}
    figures = client.get("/metrics").text
    assert 'shotstream_shots_total{end="done"}' in figures
    assert "shotstream_first_frames_seconds_bucket" in figures
    notes = client.post("/api/prompts/check", json={"caption": "The fox.", "global_caption": "A"})
    assert notes.json() == {"unknown": [], "swallowed": "", "cut": 0}


@pytest.mark.parametrize(
    ("words", "hosts", "origins"),
    [
        ([], "localhost:8765", ()),
        (["--host", "::1", "--port", "80"], "[::1]:80", ()),
        (["--public-url", "https://s.example.org/"], "s.example.org", ("https://s.example.org",)),
    ],
)
def test_names_that_a_server_goes_by(words, hosts, origins):
    settings = settings_of(types.SimpleNamespace(**vars(parser().parse(words)[0])))
    assert hosts in settings.hosts and settings.origins == origins


@pytest.mark.parametrize(
    "words",
    [
        ["--host", "0.0.0.0"],
        ["--host", "::"],
        ["--port", "0"],
        ["--places", "0"],
        ["--public-url", "s.example.org"],
    ],
)
def test_a_server_that_nobody_could_use_or_everybody_is_not_started(words):
    with pytest.raises(InputError):
        settings_of(parser().parse(words)[0])
