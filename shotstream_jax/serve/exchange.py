"""What goes in and out of stories as files: films, story files, pictures."""

import asyncio
import contextlib
import pathlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import overload

from shotstream_jax.core.errors import InputError
from shotstream_jax.generate.asked import Picture
from shotstream_jax.media.pictures import write_png
from shotstream_jax.media.pieces import join
from shotstream_jax.serve import ids
from shotstream_jax.serve.archive import board_of, check_unpacked, read_archive, write_archive
from shotstream_jax.serve.board import DONE
from shotstream_jax.serve.refusal import Refusal, conflict, invalid, no_story
from shotstream_jax.serve.store import StoryFolder
from shotstream_jax.serve.story_desk import StoryDesk
from shotstream_jax.serve.studio import Studio

_AT_ONCE = 2  # exports and imports
_SENT_AT_ONCE = 16  # files that are on their way to the server
_WAIT = 5  # seconds


class _Films(Sequence[bytes]):
    """The contents of files, each read when it is asked for."""

    def __init__(self, paths: Sequence[pathlib.Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(index, slice):
            return _Films(self._paths[index])
        return self._paths[index].read_bytes()


class Exchange:
    """Exports and imports, of which some may run at once. Raises Refusal for what is wrong.

    Whoever waits for a turn holds no thread: a server has few.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._files = asyncio.Semaphore(_AT_ONCE)
        # One at a time: a small file may have a hundred million pixels.
        self._pictures = asyncio.Semaphore(1)
        self._sent = asyncio.Semaphore(_SENT_AT_ONCE)

    def room(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Room on the disk for a file that is being sent here."""
        return _turn(self._sent)

    async def film(self, desk: StoryDesk, last: str | None) -> pathlib.Path:
        """An mp4 of the done shots up to `last`, in a folder of its own that is the caller's."""
        async with _turn(self._files):
            return await asyncio.to_thread(self._film, desk, last)

    async def archive(self, desk: StoryDesk) -> pathlib.Path:
        """A story's file, in a folder of its own that is the caller's."""
        async with _turn(self._files):
            return await asyncio.to_thread(self._archive, desk)

    async def open_archive(self, path: pathlib.Path, key: str | None) -> StoryDesk:
        """Another story, with all that a story's file has."""
        async with _turn(self._files):
            return await asyncio.to_thread(self._open_archive, path, key)

    async def picture(self, desk: StoryDesk, path: pathlib.Path, fit: str) -> str:
        """Keeps a picture in the story's format; returns its name, which is that of its pixels."""
        async with _turn(self._pictures):
            return await asyncio.to_thread(self._picture, desk, path, fit)

    def _film(self, desk: StoryDesk, last: str | None) -> pathlib.Path:
        paths = []
        with desk.lock:
            for shot in desk.board.branch(last):
                if shot.state == DONE:
                    paths += [desk.folder.chunk(shot.id, n) for n in range(shot.chunks)]
        if not paths:
            raise conflict("empty", "nothing of this branch is done", "wait for its first shot")
        with _own_file(desk, "story.mp4") as path:
            try:
                join(_Films(paths), path)
            except InputError:
                # A story file's chunks are not decoded when it is opened.
                raise conflict(
                    "damaged", "a chunk of this branch is damaged", "go back to a shot before it"
                ) from None
        return path

    def _archive(self, desk: StoryDesk) -> pathlib.Path:
        with _own_file(desk, "story.zip") as path:
            write_archive(desk, path)
        return path

    def _open_archive(self, path: pathlib.Path, key: str | None) -> StoryDesk:
        studio = self._studio
        studio.check_open()
        secret = studio.secret
        story = ids.derived_id(secret, "import", key) if key else ids.new_id()
        with studio.store.new_folder() as folder:
            try:
                head, lines = read_archive(path, folder, studio.limits.archive)
                if len(lines) > studio.limits.events:
                    raise InputError(f"it has {len(lines)} changes, more than a story")
                board, numbered = board_of(lines)
                unpacked = StoryFolder(folder, head)
                reason = studio.why_not(unpacked)
                if reason is not None:
                    raise conflict("other_model", reason, "open it where it was made")
                check_unpacked(unpacked, board, studio.check_story)
            except InputError as error:
                # Where it was unpacked to is nobody's business.
                reason = str(error).replace(f"{folder}/", "")
                raise invalid(f"the story file cannot be opened: {reason}"[:300]) from None
            return studio.adopt(story, unpacked, numbered)

    def _picture(self, desk: StoryDesk, path: pathlib.Path, fit: str) -> str:
        try:
            pixels = Picture(path, fit).pixels(desk.folder.head.video)
        except InputError as error:
            message = str(error).replace(str(path), "").replace("  ", " ")
            raise invalid(message[:300], "send a PNG, JPEG or WebP") from None
        picture = ids.derived_id(b"picture", pixels.tobytes().hex())
        kept = desk.folder.picture(picture)
        with desk.lock:
            if desk.is_closed:
                raise conflict("closed", "the story is closed", "open it again")
            if not kept.exists():
                if desk.folder.pictures() >= self._studio.limits.pictures:
                    raise conflict("story_full", "the story has too many pictures", "make another")
                write_png(kept, pixels)
        return picture


@contextlib.asynccontextmanager
async def _turn(free: asyncio.Semaphore) -> AsyncIterator[None]:
    """One of those that may run at once. Raises Refusal if none ends for a while."""
    try:
        async with asyncio.timeout(_WAIT):
            await free.acquire()
    except TimeoutError:
        raise Refusal(
            429, "busy", "other files are being made", "try again in a moment", 5
        ) from None
    try:
        yield
    finally:
        free.release()


@contextlib.contextmanager
def _own_file(desk: StoryDesk, name: str) -> Iterator[pathlib.Path]:
    """A file to be made in a folder of its own, which is removed if it is not made.

    Raises Refusal if the story was removed meanwhile.
    """
    path = pathlib.Path(tempfile.mkdtemp(prefix="shotstream-")) / name
    try:
        yield path
    except BaseException as error:
        remove_own_folder(path)
        if desk.is_closed and isinstance(error, OSError):
            raise no_story() from None
        raise


def remove_own_folder(path: pathlib.Path) -> None:
    """Removes what `film` and `archive` have made."""
    shutil.rmtree(path.parent, ignore_errors=True)
