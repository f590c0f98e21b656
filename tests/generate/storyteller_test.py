"""The storyteller: what lines mean, the state of a telling, and stories that are told."""

import io
import pathlib

import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.generate.asked import Shot, StyleCue
from shotstream_jax.generate.live import advance, begin
from shotstream_jax.generate.pins import pin_picture
from shotstream_jax.generate.report import Report
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.storyteller.commands import (
    FORMS,
    StoryLine,
    completions,
    help_page,
    parse,
    written,
)
from shotstream_jax.generate.storyteller.inbox import END as LAST
from shotstream_jax.generate.storyteller.inbox import Inbox
from shotstream_jax.generate.storyteller.keeping import Keeper
from shotstream_jax.generate.storyteller.screen import Terminal
from shotstream_jax.generate.storyteller.teller import Storyteller
from shotstream_jax.generate.storyteller.telling import (
    END,
    Made,
    Telling,
    another_take,
    enter,
    gone_back,
    interrupted,
    next_command,
    spans,
    undone,
    with_shot,
)
from shotstream_jax.generate.stream import new_story, stream_generate
from shotstream_jax.media.rushes import FrameSpan, Rushes
from shotstream_jax.styles import read_style, with_styles
from shotstream_jax.testing import tiny_model
from tests.generate.styles_test import adapter_state
from tests.generate.styles_test import written as written_adapter

MODEL = tiny_model()
CHUNK = MODEL.preset.memory.chunk
FOLDER = pathlib.Path("kept")

# --- what lines mean


@pytest.mark.parametrize(
    "line, command",
    [
        ("The frog  jumps. ", StoryLine("caption", "The frog  jumps.")),
        ("/take", StoryLine("take")),
        (" /retell  The frog sleeps.", StoryLine("retell", "The frog sleeps.")),
        ("/pin 2:5", StoryLine("pin", shot=2, frame=5)),
        ("/back 0", StoryLine("back", shot=0)),
        ("/fork out/mara", StoryLine("fork", "out/mara")),
        ("/picture my mara.png", StoryLine("picture", "my mara.png")),
        ("/words", StoryLine("words")),
        (
            "/style my film.safetensors -0.5",
            StoryLine("style", "my film.safetensors", strength=-0.5),
        ),
        ("/words fr", StoryLine("words", "fr")),
    ],
)
def test_a_line_is_a_caption_or_a_command(line, command):
    assert parse(line) == command


@pytest.mark.parametrize(
    "line, message",
    [
        ("/tkae", "there is no /tkae: /take?"),
        ("/xyz", "there is no /xyz (/help"),
        ("/", "there is no / (/help"),
        ("/take 2", "write it as /take"),
        ("/retell", "write it as /retell CAPTION"),
        ("/pin", "write it as /pin SHOT:FRAME"),
        ("/pin 2", "like /pin 2:5, not ''"),
        ("/pin 0:5", "like /pin 2:5, not '0'"),
        ("/pin a:5", "like /pin 2:5, not 'a'"),
        ("/back", "write it as /back N"),
        ("/back -1", "like /back 2, not '-1'"),
        ("/back ٣", "like /back 2"),
        ("/back 9999999999", "like /back 2"),
        ("/style film.safetensors", "like /style film.safetensors 0.6"),
        ("/style film.safetensors nan", "like /style film.safetensors 0.6"),
        ("/retell \ud800", "is not UTF-8 text"),
    ],
)
def test_a_line_that_is_none_is_refused_in_one_line(line, message):
    with pytest.raises(InputError) as error:
        parse(line)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_the_help_has_every_command():
    for name in FORMS:
        assert f"\n  /{name} " in help_page()


def test_commands_and_the_models_words_are_completed():
    words = ["fox", "frog", "from", "meadow"]
    assert completions("", "/p", words) == ["/pin ", "/picture "]
    assert completions("The ", "fr", words) == ["frog", "from"]
    assert completions("", "Fro", words) == ["Frog", "From"]  # as it was begun
    assert completions("The frog ", "/p", words) == completions("/picture ", "f", words) == []


# --- the state of a telling


def told(*numbers: int) -> Telling:
    """A telling with shots of ten frames, each after the one whose number is one less."""
    telling = Telling(Made(0, FOLDER))
    for place, number in enumerate(numbers):
        before = telling.head
        while before.number >= number:
            before = before.before
        made = Made(number, FOLDER, before, FrameSpan(10 * place, 10 * place + 10))
        telling = with_shot(telling, made)
    return telling


def entered(telling: Telling, *lines: str, is_typed=True) -> Telling:
    for line in lines:
        telling, _ = enter(telling, parse(line), is_typed)
    return telling


