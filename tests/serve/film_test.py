"""The miniature's film on the screen of three engines: it moves, and has its colours.

WebKit plays it through MediaSource and through ManagedMediaSource. None of them is Apple's Safari.
"""

import io

import av
import numpy as np
import pytest

from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.checkpoint.load import load
from shotstream_jax.world.clothing import ACCENTS
from tests.serve.engines import ENTER, ESCAPE, chromium_tab, firefox_tab, webkit_tab
from tests.serve.pages import paced, page_server

CAPTIONS = ("The frog is dancing in the meadow.", "The giraffe walks on the beach.")
DONE = "document.querySelectorAll('.card.done').length"
# The picture on the screen, a value for each of the model's own pixels.
PICTURE = """
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = values;
  const pen = canvas.getContext("2d");
  pen.imageSmoothingEnabled = false;
  pen.drawImage(document.getElementById("film"), 0, 0, ...values);
  return [...pen.getImageData(0, 0, ...values).data];
"""
# Stops at a time, once that frame is on the screen.
SHOW = """
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
# A chunk's file.
CHUNK = """
  const { id, token } = JSON.parse(localStorage.getItem("shotstream-story"));
  const shot = document.querySelectorAll(".face")[values[0]].dataset.shot;
  const path = `/api/stories/${id}/shots/${shot}/chunks/${values[1]}`;
  const answer = await fetch(path, { headers: { Authorization: `Bearer ${token}` } });
  return [...new Uint8Array(await answer.arrayBuffer())];
"""


@pytest.fixture(scope="module")
def miniature():
    return load(open_checkpoint("tiny"))


@pytest.fixture(scope="module")
def pace():
    with paced() as pace:
        yield pace


@pytest.fixture(scope="module")
def address(miniature, pace, tmp_path_factory):
    with page_server(tmp_path_factory.mktemp("stories"), miniature) as address:
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


def made_picture(tab, size, shot, chunk, frame):
    """What the server has made, likewise."""
    film = io.BytesIO(bytes(tab.run(CHUNK, shot, chunk)))
    with av.open(film) as opened:
        frames = [decoded.to_ndarray(format="rgb24") for decoded in opened.decode(video=0)]
    step = frames[frame].shape[0] // size[0]
    return frames[frame][step // 2 :: step, step // 2 :: step].astype(int)


def count(picture, *colours):
    """How many pixels have one of a hat's colours, about."""
    near = [np.abs(picture - np.array(ACCENTS[colour])).max(-1) < 60 for colour in colours]
    return int(np.any(near, axis=0).sum())


def test_two_shots_play_in_their_colours_and_the_third_is_cut(tab, pace, miniature):
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
        error = np.abs(shown - made_picture(tab, size, shot, chunk=0, frame=0))
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
