"""How many shots may be in the making at once."""

from shotstream_jax.fit.card import Card
from shotstream_jax.fit.options import StreamOptions
from shotstream_jax.fit.sizes import stream_need
from shotstream_jax.generate.live import place_bytes
from shotstream_jax.model import Model
from shotstream_jax.presets import VideoFormat

MOST_PLACES = 4  # more would make each story slow, whatever the memory


def fitting_places(
    model: Model, video: VideoFormat, options: StreamOptions, card: Card | None
) -> int:
    """As many places as a GPU has memory for, at least one and at most MOST_PLACES.

    options: that the model was loaded with. card: None where memory is not known.
    """
    if card is None:
        return MOST_PLACES
    # What one story takes has a place in it already.
    need = stream_need(model.preset, video, options)
    left = max(0, card.memory - need.total)
    further = left // place_bytes(model, video)
    return min(MOST_PLACES, 1 + further)
