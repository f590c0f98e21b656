"""Which options, or which picture, fit into a device's memory."""

import dataclasses

from shotstream_jax.fit.options import StreamOptions, savings
from shotstream_jax.fit.sizes import stream_need
from shotstream_jax.presets import Preset, VideoFormat


def cheapest_that_fits(
    preset: Preset, video: VideoFormat, asked: StreamOptions, memory: int
) -> StreamOptions | None:
    """The cheapest combination of savings that fits in so many bytes; None if none does."""
    for options in savings(asked):
        if stream_need(preset, video, options).total <= memory:
            return options
    return None


def largest_that_fits(
    preset: Preset, video: VideoFormat, asked: StreamOptions, memory: int
) -> tuple[VideoFormat, StreamOptions] | None:
    """The largest picture of about this shape that fits, and with what; None if none does."""
    # Heights from the one asked for down, widths as the shape has them.
    unit = preset.vae.space * preset.dit.patch  # pixels of a token's edge
    for height in range(video.height - video.height % unit, 0, -unit):
        width = max(unit, round(height * video.width / video.height / unit) * unit)
        picture = dataclasses.replace(video, height=height, width=width)
        options = cheapest_that_fits(preset, picture, asked, memory)
        if options is not None:
            return picture, options
    return None
