"""Before all stages: the autoencoder, on shots of the drawn world.

The loss is in train/losses/reconstruction.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator

import flax
import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.aot.compile import Program
from shotstream_jax.checkpoint.checkpoint import Checkpoint
from shotstream_jax.core import rng
from shotstream_jax.core.typing import Array, Float, Int, Params, UInt8
from shotstream_jax.presets import Preset
from shotstream_jax.train.losses.reconstruction import (
    divergence,
    pixel_weights,
    psnr,
    reconstruct,
    reconstruction_error,
)
from shotstream_jax.train.network import Network, Origin, Weights
from shotstream_jax.train.recipe import AutoencoderRecipe
from shotstream_jax.train.setup import Setup, abstract_batch
from shotstream_jax.train.stages.stage import Pictures, Source, compiled, compiled_step
from shotstream_jax.train.state import TrainState
from shotstream_jax.train.step import Metrics, normal_rows
from shotstream_jax.vae import codec
from shotstream_jax.vae.model import VAE
from shotstream_jax.world.render import MAX_ROLES
from shotstream_jax.world.shots import DrawnShot, World

VAE_PART = Origin("start", "vae")
_SHOWN = 6  # shots of a sample video


@flax.struct.dataclass
class AutoencoderState:
    """What changes."""

    autoencoder: TrainState


@flax.struct.dataclass
class AutoencoderFixed:
    """What the steps only read: nothing, as all parameters move."""

    autoencoder: Params


@flax.struct.dataclass
class ShotPiece:
    """Pieces of shots that begin anywhere, in [−1, 1], and the boxes of what is in them."""

    pixels: Float[Array, "b p y x 3"]
    boxes: Int[Array, "b p parts 4"]


@dataclasses.dataclass(frozen=True)
class AutoencoderStage:
    """The autoencoder's training. Batches are DrawnShot of whole shots."""

    recipe: AutoencoderRecipe
    setup: Setup

    @property
    def autoencoder(self) -> Network:
        """The encoder and the decoder."""
        return self.setup.network(VAE_PART, self.recipe.trained, self.recipe.optim)

    @functools.cached_property
    def vae(self) -> VAE:
        """The module, with latents that are not normalised."""
        return VAE(self.setup.preset.vae.raw, self.setup.dtype)

    @property
    def origins(self) -> tuple[Origin, ...]:
        """The weights that a new run begins with."""
        return (VAE_PART,)

    @property
    def fixed_origins(self) -> tuple[Origin, ...]:
        """The weights that `fixed` is made of: none."""
        return ()

    @property
    def negative(self) -> str:
        """There are no prompts."""
        return "none"

    def initial_state(self, weights: Weights) -> AutoencoderState:
        """The state before the first step."""
        key = self.setup.key("adapter", 0)
        return AutoencoderState(self.autoencoder.initial_state(weights, key))

    def fixed(self, weights: Weights, negative: Array | None) -> AutoencoderFixed:
        """What the steps only read."""
        return AutoencoderFixed(self.autoencoder.frozen(weights))

    def shardings(
        self, state: AutoencoderState, fixed: AutoencoderFixed
    ) -> tuple[AutoencoderState, AutoencoderFixed]:
        """Where all arrays lie."""
        mesh = self.setup.mesh
        moving = self.autoencoder.state_shardings(mesh, state.autoencoder)
        return AutoencoderState(moving), AutoencoderFixed({})

    def source(self, data: World, start: Checkpoint) -> Source:
        """Shots, drawn when they are asked for."""

        def load(shot: DrawnShot) -> DrawnShot:
            """A shot as it is."""
            return shot

        return Source(data.train, data.held_out, load, self.setup.preset.video.fps, {})

    def batch_index(self, step: int) -> int:
        """A batch a step."""
        return step

    def step(
        self, i: int, state: AutoencoderState, fixed: AutoencoderFixed, batch: DrawnShot
    ) -> tuple[AutoencoderState, Metrics]:
        """One optimiser step."""
        return compiled_step(autoencoder_step, self)(state, fixed, batch, np.int32(i))

    def held_out(
        self, state: AutoencoderState, fixed: AutoencoderFixed, batch: DrawnShot, number: int
    ) -> Metrics:
        """The loss, and how well whole shots and single frames come back."""
        return compiled(held_out_autoencoder, self)(state, fixed, batch, np.int32(number))

    def sample(
        self,
        state: AutoencoderState,
        fixed: AutoencoderFixed,
        batch: DrawnShot,
        decode: Callable[[Array], Pictures],
    ) -> list[Pictures]:
        """The originals, and under each what comes back of it."""
        first = jax.tree.map(lambda a: a[:_SHOWN], batch)
        return [compiled(originals_and_copies, self)(state, fixed, first)]

    def trained_parts(self, state: AutoencoderState, fixed: AutoencoderFixed) -> dict[str, Params]:
        """The autoencoder."""
        return {"vae": self.autoencoder.averaged_params(state.autoencoder, fixed.autoencoder)}

    def trained_preset(self, trained: dict[str, Params], batches: Iterator[DrawnShot]) -> Preset:
        """With the mean and standard deviation of the latents, by channel.

        Latents of shots and latents of single frames each count half.
        """
        # E[z] and E[z²] of each batch; their means give mean and variance.
        moments = []
        # The first batches of the shuffle are a random sample of what was trained on.
        for batch in itertools.islice(batches, self.recipe.measured):
            found = compiled(latent_moments, self)(trained["vae"], batch.pixels)
            moments.append(jax.device_get(found))
        first, second = np.mean(np.asarray(moments, np.float64), axis=0)
        mean = tuple(np.round(first, 4).tolist())
        std = tuple(np.round(np.sqrt(second - first**2), 4).tolist())
        preset = self.setup.preset
        return dataclasses.replace(preset, vae=dataclasses.replace(preset.vae, mean=mean, std=std))

    def flops(self, i: int) -> float:
        """There is no formula for the convolutions."""
        return 0.0

    def programs(self, state: AutoencoderState, fixed: AutoencoderFixed) -> Iterator[Program]:
        """The one step."""
        video = self.setup.preset.video
        frames = self.setup.preset.vae.pixel_frames(self.setup.frames)
        pixels = (frames, video.height, video.width, 3)
        boxes = (frames, MAX_ROLES, 4)
        batch = DrawnShot(
            pixels=abstract_batch(self.setup, pixels, jnp.uint8),
            boxes=abstract_batch(self.setup, boxes, jnp.int32),
        )
        arguments = (state, fixed, batch, np.int32(0))
        yield Program("step", compiled_step(autoencoder_step, self), arguments, self.flops(0))


