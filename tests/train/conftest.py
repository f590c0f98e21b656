"""What tests of whole runs share: compiled programs that are kept, and runs that are stopped."""

import pathlib
from collections.abc import Callable, Iterator

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from shotstream_jax.core.sharding import make_mesh
from shotstream_jax.train import __main__ as train
from shotstream_jax.train import ode_pairs
from shotstream_jax.train.run import stopping
from tests.train.material import make_checkpoint, make_dataset


@pytest.fixture(scope="module")
def programs_are_kept(tmp_path_factory) -> Iterator[None]:
    """Several runs of a file compile the same programs: each is compiled once."""
    before = jax.config.jax_enable_compilation_cache, jax.config.jax_compilation_cache_dir
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("xla")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    compilation_cache.reset_cache()
    yield
    jax.config.update("jax_enable_compilation_cache", before[0])
    jax.config.update("jax_compilation_cache_dir", before[1])
    compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def stopped_after() -> Callable[..., None]:
    """stopped_after(steps, run, *arguments): the run stops after so many steps, as on a SIGTERM."""

    def call(steps: int, run: Callable[..., None], *arguments: object) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stopping, "must_stop", lambda signals, done: done == steps)
            run(*arguments)

    return call


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> pathlib.Path:
    """data/ and start/: what every run here begins with."""
    folder = tmp_path_factory.mktemp("material")
    make_dataset(folder / "data")
    make_checkpoint(folder / "start")
    make_checkpoint(folder / "teacher", seed=1)
    return folder


@pytest.fixture
def one_device(monkeypatch) -> None:
    """Eight are tested elsewhere (stages_test, processes_test); one compiles faster."""
    for module in (train, ode_pairs):
        monkeypatch.setattr(
            module, "make_mesh", lambda lengths: make_mesh(lengths, jax.devices()[:1])
        )
