"""The command `shotstream`, recipes by name and by path, and what is imported when."""

import os
import pathlib
import subprocess
import sys

import pytest

import shotstream_jax
from shotstream_jax import __main__ as command
from shotstream_jax import cli
from shotstream_jax.core.errors import InputError

ROOT = pathlib.Path(__file__).parents[1]
PRESETS = (
    "teacher",
    "causal_teacher",
    "ode_init",
    "consistency",
    "dmd_intra",
    "dmd_short",
    "dmd_inter",
)
PRESETS += ("precompute",)
OWN = """
from ml_collections import ConfigDict
from shotstream_jax.configs import teacher
from recipes.beside import STEPS

def get_config() -> ConfigDict:
    config = teacher.tiny()
    config.run.steps = STEPS
    return config
"""


@pytest.fixture
def shotstream(monkeypatch, capsys):
    """shotstream(*words) → exit code, standard output, standard error."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["/usr/bin/shotstream", *words])
        with pytest.raises(SystemExit) as stop:
            command.main()
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return call


def python(program: str, folder: pathlib.Path) -> str:
    """Runs a program in another folder, with the repository on PYTHONPATH only."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_help_teaches(shotstream):
    code, out, _ = shotstream("--help")
    assert code == 0
    for name in command.COMMANDS:
        assert f"  {name} " in out
    assert "teacher_memory" in out and "shotstream generate --story" in out
    assert shotstream() == (code, out, "")


def test_version(shotstream):
    assert shotstream("--version")[:2] == (0, f"shotstream {shotstream_jax.__version__}\n")


@pytest.mark.parametrize(
    "words, message",
    [
        (["trian"], "no command is called 'trian'; did you mean train?"),
        (["xyzzy"], "no command is called 'xyzzy'; there are generate, "),
        (["generate"], "one of the arguments --story --prompts is required"),
        (["generate", "--story", "x.json", "--config", "tinny"], "no recipe is called 'tinny'"),
        (["train", "--config", "nope.py"], "there is no config file nope.py; by name there are"),
        (["train", "--config", "teacher:big"], "no preset is called 'big'; there are tiny, wan"),
    ],
)
def test_mistakes_are_one_line(shotstream, words, message):
    code, out, err = shotstream(*words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and message in err


def test_a_command_has_its_own_name_in_its_help(shotstream):
    assert shotstream("doctor", "--help")[1].startswith("usage: shotstream doctor ")


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("preset", ["tiny", "wan-1.3b"])
def test_a_name_and_a_path_are_the_same_recipe(name, preset, tmp_path, monkeypatch):
    by_path = cli.load_config(f"{ROOT}/configs/{name}.py:{preset}")
    monkeypatch.chdir(tmp_path)
    assert cli.load_config(f"{name}:{preset}").to_dict() == by_path.to_dict()


def test_every_recipe_loads_by_its_name():
    names = cli.recipe_names()
    assert "common" not in names and set(PRESETS) < set(names)
    for name in names:
        cli.load_config(name)


def test_a_recipe_of_ones_own_imports_shipped_ones_and_its_neighbours(tmp_path):
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "beside.py").write_text("STEPS = 7\n")
    (folder / "own.py").write_text(OWN)
    path = list(sys.path)
    config = cli.load_config(str(folder / "own.py"), ["--config.run.batch=3"])
    assert (config.run.steps, config.run.batch, config.stage) == (7, 3, "teacher")
    assert sys.path == path


@pytest.mark.parametrize(
    "text, message",
    [
        ("def get_config():\n    return 3\n", r"get_config\(\) must return a ConfigDict"),
        ("import nowhere_to_be_found\n", "No module named 'nowhere_to_be_found"),
        ("x = 1\n", "no attribute 'get_config"),
    ],
)
def test_a_recipe_that_is_wrong_is_named(tmp_path, text, message):
    file = tmp_path / "recipe.py"
    file.write_text(text)
    with pytest.raises(InputError, match=f"config .*recipe.py: .*{message}"):
        cli.load_config(str(file))


def test_a_clone_that_is_not_installed_has_its_recipes(tmp_path):
    program = "from shotstream_jax.configs import film; print(film.__file__)"
    assert python(program, tmp_path) == str(ROOT / "configs" / "film.py")


def test_importing_the_package_does_not_import_jax(tmp_path):
    program = "import sys, shotstream_jax, shotstream_jax.__main__; print('jax' in sys.modules)"
    assert python(program, tmp_path) == "False"


def test_what_is_exported_is_there():
    assert set(shotstream_jax.__all__) == set(shotstream_jax._HOMES)
    for name in shotstream_jax.__all__:
        assert getattr(shotstream_jax, name).__name__ == name
        assert name in dir(shotstream_jax)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = shotstream_jax.nothing
