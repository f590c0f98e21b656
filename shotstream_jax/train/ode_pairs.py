"""Make the pairs of stage 2: the teacher's guided ODE trajectories on real conditions.

  shotstream ode-pairs --config ode_init:tiny

The recipe is the one of stage 2: start.checkpoint is the teacher, pairs.… say how many, how and
where. The noise of a pair depends on its number only, so any number of devices makes the same
pairs. An interrupted run goes on with the next batch.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.experimental import multihost_utils
from tqdm.contrib.logging import logging_redirect_tqdm

from shotstream_jax import cli
from shotstream_jax.checkpoint.arrays import ZarrArray, open_array
from shotstream_jax.checkpoint.checkpoint import Checkpoint, open_checkpoint
from shotstream_jax.checkpoint.checksum import part_checksum
from shotstream_jax.core import rng
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.gpu_memory import memory_errors
from shotstream_jax.core.progress import progress_bar
from shotstream_jax.core.settings import own_settings
from shotstream_jax.core.sharding import batch_sharding, make_mesh
from shotstream_jax.core.typing import Array, Params
from shotstream_jax.data import pairs
from shotstream_jax.data.batches import local_rows
from shotstream_jax.data.dataset import Dataset
from shotstream_jax.data.rows import condition_row, embedding_reader
from shotstream_jax.data.samples import find_samples
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.generate.sampler import kept_steps, sample_trajectory
from shotstream_jax.model import compute_params
from shotstream_jax.train.build import make_setup, open_clips, read_recipe
from shotstream_jax.train.recipe import OdeRecipe
from shotstream_jax.train.run.processes import (
    add_distributed_option,
    start_processes,
    wait_for_all,
)
from shotstream_jax.train.run.start import negative_embedding
from shotstream_jax.train.run.workdir import held
from shotstream_jax.train.setup import Setup, to_devices


def parser() -> cli.Parser:
    """The options."""
    p = cli.make_parser("shotstream_jax.train.ode_pairs", __doc__)
    p.add_recipe("ode_init")
    add_distributed_option(p)
    return p


@own_settings()
def main(argv: Sequence[str]) -> None:
    """Runs the command."""
    args, config = parser().parse(argv)
    recipe = read_recipe(config)
    if not isinstance(recipe, OdeRecipe):
        raise InputError(
            f"{args.config} is a recipe of stage {recipe.stage}: pairs are made by one of ode_init"
        )
    start_processes(args.distributed)
    use_persistent_cache()
    teacher = open_checkpoint(recipe.start.checkpoint)
    dataset = open_clips(recipe, teacher)
    # The batch that the mesh must divide is the one that is made at a time.
    run = dataclasses.replace(recipe.run, batch=recipe.pairs.batch, accumulate=1)
    mesh = make_mesh(recipe.mesh.lengths())
    setup = make_setup(dataclasses.replace(recipe, run=run), teacher.preset, mesh, dataset)
    folder = pathlib.Path(recipe.pairs.path)
    remedy = "choose a smaller --config.pairs.batch, or more devices along --config.mesh.fsdp"
    with jax.set_mesh(mesh), logging_redirect_tqdm(), held(folder, "pairs.path"):
        with memory_errors(remedy):
            make_pairs(recipe, setup, dataset, teacher)


def make_pairs(recipe: OdeRecipe, setup: Setup, dataset: Dataset, teacher: Checkpoint) -> None:
    """Writes all pairs that are not there yet."""
    cfg = recipe.pairs
    folder = pathlib.Path(cfg.path)
    is_main = jax.process_index() == 0

    # 1. The folder, for exactly these pairs.
    samples = choose_samples(recipe, dataset)
    schedule = Schedule(cfg.sampler.steps, setup.schedule.shift)
    kept = len(kept_steps(schedule, setup.steps)) + 1
    shape = (cfg.count, kept, setup.frames, *setup.latent_shape)
    if is_main:
        settings = _settings(recipe, dataset, samples, shape)
        settings["teacher_sha256"] = part_checksum(teacher, "dit")
        pairs.claim_pairs(folder, settings, shape)
    wait_for_all("claimed")
    store = open_array(folder, pairs.NAME)

    # 2. The teacher, and what is the same for all pairs.
    params = _teacher_params(teacher, setup)
    negative = jax.device_put(negative_embedding(setup.preset, dataset), setup.whole)
    make = _trajectory_maker(recipe, setup, schedule)
    rows = local_rows(batch_sharding(setup.mesh, 1), cfg.batch)

    # 3. Batch by batch: conditions in, trajectories out, and each process writes what it has.
    for batch in _batches_to_make(folder, -(-cfg.count // cfg.batch)):
        first = batch * cfg.batch
        # The last batch is filled up with pairs that are not kept.
        numbers = np.minimum(np.arange(first, first + cfg.batch), cfg.count - 1)
        local = [_conditions(setup, dataset, samples[n]) for n in numbers[rows]]
        stacked = jax.tree.map(lambda *arrays: np.stack(arrays), *local)
        conditions = to_devices(setup.mesh, stacked, cfg.batch)
        made = make(params, conditions, negative, numbers.astype(np.int32))
        _write_batch(store, made, first, cfg.count)
        wait_for_all(f"batch {batch}")
        if is_main:
            pairs.mark_batch(folder, batch)
    if is_main:
        pairs.finish_pairs(folder, cfg.count)
        logging.info("%s: %d pairs", folder, cfg.count)


def choose_samples(recipe: OdeRecipe, dataset: Dataset) -> np.ndarray:
    """Clip and shot of every pair [count, 2]: shuffled, each target as often as any other (± 1)."""
    count = recipe.pairs.count
    found = find_samples(dataset, recipe.data)
    # Targets that are held out have pairs too: their loss is measured.
    every = np.asarray(found.train + found.held_out)
    generator = np.random.default_rng(recipe.pairs.seed)
    rounds = -(-count // len(every))
    shuffled = [generator.permutation(every) for _ in range(rounds)]
    return np.concatenate(shuffled)[:count]


def _settings(
    recipe: OdeRecipe, dataset: Dataset, samples: np.ndarray, shape: tuple[int, ...]
) -> dict[str, Any]:
    """What the pairs are made with; the folder itself may move, so its path is not in it."""
    settings = dataclasses.asdict(recipe.pairs)
    del settings["path"]
    settings["teacher"] = recipe.start.checkpoint
    settings["clips_sha256"] = dataset.settings.clips_sha256
    settings["data_sha256"] = dataset.fingerprint
    settings["shape"] = list(shape)
    settings["samples"] = samples.tolist()
    return settings


def _trajectory_maker(recipe: OdeRecipe, setup: Setup, schedule: Schedule) -> Callable[..., Array]:
    """(parameters, conditions, negative prompt, numbers of the pairs) → trajectories, compiled."""
    cfg = recipe.pairs
    root = rng.seed_key(cfg.seed)
    shape = (setup.frames, *setup.latent_shape)

    def draw_noise(number: Array) -> Array:
        """The noise of one pair [f, h, w, c]."""
        return jax.random.normal(rng.stream(root, "ode_pair", number), shape, jnp.float32)

    # One program for all batches: only conditions, noise and parameters differ.
    @jax.jit
    def make(params: Params, conditions: Conditions, negative: Array, numbers: Array) -> Array:
        """Trajectories [b, kept, f, h, w, c] of a batch of pairs."""
        made = sample_trajectory(
            setup.teacher,
            schedule,
            setup.steps,
            params,
            conditions,
            negative,
            jax.vmap(draw_noise)(numbers),
            cfg.sampler.guidance,
        )
        sharding = batch_sharding(setup.mesh, made.ndim)
        return jax.lax.with_sharding_constraint(made, sharding)

    return make


def _conditions(setup: Setup, dataset: Dataset, sample: np.ndarray) -> Conditions:
    """The conditions of a clip's shot, without a batch dimension."""
    clip, shot = (int(number) for number in sample)
    read_caption = embedding_reader(setup.preset.dit.text_len)
    return condition_row(dataset.record(clip), shot, dataset.settings.context, read_caption)


