"""Attack a storyboard of this machine with random requests: nothing of it may go wrong.

    python -m benchmarks.stress.bad_requests --requests 20000

A server with a model of random weights, at a free port of 127.0.0.1. Requests are made from its
OpenAPI by Schemathesis (examples, coverage, random and stateful ones, with all of its checks) until
a third is sent, and then random requests and frames at the socket by hypothesis. Two stories of
others have secrets in them. Prints a JSON line for each part, with the answers by status, and one
for every finding: a 5xx but the 503 that is declared, an answer that does not come in 20 seconds, a
secret, a path or a traceback in one, one that OpenAPI does not declare, a changed story of another.
Exit code 1 if there are any. Takes about 17 minutes; needs the extra `dev`.
"""

import logging
import pathlib
import sys
import tempfile
import time
from collections.abc import Sequence

from benchmarks.output import print_json
from shotstream_jax import cli
from shotstream_jax.serve import patience
from tests.serve.attacker import LIMITS, Attack, call_as_openapi_says, send_random_bytes
from tests.serve.wire import wired

_EXAMPLES = 20  # of each operation and phase, in a run of Schemathesis


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("benchmarks.stress.bad_requests", __doc__)
    p.add_argument("--requests", type=int, default=20_000, metavar="N", help="(default: 20000)")
    p.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command with these options."""
    args = parser().parse_args(argv)
    for name in ("uvicorn.error", "shotstream.serve"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # An answered connection that may be used again is closed soon: else it would look like a hang.
    patience.KEEP_ALIVE = 0
    with tempfile.TemporaryDirectory() as folder, wired(pathlib.Path(folder), LIMITS) as server:
        attack = Attack(server.port)
        began = time.perf_counter()
        sent = 0
        runs = 0
        while sent < args.requests // 3:
            sent += call_as_openapi_says(attack, _EXAMPLES, args.seed + runs)
            runs += 1
        _print_part(attack, "OpenAPI", sent, began)
        began = time.perf_counter()
        count = send_random_bytes(attack, max(1, args.requests - sent), args.seed)
        _print_part(attack, "bytes", count, began)
        attack.end()
    for finding in attack.findings:
        print_json(finding=finding)
    sys.exit(1 if attack.findings else 0)


def _print_part(attack: Attack, part: str, sent: int, began: float) -> None:
    """What a part has sent, and all answers so far."""
    print_json(
        part=part,
        requests=sent,
        seconds=round(time.perf_counter() - began),
        answers={str(status): attack.counts[status] for status in sorted(attack.counts)},
        findings=len(attack.findings),
    )


if __name__ == "__main__":
    cli.run(main)
