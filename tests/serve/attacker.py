"""An attacker of a server: requests made from its OpenAPI, and random bytes at its socket.

Two stories of others have secrets in them. No answer to the attacker may have one, a path of the
server's files or a traceback in it; none may be a 5xx but the 503 that is declared, and each must
come in time.
"""

import base64
import collections
import http.client
import json
import random
import re
import threading
import types

import hypothesis
import hypothesis.strategies as st

from shotstream_jax.serve.settings import Limits
from tests.serve.wire import answers, connected, statuses

# What a server waits for is short, so that many requests are made in a minute.
LIMITS = Limits(requests=1e6, burst=10**6, stories=10**6, head=2.0, pause=5.0, hello=1.0, send=1.0)

SECRETS = ("xylophone-of-another", "quagmire-of-another")
_LEAK = re.compile(
    "|".join([*SECRETS, r"Traceback \(most", r'File "', r"/tmp/", r"site-packages"]).encode()
)
_NAME = re.compile("[a-z2-7]{26}")
_SLOWEST = 20.0  # seconds for an answer; a busy machine is no finding


class Attack:
    """An attack on a server at a port of this machine, and what it has found so far.

    counts: answers by their status. findings: what should not have been.
    """

    def __init__(self, port):
        self.port = port
        self.counts = collections.Counter()
        self.findings = []
        self.own = [self._told("mine"), self._told("mine too")]
        self.others = [self._told(secret) for secret in SECRETS]
        self._before = [self._read(story) for story in self.others]

    def call(self, method, path, body=None, token=None):
        """An ordinary request's answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, data

    def see(self, what, data, seen):
        """Notes an answer's bytes, and the statuses in it."""
        for status in seen:
            self.counts[status] += 1
            if status >= 500 and status != 503:
                self.findings.append(f"{what}: {status}")
        if leak := _LEAK.search(data):
            self.findings.append(f"{what}: the answer has {leak[0]!r}")

    def end(self):
        """Whether the server is well afterwards, and the others' stories as they were."""
        if [self._read(story) for story in self.others] != self._before:
            self.findings.append("a story of another has changed")
        if not self._told("afterwards").shot:
            self.findings.append("no shot is taken any more")

    def _told(self, caption):
        """A new story with one shot."""
        _, data = self.call("POST", "/api/stories", {"global_caption": caption, "title": caption})
        story = types.SimpleNamespace(**json.loads(data))
        shots = f"{self._url(story)}/shots"
        status, _ = self.call("POST", shots, {"caption": caption}, story.token)
        story.shot = status == 202
        return story

    def _read(self, story):
        """What is kept of a story, whatever is being made."""
        told = json.loads(self.call("GET", self._url(story), token=story.token)[1])
        return (told["title"], told["head"], [shot["caption"] for shot in told["shots"]])

    def _url(self, story):
        return f"/api/stories/{story.id}"


