"""The Dockerfile: its parts fit the package, and its wheel is built of the files that it copies.

No container is started here. What has been seen of one: docs/serving.md.
"""

import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import urllib.parse
import zipfile

import pytest

from shotstream_jax.serve.__main__ import parser
from shotstream_jax.serve.options import settings_of

ROOT = pathlib.Path(__file__).parents[1]


def instructions():
    """Name and words of each instruction, in order."""
    text = (ROOT / "Dockerfile").read_text()
    without_comments = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", without_comments).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]


def the_last(name):
    """The words of the last instruction of a name."""
    return [words for found, words in instructions() if found == name][-1]


def copied():
    """The files and folders of the repository that are copied."""
    names = []
    for name, words in instructions():
        if name == "COPY" and not words.startswith("--from"):
            names += words.split()[:-1]
    return names


def test_the_last_stage_is_small_and_has_no_root():
    names = [name for name, _ in instructions()]
    last = names[len(names) - names[::-1].index("FROM") :]
    assert names.count("FROM") == 3
    assert last.index("USER") < last.index("CMD") and the_last("USER") == "10001"
    # Of the sources nothing but what was installed.
    assert [words.split()[0] for name, words in instructions() if name == "COPY"][-1].startswith(
        "--from=environment"
    )


def test_what_it_needs_and_nothing_else_is_sent_to_the_builder():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    kept = {line[1:] for line in ignored if line.startswith("!")}
    assert kept == set(copied())


def test_every_device_is_an_extra():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (cases,) = re.findall(r"(\S+)\) extras=\"serve,\$DEVICE\"", (ROOT / "Dockerfile").read_text())
    assert set(cases.split("|")) | {"serve"} <= set(extras["optional-dependencies"])


def test_the_command_is_one_that_the_server_takes():
    shell, option, line = json.loads(the_last("CMD"))
    assert (shell, option) == ("sh", "-c")
    env = dict(re.findall(r"(\w+)=(\S+)", the_last("ENV")))
    word, *argv = shlex.split(line.replace("$PUBLIC_URL", env["PUBLIC_URL"]))
    # Signals are the server's.
    assert word == "exec" and argv[:2] == ["shotstream", "serve"]
    args, _ = parser().parse(argv[2:])
    settings = settings_of(args)
    assert settings.folder.is_relative_to(the_last("VOLUME"))
    # The address of the check is one that the server answers to.
    (check,) = re.findall(r"urlopen\('(.*?)'\)", the_last("HEALTHCHECK"))
    assert urllib.parse.urlsplit(check).netloc in settings.hosts
    assert check.endswith(f":{the_last('EXPOSE')}/health/ready")


def test_a_device_that_is_not_known_is_refused():
    run = next(words for name, words in instructions() if name == "RUN" and "DEVICE" in words)
    done = subprocess.run(["sh", "-c", run], env={"DEVICE": "abacus"}, capture_output=True)
    assert done.returncode == 1 and b"must be cpu, gpu" in done.stderr


def test_the_wheel_is_built_of_what_is_copied(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path / "source"
    for name in copied():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name)
        else:
            source.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, source)
    run = next(words for name, words in instructions() if name == "RUN" and "pip wheel" in words)
    # As it stands there, but without a download of setuptools.
    words = shlex.split(run.replace("/wheels", str(tmp_path)))
    words = [sys.executable, *words[1:], "--no-build-isolation"]
    subprocess.run(words, cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("configs/teacher.py", "serve/static/index.html", "weights/tiny/config.json"):
        assert f"shotstream_jax/{name}" in names
