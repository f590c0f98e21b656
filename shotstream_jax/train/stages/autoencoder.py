"""The autoencoder's training as the loop runs it, on shots of the drawn world; the loss is in reconstruction."""

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.aot.compile import Program
from shotstream_jax.core import rng
from shotstream_jax.core.sharding import batch_sharding
from shotstream_jax.core.typing import Array, PRNGKey
from shotstream_jax.data.batches import Row
from shotstream_jax.model import Params
from shotstream_jax.presets import Preset
from shotstream_jax.train.losses.reconstruction import (
    divergence,
    pixel_weights,
    psnr,
    reconstruct,
    reconstruction_error,
)
from shotstream_jax.train.recipe import AutoencoderRecipe
from shotstream_jax.train.setup import Frozen, State
from shotstream_jax.train.stage import Source
from shotstream_jax.train.step import Metrics, normal_rows
from shotstream_jax.train.supervised import Supervised
from shotstream_jax.vae import codec
from shotstream_jax.vae.model import VAE
from shotstream_jax.world.render import MAX_ROLES
from shotstream_jax.world.shots import World

Clip = tuple[Array, Array]  # pixels [b, p, y, x, 3] in [−1, 1] and boxes [b, p, parts, 4]
_SHOWN = 6  # shots of a sample video


class AutoencoderStage(Supervised):
    result, part = "autoencoder", "vae"
    recipe: AutoencoderRecipe

    @functools.cached_property
    def vae(self) -> VAE:
        return VAE(self.setup.preset.vae.raw, self.setup.dtype)

    def source(self, dataset: World) -> Source:
        return Source(dataset.train, dataset.held_out, self.setup.preset.video.fps, {})

    def load(self, dataset: World, item: Row) -> Row:
        return item

    def needs(self) -> tuple[str, ...]:
        return ()

    def draw(self, key: PRNGKey, rows: dict[str, Array]) -> tuple[Clip, Array]:
        """A piece of every shot that begins anywhere, and the noise of its latents."""
        b, frames = rows["pixels"].shape[:2]
        length = self.setup.preset.vae.pixel_frames(self.recipe.clip)
        first = jax.random.randint(rng.stream(key, "first"), (b,), 0, frames - length + 1)
        cut = jax.vmap(lambda a, i: jax.lax.dynamic_slice_in_dim(a, i, length))
        clip = codec.from_uint8(cut(rows["pixels"], first)), cut(rows["boxes"], first)
        return clip, normal_rows(
            rng.stream(key, "noise"), (b, self.recipe.clip, *self.setup.latent)
        )

    def loss(self, params: Params, batch: Clip, draws: Array) -> Array:
        (pixels, boxes), cfg = batch, self.recipe.loss
        made, mean, log_variance = reconstruct(self.vae, params, pixels, draws)
        weights = self._weights(boxes, self.setup.preset.vae.time, cfg.characters)
        return reconstruction_error(made, pixels, weights, cfg.edges) + cfg.kl * divergence(
            mean, log_variance
        )

    @functools.cached_property
    def _loss(self) -> Any:
        """Of the training's kind; and how good whole shots come back, and frames by themselves, from their μ."""

        @jax.jit
        def measure(state: State, frozen: Frozen, rows: dict[str, Array], number: Array) -> Metrics:
            params = self.params(state, frozen)
            found = {
                "loss": self.loss(params, *self.draw(self.setup.key("held_out", number), rows))
            }
            pixels, boxes = codec.from_uint8(rows["pixels"]), rows["boxes"]
            alone = pixels[:, -1:]
            for name, video, box in (("psnr", pixels, boxes), ("psnr_alone", alone, boxes[:, -1:])):
                made, ones = self._round_trip(params, video), jnp.ones((*video.shape[:-1], 1))
                found |= {name: psnr(made, video, ones)}
                found |= {
                    f"{name}_characters": psnr(made, video, self._weights(box, 1, 1.0) - ones)
                }
            return found

        return measure

    def sample(self, state: State, frozen: Frozen, rows: dict[str, Array]) -> list[Array]:
        """The originals, and what comes back of them under each."""
        return [self._sample(state, frozen, rows["pixels"][:_SHOWN])]

    @functools.cached_property
    def _sample(self) -> Any:
        def make(state: State, frozen: Frozen, pixels: Array) -> Array:
            made = self._round_trip(self.params(state, frozen), codec.from_uint8(pixels))
            return jnp.concatenate([pixels, codec.to_uint8(made)], axis=2)

        return jax.jit(make, out_shardings=self.setup.whole)

    def sizes(self, trained: Params, batches: Iterator[dict[str, Array]]) -> Preset:
        """With the mean and standard deviation of the latents of shots and of frames alone, each half of the weight."""
        found = [
            jax.device_get(self._moments(trained["vae"], rows["pixels"]))
            for rows in itertools.islice(batches, self.recipe.measured)
        ]
        first, second = np.mean(np.asarray(found, np.float64), axis=0)
        mean, std = (tuple(np.round(a, 4).tolist()) for a in (first, np.sqrt(second - first**2)))
        preset = self.setup.preset
        return dataclasses.replace(preset, vae=dataclasses.replace(preset.vae, mean=mean, std=std))

    @functools.cached_property
    def _moments(self) -> Any:
        """Means of the latents and of their squares, over a batch."""

        def moments(params: Params, pixels: Array) -> tuple[Array, Array]:
            video = codec.from_uint8(pixels)
            one = lambda frame: codec.encode_frame(self.vae, params, frame)  # noqa: E731
            both = (
                codec.encode(self.vae, params, video),
                jax.lax.map(one, jnp.moveaxis(video, 1, 0)),
            )
            mean = lambda power: sum(jnp.mean(z**power, axis=(0, 1, 2, 3)) for z in both) / 2  # noqa: E731
            return mean(1), mean(2)

        return jax.jit(moments, out_shardings=self.setup.whole)

    def _round_trip(self, params: Params, video: Array) -> Array:
        return codec.decode(self.vae, params, codec.encode(self.vae, params, video))

    def _weights(self, boxes: Array, time: int, characters: float) -> Array:
        video = self.setup.preset.video
        return pixel_weights(boxes, video.height, video.width, time, characters)

    def flops(self, i: int) -> float:
        return 0.0  # no formula

    def programs(self, state: State, frozen: Frozen) -> Iterator[Program]:
        b, video = self.setup.run.batch, self.setup.preset.video
        frames = self.setup.preset.vae.pixel_frames(self.setup.frames)
        shapes = {
            "pixels": ((b, frames, video.height, video.width, 3), jnp.uint8),
            "boxes": ((b, frames, MAX_ROLES, 4), jnp.int32),
        }
        place = lambda shape: batch_sharding(self.setup.mesh, len(shape))  # noqa: E731
        rows = {
            name: jax.ShapeDtypeStruct(s, dtype, sharding=place(s))
            for name, (s, dtype) in shapes.items()
        }
        yield Program("step", self._train, (state, frozen, rows, np.int32(0)), self.flops(0))
