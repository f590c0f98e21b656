"""A server that was started again: what was not done is made, bit for bit."""

import json
import threading

import pytest
from starlette.testclient import TestClient

from shotstream_jax.generate.live import advance, begin
from shotstream_jax.serve import device
from shotstream_jax.serve.app import make_app
from shotstream_jax.serve.service import Service
from shotstream_jax.serve.settings import ServeSettings
from tests.serve.conftest import LIMITS, MODEL, new_story, opened, served

CHUNK = MODEL.preset.memory.chunk


def test_a_stopped_server_goes_on_where_it_was(tmp_path):
    with served(tmp_path / "one") as client:
        undisturbed = new_story(client)
        shots = [undisturbed.ask(text, frames=CHUNK * 4) for text in ("the fox runs", "it wakes")]
        undisturbed.wait(shots[1]["id"])
        expected = [undisturbed.films(shot["id"], 4) for shot in shots]
    with served(tmp_path / "two") as client:
        story = new_story(client)
        with story.watched() as sent:
            shots = [story.ask(text, frames=CHUNK * 4) for text in ("the fox runs", "it wakes")]
            # It ends in mid-shot.
            for event in sent:
                if event["event"] == "chunk":
                    break
    log = (tmp_path / "two" / story.id / "log.jsonl").read_text()
    assert log.count('"asked"') == 2 and '"it wakes"' in log
    with served(tmp_path / "two") as client:
        story = opened(client, story)
        story.wait(shots[1]["id"])
        assert [story.films(shot["id"], 4) for shot in shots] == expected


@pytest.mark.parametrize("is_edited", [False, True])
def test_what_was_seen_of_a_shot_is_not_computed_again(tmp_path, monkeypatch, is_edited):
    """Unless it is to show something else by now."""
    captions = ["the fox runs", "the fox wakes"]
    caption = captions[is_edited]
    with served(tmp_path / "one") as client:
        undisturbed = new_story(client)
        shot = undisturbed.ask(caption, frames=CHUNK * 5)["id"]
        undisturbed.wait(shot)
        expected = undisturbed.films(shot, 5)
    # The device dies of the fourth chunk.
    folder = tmp_path / "two"
    made = []

    def dying(*args):
        if len(made) == 3:
            raise RuntimeError("INTERNAL: x")
        made.append(1)
        return advance(*args)

    monkeypatch.setattr(device, "advance", dying)
    died = threading.Event()
    settings = ServeSettings(folder, hosts=("testserver",), limits=LIMITS)
    service = Service(MODEL, MODEL.preset.video, settings, lambda _: died.set())
    with TestClient(make_app(service)) as client:
        story = new_story(client)
        shot = story.ask(captions[0], frames=CHUNK * 5)["id"]
        assert died.wait(60)
        service._device._filming.stop()
    assert len(list((folder / story.id / "shots" / shot).glob("*.npy"))) == 3
    made.clear()
    monkeypatch.setattr(device, "advance", lambda *args: made.append(1) or advance(*args))
    # Edited before anything of it is made.
    if is_edited:
        log = folder / story.id / "log.jsonl"
        with log.open("a") as lines:
            event = {"seq": 3, "at": 0, "event": "edited", "shot": shot, "take": 0}
            lines.write(json.dumps({**event, "caption": caption}) + "\n")
    watched = threading.Event()
    monkeypatch.setattr(device, "begin", lambda *args: watched.wait(60) and begin(*args))
    with served(folder) as client:
        story = opened(client, story)
        # Its viewer has two chunks, of what it showed then.
        with story.watched(have=0, shot=shot, chunks=2) as sent:
            shown = []
            for message in sent:
                watched.set()
                if message["event"] == "chunk":
                    shown.append(message["chunk"])
                if message["event"] == "done":
                    break
        assert shown == list(range(0 if is_edited else 2, 5))
        assert story.films(shot, 5) == expected
    assert len(made) == (5 if is_edited else 2)
    assert not list(folder.glob("**/*.npy"))


def test_a_line_that_a_crash_cut_off_was_never_said(tmp_path):
    with served(tmp_path) as client:
        story = new_story(client)
        shot = story.ask("the fox runs", frames=CHUNK)
        story.wait(shot["id"])
    log = tmp_path / story.id / "log.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole + b'{"seq": 3, "event": "tit')
    with served(tmp_path) as client:
        story = opened(client, story)
        assert story.call("PATCH", title="A fox")["title"] == "A fox"
    assert log.read_bytes().startswith(whole) and log.read_bytes().count(b"\n") == 3
