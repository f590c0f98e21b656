"""prepare from films to the table that precompute reads; restarts, broken films, mistakes."""

import csv
import json
import shutil

import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.data.clips import read_clips
from shotstream_jax.media.reader import count_frames, read_frames
from shotstream_jax.prepare import __main__ as app
from shotstream_jax.prepare import pool, steps
from tests.prepare.caption_server import GOOD, Server
from tests.prepare.material import Scene, black, draw, faded, film

pytest.importorskip("cv2")

SIDECAR = {
    "global_caption": "Patches.",
    "captions": [
        {"start": 0, "end": 2.1, "caption": "first"},
        {"start": 2.1, "end": 4.0, "caption": "second"},
        {"start": 4, "end": 60, "caption": "later"},
    ],
}


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Two films: a place seen twice, a fade, another place seen three times; and one without."""
    folder = tmp_path_factory.mktemp("films")
    first = [draw(Scene(32, 1)), faded(draw(Scene(32, 1, shift=300)), fade_out=8), black(6)]
    second = [draw(Scene(24, 2, shift=200 * k)) for k in range(3)]
    film(folder / "a b.mp4", [*first, *second])
    film(folder / "two.mp4", [draw(Scene(30, 3)), draw(Scene(30, 3, shift=250))])
    (folder / "a b.captions.json").write_text(json.dumps(SIDECAR))
    return folder


def run(films, out, *more):
    app.main([str(films), "--out", str(out), "--config.cuts.gradual=none", *more])


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def prepared(films, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "out"
    run(films, out)
    return out


def test_the_table_is_what_precompute_reads(prepared):
    clips = read_clips(prepared / "clips.csv")
    assert [clip.captions for clip in clips] == [("first", "second"), ("later",) * 3]
    assert [clip.global_caption for clip in clips] == ["Patches."] * 2
    # At 8 frames a second: 2 seconds, and less than 2 for what fades; 1.5 seconds.
    assert clips[0].shots == ((0, 16), (16, 28))
    assert clips[1].shots == ((0, 12), (12, 24), (24, 36))
    assert [count_frames(clip.video) for clip in clips] == [28, 36]


def test_what_has_no_captions_is_asked_of_an_endpoint(films, prepared, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(prepared, out)
    server = Server()
    try:
        run(films, out, "--captions", server.url, "--captions-model", "a-model")
    finally:
        server.stop()
    # Those of the film's own captions are not asked for.
    assert len(server.asked) == 1
    clips = read_clips(out / "clips.csv")
    assert [clip.captions for clip in clips][2] == tuple(GOOD["shots"]) and len(clips) == 3


def test_what_has_no_captions_is_to_be_filled_in_by_hand(films, prepared, tmp_path):
    (row,) = rows(prepared / "captions.csv")
    assert row["clip"].startswith("two-") and (prepared / row["sheet"]).exists()
    out = tmp_path / "out"
    shutil.copytree(prepared, out)
    row |= {"global_caption": "Ours, too.", "shot1": "one"}
    fields = list(row)

    def fill(row):
        with (out / "captions.csv").open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, fields)
            writer.writeheader()
            writer.writerow(row)
        run(films, out)

    # A cell that is still empty leaves the clip out, and what is written stays.
    fill(row)
    assert len(read_clips(out / "clips.csv")) == 2
    assert rows(out / "captions.csv")[0]["global_caption"] == "Ours, too."
    fill(row | {"shot2": "two"})
    assert read_clips(out / "clips.csv")[2].captions == ("one", "two")


def test_the_report_shows_clips_and_what_was_dropped(prepared):
    index = (prepared / "report.html").read_text()
    assert "7 shots, 7 of them in 3 clips, 2 with captions." in index and "a b.mp4" in index
    (page,) = (prepared / "films").glob("a_b-*/report.html")
    text = page.read_text()
    assert "first" in text and "black" in text and "fade" in text
    # Nothing is loaded from elsewhere.
    assert "http" not in text and text.count("data:image/jpeg;base64,") >= 2


def test_a_finished_folder_is_not_made_again(films, prepared, monkeypatch):
    monkeypatch.setattr(steps, "look_at", None)
    monkeypatch.setattr(steps, "write_clips", None)
    before = (prepared / "clips.csv").read_bytes()
    run(films, prepared)
    assert (prepared / "clips.csv").read_bytes() == before


def test_an_interrupted_run_goes_on_and_gives_the_same(films, prepared, tmp_path, monkeypatch):
    """Interrupted in the clips of the second film; what was looked at is not decoded again."""
    out = tmp_path / "out"
    real = steps.write_clips
    calls = []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(*args)

    monkeypatch.setattr(steps, "write_clips", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(films, out, "--workers", "1")
    monkeypatch.setattr(steps, "write_clips", real)
    monkeypatch.setattr(steps, "look_at", None)
    run(films, out, "--workers", "1")
    for name in ("clips.csv", "captions.csv"):
        assert (out / name).read_bytes() == (prepared / name).read_bytes()


def test_only_what_a_changed_recipe_changes_is_made_again(films, prepared, tmp_path, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(prepared, out)
    monkeypatch.setattr(steps, "look_at", None)
    run(films, out, "--config.groups.most=2")
    assert [len(clip.shots) for clip in read_clips(out / "clips.csv")] == [2, 2]
    assert len(list((out / "clips").glob("*.mp4"))) == 3


def test_workers_give_the_same_and_a_broken_film_stops_nothing(films, prepared, tmp_path, caplog):
    for path in films.iterdir():
        shutil.copy(path, tmp_path / path.name)
    data = (films / "two.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 2 // 3])
    (tmp_path / "text.mkv").write_text("no film")
    out = tmp_path / "out"
    run(tmp_path, out, "--workers", "2")
    for name in ("clips.csv", "captions.csv"):
        assert (out / name).read_bytes() == (prepared / name).read_bytes()
    assert "cut.mp4" in caplog.text and "text.mkv" in caplog.text
    assert "2 of 4 films cannot be used" in (out / "report.html").read_text()


def test_films_are_named_by_files_folders_patterns_and_tables(films, tmp_path):
    listed = tmp_path / "list.csv"
    listed.write_text(f"video_path,other\n{films}/two.mp4,x\n")
    lines = tmp_path / "list.txt"
    lines.write_text(f"{films}/two.mp4\n\n{films}/a b.mp4\n")
    shutil.copy(films / "two.mp4", tmp_path / "copy.mp4")
    names = {}
    for word in (films, f"{films}/*.mp4", lines, listed, f"{films}/two.mp4"):
        names[str(word)] = [one.path.name for one in app.find_films([str(word)])]
    assert list(names.values()) == [
        ["a b.mp4", "two.mp4"],
        ["a b.mp4", "two.mp4"],
        ["two.mp4", "a b.mp4"],
        ["two.mp4"],
        ["two.mp4"],
    ]
    # A copy is the same film, by its content.
    assert len(app.find_films([str(films / "two.mp4"), str(tmp_path / "copy.mp4")])) == 1


@pytest.mark.parametrize(
    "words, message",
    [
        (["none.mp4"], "there is no film none.mp4: name files, folders, patterns or tables"),
        (["*.none"], r"\*.none names no film"),
        (["{films}", "--workers", "-1"], "--workers -1 must be a whole number from 0"),
        (["{films}", "--config.cuts.probability=2"], "cuts.probability 2.* must be from 0 to 1"),
        (["{films}", "--config.shots.shortest=200"], "shots.longest 41 must be at least 200"),
        (["{films}", "--config.cuts.gradual=no.pth"], "there is no file no.pth"),
        (["{films}", "--config.groups.frames=15"], "no clip could be made"),
    ],
)
def test_mistakes_are_seen_before_any_work(films, tmp_path, words, message, monkeypatch):
    monkeypatch.setattr(pool, "prepare_film", None)
    out = tmp_path / "out"
    given = [word.format(films=films) for word in words]
    with pytest.raises(InputError, match=message):
        app.main(["--config.cuts.gradual=none", *given, "--out", str(out)])
    assert not out.exists()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"captions": 3}, "must be {"),
        ({"global_caption": ""}, "global_caption is empty"),
        ({"captions": [{"start": 3, "end": 2, "caption": "x"}]}, "caption 1 ends at 2, before"),
        ({"captions": [{"start": 3, "caption": "x"}]}, "caption 1 must have start, end and"),
        ({"captions": [{"start": "3", "end": 4, "caption": "x"}]}, "start '3' must be a number"),
    ],
)
def test_a_wrong_sidecar_is_named(films, tmp_path, change, message):
    shutil.copy(films / "two.mp4", tmp_path / "two.mp4")
    (tmp_path / "two.captions.json").write_text(json.dumps(SIDECAR | change))
    with pytest.raises(InputError, match=f"two.captions.json.*{message}"):
        run(tmp_path / "two.mp4", tmp_path / "out")


def test_clips_show_what_is_between_the_bars(tmp_path):
    """A film in a letterbox, and the same without it, give the same pictures."""
    parts = [draw(Scene(32, 5)), draw(Scene(32, 5, shift=200))]
    frames = np.concatenate(parts)
    boxed = np.pad(frames, ((0, 0), (20, 20), (0, 0), (0, 0)))
    film(tmp_path / "boxed.mp4", [boxed])
    film(tmp_path / "plain.mp4", [frames])
    pictures = {}
    for name in ("boxed", "plain"):
        out = tmp_path / name
        run(tmp_path / f"{name}.mp4", out)
        (clip,) = (out / "clips").glob("*.mp4")
        pictures[name] = read_frames(clip, np.array([3, 20]), 32, 48).astype(float)
    assert pictures["boxed"].max(-1).min() > 30
    assert np.abs(pictures["boxed"] - pictures["plain"]).mean() < 12
