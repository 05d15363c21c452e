"""A fleet of ten under a storm of blows: afterwards everything is as it should be.

The short storm is part of `make test`; `pytest -m long` has the long one. The seed is in the name
of the test, so that a failure can be dealt out again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos import ChaosFleet
from toy_fleet import wait_for

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


@pytest.mark.long
@pytest.mark.parametrize("seed", [7])
def test_a_soak_leaves_memory_and_descriptors_flat(fleet: ChaosFleet, seed: int) -> None:
    """Ten instances for an hour (GRID_SOAK_S seconds), bots killed all the while (S15, S16)."""
    length_s = float(os.environ.get("GRID_SOAK_S", "3600"))
    fleet.start(*fleet.names)
    fleet.heal()
    end, seen = time.monotonic() + length_s, []
    while time.monotonic() < end:
        fleet.kill_bot(fleet.random.choice(fleet.names))
        fleet.heal()
        seen.append(fleet.usage())
        pause = time.monotonic() + min(2.0, length_s / 20)
        wait_for(lambda pause=pause: time.monotonic() > pause, "", 10.0)
    early, late = seen[len(seen) // 10], seen[-1]
    for name in fleet.names:
        (memory, descriptors), (memory_now, descriptors_now) = early[name], late[name]
        assert descriptors_now <= descriptors + 2, name
        assert memory_now <= memory * 1.1 + 1024, name
    fleet.manage("stop", "--all")
    fleet.assert_empty()


@pytest.mark.long
@pytest.mark.parametrize("seed", [50])
def test_fifty_instances_run_and_stop_together(tmp_path: Path, seed: int) -> None:
    """S27, S30: one command starts all, each once; the registry is whole; one command stops all."""
    fleet = ChaosFleet(tmp_path / "root", 50, seed)
    try:
        fleet.wanted.update(fleet.names)
        done = fleet.manage("start", "--all", "--wait", "120")
        assert done.returncode == 0, done.stderr
        fleet.assert_whole()
        done = fleet.manage("list", "--json")
        assert done.stdout.count('"RUNNING"') == 50
        assert fleet.manage("start", "--all").returncode == 0, "a repeat has no second effect"
        fleet.assert_whole()
        assert fleet.manage("stop", "--all").returncode == 0
        fleet.wanted.clear()
        fleet.assert_whole()
        fleet.assert_empty()
        fleet.assert_no_line_lost()
    finally:
        fleet.toys.clean_up()
