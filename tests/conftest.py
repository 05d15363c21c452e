"""Puts `tests/` on the path, so that every folder can import `fakes`, and quietens hypothesis.

Properties run from fixed seeds: what was green once is green again, on every machine.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "fixed",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fixed")

# `make test &` and nohup begin with these ignored, every process of ours would inherit that, and a
# test that interrupts one would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _recursion_limit() -> Iterator[None]:
    """Blame the test that leaves the process with a limit where deep JSON crashes a later one."""
    before = sys.getrecursionlimit()
    yield
    after = sys.getrecursionlimit()
    sys.setrecursionlimit(before)
    assert after == before, f"the recursion limit was {before} and is {after}: who imported what?"
