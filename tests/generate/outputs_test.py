"""What a run writes destroys nothing, and an interrupted one is gone on with."""

import json
import os

import numpy as np
import pytest

from shotstream_jax.generate import __main__ as app
from shotstream_jax.generate import film, outputs
from shotstream_jax.generate.outputs import OutputFiles, remember_film
from shotstream_jax.generate.record import ShotRecord
from shotstream_jax.generate.story import Story
from shotstream_jax.media.video import VideoWriter, partial_path
from shotstream_jax.presets import VideoFormat
from tests.generate.cli_test import SHOT, SMALL, read_video


@pytest.fixture
def planned(monkeypatch):
    """The outputs of the runs that were begun; none of them makes anything."""
    found = []
    monkeypatch.setattr(
        app,
        "_stream",
        lambda args, story, captions, picture, load, files, scale: found.append(files),
    )
    return found


def test_the_default_name_is_the_next_free_one(run, tmp_path, planned):
    for _ in range(3):
        assert run("--story", "story.json")[0] == 0
        planned[-1].video.parent.mkdir(exist_ok=True)
        planned[-1].video.touch()
    assert [files.video.name for files in planned] == ["story.mp4", "story-2.mp4", "story-3.mp4"]


def test_what_is_there_is_replaced_only_when_asked(run, tmp_path, planned):
    for name in ("x.mp4", "r.json"):
        (tmp_path / name).write_text("mine")
    words = ["--story", "story.json", "--out", "x.mp4"]
    code, err = run(*words)
    assert code == 2 and "--out x.mp4 is there already" in err
    code, err = run("--story", "story.json", "--out", "y.mp4", "--report", "r.json")
    assert code == 2 and "--report r.json is there already" in err
    assert planned == []
    assert run(*words, "--report", "r.json", "--overwrite")[0] == 0
    assert len(planned) == 1


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_a_link_to_an_input_is_the_input(run, tmp_path, planned, link):
    link(tmp_path / "story.json", tmp_path / "r.json")
    code, err = run("--story", "story.json", "--report", "r.json", "--overwrite")
    assert code == 2 and "r.json is the file of --story" in err and planned == []


