"""What the sections of a survey share: the model, the clock, and the way findings are written."""

import contextlib
import gzip
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from shotstream_jax.aot.compile import Program
from shotstream_jax.bench.measure import LEAST_CALLS, Timing, peak_device_memory, timed
from shotstream_jax.bench.models import random_model
from shotstream_jax.bench.subject import BenchPart, BenchSubject
from shotstream_jax.bench.survey.record import write_line
from shotstream_jax.bench.survey.settings import SurveySettings
from shotstream_jax.checkpoint.load import DTYPES
from shotstream_jax.core.devices import device_peak, peak_rss_mb
from shotstream_jax.core.versions import installed_version
from shotstream_jax.model import PARTS

LEAST_SECONDS = 2.0  # that must be left for another measurement


class Survey:
    """One section at work on the first device.

    Attributes:
        preset, video, dtype: what is measured.
        dtype_name: of `dtype`.
    """

    def __init__(self, settings: SurveySettings, section: str, seconds: float):
        """seconds: that the section may take."""
        self.settings = settings
        self.section = section
        self.preset = settings.chosen_preset()
        self.video = settings.video(self.preset)
        self.dtype_name = settings.chosen_dtype()
        self.dtype = DTYPES[self.dtype_name]
        # Everything is measured on the first device, until this time.
        self._stop = time.monotonic() + seconds
        self._device = jax.devices()[0]

    @property
    def left(self) -> float:
        """Seconds that are left for the section."""
        return self._stop - time.monotonic()

    def begin(self) -> None:
        """Writes the line that says what is measured, and on which device."""
        peak = device_peak(self._device)
        self._write(
            "start",
            device=self._device.device_kind,
            platform=self._device.platform,
            preset=self.preset.name,
            dtype=self.dtype_name,
            height=self.video.height,
            width=self.video.width,
            shot_frames=self.video.shot_frames,
            peak_tflops=peak.flops / 1e12 if peak else None,
            jax=installed_version("jax"),
        )

    def find(self, part: str, variant: str, **found: Any) -> None:
        """Writes a finding."""
        self._write("result", part=part, variant=variant, **found)

    def end(self) -> None:
        """Writes how much memory the section has needed."""
        # Processors have no such statistics.
        stats = self._device.memory_stats() or {}
        self.find(
            "memory",
            f"after {self.section}",
            peak_device_bytes=peak_device_memory(),
            peak_host_mb=peak_rss_mb(),
            memory_stats=stats,
        )

    def has_time(self, part: str, variant: str) -> bool:
        """Whether there is time for a measurement; if not, a line says so."""
        if self.left >= LEAST_SECONDS:
            return True
        self.find(part, variant, skipped=f"the section has {max(0, self.left):.0f} s left")
        return False

    @contextlib.contextmanager
    def attempt(self, part: str, variant: str) -> Iterator[None]:
        """A failure inside becomes a finding: what a machine cannot do is worth knowing too."""
        try:
            yield
        except Exception as error:
            self.find(part, variant, failed=_reason(error))

    def measure(
        self,
        part: str,
        variant: str,
        call: Callable[[], Any],
        *,
        flops: float = 0.0,
        moved: float = 0.0,
        frames: int = 0,
        share: float = 1.0,
        least: int = LEAST_CALLS,
        error: Callable[[], float] | None = None,
        **more: Any,
    ) -> Timing | None:
        """Times a call that can be repeated, and writes what was found; None if it failed.

        flops, moved (bytes), frames: of a call, 0 if it has none. share: of the time that a line
        has. least: calls after the first. error: computes the result's error.
        """
        if not self.has_time(part, variant):
            return None
        with self.attempt(part, variant):
            # No line takes more than a quarter of what is left, so that others come to their turn.
            seconds = min(share * self.settings.seconds, self.left / 4)
            timing = timed(call, seconds, least)
            found: dict[str, Any] = {
                "ms": 1e3 * timing.median,
                "calls": timing.calls,
                "first_s": timing.first,
            }
            # Rates, for calls that say what they do.
            if flops:
                found |= self._rates(flops, timing.median)
            if moved:
                found["gb_s"] = moved / timing.median / 1e9
            if frames:
                found["frames_per_s"] = frames / timing.median
            # An error that cannot be computed costs only itself.
            if error:
                with self.attempt(part, f"{variant}: error"):
                    found["error"] = error()
            self.find(part, variant, **found, **more, peak_device_bytes=peak_device_memory())
            return timing
        return None

    def measure_part(self, part: BenchPart, least: int = LEAST_CALLS, **more: Any) -> Timing | None:
        """Times a program of the stream or of training."""
        return self.measure(
            part.name,
            part.variant,
            part.call(),
            flops=part.program.flops,
            frames=part.frames,
            least=least,
            **more,
        )

    def subject(self, parts: Sequence[str] = PARTS, quantize: str = "none") -> BenchSubject:
        """One story on a model of which only these parts are made, with random weights.

        It has no mesh, like one that is loaded for one device: so the sections share programs.
        """
        model = random_model(self.preset, self.dtype, None, quantize, parts)
        jax.block_until_ready(model.params)
        return BenchSubject(model, self.video, batch=1)

    def keep_program(self, name: str, program: Program) -> None:
        """Writes what a program needs by its compiler, and its text to programs/NAME.hlo.gz."""
        variant = f"{name}, compiled"
        if not self.has_time("program", variant):
            return
        with self.attempt("program", variant):
            compiled = program.jitted.lower(*program.arguments).compile()
            memory = compiled.memory_analysis()
            self.find(
                "program",
                variant,
                argument_bytes=memory.argument_size_in_bytes,
                output_bytes=memory.output_size_in_bytes,
                aliased_bytes=memory.alias_size_in_bytes,
                temp_bytes=memory.temp_size_in_bytes,
                file=f"programs/{name}.hlo.gz",
            )
            folder = self.settings.folder / "programs"
            folder.mkdir(exist_ok=True)
            text = compiled.as_text()
            (folder / f"{name}.hlo.gz").write_bytes(gzip.compress(text.encode()))

    def _rates(self, flops: float, seconds: float) -> dict[str, Any]:
        """FLOPs by formula, FLOP/s, and their share of the data sheet's dense bfloat16 peak."""
        peak = device_peak(self._device)
        return {
            "gflop": flops / 1e9,
            "tflops": flops / seconds / 1e12,
            "mfu": flops / seconds / peak.flops if peak else None,
        }

    def _write(self, line: str, **fields: Any) -> None:
        since = time.time() - self.settings.began
        first = {"line": line, "at": since, "section": self.section}
        write_line(self.settings.folder, first | fields)


def _reason(error: Exception) -> str:
    """An error in a few words; of a package that is not there its name."""
    if isinstance(error, ModuleNotFoundError):
        return f"needs {error.name}"
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}"[:600]
