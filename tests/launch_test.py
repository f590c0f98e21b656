"""launch/local.sh at a terminal, and what `make clean` leaves."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
# A terminal of its own, whose keys are this process's standard input.
AT_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
# Like a run: says who it is, and ends at the first Ctrl-C, a little later.
RUN = """
import os, pathlib, signal, sys, time
folder, number = pathlib.Path(sys.argv[1]), sys.argv[-1].split(",")[-1]
def stop(*_):
    (folder / f"saved-{number}").touch()
    sys.exit(0)
signal.signal(signal.SIGINT, stop)
(folder / f"pid-{number}").write_text(str(os.getpid()))
print("ready", flush=True)
for _ in range(1000):  # no longer, whatever happens
    time.sleep(0.05)
"""


def test_ctrl_c_ends_all_processes(tmp_path):
    words = [sys.executable, "-c", AT_A_TERMINAL, str(ROOT / "launch" / "local.sh"), "2"]
    words += [sys.executable, "-c", RUN, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    # As at a terminal, also where the tests themselves were started without Ctrl-C.
    with subprocess.Popen(words, **pipes, preexec_fn=listen_to_ctrl_c) as launched:
        while not (tmp_path / "pid-1").exists() or not (tmp_path / "pid-0").exists():
            assert launched.poll() is None
        assert b"ready" in launched.stdout.readline()
        launched.stdin.write(b"\x03")
        launched.stdin.flush()
        launched.communicate(timeout=60)
    assert launched.returncode == 130
    for number in (0, 1):
        assert (tmp_path / f"saved-{number}").exists()
        assert not is_alive(int((tmp_path / f"pid-{number}").read_text()))


def listen_to_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_make_clean_keeps_films_and_models(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    kept = [tmp_path / "out" / "demo.mp4", tmp_path / "out" / "tiny" / "teacher" / "config.json"]
    removed = [tmp_path / ".venv" / "bin" / "python", tmp_path / "build" / "x"]
    for path in (*kept, *removed):
        path.parent.mkdir(parents=True)
        path.touch()
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    assert [path.exists() for path in (*kept, *removed)] == [True, True, False, False]
    subprocess.run(["make", "delete-outputs"], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    assert not (tmp_path / "out").exists()
