"""Train the probe on rendered shots that are drawn as they are needed, made a little worse; no model is involved.

  python -m shotstream_jax.eval.train_probe --subset simple --out shotstream_jax/weights/tiny/probe.safetensors

Pictures have the recipe's format. Beside the weights a .json: the subset, the format, and the share of right answers on
shots of the `test` split.
"""

import functools
import json
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.core import rng
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import check_writable
from shotstream_jax.core.typing import Array, Float, typechecked
from shotstream_jax.data.batches import Batches, Row
from shotstream_jax.eval.disturb import disturb
from shotstream_jax.eval.files import Format, format_of, save_probe
from shotstream_jax.eval.labels import Labels, shot_truth
from shotstream_jax.eval.probe import Probe, cell_centres
from shotstream_jax.eval.reading import AT_ONCE, Reader, oracle_scores
from shotstream_jax.generate.__main__ import Recipe
from shotstream_jax.model import Params
from shotstream_jax.train.optim import OptimConfig, make_optimizer
from shotstream_jax.vae.codec import from_uint8
from shotstream_jax.world.plot import SUBSETS, WorldConfig
from shotstream_jax.world.render import render_shot
from shotstream_jax.world.source import WorldSource
from shotstream_jax.world.story import SPLITS

STORIES, WORKERS, LOGGED = 1_000_000, 2, 100
VIEWS = 2  # steps that a batch is good for, each with other disturbances
BOX = 5.0  # weight of the boxes' error, which is small in shares of the picture


def parser() -> cli.Parser:
    p = cli.make_parser("shotstream_jax.eval.train_probe", __doc__)
    p.add_recipe()
    p.add_argument(
        "--subset",
        choices=list(SUBSETS),
        default="simple",
        help="of the world (default: %(default)s)",
    )
    p.add_argument("--out", required=True, metavar="FILE.safetensors", help="the weights")
    p.add_argument("--steps", type=int, default=3000, metavar="N", help="(default: %(default)s)")
    p.add_argument(
        "--batch", type=int, default=8, metavar="N", help="shots a step (default: %(default)s)"
    )
    p.add_argument(
        "--lr", type=float, default=3e-3, metavar="RATE", help="largest rate (default: %(default)s)"
    )
    p.add_argument(
        "--held-out",
        type=int,
        default=1000,
        metavar="N",
        help="shots to score it on (default: %(default)s)",
    )
    return p


def main(argv: Sequence[str]) -> None:
    args, config = parser().parse(argv)
    if min(args.steps, args.batch, args.held_out) < 1 or args.lr <= 0:
        raise InputError("--steps, --batch and --held-out must be at least 1, --lr above 0")
    recipe, out = cli.build(Recipe, config, "config"), check_writable(args.out, ".safetensors")
    form = format_of(open_checkpoint(recipe.checkpoint).preset, recipe.video, args.subset)
    use_persistent_cache()
    with logging_redirect_tqdm():
        params = train(form, args.steps, args.batch, args.lr)
    scores = held_out_scores(form, params, args.held_out)
    save_probe(out, form, params, scores | {"shots": args.held_out})
    cli.say(json.dumps(scores, indent=1))


class Shots:
    """Shots of a split with their truth, by the story's number.

    crowded: half of the stories show two characters if they ever do; such shots are rarer than others, and harder.
    """

    def __init__(self, form: Format, split: str, stories: int, crowded: bool = False):
        self.labels, self.form, self.crowded = Labels(form.subset), form, crowded
        world = WorldConfig(form.subset, form.fps, lengths=(form.frames,))
        self.source = WorldSource(world, form.height, form.width, stories, split=split)

    def __getitem__(self, index: int) -> Row:
        story = self.source.story(index)
        pairs = [number for number, shot in enumerate(story.shots) if len(shot.roles) > 1]
        numbers = pairs if self.crowded and index % 2 and pairs else range(len(story.shots))
        number = numbers[index % len(numbers)]
        pixels, boxes = render_shot(story, number, self.form.height, self.form.width)
        return {"pixels": pixels} | shot_truth(
            self.labels, story, number, boxes, self.form.height, self.form.width
        )


