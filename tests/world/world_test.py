"""The drawn world: what is told, what is not, and that the truth is the truth."""

import dataclasses
import itertools
import json
import math
import pickle

import av
import grain
import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.data.clips import cut_clip, read_clips
from shotstream_jax.media.reader import read_frames
from shotstream_jax.world import __main__ as app
from shotstream_jax.world import captions, figure
from shotstream_jax.world.actions import ACTIONS
from shotstream_jax.world.affine import AffineMap
from shotstream_jax.world.camera import MOVES
from shotstream_jax.world.characters import CHARACTERS
from shotstream_jax.world.class_maps import class_maps
from shotstream_jax.world.clothing import ACCENTS, PATTERNS
from shotstream_jax.world.clothing_mask import visible_clothing
from shotstream_jax.world.draw import Canvas, Pen
from shotstream_jax.world.places import PLACES, SIDES
from shotstream_jax.world.plot import SUBSETS, WorldConfig
from shotstream_jax.world.render import render_shot, render_story
from shotstream_jax.world.source import WorldSource
from shotstream_jax.world.story import make_story

SHORT = WorldConfig(lengths=(5,))
SIMPLE = WorldConfig("simple", fps=8, lengths=(5,))


def stories(config, count, split="train", seed=0):
    return [make_story(config, seed, split, index) for index in range(count)]


