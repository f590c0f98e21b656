"""precompute from a table to a folder: its content, what is skipped, restarts and shared work."""

import dataclasses
import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.checkpoint.checksum import part_checksum
from shotstream_jax.checkpoint.load import load
from shotstream_jax.checkpoint.save import save
from shotstream_jax.core.errors import InputError
from shotstream_jax.data import encode
from shotstream_jax.data.dataset import Dataset, open_dataset
from shotstream_jax.data.labels import cell_classes, nearest_pixels
from shotstream_jax.media.reader import read_frames
from shotstream_jax.media.video import VideoWriter
from shotstream_jax.memory.select import candidates
from shotstream_jax.precompute import __main__ as app
from shotstream_jax.testing import tiny_model
from shotstream_jax.text.encode import encode_prompt
from shotstream_jax.text.tokenizer import tokenize
from shotstream_jax.vae import codec
from tests.data.videos import write_video

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "precompute.py"
GOOD = (
    ("film.mp4", [[0, 10], [10, 36], [36, 40]]),
    ("film.mp4", [[4, 9], [9, 30]]),
    ("film.mp4", [[0, 40]]),
)
BAD = (
    ("cut.mp4", [[0, 20], [20, 40]]),  # cut off
    ("film.mp4", [[0, 2], [2, 4]]),  # shorter than a chunk
    ("film.mp4", [[0, 20], [20, 60]]),  # stops behind its end
    ("none.mp4", [[0, 20]]),
)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with a checkpoint, videos, and a script for every number of shots."""
    folder = tmp_path_factory.mktemp("precompute")
    save(tiny_model(), folder / "ckpt")
    data = write_video(folder / "film.mp4", 40).read_bytes()
    (folder / "cut.mp4").write_bytes(data[: len(data) * 2 // 3])
    for shots in (1, 2, 3):
        script = {"global_caption": "G."} | {f"shot{k}": f"c{k}" for k in range(1, shots + 1)}
        (folder / f"{shots}.json").write_text(json.dumps(script))
    table(folder / "good.csv", GOOD)
    table(folder / "mixed.csv", (*BAD[:2], *GOOD, *BAD[2:]))
    table(folder / "bad.csv", BAD)
    return folder


def table(path: pathlib.Path, rows) -> None:
    lines = [f'{len(shots)},{len(shots)}.json,{video},"{shots}"' for video, shots in rows]
    path.write_text(
        "\n".join(["shot_num_from_caption,json_path,video_path,frame_number", *lines]) + "\n"
    )


def run(work: pathlib.Path, csv: str, out: pathlib.Path, *more: str) -> None:
    fields = {"checkpoint": work / "ckpt", "context": 4, "negative_prompt": "grey"}
    fields |= {"video.height": 8, "video.width": 12, "video.shot_frames": 6}
    recipe = [f"--config.{name}={value}" for name, value in fields.items()]
    app.main(["--config", str(CONFIG), *recipe, "--csv", str(work / csv), "--out", str(out), *more])


@pytest.fixture(scope="module")
def dataset(work) -> Dataset:
    run(work, "good.csv", work / "out", "--shards", "2")
    return open_dataset(work / "out")


def test_what_stands_in_it(work, dataset):
    """Latents of the exact frames, context frames by themselves, the prompts' valid rows."""
    model = load(work / "ckpt")
    params = model.params["vae"]
    assert [(c.name, c.shots) for c in dataset.clips] == [
        ("good-00001", (6, 6, 2)),  # 10 frames of 11: the last one twice; 26: every second one
        ("good-00003", (6,)),
        ("good-00002", (3, 6)),
    ]
    assert (dataset.settings.preset, dataset.settings.context, dataset.settings.csv) == (
        "test",
        4,
        "good.csv",
    )
    clip = dataset.record(0)
    assert clip.shots.tolist() == [[0, 10], [10, 36], [36, 39]] and clip.captions == (
        "c1",
        "c2",
        "c3",
    )
    targets = [np.minimum(np.arange(11), 9), np.arange(10, 32, 2), np.arange(36, 39)]
    whole = jax.jit(functools.partial(codec.encode, model.vae))
    alone = jax.jit(functools.partial(codec.encode_frame, model.vae))
    # Encoding is causal: what is repeated at the end changes nothing before it, so one program
    # serves all lengths.
    padded = np.stack([np.pad(frames, (0, 11 - len(frames)), mode="edge") for frames in targets])
    latents = whole(params, pixels(work / "film.mp4", padded))
    context = alone(params, pixels(work / "film.mp4", np.concatenate(clip.frames)))
    near = functools.partial(
        np.testing.assert_allclose, atol=1e-5, rtol=2**-10
    )  # half a unit of float16, and rounding
    near(np.concatenate(clip.context), context)
    for k, (first, stop) in enumerate(clip.shots):
        assert clip.targets[k].dtype == clip.context[k].dtype == np.float16
        assert len(clip.targets[k]) == dataset.clips[0].shots[k] and len(clip.context[k]) == len(
            clip.frames[k]
        )
        near(clip.targets[k], latents[k, : len(clip.targets[k])])
        np.testing.assert_array_equal(clip.frames[k], candidates(k, first, stop - first, 4))
        np.testing.assert_allclose(clip.text[k], embed(model, f"G.shot{k}:c{k + 1}"), atol=1e-5)
    assert (
        encode.encode_first_pixels._cache_size() <= 4
        and encode.encode_next_pixels._cache_size() <= 4
    )  # 1, 2, 4, 8 together
    np.testing.assert_allclose(dataset.negative, embed(model, "grey"), atol=1e-5)


