"""A fleet of ten under a storm of blows: afterwards everything is as it should be.

The short storm is part of `make test`; `pytest -m long` has the long one. The seed is in the name
of the test, so that a failure can be dealt out again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos import ChaosFleet

SIZE = 10


@pytest.fixture
def fleet(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ChaosFleet]:
    made = ChaosFleet(tmp_path / "root", SIZE, seed=request.getfixturevalue("seed"))
    yield made
    made.toys.clean_up()


def storm(fleet: ChaosFleet, rounds: int, blows: int) -> None:
    fleet.start(*fleet.names)
    fleet.heal()
    for _ in range(rounds):
        fleet.strike(blows)
        fleet.heal()
        fleet.assert_whole()
    fleet.stop(*fleet.names[:3])
    fleet.heal()
    fleet.assert_whole()
    done = fleet.manage("stop", "--all")
    assert done.returncode == 0, done.stderr
    fleet.wanted.clear()
    fleet.assert_whole()
    fleet.assert_empty()
    fleet.assert_no_line_lost()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_a_fleet_survives_a_storm(fleet: ChaosFleet, seed: int) -> None:
    """Kills, freezes, edits, lost and damaged files, no descriptors; then all is well."""
    storm(fleet, rounds=2, blows=20)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 110))
def test_a_fleet_survives_a_long_storm(fleet: ChaosFleet, seed: int) -> None:
    """The same for a quarter of an hour, from ten seeds."""
    storm(fleet, rounds=10, blows=40)
