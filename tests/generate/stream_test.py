"""The live stream: it equals the scan, compiles once, is lazy and repeatable.

Its memory is bounded, and it can be saved and continued.
"""

import collections
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.core import rng
from shotstream_jax.core.errors import InputError
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.generate import shot as steps
from shotstream_jax.generate import side_by_side, stream
from shotstream_jax.generate.progress import begin_shot
from shotstream_jax.generate.sampler import SamplerConfig
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.stream import stream_generate
from shotstream_jax.memory.select import candidates
from shotstream_jax.presets import VideoFormat
from shotstream_jax.testing import tiny_model
from shotstream_jax.text import encode
from shotstream_jax.vae import codec
from tests.generate.acts import acts, perform
from tests.generate.compiled import compilations

MODEL = tiny_model()
CAPTIONS = [f"shot number {i}" for i in range(7)]  # more than the context has frames
CHUNKS = MODEL.preset.video.shot_frames // MODEL.preset.memory.chunk


def run(captions, **options):
    # A model of its own, which knows no prompt yet.
    model = dataclasses.replace(MODEL)
    return list(
        stream_generate(model, captions, **({"global_caption": "A fox.", "seed": 3} | options))
    )


@pytest.fixture(scope="module")
def whole():
    return run(CAPTIONS)


def new_story(preset: str = "test") -> Story:
    return Story("A fox.", 3, preset, MODEL.preset.video, MODEL.preset.memory.context)


def frames(chunks) -> np.ndarray:
    return np.concatenate([c.frames for c in chunks])


def continued(story: Story, captions):
    return list(stream_generate(MODEL, captions, story=story))


def test_chunks_arrive_in_order_with_their_frames(whole):
    assert [(c.shot, c.chunk) for c in whole] == [
        (s, c) for s in range(len(CAPTIONS)) for c in range(CHUNKS)
    ]
    time, chunk = MODEL.preset.vae.time, MODEL.preset.memory.chunk
    for c in whole:
        count = chunk * time - (time - 1 if c.chunk == 0 else 0)
        assert c.frames.shape == (count, 8, 12, 3) and c.frames.dtype == np.uint8
        assert (c.story is not None) == (c.chunk == CHUNKS - 1)
        assert c.seconds > 0


def test_live_stream_is_the_scan(whole):
    """One program over a whole shot gives the very latents and frames that were streamed."""
    preset, student = MODEL.preset, MODEL.student
    stories = [c.story for c in whole if c.story]
    for shot in (0, 5):
        before = stories[shot - 1] if shot else new_story()
        given = begin_shot(MODEL, before, stories[shot].shots[-1].caption).conditions
        shape = (len(preset.steps.nominal), 1, preset.memory.chunk, 4, 6, preset.dit.channels)
        noise = jnp.stack(
            [rng.chunk_noise(jax.random.key(3), 0, shot, c, shape) for c in range(CHUNKS)]
        )
        caches = student.init_caches(1, 4, 6)
        params = MODEL.params["dit"]
        caches = steps.prefill(
            student, params, given.context, given.context_ids(), given.text, caches
        )
        latents = steps.generate_latents(
            student, params, noise, given.shot_ids(preset.memory.chunk), caches, preset.steps
        )
        mine = [c for c in whole if c.shot == shot]
        np.testing.assert_allclose(
            jnp.concatenate([c.latents for c in mine])[None], latents, atol=1e-4
        )
        video = codec.to_uint8(codec.decode(MODEL.vae, MODEL.params["vae"], latents))[0]
        assert np.abs(frames(mine).astype(int) - np.asarray(video)).max() <= 1


