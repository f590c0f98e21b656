"""Where a suite's scripts say that films lie, and what they show."""

import json

from shotstream_jax.score.suites import read_films

SCENES = [
    {"video_prompts": ["a", "b"], "cut": [True, False]},
    {"video_prompts": ["c"], "cut": "True"},
]


def places(films, root):
    """The files of each film below the root, with the film's captions."""
    found = []
    for film in films:
        paths = [path.relative_to(root).as_posix() for path in film.parts]
        found.append((paths, film.script.shots))
    return found


def test_scenes(tmp_path):
    (tmp_path / "ep1.json").write_text(json.dumps({"scenes": SCENES, "entity_schedule": {}}))
    videos = tmp_path / "videos"
    (film,) = read_films("entitybench", videos, tmp_path)
    names = ["ep1/001_001.mp4", "ep1/001_002.mp4", "ep1/002_001.mp4"]
    assert places([film], videos) == [(names, ("a", "b", "c"))]
    assert film.begins == (True, False, True) and film.script.global_caption == ""
    (film,) = read_films("st-bench", videos, tmp_path)
    assert film.parts[2] == videos / "ep1" / "02_01.mp4"
    # The whole film is taken where it is there.
    videos.mkdir()
    (videos / "ep1.mp4").touch()
    (film,) = read_films("st-bench", videos, tmp_path)
    assert film.parts == (videos / "ep1.mp4",) and len(film.begins) == 3


def test_memflow(tmp_path):
    lines = tmp_path / "prompts.jsonl"
    lines.write_text('{"prompts": ["a", "b"]}\n\n{"prompts": ["c"]}\n')
    films = read_films("memflow", tmp_path / "v", lines)
    assert places(films, tmp_path / "v") == [(["000.mp4"], ("a", "b")), (["002.mp4"], ("c",))]


def test_vbench(tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("A cat.\n\nA dog/wolf.\n")
    films = read_films("vbench", tmp_path, prompts)
    names = [(["A cat.-0.mp4"], ("A cat.",)), (["A dog_wolf.-0.mp4"], ("A dog/wolf.",))]
    assert places(films, tmp_path) == names
    # Without prompts any films are taken, whose names are what they show.
    (tmp_path / "A cat.-3.mp4").touch()
    (film,) = read_films("vbench", tmp_path, None)
    assert film.parts == (tmp_path / "A cat.-3.mp4",) and film.script.shots == ("A cat.",)