def call_as_openapi_says(attack, examples, seed, is_whole=True):
    """Schemathesis: examples, coverage, random and stateful requests, and all of its checks.

    examples: of each operation and phase. is_whole: with coverage, which is some hundred requests.
    Returns how many requests were sent.
    """
    import schemathesis
    from schemathesis.config import SchemathesisConfig
    from schemathesis.engine import events, from_schema

    schemathesis.serializer("application/zip", "image/*")(_as_bytes)
    config = SchemathesisConfig.from_dict(_rules(examples, seed, is_whole))
    url = f"http://127.0.0.1:{attack.port}/openapi.json"
    schema = schemathesis.openapi.from_url(url, config=config)
    chance = random.Random(seed)
    known = {story.id: story.token for story in attack.own}
    shots = collections.defaultdict(list)

    @schemathesis.hook
    def before_call(_, case, __):
        """Most names that could be are of a story that there is, and of its shots."""
        parameters = case.path_parameters or {}
        story = str(parameters.get("story"))
        if _NAME.fullmatch(story) and story not in known and chance.random() < 0.8:
            parameters["story"] = chance.choice(list(known)[-4:])
        there = shots[parameters.get("story")]
        if _NAME.fullmatch(str(parameters.get("shot"))) and there and chance.random() < 0.8:
            parameters["shot"] = chance.choice(there[-8:])

    @schemathesis.hook
    def after_call(_, case, response):
        """What was made is used later."""
        attack.see(f"{case.method} {case.path}", response.content, [response.status_code])
        if response.status_code == 201 and "token" in response.json():
            made = response.json()
            known[made["id"]] = made["token"]
        if response.status_code == 202:
            shots[case.path_parameters["story"]].append(response.json()["id"])

    @schema.auth()
    class OwnToken:
        """The token of the story that is asked about."""

        def get(self, case, _):
            return known.get((case.path_parameters or {}).get("story"), "none")

        def set(self, case, token, _):
            case.headers["Authorization"] = f"Bearer {token}"

    sent = 0
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            sent += len(event.recorder.interactions)
            for checks in event.recorder.checks.values():
                attack.findings += [
                    _told_failure(event, check) for check in checks if check.failure_info
                ]
        elif isinstance(event, events.NonFatalError | events.FatalError):
            attack.findings.append(f"schemathesis: {event}"[:500])
    schemathesis.hooks.unregister_all()
    return sent


def _rules(examples, seed, is_whole):
    """Schemathesis' settings: which of its checks hold for this server."""
    # OpenAPI cannot say what a model can make, what a picture is, and 64 bits to the last one.
    judged = [f"{code}" for code in ("2xx", 401, 403, 404, 409, 422, 429, 503)]
    # A story's name could stand in the place of "import".
    is_a_name = {"unsupported_method": {"enabled": False}}
    is_a_name["allow_header_conformance"] = {"enabled": False}
    return {
        "seed": seed,
        "continue-on-failure": True,
        "generation": {"max-examples": examples, "allow-x00": False},
        "checks": {
            "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "503"]},
            "positive_data_acceptance": {"expected-statuses": judged},
        },
        "phases": {"coverage": {"enabled": is_whole}},
        "operations": [{"include-path": "/api/stories/import", "checks": is_a_name}],
    }