def test_compiled_once(whole):
    """No program depends on the shot, the chunk or the prompt.

    Only decoding has two programs: one for the first chunk and one for later chunks.
    """
    compiled = (
        encode.encode_prompt,
        steps.prefill,
        steps.chunk_step,
        steps.commit,
        steps.encode_context_frame,
    )
    before = {
        f: f._cache_size()
        for f in (*compiled, steps.decode_first_chunk, steps.decode_next_chunk, steps.take_frame)
    }
    run(["another story", "entirely, with a longer prompt"], seed=9)
    assert {f: f._cache_size() for f in before} == before
    jax.clear_caches()
    run(CAPTIONS[:3])
    assert [f._cache_size() for f in compiled] == [1] * len(compiled)
    assert steps.decode_first_chunk._cache_size() == steps.decode_next_chunk._cache_size() == 1
    assert steps.take_frame._cache_size() == 2  # the same two variants: chunks of two lengths


def test_the_next_prompt_is_pulled_when_it_is_needed():
    pulled = []
    chunks = stream_generate(MODEL, (pulled.append(c) or c for c in CAPTIONS[:2]))
    assert pulled == []
    for i, _ in enumerate(chunks):
        assert len(pulled) == 1 + i // CHUNKS


def test_the_autoencoder_may_have_a_device_of_its_own(whole):
    params = MODEL.params | {"vae": jax.device_put(MODEL.params["vae"], jax.devices()[1])}
    apart = list(
        stream_generate(
            dataclasses.replace(MODEL, params=params), CAPTIONS[:2], global_caption="A fox.", seed=3
        )
    )
    assert np.array_equal(frames(apart), frames(whole[: 2 * CHUNKS]))
    assert apart[-1].latents.devices() == {jax.devices()[0]}


def test_after_the_warm_up_nothing_is_compiled():
    jax.clear_caches()
    stream.warm_up(MODEL)
    with compilations() as compiled:
        story = run(CAPTIONS[:3])[-1].story
        for act in acts(MODEL, story, 1):
            _, story = perform(MODEL, story, act)
    assert not compiled


def test_stories_side_by_side_are_those_alone(whole):
    """With their own seeds, prompts, numbers of shots and lengths of a shot."""
    video, chunk = MODEL.preset.video, MODEL.preset.memory.chunk
    longer = dataclasses.replace(video, shot_frames=video.shot_frames + chunk)
    owl, hen = (
        stream.new_story(MODEL, "An owl.", 5, longer),
        stream.new_story(MODEL, "A hen.", 6, longer),
    )
    stories = [(new_story(), CAPTIONS[:3]), (owl, ["owl one"]), (hen, iter(["hen one", "hen two"]))]
    together = [[] for _ in stories]
    for which, chunk in side_by_side.stream_stories(MODEL, stories):
        together[which].append(chunk)
    alone = [
        whole[: 3 * CHUNKS],
        continued(owl, ["owl one"]),
        continued(hen, ["hen one", "hen two"]),
    ]
    for mine, other in zip(together, alone, strict=True):
        assert [(c.shot, c.chunk) for c in mine] == [(c.shot, c.chunk) for c in other]
        np.testing.assert_allclose(
            *(jnp.stack([c.latents for c in chunks]) for chunks in (mine, other)), atol=1e-4
        )
        assert np.abs(frames(mine).astype(int) - frames(other)).max() <= 1
    with pytest.raises(InputError, match="one picture size"):
        wide = stream.new_story(MODEL, video=VideoFormat(height=8, width=16, shot_frames=6))
        side_by_side.stream_stories(MODEL, [(new_story(), ["x"]), (wide, ["x"])])


def test_same_seed_same_frames(whole):
    again = run(CAPTIONS[:2])
    assert np.array_equal(frames(again), frames(whole[: 2 * CHUNKS]))
    assert not np.array_equal(frames(run(CAPTIONS[:1], seed=4)), frames(whole[:CHUNKS]))
    assert not np.array_equal(frames(run(["something else"])), frames(whole[:CHUNKS]))