def test_a_second_run_with_the_same_output_is_refused_at_once(run, tmp_path, planned):
    files = outputs.OutputFiles(tmp_path / "x.mp4", None, tmp_path / "kept")
    with outputs.outputs_held(files, {}, overwrite=False):
        for words in (["--out", "x.mp4"], ["--out", "y.mp4", "--save-story", "kept"]):
            code, err = run("--story", "story.json", *words)
            assert code == 2 and f"is being written by process {os.getpid()}" in err
        assert run("--story", "story.json", "--out", "y.mp4")[0] == 0
    assert run("--story", "story.json", "--out", "x.mp4")[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["story.json"]


def interrupted(monkeypatch, chunks: int) -> None:
    """From now on a Ctrl-C comes after so many chunks of a run."""
    real = app.stream_generate

    def stream(*args, **options):
        for number, chunk in enumerate(real(*args, **options)):
            if number == chunks:
                raise KeyboardInterrupt
            yield chunk

    monkeypatch.setattr(app, "stream_generate", stream)


def test_an_interrupted_run_is_gone_on_with(run, tmp_path, monkeypatch, caplog):
    """The same latents as without the interruption, and one film."""
    caplog.set_level("INFO", logger="absl")
    words = ["--story", "story.json", "--seed", "5", *SMALL]
    assert run(*words, "--out", "whole.mp4", "--save-story", "whole")[0] == 0
    resumed = [*words, "--out", "x.mp4", "--save-story", "kept", "--resume"]
    with monkeypatch.context() as patch:
        interrupted(patch, chunks=3)  # in the second shot
        code, err = run(*resumed)
    assert code == 130 and "interrupted" in err
    assert "first 1 shots are kept in kept: the same command with --resume goes on" in caplog.text
    partial = (tmp_path / "x.partial.mp4").read_bytes()
    # What is not the same story is refused.
    code, err = run(*resumed[:3], "6", *resumed[4:])
    assert code == 2 and "another story: --resume wants the same prompts, seed" in err
    story = json.loads((tmp_path / "story.json").read_text())
    (tmp_path / "other.json").write_text(json.dumps(story | {"shot1": "It sleeps."}))
    code, err = run("--story", "other.json", *resumed[2:])
    assert code == 2 and "shot 1 in kept has another caption" in err

    assert run(*resumed)[0] == 0
    for number in (0, 1):
        name = f"shot_{number:06d}.npz"
        assert (tmp_path / "kept" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    film = read_video(tmp_path / "x.mp4").astype(float)
    whole = read_video(tmp_path / "whole.mp4").astype(float)
    assert film.shape == whole.shape == (2 * SHOT, 256, 384, 3)
    # The same pictures but for the compression, twice in the first shot: its errors are small next
    # to the difference between two shots.
    between = np.abs(whole[SHOT:] - whole[:SHOT]).mean()
    assert np.abs(film - whole)[:SHOT].mean() < 0.3 * between
    assert np.abs(film - whole)[SHOT:].mean() < 0.3 * between
    # The unfinished film is still there, too.
    assert (tmp_path / "x.partial-2.mp4").read_bytes() == partial
    code, err = run(*resumed, "--overwrite")
    assert code == 2 and "all 2 shots are in kept already" in err


@pytest.mark.parametrize("lengths", [(9, 5), (5, 9, 1), (16,)])
def test_earlier_shots_of_any_lengths_are_copied(tmp_path, monkeypatch, lengths):
    """All of their frames, and none of the shot that was interrupted."""
    monkeypatch.setattr(film, "_FRAMES_AT_ONCE", 4)
    pictures = np.random.default_rng(0).integers(0, 256, (20, 32, 48, 3), np.uint8)
    with VideoWriter(tmp_path / "old.mp4", 8, lossless=True) as writer:
        writer.write(pictures)
    story = Story("", 0, "tiny", VideoFormat(32, 48, 6), 6)
    for number, length in enumerate(lengths):
        nothing = np.zeros(0, np.int64)
        story = story.add(ShotRecord(number, "x", story.next_frame, length, nothing, ()))
    unfinished = (tmp_path / "old.mp4").rename(partial_path(tmp_path / "old.mp4"))
    remember_film(tmp_path, tmp_path / "old.mp4")
    files = OutputFiles(tmp_path / "new.mp4", None, tmp_path)
    with VideoWriter(files.video, 8, lossless=True) as writer:
        film.write_earlier_shots(writer, unfinished, story, files)
    np.testing.assert_array_equal(read_video(files.video), pictures[: sum(lengths)])


def test_a_film_of_another_story_is_not_gone_on_with(run, tmp_path, monkeypatch, caplog):
    words = ["--story", "story.json", *SMALL, "--out", "x.mp4", "--resume"]
    for folder in ("kept", "other"):
        with monkeypatch.context() as patch:
            interrupted(patch, chunks=2)
            assert run(*words, "--save-story", folder)[0] == 130
    assert run(*words, "--save-story", "kept")[0] == 0
    assert "the film of the earlier shots is not there" in caplog.text
    assert len(read_video(tmp_path / "x.mp4")) == SHOT
    assert len(read_video(tmp_path / "x.partial-2.mp4")) == SHOT


def test_a_kept_story_goes_on_by_its_own_weights(run, tmp_path, caplog):
    words = ["--continue-story", "kept", "--prompts", "more.txt"]
    (tmp_path / "more.txt").write_text("It runs.\n")
    one = {"global_caption": "A fox.", "shot1": "It wakes."}
    (tmp_path / "story.json").write_text(json.dumps(one))
    assert run("--story", "story.json", "--save-story", "kept", "--out", "x.mp4", *SMALL)[0] == 0
    code, err = run(*words, "--checkpoint", "tiny-teacher", "--out", "y.mp4")
    assert code == 2 and "made by other weights (fingerprint" in err and "--other-weights" in err
    other = [*words, "--checkpoint", "tiny-teacher", "--out", "y.mp4", "--other-weights"]
    assert run(*other, "--save-story", "new")[0] == 0
    assert Story.load("new").fingerprint != Story.load("kept").fingerprint
    assert Story.load("new").next_shot == 2
    # A story of an older version does not say what made it: it goes on with a warning.
    head = json.loads((tmp_path / "kept" / "story.json").read_text())
    del head["fingerprint"]
    (tmp_path / "kept" / "story.json").write_text(json.dumps(head))
    caplog.clear()
    assert run(*words, "--save-story", "kept", "--out", "z.mp4")[0] == 0
    assert "does not say by which weights it was made" in caplog.text
    assert Story.load("kept").next_shot == 2


@pytest.mark.parametrize(
    "words, expected",
    [
        ([], []),
        (["--config.video.fps=25"], []),
        (
            ["--config.video.shot_frames=12"],
            [
                "tiny was trained for 32×48 with 6 latent frames a shot: 32×48 with 12 latent "
                "frames a shot may look poor"
            ],
        ),
        (["--config.video.height=64", "--config.video.width=96"], ["tiny was trained for 32×48"]),
        (["--checkpoint", "tiny-teacher"], ["tiny-teacher was trained as a teacher, for many"]),
    ],
)
def test_what_a_model_was_not_trained_for_is_said(run, planned, caplog, words, expected):
    assert run("--story", "story.json", *words)[0] == 0 and len(planned) == 1
    assert len(caplog.messages) == len(expected)
    for message, start in zip(caplog.messages, expected, strict=True):
        assert message.startswith(start) and "\n" not in message


def test_a_folder_does_not_hide_a_shipped_model(run, tmp_path, planned, caplog):
    caplog.set_level("INFO", logger="absl")
    (tmp_path / "tiny").mkdir()
    assert run("--story", "story.json")[0] == 0 and len(planned) == 1
    assert "tiny is the shipped model; the folder here is ./tiny" in caplog.text
    code, err = run("--story", "story.json", "--checkpoint", "./tiny")
    assert code == 2 and "tiny is not a checkpoint" in err
