"""Does a teacher look at its context? Its error on later shots after their own earlier ones, another story's, or none.

  python -m shotstream_jax.world --out out/test --stories 200 --split test --subset simple --size 32x48 --fps 8 \\
      --lengths 11
  python -m shotstream_jax.precompute --config.checkpoint=TEACHER --csv out/test/clips.csv --out out/test_latents
  python -m shotstream_jax.eval.context_error --checkpoint TEACHER --data out/test_latents

The error is mean((v̂ − (ε − x₀))²), at several noise levels σ, with the same noise for all three contexts. Captions and
phases are the story's own in `another`. `ratio` is the error over that with the story's own context.
"""

import json
import pathlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.core import rng
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import check_writable, write_whole
from shotstream_jax.core.typing import Array
from shotstream_jax.data.batches import DataConfig, Row, Texts, embeddings, find_samples, target_row
from shotstream_jax.data.records import open_dataset
from shotstream_jax.dit.conditions import Batch, Conditions
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.eval.metrics import bootstrap
from shotstream_jax.eval.report import as_json
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.presets import Preset
from shotstream_jax.train.losses.flow_matching import velocity_error
from shotstream_jax.train.setup import batch_of

LEVELS, ROWS = (0.3, 0.6, 0.8, 0.95), 4  # σ; clips at once
Change = Callable[[Conditions], Conditions]
CONTEXTS: dict[str, Change] = {
    "own": lambda conditions: conditions,
    "another": lambda conditions: conditions.replace(
        context=jnp.roll(conditions.context, 1, axis=0)
    ),
    "none": Conditions.without_context,
}


def parser() -> cli.Parser:
    p = cli.make_parser("shotstream_jax.eval.context_error", __doc__)
    p.add_argument("--checkpoint", required=True, metavar="DIR", help="a teacher")
    p.add_argument(
        "--data", required=True, metavar="DIR", help="clips that it has not seen, by precompute"
    )
    p.add_argument(
        "--clips", type=int, default=200, metavar="N", help="at most (default: %(default)s)"
    )
    p.add_argument(
        "--out", default="out/context.json", metavar="FILE.json", help="(default: %(default)s)"
    )
    return p


def main(argv: Sequence[str]) -> None:
    args = parser().parse_args(argv)
    out, preset = check_writable(args.out, ".json"), open_checkpoint(args.checkpoint).preset
    batches = list(read_batches(args.data, preset, args.clips, embeddings(preset.dit.text_len)))
    use_persistent_cache()
    model = load_model(args.checkpoint)
    write(
        {name: measure(model, batches, change, name) for name, change in CONTEXTS.items()},
        "own",
        out,
    )


def write(found: dict[str, np.ndarray], base: str, out: pathlib.Path) -> None:
    """Prints and writes the errors [clips, levels], and their ratios to those of `base`."""
    result = {name: compare(errors, found[base]) for name, errors in found.items()}
    for name, levels in result.items():
        for level, about in levels.items():
            between = f"95 % {about['low']:.3f} to {about['high']:.3f}"
            cli.say(
                f"{name:8} σ {level:4}: {about['error']:.4f}, ratio {about['ratio']:.3f}, {between}"
            )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, (json.dumps(as_json(result), indent=1) + "\n").encode())


class Model(NamedTuple):
    """A teacher as it was trained."""

    teacher: Teacher
    schedule: Schedule
    params: dict


def load_model(checkpoint: str) -> Model:
    opened = open_checkpoint(checkpoint)
    preset = opened.preset
    return Model(Teacher(preset.dit), Schedule(shift=preset.steps.shift), opened.load_params("dit"))


def compare(errors: np.ndarray, base: np.ndarray) -> dict[str, dict[str, float]]:
    """At each level: the error, its ratio to the base's, and where 95 % of the resampled ratios lie."""
    result = {}
    for level, column, beside in zip(LEVELS, errors.T, base.T, strict=True):
        pairs = np.stack([column, beside], axis=1).astype(np.float64)
        ratio = bootstrap(pairs, lambda pairs: float(pairs[:, 0].mean() / pairs[:, 1].mean()))
        about = {
            "error": float(column.mean()),
            "ratio": ratio.value,
            "low": ratio.low,
            "high": ratio.high,
        }
        result[str(level)] = about | {"clips": len(column)}
    return result


def read_batches(path: str, preset: Preset, clips: int, texts: Texts) -> Iterator[Batch]:
    """A later shot of each clip, ROWS at a time; what is left over is left out, and no two rows are of one clip.

    Raises InputError if it is not this model's data.
    """
    dataset = open_dataset(path)
    if dataset.settings.preset != preset.name:
        raise InputError(
            f"{path} was made for {dataset.settings.preset}, the checkpoint is {preset.name}"
        )
    cfg = DataConfig(path, preset.video.shot_frames, held_out=0.0, targets="every")
    later = defaultdict(list)
    for sample in find_samples(dataset, cfg).train:
        later[sample.clip] += [sample] if sample.shot else []
    samples = [shots[clip % len(shots)] for clip, shots in later.items() if shots][:clips]
    if len(samples) < ROWS:
        raise InputError(
            f"{path} has {len(samples)} clips of two shots or more: {ROWS} are needed at least"
        )
    for first in range(0, len(samples) - ROWS + 1, ROWS):
        yield stack([target_row(dataset, s, cfg, texts) for s in samples[first : first + ROWS]])


def stack(rows: Sequence[Row]) -> Batch:
    """Rows of data/batches as a batch."""
    return batch_of({name: jnp.asarray(np.stack([row[name] for row in rows])) for name in rows[0]})


def measure(
    model: Model,
    batches: Sequence[Batch],
    change: Change,
    doing: str,
    weights: Sequence[Array] | None = None,
) -> np.ndarray:
    """Errors [clips, levels] with changed conditions.

    doing: the progress bar's words. weights [b, f, h, w] of each batch: where errors count; None: alike everywhere.
    """

    @jax.jit
    def error(params: dict, batch: Batch, number: Array, t: Array, w: Array | None) -> Array:
        noise = jax.random.normal(
            rng.stream(jax.random.key(0), "context_error", number), batch.target.shape
        )
        times = jnp.full(len(batch.target), t)
        conditions = change(batch.conditions)
        return velocity_error(
            model.teacher, model.schedule, params, conditions, batch.target, noise, times, w
        )

    found = []
    for number, batch in enumerate(tqdm(batches, doing, unit="batch")):
        w = weights[number] if weights else None
        levels = [error(model.params, batch, number, 1000 * level, w) for level in LEVELS]
        found.append(np.stack(jax.device_get(levels), axis=1))
    return np.concatenate(found)


if __name__ == "__main__":
    cli.run(main)
