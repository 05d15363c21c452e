"""Puts `tests/` on the path, so that every folder can import `fakes`, and quietens hypothesis.

Properties run from fixed seeds: what was green once is green again, on every machine.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "fixed",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fixed")
