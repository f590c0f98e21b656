"""Does a teacher bring back the shots that it was trained on? After a run on a few stories it must, or there is a bug.

    python -m shotstream_jax.world --out out/few/world --stories 20 --subset simple --size 32x48 --fps 8 \\
        --lengths 11
    python -m shotstream_jax.precompute --config configs/precompute.py:tiny --config.checkpoint=AUTOENCODER \\
        --csv out/few/world/clips.csv --out out/few/latents
    python -m shotstream_jax.train --config configs/teacher.py:tiny --workdir out/few/teacher \\
        --config.start.checkpoint=AUTOENCODER --config.data.path=out/few/latents --config.data.held_out=0.0 \\
        --config.run.held_out_every=0 --config.run.steps=1500 --config.optim.decay_steps=1500 --config.trained.ema=0.0
    python -m shotstream_jax.precompute --config configs/precompute.py:tiny --config.checkpoint=out/few/teacher/model \\
        --latents-from out/few/latents --out out/few/data
    python -m benchmarks.overfit out/few/teacher/model --data out/few/data

A later shot of each story is sampled (without guidance) from its captions, once after its own earlier shots and once
after another story's. PSNR in dB to the true shot (its latents, decoded), and the share of shots that the probe reads
alike. `a stranger` is another story's true shot.
"""

import functools
import pathlib
from collections import defaultdict
from collections.abc import Sequence

import jax
import numpy as np

from benchmarks.autoencoder import psnr
from shotstream_jax import cli
from shotstream_jax.checkpoint.load import load_weights, preset_of
from shotstream_jax.core import rng
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.files import check_writable
from shotstream_jax.data.batches import embeddings
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.eval.context_error import CONTEXTS, read_batches
from shotstream_jax.eval.files import SHIPPED, format_of, load_probe
from shotstream_jax.eval.labels import Labels
from shotstream_jax.eval.reading import Reader, Reading
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.flow.solver import sample
from shotstream_jax.media.pictures import write_png
from shotstream_jax.train.losses.flow_matching import shot_velocity
from shotstream_jax.vae import codec
from shotstream_jax.vae.model import VAE

STEPS, COLUMNS, ENLARGE = 50, 4, 3


def parser() -> cli.Parser:
    p = cli.make_parser("benchmarks.overfit", __doc__)
    p.add_argument("checkpoint", help="a teacher")
    p.add_argument(
        "--data",
        required=True,
        metavar="DIR",
        help="what it was trained on, with prompts as it reads them",
    )
    p.add_argument(
        "--stories", type=int, default=200, metavar="N", help="at most (default: %(default)s)"
    )
    p.add_argument(
        "--sheet", metavar="FILE.png", help="each row: the true shot, then the same one sampled"
    )
    return p


def main(argv: Sequence[str]) -> None:
    args = parser().parse_args(argv)
    sheet = check_writable(args.sheet, ".png") if args.sheet else None
    preset = preset_of(args.checkpoint)
    labels = Labels("simple")
    reader = Reader(labels, load_probe(SHIPPED, format_of(preset, preset.video, "simple")))
    batches = list(read_batches(args.data, preset, args.stories, embeddings(preset.dit.text_len)))
    use_persistent_cache()
    make = sampler(args.checkpoint)
    true = np.concatenate([make(batch, number, None) for number, batch in enumerate(batches)])
    made = {"a stranger": np.roll(true, 1, axis=0)}
    for name in ("own", "another"):
        made[f"after {name}"] = np.concatenate(
            [make(batch, number, name) for number, batch in enumerate(batches)]
        )
    read = reader.read(true)
    for name, shots in made.items():
        shares = agreement(labels, read, reader.read(shots))
        told = ", ".join(f"{question} {share:.3f}" for question, share in shares.items())
        cli.say(f"{name:14} {np.mean(list(map(psnr, true, shots))):5.1f} dB, {told}")
    if sheet:
        write_sheet(sheet, true, made["after own"])


def sampler(checkpoint: str):
    """(batch, its number, whose context: one of CONTEXTS, or None for the true shot) → frames [b, p, y, x, 3] uint8."""
    preset = preset_of(checkpoint)
    teacher, schedule, vae = (
        Teacher(preset.dit),
        Schedule(STEPS, preset.steps.shift),
        VAE(preset.vae),
    )
    dit, decoder = load_weights(checkpoint, "dit"), load_weights(checkpoint, "vae")

    @functools.partial(jax.jit, static_argnames="name")
    def latents(dit, batch, number, name):
        if name is None:
            return batch.target
        noise = jax.random.normal(
            rng.stream(jax.random.key(0), "overfit", number), batch.target.shape
        )
        velocity = functools.partial(shot_velocity, teacher, dit, CONTEXTS[name](batch.conditions))
        return sample(velocity, noise, schedule)[0]

    decode = jax.jit(lambda params, z: codec.to_uint8(codec.decode(vae, params, z)))
    return lambda batch, number, name: np.asarray(
        decode(decoder, latents(dit, batch, number, name))
    )


def agreement(labels: Labels, true: Sequence[Reading], made: Sequence[Reading]) -> dict[str, float]:
    """Share of shots in which the same is read; of action and hats, of the characters that both show."""
    found = defaultdict(list)
    for a, b in zip(true, made, strict=True):
        both = a.who & b.who
        found["who"].append(np.array_equal(a.who, b.who))
        for name in ("place", "side", "variant"):
            found[name].append(a.shot[name] == b.shot[name])
        for name in ("action", *labels.of_characters):
            found[name] += (a.shot[name] == b.shot[name])[both].tolist()
    return {name: float(np.mean(values)) for name, values in found.items()}


def write_sheet(path: pathlib.Path, true: np.ndarray, made: np.ndarray) -> None:
    at = np.linspace(0, true.shape[1] - 1, COLUMNS).astype(int)
    rows = [np.concatenate([*a[at], *b[at]], axis=1) for a, b in zip(true, made, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, np.concatenate(rows).repeat(ENLARGE, axis=0).repeat(ENLARGE, axis=1))


if __name__ == "__main__":
    cli.run(main)
