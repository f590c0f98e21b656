"""The film while it is streamed: chunks into its file, the report and the story's folder; a bar
for every shot; the frames of an interrupted run's film."""

import itertools
import pathlib
from collections.abc import Iterator

import numpy as np
from absl import logging

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.progress import progress_bar
from shotstream_jax.generate.outputs import OutputFiles, is_film_of, remember_film
from shotstream_jax.generate.report import Report
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.stream import Chunk
from shotstream_jax.media.folder import FolderWriter
from shotstream_jax.media.reader import read_frames
from shotstream_jax.media.video import VideoWriter

_FRAMES_AT_ONCE = 128  # of an earlier film, while they are copied


def write_chunks(
    writer: VideoWriter | FolderWriter,
    chunks: Iterator[Chunk],
    story: Story,
    files: OutputFiles,
    report: Report,
    way_on: str,
) -> None:
    """Streams the chunks into the film, the report and, after every shot, the story's folder.

    way_on: the options by which an interrupted run is gone on with, for people.
    """
    kept = story.next_shot
    try:
        # Each chunk is in the file before the next one is waited for.
        for chunk in chunks:
            writer.write(chunk.frames)
            report.add(chunk)
            if chunk.story and files.story:
                chunk.story.save(files.story)
                remember_film(files.story, files.video)
                kept = chunk.story.next_shot
    except (KeyboardInterrupt, InputError):
        if files.story and kept:
            logging.info(
                "the story's first %d shots are kept in %s: %s goes on from there",
                kept,
                files.story,
                way_on,
            )
        raise


def with_progress(
    chunks: Iterator[Chunk], chunks_per_shot: int, story: Story, count: int | None
) -> Iterator[Chunk]:
    """The chunks, with a bar for every shot: chunks, frames/s, time to the first frames."""
    last = f"/{story.next_shot + count}" if count else ""
    for first in chunks:
        # One round of this loop is a shot: `first` is its first chunk.
        title = f"shot {first.shot + 1}{last}"
        frames = 0
        seconds = 0.0
        with progress_bar(total=chunks_per_shot, unit="chunk", desc=title) as bar:
            for chunk in itertools.chain([first], chunks):
                frames += len(chunk.frames)
                seconds += chunk.seconds
                bar.set_postfix_str(
                    f"{frames / seconds:.1f} frames/s, first frames after {first.seconds:.2f} s",
                    refresh=False,
                )
                bar.update()
                yield chunk
                if chunk.story:
                    break


def write_earlier_shots(
    writer: VideoWriter | FolderWriter,
    unfinished: pathlib.Path | None,
    story: Story,
    files: OutputFiles,
) -> None:
    """Begins a film with the finished shots of an interrupted run's film, if that is there.

    unfinished: the film, where it has been put. story: as it was after those shots.
    """
    is_own = unfinished and files.story and is_film_of(files.story, unfinished)
    if not unfinished or not is_own:
        logging.warning("the film of the earlier shots is not there: this one begins after them")
        return
    size = (story.video.height, story.video.width)
    try:
        # The last frame first: all of them, or none.
        read_frames(unfinished, np.array([story.next_frame - 1]), *size)
        # Shots may have any length: some frames at a time, up to the last one.
        for first in range(0, story.next_frame, _FRAMES_AT_ONCE):
            stop = min(first + _FRAMES_AT_ONCE, story.next_frame)
            writer.write(read_frames(unfinished, np.arange(first, stop), *size))
    except InputError as error:
        logging.warning("this film begins after the earlier shots: %s", error)
        return
    if files.story:
        remember_film(files.story, files.video)