WHITE = (255, 255, 255)
SHAPES = {
    "disc": (lambda pen: pen.disc(0.3, -0.2, 0.7, WHITE), math.pi * 0.49),
    "ellipse": (lambda pen: pen.ellipse(0, 0, 1.2, 0.7, WHITE), math.pi * 0.84),
    "box": (lambda pen: pen.box(0.1, 0, 0.9, 0.5, WHITE, corner=0.2), 1.8 - (4 - math.pi) * 0.04),
    "line": (
        lambda pen: pen.line((-0.5, 0), (0.5, 0.3), 0.25, WHITE),
        0.5 * math.hypot(1, 0.3) + math.pi * 0.0625,
    ),
    "polygon": (lambda pen: pen.polygon([(-1, -0.6), (1, -0.6), (0.2, 0.9)], WHITE), 1.5),
    "arc": (lambda pen: pen.arc(0, 0, 0.8, 0.2, WHITE), math.pi * 0.8 * 0.4),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shift, angle", [(0.0, 0.0), (0.37, 0.0), (0.21, 0.5), (0.8, 2.6)])
def test_a_shape_keeps_its_area_and_moves_by_parts_of_a_pixel(shape, shift, angle):
    paint, area = SHAPES[shape]

    def middle(shift):
        canvas = Canvas(48, 56)
        paint(Pen(canvas, AffineMap(12.0, 0.0, 0.0, -12.0, 28 + shift, 24 - shift)).turned(angle))
        cover = canvas.picture.mean(0) / 255
        np.testing.assert_allclose(cover.sum() / 144, area, rtol=0.02)
        return np.array([(cover * canvas.x).sum(), (cover * canvas.y).sum()]) / cover.sum()

    np.testing.assert_allclose(middle(shift) - middle(0.0), [shift, -shift], atol=0.05)


def test_a_story_follows_from_its_number():
    source = WorldSource(SHORT, 32, 48, stories=50, seed=3)
    film, again = source[7], pickle.loads(pickle.dumps(source))[np.int64(7)]
    assert film.story == again.story
    np.testing.assert_array_equal(film.frames, again.frames)
    np.testing.assert_array_equal(film.boxes, again.boxes)
    assert len({str(source.story(i)) for i in range(50)}) == 50
    with pytest.raises(IndexError):
        source.story(50)
    # Pinned, so that a data set can be made again from its seed.
    assert source.story(7).script.shots[:2] == (
        "Wide shot: the giraffe dances in the woods. The camera pans right.",
        "A close shot: the tall giraffe is jumping in the snow. The camera backs away.",
    )


def test_splits_and_seeds_share_no_story():
    worlds = [
        stories(SHORT, 100, "train"),
        stories(SHORT, 100, "test"),
        stories(SHORT, 100, "train", seed=1),
    ]
    phases = [
        {role.phase for story in world for shot in story.shots for role in shot.roles}
        for world in worlds
    ]
    assert all(not a & b for a, b in itertools.combinations(phases, 2))


def test_grain_reads_it():
    source = WorldSource(SIMPLE, 16, 24, stories=6)
    data = (
        grain.MapDataset.source(source).seed(1).shuffle().map(lambda film: film.frames[:4]).batch(2)
    )
    assert data[0].shape == (2, 4, 16, 24, 3)
    everything = sorted(frames.tobytes() for batch in data for frames in batch)
    assert everything == sorted(source[i].frames[:4].tobytes() for i in range(6))


def test_everything_occurs():
    told = stories(SHORT, 600)
    roles = [role for story in told for shot in story.shots for role in shot.roles]
    assert {(r.name, r.action) for r in roles} == set(itertools.product(CHARACTERS, ACTIONS))
    assert {r.direction for r in roles if r.action == "walk"} == {-1, 1}
    looks = {
        (name, look.accent, look.pattern) for story in told for name, look in story.looks.items()
    }
    assert looks == set(itertools.product(CHARACTERS, ACCENTS, PATTERNS))
    layouts = {(p, x.side, x.variant, x.items) for story in told for p, x in story.layouts.items()}
    assert layouts == set(itertools.product(PLACES, SIDES, range(3), range(1, 4)))
    cameras = {(shot.camera.distance, shot.camera.move) for story in told for shot in story.shots}
    assert cameras == set(itertools.product(SUBSETS["full"].distances, MOVES))
    assert {len(story.shots) for story in told} == {2, 3, 4, 5, 6}
    assert {len(shot.roles) for story in told for shot in story.shots} == {1, 2}


@pytest.mark.parametrize("pairs, low, high", [(None, 0.2, 0.35), (0.5, 0.45, 0.6), (1.0, 1.0, 1.0)])
def test_shots_of_two_are_as_frequent_as_asked_for(pairs, low, high):
    told = [
        story
        for story in stories(dataclasses.replace(SIMPLE, pairs=pairs), 200)
        if len(story.looks) == 2
    ]
    assert low <= np.mean([len(shot.roles) == 2 for story in told for shot in story.shots]) <= high


@pytest.mark.parametrize("config", [SHORT, SIMPLE], ids=["full", "simple"])
def test_memory_has_something_to_carry(config):
    for story in stories(config, 200):
        *earlier, last = story.shots
        before = {role.name for shot in earlier for role in shot.roles}
        assert before & {role.name for role in last.roles}  # someone returns in the last shot
        assert len({look.accent for look in story.looks.values()}) == len(story.looks)
        assert set(story.looks) == before | {role.name for role in last.roles}
        subset = SUBSETS[config.subset]
        assert set(story.looks) <= set(subset.characters) and set(story.layouts) <= set(
            subset.places
        )


def close(pixels, colour):
    return np.abs(pixels.astype(int) - colour).max(-1) < 36


@pytest.mark.parametrize(
    "config, height, width", [(SHORT, 64, 96), (SIMPLE, 32, 48)], ids=["full", "simple"]
)
def test_hats_and_scarves_keep_their_colour(config, height, width):
    """In every frame the accent is to be seen in the character's box, more than any other one."""
    for story in stories(config, 25):
        film = render_story(story, height, width)
        for number in range(0, len(film.frames), 4):
            for seen in film.truth(number).visible if len(film.truth(number).visible) == 1 else ():
                left, top, right, bottom = seen.box
                pixels = film.frames[number, top:bottom, left:right]
                counts = {name: close(pixels, colour).sum() for name, colour in ACCENTS.items()}
                assert counts[seen.look.accent] >= 3, (number, seen, counts)


def vocabulary():
    """Every word of the grammar's tables."""
    phrases = [
        *captions.OPENINGS,
        *captions.ADJECTIVES,
        *captions.ADJECTIVES.values(),
        *captions.DIRECTION_PHRASES.values(),
        "and a an the",
    ]
    for table in (captions.PLACE_PHRASES, captions.DISTANCE_PHRASES, captions.MOVE_PHRASES):
        phrases += [phrase for choices in table.values() for phrase in choices]
    phrases += [
        phrase
        for choices in captions.ACTION_PHRASES.values()
        for pair in choices
        for phrase in pair
    ]
    return words(" ".join(phrases))


def words(text):
    return set(text.lower().replace(",", " ").replace(".", " ").replace(":", " ").split())


def test_no_caption_tells_a_look():
    untold = {
        *ACCENTS,
        *PATTERNS,
        "hat",
        "scarf",
        "tree",
        "parasol",
        "mushroom",
        "house",
        "tent",
        "rocket",
    }
    assert not untold & vocabulary()
    for story in stories(SHORT, 200) + stories(SIMPLE, 200):
        for caption in (story.script.global_caption, *story.script.shots):
            assert words(caption) <= vocabulary()


def meanings(text, table):
    """What the phrases of a table that occur in a text mean, in the order of the text.

    Longer phrases are found first.
    """
    found = []
    for phrase, meaning in sorted(table, key=lambda entry: -len(entry[0])):
        while phrase in text:
            found.append((text.index(phrase), meaning))
            text = text.replace(phrase, "#" * len(phrase), 1)
    return [meaning for _, meaning in sorted(found)]


def table(choices):
    return [
        (phrase.lower(), meaning)
        for meaning, phrases in choices.items()
        for phrase in phrases
        if phrase
    ]


@pytest.mark.parametrize("config", [SHORT, SIMPLE], ids=["full", "simple"])
def test_a_caption_can_be_read_back(config):
    does = [
        (f" {phrase}", action)
        for action, pairs in captions.ACTION_PHRASES.items()
        for pair in pairs
        for phrase in pair
    ]
    for story in stories(config, 200):
        opening, people, places = (
            story.script.global_caption.lower(),
            list(story.looks),
            list(story.layouts),
        )
        assert (
            meanings(
                opening, [(f" {captions.ADJECTIVES[name]} {name}", name) for name in CHARACTERS]
            )
            == people
        )
        assert meanings(opening, table(captions.PLACE_PHRASES)) == places
        assert len(story.script.shots) == len(story.shots)
        for shot, caption in zip(story.shots, story.script.shots, strict=True):
            text, action = caption.lower(), [role.action for role in shot.roles]
            assert meanings(text, [(f" {name} ", name) for name in CHARACTERS]) == [
                role.name for role in shot.roles
            ]
            assert meanings(text, table(captions.PLACE_PHRASES)) == [shot.place]
            assert meanings(text, does) in (
                action,
                action[:1] if len(set(action)) == 1 else action,
            ), caption
            if config is SIMPLE:
                continue
            assert meanings(text, table(captions.DISTANCE_PHRASES)) == [shot.camera.distance]
            assert (meanings(text, table(captions.MOVE_PHRASES)) or ["still"]) == [shot.camera.move]
            ways = [role.direction for role in shot.roles if role.action == "walk"]
            told = meanings(
                text.split("the camera")[0],
                [(phrase, way) for way, phrase in captions.DIRECTION_PHRASES.items()],
            )
            assert told in (ways, ways[:1] if len(set(ways)) == 1 else ways), caption


@pytest.mark.parametrize("config", [SHORT, SIMPLE], ids=["full", "simple"])
def test_a_caption_mistold(config):
    """The next one of the subset is told in place of each; nothing else is."""
    subset = SUBSETS[config.subset]
    does = [
        (f" {phrase}", action)
        for action, pairs in captions.ACTION_PHRASES.items()
        for pair in pairs
        for phrase in pair
    ]
    told = {
        "who": (subset.characters, [(f" {name}", name) for name in CHARACTERS]),
        "where": (subset.places, table(captions.PLACE_PHRASES)),
        "action": (subset.actions, does),
    }
    scripts = [story.script for story in stories(config, 100)]
    for caption in (
        caption for script in scripts for caption in (script.global_caption, *script.shots)
    ):
        true = {what: meanings(caption.lower(), phrases) for what, (_, phrases) in told.items()}
        for what, (values, _) in told.items():
            wrong = captions.falsify_caption(caption, what, subset)
            after = [values[(values.index(value) + 1) % len(values)] for value in true[what]]
            assert (wrong != caption) == bool(after) and wrong[0].isupper()
            assert {other: meanings(wrong.lower(), told[other][1]) for other in told} == true | {
                what: after
            }, wrong


def test_boxes_hold_what_is_drawn(monkeypatch):
    """With and without a character, a picture differs in its box only (shadow and dream aside)."""
    monkeypatch.setattr(figure, "draw_shadow", lambda *_: None)
    monkeypatch.setattr(figure, "draw_dream", lambda *_: None)
    for story in stories(dataclasses.replace(SHORT, lengths=(3,)), 12):
        for number, shot in enumerate(story.shots):
            without = dataclasses.replace(shot, roles=shot.roles[:-1])
            shots = (*story.shots[:number], without, *story.shots[number + 1 :])
            frames, boxes = render_shot(story, number, 64, 96)
            empty, _ = render_shot(dataclasses.replace(story, shots=shots), number, 64, 96)
            slot = len(shot.roles) - 1
            for changed, box in zip(
                np.abs(frames.astype(int) - empty).max(-1) > 0, boxes[:, slot], strict=True
            ):
                rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
                extent = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
                assert np.abs(np.array(extent) - box).max() <= 1, (story.shots[number], extent, box)
            assert not boxes[:, slot + 1 :].any()


def test_the_place_moves_with_the_camera():
    config = dataclasses.replace(SHORT, lengths=(3,))
    for story in stories(config, 12):
        for number, shot in enumerate(story.shots):
            empty = dataclasses.replace(
                story, shots=(*story.shots[:number], dataclasses.replace(shot, roles=()))
            )
            frames, boxes = render_shot(empty, number, 32, 48)
            changes = [np.abs(b.astype(int) - a).mean() for a, b in itertools.pairwise(frames)]
            assert (min(changes) > 1) if shot.camera.move != "still" else (max(changes) == 0), (
                shot.camera
            )
            assert not boxes.any()


def test_truth_of_a_frame():
    film = WorldSource(SHORT, 32, 48, stories=1)[0]
    for (first, stop), shot in zip(film.story.intervals, film.story.shots, strict=True):
        for frame in (first, stop - 1):
            truth = film.truth(frame)
            assert film.story.shots[truth.shot] is shot and truth.place == shot.place
            assert truth.layout == film.story.layouts[shot.place]
            assert [(s.name, s.action) for s in truth.visible] == [
                (p.name, p.action) for p in shot.roles
            ]
            assert all(seen.look == film.story.looks[seen.name] for seen in truth.visible)
    with pytest.raises(InputError, match="not a frame"):
        film.truth(len(film.frames))


def test_the_same_picture_at_any_resolution():
    for story in stories(dataclasses.replace(SHORT, lengths=(2,)), 10):
        small, large = render_story(story, 32, 48).frames, render_story(story, 192, 288).frames
        shrunk = large.reshape(len(large), 32, 6, 48, 6, 3).mean((2, 4))
        assert np.abs(shrunk - small).mean() < 1.5


def test_simple_characters_are_large():
    shares = []
    for story in stories(SIMPLE, 40):
        film = render_story(story, 32, 48)
        frames = [film.truth(frame) for frame in range(len(film.frames))]
        shares += [
            (s.box[3] - s.box[1]) / 32
            for f in frames
            for s in f.visible
            if s.action in ("walk", "dance")
        ]
    assert 0.4 < np.mean(shares) < 0.65 and min(shares) > 0.3


def test_large_clothing_is_large():
    """The same stories with hats and scarves of nearly twice the pixels."""
    pixels = {}
    for subset in ("simple", "large"):
        config = WorldConfig(subset, fps=8, lengths=(2,), pairs=0.5)
        films = [render_story(story, 64, 96) for story in stories(config, 20)]
        masks = [visible_clothing(film) for film in films]
        pixels[subset] = np.mean([mask.mean() for mask in masks])
    assert pixels["large"] > 1.8 * pixels["simple"]


ARGS = ["--stories", "3", "--size", "24x36", "--fps", "8", "--lengths", "5,9", "--seed", "2"]


def test_files_are_what_precompute_reads(tmp_path):
    folder = tmp_path / "world"
    app.main(["--out", str(folder), *ARGS])
    clips = read_clips(folder / "clips.csv")
    source = WorldSource(WorldConfig(fps=8, lengths=(5, 9)), 24, 36, stories=3, seed=2)
    assert len(clips) == 3
    for index, clip in enumerate(clips):
        film = source[index]
        assert clip.shots == film.story.intervals and clip.shots[-1][1] == len(film.frames)
        assert (
            all(a[1] == b[0] for a, b in itertools.pairwise(clip.shots)) and clip.shots[0][0] == 0
        )
        assert (clip.global_caption, clip.captions) == film.story.script
        cut_clip(clip.shots, len(film.frames))
        np.testing.assert_array_equal(
            read_frames(clip.video, np.arange(len(film.frames)), 24, 36), film.frames
        )
        truth = json.loads(clip.video.with_suffix(".truth.json").read_text())
        boxes = np.concatenate(
            [np.stack([p["boxes"] for p in shot["parts"]][:1], 1) for shot in truth["shots"]]
        )
        np.testing.assert_array_equal(boxes, film.boxes[:, :1])
        check_mask(read_frames(clip.mask, np.arange(len(film.frames)), 24, 36), film)
        labels = read_frames(clip.labels, np.arange(len(film.frames)), 24, 36)
        np.testing.assert_array_equal(labels, class_maps(film, visible_clothing(film)))
        assert truth["looks"] == {
            name: dataclasses.asdict(look) for name, look in film.story.looks.items()
        }


def test_classes_of_pixels():
    """Who stands in which box, what a hat's pure colour says, and which landmark there is."""
    shown = {"accents": 0, "landmarks": 0, "covered": 0}
    for film in list(WorldSource(SHORT, 64, 96, stories=6, seed=4)):
        who, accent, landmark = np.moveaxis(class_maps(film, visible_clothing(film)), -1, 0)
        story = film.story
        for i, frame in enumerate(film.frames):
            truth = film.truth(i)
            seen = {1 + list(CHARACTERS).index(v.name): v for v in truth.visible}
            assert set(np.unique(who[i])) <= {0, *seen}
            boxes = np.zeros((64, 96), bool)
            for number, visible in seen.items():
                left, top, right, bottom = visible.box
                inside = np.zeros((64, 96), bool)
                inside[top:bottom, left:right] = True
                boxes |= inside
                assert not (who[i] == number)[~inside].any()
                # All accents on it are its own, and its pure colour is one of them.
                own = 1 + list(ACCENTS).index(visible.look.accent)
                assert set(np.unique(accent[i][who[i] == number])) <= {0, own}
                pure = (frame == ACCENTS[visible.look.accent]).all(-1) & (who[i] == number)
                assert (accent[i][pure] == own).all()
                shown["accents"] += pure.sum()
            # The last role covers the one before it, so its box's edges are its own.
            last = list(seen)[-1:] if seen else []
            for number in last:
                left, top, right, bottom = seen[number].box
                rows, columns = np.nonzero(who[i] == number)
                extent = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
                assert extent == (left, top, right, bottom)
                shown["covered"] += len(seen) > 1
            assert not accent[i][who[i] == 0].any() and not landmark[i][who[i] > 0].any()
            # One landmark; its pure colour outside of everyone's box is nothing else's.
            variant = story.layouts[truth.place].variant
            wanted = 1 + 3 * list(PLACES).index(truth.place) + variant
            assert set(np.unique(landmark[i])) <= {0, wanted}
            shown["landmarks"] += (landmark[i] == wanted).any()
    assert shown["accents"] > 500 and shown["landmarks"] > 50 and shown["covered"] > 10


def test_a_landmark_is_where_its_colour_changes_the_picture():
    """The film with another landmark's colour differs on the landmark's pixels only."""
    for film in list(WorldSource(SHORT, 64, 96, stories=4, seed=1)):
        story = film.story
        layouts = {
            place: dataclasses.replace(layout, variant=(layout.variant + 1) % 3)
            for place, layout in story.layouts.items()
        }
        other = render_story(dataclasses.replace(story, layouts=layouts), 64, 96)
        changed = np.abs(film.frames.astype(int) - other.frames).max(-1) > 60
        landmark = class_maps(film, visible_clothing(film))[..., 2] > 0
        # But for pixels at edges, of which it has less than half.
        assert (changed & ~landmark).sum() <= 0.1 * changed.sum() and changed.sum() > 100


def check_mask(mask, film):
    """A box is grey, or white where a pixel has a hat's pure colour; nothing else is."""
    y, x = np.mgrid[:24, :36]
    assert np.array_equal(mask, np.repeat(mask[..., :1], 3, axis=-1)) and set(np.unique(mask)) == {
        0,
        64,
        255,
    }
    whole = 0
    for i, (frame, boxes) in enumerate(zip(mask[..., 0], film.boxes, strict=True)):
        inside = np.any([(a <= x) & (x < c) & (b <= y) & (y < d) for a, b, c, d in boxes], axis=0)
        np.testing.assert_array_equal(frame > 0, inside)
        for seen in film.truth(i).visible:
            pure = inside & (
                np.abs(film.frames[i] - np.array(ACCENTS[seen.look.accent])).max(-1) < 3
            )
            assert np.all(frame[pure] == 255)
            whole += pure.sum()
    assert whole > 0 and (mask == 255).sum() < 0.4 * (mask > 0).sum()


def test_an_interrupted_folder_is_gone_on_with(tmp_path):
    folder = tmp_path / "world"
    app.main(["--out", str(folder), *ARGS])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    kept = (folder / "stories" / "00000.mp4").stat().st_mtime_ns
    for name in ("clips.csv", "stories/00001.mp4", "stories/00002.mp4", "stories/00002.json"):
        (folder / name).unlink()
    app.main(["--out", str(folder), *ARGS])
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert (folder / "stories" / "00000.mp4").stat().st_mtime_ns == kept
    with pytest.raises(InputError, match="made with other settings"):
        app.main(["--out", str(folder), *ARGS, "--split", "test"])
    with pytest.raises(InputError, match="is not empty"):
        app.main(["--out", str(tmp_path), *ARGS])


def test_a_sheet(tmp_path):
    app.main(["--sheet", str(tmp_path / "s.png"), *ARGS, "--columns", "4", "--enlarge", "2"])
    with av.open(str(tmp_path / "s.png")) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    source = WorldSource(WorldConfig(fps=8, lengths=(5, 9)), 24, 36, stories=3, seed=2)
    rows = sum(len(source.story(i).shots) for i in range(3))
    assert picture.shape == (rows * 50 + 2 * 6, 4 * 74, 3)
    np.testing.assert_array_equal(picture[:48:2, :72:2], source[0].frames[0])


@pytest.mark.parametrize(
    "args, match",
    [
        ([], "name what to make"),
        (["--sheet", "x.jpg"], "must end in .png"),
        (["--out", "x", "--size", "64"], "--size 64: write whole numbers"),
        (["--out", "x", "--size", "4x64"], "too small"),
        (["--out", "x", "--shots", "1,2"], "shots 1, 2 must be"),
        (["--out", "x", "--lengths", "0"], "lengths 0 must be"),
        (["--out", "x", "--pairs", "1.5"], "pairs 1.5 must be a share"),
        (["--out", "x", "--pairs", "0"], "pairs 0 must be a share"),
        (["--out", "x", "--stories", "0"], "is empty"),
        (["--out", "x", "--seed", "-1"], "seed -1 must be a whole number from 0"),
        (["--sheet", "x.png", "--columns", "0"], "--columns 0"),
    ],
)
def test_a_callers_mistakes(args, match, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=match):
        app.main(args)
    assert not list(tmp_path.iterdir())
