"""What a story and its shots can choose: styles and their strengths, and how they remember."""

import numpy as np
import pytest

from shotstream_jax.generate.asked import Shot
from shotstream_jax.generate.live import advance, begin
from shotstream_jax.generate.stream import new_story as library_story
from shotstream_jax.media.formats import enlargement
from shotstream_jax.media.pieces import chunk_file
from shotstream_jax.serve.board import Board, apply_event
from shotstream_jax.styles import read_style, with_styles
from tests.generate.styles_test import adapter_state, written
from tests.serve.conftest import MODEL, new_story, served
from tests.serve.files_test import imported

VIDEO = MODEL.preset.video
CHUNK = MODEL.preset.memory.chunk
SCALE = enlargement("auto", VIDEO.height, VIDEO.width)


@pytest.fixture(scope="module")
def styled(tmp_path_factory):
    """A model with an adapter that shots do not have unless they say so."""
    path = written(tmp_path_factory.mktemp("styles"), "film", adapter_state(0, alpha=6.0))
    return with_styles(MODEL, [read_style(path, MODEL.preset, strength=0.25)])


@pytest.fixture(scope="module")
def client(styled, tmp_path_factory):
    with served(tmp_path_factory.mktemp("stories"), model=styled, memory="caption") as client:
        yield client


def film_of(model, strength):
    """The first chunk of a story's first shot, as the library makes it."""
    story = library_story(model, "A fox.", 3, VIDEO)
    live = begin(model, story, Shot("it runs", frames=CHUNK, styles={"film": strength}))
    _, chunk = advance(model, live)
    return chunk_file(np.asarray(chunk.pixels)[0], VIDEO.fps, SCALE)


def test_a_shot_has_the_strengths_that_it_names_and_else_the_servers(client, styled, tmp_path):
    assert client.get("/api/model").json()["styles"] == [{"name": "film", "strength": 0.25}]
    story = new_story(client)
    plain = story.ask("it runs", frames=CHUNK)
    strong = story.ask("it runs", parent=None, take=0, frames=CHUNK, styles={"film": 1})
    story.wait(strong["id"])
    assert story.films(plain["id"], 1) == [film_of(styled, 0.25)]
    assert story.films(strong["id"], 1) == [film_of(styled, 1.0)]
    assert plain["styles"] == {"film": 0.25}
    # A story file has them, also where the server has no such style.
    with served(tmp_path) as other:
        copy = imported(other, story.call("GET", "/archive"))
        assert copy.read().shots[strong["id"]]["styles"] == {"film": 1}
        assert copy.ask("it runs", parent=None)["styles"] == {}


@pytest.mark.parametrize("styles", [{"ink": 0.5}, {"film": "much"}, {"film": 1e9}, ["film"]])
def test_a_style_that_is_not_there_is_refused(client, styles):
    story = new_story(client)
    assert story.call("POST", "/shots", 422, caption="it runs", styles=styles)["code"] == "invalid"
    assert story.read().shots == {}


def test_a_story_remembers_by_the_rule_that_it_was_begun_with(client):
    told = client.get("/api/model").json()
    assert (told["memory"], told["memories"]) == ("caption", ["paper", "caption", "keys"])
    assert new_story(client).read().memory == "caption"
    assert new_story(client, memory="keys").read().memory == "keys"
    assert client.post("/api/stories", json={"memory": "all"}).status_code == 422


def test_a_log_without_styles_is_read():
    asked = {"event": "asked", "seq": 1, "at": 0.0, "shot": "a", "parent": None, "take": 0}
    board = apply_event(Board(), {**asked, "caption": "it runs", "frames": None, "pins": []})
    assert board.shots["a"].styles == {}
