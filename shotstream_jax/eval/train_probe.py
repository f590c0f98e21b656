"""Train the probe on rendered shots, drawn as they are needed and augmented; no model is involved.

  python -m shotstream_jax.eval.train_probe --subset simple \\
      --out shotstream_jax/weights/tiny/probe.safetensors

Pictures have the recipe's format. Beside the weights a .json: the subset, the format, and the share
of right answers on shots of the `test` split.
"""

import functools
import json
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from tqdm.contrib.logging import logging_redirect_tqdm

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.core import rng
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import check_writable
from shotstream_jax.core.progress import progress_bar
from shotstream_jax.core.typing import Array, Float, Params, PRNGKey, typechecked
from shotstream_jax.data.batches import Batches
from shotstream_jax.eval.augment import augment
from shotstream_jax.eval.labels import Labels, shot_truth
from shotstream_jax.eval.probe import Probe, cell_centres, probe_answers
from shotstream_jax.eval.probe_files import ShotFormat, save_probe, shot_format_of
from shotstream_jax.eval.reading import BATCH_SIZE, Reader, oracle_scores
from shotstream_jax.generate.recipe import StreamRecipe
from shotstream_jax.train.optim import OptimConfig, make_optimizer
from shotstream_jax.vae.codec import from_uint8
from shotstream_jax.world.plot import SUBSETS, WorldConfig
from shotstream_jax.world.render import render_shot
from shotstream_jax.world.source import WorldSource
from shotstream_jax.world.story import SPLITS

# Stories to draw training shots from, and threads that draw them.
STORIES = 1_000_000
WORKERS = 2

# Steps for which a batch is used, each with another augmentation: drawing takes longer than a step.
STEPS_PER_BATCH = 2

# Steps from one logged line to the next.
LOG_EVERY = 100

# Weight of the boxes' error, which is small in shares of the picture.
BOX_WEIGHT = 5.0

# Added to the share of attention inside a box, so that its logarithm is finite.
_LEAST_ATTENTION = 1e-4

_cross_entropy = optax.softmax_cross_entropy_with_integer_labels


