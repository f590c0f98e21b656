"""The command line: a story becomes an mp4 and a report.

Every mistake is reported in one line with exit code 2, and no file is left behind.
"""

import errno
import json
import sys

import av
import numpy as np
import pytest

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import Checkpoint
from shotstream_jax.checkpoint.load import load
from shotstream_jax.core.errors import InputError
from shotstream_jax.generate import __main__ as app
from shotstream_jax.generate.pins import pin_picture
from shotstream_jax.generate.story import Story
from shotstream_jax.media.pictures import write_png
from shotstream_jax.media.video import VideoWriter, partial_path
from shotstream_jax.presets import find_preset
from tests.generate.conftest import STORY

SMALL = ["--config.video.height=32", "--config.video.width=48", "--config.video.shot_frames=6"]
KEPT = ["--save-story", "kept", "--context-rule", "caption"]
TIME, SHOT = find_preset("tiny").vae.time, find_preset("tiny").vae.pixel_frames(6)  # pixel frames


def read_video(path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_a_story_from_file_to_video(run, tmp_path, caplog):
    code, _ = run(
        "--story",
        "story.json",
        "--out",
        "o/x.mp4",
        "--report",
        "o/r.json",
        *KEPT,
        *SMALL,
    )
    assert code == 0
    assert Story.load(tmp_path / "kept").memory == "caption"
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["r.json", "x.mp4"]
    video = read_video(tmp_path / "o/x.mp4")
    assert video.shape == (2 * SHOT, 256, 384, 3)
    report = json.loads((tmp_path / "o/r.json").read_text())
    assert (
        report["film"]["path"] == "o/x.mp4"
        and (report["film"]["height"], report["film"]["width"], report["film"]["scale"])
        == (256, 384, 8)
        and report["frames"] == report["film"]["frames"] == 2 * SHOT
        and report["shots"] == 2
        and report["preset"] == "tiny"
        and report["seed"] == 0
    )
    assert [(c["shot"], c["chunk"], c["frames"]) for c in report["chunks"]] == [
        (0, 0, SHOT - 3 * TIME),
        (0, 1, 3 * TIME),
        (1, 0, SHOT - 3 * TIME),
        (1, 1, 3 * TIME),
    ]
    assert all(c["seconds"] > 0 for c in report["chunks"])
    assert report["first_frames_s"]["cold"] > 0 < report["first_frames_s"]["warm"]
    assert (
        report["fps"] > 0
        and report["peak_rss_mb"] > 100
        and report["device"]
        and report["versions"]["jax"]
    )
    assert "shot 1 has words that the vocabulary lacks: It, wakes" in caplog.text
    assert "shot 2: the prompt is too long, its last" in caplog.text
    # What would end in a conflict after a shot's work is refused before it.
    code, err = run("--story", "story.json", "--out", "o/y.mp4", *KEPT, *SMALL)
    assert code == 2 and "kept already goes on after shot 0" in err
    # So is what would replace the film.
    film = (tmp_path / "o/x.mp4").read_bytes()
    code, err = run("--story", "story.json", "--out", "o/x.mp4", *SMALL)
    assert code == 2 and "--out o/x.mp4 is there already: name another file, or add --over" in err
    assert (tmp_path / "o/x.mp4").read_bytes() == film
    code, err = run(
        "--continue-story", "kept", "--at", "1", "--story", "story.json", "--config.video.height=64"
    )
    assert code == 2 and "its own seed, format and rule" in err
    for rule in ("--context-rule=paper", "--config.context_rule=paper"):
        code, err = run("--continue-story", "kept", "--story", "story.json", rule)
        assert code == 2 and "its own seed, format and rule" in err
    # The kept story goes on from any shot, typed or from a file.
    (tmp_path / "more.txt").write_text(STORY["shot2"] + "\n")
    code, _ = run(
        "--continue-story", "kept", "--at", "1", "--prompts", "more.txt", "--out", "again.mp4"
    )
    assert code == 0
    again = read_video(tmp_path / "again.mp4").astype(float)
    assert again.shape == (SHOT, 256, 384, 3)
    # The same frames up to the video's compression: its errors are small next to the
    # difference between two shots.
    assert np.abs(again - video[SHOT:]).mean() < 0.3 * np.abs(again - video[:SHOT]).mean()


def test_a_story_starts_from_a_picture(run, tmp_path):
    """Fitted as asked; the shot's record has it, and the next shot has none."""
    picture = np.random.default_rng(0).integers(0, 256, (40, 90, 3), np.uint8)
    write_png(tmp_path / "p.png", picture)
    story = ["--story", "story.json", "--save-story", "kept", *SMALL]
    story += ["--picture", "p.png", "--picture-fit", "pad"]
    assert run(*story, "--out", "x.mp4")[0] == 0
    kept = Story.load("kept")
    first, second = kept.shots
    assert len(first.pins) == 1 and not second.pins
    expected = pin_picture(load("tiny"), kept.video, picture, fit="pad")
    assert np.array_equal(first.pins[0].latent, expected.latent)
    # A run that is gone on with has used the picture.
    (tmp_path / "kept" / "shot_000001.npz").unlink()
    assert run(*story, "--out", "y.mp4", "--resume")[0] == 0
    assert Story.load("kept").shots[1].is_same(second)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "one of the arguments --story --prompts is required"),
        (["--story", "nothing.json"], "cannot read story nothing.json"),
        (["--story", "story.json", "--prompts", "-"], "not allowed with argument --story"),
        (["--story", "story.json", "--global-caption", "x"], "a story file has its own"),
        (["--story", "story.json", "--bogus", "1"], "unknown argument --bogus"),
        (["--story", "story.json", "--seed", "x"], "invalid int value: 'x'"),
        (["--story", "story.json", "--config", "nope.py"], "there is no config file nope.py"),
        (["--story", "story.json", "--config.video.heigt=3"], 'Did you mean "height"'),
        (["--story", "story.json", "--config.video.height=x"], "config.video.height=x"),
        (
            ["--story", "story.json", "--config.video.height=100"],
            "height 100 is not a multiple of 8; try 96",
        ),
        (
            ["--story", "story.json", "--config.video.shot_frames=4"],
            "4 latent frames is not a multiple of the chunk, 3; try 3",
        ),
        (["--story", "story.json", "--config.dtype=int4"], "int4"),
        (["--story", "story.json", "--context-rule", "latest"], "invalid choice: 'latest'"),
        (
            ["--story", "story.json", "--config.context_rule=latest"],
            "memory 'latest' is no rule: choose one of paper, caption",
        ),
        (
            ["--story", "story.json", "--decoder", "taehv"],
            "tiny has no decoder taehv: shotstream convert add-decoder tiny FILE --out NEW",
        ),
        (["--story", "story.json", "--config.decoder=lightvae"], "tiny has no decoder lightvae"),
        (["--story", "story.json", "--config.decoder=full"], "choose one of wan, taehv, lighttae"),
        (["--story", "story.json", "--config.quantize=int4"], "choose one of none, int8, fp8"),
        (
            ["--story", "story.json", "--config.mesh.tensor=3"],
            "4 heads do not divide over mesh.tensor=3",
        ),
        (
            ["--story", "story.json", "--config.mesh.sequence=9"],
            "sequence=9 needs 9 devices, there are 8",
        ),
        (
            ["--story", "story.json", "--config.mesh.data=2"],
            "1 stories do not divide over mesh.data=2",
        ),
        (["--story", "story.json", "--checkpoint", "nowhere"], "checkpoint nowhere is neither"),
        (["--story", "story.json", "--out", "x.avi"], "must end in .mp4"),
        (["--story", "story.json", "--out", "x"], "or in / for a folder of PNG pictures"),
        (["--story", "story.json", "--out", "x.gif/"], "leave the / out"),
        (["--story", "story.json", "--out", "./"], "is not empty: name a new folder"),
        (["--story", "story.json", "--scale", "0"], "--scale 0 must be auto or a whole number"),
        (["--story", "story.json", "--scale", "1.5"], "--scale 1.5 must be auto or a whole number"),
        (["--story", "story.json", "--out", "/proc/x/y.mp4"], "cannot write /proc/x/y.mp4"),
        (["--story", "story.json", "--report", "/proc/x/r.json"], "cannot write /proc/x/r.json"),
        (["--story", "story.json", "--at", "1"], "--at goes with --continue-story"),
        (["--prompts", "-", "--continue-story", "nowhere"], "nowhere holds no story"),
        (["--prompts", "nothing.txt"], "cannot read nothing.txt"),
        (["--prompts", "-"], "no prompt came in"),
        (["--story", ""], "--story is empty"),
        (["--story", "story.json", "--checkpoint", ""], "--checkpoint is empty"),
        (
            ["--story", "story.json", "--seed", str(2**63)],
            "seed 9223372036854775808 must be",
        ),
        (
            ["--story", "story.json", "--config.video.fps=100000"],
            "fps 100000 must be a whole number from 1 to 1000",
        ),
        (
            [
                "--story",
                "story.json",
                "--config.dtype=int4",
                "--save-story",
                "kept",
                "--out",
                "new/x.mp4",
            ],
            "int4",
        ),
        (
            ["--story", "story.json", "--report", "/proc/r.json", "--save-story", "kept"],
            "cannot write /proc/r.json",
        ),
        (["--story", "story.json", "--save-story", "story.json"], "story.json is a file"),
        (["--story", "story.json", "--save-story", "/proc/kept"], "cannot write /proc/kept"),
        (["--story", "story.json", "--out", "story.json/x.mp4"], "cannot write story.json/x.mp4"),
        (["--story", ".", "--out", "x.mp4"], "cannot read story .: Is a directory"),
        (["--story", "story.json", "--report", "story.json"], "is the file of --story"),
        (
            ["--story", "story.json", "--overwrite", "--report", "./STORY.json"],
            "is the file of --story",
        ),
        (
            ["--prompts", "story.json", "--overwrite", "--report", "story.json"],
            "is the file of --prompts",
        ),
        (
            ["--story", "story.json", "--save-story", "kept", "--report", "kept/story.json"],
            "is the file of --save-story",
        ),
        (
            ["--story", "story.json", "--save-story", "x.mp4", "--out", "x.mp4"],
            "--out x.mp4 and --save-story x.mp4/story.json lie in each other",
        ),
        (["--story", "story.json", "--resume"], "--resume goes with --save-story"),
        (["--prompts", "-", "--resume", "--save-story", "kept"], "needs the same prompts"),
        (["--story", "story.json", "--picture", "no.png"], "no.png is not there"),
        (["--story", "story.json", "--picture", "story.json"], "story.json is no PNG"),
        (["--story", "story.json", "--picture-fit", "cover"], "invalid choice"),
        (["--story", "story.json", "--other-weights"], "goes with --continue-story"),
        (["--story", "story.json", "--out", "x" * 300 + ".mp4"], "File name too long"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_mistakes(run, tmp_path, arguments, message):
    code, err = run(*arguments)
    assert code == 2
    assert err.startswith("error: ") and err.count("\n") == 1 and message in err
    assert [p.name for p in tmp_path.iterdir()] == ["story.json"], "a refused run leaves nothing"


@pytest.mark.parametrize(
    "arguments, decoder",
    [
        ([], "wan"),
        (["--config.decoder=lightvae"], "lightvae"),
        (["--config.decoder=lightvae", "--decoder", "taehv"], "taehv"),
    ],
)
def test_the_decoder_is_the_options_or_else_the_recipes(run, monkeypatch, arguments, decoder):
    def load(checkpoint, *_, **options):
        raise InputError(f"loaded with {options}")

    monkeypatch.setattr("shotstream_jax.generate.recipe.load", load)
    monkeypatch.setattr(Checkpoint, "decoder", lambda checkpoint, kind: None)
    code, err = run("--story", "story.json", *arguments)
    assert code == 2 and f"'decoder': '{decoder}'" in err


def test_a_line_that_is_no_text_ends_a_run_but_keeps_what_was_made(run, tmp_path, monkeypatch):
    (tmp_path / "lines").write_bytes(b"a fox wakes\n\n\xff\n")
    with open("lines") as lines:
        monkeypatch.setattr(sys, "stdin", lines)
        code, err = run("--prompts", "-", "--out", "x.mp4", *SMALL)
    assert code == 2 and "standard input line 3 is not UTF-8 text" in err
    assert not (tmp_path / "x.mp4").exists()
    assert len(read_video(tmp_path / "x.partial.mp4")) == SHOT


def test_a_script_tells_a_story_that_goes_back(run, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", logger="absl")
    (tmp_path / "lines").write_text("a fox wakes\n/take\nit runs\n/back 1\nit sleeps\n")
    with open("lines") as lines:
        monkeypatch.setattr(sys, "stdin", lines)
        code, _ = run("--prompts", "-", "--out", "o/x.mp4", "--report", "o/r.json", *SMALL)
    assert code == 0 and "shot 1 has words that the vocabulary lacks: wakes" in caplog.text
    assert caplog.text.count("lacks: wakes") == 1
    # The film has the story as it stands; all that was made is beside it, in its order.
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == [
        "r.json",
        "x.all.mp4",
        "x.mp4",
    ]
    made = read_video(tmp_path / "o/x.all.mp4")
    takes = [made[SHOT * number : SHOT * (number + 1)] for number in range(4)]
    assert np.array_equal(read_video(tmp_path / "o/x.mp4"), np.concatenate([takes[1], takes[3]]))
    report = json.loads((tmp_path / "o/r.json").read_text())
    assert report["film"]["frames"] == 2 * SHOT and report["frames"] == 4 * SHOT


def test_a_command_for_a_film_that_cannot_be_gone_back_in_is_refused(run, tmp_path, monkeypatch):
    (tmp_path / "lines").write_text("/take\n")
    with open("lines") as lines:
        monkeypatch.setattr(sys, "stdin", lines)
        code, err = run("--prompts", "-", "--out", "x.gif", *SMALL)
    assert code == 2 and "/take needs another film: give --out FILE.mp4" in err


def test_help_teaches(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["generate", "--help"])
    with pytest.raises(SystemExit) as stop:
        cli.run(app.main)
    out = capsys.readouterr().out
    assert stop.value.code == 0
    assert "--story FILE" in out and "examples/tiny/story.json" in out and "(default: tiny)" in out


def test_the_video_can_be_played_while_it_is_written(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (5, 32, 48, 3), np.uint8)
    path = tmp_path / "x.mp4"
    with VideoWriter(path, 16) as writer:
        writer.write(pictures[:3])  # the muxer holds the last frame until the next one comes
        assert len(read_video(partial_path(path))) == 2 and not path.exists()
        writer.write(pictures[3:])
    assert len(read_video(path)) == 5 and not partial_path(path).exists()


def test_an_interrupted_video_keeps_its_partial_name(tmp_path):
    path = tmp_path / "x.mp4"
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, 16) as writer:
        writer.write(np.zeros((2, 32, 48, 3), np.uint8))
        raise KeyboardInterrupt
    assert len(read_video(partial_path(path))) == 2 and not path.exists()


def test_a_full_disk_is_one_line(tmp_path):
    partial_path(tmp_path / "x.mp4").symlink_to("/dev/full")
    with pytest.raises(InputError, match="No space left on device; what was made is in") as error:
        with VideoWriter(tmp_path / "x.mp4", 16) as writer:
            writer.write(np.zeros((2, 32, 48, 3), np.uint8))
    assert "\n" not in str(error.value) and not (tmp_path / "x.mp4").exists()


def test_a_disk_that_fills_up_leaves_a_video_that_plays(tmp_path, monkeypatch):
    path = tmp_path / "x.mp4"
    pictures = np.random.default_rng(0).integers(0, 256, (6, 32, 48, 3), np.uint8)
    with pytest.raises(InputError, match="No space left"), VideoWriter(path, 16) as writer:
        writer.write(pictures[:3])
        opened = writer._open
        full = opened._replace(file=_FullDisk(opened.file))
        monkeypatch.setattr(writer, "_open", full)
        writer.write(pictures[3:])
    assert len(read_video(partial_path(path))) == 2


class _FullDisk:
    """A file that still takes a few bytes and then says that the disk is full."""

    def __init__(self, file):
        self.file = file

    def __getattr__(self, name):
        return getattr(self.file, name)

    def flush(self):
        self.file.write(b"half a fragment")
        self.file.flush()
        raise OSError(errno.ENOSPC, "No space left on device")
