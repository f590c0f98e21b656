"""Live shots: takes, lengths, cuts, changes in mid-shot, and shots remade from their records."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.generate import live as lib
from shotstream_jax.generate import shot as steps
from shotstream_jax.generate.asked import Cue, Shot
from shotstream_jax.generate.live import (
    advance,
    advance_with,
    begin,
    cut,
    place_bytes,
    remake,
    retell,
)
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.stream import new_story, stream_generate
from shotstream_jax.testing import tiny_model

MODEL = tiny_model()
CHUNK = MODEL.preset.memory.chunk
CHUNKS = MODEL.preset.video.shot_frames // CHUNK


def streamed(shots, story=None):
    """The frames of a story's next shots, and the story after them."""
    story = story or new_story(MODEL, "A fox.", 3)
    frames = []
    for chunk in stream_generate(MODEL, shots, story=story):
        frames.append(chunk.frames)
        story = chunk.story or story
    return np.concatenate(frames), story


def finished(live):
    """The frames of a live shot's remaining chunks, and its story."""
    frames = []
    while not live.is_finished:
        live, chunk = advance(MODEL, live)
        frames.append(np.asarray(chunk.pixels)[0])
    return np.concatenate(frames), live.story


def same_memory(one: Story, other: Story) -> bool:
    """Whether what later shots can ask for is the same, to the bit."""
    mine = jax.tree.leaves([record.latents for record in one.shots])
    others = jax.tree.leaves([record.latents for record in other.shots])
    assert len(mine) == len(others)
    return all(np.array_equal(a, b) for a, b in zip(mine, others, strict=True))


@pytest.fixture(scope="module")
def two_shots():
    return streamed(["the fox runs", "it sleeps"])


def test_take_0_is_the_plain_caption_and_another_take_another_picture(two_shots):
    frames, story = two_shots
    again, same = streamed([Shot("the fox runs"), Shot("it sleeps", take=0)])
    assert np.array_equal(frames, again) and same_memory(story, same)
    other, told = streamed([Shot("the fox runs"), Shot("it sleeps", take=1)])
    half = len(frames) // 2
    assert np.array_equal(frames[:half], other[:half])
    assert not np.array_equal(frames[half:], other[half:])
    assert [record.take for record in told.shots] == [0, 1]


def test_live_shots_that_take_turns_are_those_alone(two_shots):
    _, story = two_shots
    alone, _ = streamed(["a hen"], new_story(MODEL, "A hen.", 5))
    after, _ = streamed(["the fox wakes"], story)
    hen = begin(MODEL, new_story(MODEL, "A hen.", 5), "a hen")
    fox = begin(MODEL, story, "the fox wakes")
    mine, others = [], []
    while not fox.is_finished:
        hen, chunk = advance(MODEL, hen)
        mine.append(np.asarray(chunk.pixels)[0])
        fox, chunk = advance(MODEL, fox)
        others.append(np.asarray(chunk.pixels)[0])
    assert np.array_equal(np.concatenate(mine), alone)
    assert np.array_equal(np.concatenate(others), after)


@pytest.mark.parametrize("again", [True, False])
def test_told_the_same_again_nothing_changes(two_shots, again):
    _, story = two_shots
    undisturbed, _ = streamed(["the fox wakes"], story)
    live, first = advance(MODEL, begin(MODEL, story, "the fox wakes"))
    live = retell(MODEL, live, "the fox wakes", again=again)
    rest, _ = finished(live)
    assert np.array_equal(np.concatenate([first.pixels[0], rest]), undisturbed)


@pytest.mark.parametrize("again", [True, False])
def test_another_caption_turns_the_rest_and_is_remembered(two_shots, tmp_path, again):
    _, story = two_shots
    undisturbed, _ = streamed(["the fox wakes"], story)
    live, first = advance(MODEL, begin(MODEL, story, Shot("the fox wakes", take=2)))
    live = retell(MODEL, live, "a red balloon", again=again)
    rest, told = finished(live)
    plain, _ = streamed([Shot("the fox wakes", take=2)], story)
    shown = np.concatenate([first.pixels[0], rest])
    assert np.array_equal(shown[: len(first.pixels[0])], plain[: len(first.pixels[0])])
    assert not np.array_equal(shown, plain) and not np.array_equal(shown, undisturbed)
    record = told.shots[-1]
    assert record.caption == "a red balloon"
    assert record.cues == (Cue(0, "the fox wakes"), Cue(1, "a red balloon", again))
    # Saved and loaded, it is remade to the bit from its record.
    told.save(tmp_path / "story")
    kept = Story.load(tmp_path / "story").shots[-1]
    assert (kept.cues, kept.take) == (record.cues, 2)
    assert same_memory(remake(MODEL, story, kept).story, told)


