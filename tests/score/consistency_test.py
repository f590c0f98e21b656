"""Consistency, dynamic degree, semantics and subjects, with encoders whose answers are known."""

import numpy as np
import pytest

from shotstream_jax.score.consistency import FrameConsistency, between_shots, unit, within_shot
from shotstream_jax.score.dynamic import DynamicDegree, dis_flow, longest_vectors
from shotstream_jax.score.films import SuiteFilm, open_film, shots_between
from shotstream_jax.score.semantic import Semantic
from shotstream_jax.score.subjects import Subjects, Things
from shotstream_jax.text.prompts import Script
from tests.score.films import place_shots, write_film

pytest.importorskip("cv2")


def mean_colour(pictures):
    """An encoder that sees the mean colour of pictures, and no more."""
    return unit(pictures.astype(np.float64).mean((1, 2)) + 1)


class ColourAndWord:
    """A video and text encoder: a video is its mean colour, a text the colour that it names."""

    def encode_video(self, pictures):
        return unit(pictures.astype(np.float64).mean((0, 1, 2))[None])[0]

    def encode_text(self, text):
        return np.array([1.0, 0, 0]) if text == "red" else np.array([0, 1.0, 0])


def plain(red, green, blue, frames=12):
    return np.broadcast_to(np.array([red, green, blue], np.uint8), (frames, 48, 64, 3))


def test_identical_frames_are_consistent():
    features = np.tile(unit(np.array([[1.0, 2.0, 2.0]])), (5, 1))
    np.testing.assert_allclose(within_shot(features), 1)
    np.testing.assert_allclose(between_shots(features), np.ones(10))
    assert np.isnan(within_shot(features[:1])) and not len(between_shots(features[:1]))


def test_consistency_by_hand():
    # To the one before 0, 1 and 0 for the opposite, to the first 0, 0 and 1.
    features = np.array([[1.0, 0], [0, 1], [0, 1], [1, 0]])
    np.testing.assert_allclose(within_shot(features), ((0 + 0) + (1 + 0) + (0 + 1)) / 6)
    opposite = np.array([[1.0, 0], [-1, 0]])
    assert within_shot(opposite) == 0
    np.testing.assert_allclose(between_shots(np.array([[1.0, 0], [np.nan, 0], [0.6, 0.8]])), [0.6])


def test_shuffled_shots_are_less_consistent():
    shots = [plain(200, 30, 30), plain(30, 200, 30), plain(30, 30, 200)]
    metric = FrameConsistency("x", mean_colour)
    found = shots_between([12, 24], 36)
    kept = metric.encode(np.concatenate(shots))
    np.testing.assert_allclose(metric.judge(kept, found)["x"], np.ones(3))
    shuffled = np.random.default_rng(0).permutation(36)
    assert metric.judge(kept[shuffled], found)["x"].max() < 0.8


@pytest.mark.parametrize("speed, moves", [(0, 0.0), (1, 0.0), (6, 100.0)])
def test_dynamic_degree(speed, moves):
    """Every other frame is taken, so it moves by 2·speed; more than 2.1 of 90 rows are needed."""
    place = np.random.default_rng(0).integers(0, 256, (10, 60, 3))
    place = place.repeat(9, axis=0).repeat(9, axis=1).astype(np.uint8)
    frames = np.stack([place[:, speed * t : speed * t + 160] for t in range(33)])
    metric = DynamicDegree("x", dis_flow, fps=16.0)
    kept = np.concatenate([metric.encode(frames[:10]), metric.encode(frames[10:])])
    assert np.isfinite(kept).sum() == 16 and np.isfinite(kept[2::2]).all()
    assert metric.judge(kept, [(0, 33)])["x"] == [moves]
    # A shot of one frame moves neither nor stands still.
    assert np.isnan(metric.judge(kept, [(4, 5)])["x"])


def test_dynamic_degree_needs_a_quarter_of_the_frames():
    metric = DynamicDegree("x", dis_flow, fps=8.0)
    kept = np.zeros(16)
    kept[1:4] = 1
    assert metric.judge(kept, [(0, 16)])["x"] == [0.0]
    kept[9] = 1
    assert metric.judge(kept, [(0, 16)])["x"] == [100.0]
    # A change across a cut is no motion.
    assert metric.judge(kept, [(0, 9), (9, 16)])["x"].tolist() == [100.0, 0.0]


def test_longest_vectors():
    flow = np.zeros((10, 10, 2))
    flow[0, :5] = (3, 4)
    assert longest_vectors(flow) == 5
    flow[0, :5] = 0
    flow[0, 0] = (3, 4)
    assert longest_vectors(flow) == 1


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """A film of a red shot, a green one, and a red one."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    shots = [plain(250, 0, 0), plain(0, 250, 0), plain(250, 0, 0)]
    script = Script("", ("red", "red", "red"))
    return open_film(SuiteFilm("film", (write_film(path, shots),), script))


def test_semantics(colours):
    shots = shots_between([12, 24], 36)
    figures = Semantic(ColourAndWord()).judge_film(colours, shots, shots)
    np.testing.assert_allclose(figures["inter_semantic"], [0, 1, 0], atol=0.02)
    np.testing.assert_allclose(figures["text_alignment"], [1, 0, 1], atol=0.02)


def test_subjects_and_backgrounds(tmp_path):
    """A red square before blue and before green, a yellow one before blue, and blue alone."""
    shots = [np.array(plain(*colour)) for colour in ((0, 0, 250), (0, 250, 0), (0, 0, 250))]
    for shot, colour in zip(shots, ((250, 0, 0), (250, 0, 0), (250, 250, 0)), strict=True):
        shot[:, 16:32, 16:32] = colour
    shots.append(plain(0, 0, 250))
    opened = open_film(SuiteFilm("x", (write_film(tmp_path / "x.mp4", shots),), None))

    def square(picture):
        return picture[..., 0] > 120

    def detect(picture):
        # The second box is the smaller one, where no square is.
        score = 0.9 if square(picture).any() else 0.4
        boxes = np.array([[16.0, 16, 32, 32], [0, 0, 3, 3]])
        return Things(boxes, np.array([score, score]))

    metric = Subjects(detect, lambda picture, box: square(picture), mean_colour)
    figures = metric.judge_film(opened, shots_between([12, 24, 36], 48), [])
    # Red and red; red and yellow are 45 degrees apart.
    np.testing.assert_allclose(figures["inter_subject"], [1, 0.5**0.5, 0.5**0.5], atol=0.03)
    # Blue, green, blue and blue, and grey where a square was.
    blue_green, blue_blue, blue_alone, *_ = figures["inter_background"]
    assert blue_green < 0.3 and blue_blue > 0.999 > blue_alone > 0.98


def test_frames_of_all_parts(tmp_path):
    """A film in parts gives the frames of the whole one, wherever they are asked for."""
    shots = place_shots()
    whole = open_film(SuiteFilm("w", (write_film(tmp_path / "w.mp4", shots),), None))
    paths = [write_film(tmp_path / f"{k}.mp4", [shot]) for k, shot in enumerate(shots)]
    parts = open_film(SuiteFilm("p", tuple(paths), None))
    assert parts.frames == whole.frames == 84
    wanted = [0, 23, 24, 55, 56, 83]
    for a, b in zip(parts.pick(wanted), whole.pick(wanted), strict=True):
        assert np.abs(a.astype(int) - b).mean() < 3
    assert sum(len(batch) for batch in parts.batches(10)) == 84