def test_a_persons_line_about_the_running_shot_comes_before_what_waits():
    telling = entered(told(1), "b", "c", "/retell d", "/cut", "/pin 1:1")
    names = [command.text or command.name for command in telling.waiting]
    assert names == ["d", "cut", "b", "c", "pin"]
    # A script's lines are in their order.
    telling = entered(told(1), "b", "/cut", "c", is_typed=False)
    assert [command.text or command.name for command in telling.waiting] == ["b", "cut", "c"]


@pytest.mark.parametrize("line", ["/back 1", "/undo", "/quit"])
def test_what_leaves_the_running_shot_drops_what_waits_and_says_so(line):
    lines = ["b", "/take", "/pin 1:2", "c"]
    telling, left_out = enter(entered(told(1, 2), *lines), parse(line), is_typed=True)
    assert telling.waiting == (END, parse(line))
    assert [written(command) for command in left_out] == lines
    # Another way back follows the first one.
    telling, _ = enter(telling, parse("/back 0"), is_typed=True)
    assert telling.waiting == (END, parse(line), END, parse("/back 0"))


def test_a_ctrl_c_ends_the_shot_and_a_second_one_the_telling():
    telling, left_out = interrupted(entered(told(1), "b"), leaves=False)
    assert telling.waiting == (END,) and left_out == (parse("b"),)
    telling, _ = interrupted(telling, leaves=True)
    assert [command.name for command in telling.waiting] == ["end", "end", "quit"]


def test_commands_wait_for_a_boundary_that_is_theirs():
    telling = entered(told(1), "/cut", "b")
    # Of a running shot at least one chunk is there when it is cut.
    same, none = next_command(telling, chunks=0)
    assert none is None and same is telling
    telling, cut = next_command(telling, chunks=1)
    assert cut == StoryLine("cut")
    # The next caption waits until no shot is running.
    assert next_command(telling, chunks=1)[1] is None
    telling, caption = next_command(telling, chunks=None)
    assert caption == StoryLine("caption", "b") and next_command(telling, None)[1] is None


def test_the_story_as_it_stands_is_the_way_to_the_head():
    telling = told(1, 2, 3)
    assert spans(telling.head) == [FrameSpan(0, 30)]
    # Another second shot: its frames follow the dropped ones.
    telling = told(1, 2, 3, 2, 3)
    assert spans(telling.head) == [FrameSpan(0, 10), FrameSpan(30, 50)]
    assert spans(gone_back(telling, 1).head) == [FrameSpan(0, 10)]
    assert spans(gone_back(telling, 0).head) == []
    with pytest.raises(InputError, match="the story has 3 shots: /back 0 to 3"):
        gone_back(telling, 4)


def test_undoing_goes_to_where_the_head_was():
    telling = told(1, 2)
    before = telling.head
    telling = gone_back(telling, 1)
    assert undone(telling).head is before
    assert undone(undone(telling)).head.number == 1
    for _ in range(3):
        telling = undone(telling)
    with pytest.raises(InputError, match="nothing to undo"):
        undone(telling)


def test_no_take_is_made_twice():
    telling, take = another_take(told(1), 0)
    assert take == 1
    telling, take = another_take(undone(with_shot(telling, Made(1, FOLDER, telling.head))), 0)
    assert take == 2
    # A kept shot may be a take already.
    assert another_take(told(1), 5)[1] == 6


def test_a_story_that_was_continued_can_be_gone_back_in_before_its_beginning():
    telling = with_shot(Telling(Made(4, FOLDER)), Made(5, FOLDER, Made(4, FOLDER), FrameSpan(0, 9)))
    assert gone_back(telling, 2).head.number == 2 and spans(gone_back(telling, 2).head) == []


# --- stories that are told


class Scene:
    """A telling without a terminal: lines in, frames and folders out."""

    def __init__(self, folder: pathlib.Path, story=None, kept_in=None, is_typed=False):
        self.folder = folder
        self.frames: list[np.ndarray] = []
        story = story or new_story(MODEL, "A fox.", 3)
        beginning = Made(story.next_shot, kept_in or folder / "kept")
        self.rushes = Rushes(folder / "all.mp4", story.video.fps, scale=4)
        self.teller = Storyteller(
            MODEL,
            story,
            Telling(beginning),
            Keeper(beginning, story, folder / "kept", is_for_good=True),
            self.rushes,
            Report("tiny", 0, ""),
            None,
            is_typed,
            self.frames.append,
        )

    def tell(self, *lines: str) -> "Scene":
        inbox = Inbox()
        for line in lines:
            inbox.put(parse(line))
        inbox.put(LAST)
        self.teller.tell(inbox)
        return self

    def stands(self) -> np.ndarray:
        """The frames of the story as it stands."""
        made = np.concatenate(self.frames)
        return np.concatenate([made[a:b] for a, b in spans(self.teller.telling.head)])


