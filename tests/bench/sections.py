"""Sections for tests of the driver; they run in processes of their own."""

import os
import time

from shotstream_jax.bench.survey.survey import Survey


def good(survey: Survey) -> None:
    survey.find("good", "one", ms=1 / 3)
    with survey.attempt("good", "two"):
        raise ModuleNotFoundError("No module named 'grain'", name="grain")


def raises(survey: Survey) -> None:
    survey.find("raises", "before", ms=1.0)
    raise MemoryError("out of memory")


def dies(survey: Survey) -> None:
    os._exit(7)


def hangs(survey: Survey) -> None:
    survey.find("hangs", "before", ms=1.0)
    time.sleep(600)