def test_masks(work, dataset, tmp_path):
    """Of the frames that a latent frame stands for: a mask frame is as bright as its number, on
    the left side only."""
    path = work / "mask.mp4"
    with VideoWriter(path, fps=16, lossless=True) as video:
        left = (np.arange(40) < 20)[None, None, :, None]
        video.write(
            np.broadcast_to(left * 5 * np.arange(40)[:, None, None, None], (40, 24, 40, 3)).astype(
                np.uint8
            )
        )
    video, shots = GOOD[0]
    row = f'3,3.json,{video},"{shots}",mask.mp4'
    (work / "masked.csv").write_text(
        f"shot_num_from_caption,json_path,video_path,frame_number,mask_path\n{row}\n"
    )
    run(work, "masked.csv", tmp_path / "out", "--shards", "1")
    masked, plain = open_dataset(tmp_path / "out"), dataset.record(0)
    record = masked.record(0)
    assert plain.masks == [] and masked.settings.clips_sha256 != dataset.settings.clips_sha256
    first = np.minimum(np.arange(11), 9)  # the mask's last frame is repeated as well
    for k, frames in enumerate((first, np.arange(10, 32, 2), np.arange(36, 39))):
        assert (
            record.masks[k].dtype == np.float16
            and record.masks[k].shape == record.targets[k].shape[:3]
        )
        np.testing.assert_array_equal(record.targets[k], plain.targets[k])
        means = [frames[0], *frames[1:].reshape(-1, 2).mean(axis=1)]
        np.testing.assert_allclose(record.masks[k][:, 0, 0], np.array(means) * 5 / 255, atol=1e-3)
        assert not record.masks[k][:, :, -1].any()


