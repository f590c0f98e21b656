"""launch/tpu_pod.sh with a stand-in for gcloud, whose machines are folders; launch/tpu_flags.sh."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = ROOT / "launch" / "tpu_pod.sh"
# Keeps what it is called with. A call fails that has the text of the file `fails` in it; ssh runs
# its command in the folder of each machine, where there are any, and fails on one with such a file.
GCLOUD = """
import json, os, pathlib, subprocess, sys
home = pathlib.Path(__file__).parent
words = sys.argv[1:]
with (home / "calls").open("a") as file:
    file.write(json.dumps(words) + "\\n")
fails = home / "fails"
if fails.exists() and fails.read_text() in " ".join(words):
    sys.exit("gcloud: failed")
worst = 0
if "ssh" in words:
    number = words[words.index("--worker") + 1]
    command = words[words.index("--command") + 1]
    for machine in sorted(home.glob("machine-*")):
        fails = machine / "fails"
        if fails.exists() and fails.read_text() in command:
            worst = 255
        elif number in ("all", machine.name.removeprefix("machine-")):
            done = subprocess.run(["bash", "-c", command], cwd=machine)
            worst = max(worst, done.returncode)
sys.exit(worst)
"""
# The command that runs on the machines: says what it was given, and ends at SIGTERM.
SHOTSTREAM = """
import json, os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(pathlib.Path("ended").touch()))
said = {"words": sys.argv[1:], "flags": os.environ["LIBTPU_INIT_ARGS"]}
pathlib.Path("said.part").write_text(json.dumps(said))
os.rename("said.part", "said")
for _ in range(600):
    time.sleep(0.05)
"""
# Whatever may stand in a name: spaces, quotes, what a shell would replace.
ODD = 'it\'s $HOME; `x` "y"'


@pytest.fixture
def cloud(tmp_path) -> pathlib.Path:
    """A folder with gcloud's stand-in."""
    write_program(tmp_path / "gcloud", GCLOUD)
    return tmp_path


def write_program(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)


def start(cloud: pathlib.Path, *words: str, **variables: str) -> subprocess.Popen:
    (cloud / "tmp").mkdir(exist_ok=True)
    environment = {"NAME": "my slice", "ZONE": "zone-a", "TYPE": "v5p-16"} | variables
    environment |= {"TMPDIR": str(cloud / "tmp")}
    environment.setdefault("PATH", f"{cloud}:{os.environ['PATH']}")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([SCRIPT, *words], env=environment, **pipes)


def call(cloud: pathlib.Path, *words: str, **variables: str) -> tuple[int, str]:
    """Exit code and output."""
    process = start(cloud, *words, **variables)
    output = process.communicate(timeout=60)[0]
    return process.returncode, output


def calls(cloud: pathlib.Path) -> list[list[str]]:
    """What gcloud was called with, without what all calls begin with."""
    path = cloud / "calls"
    lines = path.read_text().splitlines() if path.exists() else []
    found = [json.loads(line) for line in lines]
    assert all(words[:2] == ["compute", "tpus"] for words in found)
    return [words[2:] for words in found]


PLACE = ["--zone", "zone-a"]
KIND = ["--accelerator-type", "v5p-16"]
CREATE = ["tpu-vm", "create", "my slice", *PLACE, *KIND, "--version", "v2-alpha-tpuv5"]
QUEUE = ["queued-resources", "create", "my slice", "--node-id", "my slice", *PLACE, *KIND]
QUEUE += ["--runtime-version", "image"]
LIST = ["queued-resources", "list", *PLACE, "--filter", "name:my slice"]
DELETE = ["queued-resources", "delete", "my slice", *PLACE, "--force", "--quiet"]


@pytest.mark.parametrize(
    "action, variables, expected",
    [
        ("create", {}, [CREATE]),
        ("create", {"SPOT": "1"}, [[*CREATE, "--spot"]]),
        ("queue", {"VERSION": "image"}, [QUEUE, LIST]),
        ("delete", {}, [DELETE]),
    ],
)
def test_calls(cloud, action, variables, expected):
    assert call(cloud, action, **variables) == (0, "")
    assert calls(cloud) == expected


@pytest.mark.parametrize("action, made", [("create", CREATE), ("queue", QUEUE)])
def test_what_is_not_made_fails(cloud, action, made):
    (cloud / "fails").write_text("create")
    code, output = call(cloud, action, VERSION=made[-1])
    assert code != 0 and "gcloud: failed" in output
    assert calls(cloud) == [made]


def test_a_slice_that_was_never_queued_is_deleted_too(cloud):
    (cloud / "fails").write_text("queued-resources")
    assert call(cloud, "delete")[0] == 0
    assert calls(cloud) == [DELETE, ["tpu-vm", "delete", "my slice", *PLACE, "--quiet"]]
    (cloud / "fails").write_text("delete")
    assert call(cloud, "delete")[0] != 0


