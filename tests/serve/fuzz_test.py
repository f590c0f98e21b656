"""A short attack by random requests (benchmarks/stress/bad_requests makes a long one)."""

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("schemathesis")

from shotstream_jax.serve import patience
from tests.serve.attacker import LIMITS, Attack, call_as_openapi_says, send_random_bytes
from tests.serve.wire import wired

SEED = 1


def test_random_requests_find_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(patience, "KEEP_ALIVE", 0)
    with wired(tmp_path, LIMITS) as server:
        attack = Attack(server.port)
        sent = call_as_openapi_says(attack, examples=2, seed=SEED, is_whole=False)
        assert sent > 40
        assert send_random_bytes(attack, count=120, seed=SEED) >= 120
        attack.end()
    assert not attack.findings, "\n".join(attack.findings)
    # Some of it was what a server should take.
    assert attack.counts[200] and attack.counts[201] and attack.counts[101]
