"""The options of `bench --all`, and what they ask for."""

import argparse

from shotstream_jax import cli
from shotstream_jax.bench.survey.driver import run_survey
from shotstream_jax.bench.survey.settings import SurveySettings
from shotstream_jax.bench.survey.table import SECTIONS, Section
from shotstream_jax.core.errors import InputError
from shotstream_jax.presets import find_preset

SECONDS = 1.0  # spent on each line
# Options of the table of parts that mean nothing here, with their defaults.
_OTHERS = {"parts": None, "aot": None, "json": None, "mesh": "", "quantize": "none", "batch": 1}
# Options that mean nothing without --all.
_OWN = {"out": None, "only": None, "minutes": 8.0, "resume": False}


def add_survey_options(p: cli.Parser) -> None:
    """The options that belong to --all."""
    lines = ["sections, each in a process of its own, in this order:"]
    for name, section in SECTIONS.items():
        lines.append(f"  {name:13}{section.about}")
    group = p.add_argument_group("everything that some minutes tell", "\n".join(lines))
    group.add_argument("--all", action="store_true", help="runs all sections within --minutes")
    group.add_argument("--out", metavar="DIR", help="folder of results.jsonl, tables of kernels, …")
    group.add_argument(
        "--minutes",
        type=float,
        default=_OWN["minutes"],
        metavar="M",
        help="for all of it (default: %(default)s)",
    )
    group.add_argument("--only", metavar="SECTION,…", help="some of the sections")
    group.add_argument(
        "--resume", action="store_true", help="goes on in DIR: sections that are done are left out"
    )


def check_survey_options(args: argparse.Namespace) -> None:
    """Raises InputError if --all lacks an option, or has one of the other kind of measurement."""
    given = vars(args)
    wrong = _OTHERS if args.all else _OWN
    for name, default in wrong.items():
        if given[name] != default:
            only = "is not for --all" if args.all else "is for --all"
            raise InputError(f"--{name} {only}")
    if args.all and not args.out:
        raise InputError("--all needs --out DIR, a folder for the results")
    if args.minutes <= 0:
        raise InputError(f"--minutes {args.minutes} must be more than 0")


def survey(args: argparse.Namespace, height: int | None, width: int | None) -> None:
    """Runs `bench --all` with these options; None is the preset's size."""
    seconds = args.seconds or SECONDS
    settings = SurveySettings(
        out=args.out,
        preset=args.preset,
        dtype=args.dtype,
        height=height,
        width=width,
        frames=args.frames,
        seconds=seconds,
    )
    # A wrong size is refused before anything is started; what depends on the device is not known.
    if settings.preset:
        preset = find_preset(settings.preset)
        preset.latent_grid(settings.video(preset))
    run_survey(settings, chosen_sections(args.only), args.minutes, args.resume)


def chosen_sections(only: str | None) -> dict[str, Section]:
    """The sections of --only in the table's order. Raises InputError for an unknown one."""
    names = only.split(",") if only else list(SECTIONS)
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        raise InputError(f"--only {','.join(unknown)}: there are {', '.join(SECTIONS)}")
    return {name: section for name, section in SECTIONS.items() if name in names}
