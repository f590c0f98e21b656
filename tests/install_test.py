"""The wheel in an environment without the repository: every command runs in an empty folder.

Nothing is downloaded: the environment borrows the dependencies of the interpreter that runs the
tests.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

from shotstream_jax import cli
from shotstream_jax.__main__ import COMMANDS

ROOT = pathlib.Path(__file__).parents[1]
SOURCES = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md")
STORY = {
    "global_caption": "A cartoon about a green frog, in the meadow.",
    "shot1": "The frog is dancing in the meadow.",
    "shot2": "The frog jumps.",
}
LOAD = """
import shotstream_jax
print(shotstream_jax.__file__)
model = shotstream_jax.load("tiny")
print(model.preset.name, sorted(model.params))
"""
# One step on the world as it is drawn: no data and no earlier training are needed.
ONE_STEP = (
    "data.stories=4",
    "data.held_out=2",
    "data.workers=0",
    "data.frames=3",
    "run.batch=1",
    "run.steps=1",
    "run.held_out_every=0",
    "run.held_out_batches=1",
    "run.sample_every=0",
    "measured=1",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> pathlib.Path:
    """A folder with the wheel and the source distribution, built from a copy of the repository."""
    folder = tmp_path_factory.mktemp("built")
    copy = folder / "copy"
    copy.mkdir()
    for name in SOURCES:
        shutil.copy(ROOT / name, copy)
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("shotstream_jax", "configs", "launch"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignore)
    (copy / "tests").mkdir()
    shutil.copy(__file__, copy / "tests")
    build = f"""
from setuptools import build_meta
build_meta.build_wheel({str(folder)!r})
build_meta.build_sdist({str(folder)!r})
"""
    subprocess.run([sys.executable, "-c", build], cwd=copy, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def environment(built, tmp_path_factory) -> pathlib.Path:
    """A virtual environment with the wheel, and with the running interpreter's dependencies."""
    folder = tmp_path_factory.mktemp("environment")
    venv = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
    subprocess.run(venv, check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    # A .pth file adds folders behind the environment's own, and does not read the .pth files that
    # lie there: an editable install of the repository stays outside.
    borrowed = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (site / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    (wheel,) = built.glob("*.whl")
    install = [sys.executable, "-m", "pip", "--python", str(folder), "install", str(wheel)]
    options = ["--quiet", "--no-deps", "--no-index", "--force-reinstall", "--ignore-installed"]
    subprocess.run([*install, *options], check=True, env=clean_environment())
    return folder


@pytest.fixture
def run(environment, tmp_path, monkeypatch):
    """run(program, *words) → what was printed, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    cache = environment / "cache"

    def call(program: str, *words: str) -> str:
        done = subprocess.run(
            [str(environment / "bin" / program), *words],
            env=clean_environment() | {"SHOTSTREAM_CACHE_DIR": str(cache)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


def clean_environment() -> dict[str, str]:
    """The variables of a shell that knows nothing of the repository."""
    variables = dict(os.environ)
    variables.pop("PYTHONPATH", None)
    variables.pop("PYTHONHOME", None)
    variables["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    variables["JAX_PLATFORMS"] = "cpu"
    return variables


def test_the_wheel_has_recipes_weights_types_and_no_tests(built):
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "shotstream_jax/configs/teacher.py" in names
    assert "shotstream_jax/weights/tiny/config.json" in names
    assert "shotstream_jax/py.typed" in names
    folders = {name.partition("/")[0] for name in names}
    assert {folder for folder in folders if not folder.endswith(".dist-info")} == {"shotstream_jax"}
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)


def test_the_source_distribution_has_recipes_and_tests(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"setup.py", "CHANGELOG.md", "configs/teacher.py", "tests/install_test.py"} <= names
    assert "launch/local.sh" in names


def test_a_story_from_an_empty_folder(run, tmp_path):
    (tmp_path / "story.json").write_text(json.dumps(STORY))
    run("shotstream", "generate", "--story", "story.json", "--out", "story.mp4")
    assert (tmp_path / "story.mp4").stat().st_size > 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["story.json", "story.mp4"]


def test_load_from_python(run, environment):
    where, loaded = run("python", "-c", LOAD).splitlines()
    assert pathlib.Path(where).is_relative_to(environment), "not the repository's"
    assert loaded == "tiny ['dit', 'text', 'vae']"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run, command):
    text = run("shotstream", command, "--help")
    assert text.startswith(f"usage: shotstream {command}")


def test_the_modules_still_work(run):
    assert run("python", "-m", "shotstream_jax.train", "--help").startswith(
        "usage: python -m shotstream_jax.train"
    )


def test_a_training_step_by_a_recipes_name(run, tmp_path):
    fields = [f"--config.{field}" for field in ONE_STEP]
    run("shotstream", "train", "--config", "autoencoder:tiny", "--workdir", "run", *fields)
    assert (tmp_path / "run" / "model" / "config.json").exists()


def test_recipes_are_the_installed_ones(run, environment):
    program = (
        "from shotstream_jax import cli, configs; print(*cli.recipe_names(), *configs.__path__)"
    )
    *names, folder = run("python", "-c", program).split()
    assert names == cli.recipe_names()
    assert pathlib.Path(folder).is_relative_to(environment)
