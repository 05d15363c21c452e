"""The registry under real processes: many writers at once, and writers that are killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from registry_world import DEADLINE_S, registry_text, wait_for

from core.instance_manager import InstanceRegistry
from core.registry_file import RegistryFile

pytestmark = pytest.mark.slow

_WRITER = """
import sys
from core.instance_manager import InstanceRegistry
registry = InstanceRegistry(sys.argv[1])
name, rounds = sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for number in range(rounds):
    registry.update(name, number=number, status="RUNNING", padding="x" * 500)
"""

_CLAIMER = """
import sys
from pathlib import Path
from registry_world import make_spec
from core.instance_manager import InstanceRegistry
root = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(InstanceRegistry(root).claim(make_spec(root, sys.argv[2])), flush=True)
"""


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )


def release(processes: list[subprocess.Popen[str]]) -> None:
    """Let them all begin at once."""
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def test_fifty_writers_lose_nothing(tmp_path: Path) -> None:
    """Fifty processes update at once: every record arrives, and each look meanwhile is whole."""
    writers = [start(_WRITER, str(tmp_path), f"bot_{number}", "4") for number in range(50)]
    try:
        release(writers)
        file = RegistryFile(tmp_path)
        looks = 0
        while any(writer.poll() is None for writer in writers):
            if file.path.exists():
                _, whole = file._read()
                assert whole
                looks += 1
        assert [writer.wait(DEADLINE_S) for writer in writers] == [0] * 50
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()

    assert looks > 0
    records = registry_text(tmp_path)
    assert {name: record["number"] for name, record in records.items()} == {
        f"bot_{number}": 3 for number in range(50)
    }
    assert list((tmp_path / "logs").glob("instances.json.damaged-*")) == []


def test_writers_killed_in_the_middle_leave_it_whole(tmp_path: Path) -> None:
    """SIGKILL at random moments of a write: the file parses, the lock is free, others go on."""
    registry = InstanceRegistry(tmp_path)
    registry.register("steady", {"status": "RUNNING"})
    moments = random.Random(7)
    for _ in range(25):
        victim = start(_WRITER, str(tmp_path), "victim", "1000000")
        try:
            release([victim])
            before = registry.path.stat().st_ino
            wait_for(lambda before=before: registry.path.stat().st_ino != before, "a write")
            for _ in range(moments.randrange(2000)):
                pass  # a moment later, anywhere inside a write
            victim.send_signal(signal.SIGKILL)
        finally:
            victim.kill()
            victim.communicate()
        assert json.loads(registry.path.read_text())["steady"] == {"status": "RUNNING"}
        registry.update("steady", status="RUNNING", beside=os.urandom(2).hex())
        registry.update("steady", beside="")
        registry.register("steady", {"status": "RUNNING"})

    assert set(registry.load()) == {"steady", "victim"}
    assert list((tmp_path / "logs").glob(".instances.json.*.tmp")) == []


def test_ten_claims_at_once_get_ten_ports(tmp_path: Path) -> None:
    """Ports chosen at the same moment are all different."""
    claimers = [start(_CLAIMER, str(tmp_path), f"bot_{number}") for number in range(10)]
    try:
        release(claimers)
        ports = [int(claimer.stdout.readline()) for claimer in claimers if claimer.stdout]
    finally:
        for claimer in claimers:
            claimer.kill()
            claimer.communicate()

    assert len(set(ports)) == 10