def _as_bytes(_, value):
    """A file's random content."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


def _told_failure(event, check):
    failure = check.failure_info.failure
    said = f"{event.recorder.label}: {failure.title}: {failure.message}"[:400]
    return f"{said}; {check.failure_info.code_sample}"[:1500]


def send_random_bytes(attack, count, seed, at_once=4):
    """Random requests and frames at the socket, by hypothesis; returns how many were sent."""
    share = -(-count // (2 * at_once))
    threads = []
    for number in range(at_once):
        for attempt in (_random_requests, _random_frames):
            arguments = (attack, share, seed * 100 + number)
            threads.append(threading.Thread(target=attempt, args=arguments))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 2 * at_once * share


def _settings(count):
    return hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def _guarded(attack, what, send):
    """An attempt whose answer is noted; what does not come in time is a finding."""
    try:
        data = send()
    except TimeoutError:
        attack.findings.append(f"{what!r:.300}: no answer and no end in time")
        return
    attack.see(f"{what!r:.300}", data, statuses(data))


_NAMES = [b"Host", b"Authorization", b"Content-Length", b"Transfer-Encoding", b"Content-Type"]
_NAMES += [b"Origin", b"Idempotency-Key", b"Connection", b"Upgrade", b"Range", b"Expect", b"X"]
_VALUES = [b"chunked", b"application/json", b"0", b"2", b"-1", b"null", b"close", b"websocket"]
_VALUES += [b"bytes=0-1,2-", b"100-continue", b"Bearer x", b"keep-alive, Upgrade", b"x" * 300]
_BODIES = [b"{}", b'{"caption":"on"}', b"[]", b"PK\5\6" + bytes(18), b"0\r\n\r\n", b"2\r\n{}\r\n"]


def _random_requests(attack, count, seed):
    """Requests of which some are whole, and some have other bytes in them."""
    ids = [story.id for story in (*attack.own, *attack.others)]
    parts = ["api", "stories", *ids, "shots", "video", "archive", "live", "import", "pictures"]
    parts += ["static", "health", "metrics", "..", "%2e%2e", "%00", "prompts", "check", "model", ""]
    methods = [b"GET", b"POST", b"PATCH", b"DELETE", b"PUT", b"OPTIONS", b"HEAD", b"TRACE", b"\xff"]
    host = b"127.0.0.1:%d" % attack.port
    token = attack.own[0].token.encode()

    @hypothesis.seed(seed)
    @_settings(count)
    @hypothesis.given(
        st.sampled_from(methods),
        st.lists(st.sampled_from(parts), max_size=6),
        st.lists(st.tuples(st.sampled_from(_NAMES), st.sampled_from(_VALUES)), max_size=5),
        st.sampled_from(_BODIES) | st.binary(max_size=200),
        st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3),
    )
    def attempt(method, path, fields, body, changes):
        target = f"/{'/'.join(path)}".encode()
        lines = [method + b" " + target + b" HTTP/1.1", b"Host: " + host]
        lines.append(b"Authorization: Bearer " + token)
        lines += [name + b": " + value for name, value in fields]
        if not any(name in (b"Content-Length", b"Transfer-Encoding") for name, _ in fields):
            lines.append(b"Content-Length: %d" % len(body))
        data = bytearray(b"\r\n".join([*lines, b"Connection: close", b"", body]))
        for place, value in changes:
            if place < len(data):
                data[place] = value
        _guarded(attack, bytes(data), lambda: answers(attack.port, bytes(data), _SLOWEST))

    attempt()


def _random_frames(attack, count, seed):
    """Frames after an own or another's handshake: hellos with other values, and any bytes."""
    tokens = [story.token for story in attack.own] + [attack.own[0].share, "", "x" * 100]
    stories = [story.id for story in (*attack.own, *attack.others)] + ["a" * 26, "..", "%00"]
    values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
    fields = st.dictionaries(
        st.sampled_from(["hello", "token", "have", "shot", "chunks", "x"]), values, max_size=6
    )

    @hypothesis.seed(seed)
    @_settings(count)
    @hypothesis.given(
        st.sampled_from(stories),
        st.sampled_from(tokens),
        fields,
        st.binary(max_size=300),
        st.sampled_from(["hello", "fields", "bytes", "frames"]),
        st.integers(0, 255),
    )
    def attempt(story, token, told, noise, kind, first):
        hello = {"hello": 1, "token": token}
        message = {"hello": hello, "fields": {**hello, **told}}.get(kind, noise)
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        sent = data if kind == "bytes" else _frame(first if kind == "frames" else 0x81, data)
        what = (story, sent)
        _guarded(attack, what, lambda: _frames_answer(attack.port, story, sent + noise))

    attempt()


def _frame(first, data):
    """A client's frame, masked with zeros."""
    size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    return bytes([first]) + size + bytes(4) + data


def _frames_answer(port, story, sent):
    """What a socket is sent until it is closed by the server, or by us after its welcome."""
    key = base64.b64encode(bytes(16)).decode()
    head = f"GET /api/stories/{story}/live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    head += "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    connection = connected(port)
    connection.settimeout(_SLOWEST)
    try:
        connection.sendall(f"{head}Sec-WebSocket-Key: {key}\r\n\r\n".encode())
        data = connection.recv(2**16)
        connection.sendall(sent)
        while piece := connection.recv(2**16):
            data += piece
            if b'"welcome"' in data:
                break
        return data
    except ConnectionError:
        return b""
    finally:
        connection.close()
