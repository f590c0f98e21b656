"""Texts that are made to harm: they stay what they are, and the page shows them as text."""

import pathlib
import re

import pytest

from shotstream_jax import serve
from tests.serve.conftest import MODEL, new_story
from tests.serve.pages import ask, chromium, fresh_page, page_server, wait_for_branch

CHUNK = MODEL.preset.memory.chunk
STATIC = pathlib.Path(serve.__file__).parent / "static"
SCRIPT = "<img src=x onerror=document.title='harmed'><script>document.title='harmed'</script>"
TEXTS = [
    SCRIPT,
    "\u202egnp.exe\u202c and \u2066isolated\u2069",
    "zero\u200b\u200d\u2060width\ufeff",
    "control \x01\x07\x1b[31m and a line\nand\ra tab\t",
    "\U0001f98a\u0301" * 100,
    "${7*7} {{7*7}} %s %n '; DROP TABLE shots; --",
    "../../../etc/passwd\u2215",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_kept_as_it_is(client, text):
    story = new_story(client, global_caption=text, title=text[:200])
    shot = story.ask(text, frames=CHUNK)["id"]
    story.wait(shot)
    kept = story.read()
    assert (kept.global_caption, kept.title) == (text, text[:200])
    assert kept.shots[shot]["caption"] == text
    # A line of the log is one line, whatever stands in it.
    log = (client.service.settings.folder / story.id / "log.jsonl").read_bytes()
    assert log.count(b"\n") == len(log.splitlines()) == kept.seq


def test_the_page_never_takes_text_for_markup():
    ways = "innerHTML|outerHTML|insertAdjacentHTML|document.write|unsafeHTML|setHTMLUnsafe|srcdoc"
    ways += "|DOMParser|createContextualFragment|javascript:|eval\\(|new Function"
    scripts = sorted(STATIC.glob("*.js"))
    assert len(scripts) > 5
    for script in scripts:
        assert not re.search(ways, script.read_text()), script.name
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"<script(?! type=\"module\" src=)|\son\w+=", page)


@pytest.fixture
def page(tmp_path):
    with chromium() as browser, page_server(tmp_path) as address:
        with fresh_page(browser, address) as page:
            yield page


def test_a_script_in_a_caption_is_shown_as_text(page):
    ask(page, SCRIPT)
    wait_for_branch(page, [SCRIPT])
    page.fill(".title", SCRIPT)
    page.press(".title", "Enter")
    assert page.locator(".card .caption").first.text_content() == SCRIPT
    assert page.locator("main img[onerror], main script").count() == 0
    assert "harmed" not in page.title()
