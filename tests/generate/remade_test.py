"""Stories made again from what was kept of them, shot by shot, to the bit."""

import dataclasses
import json
from typing import NamedTuple

import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.generate import story_files
from shotstream_jax.generate.asked import Shot
from shotstream_jax.generate.live import advance, begin, cut, remake, retell
from shotstream_jax.generate.pins import begin_with_picture
from shotstream_jax.generate.record import ShotRecord
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.stream import new_story
from shotstream_jax.testing import tiny_model
from tests.generate.acts import Act, acts, perform

MODEL = tiny_model()
CONTEXT = MODEL.preset.memory.context
VIDEO = MODEL.preset.video


class Told(NamedTuple):
    """A story that was told: its folder, the story after each shot, and each shot's frames."""

    folder: str
    after: list[Story]
    frames: list[list[np.ndarray]]


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> Told:
    """A picture, a shot, and twelve more with all that can be done to them."""
    folder = tmp_path_factory.mktemp("told")
    picture = np.random.default_rng(0).integers(0, 256, (90, 40, 3), np.uint8)
    story = begin_with_picture(MODEL, new_story(MODEL, "A fox.", 3), picture, "a fox", fit="pad")
    story.save(folder)
    after, frames = [story], [[]]
    more = [Act("it is there"), *acts(MODEL, story, 1)]
    for act in more:
        made, story = perform(MODEL, story, act)
        story.save(folder)
        after.append(story)
        frames.append(made)
    return Told(folder, after, frames)


def kept_record(told: Told, number: int) -> ShotRecord:
    """A shot's record from the disk, also of one that the story has long forgotten."""
    return Story.load(told.folder, at=number + 1).shots[-1]


def test_a_whole_story_is_remade_from_its_records(told):
    """Much longer than what a story remembers; the frames are those that were shown."""
    assert len(told.after) > 3 * CONTEXT
    story = new_story(MODEL, "A fox.", 3).add(kept_record(told, 0))
    for number in range(1, len(told.after)):
        record = kept_record(told, number)
        live = remake(MODEL, story, record)
        story = live.story
        assert story.shots[-1].is_same(record) and record.is_same(told.after[number].shots[-1])
        made = np.concatenate(live.made, axis=1)
        assert made.shape[1] == MODEL.preset.vae.latent_frames(record.length)
    assert len(story.shots) == CONTEXT
    assert all(a.is_same(b) for a, b in zip(story.shots, told.after[-1].shots, strict=True))


@pytest.mark.parametrize("number", [4, 6, 8, 11])
def test_a_shot_is_remade_after_its_story_was_loaded(told, number):
    """The same chunks, frame by frame, from a story that was evicted and read again."""
    before = Story.load(told.folder, at=number)
    record = kept_record(told, number)
    told_again = {}
    for cue in record.cues[1:]:
        told_again.setdefault(cue.chunk, []).append((cue.caption, cue.again))
    frames = MODEL.preset.vae.latent_frames(record.length)
    first = record.cues[0].caption if record.cues else record.caption
    act = Act(Shot(first, record.take, frames, record.pins), told_again)
    made, _ = perform(MODEL, before, act)
    assert all(np.array_equal(a, b) for a, b in zip(made, told.frames[number], strict=True))


@pytest.mark.parametrize("count", [0, 1, 2, CONTEXT, CONTEXT + 3])
def test_a_story_of_records_is_that_story(told, count):
    new = new_story(MODEL, "A fox.", 3)
    records = [kept_record(told, number) for number in range(count)]
    whole = Story.of(records, like=new)
    expected = told.after[count - 1] if count else new
    assert whole.is_begun_like(new) and whole.next_shot == count
    assert whole.next_frame == expected.next_frame
    assert all(a.is_same(b) for a, b in zip(whole.shots, expected.shots, strict=True))
    # What is forgotten may be left out, and its like may have shots of its own.
    last = Story.of(iter(records[-CONTEXT:]), like=told.after[-1])
    assert all(a.is_same(b) for a, b in zip(last.shots, whole.shots, strict=True))


def changed(record: ShotRecord, **fields) -> ShotRecord:
    return dataclasses.replace(record, **fields)


BAD_RECORDS = [
    (lambda r: [r[0], r[2]], "next shot is 2, from frame 1 on; the record is of shot 3"),
    (lambda r: [r[0], r[1], r[1]], "next shot is 3, .* the record is of shot 2"),
    (lambda r: r[2:4], "begin with shot 3: at least the story's last 4 shots are needed"),
    (lambda r: [changed(r[0], first_frame=1)], "next shot is 1, from frame 0 on"),
    (lambda r: [r[0], changed(r[1], first_frame=0)], "of shot 2, from frame 0 on"),
    (lambda r: [r[0], changed(r[1], frames=r[1].frames[:-1])], "shot 2 lacks context frames"),
    (lambda r: [r[0], changed(r[1], latents=r[1].latents[:-1])], "shot 2 lacks context frames"),
    (lambda r: [r[0], changed(r[1], length=3)], "shot 2 lacks context frames"),
    (
        lambda r: [r[0], changed(r[1], latents=(r[1].latents[0][:, :1], *r[1].latents[1:]))],
        "of different formats",
    ),
    (lambda r: ["shot 1"], "must be a ShotRecord, not 'shot 1'"),
    (lambda r: [r[0], None], "must be a ShotRecord, not None"),
]


@pytest.mark.parametrize(("choose", "message"), BAD_RECORDS, ids=[m for _, m in BAD_RECORDS])
def test_records_that_make_no_story_are_named(told, choose, message):
    records = [kept_record(told, number) for number in range(5)]
    with pytest.raises(InputError, match=message) as error:
        Story.of(choose(records), like=new_story(MODEL, "A fox.", 3))
    assert "\n" not in str(error.value)


