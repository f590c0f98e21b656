"""The client of programs, against a service behind a real socket."""

import http.server
import itertools
import json
import pathlib
import re
import struct
import subprocess
import sys
import threading
import typing

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

from shotstream_jax import client
from shotstream_jax.client import RemoteChunk, Storyboard, patience
from shotstream_jax.core.errors import InputError
from shotstream_jax.media.decode import decoded
from shotstream_jax.media.pieces import chunk_file
from tests.serve.conftest import LIMITS, MODEL
from tests.serve.online import Line, Online

socket_server = pytest.importorskip("websockets.sync.server")
ROOT = pathlib.Path(__file__).parents[2]
CHUNK = MODEL.preset.memory.chunk
NOWHERE = "http://127.0.0.1:1"  # where nothing listens
CAPTIONS = ("the fox runs", "it sleeps", "it wakes")


@pytest.fixture(scope="module")
def line():
    line = Line()
    yield line
    line.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory, line):
    server = Online(tmp_path_factory.mktemp("stories"), hosts=(line.host,))
    yield server
    server.stop()


@pytest.fixture
def board(server):
    return Storyboard(server.url, patience=0)


@pytest.fixture
def story(board):
    return board.new_story("A fox.", seed=np.int64(3))


def frames_of(chunks):
    """All frames of some chunks."""
    return np.concatenate([chunk.frames() for chunk in chunks])


def film_of(story, tmp_path):
    """All frames of a story's film."""
    return decoded(story.save_film(tmp_path / "film.mp4").read_bytes())


def test_three_shots_come_in_order_and_are_the_film(board, story, tmp_path):
    shots = [story.ask(caption) for caption in CAPTIONS]
    assert [shot.parent for shot in shots] == [None, shots[0].id, shots[1].id]
    live = list(story.chunks(shots))
    video = board.model().video
    count = MODEL.preset.video.shot_frames // CHUNK
    order = [(chunk.shot, chunk.number) for chunk in live]
    assert order == [(shot.id, number) for shot in shots for number in range(count)]
    film = film_of(story, tmp_path)
    assert film.dtype == np.uint8
    assert film.shape[1:] == (video.height * video.scale, video.width * video.scale, 3)
    assert np.array_equal(frames_of(live), film)
    # Each says where it is in the film, and how long it is; read later it is the same chunk.
    lengths = [len(chunk.frames()) for chunk in live]
    assert [chunk.length for chunk in live] == lengths
    assert [chunk.first_frame for chunk in live] == [0, *itertools.accumulate(lengths[:-1])]
    assert list(story.chunks(shots)) == live
    # In another order than they were made.
    assert list(story.chunks(shots[::-1]))[-count:] == live[:count]


def test_a_viewer_follows_all_and_goes_on_from_a_number(story):
    first = story.ask(CAPTIONS[0], frames=CHUNK)
    story.wait(first)
    second = story.ask(CAPTIONS[1], frames=CHUNK)
    seen = []
    for item in story.follow(have=1):
        seen.append(item)
        if not isinstance(item, RemoteChunk) and item.fields.get("shot") == second.id:
            if item.kind == "done":
                break
    log = [item for item in seen if not isinstance(item, RemoteChunk) and item.seq is not None]
    assert [item.seq for item in log] == [2, 3, 4]
    assert [item.kind for item in log] == ["done", "asked", "done"]


def test_a_line_that_is_cut_again_and_again(server, line, story):
    line.target = server.port
    far = Storyboard(line.url).open(story.id, story.token)
    # The first answer is lost; the same request again makes no second shot.
    line.deaf = 1
    shots = [far.ask(caption) for caption in CAPTIONS]
    assert line.deaf == 0 and list(story.read().shots) == [shot.id for shot in shots]
    seen = []
    for chunk in far.chunks(shots):
        seen.append(chunk)
        if chunk.number < 2:
            line.cut()
    assert seen == list(story.chunks(shots))