def streamed(*shots) -> np.ndarray:
    """The frames of a story that was streamed in one go."""
    story = new_story(MODEL, "A fox.", 3)
    return np.concatenate([chunk.frames for chunk in stream_generate(MODEL, shots, story=story)])


def test_captions_are_the_streams_story(tmp_path):
    scene = Scene(tmp_path).tell("the fox runs", "it sleeps")
    assert np.array_equal(scene.stands(), streamed("the fox runs", "it sleeps"))
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        "shot_000000.npz",
        "shot_000001.npz",
        "story.json",
    ]


@pytest.mark.parametrize(
    "lines, shots",
    [
        (["a", "/take"], [Shot("a", take=1)]),
        (["a", "/take", "/take", "b"], [Shot("a", take=2), "b"]),
        (["a", "/take", "/undo", "b"], ["a", "b"]),
        (["a", "b", "/cut", "c"], ["a", Shot("b", frames=CHUNK), "c"]),
        (["a", "b", "c", "/back 1", "d"], ["a", "d"]),
        (["a", "b", "/back 0", "d", "e"], ["d", "e"]),
        (["a", "b", "/back 0", "d", "/undo", "/undo", "c"], ["a", "b", "c"]),
    ],
    ids=lambda values: ", ".join(str(value) for value in values),
)
def test_the_story_that_stands_is_one_that_was_told_so(tmp_path, lines, shots):
    scene = Scene(tmp_path).tell(*lines)
    assert np.array_equal(scene.stands(), streamed(*shots))
    # It is kept like this, and goes on from its folder.
    head = scene.teller.telling.head
    kept = Story.load(head.folder, at=head.number)
    for record, same in zip(kept.shots, scene.teller.story.shots, strict=True):
        assert record.is_same(same)
    assert scene.rushes.frames == len(np.concatenate(scene.frames))


def test_a_running_shot_is_told_again_from_its_next_chunk_on(tmp_path):
    scene = Scene(tmp_path).tell("the fox runs", "/retell the fox sleeps", "b")
    record = Story.load(tmp_path / "kept", at=1).shots[0]
    assert [(cue.chunk, cue.caption) for cue in record.cues] == [
        (0, "the fox runs"),
        (1, "the fox sleeps"),
    ]
    chunk = MODEL.preset.vae.pixel_frames(CHUNK)
    plain = streamed("the fox runs", "b")
    assert np.array_equal(scene.stands()[:chunk], plain[:chunk])
    assert not np.array_equal(scene.stands(), plain)


def test_every_branch_is_kept_in_a_folder_of_its_own(tmp_path):
    scene = Scene(tmp_path).tell("a", "b", "/take", "/back 1", "c", "/fork mara", "d", "/back 0")
    counts = {}
    for folder in sorted(tmp_path.iterdir()):
        if folder.is_dir():
            counts[folder.name] = len(Story.load(folder).shots)
    assert counts == {"kept": 2, "kept-2": 2, "kept-3": 2, "mara": 3}
    with pytest.raises(InputError, match="mara is there already"):
        scene.tell("/undo", "/fork mara")


def test_a_kept_story_goes_on_and_is_never_written_to_by_another_branch(tmp_path):
    Scene(tmp_path).tell("a", "b")
    before = {path.name: path.read_bytes() for path in (tmp_path / "kept").iterdir()}
    other = tmp_path / "other"
    scene = Scene(other, Story.load(tmp_path / "kept"), tmp_path / "kept")
    scene.tell("c", "/back 1", "d", "/take")
    assert np.array_equal(scene.stands(), streamed("a", Shot("d", take=1))[-len(scene.stands()) :])
    assert {path.name: path.read_bytes() for path in (tmp_path / "kept").iterdir()} == before
    assert len(Story.load(other / "kept").shots) == 3


