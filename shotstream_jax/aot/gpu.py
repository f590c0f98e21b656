"""Compiling for an NVIDIA GPU that is not there.

The GPU's compiler is in jax's CUDA plugin (`pip install 'shotstream-jax[aot-gpu]'`), which needs
neither a driver nor NVIDIA's libraries for this; only NVIDIA's `libdevice`, the bodies of
mathematical functions. It learns of the GPU by a description of it (core/devices). What it cannot
do without the GPU is to measure: matmuls are taken as Triton kernels, where the GPU itself would
choose between those and cuBLAS.
"""

import contextlib
import dataclasses
import importlib.util
import os
import pathlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax

from shotstream_jax.core.devices import GPUS, Gpu, kind_peak
from shotstream_jax.core.errors import InputError

# The versions of NVIDIA's libraries that the programs are for: those that jax[cuda13] installs.
_CUDA = 13
_CUDNN = (9, 19, 0)
_CUDNN_NUMBER = 91900
_INSTALL = "pip install 'shotstream-jax[aot-gpu]'"


@dataclasses.dataclass(frozen=True)
class _Absent:
    """What kernels ask of the device for which they are traced."""

    device_kind: str
    compute_capability: str
    core_count: int
    platform: str = "gpu"


def gpu_devices(name: str, count: str = "1") -> list[Any]:
    """The devices for GPUs of one machine that need not be there.

    name: in core/devices.GPUS. Raises InputError if the compiler is missing, or for a wrong count.
    """
    # Whatever can be refused is refused before jax looks for devices.
    if not count.isdecimal() or int(count) < 1:
        raise InputError(f"--aot {name}:{count}: write the number of GPUs, like {name}:4")
    if importlib.util.find_spec("jax_cuda13_plugin") is None:
        raise InputError(f"--aot {name} needs the compiler for GPUs: {_INSTALL}")
    # A GPU that is there is not used.
    jax.config.update("jax_platforms", "cpu")
    from jax.experimental import topologies

    try:
        topology = topologies.get_topology_desc(
            platform="cuda",
            topology_name=name,
            target_config=_description(GPUS[name]),
            topology=f"1x1x{count}",
        )
    except (jax.errors.JaxRuntimeError, ValueError, NotImplementedError) as error:
        lines = str(error).splitlines()
        reason = lines[0] if lines else "?"
        # The plugin is not loaded where it is of another version than jax.
        version = f"pip install jax-cuda13-plugin=={jax.__version__}"
        raise InputError(
            f"--aot {name}: jax {jax.__version__} has no compiler for GPUs ({reason}); {version}"
        ) from None
    return list(topology.devices)


def compiler_options(device: jax.Device | None) -> dict[str, str | bool | int]:
    """XLA's options for a program for this device: none but for a GPU that is not there.

    Raises InputError if NVIDIA's libdevice is missing.
    """
    if device is None or _absent(device) is None:
        return {}
    folder = _cuda_folder()
    if folder is None:
        raise InputError(f"--aot needs NVIDIA's libdevice: {_INSTALL}")
    # There is nothing to measure on.
    return {"xla_gpu_autotune_level": 0, "xla_gpu_cuda_data_dir": str(folder)}


def _cuda_folder() -> pathlib.Path | None:
    """Where nvvm/libdevice is: in NVIDIA's package, or in an installed CUDA toolkit."""
    # NVIDIA's pip package goes before what is installed on the machine.
    candidates = []
    spec = importlib.util.find_spec("nvidia")
    for place in spec.submodule_search_locations or () if spec else ():
        candidates.append(pathlib.Path(place) / f"cu{_CUDA}")
    candidates.append(pathlib.Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")))
    candidates.extend(sorted(pathlib.Path("/usr/local").glob("cuda-*")))
    for folder in candidates:
        if (folder / "nvvm/libdevice/libdevice.10.bc").exists():
            return folder
    return None


def _description(gpu: Gpu) -> str:
    """The GPU as XLA's compiler wants it described, a text proto."""
    # The description's own words for what core/devices has.
    major, minor = gpu.capability
    cudnn_major, cudnn_minor, cudnn_patch = _CUDNN
    # A tensor core's programs for Hopper and data-centre Blackwell use what only these have.
    extension = "ACCELERATED_FEATURES" if major in (9, 10) else "NONE"
    peak = kind_peak(gpu.kind)
    assert peak, f"core/devices has no rates of {gpu.kind}"
    bandwidth = int(peak.memory)
    return f"""
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {gpu.shared_memory}
  shared_memory_per_block_optin: {gpu.shared_memory - 1024}
  threads_per_core_limit: {gpu.threads}
  core_count: {gpu.cores}
  fpus_per_core: {gpu.float_units}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth}
  l2_cache_size: {gpu.l2}
  clock_rate_ghz: {gpu.clock_ghz}
  device_memory_size: {gpu.memory}
  cuda_compute_capability {{ major: {major} minor: {minor} feature_extension: {extension} }}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  dnn_version: "{cudnn_major}.{cudnn_minor}.{cudnn_patch}"
  runtime_version: "{_CUDA}.0.0"
}}
platform_name: "CUDA"
dnn_version_info {{ major: {cudnn_major} minor: {cudnn_minor} patch: {cudnn_patch} }}
runtime_version {{ major: {_CUDA} }}
device_description_str: "{gpu.kind}"
"""


@contextlib.contextmanager
def traced_for(device: jax.Device | None) -> Iterator[None]:
    """While this holds, kernels that ask for the local GPU are told that it is this one.

    For a device that is not an absent GPU nothing changes.
    """
    gpu = _absent(device) if device else None
    if gpu is None:
        yield
        return
    # These functions ask the local GPU, and jax has no other way to be told.
    from jax._src.cudnn import fused_attention_stablehlo as cudnn
    from jax.extend import backend

    capability = float(gpu.compute_capability)

    def at_least(wanted: str) -> bool:
        """Whether the GPU has this compute capability or a later one."""
        return capability >= float(wanted)

    def exactly(wanted: str) -> bool:
        """Whether the GPU has this compute capability."""
        return capability == float(wanted)

    with (
        mock.patch.object(cudnn, "check_cudnn_version", lambda: _CUDNN_NUMBER),
        mock.patch.object(cudnn, "check_compute_capability", at_least),
        mock.patch.object(cudnn, "is_cuda_compute_capability_equal", exactly),
        mock.patch.object(backend, "get_default_device", lambda: gpu),
    ):
        yield


def _absent(device: jax.Device) -> _Absent | None:
    """A GPU that is not there, by its device; None for any other device."""
    if device.platform not in ("gpu", "cuda") or jax.default_backend() == "gpu":
        return None
    for gpu in GPUS.values():
        if gpu.kind == device.device_kind:
            return _Absent(gpu.kind, str(gpu.capability_number), gpu.cores)
    return None
