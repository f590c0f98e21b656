"""What a run made and how fast, as JSON."""

import dataclasses
import pathlib
import statistics
from typing import Any

import jax

from shotstream_jax.core.devices import peak_rss_mb
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_json
from shotstream_jax.core.versions import installed_version
from shotstream_jax.generate.stream import Chunk

_PACKAGES = ("shotstream-jax", "jax", "jaxlib", "flax")


@dataclasses.dataclass
class Report:
    """Collects a run's chunks.

    film: what was written (media/video). Seconds are those of generation: waiting for a person to
    type does not count.
    """

    preset: str
    seed: int
    weights: str
    chunks: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    film: dict[str, Any] = dataclasses.field(default_factory=dict)

    def add(self, chunk: Chunk) -> None:
        """Keeps what a chunk took."""
        self.chunks.append(
            {
                "shot": chunk.shot,
                "chunk": chunk.chunk,
                "frames": len(chunk.frames),
                "seconds": chunk.seconds,
            }
        )

    def as_dict(self) -> dict[str, Any]:
        """The whole report.

        first_frames_s: from a shot's prompt to its first frames; cold is the first shot, whose
        programs are compiled or fetched, warm the median of later shots. fps_warm leaves the first
        shot out.
        """
        # A shot's first chunk tells how long a prompt waits for its first frames.
        first_chunks = [chunk["seconds"] for chunk in self.chunks if chunk["chunk"] == 0]
        first_shot = self.chunks[0]["shot"]
        later = [chunk for chunk in self.chunks if chunk["shot"] != first_shot]
        warm = statistics.median(first_chunks[1:]) if len(first_chunks) > 1 else None
        # Figures mean little without the device and the versions.
        device = jax.devices()[0]
        return {
            "film": self.film,
            "preset": self.preset,
            "weights": self.weights,
            "seed": self.seed,
            "shots": len(first_chunks),
            "frames": _frames(self.chunks),
            "fps": _frames_per_second(self.chunks),
            "fps_warm": _frames_per_second(later),
            "first_frames_s": {"cold": first_chunks[0], "warm": warm},
            "peak_rss_mb": peak_rss_mb(),
            "device": f"{device.platform}: {device.device_kind}",
            "versions": {name: installed_version(name) for name in _PACKAGES},
            "chunks": self.chunks,
        }

    def write(self, path: pathlib.Path) -> None:
        """Writes the report as JSON. Raises InputError if the disk refuses it."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, self.as_dict())
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from None


def _frames(chunks: list[dict[str, Any]]) -> int:
    return sum(chunk["frames"] for chunk in chunks)


def _frames_per_second(chunks: list[dict[str, Any]]) -> float | None:
    if not chunks:
        return None
    seconds = sum(chunk["seconds"] for chunk in chunks)
    return _frames(chunks) / seconds
