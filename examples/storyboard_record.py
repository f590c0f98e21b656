"""Records the storyboard's page while a story is written: docs/storyboard.webp and two pictures.

    make storyboard-pictures

Starts a server with the shipped miniature, and Debian's Chromium through Playwright (make
browsers). The story is the same each time, but not how long a shot took to be made.
"""

import contextlib
import io
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from PIL import Image
from playwright.sync_api import Page, sync_playwright

DESKTOP = {"width": 1280, "height": 860}
FILMED = {"width": 1120, "height": 780}
PHONE = {"width": 390, "height": 844}
WIDTH = 896  # pixels of the recording
QUALITY = 42
PAUSE = 0.9  # seconds that a reader needs
PLAY = 1.6  # about a shot


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The address of a server, once it is warm."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "shotstream_jax", "serve"]
        command += ["--stories", folder, "--port", str(port)]
        running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert running.stderr is not None
        for line in running.stderr:
            if line.startswith("{") and json.loads(line)["event"] == "open":
                break
        yield f"http://127.0.0.1:{port}/"
        running.terminate()
        running.communicate()


class Recording:
    """Pictures of a page and how long each was to be seen."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.pictures: list[Image.Image] = []
        self.milliseconds: list[int] = []
        self._last = time.monotonic()

    def take(self) -> None:
        """One more picture; the one before was to be seen until now."""
        now = time.monotonic()
        if self.pictures:
            self.milliseconds.append(round((now - self._last) * 1000))
        self._last = now
        picture = Image.open(io.BytesIO(self.page.screenshot(type="jpeg", quality=95)))
        height = picture.height * WIDTH // picture.width
        self.pictures.append(picture.resize((WIDTH, height), Image.Resampling.LANCZOS))

    def watch(self, seconds: float) -> None:
        """As many pictures as can be taken in so many seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.take()
            time.sleep(0.1)

    def write(self, text: str) -> None:
        """Writes into the prompt's line, a picture a word."""
        written = ""
        for word in text.split(" "):
            written = f"{written} {word}".strip()
            self.page.fill("#prompt", written)
            self.take()
        self.watch(PAUSE)

    def save(self, path: pathlib.Path) -> None:
        """The film; its last picture stays for two seconds."""
        durations = [*self.milliseconds, 2000]
        first, *others = self.pictures
        first.save(
            path, save_all=True, append_images=others, duration=durations, quality=QUALITY, method=6
        )


def wait(page: Page, shots: int) -> None:
    """Waits until so many shots of the branch are done."""
    page.wait_for_selector(f".card.done:nth-child({shots})", timeout=120_000)


def write_story(film: Recording) -> None:
    """The story: three shots, a take, and another way on."""
    page = film.page
    film.watch(PAUSE)
    # 1. A shot, which plays while it is made.
    film.write("The frog is dancing in the meadow.")
    page.press("#prompt", "Enter")
    film.watch(PLAY)
    wait(page, 1)
    # 2. A word that the model does not know is seen before Enter; two shots in the queue.
    film.write("The giraffe walks in the kitchen")
    film.write("The giraffe walks on the beach.")
    page.press("#prompt", "Enter")
    film.write("On the beach, the frog and the giraffe dance.")
    page.press("#prompt", "Enter")
    film.watch(2 * PLAY)
    wait(page, 3)
    # 3. Another take of the second one.
    page.click(".card:nth-child(2) .face")
    film.watch(PAUSE)
    page.keyboard.press("d")
    page.wait_for_selector(".takes button:nth-child(2)[aria-pressed=true]")
    film.watch(PLAY)
    wait(page, 2)
    # 4. Another way on from the first one, a bit longer.
    page.click(".card:nth-child(1) .face")
    page.keyboard.press("f")
    page.keyboard.press("Alt+ArrowUp")
    film.write("In the meadow, the frog jumps.")
    page.press("#prompt", "Enter")
    page.wait_for_selector(".card:nth-child(2) >> text=jumps")
    film.watch(PLAY)
    wait(page, 2)
    film.watch(PAUSE)


def save_pictures(page: Page, docs: pathlib.Path) -> None:
    """The page with a story of several branches, on a desk and on a phone."""
    page.select_option("#length", "")
    page.fill("input.title", "The frog and the giraffe")
    page.press("input.title", "Enter")
    page.locator(".tree g", has_text="giraffe dance").last.click()
    wait(page, 3)
    page.click(".card:nth-child(3) .face")
    page.keyboard.press("f")
    page.fill("#prompt", "The giraffe is sleeping in the meadow.")
    page.press("#prompt", "Enter")
    wait(page, 4)
    page.fill("#prompt", "The giraffe and the dragon ju")
    page.click(".card:nth-child(2) .face")
    page.wait_for_timeout(600)
    page.evaluate("() => { film.pause(); document.activeElement.blur(); }")
    page.wait_for_timeout(400)
    for size, name in ((DESKTOP, "storyboard"), (PHONE, "storyboard_phone")):
        page.set_viewport_size(size)
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_timeout(500)
        shown = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        shown.quantize(256, dither=Image.Dither.NONE).save(docs / f"{name}.png", optimize=True)


def main(docs: str) -> None:
    """Writes the pictures into this folder."""
    folder = pathlib.Path(docs)
    with server() as address, sync_playwright() as engines:
        browser = engines.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport=FILMED, color_scheme="dark")
        page.goto(address)
        page.wait_for_selector("#prompt")
        while not page.request.get(f"{address}health/ready").ok:
            page.wait_for_timeout(500)
        film = Recording(page)
        write_story(film)
        film.save(folder / "storyboard.webp")
        save_pictures(page, folder)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
