"""How often a training step's program attends, by what a layer keeps (dit/trunk.REMAT)."""

import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest

from shotstream_jax.aot.compile import aot_devices
from shotstream_jax.aot.gpu import traced_for
from shotstream_jax.core.sharding import make_mesh
from shotstream_jax.dit.config import DiTConfig
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.memory.cache import FrameIds

# Heads of 128, the width that TPUs have a kernel for; as many keys in neither attention, so that
# their kernels are not one function of the program.
CFG = DiTConfig(
    dim=256, ffn_dim=64, heads=2, layers=2, freq_dim=16, text_dim=20, text_len=200, channels=4
)
# Forward passes of a layer's two attentions in the gradient's program.
FORWARDS = {"none": 2, "full": 4, "attention": 2, "dots": 2}


def gradient(remat: str) -> tuple[Callable, tuple]:
    """The gradient of a teacher's loss, and abstract arguments for it."""
    teacher = Teacher(CFG, jnp.bfloat16, remat)
    frames = jnp.zeros((1, 3), jnp.int32)
    latents = jnp.zeros((1, 3, 8, 8, CFG.channels))
    text = jnp.zeros((1, 1, CFG.text_len, CFG.text_dim))
    others = (jnp.ones(1), FrameIds(frames, frames), text)
    params = jax.eval_shape(teacher.init, jax.random.key(0), latents, *others)

    def loss(params, latents):
        return jnp.sum(teacher.apply(params, latents, *others) ** 2)

    return jax.jit(jax.grad(loss)), (params, latents)


def program(remat: str, platform: str) -> str:
    """The program's text for a platform that need not be there."""
    jitted, arguments = gradient(remat)
    return jitted.trace(*arguments).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("remat", FORWARDS)
def test_attends_once_on_a_tpu(remat):
    text = program(remat, "tpu")
    assert len(re.findall('kernel_name = "splash_mha_fwd', text)) == FORWARDS[remat]
    assert len(re.findall('kernel_name = "splash_mha_dkv', text)) == 2


@pytest.mark.parametrize("remat", FORWARDS)
def test_attends_once_on_a_processor(remat):
    """Every pass has an exponential of its scores; one more is that of the times' sinusoid."""
    exponentials = program(remat, "cpu").count("stablehlo.exponential")
    assert exponentials - 1 == FORWARDS[remat] + 2


@pytest.mark.parametrize("remat", FORWARDS)
def test_attends_once_on_a_gpu(remat):
    pytest.importorskip("jax_cuda13_plugin", reason="pip install 'shotstream-jax[aot-gpu]'")
    devices = aot_devices("h100")
    jitted, arguments = gradient(remat)
    with jax.set_mesh(make_mesh({}, devices)), traced_for(devices[0]):
        text = jitted.trace(*arguments).lower().as_text()
    assert text.count("fmhaSoftmax(") == FORWARDS[remat]
    assert text.count("fmhaSoftmaxBackward(") == 2
