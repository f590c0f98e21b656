"""What goes in and out of stories as files: films, story files, pictures."""

import contextlib
import pathlib
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import overload

from shotstream_jax.core.errors import InputError
from shotstream_jax.generate.asked import Picture
from shotstream_jax.media.pictures import write_png
from shotstream_jax.media.pieces import join
from shotstream_jax.serve import ids
from shotstream_jax.serve.archive import board_of, check_unpacked, read_archive, write_archive
from shotstream_jax.serve.board import DONE
from shotstream_jax.serve.refusal import Refusal, conflict, invalid
from shotstream_jax.serve.store import StoryFolder
from shotstream_jax.serve.story_desk import StoryDesk
from shotstream_jax.serve.studio import Studio

_AT_ONCE = 2  # exports and imports


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
    """Exports and imports, of which some may run at once. Raises Refusal for what is wrong."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._free = threading.Semaphore(_AT_ONCE)
        self._one_picture = threading.Lock()

    def film(self, desk: StoryDesk, last: str | None) -> pathlib.Path:
        """An mp4 of the done shots up to `last`, in a folder of its own that is the caller's."""
        paths = []
        with desk.lock:
            for shot in desk.board.branch(last):
                if shot.state == DONE:
                    paths += [desk.folder.chunk(shot.id, n) for n in range(shot.chunks)]
        if not paths:
            raise conflict("empty", "nothing of this branch is done", "wait for its first shot")
        with self._turn():
            path = _own_folder() / "story.mp4"
            join(_Films(paths), path)
        return path

    def archive(self, desk: StoryDesk) -> pathlib.Path:
        """A story's file, in a folder of its own that is the caller's."""
        with self._turn():
            path = _own_folder() / "story.zip"
            write_archive(desk, path)
        return path

    def open_archive(self, path: pathlib.Path, key: str | None) -> StoryDesk:
        """Another story, with all that a story's file has."""
        studio = self._studio
        studio.check_open()
        secret = studio.secret
        story = ids.derived_id(secret, "import", key) if key else ids.new_id()
        with self._turn(), studio.store.new_folder() as folder:
            try:
                head, lines = read_archive(path, folder, studio.limits.archive)
                board, numbered = board_of(lines)
                unpacked = StoryFolder(folder, head)
                reason = studio.why_not(unpacked)
                if reason is not None:
                    raise conflict("other_model", reason, "open it where it was made")
                check_unpacked(unpacked, board)
            except InputError as error:
                # Where it was unpacked to is nobody's business.
                reason = str(error).replace(f"{folder}/", "")
                raise invalid(f"the story file cannot be opened: {reason}"[:300]) from None
            return studio.adopt(story, unpacked, numbered)

    def picture(self, desk: StoryDesk, path: pathlib.Path, fit: str) -> str:
        """Keeps a picture in the story's format; returns its name, which is that of its pixels."""
        # One at a time: a small file may have a hundred million pixels.
        with self._one_picture:
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

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One of those that may run at once."""
        if not self._free.acquire(timeout=5):
            raise Refusal(429, "busy", "other files are being made", "try again in a moment", 5)
        try:
            yield
        finally:
            self._free.release()


def _own_folder() -> pathlib.Path:
    return pathlib.Path(tempfile.mkdtemp(prefix="shotstream-"))


def remove_own_folder(path: pathlib.Path) -> None:
    """Removes what `film` and `archive` have made."""
    shutil.rmtree(path.parent, ignore_errors=True)
