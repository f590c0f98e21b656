"""A telling from its first line to its film: what `shotstream generate --prompts -` does."""

import contextlib
import dataclasses
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterator

import numpy as np
from absl import logging

from shotstream_jax.core.errors import InputError
from shotstream_jax.generate.asked import Picture
from shotstream_jax.generate.interrupt import Interrupts
from shotstream_jax.generate.outputs import OutputFiles, next_free
from shotstream_jax.generate.progress import prompt_notes
from shotstream_jax.generate.report import Report
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.storyteller.inbox import Inbox
from shotstream_jax.generate.storyteller.keeping import Keeper
from shotstream_jax.generate.storyteller.keyboard import edited_lines, read_piped, read_typed
from shotstream_jax.generate.storyteller.screen import Terminal, messages_on
from shotstream_jax.generate.storyteller.teller import Storyteller, words_text
from shotstream_jax.generate.storyteller.telling import Made, Telling, spans
from shotstream_jax.generate.stream import warm_up
from shotstream_jax.media.finish import finish_film
from shotstream_jax.media.in_terminal import ROWS, strip_codes
from shotstream_jax.media.rushes import FrameSpan, Rushes, cut_film
from shotstream_jax.media.video import partial_path
from shotstream_jax.model import Model
from shotstream_jax.text.encode import warn_of_notes

KIND = ".mp4"  # of films that can be told like this: one can go back in them


@dataclasses.dataclass(frozen=True)
class Request:
    """What a telling begins with.

    story: that is begun or continued. kept_in: its folder, if it is a kept one. picture: of the
    first shot. files: that are written. scale: the film's (media/formats.enlargement). is_typed:
    whether a person writes.
    """

    story: Story
    kept_in: pathlib.Path | None
    picture: Picture | None
    files: OutputFiles
    scale: int
    is_typed: bool


def tell_story(request: Request, load_model: Callable[[], Model], interrupts: Interrupts) -> Report:
    """Tells a story line by line, to a film and a report.

    Raises InputError for a script's mistake, or if the disk is full. What was made is kept.
    """
    inbox = Inbox()
    if not request.is_typed:
        read_piped(inbox)
        # Nothing is loaded for a pipe that stays empty.
        if not inbox.wait():
            raise InputError("no prompt came in: write one shot's caption a line")
        model = load_model()
        return _tell(request, model, inbox, _ignore)
    # Compiled while a person is still thinking of the first prompt.
    logging.info("loading and compiling, so that the first frames come at once …")
    model = load_model()
    warm_up(model, request.story.video)
    with _typed_lines(request, model, inbox, interrupts) as show:
        return _tell(request, model, inbox, show)


@contextlib.contextmanager
def _typed_lines(
    request: Request, model: Model, inbox: Inbox, interrupts: Interrupts
) -> Iterator[Callable[[np.ndarray], object]]:
    """Inside, a person's lines and Ctrl-C come in. Gives what shows the person frames."""
    screen = Terminal(sys.stderr)
    codes = strip_codes()

    def show(frames: np.ndarray) -> None:
        """Shows a person some of the frames, where the terminal can."""
        if codes is not None:
            screen.draw(codes(frames), ROWS)

    def note(caption: str) -> None:
        """Says what there is to say about a caption."""
        warn_of_notes(prompt_notes(model, request.story, caption), "this caption")

    with messages_on(screen), edited_lines(model.tokenizer.words()) as put_back:
        logging.info(
            "Write what the first shot shows; /help lists what else can be done. The film grows in "
            "%s",
            partial_path(request.files.video),
        )
        with interrupts.answered_by(inbox.interrupt, put_back, screen.say):
            read_typed(inbox, screen, lambda beginning: words_text(model, beginning), note)
            try:
                yield show
            finally:
                screen.leave_line()


def _tell(
    request: Request, model: Model, inbox: Inbox, show: Callable[[np.ndarray], object]
) -> Report:
    """Tells what comes into the inbox."""
    story = request.story
    report = Report(model.preset.name, story.seed, model.described)
    with contextlib.ExitStack() as open_things:
        folder = request.files.story
        if folder is None:
            # What is not asked to be kept is kept for going back.
            own = open_things.enter_context(tempfile.TemporaryDirectory(prefix="shotstream-"))
            folder = pathlib.Path(own) / "story"
        beginning = Made(story.next_shot, request.kept_in or folder)
        keeper = Keeper(beginning, story, folder, is_for_good=request.files.story is not None)
        rushes = Rushes(partial_path(request.files.video), story.video.fps, request.scale)
        open_things.callback(rushes.close)
        storyteller = Storyteller(
            model,
            story,
            Telling(beginning),
            keeper,
            rushes,
            report,
            request.picture,
            request.is_typed,
            show,
        )
        try:
            storyteller.tell(inbox)
        except (KeyboardInterrupt, InputError):
            _say_what_is_kept(rushes, storyteller, keeper)
            raise
        finally:
            rushes.close()
        shots = storyteller.telling.head.number
        film = _finish(rushes, spans(storyteller.telling.head), request.files.video)
        report.film = rushes.facts(request.files.video, film)
        if film:
            logging.info("%s has the story as it stands, %d frames", request.files.video, film)
        if keeper.is_for_good and shots:
            logging.info("the story is kept in %s", keeper.folder)
    return report


def _finish(rushes: Rushes, chosen: list[FrameSpan], path: pathlib.Path) -> int:
    """Makes the film of the rushes; returns how many frames it has."""
    if rushes.frames == 0:
        logging.info("no shot was made: there is no film")
        return 0
    frames = sum(span.stop - span.start for span in chosen)
    if frames == rushes.frames:
        finish_film(rushes.path, path, "mp4")
        return frames
    if chosen:
        cut_film(rushes.path, chosen, path)
    everything = next_free(path.with_name(f"{path.stem}.all{path.suffix}"))
    rushes.path.rename(everything)
    logging.info("all that was made, in its order, is in %s", everything)
    return frames


def _say_what_is_kept(rushes: Rushes, storyteller: Storyteller, keeper: Keeper) -> None:
    """Where things are after a telling that has not come to its end."""
    if rushes.frames:
        logging.info("what was made so far is in %s", rushes.path)
    shots = storyteller.telling.head.number
    if keeper.is_for_good and shots:
        logging.info(
            "the story's first %d shots are kept in %s: --continue-story %s --save-story %s goes "
            "on from there",
            shots,
            keeper.folder,
            keeper.folder,
            keeper.folder,
        )


def _ignore(frames: np.ndarray) -> None:
    """What is done with frames that nobody can be shown."""
