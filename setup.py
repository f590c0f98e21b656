"""ShotStream in JAX: multi-shot video, streamed shot by shot while the story is still being typed."""

from setuptools import find_packages, setup

EVAL = [
    "scenedetect-headless>=0.7",  # finds the cuts of a video; 60 MB, nearly all of it OpenCV
    "matplotlib>=3.9",  # charts of scores
]

setup(
    name="shotstream-jax",
    version="0.1.0",
    description="ShotStream in JAX: streaming multi-shot video generation on TPUs and GPUs",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["shotstream_jax", "shotstream_jax.*"]),
    package_data={"shotstream_jax": ["weights/**/*"]},
    install_requires=[
        "jax>=0.10",
        "flax>=0.12",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12",
        "grain>=0.2.18",
        "array_record>=0.8",
        "ml_collections>=1.1",
        "tensorstore>=0.1.80",
        "absl-py>=2.3",
        "jaxtyping>=0.3",  # shapes in signatures …
        "beartype>=0.22",  # … and the checker that enforces them
        "qwix>=0.1.8",  # 8-bit matmuls
        "numpy>=2.0",
        "safetensors>=0.6",
        "tokenizers>=0.22",  # the text encoder's own tokenizer.json
        "ftfy>=6.3",  # mojibake repair, part of the text encoder's definition
        "av>=14",  # H.264 and fragmented MP4
        "tqdm>=4.66",
        "tensorboardX>=2.6",  # writes TensorBoard's event files without TensorFlow
    ],
    extras_require={
        "dev": ["pytest>=8", "pytest-xdist>=3.6", "ruff>=0.14", *EVAL],
        "eval": EVAL,
        "convert": ["torch>=2.6"],
        "tpu": ["jax[tpu]>=0.10"],
        "aot": [
            "libtpu==0.0.42.1"
        ],  # TPU programs compiled without a TPU; the one that jax 0.10.2 pins
        "gpu": ["jax[cuda12]>=0.10"],
    },
)
