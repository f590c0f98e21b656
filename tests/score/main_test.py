"""`shotstream score` on films whose figures are known."""

import json
import math

import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.score import __main__ as app
from shotstream_jax.score.cuts import ADAPTIVE, transition_cuts
from shotstream_jax.score.judge import plain_metrics, score_film
from shotstream_jax.score.suites import read_films
from tests.score.films import PLACES, place_shots, write_film, write_report, write_story

pytest.importorskip("cv2")

LENGTHS = [scene.frames for scene in PLACES]
FRAMES = sum(LENGTHS)


def score(folder, suite="story", scripts=None):
    """The figures of each film of a folder."""
    films = read_films(suite, folder, scripts)
    metrics = plain_metrics(ADAPTIVE)
    return {film.name: score_film(film, metrics) for film in films}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One film with the cuts that its report tells, and one that lacks the last of them."""
    folder = tmp_path_factory.mktemp("films")
    shots = place_shots()
    write_film(folder / "right.mp4", shots)
    write_film(folder / "lacking.mp4", [*shots[:2], np.repeat(shots[1][-1:], 28, axis=0)])
    for name in ("right", "lacking"):
        write_story(folder / f"{name}.json", 3)
        write_report(folder / f"{name}.report.json", LENGTHS)
    return folder


def test_known_cuts(folder):
    scored = score(folder)
    assert scored["right"].asked_cuts == scored["right"].found_cuts == [24, 56]
    assert scored["right"].figures["sca"] == [1.0]
    # A missed cut costs a shot's mean length, 28 of 84 frames.
    assert scored["lacking"].found_cuts == [24]
    np.testing.assert_allclose(scored["lacking"].figures["sca"], math.exp(-28 / 84))


def test_without_a_report_shots_have_one_length(folder, tmp_path):
    write_story(tmp_path / "right.json", 3)
    (tmp_path / "right.mp4").write_bytes((folder / "right.mp4").read_bytes())
    scored = score(tmp_path)["right"]
    # 28 and 56 are asked for, 24 and 56 found: 4 of 84 frames off.
    assert scored.asked_cuts == [28, 56]
    np.testing.assert_allclose(scored.figures["sca"], math.exp(-4 / 84))


def test_what_stands_still_and_what_moves(folder):
    figures = score(folder)["lacking"].figures
    # Of the shots that are found, the second one is still for more than half of its frames.
    assert figures["repeated"][0] == 0 and 0.4 < figures["repeated"][1] < 0.6
    assert figures["motion"][0] > 2 * figures["motion"][1] > 0
    # Of those that are asked for, the last is a still picture, and goes on where the second ends.
    assert figures["ssim_within"][2] > 0.97 > figures["ssim_within"][0]
    assert figures["histogram_between"][1] > figures["histogram_between"][0]


def test_a_file_for_each_shot_is_the_same_film(folder, tmp_path):
    for number, shot in enumerate(place_shots(), 1):
        write_film(tmp_path / "films" / "patches" / f"01_{number:02d}.mp4", [shot])
    (tmp_path / "scripts").mkdir()
    scene = {"scene_num": 1, "video_prompts": ["a", "b", "c"], "cut": ["True", "True", "False"]}
    script = {"story_overview": "Patches.", "scenes": [scene]}
    (tmp_path / "scripts" / "patches.json").write_text(json.dumps(script))
    scored = score(tmp_path / "films", "st-bench", tmp_path / "scripts")["patches"]
    # The third prompt is to go on without a cut, so that the one that is found is extra.
    assert scored.asked_cuts == [24] and scored.found_cuts == [24, 56]
    np.testing.assert_allclose(scored.figures["sca"], math.exp(-(FRAMES / 2) / FRAMES))
    whole = score(folder)["right"].figures
    np.testing.assert_allclose(scored.figures["sharpness"], whole["sharpness"], rtol=0.02)


def test_the_report(folder, tmp_path, capsys):
    app.main([str(folder), "--cuts", "adaptive", "--out", str(tmp_path / "out")])
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    sca = report["figures"]["sca"]
    np.testing.assert_allclose(sca["mean"], (1 + math.exp(-1 / 3)) / 2)
    assert sca["films"] == 2 and sca["low"] < sca["mean"] < sca["high"]
    assert report["settings"]["detector of cuts"] == "adaptive"
    assert [film["name"] for film in report["films"]] == ["lacking", "right"]
    printed = capsys.readouterr().out
    assert "0.978" in printed and "0.513 to 0.715" in printed  # the paper's, and the others'
    page = (tmp_path / "out" / "report.html").read_text()
    assert "lacking" in page and "http" not in page
    table = (tmp_path / "out" / "report.md").read_text()
    assert table.count("| transition control (SCA) |") == 1
    # What lacks weights stands beside the paper's value all the same.
    assert "| text alignment | not scored | – | 0 | 0.234 | 0.170 to 0.223 |" in table


def test_a_broken_film_is_named_and_stops_nothing(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = (tmp_path / "lacking.mp4").read_bytes()
    (tmp_path / "lacking.mp4").write_bytes(content[: len(content) // 2])
    app.main([str(tmp_path), "--cuts", "adaptive", "--out", str(tmp_path / "out")])
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [film["name"] for film in report["films"]] == ["right"]
    assert "lacking.mp4" in report["settings"]["not scored"]["lacking"]


def test_transnets_transitions():
    chances = np.zeros(12)
    chances[[3, 6, 7, 11]] = 0.6
    chances[9] = 0.5
    # After each run; the last one reaches the end.
    assert transition_cuts(chances) == [4, 8]


@pytest.mark.parametrize(
    "suite, text, problem",
    [
        ("story", '{"shot1": "a"}', "has no global_caption"),
        ("st-bench", '{"scenes": [{}]}', "must have scenes"),
        ("entitybench", '{"scenes": []}', "has no prompts"),
        ("st-bench", "{", "not valid JSON"),
        ("memflow", '{"prompt": []}', "line 1 must be"),
    ],
)
def test_scripts_that_are_none(tmp_path, suite, text, problem):
    path = tmp_path / "s.json"
    path.write_text(text)
    scripts = path if suite == "memflow" else tmp_path
    with pytest.raises(InputError, match=problem):
        read_films(suite, tmp_path, scripts)


def test_films_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match="has no scripts"):
        app.main([str(tmp_path)])
    write_story(tmp_path / "a.json", 2)
    with pytest.raises(InputError, match=r"1 of the films' files are missing, first .*a\.mp4"):
        app.main([str(tmp_path)])
    write_film(tmp_path / "a.mp4", [place_shots()[0][:1]])
    with pytest.raises(InputError, match=r"none of the 1 films .* fewer frames than its"):
        app.main([str(tmp_path), "--cuts", "adaptive"])
