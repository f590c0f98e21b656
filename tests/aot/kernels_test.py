"""Kernels read from a program's text: their bytes, FLOPs and kinds, and what they cost."""

import pytest

from shotstream_jax.aot.hlo import read_module
from shotstream_jax.aot.kernels import Kernel, read_kernels
from shotstream_jax.aot.prices import Rates, forecast

# A loop of 3 rounds: a layer's weights copied out of a stack, a matmul with them, a chunk written
# into a cache in place, a layer of the cache copied out for attention, attention to a prefix of it,
# and a convolution after the loop.
TEXT = """
%take (stack: bf16[3,8,16], i: s32[]) -> bf16[1,8,16] {
  %stack = bf16[3,8,16]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %slice.1 = bf16[1,8,16]{2,1,0} dynamic-slice(%stack, %i, %zero, %zero), \
dynamic_slice_sizes={1,8,16}
}

%multiply (x: bf16[4,8], w: bf16[8,16]) -> bf16[4,16] {
  %x = bf16[4,8]{1,0} parameter(0)
  %w = bf16[8,16]{1,0} parameter(1)
  ROOT %dot.1 = bf16[4,16]{1,0} dot(%x, %w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%put (cache: bf16[3,1,64,2,8], new: bf16[4,16], i: s32[]) -> bf16[3,1,64,2,8] {
  %cache = bf16[3,1,64,2,8]{4,3,2,1,0} parameter(0)
  %new = bf16[4,16]{1,0} parameter(1)
  %i = s32[] parameter(2)
  %zero = s32[] constant(0)
  %rows = bf16[1,1,4,2,8]{4,3,2,1,0} bitcast(%new)
  ROOT %update = bf16[3,1,64,2,8]{4,3,2,1,0} dynamic-update-slice(%cache, %rows, %i, %zero, %zero, \
/*index=5*/%zero, %zero)
}

%take_layer (cache: bf16[3,1,64,2,8], i: s32[]) -> bf16[1,1,64,2,8] {
  %cache = bf16[3,1,64,2,8]{4,3,2,1,0} parameter(0)
  %i = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %slice.2 = bf16[1,1,64,2,8]{4,3,2,1,0} dynamic-slice(%cache, %i, %zero, %zero, %zero, \
/*index=5*/%zero), dynamic_slice_sizes={1,1,64,2,8}
}

%body (carry: (s32[], bf16[3,1,64,2,8])) -> (s32[], bf16[3,1,64,2,8]) {
  %carry = (s32[], bf16[3,1,64,2,8]) parameter(0)
  %i = s32[] get-tuple-element(%carry), index=0
  %cache = bf16[3,1,64,2,8]{4,3,2,1,0} get-tuple-element(%carry), index=1
  %stack = bf16[3,8,16]{2,1,0} constant({...})
  %x = bf16[4,8]{1,0} constant({...})
  %length = s32[1]{0} constant({32})
  %weights = bf16[1,8,16]{2,1,0} fusion(%stack, %i), kind=kCustom, calls=%take, \
backend_config={"fusion_backend_config":{"custom_fusion_config":{"name":"dynamic_slice_fusion"}}}
  %w = bf16[8,16]{1,0} bitcast(%weights)
  %q = bf16[4,16]{1,0} fusion(%x, %w), kind=kCustom, calls=%multiply
  %written = bf16[3,1,64,2,8]{4,3,2,1,0} fusion(%cache, %q, %i), kind=kLoop, calls=%put
  %copied = bf16[1,1,64,2,8]{4,3,2,1,0} fusion(%written, %i), kind=kCustom, calls=%take_layer, \
backend_config={"fusion_backend_config":{"custom_fusion_config":{"name":"dynamic_slice_fusion"}}}
  %keys = bf16[1,64,2,8]{3,2,1,0} bitcast(%copied)
  %heads = bf16[1,4,2,8]{3,2,1,0} bitcast(%q)
  %attended = (bf16[1,2,4,8]{3,1,2,0}, u8[0]{0}) custom-call(%heads, %keys, %keys, %length, \
%length), custom_call_target="__cudnn$fmhaSoftmax"
  ROOT %next = (s32[], bf16[3,1,64,2,8]) tuple(%i, %written)
}

%condition (carry: (s32[], bf16[3,1,64,2,8])) -> pred[] {
  %carry = (s32[], bf16[3,1,64,2,8]) parameter(0)
  ROOT %less = pred[] constant(true)
}

ENTRY %main (start: (s32[], bf16[3,1,64,2,8]), picture: bf16[1,6,6,4]) -> bf16[1,6,6,8] {
  %start = (s32[], bf16[3,1,64,2,8]) parameter(0)
  %picture = bf16[1,6,6,4]{3,2,1,0} parameter(1)
  %kernel = bf16[8,3,3,4]{3,2,1,0} constant({...})
  %loop = (s32[], bf16[3,1,64,2,8]) while(%start), condition=%condition, body=%body, \
backend_config={"known_trip_count":{"n":"3"}}
  %convolved = (bf16[1,6,6,8]{3,2,1,0}, u8[100]{0}) custom-call(%picture, %kernel), \
window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convForward"
  ROOT %result = bf16[1,6,6,8]{3,2,1,0} get-tuple-element(%convolved), index=0
}
"""