def test_the_passes_again_are_those_of_a_shot_that_began_so(two_shots):
    """After `again` the caches know nothing of the first caption."""
    _, story = two_shots
    live, _ = advance(MODEL, begin(MODEL, story, "the fox wakes"))
    x_0 = live.made[0]
    live = retell(MODEL, live, "a red balloon", again=True)
    other = begin(MODEL, story, "a red balloon")
    ids = other.progress.conditions.shot_ids(CHUNK)
    expected = steps.commit(MODEL.student, MODEL.params["dit"], x_0, ids, other.caches)
    assert jax.tree.all(jax.tree.map(np.array_equal, live.caches, expected))


def test_what_was_made_is_remembered_under_what_it_was_told(two_shots):
    """A chunk goes into the caches before the captions there are replaced."""
    _, story = two_shots
    live, _ = advance(MODEL, begin(MODEL, story, "the fox wakes"))
    other, _ = advance(MODEL, begin(MODEL, story, "the fox wakes"))
    live = retell(MODEL, live, "a red balloon")
    ids = other.progress.conditions.shot_ids(CHUNK)
    params = MODEL.params["dit"]
    caches = steps.commit(MODEL.student, params, other.made[0], ids, other.caches)
    text = live.progress.conditions.text
    expected = steps.replace_captions(MODEL.student, params, text, caches)
    assert jax.tree.all(jax.tree.map(np.array_equal, live.caches, expected))


@pytest.mark.parametrize("again", [False, True])
def test_a_shot_goes_on_from_latents_that_were_made_before(two_shots, monkeypatch, again):
    """As if it had been made, whatever it was told meanwhile, and without the passes."""
    _, story = two_shots
    shot = Shot("the fox wakes", frames=4 * CHUNK)

    def made(advance_first):
        """The frames, the latents and the story of a shot whose first two chunks come so."""
        live = begin(MODEL, story, shot)
        frames = []
        for number in range(2):
            live, chunk = advance_first(live, number)
            frames.append(np.asarray(chunk.pixels)[0])
        live = retell(MODEL, live, "a red balloon", again=again)
        rest, after = finished(live)
        return np.concatenate([*frames, rest]), live.made, after

    frames, latents, after = made(lambda live, _: advance(MODEL, live))
    kept = [np.asarray(x_0) for x_0 in latents]
    compiled = steps.commit._cache_size()
    passes = []
    plain = steps.chunk_step
    monkeypatch.setattr(steps, "chunk_step", lambda *args: passes.append(1) or plain(*args))
    same, _, later = made(lambda live, number: advance_with(MODEL, live, kept[number]))
    assert np.array_equal(frames, same) and same_memory(after, later)
    assert len(passes) == 2 and steps.commit._cache_size() == compiled
    with pytest.raises(InputError, match="a chunk's latents have the shape"):
        advance_with(MODEL, begin(MODEL, story, shot), kept[0][:, 1:])


def test_a_cut_shot_is_one_that_was_asked_for_with_its_length(two_shots):
    _, story = two_shots
    frames, short = streamed([Shot("the fox wakes", frames=CHUNK), "the end"], story)
    live, chunk = advance(MODEL, begin(MODEL, story, "the fox wakes"))
    after = cut(MODEL, live)
    rest, ended = streamed(["the end"], after)
    assert np.array_equal(frames, np.concatenate([chunk.pixels[0], rest]))
    assert same_memory(short, ended)
    assert after.shots[-1].length == MODEL.preset.vae.pixel_frames(CHUNK)
    # What was told behind the last chunk was never shown.
    live, _ = advance(MODEL, begin(MODEL, story, "the fox wakes"))
    after = cut(MODEL, retell(MODEL, live, "a red balloon"))
    assert after.shots[-1].caption == "the fox wakes" and after.shots[-1].cues == ()


def test_nothing_is_compiled_for_takes_cuts_and_changes(two_shots):
    _, story = two_shots
    programs = (steps.prefill, steps.chunk_step, steps.commit, steps.replace_captions)
    live, _ = advance(MODEL, begin(MODEL, story, "one"))
    finished(retell(MODEL, live, "two", again=False))
    before = [program._cache_size() for program in programs]
    for again in (True, False):
        live, _ = advance(MODEL, begin(MODEL, story, Shot("another", take=7, frames=2 * CHUNK)))
        streamed(["and on"], cut(MODEL, retell(MODEL, live, "told", again=again)))
    assert [program._cache_size() for program in programs] == before


