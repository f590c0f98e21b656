"""Train the autoencoder, or one of the four stages, on one machine or many.

  shotstream train --config autoencoder:tiny --workdir out/tiny/autoencoder
  shotstream train --config teacher:tiny --workdir out/tiny/teacher
  shotstream ode-pairs --config ode_init:tiny
  shotstream train --config ode_init:tiny --workdir out/tiny/ode_init
  shotstream train --config dmd_intra:tiny --workdir out/tiny/dmd_intra
  shotstream train --config dmd_inter:tiny --workdir out/tiny/dmd_inter

The same command goes on where an interrupted run stopped. SIGTERM saves, and exits with 0. The
first Ctrl-C saves, and exits with 130; a second one stops at once.
WORKDIR/model is the result. --aot compiles a recipe for a TPU slice that need not be there, and
says what it would need (docs/aot.md).
"""

import os
import pathlib
from collections.abc import Sequence

import jax
from absl import logging

from shotstream_jax import cli
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.gpu_memory import memory_errors
from shotstream_jax.core.settings import own_settings
from shotstream_jax.core.sharding import make_mesh
from shotstream_jax.train.build import make_stage, open_checkpoints, open_data, read_recipe
from shotstream_jax.train.run.loop import Run
from shotstream_jax.train.run.processes import add_distributed_option, start_processes
from shotstream_jax.train.run.workdir import held

REMEDY = (
    "choose --config.run.remat=full, a smaller --config.run.batch with more "
    "--config.run.accumulate, or more devices along --config.mesh.fsdp; --aot says what a recipe "
    "needs, `shotstream plan` what a stream does"
)


def parser() -> cli.Parser:
    """The options."""
    p = cli.make_parser("shotstream_jax.train", __doc__)
    p.add_recipe("teacher")
    p.add_argument("--json", metavar="FILE", help="with --aot: write the report there too")
    p.add_argument("--workdir", metavar="DIR", help="the run's folder: made, or gone on with")
    p.add_argument(
        "--aot",
        metavar="SLICE",
        help="compile for a TPU slice that need not be there, e.g. v5p:2x2x2, say what it needs, "
        "and stop; no checkpoint and no data are read: the model's size is the preset after the "
        "colon of --config (default: tiny)",
    )
    add_distributed_option(p)
    return p


@own_settings()
def main(argv: Sequence[str]) -> None:
    """Runs the command."""
    # Whatever can be refused is refused before anything is computed or written.
    args, config = parser().parse(argv)
    recipe = read_recipe(config)
    if args.aot:
        from shotstream_jax.train.aot import report_training  # only it needs a TPU compiler

        report_training(recipe, args.aot, args.config, args.json)
        return
    if not args.workdir:
        raise InputError("--workdir is missing: name the run's folder")
    start_processes(args.distributed)
    use_persistent_cache()
    with memory_errors(REMEDY):
        checkpoints = open_checkpoints(recipe)
        preset = checkpoints.start.preset
        data = open_data(recipe, checkpoints.start)
        mesh = make_mesh(recipe.mesh.lengths())
        stage = make_stage(recipe, preset, mesh, data, checkpoints)
        workdir = pathlib.Path(args.workdir)
        with held(workdir, "--workdir"):
            run = Run(recipe, stage, data, checkpoints, workdir)
            logging.info("%s, %s on %d devices", recipe.stage, preset.name, len(jax.devices()))
            run.train()


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    cli.run(main)
