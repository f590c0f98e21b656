"""The page: in a browser where Playwright and Chromium are there, and its words in Node."""

import json
import pathlib
import shutil
import subprocess
import threading

import pytest

from shotstream_jax import serve
from tests.serve.conftest import MODEL
from tests.serve.pages import ask, fresh_page, page_server, wait_for_branch

STATIC = pathlib.Path(serve.__file__).parent / "static"
PHONE = {"width": 360, "height": 740}


@pytest.fixture
def page(browser, tmp_path):
    with page_server(tmp_path) as address, fresh_page(browser, address) as page:
        yield page


def answer_all(page, status, answer):
    """Whatever the page asks the server has this answer."""
    page.evaluate(
        "([status, answer]) => { window.fetch = async () => Response.json(answer, { status }); }",
        [status, answer],
    )


def test_a_story_is_written_played_forked_undone_and_there_after_a_reload(page):
    # 1. Two shots play while they are made: time moves, and the film reaches the second one.
    ask(page, "A fox.")
    wait_for_branch(page, ["A fox."])
    ask(page, "A frog.")
    wait_for_branch(page, ["A fox.", "A frog."])
    shot_seconds = MODEL.preset.vae.pixel_frames(MODEL.preset.video.shot_frames)
    shot_seconds /= MODEL.preset.video.fps
    page.wait_for_function("start => film.currentTime > start", arg=shot_seconds)
    # 2. A fork after the first shot, and another take of it, by keys.
    page.locator(".face").first.click()
    page.keyboard.press("f")
    ask(page, "A bear.")
    wait_for_branch(page, ["A fox.", "A bear."])
    page.locator(".face").last.click()
    page.keyboard.press("d")
    page.wait_for_function("() => document.querySelectorAll('.takes button').length === 2")
    wait_for_branch(page, ["A fox.", "A bear."])
    # 3. All of it undone, however fast, and done again.
    page.locator(".face").last.focus()
    for _ in range(3):
        page.keyboard.press("Control+z")
    wait_for_branch(page, ["A fox."])
    page.keyboard.press("Control+Shift+z")
    wait_for_branch(page, ["A fox.", "A frog."])
    page.keyboard.press("Control+Shift+z")
    wait_for_branch(page, ["A fox.", "A bear."])
    # 4. A reload loses nothing, and a phone shows it without scrolling sideways.
    page.set_viewport_size(PHONE)
    page.reload()
    wait_for_branch(page, ["A fox.", "A bear."])
    assert page.locator(".tree g").count() == 4
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_what_is_before_and_beside_the_film_can_be_reached(page):
    for caption in ("A fox.", "A frog."):
        ask(page, caption)
    wait_for_branch(page, ["A fox.", "A frog."])
    # Back to the first shot: the second one is out of the strip, and in the tree.
    page.locator(".face").first.click()
    page.keyboard.press("b")
    wait_for_branch(page, ["A fox."])
    page.locator(".tree g").last.click()
    wait_for_branch(page, ["A fox.", "A frog."])
    # All shots put away: undo brings them back.
    page.locator(".face").last.click()
    page.keyboard.press("Delete")
    wait_for_branch(page, ["A fox."])
    page.locator(".face").first.focus()
    page.keyboard.press("Control+z")
    wait_for_branch(page, ["A fox.", "A frog."])


def test_undo_of_a_shot_that_was_told_otherwise_and_is_made_makes_it_as_it_was(page):
    ask(page, "A fox.")
    wait_for_branch(page, ["A fox."])
    page.evaluate(
        """() => {
          const shot = document.querySelector(".face").dataset.shot;
          const { id } = JSON.parse(localStorage.getItem("shotstream-story"));
          const done = [{ kind: "tell", shot, before: "A bear.", after: "A fox." }];
          const kept = JSON.stringify({ done, undone: [] });
          sessionStorage.setItem(`shotstream-history-${id}`, kept);
        }"""
    )
    page.reload()
    wait_for_branch(page, ["A fox."])
    page.locator(".face").first.focus()
    page.keyboard.press("Control+z")
    wait_for_branch(page, ["A bear."])
    page.keyboard.press("Control+Shift+z")
    wait_for_branch(page, ["A fox."])


