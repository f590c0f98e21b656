"""What a request is refused with: a status, a code for programs, a message and a remedy."""

from absl import logging


class Refusal(Exception):
    """An answer of 4xx or 503.

    status: of HTTP. code: a word that programs can rely on. message: what is wrong. remedy: what to
    do about it. retry_after: seconds after which the same request may be granted.
    """

    def __init__(
        self, status: int, code: str, message: str, remedy: str, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.remedy = remedy
        self.retry_after = retry_after

    def content(self) -> dict[str, str]:
        """The answer's body."""
        return {"code": self.code, "message": self.message, "remedy": self.remedy}


def no_story() -> Refusal:
    """There is no such story."""
    return Refusal(404, "no_story", "there is no such story", "check the address, or make a story")


def no_shot(shot: str) -> Refusal:
    """The story has no such shot."""
    return Refusal(404, "no_shot", f"the story has no shot {shot:.40}", "read the story's shots")


def conflict(code: str, message: str, remedy: str) -> Refusal:
    """The state of things does not allow it."""
    return Refusal(409, code, message, remedy)


def invalid(message: str, remedy: str = "correct the value") -> Refusal:
    """A value is wrong."""
    return Refusal(422, "invalid", message, remedy)


def no_disk(story: str, error: OSError) -> Refusal:
    """The disk refuses a story, which is logged."""
    logging.error("story %s cannot be written: %s", story, error)
    return Refusal(503, "disk", "the story cannot be written", "try again later", 10)


def moved() -> Refusal:
    """Another server of the same folder has taken the story."""
    return Refusal(503, "moved", "the story has moved to another server", "try again", 1)