def _teacher_params(teacher: Checkpoint, setup: Setup) -> Params:
    """The teacher's parameters in the types that a pass computes with."""
    params = teacher.load_params("dit", mesh=setup.mesh)

    @jax.jit
    def cast(params: Params) -> Params:
        """Parameters in the types that a pass computes with."""
        return compute_params(params, setup.dtype)

    return cast(params)


def _write_batch(store: ZarrArray, made: Array, first: int, count: int) -> None:
    """Writes this process's trajectories of a batch that begins with pair number `first`.

    count: of all pairs; what lies beyond is filling.
    """
    batch = made.shape[0]
    # Devices along other axes hold copies of the same rows: each range is written once.
    shards = {}
    for shard in made.addressable_shards:
        start, stop, _ = shard.index[0].indices(batch)
        shards[start, stop] = shard
    for (start, _), shard in shards.items():
        trajectories = np.asarray(shard.data, np.float16)
        for i, trajectory in enumerate(trajectories):
            number = first + start + i
            if number < count:
                store.write(trajectory, number)


def _batches_to_make(folder: pathlib.Path, batches: int) -> Iterator[int]:
    """Batches that are not done, with a progress bar.

    Process 0 looks for all of them, so that all processes make the same ones.
    """
    done = np.array([pairs.batch_done(folder, batch) for batch in range(batches)])
    if jax.process_count() > 1:
        done = multihost_utils.broadcast_one_to_all(done)
    # What an earlier run has made is left out, but counted by the bar.
    todo = np.flatnonzero(~done).tolist()
    finished = batches - len(todo)
    if finished:
        logging.info("%d of %d batches are done already", finished, batches)
    yield from progress_bar(
        todo,
        total=batches,
        initial=finished,
        unit="batch",
        disable=jax.process_index() != 0,
    )


if __name__ == "__main__":
    cli.run(main)