def test_what_the_model_will_not_see_is_marked_before_enter(page):
    answer_all(page, 200, {"unknown": ["griffin"], "swallowed": "bear", "cut": 12})
    page.fill("#prompt", "A griffin.")
    page.wait_for_selector("#about.bad")
    hints = page.inner_text("#words")
    for hint in ("griffin", "bear", "12 tokens"):
        assert hint in hints
    answer_all(page, 200, {"unknown": [], "swallowed": "", "cut": 0})
    page.fill("#prompt", "A fox.")
    page.wait_for_selector("#about:not(.bad)")
    assert page.inner_text("#words") == ""


@pytest.mark.parametrize(("code", "reason"), [(1012, "restarts"), (1013, "Too many")])
def test_why_the_line_broke_is_shown_until_it_holds_again(page, code, reason):
    tries = []
    is_up = threading.Event()

    def answer(line):
        tries.append(line)
        if is_up.is_set():
            line.connect_to_server()
        else:
            line.close(code=code if len(tries) == 1 else 1011)

    page.route_web_socket("**/live", answer)
    ask(page, "A fox.")
    while len(tries) < 3:
        page.wait_for_timeout(20)
    assert reason in page.inner_text(".connection")
    is_up.set()
    wait_for_branch(page, ["A fox."])
    assert page.inner_text(".connection") == "Live"


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [(429, "queue_full", "cancel one"), (503, "full", "some minutes"), (503, "stopping", "live")],
)
def test_a_full_server_says_what_to_do_and_the_prompt_comes_back(page, status, code, remedy):
    answer_all(page, status, {"code": code, "message": "no", "remedy": "wait"})
    ask(page, "A fox.")
    page.wait_for_selector("#note.bad")
    assert remedy in page.inner_text("#note")
    assert page.input_value("#prompt") == "A fox."


@pytest.mark.parametrize(
    ("text", "rest", "unknown"),
    [
        ("The fr", "og", []),
        ("The Frog", "", []),
        ("The dragon ", "", ["dragon"]),
        ("a frog, a griffin: a griffin", "", ["griffin"]),
        ("", "", []),
    ],
)
def test_words_are_completed_and_unknown_ones_are_found(text, rest, unknown):
    found = in_words_js(
        f"const text = {json.dumps(text)}; const words = ['a', 'frog', 'the'];"
        "return [completion(text, words), unknownWords(text, new Set(words))];"
    )
    assert found == [rest, unknown]


@pytest.mark.parametrize(
    ("text", "cut", "seen"),
    [
        ("A frog, a fox.", 0, "A frog, a fox."),
        ("A frog, a fox.", 1, "A frog, a fox"),
        ("A frog, a fox.", 4, "A frog"),
        ("A frog", 9, ""),
        ("", 3, ""),
    ],
)
def test_the_end_that_the_model_will_not_see_is_found(text, cut, seen):
    text = json.dumps(text)
    assert in_words_js(f"return {text}.slice(0, endOfSeen({text}, {cut}));") == seen


def in_words_js(body):
    """What a function's body gives, with what words.js has, in Node."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed")
    names = "completion, endOfSeen, unknownWords"
    code = (
        f'import {{ {names} }} from "{(STATIC / "words.js").as_uri()}";'
        f"const found = (() => {{ {body} }})();"
        "process.stdout.write(JSON.stringify(found));"
    )
    ran = subprocess.run(
        [node, "--input-type=module", "-e", code], capture_output=True, text=True, check=True
    )
    return json.loads(ran.stdout)


def test_the_page_needs_nothing_from_elsewhere():
    for path in STATIC.rglob("*"):
        if path.suffix in (".js", ".css", ".html") and path.parent == STATIC:
            text = path.read_text()
            assert "https://" not in text, path
            assert "url(http" not in text, path
            # The page's own policy forbids styles that are not in its style sheet.
            assert " style=" not in text, path
