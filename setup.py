"""Which folders are which packages; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    # The recipes lie at the top of the repository and are installed inside the package.
    packages=[
        *find_packages(include=["shotstream_jax", "shotstream_jax.*"]),
        "shotstream_jax.configs",
    ],
    package_dir={"shotstream_jax.configs": "configs"},
    package_data={"shotstream_jax": ["py.typed", "weights/**/*", "serve/static/**/*"]},
    include_package_data=False,  # these files and no others
)