def test_kernels_of_a_program():
    found = {kernel.name: kernel for kernel in read_kernels(read_module(TEXT))}
    layer = 64 * 2 * 8 * 2  # bytes of a layer's keys
    index = 4  # the loop's counter, int32
    assert found == {
        # Read and written: one layer of the stack.
        "weights": Kernel("weights", "slice", 3, 2 * 8 * 16 * 2 + index, 0),
        "q": Kernel("q", "matmul", 3, (4 * 8 + 8 * 16 + 4 * 16) * 2, 2 * 4 * 8 * 16),
        # In place: what is new is read and written, the rest of the cache is not touched.
        "written": Kernel("written", "copy", 3, 2 * 4 * 16 * 2 + index, 0),
        # Attention waits for this copy, so it is not one that runs beside.
        "copied": Kernel("copied", "copy", 3, 2 * layer + index, 0),
        # Queries and result, keys twice, two lengths; two matmuls.
        "attended": Kernel(
            "attended", "attention", 3, 2 * 4 * 16 * 2 + 2 * layer + 8, 4 * 4 * 16 * 64, True
        ),
        # Its working memory of 100 bytes does not count.
        "convolved": Kernel(
            "convolved",
            "convolution",
            1,
            (6 * 6 * 4 + 8 * 3 * 3 * 4 + 6 * 6 * 8) * 2,
            2 * 6 * 6 * 8 * 3 * 3 * 4,
        ),
    }


def test_a_kernel_takes_the_longest_of_its_terms():
    rates = Rates(10, 20, 10, 20, convolution=10, memory=100, launch=1.0)
    kernels = [
        Kernel("short", "other", 2, bytes=1, flops=0),
        Kernel("moves", "copy", 2, bytes=300, flops=0),
        Kernel("beside", "slice", 5, bytes=1000, flops=0),
        Kernel("computes", "matmul", 2, bytes=300, flops=40),
        Kernel("looks", "attention", 1, bytes=100, flops=80, has_length=True),
    ]
    found = forecast(kernels, rates, seen=0.5)
    assert found.seconds["other"] == 2 * 1.0
    assert found.seconds["copy"] == 2 * 3.0
    assert found.seconds["matmul"] == 2 * 4.0
    assert found.seconds["attention"] == pytest.approx(4.0)  # half of the keys
    # Counted, but in nobody's way.
    assert found.seconds["slice"] == 0 and found.bytes["slice"] == 5000
    assert found.total_seconds == 2 + 6 + 8 + 4 and found.total_launches == 12
