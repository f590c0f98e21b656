"""How long a client goes on trying, and how long it waits between two tries."""

import random
import time

from shotstream_jax.client.errors import StoryboardError

_SHORTEST = 0.25  # seconds between two tries at first; each time twice as long
_LONGEST = 8.0


class Patience:
    """Waits between tries, until a time has passed since the first of them.

    seconds: that time.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: float | None = None
        self._pause = _SHORTEST

    def wait(self, error: StoryboardError) -> None:
        """Waits before another try. Raises the error where that is no use, or not soon enough."""
        if not error.is_passing:
            raise error from None
        now = time.monotonic()
        if self._until is None:
            self._until = now + self._seconds
        # As the server says; else longer each time, and not all clients at the same moment.
        pause = error.retry_after
        if pause is None:
            pause = self._pause * random.uniform(0.75, 1.25)
            self._pause = min(2 * self._pause, _LONGEST)
        if now + pause > self._until:
            raise error from None
        time.sleep(pause)

    def renew(self) -> None:
        """It has worked: what fails from now on is another matter."""
        self._until = None
        self._pause = _SHORTEST
