"""The optional parts of the installation, as in pyproject.toml: what each is for and needs."""

import dataclasses

from shotstream_jax.core.versions import installed_version


@dataclasses.dataclass(frozen=True)
class Extra:
    """An optional part. modules: what it needs; install: the packages that bring them."""

    purpose: str
    modules: tuple[str, ...]
    install: str


EXTRAS = {
    "eval": Extra(
        "scores: cuts, charts",
        ("scenedetect", "matplotlib"),
        "scenedetect-headless matplotlib",
    ),
    "films": Extra("clips of films", ("cv2",), "opencv-python-headless"),
    "score": Extra(
        "scores of films by networks",
        ("cv2", "torch", "torchvision", "transformers"),
        "opencv-python-headless torch torchvision transformers",
    ),
    "gpu": Extra("NVIDIA GPUs, CUDA 13", ("jax_cuda13_plugin",), "jax[cuda13]"),
    "gpu-cuda12": Extra("NVIDIA GPUs, CUDA 12", ("jax_cuda12_plugin",), "jax[cuda12]"),
    "tpu": Extra("TPUs", ("libtpu",), "jax[tpu]"),
    "aot": Extra("compiling for TPUs that are not there", ("libtpu",), "jax[tpu]"),
    "aot-gpu": Extra(
        "compiling for NVIDIA GPUs that are not there",
        ("jax_cuda13_plugin",),
        "jax-cuda13-plugin nvidia-nvvm",
    ),
    "hub": Extra("weight files from the Hugging Face hub", ("huggingface_hub",), "huggingface_hub"),
    "gguf": Extra("quantised GGUF files", ("gguf",), "gguf"),
    "serve": Extra(
        "the storyboard in the browser",
        ("fastapi", "uvicorn", "websockets", "prometheus_client"),
        "fastapi uvicorn websockets prometheus-client",
    ),
    "client": Extra("the storyboard from programs", ("websockets",), "websockets"),
    "ray": Extra("several devices or machines", ("ray",), ""),
    "browser": Extra("the page's tests in browsers", ("playwright",), "playwright"),
    "terminal": Extra("frames in the terminal", ("textual_image",), "textual-image"),
    "convert": Extra("comparing weight files with PyTorch", ("torch",), "torch"),
    "dev": Extra("tests, linter, types", ("pytest", "xdist", "ruff", "mypy"), ""),
}


def install_command(extra: Extra) -> str:
    """A pip command that works wherever this package came from; jax keeps its version."""
    if not extra.install:
        return ""
    # jax's plug-ins must have the very version of jax.
    if extra.install.startswith("jax["):
        return f"pip install '{extra.install}=={installed_version('jax')}'"
    return f"pip install {extra.install}"
