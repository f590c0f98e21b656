"""What a command may ask for. Each check raises a Refusal that says what is wrong."""

from collections.abc import Mapping, Sequence
from typing import Any

from shotstream_jax.core.errors import InputError
from shotstream_jax.generate.asked import Shot
from shotstream_jax.generate.story import Story
from shotstream_jax.model import Model
from shotstream_jax.presets import VideoFormat
from shotstream_jax.serve.board import DONE, QUEUED, BoardShot
from shotstream_jax.serve.refusal import Refusal, conflict, invalid, no_shot
from shotstream_jax.serve.settings import Limits
from shotstream_jax.serve.store import StoryFolder
from shotstream_jax.serve.story_desk import StoryDesk
from shotstream_jax.text.prompts import check_caption


class AskRules:
    """The checks, for a model, its format and the server's limits."""

    def __init__(self, model: Model, video: VideoFormat, limits: Limits) -> None:
        self._model = model
        self._video = video
        self._limits = limits

    def shot(self, desk: StoryDesk, shot: str) -> BoardShot:
        """A shot of the story."""
        if shot not in desk.board.shots:
            raise no_shot(shot)
        return desk.board.shots[shot]

    def why_not(self, folder: StoryFolder) -> str | None:
        """Why the model cannot go on with a story; None if it can."""
        try:
            self.check_story(folder.head)
        except InputError as error:
            return str(error)
        return None

    def check_story(self, story: Story) -> None:
        """Refuses a story that the model cannot go on with. Raises InputError."""
        if story.video != self._video:
            raise InputError("the story has another picture size, length of shots or rate")
        story.check(self._model.preset, self._model.fingerprint)

    def same(
        self,
        shot: BoardShot,
        caption: str,
        frames: int | None,
        pins: Sequence[Mapping[str, Any]],
    ) -> BoardShot:
        """The shot that a key has made, if it is asked for again as it was."""
        is_told = shot.caption == caption or any(cue.caption == caption for cue in shot.cues)
        if not is_told or shot.frames != frames or list(shot.pins) != list(pins):
            raise conflict("key_used", "this Idempotency-Key made another shot", "take a new key")
        return shot

    def queued(self, desk: StoryDesk, shot_id: str) -> BoardShot:
        """A shot that is to be made, or in the making."""
        shot = self.shot(desk, shot_id)
        if shot.state != QUEUED:
            raise conflict(
                "immutable",
                f"the shot is {shot.state}, and what is made does not change",
                "ask for another shot with the same parent",
            )
        return shot

    def check_parent(self, desk: StoryDesk, parent: str) -> None:
        """A shot that others may follow."""
        shot = self.shot(desk, parent)
        if not shot.is_there:
            raise conflict("not_there", f"shot {parent} is {shot.state}", "follow another shot")

    def check_queue(self, desk: StoryDesk) -> None:
        """Room for another shot."""
        there = [shot for shot in desk.board.shots.values() if shot.is_there]
        if len(there) >= self._limits.shots:
            raise conflict(
                "story_full", f"the story has {len(there)} shots", "go on in another story"
            )
        if len(desk.board.queue()) >= self._limits.queue:
            raise Refusal(
                429,
                "queue_full",
                f"{self._limits.queue} shots are to be made already",
                "wait for one, or cancel one",
                5,
            )

    def check_caption(self, caption: str) -> None:
        """A text that can be made into pictures."""
        try:
            check_caption(caption, "the caption")
        except InputError as error:
            raise invalid(str(error), "write what the shot shows") from None

    def check_shot(
        self,
        desk: StoryDesk,
        caption: str,
        take: int | None,
        frames: int | None,
        pins: Sequence[Mapping[str, Any]],
    ) -> None:
        """Refuses what the model could not make."""
        self.check_caption(caption)
        try:
            shot = Shot(caption, take or 0, frames)
            video = shot.video(self._model.preset, self._video)
        except InputError as error:
            raise invalid(str(error)) from None
        chunks = video.shot_frames // self._model.preset.memory.chunk
        if chunks > self._limits.shot_chunks:
            raise invalid(
                f"a shot of {chunks} chunks is too long",
                f"ask for {self._limits.shot_chunks} chunks at most, and go on in the next shot",
            )
        for pin in pins:
            if "picture" in pin:
                if not desk.folder.picture(pin["picture"]).exists():
                    raise Refusal(404, "no_picture", "the story has no such picture", "send it")
                continue
            source = self.shot(desk, pin["shot"])
            if source.state != DONE or source.length is None:
                raise conflict("not_done", "the shot of a pin is not done", "wait for it")
            if pin["frame"] >= source.length:
                raise invalid(f"the shot has no frame {pin['frame']}, it has {source.length}")
        if len(pins) > self._model.preset.memory.context:
            raise invalid(f"{len(pins)} pins are more frames than a shot sees")

    def strengths(self, styles: Mapping[str, float]) -> dict[str, float]:
        """Those of all adapters of the model in a shot that names some: the others' are their own.

        They are kept with the shot, so that it is the same one when the server has other ones.
        """
        slots = self._model.styles
        own = {style.name: style.strength for style in slots.styles} if slots else {}
        unknown = sorted(set(styles) - set(own))
        if unknown:
            known = ", ".join(own) or "none"
            raise invalid(
                f"the server has no style {unknown[0]!r:.40}", f"name one of those it has: {known}"
            )
        return {**own, **styles}
