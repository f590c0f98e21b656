"""Programs compiled for an H100 that is not there: what they copy, and how they convolve."""

import collections
import functools
import re

import jax
import jax.numpy as jnp
import pytest

from shotstream_jax.aot import gpu
from shotstream_jax.aot.compile import GIB, Compiled, aot_devices, compile_program
from shotstream_jax.bench import __main__ as bench
from shotstream_jax.bench.models import abstract_model
from shotstream_jax.bench.parts import PARTS
from shotstream_jax.bench.subject import BenchSubject
from shotstream_jax.core.devices import GPUS
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import part_mesh
from shotstream_jax.nn.attention import FORM_VARIABLE
from shotstream_jax.presets import find_preset


def test_without_the_compiler(monkeypatch):
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"h100 needs .* pip install 'shotstream-jax\[aot-gpu\]'"):
        aot_devices("h100")


@pytest.mark.parametrize("name", ["h100:none", "h100:0"])
def test_a_wrong_number_of_gpus(name):
    with pytest.raises(InputError, match=r"write the number of GPUs, like h100:4"):
        aot_devices(name)


def subject(quantize: str = "none") -> BenchSubject:
    """The paper's model and picture on an H100."""
    pytest.importorskip("jax_cuda13_plugin", reason="pip install 'shotstream-jax[aot-gpu]'")
    preset = find_preset("wan-1.3b")
    model = abstract_model(preset, jnp.bfloat16, part_mesh({}, aot_devices("h100")), quantize)
    return BenchSubject(model, preset.video, 1, abstract=True)


@functools.cache
def compiled(part: str, name: str) -> Compiled:
    """A part's program of this name."""
    return compile_part(subject(), part, name)


def compile_part(on: BenchSubject, part: str, name: str) -> Compiled:
    for found in PARTS[part](on):
        if found.program.name == name:
            with on.model.on_mesh():
                return compile_program(found.program, "")
    raise ValueError(name)


def cache_layer(on: BenchSubject) -> int:
    """Bytes of a layer's keys."""
    keys = on.caches(0).frames.keys
    return keys.size * keys.dtype.itemsize // keys.shape[0]


@pytest.mark.parametrize("name", ["chunk_step", "commit"])
def test_the_cache_is_never_laid_out_anew(name):
    """Nothing moves more of it than a layer's keys for cuDNN, which reads no part of a stack."""
    program = compiled("chunk", name)
    layer = cache_layer(subject())
    large = []
    for kernel in program.kernels:
        if kernel.kind in ("copy", "other", "slice") and kernel.bytes > 1.5 * layer:
            large.append((kernel.kind, round(kernel.bytes / layer)))
    # One for the keys, one for the values: read once and written once.
    assert large == [("copy", 2), ("copy", 2)]
    assert program.temp < 0.5 * GIB
    # The cache is given away and comes back in its place.
    assert program.aliased >= 2 * 30 * layer


def test_a_commit_does_not_wait_for_its_host():
    """A choice in a program is made on the host, which has to read what it depends on."""
    on = subject()
    commits = [part.program for part in PARTS["chunk"](on) if part.program.name == "commit"]
    device = on.mesh.devices.flat[0]
    with on.tracing():
        lowered = commits[0].jitted.lower(*commits[0].arguments)
        text = lowered.compile(gpu.compiler_options(device)).as_text()
    assert " while(" in text  # the layers: the text is such that a choice would be seen
    assert " conditional(" not in text


def test_mosaic_reads_a_layer_where_it_lies(monkeypatch):
    pytest.importorskip("tokamax", reason="pip install tokamax (Python 3.12)")
    monkeypatch.setenv(FORM_VARIABLE, "mosaic")
    on = subject()
    program = compile_part(on, "chunk", "chunk_step")
    layer = cache_layer(on)
    assert not [
        k
        for k in program.kernels
        if k.kind not in ("attention", "mosaic") and k.bytes > 1.5 * layer
    ]
    assert program.accessed < 200e9 and program.temp < 0.5 * GIB


def test_8_bits_move_less():
    """Activations are rounded where they are made, and no matmul leaves 32 bits."""
    rounded = compile_part(subject("fp8"), "chunk", "chunk_step")
    assert rounded.accessed < compiled("chunk", "chunk_step").accessed
    assert rounded.temp < 0.5 * GIB
    kinds = collections.Counter(kernel.kind for kernel in rounded.kernels if kernel.times >= 120)
    # A layer has 8: q, k, v and o of self-attention, q and o of cross-attention, two of the MLP.
    assert kinds["matmul8"] == 8 and kinds["matmul"] == 0


def test_the_decoder_convolves_with_channels_last():
    """One convolution a layer over all three frames of its kernel, and no picture is transposed."""
    on = subject()
    preset = find_preset("tiny")  # the same layers, less to compile
    model = abstract_model(preset, jnp.bfloat16, on.mesh, "none")
    program = compile_part(on._replace(model=model, video=preset.video), "vae", "decode_next")
    convolutions = [kernel for kernel in program.kernels if kernel.kind == "convolution"]
    kernels = jax.tree.leaves(model.params["vae"]["decoder"])
    layers = [kernel for kernel in kernels if kernel.ndim in (4, 5)]
    assert len(convolutions) == len(layers)
    # Weights are, once a call: each is read and written.
    transposed = [kernel.bytes for kernel in program.kernels if "transpose" in kernel.name]
    assert sorted(transposed) == sorted(4 * layer.size for layer in layers)


def test_the_table_and_the_forecast(capsys):
    pytest.importorskip("jax_cuda13_plugin", reason="pip install 'shotstream-jax[aot-gpu]'")
    bench.main(["--aot", "rtx4090", "--dtype", "bfloat16", "--parts", "chunk"])
    out = capsys.readouterr().out
    assert GPUS["rtx4090"].kind in out and "chunk_step" in out
    assert re.search(r"assumed: attention 85 \(Mosaic 95\), matmuls 103 \(8 bits 102\)", out)