def train(form: Format, steps: int, batch: int, lr: float) -> Params:
    """AdamW with a cosine; parameters in float32."""
    probe, shots = Probe(Labels(form.subset)), Shots(form, SPLITS[0], STORIES, crowded=True)
    rows = Batches(
        range(STORIES), shots.__getitem__, size=batch, rows=slice(0, batch), seed=0, workers=WORKERS
    )
    optim = make_optimizer(
        OptimConfig(
            lr,
            clip=1.0,
            weight_decay=1e-3,
            b1=0.9,
            b2=0.99,
            decay_steps=steps,
            warmup_steps=min(50, steps),
        )
    )
    key = jax.random.key(0)
    example = from_uint8(jnp.asarray(rows.at(0)["pixels"]))
    params = jax.jit(probe.init)(rng.stream(key, "init"), example)["params"]
    state = optim.init(params)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Params, state: optax.OptState, rows: Row, i: Array):
        pixels, box = disturb(
            rng.stream(key, "disturb", i), from_uint8(rows["pixels"]), rows["box"]
        )
        call = lambda params: probe_loss(
            probe.apply({"params": params}, pixels), rows | {"box": box}
        )
        (_, parts), gradient = jax.value_and_grad(call, has_aux=True)(params)
        updates, state = optim.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, parts

    for i in tqdm(range(steps), unit="step"):
        params, state, parts = step(params, state, rows.at(i // VIEWS), np.int32(i))
        if i % LOGGED == LOGGED - 1:
            logging.info(
                "%d: %s", i + 1, ", ".join(f"{name} {value:.3f}" for name, value in parts.items())
            )
    return params


@typechecked
def probe_loss(
    answers: dict[str, Array], truth: dict[str, Array]
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Mean cross-entropies of all questions, and the boxes' mean absolute error; only of characters that are there.

    And −log of how much of a character's attention lies in its box, without which it is long in finding it.
    """
    present = truth["present"]
    there = present.any(1)
    frames = present.astype(jnp.float32)
    parts = {"present": optax.sigmoid_binary_cross_entropy(answers["present"], frames).mean()}
    wrong = jnp.abs(answers["box"] - truth["box"]).mean(-1)
    mean = lambda x: (x * frames).sum() / jnp.maximum(frames.sum(), 1)  # noqa: E731
    parts["box"] = BOX * mean(wrong)
    parts["attention"] = -mean(jnp.log(_attention_inside(answers["attention"], truth["box"])))
    for name in ("accent", "pattern", "action"):
        mask = there if name == "action" else present
        target = jnp.maximum(truth[name], 0)
        target = target if name == "action" else jnp.broadcast_to(target[:, None], mask.shape)
        parts[name] = (_entropy(answers[name], target) * mask).sum() / jnp.maximum(mask.sum(), 1)
    p = present.shape[1]
    for name in ("place", "side", "variant", "items"):
        given = answers[name]
        if name == "variant":  # of the place that it is
            given = jnp.take_along_axis(given, truth["place"][:, None, None, None], axis=2)[:, :, 0]
        parts[name] = _entropy(given, truth[name][:, None].repeat(p, 1)).mean()
    parts |= {name: _entropy(answers[name], truth[name]).mean() for name in ("distance", "move")}
    return sum(parts.values()), parts


def _attention_inside(attention: Array, box: Array) -> Array:
    """[b, p, n]"""
    at = cell_centres(*attention.shape[-2:])[None, None, None]
    low, high = box[..., None, None, :2], box[..., None, None, 2:]
    inside = ((low <= at) & (at < high)).all(-1)
    return 1e-4 + (attention * inside).sum((-2, -1))


_entropy = optax.softmax_cross_entropy_with_integer_labels


def held_out_scores(form: Format, params: Params, shots: int) -> dict[str, float]:
    """On undisturbed shots of the test split."""
    reader, drawn = Reader(Labels(form.subset), params), Shots(form, SPLITS[1], shots)
    readings, truths = [], []
    for first in tqdm(range(0, shots, AT_ONCE), unit="batch", desc="held out"):
        rows = [drawn[index] for index in range(first, min(first + AT_ONCE, shots))]
        readings += reader.read(np.stack([row.pop("pixels") for row in rows]))
        truths += rows
    return oracle_scores(reader.labels, readings, truths)


if __name__ == "__main__":
    cli.run(main)
