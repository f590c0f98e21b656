"""The parts of a server put together, without HTTP: stories, turns, the device and chunk files."""

from collections.abc import Callable

from shotstream_jax.model import Model
from shotstream_jax.presets import VideoFormat
from shotstream_jax.serve.broken_off import BrokenOff
from shotstream_jax.serve.device import Device
from shotstream_jax.serve.filming import Filming
from shotstream_jax.serve.metrics import ServiceMetrics
from shotstream_jax.serve.settings import ServeSettings
from shotstream_jax.serve.shot_commands import ShotCommands
from shotstream_jax.serve.studio import Studio
from shotstream_jax.serve.turns import Turns


class Service:
    """A server's parts.

    model, video: what all shots are made with. on_death: is called if one of its threads ends by an
    error; nothing would ever be made again.
    """

    def __init__(
        self,
        model: Model,
        video: VideoFormat,
        settings: ServeSettings,
        on_death: Callable[[BaseException], None],
    ) -> None:
        self.settings = settings
        self.metrics = ServiceMetrics()
        self.turns = Turns(settings.places, self._is_watched)
        self.studio = Studio(model, video, settings, self.turns)
        self.shots = ShotCommands(self.studio)
        self.broken_off = BrokenOff(self.studio)
        filming = Filming(self.metrics, self.broken_off.add)
        self._device = Device(
            model, video, self.turns, filming, self.studio.find, self.metrics, on_death
        )
        self._is_started = False

    def start(self) -> None:
        """Starts the device, and offers what was to be made when the server ended.

        Of a shared folder nothing: it may be in the making elsewhere (unfinished).
        """
        if not self._is_started:
            self._is_started = True
            if not self.settings.is_shared:
                self.studio.resume()
            self._device.start()

    def wait_until_warm(self) -> None:
        """Waits until the model's programs are compiled."""
        self._device.is_warm.wait()

    def stop(self) -> None:
        """Takes nothing new, finishes the chunk in hand, and ends all stories for their viewers."""
        self.studio.stop()
        if self._is_started:
            self._device.stop()
        self.studio.close()

    def _is_watched(self, story: str) -> bool:
        """Whether somebody watches a story."""
        desk = self.studio.find(story)
        return desk is not None and desk.viewers() > 0

    def is_live(self) -> bool:
        """Whether whatever makes pictures runs."""
        return self._device.is_alive()

    def is_ready(self) -> bool:
        """Whether a shot that is asked for now is made at once."""
        return self.is_live() and self._device.is_warm.is_set() and not self.studio.is_stopping

    def measure(self) -> None:
        """Brings those figures up to date that are states, not counts."""
        used, waiting = self.turns.counts()
        self.metrics.places_used.set(used)
        self.metrics.waiting.set(waiting)
        self.metrics.stories.set(self.studio.awake())
