"""A story at a server: what can be done with it, and its chunks as they are made."""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from shotstream_jax.client.chunks import ChunkReader, ShotEnds
from shotstream_jax.client.errors import unknown_shot
from shotstream_jax.client.live import Cursor, followed
from shotstream_jax.client.values import (
    PinnedFrame,
    PinnedPicture,
    RemoteChunk,
    RemoteShot,
    RemoteState,
    StoryEvent,
    shot_of,
    state_of,
)
from shotstream_jax.client.wire import Wire, read_input
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.values import as_path, whole_number

HEAD: Any = object()  # the parent that is not named: the shot that the story has come to
NO_STYLES: Mapping[str, float] = {}
_KINDS = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


class RemoteStory:
    """A story at a server. Every method that asks the server raises StoryboardError.

    id, token: its name, and its owner's token or the one that only shows it. Where a shot is
    wanted, its name does too.
    """

    def __init__(self, wire: Wire, story: str, token: str) -> None:
        self.id = story
        self.token = token
        self._wire = wire
        self._path = f"/api/stories/{story}"

    def read(self) -> RemoteState:
        """All of it as it is now."""
        return state_of(self._call("GET"))

    # Telling it.

    def ask(
        self,
        caption: str,
        *,
        parent: RemoteShot | str | None = HEAD,
        take: int | None = None,
        frames: int | None = None,
        pins: Sequence[PinnedFrame | PinnedPicture] = (),
        styles: Mapping[str, float] = NO_STYLES,
        key: str | None = None,
    ) -> RemoteShot:
        """Asks for a shot, which then is the head; it is queued, and made in its turn.

        parent: the shot that it follows, by default the head; another one makes a branch, None a
        first shot. take: another number makes another shot of the same words, by default the first
        that is not there. frames: latent frames, a multiple of the model's chunk. pins: what it
        sees besides. styles: strengths of the server's styles by their names; the others have
        their own. key: 16 to 64 random letters, digits, `-` and `_`; the same request with it
        makes no second shot, also from another process.
        """
        body: dict[str, Any] = {"caption": caption}
        if parent is not HEAD:
            body["parent"] = None if parent is None else _name(parent)
        if take is not None:
            body["take"] = whole_number(take, "take")
        if frames is not None:
            body["frames"] = whole_number(frames, "frames")
        if pins:
            body["pins"] = [vars(pin) for pin in pins]
        if styles:
            body["styles"] = {name: float(strength) for name, strength in styles.items()}
        return shot_of(self._call("POST", "/shots", body, key))

    def another_take(self, shot: RemoteShot | str, key: str | None = None) -> RemoteShot:
        """Asks for a shot of the same words, length, pins and styles in the same place."""
        like = self._shot(shot)
        return self.ask(
            like.caption,
            parent=like.parent,
            frames=like.frames,
            pins=like.pins,
            styles=like.styles,
            key=key,
        )

    def retell(self, shot: RemoteShot | str, caption: str, again: bool = False) -> RemoteShot:
        """Gives a queued shot another caption; one in the making from its next chunk on.

        again: of one in the making, its chunks pass again under the new caption
        (docs/stories.md).
        """
        body = {"caption": caption, "again": again}
        return shot_of(self._call("PATCH", f"/shots/{_name(shot)}", body))

    def cut(self, shot: RemoteShot | str) -> RemoteShot:
        """Ends a shot after the chunk that is being made; what there is of it stays."""
        return shot_of(self._call("POST", f"/shots/{_name(shot)}/cut"))

    def take_away(self, shot: RemoteShot | str) -> None:
        """Cancels a shot that is not done; puts one that is done out of sight."""
        self._call("DELETE", f"/shots/{_name(shot)}")

    def restore(self, shot: RemoteShot | str) -> RemoteShot:
        """Brings a shot back that was put out of sight."""
        return shot_of(self._call("POST", f"/shots/{_name(shot)}/restore"))

    def go_to(self, shot: RemoteShot | str | None) -> RemoteState:
        """The next shot follows this one; None: the beginning. Nothing is lost."""
        return state_of(self._call("PATCH", body={"head": None if shot is None else _name(shot)}))

    def name(self, title: str) -> RemoteState:
        """Gives the story a title."""
        return state_of(self._call("PATCH", body={"title": title}))

    def remove(self) -> None:
        """Removes the story with all of its files, and cancels what is in the making."""
        self._call("DELETE")

    def keep_picture(
        self, picture: str | pathlib.Path, fit: Literal["crop", "pad"] = "crop"
    ) -> PinnedPicture:
        """Sends a PNG, JPEG or WebP; what `ask` takes as a pin. Raises InputError, too.

        fit: how it is brought to the story's size.
        """
        path = as_path(picture, "the picture")
        kind = _KINDS.get(path.suffix.lower())
        if kind is None:
            raise InputError(f"picture {path} must be one of {', '.join(_KINDS)}")
        data = read_input(path)
        answer = self._wire.send(f"{self._path}/pictures?fit={fit}", data, kind, self.token)
        return PinnedPicture(answer["picture"])

    # Watching it.

    def follow(
        self, have: int = 0, shot: RemoteShot | str | None = None, chunks: int = 0
    ) -> Iterator[StoryEvent | RemoteChunk]:
        """Every event after number `have`, and every chunk from now on, for ever.

        It begins with the events of the past and the chunks of the shot in the making; chunks: how
        many of these the caller has, of which shot. A broken line is opened again where it was;
        chunks of a shot that was done meanwhile are read by `chunks` or `read_chunk`.
        """
        cursor = Cursor(have, None if shot is None else _name(shot), chunks)
        url = self._wire.url + self._path
        yield from followed(url, self.token, cursor, self._wire.patience)

    def chunks(self, shots: Sequence[RemoteShot | str]) -> Iterator[RemoteChunk]:
        """All chunks of some shots, one shot after another, each as soon as it is made.

        Raises ShotEndedError for a shot that is cancelled or fails while it is waited for.
        """
        reader = self._reader()
        for shot in shots:
            yield from reader.read(_name(shot))

    def wait(self, shot: RemoteShot | str) -> RemoteShot:
        """The shot, once it is done. Raises ShotEndedError if it never will be."""
        self._reader().wait(_name(shot))
        return self._shot(shot)

    def read_chunk(self, shot: RemoteShot | str, number: int) -> bytes:
        """The film of one chunk: an mp4 of its own that never changes."""
        path = f"{self._path}/shots/{_name(shot)}/chunks/{number}"
        return self._wire.fetch(path, self.token)

    # As files.

    def save_film(
        self, path: str | pathlib.Path, last: RemoteShot | str | None = None
    ) -> pathlib.Path:
        """Saves an mp4 of the done shots up to `last`, by default the head. Raises InputError, too.

        Nothing is encoded again.
        """
        query = "" if last is None else f"?head={_name(last)}"
        return self._wire.save(f"{self._path}/video{query}", self.token, path)

    def save(self, path: str | pathlib.Path) -> pathlib.Path:
        """Saves the story's file, with all shots that are done. Raises InputError, too."""
        return self._wire.save(f"{self._path}/archive", self.token, path)

    # As addresses.

    def link(self) -> str:
        """The story in a browser. Whoever has this link can do with it what this token can."""
        return f"{self._wire.url}/#{self.id}.{self.token}"

    def share_link(self) -> str:
        """The story in a browser, to be watched only."""
        share = self.read().share or self.token
        return f"{self._wire.url}/#{self.id}.{share}"

    def _call(
        self,
        method: str,
        path: str = "",
        body: dict[str, Any] | None = None,
        key: str | None = None,
    ) -> Any:
        return self._wire.call(method, self._path + path, self.token, body, key)

    def _shot(self, shot: RemoteShot | str) -> RemoteShot:
        """A shot as it is now."""
        shots = self.read().shots
        if _name(shot) not in shots:
            raise unknown_shot(_name(shot))
        return shots[_name(shot)]

    def _reader(self) -> ChunkReader:
        """A reader of chunks, from the story as it is now."""
        state = self.read()
        return ChunkReader(ShotEnds(state), state.video, self.follow(state.seq), self.read_chunk)


def _name(shot: RemoteShot | str) -> str:
    """A shot's name. Raises InputError if it cannot be one, so that no address is made of it."""
    name = shot.id if isinstance(shot, RemoteShot) else shot
    if not isinstance(name, str) or not name.isalnum():
        raise InputError(f"{name!r:.40} is no shot's name: give a shot, or its id")
    return name
