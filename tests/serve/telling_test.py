"""A story from its first word to its file, by keys in Chromium; undone and done again."""

import io

import av
import numpy as np
import pytest

from tests.serve.conftest import MODEL
from tests.serve.pages import (
    ask,
    fresh_page,
    page_server,
    shown_at,
    wait_for_branch,
    wait_for_made,
)

VIDEO = MODEL.preset.video
FIRST = ["A fox.", "A frog.", "A bear."]


@pytest.fixture
def address(pace, tmp_path):
    with page_server(tmp_path) as address:
        yield address
        pace.free()


def wait_for(page, captions, cut=(), take=1, title=""):
    """Waits for a branch whose shots are made: those cut, the last one's take, the title."""
    wait_for_branch(page, captions)
    page.wait_for_function(
        """([cut, take, title]) => {
          const cards = [...document.querySelectorAll(".card")];
          const cutOnes = cards.filter((card) => card.matches(".cut"));
          const captions = cutOnes.map((card) => card.querySelector(".caption").textContent);
          const pressed = cards.at(-1)?.querySelector(".takes [aria-pressed=true]");
          return cards.every((card) => card.matches(".done, .cut"))
            && JSON.stringify(captions) === JSON.stringify(cut)
            && (pressed?.textContent ?? "1") === String(take)
            && document.querySelector(".title")?.value === title;
        }""",
        arg=[list(cut), take, title],
    )


def pick(page, index):
    """Chooses a shot of the strip."""
    page.locator(".face").nth(index).click()


def tell(page, pace):
    """Tells a story by everything that the page can do; yields what is to be seen after each step.

    A step is (captions, what else `wait_for` takes).
    """
    # 1. Three shots, and a title.
    for count in range(1, 4):
        ask(page, FIRST[count - 1])
        yield FIRST[:count], {}
    page.fill(".title", "Animals")
    page.press(".title", "Enter")
    named = {"title": "Animals"}
    yield FIRST, named
    # 2. One is cut after its first chunk.
    pace.hold()
    ask(page, "A cat.")
    page.wait_for_selector(".card.making")
    page.keyboard.press("Escape")
    page.wait_for_function("() => document.getElementById('note').textContent.includes('Cut')")
    pace.free()
    yield [*FIRST, "A cat."], {"cut": ["A cat."], **named}
    # 3. One is told otherwise after its first chunk.
    pace.hold(1)
    ask(page, "A dog.")
    wait_for_made(page, 1)
    pick(page, -1)
    page.keyboard.press("e")
    ask(page, "A hen.")
    page.wait_for_function("() => document.getElementById('note').textContent.includes('turns')")
    pace.free()
    yield [*FIRST, "A cat.", "A hen."], {"cut": ["A cat."], **named}
    # 4. Back to the first one, and on from there; another take, and other words.
    pick(page, 0)
    page.keyboard.press("b")
    yield FIRST[:1], named
    pick(page, 0)
    page.keyboard.press("f")
    ask(page, "A wolf.")
    yield ["A fox.", "A wolf."], named
    pick(page, -1)
    page.keyboard.press("d")
    yield ["A fox.", "A wolf."], {"take": 2, **named}
    pick(page, -1)
    page.keyboard.press("e")
    ask(page, "An owl.")
    yield ["A fox.", "An owl."], named


def test_a_story_is_told_undone_done_again_and_opened_elsewhere(browser, address, pace, tmp_path):
    with fresh_page(browser, address, accept_downloads=True) as page:
        page.wait_for_selector("#prompt")
        seen = []
        for captions, more in tell(page, pace):
            wait_for(page, captions, **more)
            seen.append((captions, more))
        undo_all(page, seen)
        redo_all(page, seen)
        film, file = (export(page, name, tmp_path) for name in ("Export film", "Save story"))
        length = page.evaluate("film.buffered.end(0)")
        times = np.arange(0, length, 4 / VIDEO.fps)
        pictures = [shown_at(page, time) for time in times]
        # The film that is exported has the frames of its chunks' files.
        shots = [face.get_attribute("data-shot") for face in page.locator(".face").all()]
        made = [path for shot in shots for path in sorted(tmp_path.glob(f"*/shots/{shot}/*.mp4"))]
        frames = np.concatenate([decoded(path.read_bytes()) for path in made])
        assert np.array_equal(decoded(film.read_bytes()), frames)
        assert len(frames) == round(length * VIDEO.fps)
    with fresh_page(browser, address) as page:
        # In a session that knows nothing of it, the story's file shows the same.
        page.wait_for_selector("#prompt")
        page.set_input_files("#story-file", file)
        wait_for(page, ["A fox.", "An owl."], title="Animals")
        again = [shown_at(page, time) for time in times]
        assert again == pictures


def undo_all(page, seen):
    """Undoes a story step by step, down to the empty page."""
    cut, told = 4, 5
    before = [([], {"title": ""}), *seen[:-1]]
    for step in reversed(range(len(seen))):
        if step == told:
            # What is made stays: the words before are made beside it. Then the shot itself.
            undo(page)
            wait_for(page, [*seen[cut][0], "A dog."], **seen[cut][1])
        if step == cut:
            undo(page)
            wait_for(page, seen[cut][0], title="Animals")
        undo(page)
        wait_for_nothing_or(page, *before[step])
    page.wait_for_selector("[aria-label=Undo]:disabled")


def redo_all(page, seen):
    """Does it again."""
    for step, (captions, more) in enumerate(seen):
        page.locator("[aria-label=Redo]").click()
        if step in (4, 5):
            # The cut, and the other words, are in the shot already.
            wait_for(page, captions, **more)
            page.locator("[aria-label=Redo]").click()
        wait_for(page, captions, **more)
    page.wait_for_selector("[aria-label=Redo]:disabled")


def undo(page):
    """One step back."""
    page.locator("[aria-label=Undo]").click()


def wait_for_nothing_or(page, captions, more):
    """Waits for a branch, or for an empty strip."""
    if captions:
        wait_for(page, captions, **more)
    else:
        page.wait_for_function("() => !document.querySelector('.card')")


def export(page, name, folder):
    """A file that the page saves."""
    page.evaluate("document.querySelector('.menu').open = true")
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def decoded(film):
    """The frames of a film, [frames, height, width, 3]."""
    with av.open(io.BytesIO(film)) as opened:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0)])