def test_install(cloud):
    assert call(cloud, "install", SHARE=f"10.0.0.2:/{ODD}")[0] == 0
    copy, unpack, mount = calls(cloud)
    assert copy[:2] == ["tpu-vm", "scp"] and copy[3] == "my slice:shotstream.tar.gz"
    assert unpack[-1].startswith("set -e") and "pip install" in unpack[-1]
    # The export is one word of the line that mounts it.
    mounted = mount[-1].rpartition("mount -t nfs ")[2].removesuffix(" /share")
    words = subprocess.run(["bash", "-c", f"printf %s {mounted}"], capture_output=True, text=True)
    assert words.stdout == f"10.0.0.2:/{ODD}"
    assert not list((cloud / "tmp").iterdir())


def test_an_install_that_fails_leaves_nothing(cloud):
    (cloud / "fails").write_text("scp")
    assert call(cloud, "install")[0] != 0
    assert [words[1] for words in calls(cloud)] == ["scp"]
    assert not list((cloud / "tmp").iterdir())


@pytest.fixture
def machines(cloud) -> list[pathlib.Path]:
    """Two machines of the slice, with the package."""
    folders = [cloud / f"machine-{number}" / "shotstream" for number in (0, 1)]
    for folder in folders:
        write_program(folder / ".venv" / "bin" / "shotstream", SHOTSTREAM)
    return folders


def wait_for(path: pathlib.Path) -> pathlib.Path:
    for _ in range(600):
        if path.exists():
            return path
        time.sleep(0.05)
    raise AssertionError(f"{path} did not come")


def test_run_and_stop(cloud, machines):
    process = start(cloud, "run", "shotstream", "train", ODD)
    flags = subprocess.check_output([ROOT / "launch" / "tpu_flags.sh", "v5p"], text=True).strip()
    for machine in machines:
        said = json.loads(wait_for(machine / "said").read_text())
        assert said == {"words": ["train", ODD, "--distributed"], "flags": flags}
    # A second one is refused, and the first one goes on.
    code, output = call(cloud, "run", "shotstream", "other")
    assert code != 0 and "a run is going on" in output
    assert not (machines[0] / "ended").exists() and process.poll() is None
    # The watching ends with the run.
    assert call(cloud, "stop")[0] == 0
    assert process.wait(timeout=60) == 0
    for machine in machines:
        wait_for(machine / "ended")


def test_a_run_that_starts_on_one_machine_only_is_stopped(cloud, machines):
    (machines[1].parent / "fails").write_text("nohup")
    code, output = call(cloud, "run", "shotstream", "train", LIBTPU_INIT_ARGS="--mine")
    assert code == 1 and "not started on all machines" in output
    pid = int((machines[0] / "run.pid").read_text())
    for _ in range(600):
        if not is_alive(pid):
            return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError("machine 0 still runs")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    "words, variables, message",
    [
        (["start"], {}, "the first argument is create, queue"),
        (["create"], {"ZONE": ""}, "the variable ZONE is missing"),
        (["run", "true"], {"TYPE": ""}, "the variable TYPE is missing"),
        (["run"], {}, "run needs a command"),
    ],
)
def test_mistakes_are_one_line(cloud, words, variables, message):
    code, output = call(cloud, *words, **variables)
    assert code == 2 and output.count("\n") == 1 and f"error: {message}" in output
    assert calls(cloud) == []


def test_without_gcloud(tmp_path):
    (tmp_path / "bash").symlink_to(shutil.which("bash"))
    code, output = call(tmp_path, "create", PATH=str(tmp_path))
    assert (code, output) == (2, "error: gcloud is not installed: cloud.google.com/sdk\n")


@pytest.mark.parametrize(
    "names",
    [
        ("v5e", "v5litepod-16", "tpu-v5-lite-podslice"),
        ("v5p-64", "tpu-v5p-slice"),
        ("v6e-8", "tpu-v6e-slice"),
        ("tpu7x-8", "v7x"),
    ],
)
def test_flags_of_a_generation(names):
    found = {flags(name) for name in names}
    assert len(found) == 1
    words = found.pop().split()
    assert len(words) == len(set(words)) and all(word.startswith("--xla_") for word in words)


def flags(name: str) -> str:
    command = [ROOT / "launch" / "tpu_flags.sh", name]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", ["v5e:2x2", "v5p:2x2x1", "v6e:2x2", "tpu7x:2x2x1"])
def test_the_compiler_knows_the_flags(name):
    pytest.importorskip("libtpu", reason="pip install 'shotstream-jax[aot]'")
    program = (
        "import sys; from shotstream_jax.aot.compile import aot_devices as find; find(sys.argv[1])"
    )
    environment = os.environ | {"LIBTPU_INIT_ARGS": flags(name.split(":")[0])}
    subprocess.run([sys.executable, "-c", program, name], env=environment, check=True)


def test_a_type_without_flags():
    command = [ROOT / "launch" / "tpu_flags.sh", "v1-8"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: 'v1-8' is no type of TPU")
