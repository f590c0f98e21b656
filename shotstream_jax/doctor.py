"""What this machine offers, and what is missing: versions, devices, precision, storage, extras.

  shotstream doctor
  shotstream doctor --json

Whatever can be mended has its remedy behind an arrow. The exit code is 0 in any case.
"""

import dataclasses
import importlib.util
import json
import os
import pathlib
import platform
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import shotstream_jax
from shotstream_jax import cli
from shotstream_jax.core.extras import EXTRAS, install_command
from shotstream_jax.core.versions import installed_version

if TYPE_CHECKING:  # jax is imported only when it is needed: --help must be fast
    import jax

# docs/install.md has the whole table.
TESTED_JAX = "0.10.2 to 0.12.0"
GIB = 2**30
MIB = 2**20

# Those whose versions matter most when something fails.
PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "grain",
    "tokenizers",
    "av",
)


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report. remedy: what to do about it; "" if nothing is to be done."""

    section: str
    name: str
    value: str
    remedy: str = ""


def parser() -> cli.Parser:
    """The command line's options."""
    p = cli.make_parser("shotstream_jax.doctor", __doc__)
    p.add_argument("--json", action="store_true", help="the report as JSON")
    return p


def main(argv: Sequence[str]) -> None:
    """Prints the report."""
    args = parser().parse_args(argv)
    findings = examine()
    if args.json:
        cli.print_line(json.dumps(report_dict(findings), indent=1, ensure_ascii=False))
        return
    for line in report_lines(findings):
        cli.print_line(line)


def examine() -> list[Finding]:
    """All findings, section by section."""
    return [
        *examine_versions(),
        *examine_devices(),
        *examine_computing(),
        *examine_storage(),
        *examine_extras(),
        *examine_shipped(),
    ]


def report_lines(findings: Sequence[Finding]) -> list[str]:
    """The report as lines of plain text."""
    lines: list[str] = []
    section = ""
    for finding in findings:
        # A new section has its name on a line of its own, after an empty line.
        if finding.section != section:
            section = finding.section
            lines += ["", section] if lines else [section]
        lines.append(f"  {finding.name:24}{finding.value}".rstrip())
        if finding.remedy:
            lines.append(f"  {'':24}→ {finding.remedy}")
    return lines


def report_dict(findings: Sequence[Finding]) -> dict[str, dict[str, dict[str, str]]]:
    """Section → name → {"value", and "remedy" where there is one}."""
    sections: dict[str, dict[str, dict[str, str]]] = {}
    for finding in findings:
        entry = {"value": finding.value}
        if finding.remedy:
            entry["remedy"] = finding.remedy
        sections.setdefault(finding.section, {})[finding.name] = entry
    return sections


def examine_versions() -> list[Finding]:
    """Python, this package and what it stands on."""
    where = pathlib.Path(shotstream_jax.__file__).parent
    found = [
        Finding("versions", "shotstream-jax", f"{shotstream_jax.__version__}, in {where}"),
        Finding("versions", "python", f"{platform.python_version()}, {platform.platform()}"),
    ]
    for package in PACKAGES:
        version = installed_version(package)
        note = f" (tested: {TESTED_JAX})" if package == "jax" else ""
        if version:
            found.append(Finding("versions", package, f"{version}{note}"))
        else:
            remedy = f"pip install {package}"
            found.append(Finding("versions", package, "missing", remedy))
    return found


def examine_devices() -> list[Finding]:
    """What jax computes on, and accelerators that it does not see."""
    devices = find_devices()
    found = []
    # What jax computes on.
    if isinstance(devices, str):
        remedy = f"unset JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')}"
        found.append(Finding("devices", "jax", f"none: {devices}", remedy))
        seen = set()
    else:
        seen = {device.platform for device in devices}
        kinds = sorted({f"{device.platform}: {device.device_kind}" for device in devices})
        value = f"{len(devices)} × {', '.join(kinds)}{device_memory(devices[0])}"
        found.append(Finding("devices", "jax", value))
    # What is there besides: usually the plug-in of jax is missing.
    if has_nvidia_gpu() and "gpu" not in seen:
        value = "an NVIDIA GPU that jax does not use"
        found.append(Finding("devices", "gpu", value, install_command(EXTRAS["gpu"])))
    if has_tpu() and "tpu" not in seen:
        value = "a TPU that jax does not use"
        found.append(Finding("devices", "tpu", value, install_command(EXTRAS["tpu"])))
    return found


def find_devices() -> "list[jax.Device] | str":
    """jax's devices, or why there are none."""
    import jax

    from shotstream_jax.core.devices import why_no_devices

    return why_no_devices() or jax.devices()


def device_memory(device: "jax.Device") -> str:
    """ ", … GiB each" where the device tells it (a processor does not)."""
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return ""
    limit = stats["bytes_limit"] / GIB
    used = stats.get("bytes_in_use", 0) / GIB
    return f", {limit:.1f} GiB each for jax, {limit - used:.1f} free on the first"


def has_nvidia_gpu() -> bool:
    """Whether the driver has made a device file, or its tool is there."""
    return os.path.exists("/dev/nvidia0") or shutil.which("nvidia-smi") is not None


def has_tpu() -> bool:
    """Whether the driver has made a device file."""
    return os.path.exists("/dev/accel0") or "TPU_NAME" in os.environ