def test_memory_is_bounded_and_everything_is_encoded_once(monkeypatch):
    counts = collections.Counter()
    for module, name in ((encode, "encode_prompt"), (steps, "encode_context_frame")):
        original = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *a, n=name, f=original: counts.update([n]) or f(*a)
        )
    chunks = run(CAPTIONS)
    budget, length = (
        MODEL.preset.memory.context,
        MODEL.preset.vae.pixel_frames(MODEL.preset.video.shot_frames),
    )
    kept = [len(candidates(s, s * length, length, budget)) for s in range(len(CAPTIONS))]
    assert counts == {"encode_prompt": len(CAPTIONS), "encode_context_frame": sum(kept)}
    for shot, story in enumerate(c.story for c in chunks if c.story):
        assert [r.number for r in story.shots] == list(range(max(0, shot + 1 - budget), shot + 1))
        assert [len(r.frames) for r in story.shots] == kept[max(0, shot + 1 - budget) : shot + 1]


def test_a_kept_story_goes_on_as_if_uninterrupted(whole, tmp_path):
    for chunk in whole[: 5 * CHUNKS]:
        if chunk.story:
            chunk.story.save(tmp_path / "story")
    for at in (0, 2, 5):  # to the start, back into the middle, at the end
        story = Story.load(tmp_path / "story", at)
        assert story.next_shot == at
        assert np.array_equal(
            frames(continued(story, CAPTIONS[at : at + 2])),
            frames(whole[at * CHUNKS : (at + 2) * CHUNKS]),
        )


def test_a_fork_is_a_story_of_its_own(whole, tmp_path):
    for chunk in whole[: 3 * CHUNKS]:
        if chunk.story:
            chunk.story.save(tmp_path / "story")
    story = Story.fork(tmp_path / "story", 2, tmp_path / "fork")
    other = continued(story, ["told differently"])
    assert not np.array_equal(frames(other), frames(whole[2 * CHUNKS : 3 * CHUNKS]))
    with pytest.raises(InputError, match="another version of shot 2: fork"):
        other[-1].story.save(tmp_path / "story")
    other[-1].story.save(tmp_path / "fork")
    assert [r.caption for r in Story.load(tmp_path / "fork").shots] == [
        *CAPTIONS[:2],
        "told differently",
    ]
    assert Story.load(tmp_path / "story").shots[-1].caption == CAPTIONS[2]
    with pytest.raises(InputError, match="not empty"):
        Story.fork(tmp_path / "story", 2, tmp_path / "fork")


def test_damaged_stories_are_named(whole, tmp_path):
    for chunk in whole[: 2 * CHUNKS]:
        if chunk.story:
            chunk.story.save(tmp_path / "story")
    with pytest.raises(InputError, match="cannot go to shot 3"):
        Story.load(tmp_path / "story", 3)
    with pytest.raises(InputError, match="another story"):
        run(["x"], seed=8)[-1].story.save(tmp_path / "story")
    record = tmp_path / "story" / "shot_000001.npz"
    record.write_bytes(record.read_bytes()[:100])
    with pytest.raises(InputError, match=r"shot_000001.npz is unreadable, truncated or damaged"):
        Story.load(tmp_path / "story")
    record.unlink()
    (tmp_path / "story" / "shot_000002.npz").touch()
    with pytest.raises(InputError, match=r"shot_000001.npz is missing"):
        Story.load(tmp_path / "story", 2)
    with pytest.raises(InputError, match="holds no story"):
        Story.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "change",
    [
        lambda head: [],
        lambda head: {k: v for k, v in head.items() if k != "seed"},
        lambda head: head | {"extra": 1},
        lambda head: head | {"seed": 2**63},
        lambda head: head | {"context": "6"},
        lambda head: head | {"video": {"height": 8}},
        lambda head: head | {"video": head["video"] | {"height": "8"}},
    ],
)
def test_a_damaged_head_is_one_line(tmp_path, change):
    new_story().save(tmp_path)
    path = tmp_path / "story.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(InputError, match=r"story.json is damaged"):
        Story.load(tmp_path)


@pytest.mark.parametrize("seed", [-1, -(2**63), 2**63 - 1, 2**32])
def test_a_kept_story_has_any_seed(tmp_path, seed):
    stream.new_story(MODEL, seed=seed).save(tmp_path)
    story = Story.load(tmp_path)
    assert story.seed == seed
    story.check_folder(tmp_path)  # it can be gone on with


