"""A full-size model as a Diffusers folder and back: time, disk, peak memory, and every bit.

    python -m benchmarks.stress.diffusers_folder --dir /somewhere/with/40GB

Makes a checkpoint of random values in wan-1.3b's sizes with a shot phase and latent statistics of
its own (transformer and autoencoder in float32, text encoder in bfloat16), exports it with
`--layout diffusers`, removes it, imports the folder, and compares each array with what was made.
Each command is a process of its own, measured from outside (Linux). Takes about 20 minutes with all
parts and removes its files at the end. Prints JSON lines.
"""

import argparse
import dataclasses
import pathlib
import shutil
from collections.abc import Sequence

import numpy as np

from benchmarks.output import print_json
from benchmarks.speed.checkpoints import CONVERT, measure_command, random_state, write_tokenizer
from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.convert.checkpoints import FolderPlan, open_public_part, write_plan
from shotstream_jax.convert.stored import part_of_state
from shotstream_jax.convert.tables import part_table
from shotstream_jax.model import PARTS, abstract_params
from shotstream_jax.presets import Preset, find_preset


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("benchmarks.stress.diffusers_folder", __doc__)
    p.add_argument(
        "--dir", type=pathlib.Path, required=True, help="where the files go; removed at the end"
    )
    p.add_argument(
        "--part", choices=PARTS, action="append", help="again for another one (default: all)"
    )
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command with these options."""
    args = parser().parse_args(argv)
    preset = own_preset()
    folder = args.dir / "diffusers"
    back = args.dir / "back"
    make_checkpoint(preset, args)
    command = [*CONVERT, "export", str(args.dir / "native"), "--layout=diffusers"]
    measure_command("export as a Diffusers folder", [*command, f"--out={folder}"])
    shutil.rmtree(args.dir / "native")
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    print_json(what="the folder", files=len(files), gb=round(size / 2**30, 2))

    measure_command("import it", [*CONVERT, "import", f"--wan={folder}", f"--out={back}"])
    opened = open_checkpoint(back)
    print_json(what="sizes", identical=opened.preset == preset)
    for part in opened.parts:
        print_json(what=part, identical=same_values(preset, part, back))
    shutil.rmtree(args.dir)


def own_preset() -> Preset:
    """wan-1.3b with sizes that no shape tells."""
    preset = find_preset("wan-1.3b")
    dit = dataclasses.replace(preset.dit, shot_phase=0.25)
    vae = dataclasses.replace(preset.vae, mean=(0.1,) * 16, std=(2.3,) * 16)
    return dataclasses.replace(preset, dit=dit, vae=vae)


def make_checkpoint(preset: Preset, args: argparse.Namespace) -> None:
    """A checkpoint of random values in `native`."""
    args.dir.mkdir(parents=True, exist_ok=True)
    parts = {}
    for part in args.part or PARTS:
        state = random_state(preset, part)
        table = part_table(preset, part)
        parts[part] = part_of_state(table, abstract_params(preset, part), state)
    tokenizer = args.dir / "tokenizer.json"
    write_tokenizer(tokenizer)
    plan = FolderPlan(preset, parts, args.dir / "native", tokenizer.read_bytes())
    write_plan(plan, lambda _: None)


def same_values(preset: Preset, part: str, folder: pathlib.Path) -> bool:
    """Whether a part has the values and types that were made for it, bit for bit."""
    found = open_public_part(folder, part)
    for name, made in random_state(preset, part).items():
        first = np.asarray(made)
        second = np.asarray(found[name])
        if first.dtype != second.dtype or first.tobytes() != second.tobytes():
            return False
    return True


if __name__ == "__main__":
    cli.run(main)
