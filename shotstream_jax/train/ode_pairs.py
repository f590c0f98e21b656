"""Make the pairs of the causal initialisation: the teacher's guided ODE trajectories on real conditions.

  python -m shotstream_jax.train.ode_pairs --config configs/ode_init.py:tiny

The recipe is the one of stage 2: start.checkpoint is the teacher, pairs.… say how many, how and where. The noise of a
pair depends on its number only, so any number of devices makes the same pairs. An interrupted run goes on with the next
batch.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.experimental import multihost_utils
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from shotstream_jax import cli
from shotstream_jax.checkpoint.arrays import open_array, write_slice
from shotstream_jax.checkpoint.load import load_weights, preset_of
from shotstream_jax.core import rng
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import batch_sharding, make_mesh
from shotstream_jax.core.typing import Array
from shotstream_jax.data import pairs
from shotstream_jax.data.batches import condition_row, embeddings, find_samples, local_rows
from shotstream_jax.data.records import Dataset
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.generate.trajectories import kept_steps, trajectory
from shotstream_jax.model import Params, compute_params
from shotstream_jax.train.__main__ import (
    add_distributed,
    make_stage,
    open_data,
    read_recipe,
    start_processes,
)
from shotstream_jax.train.losses.flow_matching import Guidance
from shotstream_jax.train.recipe import OdeRecipe
from shotstream_jax.train.run.start import negative_text
from shotstream_jax.train.setup import Setup, conditions_of, to_devices


def parser() -> cli.Parser:
    p = cli.make_parser("shotstream_jax.train.ode_pairs", __doc__)
    p.add_recipe("ode_init")
    add_distributed(p)
    return p


def main(argv: Sequence[str]) -> None:
    args, config = parser().parse(argv)
    recipe = read_recipe(config)
    if not isinstance(recipe, OdeRecipe):
        raise InputError(
            f"{args.config} is a recipe of stage {recipe.stage}: pairs are made by one of ode_init"
        )
    start_processes(args.distributed)
    use_persistent_cache()
    preset = preset_of(recipe.start.checkpoint)
    dataset = open_data(recipe, preset)
    # The batch to check is the one that is made at a time.
    run = dataclasses.replace(recipe.run, batch=recipe.pairs.batch, accumulate=1)
    mesh = make_mesh(recipe.mesh.lengths())
    setup = make_stage(dataclasses.replace(recipe, run=run), preset, mesh, dataset).setup
    with jax.set_mesh(mesh), logging_redirect_tqdm():
        make_pairs(recipe, setup, dataset)


def make_pairs(recipe: OdeRecipe, setup: Setup, dataset: Dataset) -> None:
    """Writes all pairs that are not there yet."""
    cfg, folder = recipe.pairs, pathlib.Path(recipe.pairs.path)
    samples = choose_samples(recipe, dataset)
    schedule = Schedule(cfg.sampler_steps, setup.schedule.shift)
    shape = (cfg.count, len(kept_steps(schedule, setup.steps)) + 1, setup.frames, *setup.latent)
    settings = dataclasses.asdict(cfg) | {
        "teacher": recipe.start.checkpoint,
        "clips_sha256": dataset.settings.clips_sha256,
        "shape": list(shape),
        "samples": samples.tolist(),
    }
    del settings["path"]  # the folder may move
    if jax.process_index() == 0:
        pairs.claim_pairs(folder, settings, shape)
    _wait("claimed")
    store, params = open_array(folder, pairs.NAME), _teacher(recipe, setup)
    negative = jax.device_put(negative_text(setup, dataset), setup.whole)
    run = jax.jit(functools.partial(_trajectories, setup, schedule, cfg))
    rows = local_rows(batch_sharding(setup.mesh, 1), cfg.batch)
    for batch in _to_do(folder, -(-cfg.count // cfg.batch)):
        # The last batch is filled up with pairs that are not kept.
        numbers = np.minimum(np.arange(cfg.batch) + batch * cfg.batch, cfg.count - 1)
        local = [_conditions(setup, dataset, samples[n]) for n in numbers[rows]]
        stacked = {name: np.stack([row[name] for row in local]) for name in local[0]}
        made = run(
            params, to_devices(setup.mesh, stacked, cfg.batch), negative, numbers.astype(np.int32)
        )
        for shard in {
            s.index[0].indices(cfg.batch)[:2]: s for s in made.addressable_shards
        }.values():
            first = shard.index[0].indices(cfg.batch)[0]
            for i, pair in enumerate(np.asarray(shard.data, np.float16)):
                if first + i + batch * cfg.batch < cfg.count:
                    write_slice(store[int(numbers[first + i])], pair)
        _wait(f"batch {batch}")
        if jax.process_index() == 0:
            pairs.mark_batch(folder, batch)
    if jax.process_index() == 0:
        pairs.finish_pairs(folder, cfg.count)
        logging.info("%s: %d pairs", folder, cfg.count)


def choose_samples(recipe: OdeRecipe, dataset: Dataset) -> np.ndarray:
    """Clip and shot of every pair [count, 2]: shuffled, each target as often as any other (± 1)."""
    found = find_samples(dataset, recipe.data)
    every = np.asarray(found.train + found.held_out)
    generator = np.random.default_rng(recipe.pairs.seed)
    rounds = [generator.permutation(every) for _ in range(-(-recipe.pairs.count // len(every)))]
    return np.concatenate(rounds)[: recipe.pairs.count]


def _trajectories(
    setup: Setup,
    schedule: Schedule,
    cfg: Any,
    params: Params,
    rows: dict[str, Array],
    negative: Array,
    numbers: Array,
) -> Array:
    shape = (setup.frames, *setup.latent)
    root = jax.random.key(cfg.seed)
    noise = jax.vmap(lambda n: jax.random.normal(rng.stream(root, "ode_pair", n), shape))(numbers)
    fixed, guidance = (
        (setup.teacher, schedule, setup.steps),
        Guidance.of_sampler(cfg.guidance, cfg.context_guidance),
    )
    made = trajectory(*fixed, params, conditions_of(rows), negative, noise, guidance)
    return jax.lax.with_sharding_constraint(made, batch_sharding(setup.mesh, made.ndim))


def _conditions(setup: Setup, dataset: Dataset, sample: np.ndarray) -> dict[str, np.ndarray]:
    clip, shot = (int(n) for n in sample)
    return condition_row(
        dataset.record(clip), shot, dataset.settings.context, embeddings(setup.preset.dit.text_len)
    )


def _teacher(recipe: OdeRecipe, setup: Setup) -> Params:
    params = load_weights(recipe.start.checkpoint, "dit", mesh=setup.mesh)
    return jax.jit(lambda p: jax.tree.map(jnp.asarray, compute_params(p, setup.dtype)))(params)


def _to_do(folder: pathlib.Path, batches: int) -> Iterator[int]:
    """Batches that are not done, with a bar. Process 0 looks for all of them, so that they make the same ones."""
    done = np.array([pairs.batch_done(folder, batch) for batch in range(batches)])
    if jax.process_count() > 1:
        done = multihost_utils.broadcast_one_to_all(done)
    todo = np.flatnonzero(~done).tolist()
    if len(todo) < batches:
        logging.info("%d of %d batches are done already", batches - len(todo), batches)
    bar = tqdm(
        todo,
        total=batches,
        initial=batches - len(todo),
        unit="batch",
        disable=jax.process_index() != 0,
    )
    yield from bar


def _wait(what: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


if __name__ == "__main__":
    cli.run(main)
