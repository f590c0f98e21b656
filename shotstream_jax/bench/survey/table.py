"""The sections of a survey, in the order of their value."""

from typing import NamedTuple

_HERE = "shotstream_jax.bench.survey"


class Section(NamedTuple):
    """A part of a survey, which runs in a process of its own.

    call: "module:function"; it is imported in that process and called with the Survey.
    needs: seconds that must be left for it to be begun. limit: seconds after which it is ended.
    """

    call: str
    needs: float
    limit: float
    about: str


# Times are for one large GPU whose programs have not been compiled before.
SECTIONS = {
    "device": Section(
        f"{_HERE}.device:device_section", 5, 75, "the device, its matmul and copy rates"
    ),
    "stream": Section(
        f"{_HERE}.streaming:stream_section", 30, 150, "prompts to frames: frames/s, first frames"
    ),
    "attention": Section(
        f"{_HERE}.attention:attention_section",
        15,
        100,
        "each form of attention: time, and difference from float32",
    ),
    "chunks": Section(
        f"{_HERE}.streaming:chunks_section", 25, 120, "denoising and commit of all chunks of a shot"
    ),
    "decode": Section(f"{_HERE}.streaming:decode_section", 25, 180, "the decoders, the encoder"),
    "kernels": Section(
        f"{_HERE}.streaming:kernels_section",
        20,
        90,
        "the profiler's kernels; the compiled programs",
    ),
    "teacher": Section(f"{_HERE}.training:teacher_section", 30, 150, "a teacher's step, MFU"),
    "generator": Section(
        f"{_HERE}.training:generator_section", 120, 240, "a DMD step of the student, MFU"
    ),
    "critic": Section(
        f"{_HERE}.training:critic_section", 100, 240, "a DMD step of the fake score, MFU"
    ),
    "stream-int8": Section(
        f"{_HERE}.streaming:int8_section", 30, 100, "the stream with int8 matmuls"
    ),
    "stream-fp8": Section(f"{_HERE}.streaming:fp8_section", 30, 100, "the stream with fp8 matmuls"),
    "convolution": Section(
        f"{_HERE}.convolution:convolution_section",
        15,
        75,
        "the decoder's convolutions: time, and difference from float32",
    ),
}
