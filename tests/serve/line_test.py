"""The line between page and server breaks in every way; nothing is lost, nothing is twice."""

import contextlib
import json
import threading

import pytest

from tests.serve.conftest import MODEL
from tests.serve.online import Line, Online
from tests.serve.pages import ask, fresh_page, wait_for_branch, wait_for_made

VIDEO = MODEL.preset.video
SHOT_SECONDS = MODEL.preset.vae.pixel_frames(VIDEO.shot_frames) / VIDEO.fps
# What a browser says of a line that breaks.
BROKEN = ("WebSocket", "Failed to load resource")


@pytest.fixture
def line():
    line = Line()
    yield line
    line.close()


@pytest.fixture
def server(tmp_path, line, pace):
    server = Online(tmp_path, hosts=(line.host,))
    line.target = server.port
    yield server
    pace.free()
    server.stop()


@pytest.fixture
def page(browser, server, line):
    with fresh_page(browser, f"{line.url}/", BROKEN) as page:
        yield page


def events(folder, kind):
    """The shots that a server's only story has on disk for an event."""
    (log,) = folder.glob("*/log.jsonl")
    written = [json.loads(told) for told in log.read_text().splitlines()]
    return [event["shot"] for event in written if event["event"] == kind]


def wait_for_film(page, shots):
    """Waits until so many shots are in the player without a gap, and not a chunk more."""
    page.wait_for_function(
        """seconds => {
          const { buffered } = document.getElementById("film");
          return buffered.length === 1 && buffered.start(0) < 0.01
            && Math.abs(buffered.end(0) - seconds) < 0.01;
        }""",
        arg=shots * SHOT_SECONDS,
    )


def wait_until(page, words):
    """Waits until the page says this of its line."""
    page.wait_for_function(
        "words => document.querySelector('.connection')?.textContent.includes(words)", arg=words
    )


def mid_shot(page, pace):
    """A story whose second shot has its first chunk, and waits."""
    ask(page, "A fox.")
    wait_for_branch(page, ["A fox."])
    pace.hold(1)
    ask(page, "A frog.")
    wait_for_made(page, 1)


def is_whole(page, folder):
    """Both shots were asked for once, made once, and are in the player."""
    wait_for_branch(page, ["A fox.", "A frog."])
    wait_for_film(page, 2)
    asked = events(folder, "asked")
    assert len(asked) == 2
    assert events(folder, "done") == asked


@pytest.mark.parametrize("way", ["reload", "cut", "reset", "mute"])
def test_a_break_in_mid_shot(page, pace, line, tmp_path, way):
    if way == "mute":
        page.clock.install()
    mid_shot(page, pace)
    if way == "reload":
        page.reload()
    elif way == "mute":
        # No sign of life for half a minute is a sign.
        line.mute()
        page.clock.fast_forward(30_000)
    else:
        vars(Line)[way](line)
    wait_until(page, "Live")
    wait_for_made(page, 1)
    pace.free()
    is_whole(page, tmp_path)


def test_an_answer_that_is_lost_is_no_second_shot(page, line, tmp_path):
    ask(page, "A fox.")
    wait_for_branch(page, ["A fox."])
    line.losing = b"POST "
    ask(page, "A frog.")
    is_whole(page, tmp_path)
    assert line.losing == b""


def test_what_is_asked_on_a_dead_line_comes_back_into_the_prompt(page, line, server, tmp_path):
    ask(page, "A fox.")
    wait_for_branch(page, ["A fox."])
    line.target = 1  # nothing listens there
    line.reset()
    ask(page, "A frog.")
    page.wait_for_selector("#note.bad")
    assert page.input_value("#prompt") == "A frog."
    line.target = server.port
    wait_until(page, "Live")
    page.press("#prompt", "Enter")
    is_whole(page, tmp_path)


def test_a_server_that_starts_again_in_mid_shot(browser, pace, line, tmp_path):
    first = Online(tmp_path, hosts=(line.host,))
    line.target = first.port
    with (
        contextlib.ExitStack() as ends,
        fresh_page(browser, f"{line.url}/", BROKEN) as page,
    ):
        mid_shot(page, pace)
        ending = threading.Thread(target=first.stop)
        ending.start()
        wait_for_stop(first)
        pace.free()
        wait_until(page, "restarts")
        ending.join()
        assert len(events(tmp_path, "done")) == 1
        second = Online(tmp_path, hosts=(line.host,))
        ends.callback(second.stop)
        line.target = second.port
        is_whole(page, tmp_path)
        wait_until(page, "Live")


def wait_for_stop(server):
    """Waits until a server takes nothing new."""
    while not server.service.studio.is_stopping:
        threading.Event().wait(0.01)