def autoencoder_step(
    stage: AutoencoderStage,
    state: AutoencoderState,
    fixed: AutoencoderFixed,
    batch: DrawnShot,
    i: Array,
) -> tuple[AutoencoderState, Metrics]:
    """One optimiser step on the reconstruction of pieces of shots."""
    rows = draw_pieces(stage, batch, stage.setup.key("train", i))

    def loss(moves: Params, rows: tuple[ShotPiece, Array]) -> tuple[Array, tuple[Metrics, None]]:
        """Of micro-batch rows, as train/step wants it."""
        params = stage.autoencoder.params(moves, fixed.autoencoder)
        return autoencoder_loss(stage, params, *rows), ({}, None)

    pieces = stage.recipe.run.accumulate
    moving, metrics, _ = stage.autoencoder.step(state.autoencoder, rows, loss, pieces)
    return AutoencoderState(moving), metrics


def draw_pieces(
    stage: AutoencoderStage, batch: DrawnShot, key: Array
) -> tuple[ShotPiece, Float[Array, "b f h w c"]]:
    """A piece of every shot that begins anywhere, and the noise of its latents."""
    setup = stage.setup
    b, frames = batch.pixels.shape[:2]
    vae = setup.preset.vae
    # Where each piece begins: any frame may become the first one, which is encoded alone.
    length = vae.pixel_frames(stage.recipe.clip)
    first = jax.random.randint(rng.stream(key, "first"), (b,), 0, frames - length + 1, jnp.int32)

    def cut(row: Array, start: Array) -> Array:
        """One row from `start` on."""
        return jax.lax.dynamic_slice_in_dim(row, start, length)

    pixels = jax.vmap(cut)(batch.pixels, first)
    boxes = jax.vmap(cut)(batch.boxes, first)
    if any(stage.recipe.crop):
        pixels, boxes = crop_to_characters(pixels, boxes, stage.recipe.crop, key)
    grid = vae.grid(*pixels.shape[2:4])
    noise_shape = (b, stage.recipe.clip, *grid, vae.channels)
    noise = normal_rows(rng.stream(key, "noise"), noise_shape)
    return ShotPiece(codec.from_uint8(pixels), boxes), noise


def crop_to_characters(
    pixels: UInt8[Array, "b p y x 3"],
    boxes: Int[Array, "b p parts 4"],
    size: tuple[int, int],
    key: Array,
) -> tuple[UInt8[Array, "b p rows columns 3"], Int[Array, "b p parts 4"]]:
    """A window of this size in every piece, about one of its characters, and the boxes in it.

    Characters are the hardest to draw; anything of the picture is in some of the windows.
    """
    b, _, parts, _ = boxes.shape
    # The middle of a random box of the first frame; of one that is empty, a corner.
    part = jax.random.randint(rng.stream(key, "part"), (b,), 0, parts, jnp.int32)
    box = boxes[jnp.arange(b), 0, part]  # [b, 4]
    middle_x = (box[:, 0] + box[:, 2]) // 2
    middle_y = (box[:, 1] + box[:, 3]) // 2
    # The window's upper left corner: anywhere so that the middle is inside, and inside the picture.
    rows, columns = size
    inside = jax.random.uniform(rng.stream(key, "corner"), (b, 2), jnp.float32)
    top = middle_y - jnp.int32(inside[:, 0] * rows)
    left = middle_x - jnp.int32(inside[:, 1] * columns)
    top = jnp.clip(top, 0, pixels.shape[2] - rows)
    left = jnp.clip(left, 0, pixels.shape[3] - columns)

    def cut(row: Array, y: Array, x: Array) -> Array:
        """The window in one piece."""
        size = (row.shape[0], rows, columns, row.shape[3])
        return jax.lax.dynamic_slice(row, (0, y, x, 0), size)

    corner = jnp.stack([left, top, left, top], axis=-1)
    edges = jnp.array([columns, rows, columns, rows], jnp.int32).reshape(1, 1, 1, 4)
    moved = jnp.clip(boxes - corner[:, None, None], 0, edges)
    return jax.vmap(cut)(pixels, top, left), moved


