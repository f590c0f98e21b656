"""What /metrics tells: counts and times, with labels of which there are few, and no prompts."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class ServiceMetrics:
    """The service's own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.shots = Counter(
            "shotstream_shots", "shots by their end", ["end"], registry=self.registry
        )
        self.frames = Counter("shotstream_frames", "frames made", registry=self.registry)
        self.chunks = self._seconds("chunk", "of the device's thread for a chunk")
        self.first_frames = self._seconds("first_frames", "from the prompt to the first frames")
        self._first_frames_parts = Histogram(
            "shotstream_first_frames_part_seconds",
            "seconds of the first frames that went into a part",
            ["part"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.encoding = self._seconds("encoding", "of making a chunk's file")
        self.sent = Counter("shotstream_sent_bytes", "film sent to viewers", registry=self.registry)
        self.let_go = Counter(
            "shotstream_viewers_let_go", "viewers too slow to be kept", registry=self.registry
        )
        self.refused = Counter(
            "shotstream_refused", "requests refused", ["code"], registry=self.registry
        )
        self.places_used = self._gauge("places_used", "shots in the making")
        self.waiting = self._gauge("waiting", "stories that wait for a place")
        self.stories = self._gauge("stories_awake", "stories in memory")
        self.viewers = self._gauge("viewers", "sockets that watch")

    def observe_first_frames(self, waited: float, making: float, encoding: float) -> None:
        """Counts a shot's first frames.

        Seconds from the prompt to their file, and of them those that the device and the encoder
        took; the shot waited for the rest.
        """
        self.first_frames.observe(waited)
        parts = {"waiting": waited - making - encoding, "making": making, "encoding": encoding}
        for part, seconds in parts.items():
            self._first_frames_parts.labels(part).observe(seconds)

    def _seconds(self, name: str, about: str) -> Histogram:
        return Histogram(
            f"shotstream_{name}_seconds",
            f"seconds {about}",
            buckets=_SECONDS,
            registry=self.registry,
        )

    def _gauge(self, name: str, about: str) -> Gauge:
        return Gauge(f"shotstream_{name}", about, registry=self.registry)


def joined_figures(texts: Mapping[str, str]) -> str:
    """The figures of several processes as one text, each with its process's name as a label.

    texts: what generate_latest has given, by the process's name.
    """
    families: dict[str, Metric] = {}
    for name, text in texts.items():
        for family in text_string_to_metric_families(text):
            if family.name not in families:
                families[family.name] = Metric(family.name, family.documentation, family.type)
            for sample in family.samples:
                labels = {**sample.labels, "teller": name}
                families[family.name].add_sample(sample.name, labels, sample.value)
    registry = CollectorRegistry()
    registry.register(_Kept(list(families.values())))
    return generate_latest(registry).decode()


class _Kept(Collector):
    """Figures that are there already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        """All of them."""
        return self._families