@pytest.mark.parametrize("seed", [np.int64(3), np.uint32(3)])
def test_a_seed_of_numpy_is_kept_as_a_number(tmp_path, seed):
    stream.new_story(MODEL, seed=seed).save(tmp_path)
    assert json.loads((tmp_path / "story.json").read_text())["seed"] == 3


@pytest.mark.parametrize(
    "field, value", [("number", 3), ("length", 5), ("caption", 7), ("extra", 1)]
)
def test_a_damaged_record_is_one_line(whole, tmp_path, field, value):
    whole[CHUNKS - 1].story.save(tmp_path)
    path = tmp_path / "shot_000000.npz"
    with np.load(path) as data:
        arrays = dict(data)
    arrays["meta"] = json.dumps(json.loads(str(arrays["meta"])) | {field: value})
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=r"shot_000000.npz is unreadable, truncated or damaged"):
        Story.load(tmp_path)


@pytest.mark.parametrize("bad", [None, b"x", " "])
def test_a_bad_caption_loses_no_shot_before_it(whole, bad):
    """Of a list it is found before the work, of an iterator after the shots before it."""
    with pytest.raises(InputError, match="the caption of shot 2"):
        stream_generate(MODEL, [CAPTIONS[0], bad])
    lazy = stream_generate(MODEL, iter([CAPTIONS[0], bad]), global_caption="A fox.", seed=3)
    received = []
    with pytest.raises(InputError, match="the caption of shot 2"):
        for chunk in lazy:
            received.append(chunk)
    assert np.array_equal(frames(received), frames(whole[:CHUNKS]))
    assert received[-1].story.next_shot == 1


def test_numpys_numbers_and_texts_are_taken(whole, tmp_path):
    video = MODEL.preset.video
    as_numpy = VideoFormat(*(np.int64(n) for n in dataclasses.astuple(video)))
    assert as_numpy == video and type(as_numpy.height) is int
    chunks = run(np.array(CAPTIONS[:1]), seed=np.int64(3), video=as_numpy)
    assert np.array_equal(frames(chunks), frames(whole[:CHUNKS]))
    chunks[-1].story.save(tmp_path)
    assert Story.load(tmp_path, at=np.int32(1)).seed == 3
    for wrong in (True, 1.5, "3"):
        with pytest.raises(InputError, match=f"seed {wrong!r} must be a whole number"):
            run(["x"], seed=wrong)
        with pytest.raises(InputError, match=f"height {wrong!r} must be a whole number from 1"):
            VideoFormat(wrong, 12, 6)


def test_misuse_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"model must be what load\(\) gives, not 'tiny'"):
        stream_generate("tiny", ["x"])
    with pytest.raises(InputError, match="story must be a Story, not 'kept'"):
        stream_generate(MODEL, ["x"], story="kept")
    with pytest.raises(InputError, match=r"must be a path as text, not b'kept' \(bytes\)"):
        Story.load(b"kept")
    with pytest.raises(InputError, match="global_caption must be str, not None"):
        run(["x"], global_caption=None)
    with pytest.raises(InputError, match="dict"):
        stream_generate(MODEL, {"x": "y"})
    with pytest.raises(InputError, match="sampler steps 0 must be a whole number from 1"):
        SamplerConfig(0)
    with pytest.raises(InputError, match="0 steps must have at least 1"):
        Schedule(0)


def test_arguments_are_checked_before_the_work():
    with pytest.raises(InputError, match="several captions"):
        stream_generate(MODEL, "a fox")
    with pytest.raises(InputError, match="brings its own"):
        stream_generate(MODEL, ["x"], story=new_story(), seed=4)
    with pytest.raises(InputError, match="height 9 is not a multiple of 4; try 8"):
        stream_generate(MODEL, ["x"], video=VideoFormat(height=9, width=12, shot_frames=6))
    with pytest.raises(InputError, match="made with other"):
        stream_generate(MODEL, ["x"], story=new_story("other"))
    with pytest.raises(InputError, match="the caption of shot 2 is empty"):
        run(["x", "  "])