def autoencoder_loss(
    stage: AutoencoderStage, params: Params, piece: ShotPiece, noise: Array
) -> Float[Array, ""]:
    """The reconstruction loss."""
    cfg = stage.recipe.loss
    # Through a sampled latent and back, and how far that is from the piece.
    made, mean, log_variance = reconstruct(stage.vae, params, piece.pixels, noise)
    time = stage.setup.preset.vae.time
    weights = _weights(piece, time, cfg.characters)
    error = reconstruction_error(made, piece.pixels, weights, cfg.edges)
    return error + cfg.kl * divergence(mean, log_variance)


def held_out_autoencoder(
    stage: AutoencoderStage,
    state: AutoencoderState,
    fixed: AutoencoderFixed,
    batch: DrawnShot,
    number: Array,
) -> Metrics:
    """The training loss; and in dB how well shots come back, and their last frames by themselves.

    …_characters counts the characters' boxes only. Latents are means here, no samples.
    """
    params = stage.autoencoder.params(state.autoencoder.moves, fixed.autoencoder)
    rows = draw_pieces(stage, batch, stage.setup.key("held_out", number))
    metrics = {"loss": autoencoder_loss(stage, params, *rows)}
    # Whole shots, and their last frames as videos of one frame, as context frames are encoded.
    pixels = codec.from_uint8(batch.pixels)
    whole = ShotPiece(pixels, batch.boxes)
    alone = ShotPiece(pixels[:, -1:], batch.boxes[:, -1:])
    for name, video in (("psnr", whole), ("psnr_alone", alone)):
        made = _round_trip(stage, params, video.pixels)
        everywhere = jnp.ones((*video.pixels.shape[:-1], 1))
        characters = _weights(video, 1, 1.0) - everywhere
        metrics[name] = psnr(made, video.pixels, everywhere)
        metrics[f"{name}_characters"] = psnr(made, video.pixels, characters)
    return metrics


def originals_and_copies(
    stage: AutoencoderStage,
    state: AutoencoderState,
    fixed: AutoencoderFixed,
    batch: DrawnShot,
) -> UInt8[Array, "b p y2 x 3"]:
    """Shots, and under each what comes back of it."""
    params = stage.autoencoder.params(state.autoencoder.moves, fixed.autoencoder)
    made = _round_trip(stage, params, codec.from_uint8(batch.pixels))
    both = jnp.concatenate([batch.pixels, codec.to_uint8(made)], axis=2)
    return jax.lax.with_sharding_constraint(both, stage.setup.whole)


def latent_moments(
    stage: AutoencoderStage, params: Params, pixels: UInt8[Array, "b p y x 3"]
) -> tuple[Float[Array, "c"], Float[Array, "c"]]:
    """The means of a batch's latents and of their squares, by channel."""
    video = codec.from_uint8(pixels)

    def encode_alone(frame: Array) -> Array:
        """Frames [b, y, x, 3], each as a video by itself."""
        return codec.encode_frame(stage.vae, params, frame)

    shots = codec.encode(stage.vae, params, video)  # [b, f, h, w, c]
    frames = jax.lax.map(encode_alone, jnp.moveaxis(video, 1, 0))  # [p, b, h, w, c]

    def mean_power(power: int) -> Array:
        """The mean of latents to this power, by channel; shots and frames count half each."""
        of_shots = jnp.mean(shots**power, axis=(0, 1, 2, 3))
        of_frames = jnp.mean(frames**power, axis=(0, 1, 2, 3))
        return jax.lax.with_sharding_constraint((of_shots + of_frames) / 2, stage.setup.whole)

    return mean_power(1), mean_power(2)


def _round_trip(stage: AutoencoderStage, params: Params, video: Array) -> Array:
    return codec.decode(stage.vae, params, codec.encode(stage.vae, params, video))


def _weights(piece: ShotPiece, time: int, characters: float) -> Array:
    """The weight of each pixel, [b, p, y, x, 1]."""
    height, width = piece.pixels.shape[2:4]
    return pixel_weights(piece.boxes, height, width, time, characters)
