"""An hour of ten real bots: nothing grows, nothing restarts, and every figure still adds up."""

from __future__ import annotations

import os
import statistics
import time
import urllib.request
from pathlib import Path

import pytest
from fleet import Fleet, wait_for

NAMES = [f"soak_{number:02}" for number in range(10)]
PAGES = ("/api/status", "/api/orders?limit=1000", "/api/fills?limit=1000", "/health", "/")


@pytest.mark.long
def test_ten_bots_stay_as_they_are(fleet: Fleet) -> None:
    """S15: memory and descriptors of bots and supervisors are flat (GRID_SOAK_S, an hour)."""
    length_s = float(os.environ.get("GRID_SOAK_S", "3600"))
    for seed, name in enumerate(NAMES):
        fleet.write(name, feed={"seed": seed, "speed": 20})
    fleet.start(*NAMES)
    pids = {name: (fleet.record(name)["pid"], fleet.record(name)["bot_pid"]) for name in NAMES}
    seen: dict[str, list[tuple[int, int, int, int]]] = {name: [] for name in NAMES}
    end = time.monotonic() + length_s
    while time.monotonic() < end:
        due = time.monotonic() + min(20.0, length_s / 60)
        for name in NAMES:
            for page in PAGES:
                url = f"http://127.0.0.1:{fleet.ports[name]}{page}"
                with urllib.request.urlopen(url, timeout=30) as answer:
                    assert answer.status == 200
            supervisor, bot = pids[name]
            seen[name].append((*usage(supervisor), *usage(bot)))
        wait_for("the next look", lambda due=due: time.monotonic() > due)
    for name in NAMES:
        record = fleet.record(name)
        assert (record["pid"], record["bot_pid"]) == pids[name], name
        assert record["restarts"] == 0, name
        tenth = max(1, len(seen[name]) // 10)
        early, late = seen[name][tenth : 2 * tenth] or seen[name], seen[name][-tenth:]
        for column, slack in enumerate((1024, 2, 4096, 6)):  # KiB, descriptors, of each process
            before = statistics.median(row[column] for row in early)
            now = statistics.median(row[column] for row in late)
            assert now <= before * 1.1 + slack, (name, column, before, now)
        assert fleet.run("instance_cli", "audit", name).returncode == 0, name


def usage(pid: int) -> tuple[int, int]:
    """Resident KiB and open descriptors of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = int(status.split("VmRSS:")[1].split()[0])
    return resident, len(list(Path(f"/proc/{pid}/fd").iterdir()))
