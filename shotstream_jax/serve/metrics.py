"""What /metrics tells: counts and times, with labels of which there are few, and no prompts."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

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

    def _seconds(self, name: str, about: str) -> Histogram:
        return Histogram(
            f"shotstream_{name}_seconds",
            f"seconds {about}",
            buckets=_SECONDS,
            registry=self.registry,
        )

    def _gauge(self, name: str, about: str) -> Gauge:
        return Gauge(f"shotstream_{name}", about, registry=self.registry)
