"""Stories that choose what they remember: rules, records, folders, bounds."""

import dataclasses
import gc
import json

import jax
import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.generate.asked import Shot
from shotstream_jax.generate.live import advance, begin, remake, retell
from shotstream_jax.generate.pins import pin_frame
from shotstream_jax.generate.progress import begin_shot
from shotstream_jax.generate.record import ShotRecord
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.stream import new_story, stream_generate
from shotstream_jax.memory.choose import RULES
from shotstream_jax.memory.select import candidates
from shotstream_jax.presets import find_preset
from shotstream_jax.testing import tiny_model
from tests.generate.compiled import compilations

MODEL = tiny_model()
BUDGET = MODEL.preset.memory.context
FROG = "zzzzzzzz"
HEN = "a hen"  # as bytes as unlike the frog as can be
CAPTIONS = [FROG, *[HEN] * (BUDGET + 1)]


def after(story, captions):
    """The story after each of these shots."""
    return [chunk.story for chunk in stream_generate(MODEL, captions, story=story) if chunk.story]


def finished(live):
    while not live.is_finished:
        live, _ = advance(MODEL, live)
    return live.story


def seen(story, shot):
    """The shots whose frames the story's next shot sees."""
    return begin_shot(MODEL, story, shot).conditions.ids.phase[0, :-1].tolist()


def is_same(one, other):
    """Whether two stories hold the same records, to the bit."""
    pairs = zip(one.shots, other.shots, strict=True)
    return all(mine.is_same(its) for mine, its in pairs)


@pytest.fixture(scope="module")
def stories():
    return after(new_story(MODEL, "A frog.", 3, memory="caption"), CAPTIONS)


def test_the_shot_that_was_told_alike_comes_back(stories):
    story = stories[-1]
    last = story.next_shot - 1
    latest = list(range(last - BUDGET + 1, last + 1))
    of_hen, of_frog = seen(story, HEN), seen(story, FROG)
    for shots in (of_hen, of_frog):
        assert shots == sorted(set(shots)) and len(shots) == BUDGET and shots[-1] == last
    assert of_hen[0] > 0 and of_frog[0] == 0
    # Its frame and its caption, too.
    alike = begin_shot(MODEL, story, FROG).conditions
    assert np.array_equal(alike.context[:, 0], story.shots[0].latents[0])
    first = begin_shot(MODEL, new_story(MODEL, "A frog."), FROG).conditions
    assert np.array_equal(alike.text[0, int(alike.ids.caption[0, 0])], first.text[0, 0])
    # A shot may name another rule than its story.
    assert seen(story, Shot(FROG, memory="paper")) == latest


def test_both_rules_are_one_while_there_is_nothing_to_choose(stories):
    paper = after(new_story(MODEL, "A frog.", 3), CAPTIONS[: BUDGET + 1])
    assert is_same(paper[BUDGET - 1], stories[BUDGET - 1])
    # The paper's rule remembers no more than it did, from which there is nothing to choose.
    latest = list(range(1, BUDGET + 1))
    assert [record.number for record in paper[-1].shots] == latest
    assert seen(paper[-1], Shot(FROG, memory="caption")) == latest


@pytest.mark.parametrize("memory", [None, "paper", "caption", "keys"])
def test_a_shot_is_remade_from_its_record(stories, tmp_path, memory):
    told = finished(begin(MODEL, stories[-1], Shot(FROG, memory=memory)))
    told.save(tmp_path)
    kept = Story.load(tmp_path)
    assert kept.shots[-1].memory == memory and is_same(kept, told)
    before = Story.load(tmp_path, at=stories[-1].next_shot)
    again = remake(MODEL, before, kept.shots[-1]).story
    assert is_same(again, told)
    # What it remembered counts.
    paper = finished(begin(MODEL, stories[-1], Shot(FROG, memory="paper")))
    mine, its = (np.concatenate(story.shots[-1].latents) for story in (told, paper))
    assert np.array_equal(mine, its) == (memory == "paper")


@pytest.mark.parametrize("memory", ["caption", "keys"])
def test_a_whole_story_is_remade_from_its_saved_records(tmp_path, memory):
    begun = new_story(MODEL, "A frog.", 4, memory=memory)
    told = after(begun, [FROG, HEN, "an owl", HEN, "a fox", FROG, HEN, FROG])[-1]
    told.save(tmp_path)
    again = begun
    for record in Story.load(tmp_path).shots:
        again = remake(MODEL, again, record).story
    assert is_same(again, told)


def test_told_another_caption_a_shot_remembers_what_it_remembered(stories):
    live, _ = advance(MODEL, begin(MODEL, stories[-1], FROG))
    before = live.progress.conditions
    for again in (False, True):
        live = retell(MODEL, live, HEN, again=again)
        told = live.progress.conditions
        assert np.array_equal(told.context, before.context)
        assert jax.tree.all(jax.tree.map(np.array_equal, told.ids, before.ids))
    story = finished(live)
    assert is_same(remake(MODEL, stories[-1], story.shots[-1]).story, story)


