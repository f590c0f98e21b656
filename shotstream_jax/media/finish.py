"""A film that has grown in fragments → an ordinary one: its index first, duration, frame count."""

import os
import pathlib

from absl import logging

from shotstream_jax.core.files import whole


def finish_film(grown: pathlib.Path, path: pathlib.Path, container: str) -> None:
    """Copies the encoded frames of `grown` into an ordinary film at `path` and removes `grown`.

    At every moment one of the two is whole. If there is no room for a second one, the film keeps
    its fragments, which are played all the same, and a line says so. Raises OSError if even its
    name cannot be changed.
    """
    try:
        with whole(path) as copy:
            _copy_frames(grown, copy, container)
    except OSError as error:
        os.replace(grown, path)
        logging.warning(
            "%s stays in fragments, without an index at its front: %s", path, error.strerror
        )
        return
    grown.unlink()


def _copy_frames(source: pathlib.Path, copy: pathlib.Path, container: str) -> None:
    """Writes the frames of a film anew, as they are, the index at the front."""
    import av

    # As files, whatever their names look like.
    read_from = f"file:{source.absolute()}"
    write_to = f"file:{copy.absolute()}"
    options = {"movflags": "+faststart"}
    with (
        av.open(read_from, "r", format=container) as old,
        av.open(write_to, "w", format=container, options=options) as new,
    ):
        film = old.streams.video[0]
        stream = new.add_stream_from_template(film)
        for packet in old.demux(film):
            # The last one only marks the end.
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