def test_what_cannot_be_remade_is_named(told):
    new = new_story(MODEL, "A fox.", 3)
    with pytest.raises(InputError, match=r"shot 1 is a still picture.*story\.add"):
        remake(MODEL, new, kept_record(told, 0))
    with pytest.raises(InputError, match=r"next shot is 1, .* the record is of shot 3"):
        remake(MODEL, new, kept_record(told, 2))
    with pytest.raises(InputError, match=r"next shot is 1, .* the record is of shot 3"):
        new.add(kept_record(told, 2))
    odd = changed(kept_record(told, 1), length=4)
    with pytest.raises(InputError, match="shot 2 has 4 frames, which are no whole number"):
        remake(MODEL, told.after[0], odd)
    with pytest.raises(InputError, match="must be a ShotRecord"):
        remake(MODEL, new, None)


def test_two_who_save_at_once_keep_one_version(told, tmp_path, monkeypatch):
    """While one writes a shot, another saves another version of it: the first one there stays."""
    one = told.after[1]
    _, other = perform(MODEL, told.after[0], Act("another shot"))
    record_bytes = story_files.record_bytes
    busy = []

    def slow(record):
        if not busy:
            busy.append(True)
            other.save(tmp_path)
        return record_bytes(record)

    told.after[0].save(tmp_path)
    monkeypatch.setattr(story_files, "record_bytes", slow)
    with pytest.raises(InputError, match="is another version of shot 1: fork"):
        one.save(tmp_path)
    kept = Story.load(tmp_path)
    assert kept.shots[-1].is_same(other.shots[-1])
    assert not list(tmp_path.glob("*.partial"))
    # Saved twice, and by two who agree, it is the same.
    other.save(tmp_path)
    assert Story.load(tmp_path).shots[-1].is_same(other.shots[-1])


def test_long_captions_and_many_changes_are_bounded_and_kept(told, tmp_path):
    """Whatever can be told can be saved and read again."""
    live = begin(MODEL, new_story(MODEL, "A fox.", 3), "x")
    for number in range(200):
        live = retell(MODEL, live, f"caption {number}")
    with pytest.raises(InputError, match="changed 200 times: cut it"):
        retell(MODEL, live, "x")
    live, _ = advance(MODEL, live)
    record = cut(MODEL, live).shots[-1]
    # The longest captions that there are.
    long = '中é"x' * 5000
    assert len(record.cues) == 201
    cues = tuple(cue._replace(caption=long) for cue in record.cues[:20])
    record = changed(record, caption=long, cues=cues)
    story = new_story(MODEL, long, 3).add(record)
    story.save(tmp_path)
    assert Story.load(tmp_path).shots[-1].is_same(record)
    for misuse in (lambda: new_story(MODEL, long + "x"), lambda: begin(MODEL, story, long + "x")):
        with pytest.raises(InputError, match="has 20001 characters, at most 20000"):
            misuse()


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_damaged_record_is_one_line(told, tmp_path, is_packed):
    """Cut off, with bytes changed, or packed by others: read, or refused in one line."""
    Story.load(told.folder, at=7).save(tmp_path)
    path = tmp_path / "shot_000006.npz"
    if is_packed:
        with np.load(path) as arrays:
            content = dict(arrays)
        np.savez_compressed(path, **content)
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for case in range(120):
        content = bytearray(whole)
        if case % 4 == 0:
            del content[int(rng.integers(len(content))) :]
        for place in rng.integers(0, len(content), 4) if len(content) else ():
            content[place] = int(rng.integers(256))
        path.write_bytes(content)
        try:
            Story.load(tmp_path)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 60


BAD_FACTS = [
    ("number", 10**400),
    ("number", -1),
    ("first_frame", -5),
    ("length", 0),
    ("length", 10**30),
    ("take", 2**31),
    ("take", "0"),
    ("caption", 7),
    ("caption", "a\0b"),
    ("cues", [[0, "a", True], [0, "b"]]),
    ("cues", 7),
    ("pins", [[0]]),
    ("pins", [[-1, "x"]]),
    ("pins", [[0, "x"]] * 9),
    ("more", 1),
]


@pytest.mark.parametrize(("name", "value"), BAD_FACTS, ids=lambda v: f"{v!r:.20}")
def test_a_record_that_says_what_cannot_be_is_one_line(told, tmp_path, name, value):
    """Shot 7 has two pins."""
    Story.load(told.folder, at=9).save(tmp_path)
    path = tmp_path / "shot_000008.npz"
    with np.load(path) as arrays:
        content = dict(arrays)
    facts = json.loads(str(content["meta"]))
    facts[name] = value
    content["meta"] = json.dumps(facts)
    np.savez(path, **content)
    with pytest.raises(InputError, match=r"shot_000008\.npz is unreadable") as error:
        Story.load(tmp_path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("name", ["latents", "pins"])
@pytest.mark.parametrize(
    "change", [lambda a: a.astype(np.float64), lambda a: a[..., 0], lambda a: a.astype("U8")]
)
def test_arrays_of_another_kind_are_one_line(told, tmp_path, name, change):
    Story.load(told.folder, at=9).save(tmp_path)
    path = tmp_path / "shot_000008.npz"
    with np.load(path) as arrays:
        content = dict(arrays)
    content[name] = change(content[name])
    np.savez(path, **content)
    with pytest.raises(InputError, match=r"shot_000008\.npz is unreadable.*its " + name):
        Story.load(tmp_path)