def test_pins_take_places_of_chosen_frames(stories):
    """The least alike make room, and the paper's rule has forgotten the shot that is pinned."""
    story = stories[-1]
    last = story.next_shot - 1
    pin = pin_frame(story, 0, 0)
    for pins in range(1, BUDGET + 1):
        shots = seen(story, Shot(FROG, pins=[pin] * pins))
        # The frame that is pinned is of the shot that is most alike, too.
        chosen = shots[pins:]
        assert shots[:pins] == [0] * pins and len(chosen) == BUDGET - pins
        assert chosen[-1:] == [last][: BUDGET - pins]
        assert (0 in chosen) == (pins < BUDGET - 1)


def test_further_shots_are_saved_loaded_and_forked(stories, tmp_path):
    stories[-1].save(tmp_path / "kept")
    loaded = Story.load(tmp_path / "kept")
    forked = Story.fork(tmp_path / "kept", stories[-1].next_shot, tmp_path / "fork")
    for story in (loaded, forked, Story.load(tmp_path / "fork")):
        assert story.memory == "caption" and is_same(story, stories[-1])
    # Another rule is another story.
    with pytest.raises(InputError, match="holds another story"):
        dataclasses.replace(stories[-1], memory="paper").save(tmp_path / "kept")


def test_a_kept_story_of_before_remembers_by_the_paper_s_rule(stories, tmp_path):
    paper = after(new_story(MODEL, "A frog.", 3), CAPTIONS[: BUDGET + 1])
    for story in paper:
        story.save(tmp_path)
    path = tmp_path / "story.json"
    head = json.loads(path.read_text())
    del head["memory"]
    path.write_text(json.dumps(head))
    kept = Story.load(tmp_path)
    assert kept.memory == "paper" and is_same(kept, paper[-1])
    # All records are there: with the rule written down it would have remembered more.
    path.write_text(json.dumps(head | {"memory": "caption"}))
    assert [record.number for record in Story.load(tmp_path).shots] == list(range(BUDGET + 1))
    path.write_text(json.dumps(head | {"memory": "latest"}))
    with pytest.raises(InputError, match=r"story\.json is damaged .*choose one of paper, caption"):
        Story.load(tmp_path)


def test_of_further_shots_those_are_read_that_the_folder_has(stories, tmp_path):
    stories[-1].save(tmp_path)
    (tmp_path / "shot_000000.npz").unlink()
    numbers = [record.number for record in Story.load(tmp_path).shots]
    assert numbers == list(range(1, len(CAPTIONS)))
    # The last ones are needed.
    (tmp_path / f"shot_{BUDGET:06d}.npz").unlink()
    with pytest.raises(InputError, match=rf"shot_{BUDGET:06d}\.npz is missing"):
        Story.load(tmp_path)


@pytest.mark.parametrize("memory", RULES)
def test_memory_is_bounded(stories, memory):
    most = BUDGET if memory == "paper" else 4 * BUDGET
    story = new_story(MODEL, memory=memory)
    latent = stories[0].shots[0].latents[0]
    for number in range(1000):
        frames = np.array([10 * number])
        story = story.add(ShotRecord(number, f"shot {number}", 10 * number, 10, frames, (latent,)))
        assert len(story.shots) == min(number + 1, most)
    begin_shot(MODEL, story, "the end")
    assert len(MODEL.meanings) <= 2 * (4 * BUDGET + 1)
    # What frames are like is forgotten with their shots.
    del story
    gc.collect()
    assert set(MODEL.frame_keys) <= {record for kept in stories for record in kept.shots}


@pytest.mark.parametrize(
    ("memory", "most", "at_last"),
    [("paper", 6.8e6, 2.4e6), ("caption", 14.0e6, 9.6e6), ("keys", 14.0e6, 9.6e6)],
)
def test_what_a_story_of_real_size_holds(memory, most, at_last):
    """By shapes, after each of its shots: what docs/stories.md says."""
    preset = find_preset("wan-1.3b")
    size = (1, *preset.latent_grid(preset.video), preset.dit.channels)
    context = preset.memory.context
    length = preset.vae.pixel_frames(preset.video.shot_frames)
    story = Story("", 0, preset.name, preset.video, context, memory=memory)
    held = []
    for number in range(6 * context):
        frames = candidates(number, number * length, length, context)
        latents = tuple(jax.ShapeDtypeStruct(size, np.float32) for _ in frames)
        story = story.add(ShotRecord(number, "x", number * length, length, frames, latents))
        held.append(story.nbytes)
    assert 0.98 * most < max(held) <= most
    assert 0.98 * at_last < held[-1] <= at_last < 10e6


def test_nothing_is_compiled_for_another_choice(stories):
    for memory in RULES:
        finished(begin(MODEL, stories[-1], Shot("one", memory=memory)))
    with compilations() as compiled:
        for memory in RULES:
            finished(begin(MODEL, stories[-1], Shot(FROG, memory=memory)))
    assert not compiled


def test_an_unknown_rule_is_named():
    for misuse in (lambda: Shot("x", memory="latest"), lambda: new_story(MODEL, memory="latest")):
        with pytest.raises(InputError, match="memory 'latest' is no rule: choose one of paper, c"):
            misuse()