def test_labels(work, dataset, tmp_path):
    """A cell's class is that of most of its pixels which show anything, if they are an eighth.

    A frame's red is 1 + its number in the left half. Green is 3 in two pixels of a cell of 2×2 in
    the first five columns; blue 4 in every second row, but 5 in three frames of four there.
    """
    frames = np.zeros((40, 8, 12, 3), np.uint8)
    frames[:, :, :6, 0] = 1 + np.arange(40)[:, None, None]
    frames[:, ::2, :5, 1] = 3
    frames[:, ::2, :, 2] = 4
    frames[np.arange(40) % 4 > 0, ::2, :, 2] = 5
    with VideoWriter(work / "labels.mp4", fps=16, lossless=True) as video:
        video.write(frames)
    film, shots = GOOD[0]
    row = f'3,3.json,{film},"{shots}",labels.mp4'
    header = "shot_num_from_caption,json_path,video_path,frame_number,labels_path"
    (work / "labelled.csv").write_text(f"{header}\n{row}\n")
    run(work, "labelled.csv", tmp_path / "out", "--shards", "1")
    labelled = open_dataset(tmp_path / "out")
    record, plain = labelled.record(0), dataset.record(0)
    assert plain.labels == plain.context_labels == []
    assert labelled.settings.clips_sha256 != dataset.settings.clips_sha256

    for k, shot in enumerate((np.minimum(np.arange(11), 9), np.arange(10, 32, 2))):
        labels = record.labels[k]
        assert labels.dtype == np.uint8 and labels.shape[:3] == record.targets[k].shape[:3]
        groups = [shot[:1], *shot[1:].reshape(-1, 2)]
        for cells, group in zip(labels, groups, strict=True):
            # Of two frames of equal share the lower number wins.
            columns = cells.shape[1]
            assert (cells[:, : columns // 2, 0] == 1 + group.min()).all()
            assert not cells[:, columns // 2 :, 0].any()
            votes = [4 if number % 4 == 0 else 5 for number in group]
            assert (cells[:, :, 2] == min(votes, key=lambda v: (-votes.count(v), v))).all()
    for kept, labels, latents in zip(
        record.frames, record.context_labels, record.context, strict=True
    ):
        assert labels.shape[:3] == latents.shape[:3]
        np.testing.assert_array_equal(labels[:, 0, 0, 0], 1 + np.asarray(kept))

    # Only the prompts are encoded again.
    again = ["--config", str(CONFIG), f"--config.checkpoint={work / 'ckpt'}"]
    app.main([*again, f"--latents-from={tmp_path}/out", f"--out={tmp_path}/again"])
    copied = open_dataset(tmp_path / "again").record(0)
    for a, b in ((record.labels, copied.labels), (record.context_labels, copied.context_labels)):
        for one, other in zip(a, b, strict=True):
            np.testing.assert_array_equal(one, other)


def test_an_eighth_of_a_cell_is_enough():
    """Three cells of 4×2 pixels with one, two and no labelled ones; alone and over two frames."""
    labels = np.zeros((1, 4, 6, 1), np.uint8)
    labels[0, 1, 1] = 7
    labels[0, 0, 2] = labels[0, 3, 3] = 2
    assert cell_classes(labels, (1, 3), 1)[0, 0, :, 0].tolist() == [7, 2, 0]
    film = np.concatenate([labels, labels, np.zeros_like(labels)])
    first, second = cell_classes(film, (1, 3), 2)[:, 0, :, 0].tolist()
    assert first == [7, 2, 0] and second == [0, 2, 0]


def test_labels_of_another_size():
    """Every class stays one: doubled, halved, and cut where the aspect differs."""
    labels = np.random.default_rng(3).integers(0, 9, (2, 8, 12, 3)).astype(np.uint8)
    doubled = labels.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(nearest_pixels(labels, (16, 24)), doubled)
    np.testing.assert_array_equal(nearest_pixels(doubled, (8, 12)), labels)
    np.testing.assert_array_equal(nearest_pixels(labels, (8, 12)), labels)
    np.testing.assert_array_equal(nearest_pixels(labels, (8, 8)), labels[:, :, 2:10])


def pixels(video: pathlib.Path, frames: np.ndarray) -> jax.Array:
    """Frames of a video by number, in an array of any shape, in [−1, 1]."""
    wanted, index = np.unique(frames, return_inverse=True)
    return codec.from_uint8(
        jnp.asarray(read_frames(video, wanted, 8, 12)[index.reshape(frames.shape)])
    )


def embed(model, prompt: str) -> np.ndarray:
    tokens = tokenize(model.tokenizer, prompt, model.preset.dit.text_len)
    ids, valid = jnp.asarray(tokens.ids[None]), jnp.asarray([tokens.valid])
    return np.asarray(encode_prompt(model.text, model.params["text"], ids, valid))[
        0, : tokens.valid
    ]


def test_broken_clips_are_skipped_and_named(work, dataset, tmp_path, caplog):
    run(work, "mixed.csv", tmp_path / "out", "--shards", "2")
    mixed = open_dataset(tmp_path / "out")
    assert len(mixed) == 3
    reasons = {b.name: b.reason for b in mixed.broken}
    assert sorted(reasons) == ["mixed-00001", "mixed-00002", "mixed-00006", "mixed-00007"]
    assert "cut off" in reasons["mixed-00001"] and "a chunk has 2" in reasons["mixed-00002"]
    assert (
        "shot 2, [20, 60], stops behind the end" in reasons["mixed-00006"]
        and "none.mp4" in reasons["mixed-00007"]
    )
    for name in reasons:
        assert f"{name} is skipped: " in caplog.text
    with pytest.raises(InputError, match=r"all 4 clips are broken, the first one as .*cut.mp4"):
        run(work, "bad.csv", tmp_path / "bad", "--shards", "2")
    assert not (tmp_path / "bad" / "dataset.json").exists()


def test_a_killed_run_goes_on(work, dataset, tmp_path):
    """Only what is not there is made again; other settings are refused."""
    run(work, "good.csv", tmp_path, "--shards", "3")
    redone = open_dataset(tmp_path).settings.shards[1]
    (tmp_path / f"{redone}.json").unlink()
    (tmp_path / "dataset.json").unlink()
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.iterdir()}
    run(work, "good.csv", tmp_path, "--shards", "3")
    assert len(open_dataset(tmp_path)) == 3
    for name, (time, data) in before.items():
        assert (tmp_path / name).read_bytes() == data
        assert ((tmp_path / name).stat().st_mtime_ns == time) == (not name.startswith(redone)), name
    with pytest.raises(
        InputError,
        match=r"other settings: dtype, shard_count \(dtype was 'float32', is 'bfloat16'\)",
    ):
        run(work, "good.csv", tmp_path, "--config.dtype=bfloat16")
    with pytest.raises(InputError, match="other settings: csv, clips_sha256"):
        run(work, "mixed.csv", tmp_path, "--shards", "3")


def test_two_parts_are_one_run(work, dataset, tmp_path):
    run(work, "good.csv", tmp_path, "--shards", "2", "--part", "1/2")
    with pytest.raises(InputError, match="is not complete"):
        open_dataset(tmp_path)
    run(work, "good.csv", tmp_path, "--shards", "2", "--part", "0/2")
    both = open_dataset(tmp_path)
    assert both.clips == dataset.clips
    for i in range(len(both)):
        assert dataset.source[i] == both.source[i]


def test_prompts_alone_are_encoded_again(work, tmp_path):
    """By another text encoder, with another negative prompt; all else is the older folder's."""
    run(work, "mixed.csv", tmp_path / "old", "--shards", "2")
    model = tiny_model(seed=1)
    save(model, work / "other")
    again = [
        "--config.negative_prompt=",
        f"--config.checkpoint={work / 'other'}",
        f"--latents-from={tmp_path / 'old'}",
    ]
    app.main(["--config", str(CONFIG), *again, "--out", str(tmp_path / "new")])
    old, new = open_dataset(tmp_path / "old"), open_dataset(tmp_path / "new")
    assert new.clips == old.clips and new.broken == old.broken and len(new.negative) == 0
    for checked, text, vae in ((old, "ckpt", "ckpt"), (new, "other", "ckpt")):
        assert checked.settings.text_sha256 == part_checksum(open_checkpoint(work / text), "text")
        assert checked.settings.vae_sha256 == part_checksum(open_checkpoint(work / vae), "vae")
    for i in range(len(old)):
        before, after = old.record(i), new.record(i)
        for name in ("targets", "context", "frames"):
            np.testing.assert_equal(getattr(after, name), getattr(before, name))
        for k, text in enumerate(after.text):
            np.testing.assert_allclose(text, embed(model, f"G.shot{k}:c{k + 1}"), atol=1e-5)
    with pytest.raises(InputError, match="old was made for test, tiny is tiny"):
        app.main(
            [
                "--config",
                str(CONFIG),
                f"--latents-from={tmp_path / 'old'}",
                "--out",
                str(tmp_path / "x"),
            ]
        )
    with pytest.raises(InputError, match=r"FILE, --world FILE.json or --latents-from DIR"):
        app.main(["--config", str(CONFIG), "--out", str(tmp_path / "x")])


@pytest.mark.parametrize(
    "count, most, sizes", [(13, 9, [8, 4, 1]), (6, 2, [2, 2, 2]), (3, 1, [1, 1, 1]), (0, 4, [])]
)
def test_batches(count, most, sizes):
    parts = list(encode.power_of_two_slices(count, most))
    assert [part.stop - part.start for part in parts] == sizes
    assert [i for part in parts for i in range(count)[part]] == list(range(count))


def test_prompts_in_bfloat16(work, tmp_path):
    """The encoder runs in its type; the autoencoder stays in float32."""
    encoders = encode.load_encoders(str(work / "ckpt"), "bfloat16")
    assert encode.encode_text(encoders, "G.shot0:c1").dtype == jnp.bfloat16
    assert encoders.vae_params["moments"]["kernel"].dtype == jnp.float32


@pytest.mark.parametrize(
    "options, message",
    [
        (["--part", "2/2"], "--part 2/2 must be p/P"),
        (["--part", "x"], "--part x must be p/P"),
        (["--part", "3/4", "--shards", "2"], "has nothing to do"),
        (["--shards", "0"], "--shards 0 must be at least 1"),
        (["--config.context=0"], "context 0 must be at least 1"),
        (["--config.dtype=float16"], "dtype 'float16' is not known"),
        (["--config.video.height=9"], "height 9 is not a multiple of 4"),
        (["--config.negative_prompt= "], "config.negative_prompt is empty"),
        (["--csv", "nowhere.csv"], "cannot read clips nowhere.csv"),
    ],
)
def test_mistakes_are_refused_before_work(work, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        run(work, "good.csv", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_words_that_the_vocabulary_lacks_are_named(work, caplog):
    encoders = encode.load_encoders("tiny", "float32")
    encode.encode_prompts(encoders, "clip 1", "", ("The fox is dancing.", "The fox cooks."))
    assert "clip 1, shot 2 has words that the vocabulary lacks: cooks" in caplog.text
    assert "clip 1, shot 1 has" not in caplog.text


def test_recipes_by_size():
    wan = app.cli.load_config(f"{CONFIG}:wan-1.3b")
    assert (wan.video.height, wan.video.shot_frames, wan.dtype) == (480, 21, "bfloat16")
    assert app.cli.load_config(f"{CONFIG}:tiny").video.height == 32
    with pytest.raises(InputError, match=r"no preset is called 'big'; there are tiny, wan-1.3b"):
        app.cli.load_config(f"{CONFIG}:big")
    assert {f.name for f in dataclasses.fields(encode.PrecomputeRecipe)} == set(wan)
