"""Versions of this package and of those it stands on, for reports."""

import importlib.metadata

import shotstream_jax

OWN = "shotstream-jax"


def installed_version(package: str) -> str:
    """The version of an installed package, "" if it is not installed.

    This package's own is that of its code, so that a clone on PYTHONPATH has one too.
    """
    if package == OWN:
        return shotstream_jax.__version__
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
