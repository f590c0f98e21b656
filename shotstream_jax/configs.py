"""The package of recipes in a clone: the folder configs/ at the top of the repository.

An installation has the folder itself here, as shotstream_jax/configs/, and Python then takes it
instead of this file. In a clone (an editable install, or the repository on PYTHONPATH) this module
is the package: with a __path__ a module can have submodules.
"""

import pathlib

_REPOSITORY = pathlib.Path(__file__).resolve().parents[1]

__path__ = [str(_REPOSITORY / "configs")]
