"""Results of long measurements as JSON lines."""

import json
import sys

from shotstream_jax import cli


def print_json(**row: object) -> None:
    """Prints one line at once, also through a pipe."""
    cli.print_line(json.dumps(row))
    sys.stdout.flush()
