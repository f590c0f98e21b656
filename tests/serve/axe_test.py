"""What axe-core finds in each state of the page, and pictures of them in out/screenshots."""

import json
import pathlib
import sys

import pytest

from tests.serve.online import Online
from tests.serve.pages import ask, fresh_page, wait_for_branch

AXE = pathlib.Path(sys.prefix) / "node/node_modules/axe-core/axe.min.js"
PICTURES = pathlib.Path(__file__).parents[2] / "out/screenshots"
PHONE, NARROWEST = 390, 360
# Pictures are taken of the first two, and axe looks at the widest and the narrowest.
SIZES = {1280: 800, PHONE: 844, NARROWEST: 740}


@pytest.fixture(scope="module")
def story(browser, tmp_path_factory):
    """A server's address, and a session that has a story with a fork, another take and a cut."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: make browsers")
    PICTURES.mkdir(parents=True, exist_ok=True)
    server = Online(tmp_path_factory.mktemp("stories"))
    with fresh_page(browser, server.url + "/") as page:
        for caption in ("A fox.", "A frog."):
            ask(page, caption)
        wait_for_branch(page, ["A fox.", "A frog."])
        page.locator(".face").first.click()
        page.keyboard.press("f")
        ask(page, "A bear.")
        wait_for_branch(page, ["A fox.", "A bear."])
        page.locator(".face").last.click()
        page.keyboard.press("d")
        page.wait_for_selector(".takes")
        wait_for_branch(page, ["A fox.", "A bear."])
        kept = page.context.storage_state()
    yield server.url + "/", kept
    server.stop()


def empty(page):
    page.wait_for_selector("#prompt")


def told(page):
    wait_for_branch(page, ["A fox.", "A bear."])
    page.locator(".face").last.click()
    page.wait_for_selector(".face[aria-pressed=true]")
    page.evaluate("document.getElementById('film').pause()")


def keys(page):
    told(page)
    page.locator(".face").last.press("?")
    page.wait_for_selector("dialog[open]")


def problem(page):
    told(page)
    answer = {"code": "queue_full", "message": "no", "remedy": "wait"}
    page.route("**/shots", lambda asked: asked.fulfill(status=429, json=answer))
    ask(page, "A griffin, a fox, a frog and a bear.")
    page.wait_for_selector("#note.bad")


def refused(page):
    address = f"{page.url}#aaaaaaaaaaaaaaaaaaaaaaaaaa.nothing"
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector(".connection.bad")


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("state", [empty, told, keys, problem, refused])
def test_nothing_serious_is_in_the_way_of_anybody(browser, story, state, scheme):
    address, kept = story
    session = {
        "color_scheme": scheme,
        "reduced_motion": "reduce",
        "storage_state": None if state is empty else kept,
    }
    found = []
    with fresh_page(browser, address, expected=["Failed to load"], **session) as page:
        state(page)
        page.evaluate(AXE.read_text())
        for width, height in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            if width != NARROWEST:
                page.screenshot(path=PICTURES / f"{state.__name__}_{scheme}_{width}.png")
            if width == PHONE:
                continue
            seen = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
            for fault in seen["violations"]:
                places = [node["target"] for node in fault["nodes"]]
                if fault["impact"] in ("serious", "critical"):
                    found.append(f"{width}: {fault['id']}: {json.dumps(places)}")
    assert not found, "\n".join(found)
