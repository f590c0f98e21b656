"""The page for tests in browsers: a server that they reach, and Debian's Chromium."""

import contextlib
import shutil
import socket
import threading

import pytest

pytest.importorskip("uvicorn")

import uvicorn

from shotstream_jax.serve import device
from shotstream_jax.serve.app import make_app
from shotstream_jax.serve.service import Service
from shotstream_jax.serve.settings import ServeSettings
from tests.serve.conftest import LIMITS, MODEL

CHROMIUM = shutil.which("chromium")


@contextlib.contextmanager
def page_server(folder, model=MODEL, port=0, other_hosts=()):
    """A server that a browser can reach, at a free port by default; the address of its page.

    other_hosts: names with ports that the browser may call it by, too.
    """
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    host = f"127.0.0.1:{listening.getsockname()[1]}"
    deaths = []
    settings = ServeSettings(folder, places=2, hosts=(host, *other_hosts), limits=LIMITS)
    service = Service(model, model.preset.video, settings, deaths.append)
    config = uvicorn.Config(make_app(service), log_level="error", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    running = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    running.start()
    yield f"http://{host}/"
    # As serve/server.py ends: what was begun is on disk, and every viewer knows, before it closes.
    service.stop()
    server.should_exit = True
    running.join()
    assert not deaths, deaths


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
        session.set_default_timeout(60_000)
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