def test_a_server_that_ends_in_mid_shot_and_is_started_again(line, tmp_path):
    first = Online(tmp_path, hosts=(line.host,))
    line.target = first.port
    story = Storyboard(line.url).new_story("A fox.", seed=3)
    shots = [story.ask(caption, frames=8 * CHUNK) for caption in CAPTIONS[:2]]
    chunks = story.chunks(shots)
    seen = [next(chunks), next(chunks)]
    first.stop()
    second = Online(tmp_path, hosts=(line.host,))
    line.target = second.port
    try:
        seen.extend(chunks)
        assert [chunk.number for chunk in seen] == [*range(8), *range(8)]
        # What was seen before is what is kept.
        assert seen == list(story.chunks(shots))
    finally:
        second.stop()


def test_takes_branches_and_going_back(story):
    first = story.ask(CAPTIONS[0], frames=CHUNK)
    second = story.ask(CAPTIONS[1], frames=CHUNK)
    take = story.another_take(second)
    assert (take.parent, take.take, take.frames) == (first.id, 1, CHUNK)
    assert story.go_to(first).head == first.id
    fork = story.ask(CAPTIONS[2], frames=CHUNK)
    other = story.ask(CAPTIONS[2], parent=None, frames=CHUNK, take=5)
    assert (fork.parent, other.parent, other.take) == (first.id, None, 5)
    assert story.wait(other).state == "done"
    assert [shot.id for shot in story.read().branch(fork.id)] == [first.id, fork.id]
    story.take_away(second)
    assert story.read().shots[second.id].hidden and not story.restore(second).hidden
    assert story.go_to(None).head is None
    assert story.name("A fox").title == "A fox"
    story.remove()
    with pytest.raises(client.NotThereError):
        story.read()


def test_told_otherwise_and_cut(story):
    shot = story.ask(CAPTIONS[0], frames=16 * CHUNK)
    queued = story.ask(CAPTIONS[1], frames=CHUNK)
    assert story.retell(queued, CAPTIONS[2]).caption == CAPTIONS[2]
    chunks = story.chunks([shot])
    next(chunks)
    told = story.retell(shot, "a red hen", again=True)
    assert told.cues[1].caption == "a red hen" and told.cues[1].again
    cut = story.cut(shot)
    assert cut.cut is not None and cut.cut < 16
    assert 1 + len(list(chunks)) == cut.cut == story.read().shots[shot.id].chunks


def test_a_shot_that_is_cancelled_ends_the_wait(story):
    shots = [story.ask(caption, frames=16 * CHUNK) for caption in CAPTIONS]
    chunks = story.chunks(shots[1:])
    story.take_away(shots[1])
    with pytest.raises(client.ShotEndedError) as caught:
        next(chunks)
    assert caught.value.code == "cancelled"
    for shot in (shots[0], shots[2]):
        story.take_away(shot)


def test_pins_pictures_and_files(board, story, tmp_path):
    first = story.ask(CAPTIONS[0], frames=CHUNK)
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    picture = story.keep_picture(tmp_path / "red.png", fit="pad")
    story.wait(first)
    pins = (client.PinnedFrame(first.id, 1), picture)
    second = story.ask(CAPTIONS[1], frames=CHUNK, pins=pins)
    assert second.pins == pins
    story.wait(second)
    path = story.save(tmp_path / "new" / "story.zip")
    copy = board.open_file(path)
    assert copy.id != story.id
    assert list(copy.chunks([first, second])) == list(story.chunks([first, second]))
    with pytest.raises(InputError, match="one of"):
        story.keep_picture(path)
    with pytest.raises(InputError, match="cannot read"):
        board.open_file(tmp_path / "nothing.zip")


def test_a_link_to_watch_shows_and_changes_nothing(story):
    shot = story.ask(CAPTIONS[0], frames=CHUNK)
    watched = client.open_link(story.share_link(), patience=0)
    assert watched.read().role == "viewer" and watched.read().share is None
    assert list(watched.chunks([shot])) == list(story.chunks([shot]))
    assert watched.share_link() == watched.link() == story.share_link()
    for command in (lambda: watched.ask("it sleeps"), lambda: watched.name("Mine"), watched.remove):
        with pytest.raises(client.NotAllowedError) as caught:
            command()
        assert caught.value.code == "read_only" and caught.value.status == 403
    assert client.open_link(story.link()).read().role == "owner"


