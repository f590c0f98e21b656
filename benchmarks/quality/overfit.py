"""Does a teacher bring back the few shots that it was trained on? If not, there is a bug.

    shotstream world --out out/few/world --stories 20 --subset simple --size 32x48 \\
        --fps 8 --lengths 11
    shotstream precompute --config precompute:tiny \\
        --config.checkpoint=AUTOENCODER --csv out/few/world/clips.csv --out out/few/latents
    shotstream train --config teacher:tiny --workdir out/few/teacher \\
        --config.start.checkpoint=AUTOENCODER --config.data.path=out/few/latents \\
        --config.data.held_out=0.0 --config.run.held_out_every=0 --config.run.steps=1500 \\
        --config.trained.ema=0.0
    shotstream precompute --config precompute:tiny \\
        --config.checkpoint=out/few/teacher/model --latents-from out/few/latents --out out/few/data
    python -m benchmarks.quality.overfit out/few/teacher/model --data out/few/data

A later shot of each story is sampled (without guidance) from its captions, once after its own
earlier shots and once after another story's. The training takes half an hour on two cores, the last
command two minutes. Prints PSNR in dB to the true shot (its latents, decoded), and the share of
shots of which the probe reads the same. `a stranger` is another story's true shot.
"""

import functools
import pathlib
from collections import defaultdict
from collections.abc import Callable, Sequence

import jax
import numpy as np

from benchmarks.quality.autoencoder import psnr
from benchmarks.quality.shipped_reader import shipped_reader
from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.core import rng
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.files import check_writable
from shotstream_jax.data.rows import ShotBatch, embedding_reader
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.eval.context_error import CONTEXTS
from shotstream_jax.eval.labels import Labels
from shotstream_jax.eval.reading import Reading
from shotstream_jax.eval.teacher_error import later_shot_batches
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.flow.solver import sample
from shotstream_jax.generate.sampler import shot_velocity
from shotstream_jax.media.pictures import write_png
from shotstream_jax.model import Params
from shotstream_jax.vae import codec
from shotstream_jax.vae.model import VAE

STEPS = 50  # of the sampler
COLUMNS = 4  # moments of a shot on the sheet
ENLARGE = 3

# (batch, its number, whose context: a name in CONTEXTS, or None for the true shot)
# → frames [b, p, y, x, 3] uint8.
Sampler = Callable[[ShotBatch, int, str | None], np.ndarray]


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("benchmarks.quality.overfit", __doc__)
    p.add_argument("checkpoint", help="a teacher")
    p.add_argument(
        "--data",
        required=True,
        metavar="DIR",
        help="what it was trained on, with prompts as it reads them",
    )
    p.add_argument(
        "--stories",
        type=int,
        default=200,
        metavar="N",
        help="at most (default: %(default)s)",
    )
    p.add_argument(
        "--sheet",
        metavar="FILE.png",
        help="each row: the true shot, then the same one sampled",
    )
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command with these options."""
    args = parser().parse_args(argv)
    sheet = check_writable(args.sheet, ".png") if args.sheet else None
    preset = open_checkpoint(args.checkpoint).preset
    reader = shipped_reader(preset)
    read_caption = embedding_reader(preset.dit.text_len)
    batches = list(later_shot_batches(args.data, preset, args.stories, read_caption))
    use_persistent_cache()
    sample_batch = make_sampler(args.checkpoint)

    def all_shots(context: str | None) -> np.ndarray:
        """The shots of all batches, [n, p, y, x, 3]."""
        shots = [sample_batch(batch, number, context) for number, batch in enumerate(batches)]
        return np.concatenate(shots)

    true = all_shots(None)
    compared = {
        "a stranger": np.roll(true, 1, axis=0),
        "after own": all_shots("own"),
        "after another": all_shots("another"),
    }
    true_readings = reader.read(true)
    for name, shots in compared.items():
        shares = agreement(reader.labels, true_readings, reader.read(shots))
        told = ", ".join(f"{question} {share:.3f}" for question, share in shares.items())
        exact = np.mean(list(map(psnr, true, shots)))
        cli.print_line(f"{name:14} {exact:5.1f} dB, {told}")
    if sheet:
        write_sheet(sheet, true, compared["after own"])


def make_sampler(checkpoint: str) -> Sampler:
    """A teacher's sampler, with noise that depends on the batch's number only."""
    opened = open_checkpoint(checkpoint)
    preset = opened.preset
    teacher = Teacher(preset.dit)
    schedule = Schedule(STEPS, preset.steps.shift)
    vae = VAE(preset.vae)
    dit = opened.load_params("dit")
    decoder = opened.load_params("vae")

    @functools.partial(jax.jit, static_argnames="context")
    def latents(dit: Params, batch: ShotBatch, number: int, context: str) -> jax.Array:
        """Samples the batch's shots, [b, f, h, w, c]."""
        key = rng.stream(jax.random.key(0), "overfit", number)
        noise = jax.random.normal(key, batch.target.shape)
        conditions = CONTEXTS[context](batch.conditions)
        velocity = functools.partial(shot_velocity, teacher, dit, conditions)
        return sample(velocity, noise, schedule)[0]

    @jax.jit
    def decode(params: Params, z: jax.Array) -> jax.Array:
        """Latents → frames as bytes."""
        return codec.to_uint8(codec.decode(vae, params, z))

    def sample_batch(batch: ShotBatch, number: int, context: str | None) -> np.ndarray:
        """The Sampler."""
        z = batch.target if context is None else latents(dit, batch, number, context)
        return np.asarray(decode(decoder, z))

    return sample_batch


def agreement(
    labels: Labels, true: Sequence[Reading], sampled: Sequence[Reading]
) -> dict[str, float]:
    """Share of shots in which the same is read; of action and accents, of characters in both."""
    found: dict[str, list[bool]] = defaultdict(list)
    for a, b in zip(true, sampled, strict=True):
        both = a.who & b.who
        found["who"].append(np.array_equal(a.who, b.who))
        for name in ("place", "side", "variant"):
            found[name].append(a.shot[name] == b.shot[name])
        for name in ("action", *labels.character_choices):
            same = a.shot[name] == b.shot[name]
            found[name] += same[both].tolist()
    return {name: float(np.mean(values)) for name, values in found.items()}


def write_sheet(path: pathlib.Path, true: np.ndarray, sampled: np.ndarray) -> None:
    """A row for every shot: some moments of the true one, then of the sampled one."""
    moments = np.linspace(0, true.shape[1] - 1, COLUMNS).astype(int)
    rows = []
    for a, b in zip(true, sampled, strict=True):
        rows.append(np.concatenate([*a[moments], *b[moments]], axis=1))
    picture = np.concatenate(rows).repeat(ENLARGE, axis=0).repeat(ENLARGE, axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, picture)


if __name__ == "__main__":
    cli.run(main)