def test_frames_and_pictures_stay_in_the_context(tmp_path):
    scene = Scene(tmp_path).tell("a", "/pin 1:1", "/pin 1:2", "/picture docs/tiny.png", "b")
    kept, picture, own = Story.load(tmp_path / "kept").shots[1].pins
    first = Story.load(tmp_path / "kept", at=1).shots[0]
    # The first frame is one that the story keeps; the second is encoded from the film.
    assert first.frames[0] == 0 and np.array_equal(kept.latent, first.latents[0])
    assert (kept.shot, picture.shot, own.shot) == (0, 0, None)
    assert 1 not in first.frames and picture.caption == "a"
    shown = pin_picture(MODEL, scene.teller.story.video, scene.frames[0][1]).latent
    error = np.abs(picture.latent - shown).mean()
    assert error < 0.5 * np.abs(own.latent - shown).mean()
    # Gone back before its shot, a frame counts as a picture; and none stays for ever.
    scene.tell("/back 0", "c", "/unpin", "d")
    again = Story.load(scene.teller.telling.head.folder).shots
    assert [pin.shot for pin in again[0].pins] == [None] * 3 and again[1].pins == ()


def test_a_style_has_its_strength_from_the_next_chunk_on(tmp_path):
    tmp_path.joinpath("styles").mkdir()
    film = written_adapter(tmp_path / "styles", "film", adapter_state(1))
    scene = Scene(tmp_path).tell("a", f"/style {film} 0.5", "b", f"/style {film} 0", "c")
    first, second, third = Story.load(tmp_path / "kept").shots
    assert first.cues[1] == StyleCue(1, {"film": 0.5}) and second.cues[1].strengths == {"film": 0.0}
    assert second.styles[0].strength == 0.5 and not any(use.strength for use in third.styles)
    # The first chunk is the bare model's; the second shot's the styled one's.
    chunk = MODEL.preset.vae.pixel_frames(CHUNK)
    bare = streamed("a")
    assert np.array_equal(scene.stands()[:chunk], bare[:chunk])
    assert not np.array_equal(scene.stands()[: len(bare)], bare)
    styled = with_styles(MODEL, [read_style(film, MODEL.preset)], slots=4, rank=32)
    live = begin(styled, Story.load(tmp_path / "kept", at=1), Shot("b", styles={"film": 0.5}))
    _, made = advance(styled, live)
    assert np.array_equal(scene.stands()[len(bare) :][:chunk], made.pixels[0])


@pytest.mark.parametrize(
    "lines, message",
    [
        (["/style nothing.safetensors 1"], "nothing.safetensors"),
        (["/take"], "there is no shot yet"),
        (["/cut"], "no shot is running: there is nothing to cut"),
        (["a", "/retell b", "/retell c", "/retell d"], "no shot is running: write the caption"),
        (["/undo"], "nothing to undo"),
        (["a", "/back 2"], "the story has 1 shot"),
        (["/fork x"], "there is no shot yet"),
        (["a", "/pin 2:1"], "/pin 2:1: the story has 1 shot"),
        (["a", "/pin 1:99"], "/pin 1:99: shot 1 has"),
        (["/picture nothing.png"], "nothing.png"),
        (["a", *["/pin 1:1"] * (MODEL.preset.memory.context + 1)], "all are pinned: /unpin"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_cannot_be_done_ends_a_script_but_not_a_person(tmp_path, caplog, lines, message):
    with pytest.raises(InputError, match=message) as error:
        Scene(tmp_path / "script").tell(*lines)
    assert "\n" not in str(error.value)
    scene = Scene(tmp_path / "person", is_typed=True)
    for line in [*lines, "then"]:
        scene.tell(line)
    assert message.replace("/pin ", "") in caplog.text.replace("/pin ", "")
    assert Story.load(tmp_path / "person/kept").shots[-1].caption == "then"


# --- messages while a line is typed


class Stream(io.StringIO):
    """Something that is written to, a terminal or not."""

    def __init__(self, is_terminal: bool):
        super().__init__()
        self.isatty = lambda: is_terminal


def test_messages_come_above_a_line_that_is_typed(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "21")
    stream = Stream(is_terminal=True)
    terminal = Terminal(stream)
    terminal.write("nobody ")
    terminal.write("types\n")
    assert stream.getvalue() == "nobody types\n"
    stream.truncate(0)
    stream.seek(0)
    terminal.is_asking = True
    terminal.say("the frog is dancing in the meadow")
    # Two rows: room for them below, the typed line goes there, the cursor with it.
    rows = "the frog is dancing \r\nin the meadow"
    assert stream.getvalue() == f"\x1bD\x1bD\x1b[2A\x1b7\r\x1b[2L{rows}\x1b8\x1b[2B"


@pytest.mark.parametrize("is_terminal, kind", [(False, "xterm"), (True, "dumb")])
def test_where_there_are_no_codes_none_are_written(monkeypatch, is_terminal, kind):
    monkeypatch.setenv("TERM", kind)
    stream = Stream(is_terminal)
    terminal = Terminal(stream)
    terminal.is_asking = True
    terminal.say("a line")
    assert stream.getvalue() == "a line\n"