def test_what_a_writer_should_know(board):
    model = board.model()
    assert (model.preset, model.chunk, model.styles) == ("test", CHUNK, {})
    assert board.new_story(memory="caption").read().memory == "caption" in model.memories
    assert model.limits["queue"] == LIMITS.queue
    assert board.check("a" * 30, "The fox.").cut > 0
    assert board.check("on", "The fox.") == client.PromptFacts([], "", 0)
    assert board.is_ready()


def removed_story(board):
    """A story that is not there any more."""
    story = board.new_story()
    story.remove()
    return story


REFUSED = {
    "no_story": (client.NotThereError, lambda board, story: removed_story(board).read()),
    "no_shot": (client.NotThereError, lambda board, story: story.cut("a" * 26)),
    "no_answer": (client.NoAnswerError, lambda board, story: Storyboard(NOWHERE, 0).model()),
    "empty": (client.ConflictError, lambda board, story: story.save_film("film.mp4")),
    "invalid": (client.WrongValueError, lambda board, story: story.ask("x" * 3000)),
    "queue_full": (
        client.TooMuchError,
        lambda board, story: [story.ask("on", frames=32 * CHUNK) for _ in range(40)],
    ),
    "wrong_token": (client.NotAllowedError, lambda board, story: board.open(story.id, "t").read()),
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_is_refused_is_an_error_of_its_kind(board, story, code, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    kind, command = REFUSED[code]
    with pytest.raises(kind) as caught:
        command(board, story)
    error = caught.value
    assert error.code == code and error.message and error.remedy
    assert error.message in str(error) and error.remedy in str(error)
    assert not list(tmp_path.iterdir())
    story.remove()


def test_a_server_that_is_stopping_and_one_of_another_name(server, board, monkeypatch):
    monkeypatch.setattr(server.service.studio, "is_stopping", True)
    with pytest.raises(client.UnavailableError) as caught:
        board.new_story()
    assert (caught.value.code, caught.value.retry_after) == ("stopping", 5)
    other = Storyboard(server.url.replace("127.0.0.1", "localhost"), patience=0)
    with pytest.raises(client.NotAllowedError) as caught:
        other.model()
    assert (caught.value.code, caught.value.status) == ("host", 421)


def test_a_socket_that_is_refused(board):
    for name in (board.new_story().id, "a" * 26):
        with pytest.raises(client.NotAllowedError):
            next(board.open(name, "t").follow())
    with pytest.raises(client.NotThereError):
        next(removed_story(board).follow())


def test_what_cannot_be_a_command_is_said_before_it_is_sent():
    board = Storyboard(NOWHERE)
    story = board.open("a" * 26, "t")
    for command in (
        lambda: Storyboard("127.0.0.1:8765"),
        lambda: client.open_link(f"{NOWHERE}/#abc"),
        lambda: board.new_story(seed=1.5),
        lambda: board.open("../model", "t"),
        lambda: story.cut("../../stories"),
        lambda: story.save_film("/dev/null/film.mp4"),
    ):
        with pytest.raises(InputError):
            command()


class Scripted(http.server.BaseHTTPRequestHandler):
    """Answers one after another: status, headers, content, of which all or some is sent."""

    answers: typing.ClassVar[list] = []
    asked: typing.ClassVar[list] = []

    def do_GET(self):
        """The next answer."""
        self.asked.append(dict(self.headers))
        status, headers, length, content = self.answers.pop(0)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET

    def log_message(self, *_):
        """Says nothing."""


class Clock:
    """A time that only passes while one sleeps."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        """Seconds."""
        return self.now

    def sleep(self, seconds):
        """Lets them pass."""
        self.now += seconds


@pytest.fixture
def scripted(monkeypatch):
    """A server that answers as it is told, on a clock of its own."""
    monkeypatch.setattr("shotstream_jax.client.patience.time", Clock())
    Scripted.answers, Scripted.asked = [], []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Storyboard(f"http://127.0.0.1:{server.server_port}", patience=60)
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_command_waits_as_it_is_told_and_has_one_key(scripted):
    busy = b'{"code": "busy", "message": "m", "remedy": "r"}'
    made = b'{"id": "abc", "token": "t", "share": "s"}'
    Scripted.answers = [
        (429, {"Retry-After": "7"}, len(busy), busy),
        (502, {}, 4, b"<h1>"),
        (201, {}, 100, made[:9]),
        (201, {}, len(made), made),
    ]
    assert scripted.new_story().id == "abc"
    assert len({headers["Idempotency-Key"] for headers in Scripted.asked}) == 1
    assert len(Scripted.asked) == 4 and 7 < patience.time.now < 9


def test_patience_has_an_end(scripted):
    Scripted.answers = [(503, {}, 0, b"")] * 30
    with pytest.raises(client.UnavailableError):
        scripted.model()
    assert 40 < patience.time.now <= 60 and 5 < len(Scripted.asked) < 20
    # What is said to take longer is not waited for at all.
    Scripted.answers = [(503, {"Retry-After": "61"}, 0, b"")]
    with pytest.raises(client.UnavailableError):
        scripted.model()


def test_a_token_does_not_follow_to_another_place(scripted):
    Scripted.answers = [(307, {"Location": "/api/elsewhere"}, 0, b"")]
    with pytest.raises(client.StoryboardError):
        scripted.open("abc", "t").read()
    assert len(Scripted.asked) == 1


def test_a_file_is_whole_or_not_there(scripted, tmp_path):
    story = scripted.open("abc", "t")
    Scripted.answers = [(200, {}, 10, b"01234"), (200, {}, 10, b"0123456789")]
    assert story.save(tmp_path / "story.zip").read_bytes() == b"0123456789"
    Scripted.answers = [(404, {}, 0, b"")]
    with pytest.raises(client.NotThereError):
        story.save(tmp_path / "other.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["story.zip"]


def test_who_follows_is_told_nothing_twice(monkeypatch):
    """A server that was started again makes a shot again, and tells its chunks from the first."""
    monkeypatch.setattr("shotstream_jax.client.patience.time", Clock())
    hellos = []

    def serve_once(socket):
        """Two chunks at first, then all three."""
        hellos.append(json.loads(socket.recv()))
        asked = {"event": "asked", "seq": 1, "shot": "a"}
        socket.send(json.dumps({"event": "welcome", "seq": 1}))
        socket.send(json.dumps({"event": "replay", "events": [asked]}))
        for number in range(1 + len(hellos)):
            facts = {"shot": "a", "chunk": number, "chunks": 3, "first_frame": number, "frames": 1}
            told = json.dumps(facts).encode()
            socket.send(struct.pack(">I", len(told)) + told + b"film")
        socket.close(1012)

    with socket_server.serve(serve_once, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host, port = server.socket.getsockname()
        told = list(
            itertools.islice(Storyboard(f"http://{host}:{port}").open("s", "t").follow(), 6)
        )
        server.shutdown()
    kinds = [item.number if isinstance(item, RemoteChunk) else item.kind for item in told]
    assert kinds == ["welcome", "asked", 0, 1, "welcome", 2]
    assert hellos[1] == {"hello": 1, "token": "t", "have": 1, "shot": "a", "chunks": 2}


def test_it_loads_neither_jax_nor_the_service(tmp_path):
    film = tmp_path / "film.mp4"
    film.write_bytes(chunk_file(np.zeros((2, 16, 16, 3), np.uint8), 16))
    program = f"""
import sys
import shotstream_jax.client
print(*sorted(sys.modules))
import numpy, pathlib
from shotstream_jax.client import RemoteChunk
chunk = RemoteChunk("a", 0, 1, 0, 2, pathlib.Path({str(film)!r}).read_bytes())
assert chunk.frames().shape == (2, 16, 16, 3)
print(*sorted(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    first, second = (set(line.split()) for line in done.stdout.decode().splitlines())
    heavy = {"jax", "flax", "fastapi", "pydantic", "shotstream_jax.serve", "beartype"}
    # The import itself does without numpy, films and sockets, too.
    assert not first & (heavy | {"numpy", "av", "websockets"})
    assert "av" in second and not second & heavy


def test_the_pages_example_and_the_program_run(server, tmp_path):
    page = (ROOT / "docs" / "serving.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    program = (ROOT / "examples" / "storyboard_client.py").read_text()
    for number, text in enumerate((example, program)):
        folder = tmp_path / str(number)
        folder.mkdir()
        changed = text.replace("http://127.0.0.1:8765", server.url)
        assert changed != text
        subprocess.run([sys.executable, "-c", changed], check=True, cwd=folder)
        (film,) = folder.glob("*.mp4")
        assert len(decoded(film.read_bytes()))
