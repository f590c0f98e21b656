"""What a server refuses, as exceptions, and which of it is worth another try."""


class StoryboardError(Exception):
    """What a storyboard's server refuses, or why it cannot be asked.

    code: a word that programs can rely on (docs/serving.md lists them). message: what is wrong.
    remedy: what to do about it. status: of HTTP, None where there was no answer.
    retry_after: seconds after which the same may be granted, if the server says so.
    """

    def __init__(
        self,
        code: str,
        message: str,
        remedy: str,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{message}: {remedy} ({code})")
        self.code = code
        self.message = message
        self.remedy = remedy
        self.status = status
        self.retry_after = retry_after

    @property
    def is_passing(self) -> bool:
        """Whether the same may be granted a little later."""
        return self.retry_after is not None


class NotAllowedError(StoryboardError):
    """401, 403, 421: the token is missing, wrong or only shows; or the server has another name."""


class NotThereError(StoryboardError):
    """404: there is no such story, shot, chunk or picture."""


class ConflictError(StoryboardError):
    """409: the state of the story does not allow it."""


class WrongValueError(StoryboardError):
    """400, 413, 422: a value is wrong, or too large."""


class TooMuchError(StoryboardError):
    """429: the queue is full, or requests come too often."""


class UnavailableError(StoryboardError):
    """5xx: the server starts, stops, is full, or has a fault."""

    @property
    def is_passing(self) -> bool:
        """A proxy answers so, too, while its server is started again."""
        return self.retry_after is not None or self.status in (502, 503, 504)


class NoAnswerError(StoryboardError):
    """The server cannot be reached, or the line breaks again and again, or is too slow (408)."""

    @property
    def is_passing(self) -> bool:
        """Always: it may be started again, and lines are mended."""
        return True


class ShotEndedError(StoryboardError):
    """A shot whose chunks were waited for was `cancelled`, or has `failed`."""


_BY_STATUS: dict[int, type[StoryboardError]] = {
    400: WrongValueError,
    401: NotAllowedError,
    403: NotAllowedError,
    404: NotThereError,
    408: NoAnswerError,
    409: ConflictError,
    413: WrongValueError,
    421: NotAllowedError,
    422: WrongValueError,
    429: TooMuchError,
}


def error_of(
    status: int, code: str, message: str, remedy: str, retry_after: float | None = None
) -> StoryboardError:
    """The exception of an answer's status and words."""
    kind = UnavailableError if status >= 500 else _BY_STATUS.get(status, StoryboardError)
    return kind(code, message, remedy, status, retry_after)


def no_answer(url: str, reason: object) -> NoAnswerError:
    """The server's address, and why it does not answer."""
    return NoAnswerError(
        "no_answer", f"{url} does not answer ({reason})", "check the address, and that it runs"
    )


def unknown_shot(shot: str) -> NotThereError:
    """The story has no such shot."""
    return NotThereError(
        "no_shot", f"the story has no shot {shot:.40}", "read the story's shots", 404
    )