def parser() -> cli.Parser:
    """The command's options."""
    p = cli.make_parser("shotstream_jax.eval.train_probe", __doc__)
    p.add_recipe()
    p.add_argument(
        "--subset",
        choices=list(SUBSETS),
        default="simple",
        help="of the world (default: %(default)s)",
    )
    p.add_argument(
        "--out",
        required=True,
        metavar="FILE.safetensors",
        help="the weights",
    )
    p.add_argument(
        "--steps",
        type=int,
        default=3000,
        metavar="N",
        help="(default: %(default)s)",
    )
    p.add_argument(
        "--batch",
        type=int,
        default=8,
        metavar="N",
        help="shots a step (default: %(default)s)",
    )
    p.add_argument(
        "--lr",
        type=float,
        default=3e-3,
        metavar="RATE",
        help="largest rate (default: %(default)s)",
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
    """Trains a probe, writes it, and prints its scores."""
    args, config = parser().parse(argv)
    if min(args.steps, args.batch, args.held_out) < 1 or args.lr <= 0:
        raise InputError("--steps, --batch and --held-out must be at least 1, --lr above 0")
    recipe = cli.build(StreamRecipe, config, "config")
    out = check_writable(args.out, ".safetensors")
    preset = open_checkpoint(recipe.checkpoint).preset
    shot_format = shot_format_of(preset, recipe.video, args.subset)
    use_persistent_cache()
    with logging_redirect_tqdm():
        params = fit_probe(shot_format, args.steps, args.batch, args.lr)
    scores = held_out_scores(shot_format, params, args.held_out)
    save_probe(out, shot_format, params, scores | {"shots": args.held_out})
    cli.print_line(json.dumps(scores, indent=1))


class LabelledShots:
    """Rendered shots of a split with their true answers, one of each story, by the story's number.

    more_pairs: every second story gives a shot with two characters if it has one; such shots are
    rarer, and harder.
    """

    def __init__(
        self,
        shot_format: ShotFormat,
        split: str,
        stories: int,
        more_pairs: bool = False,
    ):
        self.labels = Labels(shot_format.subset)
        self.shot_format = shot_format
        self.more_pairs = more_pairs
        world = WorldConfig(shot_format.subset, shot_format.fps, lengths=(shot_format.frames,))
        self.source = WorldSource(
            world,
            shot_format.height,
            shot_format.width,
            stories,
            split=split,
        )

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """pixels [p, y, x, 3] uint8, and the answers of shot_truth."""
        # The story's number says which of its shots it gives.
        story = self.source.story(index)
        choices = list(range(len(story.shots)))
        if self.more_pairs and index % 2:
            pairs = [number for number in choices if len(story.shots[number].roles) > 1]
            if pairs:
                choices = pairs
        number = choices[index % len(choices)]
        height = self.shot_format.height
        width = self.shot_format.width
        pixels, boxes = render_shot(story, number, height, width)
        truth = shot_truth(self.labels, story, number, boxes, height, width)
        return {"pixels": pixels} | truth


def fit_probe(
    shot_format: ShotFormat,
    steps: int,
    batch_size: int,
    learning_rate: float,
) -> Params:
    """Trains a probe with AdamW and a cosine schedule. Returns its parameters in float32."""
    probe = Probe(Labels(shot_format.subset))
    shots = LabelledShots(shot_format, SPLITS[0], STORIES, more_pairs=True)
    batches = Batches(
        range(STORIES),
        shots.__getitem__,
        size=batch_size,
        rows=slice(0, batch_size),
        seed=0,
        workers=WORKERS,
    )

    # What is trained: parameters and the optimizer's state, from fixed streams.
    optimizer = make_optimizer(_optimizer_config(steps, learning_rate), steps)
    key = jax.random.key(0)
    example = from_uint8(jnp.asarray(batches.at(0)["pixels"]))
    params = jax.jit(probe.init)(rng.stream(key, "init"), example)["params"]
    state = optimizer.init(params)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(
        params: Params,
        state: optax.OptState,
        batch: dict[str, Array],
        number: Array,
    ) -> tuple[Params, optax.OptState, dict[str, Array]]:
        """One step: the new parameters and state, and the parts of the loss."""
        # The stream's name is part of a training's result.
        # Another augmentation in each step, also of the same batch.
        step_key = rng.stream(key, "disturb", number)
        gradient, parts = _loss_gradient(probe, params, batch, step_key)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, parts

    for number in progress_bar(range(steps), unit="step"):
        batch = batches.at(number // STEPS_PER_BATCH)
        params, state, parts = step(params, state, batch, np.int32(number))
        if number % LOG_EVERY == LOG_EVERY - 1:
            losses = ", ".join(f"{name} {value:.3f}" for name, value in parts.items())
            logging.info("%d: %s", number + 1, losses)
    return params


def _optimizer_config(steps: int, learning_rate: float) -> OptimConfig:
    return OptimConfig(
        learning_rate,
        clip=1.0,
        weight_decay=1e-3,
        b1=0.9,
        b2=0.99,
        decay=True,
        warmup_steps=min(50, steps),
    )


def _loss_gradient(
    probe: Probe,
    params: Params,
    batch: dict[str, Array],
    key: PRNGKey,
) -> tuple[Params, dict[str, Array]]:
    """The gradient of the loss on the augmented batch, and the loss's parts."""
    # Boxes move with the pixels.
    pixels, box = augment(key, from_uint8(batch["pixels"]), batch["box"])

    def loss(params: Params) -> tuple[Array, dict[str, Array]]:
        """probe_loss on the augmented batch."""
        answers = probe_answers(probe, params, pixels)
        return probe_loss(answers, batch | {"box": box})

    gradient, parts = jax.grad(loss, has_aux=True)(params)
    return gradient, parts


@typechecked
def probe_loss(
    answers: dict[str, Array], truth: dict[str, Array]
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """The sum of the mean losses of all questions, and these as a dict.

    answers: of Probe. truth: of shot_truth, stacked.

    Cross-entropies; of the boxes the mean absolute error, of the attention −log of its share inside
    the true box, without which it takes long to find a character. Absent characters count in
    `present` only.
    """
    parts = _visibility_losses(answers, truth)
    # The characters' questions, where they are.
    present = truth["present"]  # [b, p, n]
    in_shot = present.any(axis=1)  # [b, n]
    for name in ("accent", "pattern", "action"):
        target = jnp.maximum(truth[name], 0)  # ABSENT is masked below
        mask = in_shot
        if name != "action":  # asked of each frame
            target = jnp.broadcast_to(target[:, None], present.shape)
            mask = present
        entropy = _cross_entropy(answers[name], target)
        parts[name] = (entropy * mask).sum() / jnp.maximum(mask.sum(), 1)
    parts |= _scene_losses(answers, truth)
    # All parts count alike.
    total = jnp.zeros(())
    for part in parts.values():
        total = total + part
    return total, parts


def _visibility_losses(answers: dict[str, Array], truth: dict[str, Array]) -> dict[str, Array]:
    """Whether characters are there, their boxes, and the attention to them."""
    present = truth["present"].astype(jnp.float32)  # [b, p, n]
    count = jnp.maximum(present.sum(), 1)
    entropy = optax.sigmoid_binary_cross_entropy(answers["present"], present)
    # Means over the frames that show a character.
    box_error = jnp.abs(answers["box"] - truth["box"]).mean(axis=-1)  # [b, p, n]
    inside = _attention_inside(answers["attention"], truth["box"])  # [b, p, n]
    mean_box_error = (box_error * present).sum() / count
    mean_log_inside = (jnp.log(inside) * present).sum() / count
    return {
        "present": entropy.mean(),
        "box": BOX_WEIGHT * mean_box_error,
        "attention": -mean_log_inside,
    }


def _attention_inside(attention: Array, box: Array) -> Array:
    """Share of the attention [b, p, n, rows, columns] on cells inside the boxes [b, p, n, 4]."""
    rows, columns = attention.shape[-2:]
    centres = cell_centres(rows, columns)[None, None, None]  # [1, 1, 1, rows, columns, 2]
    # The two corners of each box, [b, p, n, 1, 1, 2].
    corners = box[..., None, None, :]
    left_top, right_bottom = jnp.split(corners, 2, axis=-1)
    # A cell is inside where its centre is, in both directions.
    not_before = left_top <= centres
    not_after = centres < right_bottom
    inside = (not_before & not_after).all(axis=-1)  # [b, p, n, rows, columns]
    share = (attention * inside).sum(axis=(-2, -1))
    return _LEAST_ATTENTION + share


def _scene_losses(answers: dict[str, Array], truth: dict[str, Array]) -> dict[str, Array]:
    """The place's questions of each frame, and the camera's of the shot."""
    losses = {}
    # The place: the same truth for every frame.
    frames = truth["present"].shape[1]
    for name in ("place", "side", "variant", "items"):
        logits = answers[name]  # [b, p, choices]
        if name == "variant":  # [b, p, places, choices]: of the true place
            place = truth["place"][:, None, None, None]
            logits = jnp.take_along_axis(logits, place, axis=2)[:, :, 0]
        target = truth[name][:, None].repeat(frames, axis=1)
        losses[name] = _cross_entropy(logits, target).mean()
    # The camera.
    for name in ("distance", "move"):
        losses[name] = _cross_entropy(answers[name], truth[name]).mean()
    return losses


def held_out_scores(
    shot_format: ShotFormat,
    params: Params,
    count: int,
) -> dict[str, float]:
    """Share of right answers on `count` shots of the test split, without augmentation."""
    # The test split has other stories than the training.
    reader = Reader(Labels(shot_format.subset), params)
    shots = LabelledShots(shot_format, SPLITS[1], count)
    readings = []
    truths = []
    for first in progress_bar(range(0, count, BATCH_SIZE), unit="batch", desc="held out"):
        stop = min(first + BATCH_SIZE, count)
        rows = [shots[index] for index in range(first, stop)]
        pixels = np.stack([row.pop("pixels") for row in rows])
        readings += reader.read(pixels)
        truths += rows
    return oracle_scores(reader.labels, readings, truths)


if __name__ == "__main__":
    cli.run(main)
