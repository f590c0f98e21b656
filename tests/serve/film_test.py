"""The miniature's film on the screen of three engines: it moves, and has its colours.

WebKit plays it through MediaSource and through ManagedMediaSource. None of them is Apple's Safari.
"""

import av
import numpy as np
import pytest

from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.checkpoint.load import load
from shotstream_jax.world.clothing import ACCENTS
from tests.serve.engines import ENTER, ESCAPE, chromium_tab, firefox_tab, webkit_tab
from tests.serve.pages import PICTURE, SHOW, paced, page_server

CAPTIONS = ("The frog is dancing in the meadow.", "The giraffe walks on the beach.")
DONE = "document.querySelectorAll('.card.done').length"


@pytest.fixture(scope="module")
def miniature():
    return load(open_checkpoint("tiny"))


@pytest.fixture(scope="module")
def pace():
    with paced() as pace:
        yield pace


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("stories")


@pytest.fixture(scope="module")
def address(miniature, pace, folder):
    with page_server(folder, miniature) as address:
        yield address


@pytest.fixture(params=["chromium", "firefox", "webkit", "webkit, managed"])
def tab(request, address, tmp_path):
    engines = {
        "chromium": lambda: chromium_tab(),
        "firefox": lambda: firefox_tab(tmp_path),
        "webkit": lambda: webkit_tab("--features=-ManagedMediaSource"),
        "webkit, managed": lambda: webkit_tab("--features=+ManagedMediaSource"),
    }
    with engines[request.param]() as tab:
        tab.open(address)
        yield tab


def ask(tab, caption):
    """Writes a prompt and presses Enter."""
    tab.wait("document.getElementById('prompt')")
    tab.run("document.getElementById('prompt').focus();")
    tab.press(caption + ENTER)


def picture(tab, size):
    """What is on the screen, [height, width, 3]."""
    height, width = size
    return np.array(tab.run(PICTURE, width, height)).reshape(height, width, 4)[:, :, :3]


def made_picture(film, size):
    """The first picture of a chunk's file, likewise."""
    with av.open(str(film)) as opened:
        first = next(opened.decode(video=0)).to_ndarray(format="rgb24")
    step = first.shape[0] // size[0]
    return first[step // 2 :: step, step // 2 :: step].astype(int)


def count(picture, *colours):
    """How many pixels have one of a hat's colours, about."""
    near = [np.abs(picture - np.array(ACCENTS[colour])).max(-1) < 60 for colour in colours]
    return int(np.any(near, axis=0).sum())


def test_two_shots_play_in_their_colours_and_the_third_is_cut(tab, pace, miniature, folder):
    video = miniature.preset.video
    size = (video.height, video.width)
    # 1. Time moves, and so does the picture.
    ask(tab, CAPTIONS[0])
    tab.wait("film.currentTime > 0")
    first = picture(tab, size)
    tab.wait(f"{DONE} === 1 && film.currentTime > 1")
    assert np.abs(picture(tab, size) - first).max() > 40
    # 2. It has run dry; the next shot plays by itself.
    ask(tab, CAPTIONS[1])
    tab.wait(f"{DONE} === 2 && film.currentTime > 2")
    # 3. The colours of both shots, hats and all, are those that were made.
    shot_seconds = miniature.preset.vae.pixel_frames(video.shot_frames) / video.fps
    for shot, hat in enumerate((["blue"], ["red", "magenta"])):
        tab.run(SHOW, shot * shot_seconds)
        shown = picture(tab, size)
        name = tab.run("return document.querySelectorAll('.face')[values[0]].dataset.shot;", shot)
        (film,) = folder.glob(f"*/shots/{name}/000.mp4")
        error = np.abs(shown - made_picture(film, size))
        assert error.mean() < 4 and error.max() < 40
        assert count(shown, *hat) >= 8
    # 4. A third one, cut after its first chunk.
    pace.hold()
    ask(tab, CAPTIONS[0])
    tab.wait("document.querySelector('.card.making')")
    tab.press(ESCAPE)
    tab.wait("document.getElementById('note').textContent.includes('Cut')")
    pace.free()
    tab.wait("document.querySelector('.card.cut')")
