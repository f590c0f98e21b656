"""Short runs of the training command on random material."""

import pathlib

from shotstream_jax.train import __main__ as train

ROOT = pathlib.Path(__file__).parents[2]
FEW = [
    "data.frames=4",
    "data.workers=1",
    "data.held_out=0.3",
    "run.batch=2",
    "run.log_every=1",
    "run.save_every=1",
]
FEW += [
    "run.held_out_every=0",
    "run.sample_every=0",
    "run.held_out_batches=1",
    "run.remat=none",
    # Steps of runs of different lengths are one program.
    "optim.decay=false",
]
# A teacher that compiles fast; one test trains the text encoder too, from nothing and with masks.
PLAIN_TEACHER = ["start.scratch=false", "text_lr=0.0", "mask_weight=0.0", "trained.ema=0.0"]


def arguments(stage: str, material: pathlib.Path, workdir: pathlib.Path, *fields: str) -> list[str]:
    fields = (
        f"start.checkpoint={material}/start",
        f"data.path={material}/data",
        *FEW,
        *fields,
    )
    if stage == "teacher":
        fields = (*PLAIN_TEACHER, *fields)
    if stage.startswith("dmd"):
        fields = (f"teacher={material}/teacher", *fields)
    words = [f"--config={ROOT}/configs/{stage}.py:tiny", *(f"--config.{field}" for field in fields)]
    return [*words, f"--workdir={workdir}"]


def in_process(stage: str, material: pathlib.Path, workdir: pathlib.Path, *fields: str) -> None:
    train.main(arguments(stage, material, workdir, *fields))