def examine_computing() -> list[Finding]:
    """Which forms of attention and which precisions the models would use on the first device."""
    devices = find_devices()
    if isinstance(devices, str):
        return []
    from shotstream_jax.core.errors import InputError
    from shotstream_jax.presets import PRESETS

    found = []
    # Each preset with the type that its recipe has.
    for preset, dtype in (("tiny", "float32"), ("wan-1.3b", "bfloat16")):
        head_dim = PRESETS[preset].dit.dim // PRESETS[preset].dit.heads
        name = f"attention of {preset}"
        try:
            form = chosen_attention(head_dim, dtype, devices[0].platform)
            found.append(Finding("computing", name, form))
        except InputError as error:
            found.append(Finding("computing", name, str(error), "unset SHOTSTREAM_ATTENTION"))
    found.append(Finding("computing", "matmul precision", matmul_precision(devices[0])))
    for narrow in ("int8", "fp8"):
        found.append(Finding("computing", f"quantize={narrow}", narrow_units(narrow, devices[0])))
    return found


def chosen_attention(head_dim: int, dtype: str, platform: str) -> str:
    """The name of the form of attention that would be used for heads of this width and type."""
    import jax

    from shotstream_jax.nn.attention import FORM_VARIABLE, attention_form

    # Only width and type matter: [b, n, f, t, k].
    queries = jax.ShapeDtypeStruct((1, 1, 1, 1, head_dim), dtype)
    form = attention_form(queries, platform)
    named = os.environ.get(FORM_VARIABLE)
    forced = f", by {FORM_VARIABLE}" if named else ""
    if named and form != named:
        forced = f", as {FORM_VARIABLE}={named} does not fit"
    return f"{form} ({dtype}){forced}"


def matmul_precision(device: "jax.Device") -> str:
    """How float32 matmuls are rounded."""
    import jax

    config: Any = jax.config  # whose fields type checkers do not know
    chosen = config.jax_default_matmul_precision
    if chosen:
        return f"{chosen}, by jax_default_matmul_precision"
    usual = {
        "cpu": "float32 in full",
        "gpu": "float32 rounded to TensorFloat-32 (jax_default_matmul_precision=highest: in full)",
        "tpu": "float32 rounded to bfloat16 (jax_default_matmul_precision=highest: in full)",
    }
    return usual.get(device.platform, "the device's own")


def narrow_units(narrow: str, device: "jax.Device") -> str:
    """Whether the device has matrix units for a type of 8 bits."""
    from shotstream_jax.core.errors import InputError
    from shotstream_jax.nn.quantize import check_quantize

    if device.platform == "cpu":
        return "imitated: the same numbers, not faster"
    try:
        check_quantize(narrow, device)
    except InputError as error:
        return f"no: {error}"
    return "yes"


def examine_storage() -> list[Finding]:
    """The compilation cache, memory and disk."""
    from shotstream_jax.core.compilation import cache_dir

    cache = cache_dir()
    home = existing_parent(cache)
    # The folder is made when the first program is compiled; before that its parent counts.
    cache_value = f"{cache}, {folder_size(cache) / MIB:.0f} MB"
    remedy = ""
    if not os.access(home, os.W_OK):
        cache_value = f"{cache}, which cannot be written"
        remedy = "set SHOTSTREAM_CACHE_DIR to another folder"
    return [
        Finding("storage", "compilation cache", cache_value, remedy),
        Finding("storage", "memory", free_memory()),
        Finding("storage", "disk, here", free_disk(pathlib.Path.cwd())),
        Finding("storage", "disk, cache", free_disk(home)),
        Finding("storage", "cores", str(os.cpu_count())),
    ]


def existing_parent(path: pathlib.Path) -> pathlib.Path:
    """The path, or the nearest folder above it that is there."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def folder_size(folder: pathlib.Path) -> int:
    """Bytes of all files in a folder."""
    size = 0
    for path in folder.rglob("*"):
        if path.is_file():
            size += path.stat().st_size
    return size


def free_memory() -> str:
    """The machine's memory, and what of it is free where the system tells it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    available = available_memory()
    if available is None:
        return f"{total / GIB:.1f} GiB"
    return f"{available / GIB:.1f} of {total / GIB:.1f} GiB free"


def available_memory() -> int | None:
    """Bytes that programs can still take, as Linux counts them."""
    try:
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    # A line is "MemAvailable:   123456 kB".
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def free_disk(folder: pathlib.Path) -> str:
    """Free space at a folder."""
    usage = shutil.disk_usage(folder)
    return f"{usage.free / GIB:.1f} of {usage.total / GIB:.1f} GiB free ({folder})"


def examine_extras() -> list[Finding]:
    """Optional parts, present or missing."""
    found = []
    for name, extra in EXTRAS.items():
        # Looked for, not imported: an import of torch takes seconds.
        missing = []
        for module in extra.modules:
            if importlib.util.find_spec(module) is None:
                missing.append(module)
        if missing:
            value = f"missing ({extra.purpose}): {', '.join(missing)}"
            remedy = install_command(extra) or f"in a clone: pip install -e '.[{name}]'"
        else:
            value = f"present ({extra.purpose})"
            remedy = ""
        found.append(Finding("extras", name, value, remedy))
    return found


def examine_shipped() -> list[Finding]:
    """Weights and recipes that came with the package."""
    folder = pathlib.Path(shotstream_jax.__file__).parent / "weights"
    models = []
    for config in sorted(folder.glob("*/config.json")):
        models.append(config.parent.name)
    remedy = "" if models else "install again: shotstream_jax/weights is not there"
    return [
        Finding("shipped", "models", ", ".join(models) or "none", remedy),
        Finding("shipped", "recipes", ", ".join(cli.recipe_names())),
    ]


if __name__ == "__main__":
    cli.run(main)
