"""`instance_cli audit` on bots that trade fast, are adjusted and are killed meanwhile."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest
from fleet import Fleet, wait_for

pytestmark = pytest.mark.slow

AUDITS = 12


def audit(fleet: Fleet, name: str) -> dict[str, Any]:
    done = fleet.run("instance_cli", "audit", name, "--json")
    document: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == document["exit_code"]
    return document


def test_a_bot_that_trades_is_equal_whenever_it_is_asked(fleet: Fleet) -> None:
    """Fills every few milliseconds, an adjust in between: each audit sees one whole moment."""
    fleet.write("fast_01", feed={"seed": 3, "speed": 20_000})
    fleet.start("fast_01")
    fills: list[int] = []
    for turn in range(AUDITS):
        if turn == AUDITS // 2:
            code, answer = fleet.post("fast_01", "/api/grid/adjust", {"grid_lower_price": 138})
            assert code in (200, 202), answer
        before = fills[-1] if fills else 0
        wait_for(
            "more fills", lambda low=before: fleet.get("fast_01", "/api/status")["fills"] > low
        )
        document = audit(fleet, "fast_01")
        assert document["verdict"] == "equal", document
        assert document["is_running"]
        fills.append(document["compared"]["fills"])
    assert fills == sorted(fills)
    assert len(set(fills)) == AUDITS, "it traded from each audit to the next"
    assert fleet.get("fast_01", "/health")["live"]


def test_a_bot_that_was_killed_is_equal_once_it_is_back(fleet: Fleet) -> None:
    """Whatever the kill cut off is taken up; after the stop the books are equal as well."""
    fleet.write("fast_02", feed={"seed": 5, "speed": 20_000})
    fleet.start("fast_02")
    for _ in range(3):
        before = fleet.get("fast_02", "/api/status")["fills"]
        pid = fleet.wait_ready("fast_02")["pid"]
        wait_for("fills", lambda low=before: fleet.get("fast_02", "/api/status")["fills"] > low)
        os.kill(pid, signal.SIGKILL)
        fleet.wait_ready("fast_02", but_not_pid=pid)
        assert audit(fleet, "fast_02")["verdict"] == "equal"
    assert fleet.manage("stop", "fast_02").returncode == 0
    document = audit(fleet, "fast_02")
    assert (document["verdict"], document["is_running"]) == ("equal", False)
    assert document["compared"]["open_orders"] == 0
