"""A teacher's error on later shots: what the three commands *_error share.

    error = mean((v̂ − (ε − x₀))²)                                            (1)
    ratio = error / error under the clip's own conditions                     (2)

(1) at several noise levels σ, with the same noise ε whatever the conditions are.
"""

import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import Checkpoint
from shotstream_jax.core import rng
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.progress import progress_bar
from shotstream_jax.core.typing import Array, Params
from shotstream_jax.data.dataset import Dataset, open_dataset
from shotstream_jax.data.rows import CaptionReader, ShotBatch, target_row
from shotstream_jax.data.samples import DataConfig, Sample, find_samples
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.eval.metrics import bootstrap
from shotstream_jax.eval.report import write_results
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.presets import Preset
from shotstream_jax.train.losses.flow_matching import velocity_error

# The name of a clip's own conditions in tables and files.
OWN = "own"

# Noise levels σ of (1).
NOISE_LEVELS = (0.3, 0.6, 0.8, 0.95)

# Clips in a batch.
BATCH_CLIPS = 4

# What the teacher is given in place of a clip's own conditions.
ConditionChange = Callable[[Conditions], Conditions]


class TrainedTeacher(NamedTuple):
    """A teacher as it was trained: module, schedule and parameters."""

    teacher: Teacher
    schedule: Schedule
    params: Params


def load_trained_teacher(checkpoint: Checkpoint) -> TrainedTeacher:
    """The teacher of a checkpoint. Raises InputError if it cannot be read."""
    preset = checkpoint.preset
    schedule = Schedule(shift=preset.steps.shift)
    return TrainedTeacher(Teacher(preset.dit), schedule, checkpoint.load_params("dit"))


def own_conditions(conditions: Conditions) -> Conditions:
    """The clip's own conditions: no change."""
    return conditions


def later_shot_batches(
    path: str,
    preset: Preset,
    clips: int,
    read_caption: CaptionReader,
) -> Iterator[ShotBatch]:
    """A later shot of each of at most `clips` clips, in batches of BATCH_CLIPS clips.

    read_caption: what a row has of its prompts.

    What is left over by whole batches is left out. No two rows of a batch are of one clip.

    Raises InputError if the data set is not this model's, or has too few clips.
    """
    # Latents of another autoencoder mean nothing to this teacher.
    dataset = open_dataset(path)
    if dataset.settings.preset != preset.name:
        raise InputError(
            f"{path} was made for {dataset.settings.preset}, the checkpoint is {preset.name}"
        )
    config = DataConfig(
        path,
        preset.video.shot_frames,
        held_out=0.0,
        targets="every",
    )
    samples = _later_shots(dataset, config)[:clips]
    if len(samples) < BATCH_CLIPS:
        raise InputError(
            f"{path} has {len(samples)} clips of two shots or more: "
            f"at least {BATCH_CLIPS} are needed"
        )
    # Whole batches only, so that the error is compiled once.
    for first in range(0, len(samples) - BATCH_CLIPS + 1, BATCH_CLIPS):
        rows = []
        for sample in samples[first : first + BATCH_CLIPS]:
            rows.append(target_row(dataset, sample, config, read_caption))
        yield stack_rows(rows)


def _later_shots(dataset: Dataset, config: DataConfig) -> list[Sample]:
    """One shot of each clip, not its first; which one, changes from clip to clip."""
    # All later shots of each clip, …
    of_clips: dict[int, list[Sample]] = {}
    for sample in find_samples(dataset, config).train:
        if sample.shot > 0:
            of_clips.setdefault(sample.clip, []).append(sample)
    # … of which the clip's number chooses one.
    chosen = []
    for clip, samples in of_clips.items():
        chosen.append(samples[clip % len(samples)])
    return chosen


def stack_rows(rows: Sequence[ShotBatch]) -> ShotBatch:
    """Rows of data/rows as a batch."""

    def stack(*arrays: np.ndarray) -> Array:
        """The rows' values of one array."""
        return jnp.asarray(np.stack(arrays))

    return jax.tree.map(stack, *rows)


def denoising_errors(
    model: TrainedTeacher,
    batches: Sequence[ShotBatch],
    change: ConditionChange,
    description: str,
    weights: Sequence[Array] | None = None,
) -> np.ndarray:
    """Errors (1) [clips, levels], under changed conditions.

    description: of the progress bar. weights: of each batch [b, f, h, w], where errors count; None
    counts them alike everywhere.
    """

    @jax.jit
    def error(
        params: Params,
        batch: ShotBatch,
        number: Array,
        time: Array,
        weight: Array | None,
    ) -> Array:
        """The errors [b] of a batch at one time."""
        # The noise depends on nothing but the batch's number, so it is the same for all changes.
        key = rng.stream(jax.random.key(0), "context_error", number)
        target = jnp.asarray(batch.target)
        noise = jax.random.normal(key, target.shape)
        times = jnp.full(len(target), time)
        conditions = change(batch.conditions)
        return velocity_error(
            model.teacher,
            model.schedule,
            params,
            conditions,
            target,
            noise,
            times,
            weight,
        )

    # Every batch at every level: [b, levels] each.
    errors = []
    for number, batch in enumerate(progress_bar(batches, desc=description, unit="batch")):
        weight = None
        if weights:
            weight = weights[number]
        levels = []
        for level in NOISE_LEVELS:
            time = 1000 * level  # the teacher's time of σ
            levels.append(error(model.params, batch, number, time, weight))
        errors.append(np.stack(jax.device_get(levels), axis=1))
    return np.concatenate(errors)


def error_ratios(errors: np.ndarray, own_errors: np.ndarray) -> dict[str, dict[str, float]]:
    """At each level: the mean error, its ratio (2), the ratio's 95 % interval, and the clips.

    errors, own_errors: [clips, levels], of the same clips.
    """
    result = {}
    columns = zip(NOISE_LEVELS, errors.T, own_errors.T, strict=True)
    for level, column, own_column in columns:
        # Clips are drawn again as pairs: [clips, 2].
        pairs = np.stack([column, own_column], axis=1).astype(np.float64)
        ratio = bootstrap(pairs, _ratio_of_means)
        result[str(level)] = {
            "error": float(column.mean()),
            "ratio": ratio.value,
            "low": ratio.low,
            "high": ratio.high,
            "clips": len(column),
        }
    return result


def _ratio_of_means(pairs: np.ndarray) -> float:
    return float(pairs[:, 0].mean() / pairs[:, 1].mean())


def write_error_ratios(errors: Mapping[str, np.ndarray], out: pathlib.Path) -> None:
    """Prints the errors and their ratios, and writes them as JSON.

    errors: [clips, levels] under several conditions, with the clips' own ones as OWN.
    """
    results = {}
    for name, of_name in errors.items():
        results[name] = error_ratios(of_name, errors[OWN])
        for level, found in results[name].items():
            cli.print_line(f"{name:8} σ {level:4}: {_describe(found)}")
    write_results(out, results)


def _describe(found: dict[str, float]) -> str:
    error = f"{found['error']:.4f}"
    ratio = f"ratio {found['ratio']:.3f}"
    interval = f"95 % {found['low']:.3f} to {found['high']:.3f}"
    return f"{error}, {ratio}, {interval}"
