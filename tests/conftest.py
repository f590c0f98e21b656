"""Strict settings for every test, and the parity summary."""

import os
import pathlib
import re
from collections import defaultdict

from tests.compilation import FAST_COMPILATION

FLAGS = f"--xla_force_host_platform_device_count=8 {FAST_COMPILATION}"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update("jax_enable_compilation_cache", False)

GROUPS = {
    "g01": "rotary positions",
    "g02": "schedule",
    "g03": "teacher",
    "g04": "student, whole sequence",
    "g05": "student, dual cache",
    "g06": "autoencoder",
    "g07": "text encoder, tokens",
    "g08": "context selection",
    "g09": "teacher's training",
    "g10": "ODE pairs, regression",
    "g11": "distribution matching",
    "g12": "story, end to end",
    "g13": "LoRA, checkpoint files",
    "g14": "tiny decoder",
}
# Folders and files whose tests take more than some seconds each: `make check` leaves them out.
SLOW = (
    "aot/gpu_test",
    "bench/bench_test",
    "bench/survey_test",
    "container_test",
    "convert/weights_test",
    "data/precompute_test",
    "dit",
    "eval/context_error_test",
    "eval/appearance_error_test",
    "eval/main_test",
    "eval/probe_test",
    "eval/words_error_test",
    "fit/compiled_test",
    "generate",
    "install_test",
    "nn/kernels_test",
    "parity/g03",
    "parity/g04",
    "parity/g05",
    "parity/g06",
    "parity/g09",
    "parity/g10",
    "parity/g11",
    "parity/g12",
    "parity/g13",
    "parity/g14",
    "score/make_test",
    "score/nets_test",
    "serve/axe_test",
    "serve/client_test",
    "serve/files_test",
    "serve/film_test",
    "serve/line_test",
    "serve/process_test",
    "serve/story_test",
    "serve/telling_test",
    "serve/restart_test",
    "serve/trouble_test",
    "serve/guard_test",
    "serve/sockets_test",
    "serve/wire_test",
    "serve/hostile",
    "serve/fuzz_test",
    "train/aot_test",
    "train/autoencoder_test",
    "train/processes_test",
    "train/rollout_test",
    "train/run_test",
    "train/stages_test",
    "tpu_pod_test",
    "vae",
)
BEGIN, END = "<!-- parity:begin -->", "<!-- parity:end -->"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--parity-table",
        metavar="FILE",
        help=f"write the parity table into FILE, between {BEGIN} and {END}",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks as quick what SLOW does not name."""
    tests = pathlib.Path(__file__).parent
    for item in items:
        place = item.path.relative_to(tests).as_posix()
        if not place.startswith(SLOW):
            item.add_marker(pytest.mark.quick)


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    rows = _parity_rows(terminalreporter.stats)
    if not rows:
        return
    terminalreporter.section("parity with the reference, a group: ran, skipped, largest error")
    for row in rows:
        terminalreporter.write_line(" · ".join(row))
    if path := config.getoption("--parity-table"):
        _write_table(pathlib.Path(path), rows)


def _parity_rows(stats: dict) -> list[tuple[str, ...]]:
    """Group, cases run, skipped, largest output error, largest gradient error over the maximum."""
    counts: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for outcome in ("passed", "failed", "skipped"):
        for report in stats.get(outcome, []):
            if not (match := re.search(r"tests/parity/.*\[(g\d\d)", report.nodeid)):
                continue
            group = counts[match[1]]
            group[outcome] += 1
            for name, value in report.user_properties:
                group[name] = max(group[name], value)
    return [
        (
            f"{name} {GROUPS.get(name, '')}".strip(),
            f"{int(c['passed'] + c['failed'])}"
            + (f" ({int(c['failed'])} failed)" if c["failed"] else ""),
            f"{int(c['skipped'])}",
            f"{c['output']:.1e}",
            f"{c['gradient']:.1e}" if "gradient" in c else "–",
        )
        for name, c in sorted(counts.items())
    ]


def _write_table(path: pathlib.Path, rows: list[tuple[str, ...]]) -> None:
    head = (
        "group",
        "cases",
        "skipped",
        "largest absolute error",
        "largest gradient error / tensor's maximum",
    )
    lines = ["| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *rows)]
    text = path.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    path.write_text(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + after)
