"""What fails: a shot, the disk, the device; and turns that are fair whatever is asked for."""

import asyncio
import dataclasses
import errno
import itertools
import random
import subprocess
import sys
import threading

import pytest
from starlette.testclient import TestClient

from shotstream_jax.core.errors import InputError
from shotstream_jax.serve import device, filming, store
from shotstream_jax.serve.app import make_app
from shotstream_jax.serve.board import CANCELLED, DONE, QUEUED, Board, apply_event, without
from shotstream_jax.serve.live import LET_GO, Viewers
from shotstream_jax.serve.service import Service
from shotstream_jax.serve.settings import ServeSettings
from shotstream_jax.serve.store import StoryFolder
from shotstream_jax.serve.story_log import StoryLog
from shotstream_jax.serve.turns import Turns
from tests.serve.conftest import LIMITS, MODEL, new_story, opened, served

CHUNK = MODEL.preset.memory.chunk


def failing(function, errors):
    """The function, whose first calls raise these errors; None for a call without one."""
    left = list(errors)

    def called(*args, **named):
        error = left.pop(0) if left else None
        if error is not None:
            raise error
        return function(*args, **named)

    return called


@pytest.mark.parametrize(
    "error", [InputError("no such thing"), MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: x")]
)
@pytest.mark.parametrize("step", ["begin", "advance"])
def test_a_shot_that_cannot_be_made_is_the_only_one(client, story, monkeypatch, step, error):
    monkeypatch.setattr(device, step, failing(vars(device)[step], [error]))
    first = story.ask("the fox runs", frames=CHUNK)["id"]
    second = story.ask("it sleeps", frames=CHUNK)["id"]
    story.wait(second)
    shots = story.read().shots
    assert shots[first]["state"] == "failed" and shots[first]["reason"]
    assert (shots[second]["state"], shots[second]["parent"]) == ("done", None)
    # It may be asked for once more, and is the same take.
    again = story.ask("the fox runs", parent=None, frames=CHUNK)
    assert again["take"] == 0
    story.wait(again["id"])


@pytest.mark.parametrize("step", ["begin", "advance"])
def test_an_error_that_nobody_expects_ends_the_server(tmp_path, monkeypatch, step):
    deaths = []
    settings = ServeSettings(tmp_path, hosts=("testserver",), limits=LIMITS)
    service = Service(MODEL, MODEL.preset.video, settings, deaths.append)
    with TestClient(make_app(service)) as client:
        monkeypatch.setattr(device, step, failing(vars(device)[step], [ZeroDivisionError()]))
        new_story(client).ask("the fox runs")
        service._device._threads[0].join()
        assert client.get("/health/live").status_code == 503
        service._device._filming.stop()
    assert [type(death) for death in deaths] == [ZeroDivisionError]


def test_the_process_ends_with_it():
    code = """
from shotstream_jax.serve.logs import use_json_logs
from shotstream_jax.serve.server import end_process
use_json_logs()
try:
    raise ValueError("a prompt")
except ValueError as error:
    end_process(error)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 70
    assert '"error": "ValueError"' in ended.stderr and "a prompt" not in ended.stderr


def test_a_full_disk_changes_nothing_that_was_said(client, story, monkeypatch):
    shot = story.ask("the fox runs", frames=CHUNK)["id"]
    story.wait(shot)
    before = story.read()
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(StoryLog, "append", failing(StoryLog.append, [full]))
    assert story.ask("it sleeps", status=503)["code"] == "disk"
    assert story.read() == before
    story.wait(story.ask("it sleeps", frames=CHUNK)["id"])


@pytest.mark.parametrize("change", ["edit", "cancel"])
def test_what_is_said_while_a_shot_begins_counts(client, story, monkeypatch, change):
    shots = client.service.shots
    desk = client.service.studio.desk(story.id)
    plain = device.begin
    changes = [change]

    def begin(*args):
        live = plain(*args)
        shot = desk.board.queue()[0].id
        if changes and changes.pop() == "edit":
            shots.retell(desk, shot, "it sits", again=False)
        elif desk.board.shots[shot].caption == "the fox runs":
            shots.take_away(desk, shot)
        return live

    with desk.lock:  # both are there before the first begins
        monkeypatch.setattr(device, "begin", begin)
        first = shots.ask(desk, "the fox runs", frames=CHUNK).id
        second = shots.ask(desk, "it sleeps", frames=CHUNK).id
    story.wait(second)
    told = [record.caption for record in desk.memory(second).shots]
    assert told == (["it sits", "it sleeps"] if change == "edit" else ["it sleeps"])
    assert (desk.board.shots[first].state == DONE) == (change == "edit")


def test_an_edit_after_a_restart_takes_back_what_the_shot_was_told():
    asked = {"shot": "a", "parent": None, "caption": "on", "take": 0, "frames": None, "pins": []}
    told = {"event": "told", "shot": "a", "chunk": 1, "caption": "off", "again": False}
    edited = {"event": "edited", "shot": "a", "caption": "up", "take": 0}
    board, _ = numbered(Board(), [{"event": "asked", **asked}, told, edited])
    assert (board.shots["a"].caption, board.shots["a"].cues) == ("up", ())


# A chunk, the record, the line that says that a shot is done; what the shot is made of.
@pytest.mark.parametrize(
    "where, name, calls",
    [
        (StoryFolder, "write", 0),
        (StoryFolder, "write", 3),
        (StoryLog, "append", 1),
        (device, "pin_of", 0),
        (store, "read_record", 0),
    ],
)
def test_what_the_disk_refuses_for_a_while_is_made_by_itself_later(
    client, story, monkeypatch, where, name, calls
):
    pinned = story.ask("the fox sits", frames=CHUNK)["id"]
    story.wait(pinned)
    # As after a restart: what it follows is read.
    client.service.studio.desk(story.id)._memories.clear()
    full = OSError(errno.ENOSPC, "No space left on device")
    refused = failing(vars(where)[name], [None] * calls + [full, full])
    monkeypatch.setattr(where, name, refused)
    with story.watched() as sent:
        pins = [{"shot": pinned, "frame": 0}]
        shot = story.ask("the fox runs", frames=CHUNK * 2, pins=pins)["id"]
        assert [event["event"] for event in sent][-2:] == ["bye", "closed"]
    # It is tried again without anybody who asks for the story, as often as it takes.
    studio = client.service.studio
    for _ in range(2):
        client.service.broken_off.reopen()
        desk = studio.find(story.id)
        closed = threading.Event()
        desk.watch(closed.set)
        while not desk.is_closed and desk.board.shots[shot].state == QUEUED:
            assert closed.wait(60)
            closed.clear()
    assert len(story.films(shot, 2)) == 2
    assert story.read().shots[shot]["state"] == "done"


class Refused:
    """Pixels that the device has not got."""

    def __array__(self, *_, **__):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes")


def test_memory_that_lacks_after_the_chunk_was_started_is_the_shots_failure(
    client, story, monkeypatch
):
    whole = device.advance

    def advance(model, live):
        live, chunk = whole(model, live)
        is_refused = live.progress.caption == "the fox runs"
        return live, chunk._replace(pixels=Refused()) if is_refused else chunk

    monkeypatch.setattr(device, "advance", advance)
    first = story.ask("the fox runs", frames=CHUNK * 3)["id"]
    second = story.ask("it sleeps", frames=CHUNK)["id"]
    story.wait(second)
    shots = story.read().shots
    assert shots[first]["state"] == "failed" and "memory" in shots[first]["reason"]
    assert shots[second]["parent"] is None


def test_a_shot_s_second_chunk_waits_for_the_film_of_the_first(client, story, monkeypatch):
    """Both would be made by the same processors, and somebody waits for the first one."""
    order = []
    plain = {"advance": device.advance, "chunk_file": filming.chunk_file}

    def noting(name):
        """The function, whose calls are noted."""

        def called(*args):
            order.append(name)
            return plain[name](*args)

        return called

    monkeypatch.setattr(device, "_FIRST_FILM", 600)
    monkeypatch.setattr(device, "advance", noting("advance"))
    monkeypatch.setattr(filming, "chunk_file", noting("chunk_file"))
    story.wait(story.ask("the fox runs", frames=CHUNK * 3)["id"])
    assert order[:3] == ["advance", "chunk_file", "advance"] and len(order) == 6


@pytest.mark.parametrize(
    "where, name", [(device, "begin"), (device, "advance"), (filming, "chunk_file")]
)
def test_a_shot_that_kills_the_device_twice_has_failed(tmp_path, monkeypatch, where, name):
    """Else whoever watches over the server would start it again for ever."""
    plain = vars(where)[name]
    settings = ServeSettings(tmp_path, hosts=("testserver",), limits=LIMITS)
    asked = []
    for _ in range(2):
        monkeypatch.setattr(where, name, failing(plain, [RuntimeError("INTERNAL: x")]))
        died = threading.Event()
        service = Service(MODEL, MODEL.preset.video, settings, lambda _, died=died: died.set())
        with TestClient(make_app(service)) as client:
            if not asked:
                story = new_story(client)
                asked = [story.ask(text, frames=CHUNK)["id"] for text in ("it runs", "it sits")]
            assert died.wait(60)
            service._device._filming.stop()
    with served(tmp_path) as client:
        story = opened(client, story)
        story.wait(asked[1])
        shots = story.read().shots
    assert shots[asked[0]]["state"] == "failed" and "twice" in shots[asked[0]]["reason"]
    assert (shots[asked[1]]["state"], shots[asked[1]]["parent"]) == ("done", None)


class StoppedReader:
    """A socket whose client says hello, and then reads no film."""

    def __init__(self, token):
        self._messages = [{"type": "websocket.receive", "text": f'{{"hello":1,"token":"{token}"}}'}]
        self.welcomed = threading.Event()
        self.closed = None

    async def accept(self):
        pass

    async def receive(self):
        if not self._messages:
            await asyncio.Event().wait()
        return self._messages.pop()

    async def send_text(self, _):
        self.welcomed.set()

    async def send_bytes(self, _):
        await asyncio.Event().wait()

    async def close(self, code, _):
        self.closed = code


def test_a_viewer_that_reads_nothing_is_let_go_and_holds_nobody_up(tmp_path):
    with served(tmp_path, dataclasses.replace(LIMITS, send=0.01)) as client:
        story = new_story(client)
        reader = StoppedReader(story.token)
        watching = client.portal.start_task_soon(Viewers(client.service).welcome, reader, story.id)
        assert reader.welcomed.wait(60)
        shot = story.ask("the fox runs", frames=CHUNK * 2)["id"]
        watching.result()
        assert reader.closed == LET_GO
        story.wait(shot)
        assert client.service.studio.desk(story.id).viewers() == 0


def test_places_go_round_and_chunks_take_turns():
    turns = Turns(places=2)
    for story in "abc":
        turns.offer(story)
        turns.offer(story)
    assert turns.counts() == (0, 3) and turns.ahead("c") == 2
    assert [turns.next() for _ in range(5)] == ["a", "b", "a", "b", "a"]
    # A story that has more to be made waits behind those that came before.
    turns.leave("a")
    turns.offer("a")
    assert [turns.next() for _ in range(4)] == ["c", "b", "c", "b"]
    turns.leave("b")
    assert turns.next() == "a"
    turns.stop()
    assert turns.next() is None


def test_a_story_that_is_watched_goes_before_those_that_were_left():
    turns = Turns(places=1, is_watched=lambda story: story == "watched")
    for story in ("left 1", "left 2", "left 3", "watched", "left 4"):
        turns.offer(story)
    assert turns.ahead("watched") == 0 and turns.ahead("left 4") == 4
    order = []
    for _ in range(8):
        order.append(turns.next())
        turns.leave(order[-1])
        # It always has more to be made, and still the others come to their turn.
        turns.offer("watched")
    assert order == [*["watched"] * 3, "left 1", *["watched"] * 3, "left 2"]


def numbered(board, events):
    """A board after events, and their lines."""
    lines = []
    for event in events:
        line = {"seq": board.seq + 1, "at": 0.0, **event}
        board = apply_event(board, line)
        lines.append(line)
    return board, lines


@pytest.mark.parametrize("seed", range(20))
def test_any_order_of_commands_keeps_the_tree_sound(seed):
    """Parents come before their followers, nothing waits for what will not be made, and the log
    tells the board."""
    chance = random.Random(seed)
    names = (f"shot{n}" for n in itertools.count())
    board = Board()
    log = []
    for _ in range(120):
        there = [None, *(shot.id for shot in board.shots.values() if shot.is_there)]
        kind = chance.choice(["ask", "ask", "ask", "done", "cancel", "head"])
        queue = board.queue()
        events = []
        if kind == "ask":
            asked = {"shot": next(names), "parent": chance.choice(there), "caption": "on"}
            events = [{"event": "asked", **asked, "take": 0, "frames": None, "pins": []}]
        elif kind == "done" and queue:
            film = {"chunks": 1, "first_frame": 0, "length": 1}
            events = [{"event": "done", "shot": queue[0].id, **film}]
        elif kind == "cancel" and queue:
            shot = chance.choice(queue)
            events = [{"event": "cancelled", "shot": shot.id}, *without(board, shot)]
        elif kind == "head":
            events = [{"event": "head", "shot": chance.choice(there)}]
        board, lines = numbered(board, events)
        log += lines
        for shot in board.shots.values():
            parent = board.shots[shot.parent] if shot.parent else None
            if shot.state == QUEUED:
                assert parent is None or parent.is_there
                assert shot.number == (parent.number + 1 if parent else 0)
            if shot.state == DONE:
                assert parent is None or parent.state == DONE
        # The next shot of the queue can be made.
        if board.queue() and board.queue()[0].parent is not None:
            assert board.shots[board.queue()[0].parent].state == DONE
        assert board.head is None or board.shots[board.head].state != CANCELLED
    again = Board()
    for line in log:
        again = apply_event(again, line)
    assert again == board
