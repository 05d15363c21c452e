"""The start of supervisors: what the command claims for them is theirs only while it lives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from toy_fleet import ToyFleet, is_alive, wait_for

from core.launch import Launch, launch, wait_all

pytestmark = pytest.mark.slow

_STARTED_AT = "2026-01-02T03:04:05+00:00"

_COMMAND = """
import os, signal, sys, time
from pathlib import Path
from core import launch
from core.spec import ChildSpec

command, say = os.getpid(), launch._say

def say_late(mouth):
    while os.path.exists(f"/proc/{command}/fd"):  # it has no descriptors once it is dead
        if not os.listdir(f"/proc/{command}/fd"):
            break
        time.sleep(0.002)
    return say(mouth)

launch._say = say_late
launch._hear = lambda *_: os.kill(command, signal.SIGKILL)
specs = [ChildSpec.from_json(Path(name).read_text()) for name in sys.argv[1:]]
since = "2026-01-02T03:04:05+00:00"
launch.launch(*(launch.Launch(spec=s, started_at=since, wait_s=20.0) for s in specs))
"""


@pytest.fixture
def fleet(tmp_path: Path) -> ToyFleet:
    return ToyFleet(tmp_path)


def test_a_command_that_dies_takes_its_claims_along(fleet: ToyFleet, tmp_path: Path) -> None:
    """SIGKILL after the forks and before any lock: each supervisor claims for itself, once."""
    files = []
    for name in ("a", "b", "c"):
        path = tmp_path / f"{name}.spec"
        path.write_text(fleet.spec(name, web_port=None).to_json())
        files.append(str(path))
    done = subprocess.run(
        [sys.executable, "-c", _COMMAND, *files],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
        timeout=60,
    )
    assert done.returncode == -9
    try:
        for name in ("a", "b", "c"):
            fleet.wait_status("RUNNING", instance_id=name)
            record = fleet.record(name)
            assert record["pid"] == fleet.supervisor_pid(name)
            assert is_alive(record["bot_pid"])
        ports = {fleet.record(name)["web_port"] for name in ("a", "b", "c")}
        assert len(ports) == 3
    finally:
        for name in ("a", "b", "c"):
            if fleet.supervisor_pid(name):
                fleet.stop(name)
    assert fleet.processes() == []


def test_what_is_refused_is_told_beside_what_starts(fleet: ToyFleet) -> None:
    """Of two that want one port the first starts, the second is never forked and says why."""
    first = fleet.spec("a")
    second = fleet.spec("b", web_port=first.web_port)
    launches = [Launch(spec=spec, started_at=_STARTED_AT, wait_s=20.0) for spec in (first, second)]
    started = launch(*launches)
    told: list[str] = []
    wait_all(started, lambda one: told.append(f"{one.spec.instance_id} {one.outcome}"))
    try:
        assert sorted(told) == ["a ready", "b invalid"]
        assert f"daemon_config.web_port: {first.web_port} is held by instance a" in started[1].error
        assert fleet.record("b") == {}
    finally:
        fleet.stop("a")


def test_the_registry_is_free_again_when_all_are_forked(fleet: ToyFleet) -> None:
    """No supervisor goes on holding the lock under which it was claimed."""
    started = launch(Launch(spec=fleet.spec("a"), started_at=_STARTED_AT, wait_s=20.0))
    fleet.registry.update("other", status="STOPPED")
    wait_all(started, lambda _: None)
    assert [one.outcome for one in started] == ["ready"]
    fleet.stop("a")
    wait_for(lambda: fleet.processes() == [], "the end of all")