def test_a_place_is_as_large_as_what_a_live_shot_holds(two_shots):
    _, story = two_shots
    live, _ = advance(MODEL, begin(MODEL, story, "the fox wakes"))
    live, chunk = advance(MODEL, live)
    held = [live.caches, dict(live.progress.streams), chunk.pixels, live.made]
    nbytes = sum(leaf.nbytes for leaf in jax.tree.leaves(held))
    # All chunks' latents and a chunk of frames as floats are counted too.
    later = jnp.zeros((1, MODEL.preset.video.shot_frames - 2 * CHUNK, *live.made[0].shape[2:]))
    assert place_bytes(MODEL) == nbytes + later.nbytes + 4 * chunk.pixels.nbytes


def test_prompts_are_embedded_once_and_records_hold_none(two_shots):
    model = dataclasses.replace(MODEL)
    story = two_shots[1]
    for _ in range(3):
        begin(model, story, "the fox wakes")
    assert len(model.embeddings) == len(story.shots) + 1
    for number in range(50):
        begin(model, new_story(model), f"caption {number}")
    assert len(model.embeddings) == 2 * model.preset.memory.captions
    most = MODEL.preset.vae.pixel_frames(MODEL.preset.video.shot_frames)
    for record in story.shots:
        arrays = [leaf for leaf in jax.tree.leaves(vars(record)) if hasattr(leaf, "shape")]
        assert sum(a.size for a in arrays) < 2 * most * record.latents[0].size


@pytest.mark.parametrize(
    ("shot", "message"),
    [
        (Shot("x", frames=CHUNK + 1), "not a multiple of the chunk"),
        (Shot(""), "is empty"),
        (7, "must be text"),
    ],
)
def test_what_cannot_be_begun_is_named(shot, message):
    with pytest.raises(InputError, match=message):
        begin(MODEL, new_story(MODEL), shot)


def test_a_live_shot_is_used_once(two_shots):
    """What went into another call's result is refused by name, and that result still goes on."""
    _, story = two_shots
    first = begin(MODEL, story, "x")
    second, _ = advance(MODEL, first)
    third = retell(MODEL, second, "y")
    for used in (first, second):
        for misuse in (lambda live: advance(MODEL, live), lambda live: retell(MODEL, live, "z")):
            with pytest.raises(InputError, match="this live shot 3 is used up: go on with what"):
                misuse(used)
    # Its frames are still there to be cut, which uses nothing up.
    after = cut(MODEL, third)
    advance(MODEL, third)
    assert same_memory(cut(MODEL, second), after)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "wan-1.3b"}, "was made with wan-1.3b"),
        ({"context": 5}, "context 5; the model is"),
        ({"fingerprint": "a"}, "was made by other weights"),
    ],
)
def test_a_story_of_another_model_is_not_begun(two_shots, changes, message):
    model = dataclasses.replace(MODEL, fingerprint="b")
    story = dataclasses.replace(two_shots[1], **changes)
    with pytest.raises(InputError, match=message):
        begin(model, story, "x")
    with pytest.raises(InputError, match=message):
        lib.remake(model, dataclasses.replace(story, shots=story.shots[:1]), story.shots[1])


def test_what_is_no_model_or_story_is_named(two_shots):
    for model, story, message in (
        ("tiny", two_shots[1], "model must be what load"),
        (MODEL, "out/story", "story must be a Story"),
        (MODEL, None, "story must be a Story"),
    ):
        with pytest.raises(InputError, match=message):
            begin(model, story, "x")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"context": 0}, "context 0 must be a whole number from 1"),
        ({"context": 10**9}, "context 1000000000 must be"),
        ({"global_caption": "a\0b"}, "global caption is not UTF-8 text"),
        ({"global_caption": "a\ud800"}, "global caption is not UTF-8 text"),
        ({"global_caption": "a" * 20_001}, "global caption has 20001 characters"),
    ],
)
def test_a_story_of_wrong_values_is_named(two_shots, fields, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(two_shots[1], **fields)


def test_other_misuse_is_named(two_shots):
    _, story = two_shots
    assert Shot("x", take=np.int64(2**31 - 1)).take == 2**31 - 1
    begin(MODEL, story, Shot("x", take=2**31 - 1)).noise(2, 0)
    for value in (-1, 1.5, "first", True, 2**31):
        with pytest.raises(InputError, match="take"):
            Shot("x", take=value)
    live = begin(MODEL, story, "x")
    with pytest.raises(InputError, match="cannot be cut"):
        cut(MODEL, live)
    with pytest.raises(InputError, match="advance it to its end, or cut it"):
        _ = live.story
    while not live.is_finished:
        live, _ = advance(MODEL, live)
    for misuse in (lambda: advance(MODEL, live), lambda: retell(MODEL, live, "y")):
        with pytest.raises(InputError, match="finished"):
            misuse()
    with pytest.raises(InputError, match=r"next shot is 3, from .* the record is of shot 2"):
        lib.remake(MODEL, story, story.shots[-1])
