"""The page for tests in browsers: a server that they reach, and Debian's Chromium."""

import contextlib
import shutil
import threading

import pytest

pytest.importorskip("uvicorn")

from shotstream_jax.serve import device
from tests.serve.conftest import MODEL
from tests.serve.online import Online

CHROMIUM = shutil.which("chromium")
# Stops the film at the time values[0], once that picture is on the screen.
SHOW = """
  const film = document.getElementById("film");
  film.pause();
  await new Promise((done) => {
    const look = (_, shown) => {
      if (Math.abs(shown.mediaTime - values[0]) < 0.05) done();
      else film.requestVideoFrameCallback(look);
    };
    film.requestVideoFrameCallback(look);
    film.currentTime = values[0] + 0.01;
  });
"""
# The picture on the screen, a value for each of the model's own pixels.
PICTURE = """
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = values;
  const pen = canvas.getContext("2d");
  pen.imageSmoothingEnabled = false;
  pen.drawImage(document.getElementById("film"), 0, 0, ...values);
  return [...pen.getImageData(0, 0, ...values).data];
"""


@contextlib.contextmanager
def page_server(folder, model=MODEL):
    """A server that a browser can reach; the address of its page."""
    server = Online(folder, model=model)
    yield f"{server.url}/"
    server.stop()


class Pace:
    """Makes the device wait before a chunk, so that a test can act in mid-shot."""

    def __init__(self):
        self._permits = None
        self._advance = device.advance

    def hold(self, chunks=0):
        """Lets so many chunks be begun, and none after them."""
        self._permits = threading.Semaphore(chunks)

    def free(self):
        """Goes on."""
        permits = self._permits
        self._permits = None
        if permits is not None:
            permits.release()

    def advance(self, *args):
        """In place of the device's."""
        permits = self._permits
        if permits is not None:
            permits.acquire()
        return self._advance(*args)


@contextlib.contextmanager
def paced():
    """The pace of all devices of this process."""
    pace = Pace()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "advance", pace.advance)
        yield pace
        pace.free()


@contextlib.contextmanager
def chromium():
    """Chromium, of which each test has a fresh session; skips the test where it is missing."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    # Nothing that looks for an address outside.
    options = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
    with playwright.sync_playwright() as engines:
        browser = engines.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@contextlib.contextmanager
def fresh_page(browser, address, expected=(), **options):
    """The page in a session of its own. Whatever its console complains of fails the test.

    expected: words of complaints that belong to the test. options: of the session.
    """
    complaints = []

    def complain(text):
        if not any(word in text for word in expected):
            complaints.append(text)

    with browser.new_context(**options) as session:
        session.set_default_timeout(120_000)
        page = session.new_page()
        page.on("pageerror", lambda error: complain(str(error)))
        page.on("console", lambda line: line.type == "error" and complain(line.text))
        page.goto(address)
        yield page
    assert not complaints, complaints


def ask(page, caption):
    """Writes a prompt and presses Enter."""
    page.fill("#prompt", caption)
    page.press("#prompt", "Enter")


def wait_for_branch(page, captions):
    """Waits until the strip has these shots, and all of them are made."""
    page.wait_for_function(
        """captions => {
          const cards = [...document.querySelectorAll(".card.done, .card.cut")];
          const there = cards.map((card) => card.querySelector(".caption").textContent);
          return JSON.stringify(there) === JSON.stringify(captions);
        }""",
        arg=captions,
    )


def wait_for_made(page, chunks):
    """Waits until the shot in the making has so many chunks."""
    page.wait_for_function(
        "chunks => document.querySelector('.card.making progress')?.value === chunks", arg=chunks
    )


def shown_at(page, time):
    """The picture on the screen at a time, as a list."""
    size = [MODEL.preset.video.width, MODEL.preset.video.height]
    page.evaluate(f"async (values) => {{ {SHOW} }}", [float(time)])
    return page.evaluate(f"(values) => {{ {PICTURE} }}", size)
