"""The log: a line of JSON an event on standard error, never with a prompt or a token in it."""

import json
import logging
import sys
from typing import Any

_LOGGER = logging.getLogger("shotstream.serve")


class _JsonLines(logging.Formatter):
    """A record as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {"at": round(record.created, 3), "level": record.levelname.lower()}
        facts = vars(record).get("facts")
        if facts is not None:
            return json.dumps({**line, "event": record.getMessage(), **facts})
        return json.dumps({**line, "event": "message", "message": record.getMessage()})


def log_line(event: str, **facts: Any) -> None:
    """Writes a line."""
    _LOGGER.info(event, extra={"facts": facts})


def use_json_logs() -> None:
    """Everything that is logged is a line of JSON from now on.

    The library's remarks about prompts are left out: they quote them. Writers get them as values.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    _LOGGER.setLevel(logging.INFO)
    logging.getLogger("absl").setLevel(logging.ERROR)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True


def log_problem(event: str, error: BaseException) -> None:
    """Writes an error's kind and place, without its values, which may be a prompt's."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    kind = type(error).__name__
    _LOGGER.error(event, extra={"facts": {"error": kind, "place": place}})
