"""One section of a survey, in a process of its own: `bench --all` starts it, people need not.

python -m shotstream_jax.bench.survey SECTION module:function SECONDS SETTINGS
"""

import importlib
from collections.abc import Sequence

from shotstream_jax import cli
from shotstream_jax.bench.survey.settings import settings_from_json
from shotstream_jax.bench.survey.survey import Survey
from shotstream_jax.core.compilation import use_persistent_cache


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("shotstream_jax.bench.survey", __doc__)
    p.add_argument("section", help="its name in the results")
    p.add_argument("call", help="module:function")
    p.add_argument("seconds", type=float, help="that it may take")
    p.add_argument("settings", help="JSON")
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command with these options."""
    args = parser().parse_args(argv)
    use_persistent_cache()
    survey = Survey(settings_from_json(args.settings), args.section, args.seconds)
    survey.begin()
    # The section writes its findings itself.
    module, _, function = args.call.partition(":")
    getattr(importlib.import_module(module), function)(survey)
    survey.end()


if __name__ == "__main__":
    cli.run(main)
