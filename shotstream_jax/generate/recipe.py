"""The fields of a streaming recipe (configs/tiny.py, configs/wan_1_3b.py), and what fits a GPU."""

import dataclasses
from collections.abc import Sequence

from absl import logging
from jax.sharding import Mesh

from shotstream_jax.checkpoint.checkpoint import Checkpoint
from shotstream_jax.checkpoint.load import dtype_name, load
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import MeshConfig
from shotstream_jax.dit.styles import Style
from shotstream_jax.fit.card import GIB, this_card
from shotstream_jax.fit.choose import cheapest_that_fits
from shotstream_jax.fit.options import StreamOptions, words
from shotstream_jax.fit.sizes import stream_need
from shotstream_jax.memory.choose import PAPER
from shotstream_jax.model import Model
from shotstream_jax.presets import OWN_DECODER, OWN_HISTORY, Preset, VideoFormat
from shotstream_jax.styles import with_styles

# auto: options that make a stream fit are chosen; full: it is tried as it was asked for.
MEMORY_CHOICES = ("auto", "full")


@dataclasses.dataclass(frozen=True)
class StreamRecipe:
    """What a stream is made with; the words are those of checkpoint/load.load.

    context_rule: the rule by which a new story remembers, of memory/choose.RULES.
    """

    checkpoint: str
    dtype: str
    quantize: str
    video: VideoFormat
    mesh: MeshConfig
    decoder: str = OWN_DECODER
    history: str = OWN_HISTORY
    cache_dtype: str = "same"
    decode_frames: int = 0
    text_memory: str = "device"
    text_dtype: str = "same"
    context_rule: str = PAPER

    def options(self) -> StreamOptions:
        """Those of the fields that `load` takes."""
        return StreamOptions(
            dtype=self.dtype,
            quantize=self.quantize,
            decoder=self.decoder,
            history=self.history,
            cache_dtype=self.cache_dtype,
            decode_frames=self.decode_frames,
            text_memory=self.text_memory,
            text_dtype=self.text_dtype,
        )


def load_styled(
    checkpoint: Checkpoint, mesh: Mesh | None, options: StreamOptions, styles: Sequence[Style]
) -> Model:
    """The model of a recipe, with adapters beside it if there are any."""
    model = load(checkpoint, mesh=mesh, **dataclasses.asdict(options))
    return with_styles(model, styles) if styles else model


def options_for_this_gpu(
    preset: Preset, video: VideoFormat, asked: StreamOptions, memory: str
) -> StreamOptions:
    """The options as they were asked for, or on a GPU that is too small the cheapest that fit.

    Says in a line what the stream will take. Without a GPU nothing is said or changed. memory: of
    MEMORY_CHOICES. Raises InputError if nothing fits.
    """
    # A processor, a TPU or a mesh is left alone.
    card = this_card()
    if card is None:
        return asked
    asked = dataclasses.replace(asked, dtype=dtype_name(asked.dtype, card.capability))
    options: StreamOptions | None = asked
    if memory == "auto":
        options = cheapest_that_fits(preset, video, asked, card.memory)
    if options is None:
        raise InputError(
            f"{video.height}×{video.width} does not fit {card.name} with any options: "
            "`shotstream plan --config …` has the largest picture that does; --memory full tries it"
        )
    # One line for people: the sum, and what was chosen for them.
    need = stream_need(preset, video, options)
    added = words(options, asked)
    logging.info(
        "memory: %.1f of %.1f GiB of %s by plan%s",
        need.total / GIB,
        card.memory / GIB,
        card.name,
        f", with {added}" if added else "",
    )
    return options
