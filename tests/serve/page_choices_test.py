"""What can be chosen in the page: lengths, styles, how a story remembers, and one's own stories."""

import pytest

from shotstream_jax.styles import read_style, with_styles
from tests.generate.styles_test import adapter_state, written
from tests.serve.conftest import MODEL
from tests.serve.pages import ask, fresh_page, page_server, wait_for_branch

CHUNK = MODEL.preset.memory.chunk
USUAL = MODEL.preset.video.shot_frames


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A server with a style, which shots have at a quarter if they say nothing."""
    folder = tmp_path_factory.mktemp("choices")
    path = written(folder, "film", adapter_state(0, alpha=6.0))
    styled = with_styles(MODEL, [read_style(path, MODEL.preset, strength=0.25)])
    with page_server(folder / "stories", styled) as address:
        yield address


@pytest.fixture
def page(browser, address):
    with fresh_page(browser, address) as page:
        yield page


def told(page):
    """The story that is open, as the server has it."""
    return page.evaluate(
        """async () => {
          const { id, token } = JSON.parse(localStorage.getItem("shotstream-story"));
          const headers = { Authorization: `Bearer ${token}` };
          return (await fetch(`/api/stories/${id}`, { headers })).json();
        }"""
    )


def test_a_shot_has_the_length_that_is_chosen_and_so_has_its_take(page):
    # 1. By keys, in the line that is written: the shortest.
    page.fill("#prompt", "A fox.")
    for _ in range(USUAL // CHUNK):
        page.press("#prompt", "Alt+ArrowDown")
    page.press("#prompt", "Enter")
    wait_for_branch(page, ["A fox."])
    page.locator(".face").focus()
    page.keyboard.press("d")
    page.wait_for_function("() => document.querySelectorAll('.takes button').length === 2")
    wait_for_branch(page, ["A fox."])
    # 2. By the list, to which a key leads.
    page.keyboard.press("l")
    assert page.evaluate("document.activeElement.id") == "length"
    page.select_option("#length", str(2 * CHUNK))
    ask(page, "A frog.")
    page.select_option("#length", "")
    ask(page, "A bear.")
    wait_for_branch(page, ["A fox.", "A frog.", "A bear."])
    frames = [shot["frames"] for shot in told(page)["shots"]]
    assert frames == [CHUNK, CHUNK, 2 * CHUNK, None]


def test_own_stories_are_listed_opened_and_removed(page):
    # 1. Two stories: one has a title, the other one its first words.
    ask(page, "A fox.")
    wait_for_branch(page, ["A fox."])
    page.fill("input.title", "The fox")
    page.press("input.title", "Enter")
    page.locator(".face").focus()
    page.keyboard.press("o")
    page.click("#stories >> text=New story")
    page.wait_for_selector(".cover >> text=The fox")
    ask(page, "A frog.")
    wait_for_branch(page, ["A frog."])
    # 2. The first one is opened again.
    page.click(".menu summary")
    page.click("text=Your stories")
    assert page.locator("#stories .open b").all_inner_texts() == ["A frog.", "The fox"]
    page.click("#stories .open >> text=The fox")
    wait_for_branch(page, ["A fox."])
    key = page.evaluate("JSON.parse(localStorage.getItem('shotstream-story'))")
    # 3. Removing it takes a second click; then it is gone, for everyone.
    page.locator(".face").focus()
    page.keyboard.press("o")
    page.click("[aria-label='Remove The fox']")
    page.click(".removing >> text=Keep")
    page.click("[aria-label='Remove The fox']")
    page.click(".removing .danger")
    page.wait_for_selector(".cover >> text=A frog.")
    assert page.locator(".cover >> text=The fox").count() == 0
    bearer = {"Authorization": f"Bearer {key['token']}"}
    answer = page.request.get(f"{page.url}api/stories/{key['id']}", headers=bearer)
    assert answer.status == 404


def test_the_tree_is_gone_about_by_arrow_keys_and_a_menu_closes(page):
    for caption in ("A fox.", "A frog."):
        ask(page, caption)
    wait_for_branch(page, ["A fox.", "A frog."])
    page.locator(".face").first.click()
    page.keyboard.press("f")
    ask(page, "A bear.")
    wait_for_branch(page, ["A fox.", "A bear."])
    # From the bear up to the frog, which is in the lane above, and there.
    page.locator(".tree g", has_text="bear").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    wait_for_branch(page, ["A fox.", "A frog."])
    # To the fox, and down again to the last one of its lane.
    page.locator(".tree g", has_text="frog").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    wait_for_branch(page, ["A fox.", "A bear."])
    # Only one of them is on the way of Tab.
    assert page.locator(".tree g[tabindex='0']").count() == 1
    page.click(".menu summary")
    page.click(".screen", position={"x": 5, "y": 5})
    assert page.locator(".menu[open]").count() == 0


def test_a_style_and_how_a_story_remembers_are_chosen(page):
    page.select_option("#memory", "caption")
    ask(page, "A fox.")
    wait_for_branch(page, ["A fox."])
    page.locator(".style input").fill("0.75")
    ask(page, "A frog.")
    wait_for_branch(page, ["A fox.", "A frog."])
    story = told(page)
    assert story["memory"] == "caption"
    strengths = [shot["styles"] for shot in story["shots"]]
    assert strengths == [{"film": 0.25}, {"film": 0.75}]
    page.locator(".face").last.click()
    page.locator(".facts", has_text="0.75").wait_for()
