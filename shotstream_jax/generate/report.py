"""What a run made and how fast, as JSON."""

import dataclasses
import importlib.metadata
import json
import pathlib
import statistics
from typing import Any

import jax

from shotstream_jax.core.devices import peak_rss_mb
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_whole
from shotstream_jax.generate.stream import Chunk


@dataclasses.dataclass
class Report:
    """Collects a run's chunks. Seconds are those of generation: waiting for a person to type does not count."""

    preset: str
    seed: int
    weights: str
    chunks: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def add(self, chunk: Chunk) -> None:
        self.chunks.append(
            {
                "shot": chunk.shot,
                "chunk": chunk.chunk,
                "frames": len(chunk.frames),
                "seconds": chunk.seconds,
            }
        )

    def as_dict(self) -> dict[str, Any]:
        """first_frames_s: from a shot's prompt to its first frames, on the first shot (cold: programs are compiled or
        fetched) and the median of later ones (warm). fps_warm leaves the first shot out."""
        first = [c["seconds"] for c in self.chunks if c["chunk"] == 0]
        later = [c for c in self.chunks if c["shot"] != self.chunks[0]["shot"]]
        return {
            "preset": self.preset,
            "weights": self.weights,
            "seed": self.seed,
            "shots": len(first),
            "frames": _frames(self.chunks),
            "fps": _rate(self.chunks),
            "fps_warm": _rate(later),
            "first_frames_s": {
                "cold": first[0],
                "warm": statistics.median(first[1:]) if first[1:] else None,
            },
            "peak_rss_mb": peak_rss_mb(),
            "device": f"{jax.devices()[0].platform}: {jax.devices()[0].device_kind}",
            "versions": {
                name: importlib.metadata.version(name)
                for name in ("shotstream-jax", "jax", "jaxlib", "flax")
            },
            "chunks": self.chunks,
        }

    def write(self, path: pathlib.Path) -> None:
        """Raises InputError if the disk refuses it."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, (json.dumps(self.as_dict(), indent=1) + "\n").encode())
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from None


def _frames(chunks: list[dict[str, Any]]) -> int:
    return sum(c["frames"] for c in chunks)


def _rate(chunks: list[dict[str, Any]]) -> float | None:
    return _frames(chunks) / sum(c["seconds"] for c in chunks) if chunks else None
