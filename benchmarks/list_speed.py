"""How long `instance_cli list` takes at ten instances, beside a bare interpreter's start.

Ten records with ten live processes that hold ten supervisor locks, as ten supervisors would; then
the command as a user starts it, in a process of its own, medians of several runs. `--json` shows
what the table costs; the processor time tells more than the clock on a busy machine.
Aim: under 250 ms (the order), under 100 ms (FAILURES S27).

    .venv-test/bin/python benchmarks/list_speed.py [RUNS]
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from core.instance_manager import InstanceRegistry

INSTANCES = 10
ROOT = Path(__file__).resolve().parents[1]

_HOLDER = """
import fcntl, sys
lock = open(sys.argv[1], "a")
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def main() -> int:
    """Measure and print; 1 when a list was wrong."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    command = [sys.executable, str(ROOT / "cli" / "instance_cli.py")]
    with tempfile.TemporaryDirectory() as folder:
        holders = [_hold(Path(folder), number) for number in range(INSTANCES)]
        try:
            shown = _run([*command, "list", "--root", folder])[1].count("RUNNING")
            figures = (
                ("bare interpreter (floor)", [sys.executable, "-c", "pass"]),
                ("instance_cli list", [*command, "list", "--root", folder]),
                ("instance_cli list --json", [*command, "list", "--json", "--root", folder]),
                ("importing tabulate alone", [sys.executable, "-c", "import tabulate"]),
            )
            for name, words in figures:
                before = _children_cpu()
                times = sorted(_run(words)[0] * 1000 for _ in range(runs))
                cpu = (_children_cpu() - before) / runs * 1000
                low, high = times[0], times[int(len(times) * 0.9)]
                middle = statistics.median(times)
                wall = f"median {middle:6.1f} ms   min {low:6.1f}   p90 {high:6.1f}"
                print(f"{name:28} {wall}   cpu {cpu:6.1f} ms")
        finally:
            for holder in holders:
                holder.kill()
                holder.communicate()
    print(f"{shown} of {INSTANCES} shown as RUNNING, {runs} runs, load {os.getloadavg()[0]:.1f}")
    return 0 if shown == INSTANCES else 1


def _hold(root: Path, number: int) -> subprocess.Popen[bytes]:
    name = f"bp_bench_{number:02d}"
    lock = root / "logs" / name / ".supervisor.lock"
    lock.parent.mkdir(parents=True)
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    InstanceRegistry(root).update(
        name,
        pid=holder.pid,
        config_file=str(root / "config" / "active" / f"{name}.json"),
        web_port=5001 + number,
        started_at="2026-11-23T12:00:00+00:00",
        status="RUNNING",
    )
    return holder


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _run(words: list[str]) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return time.perf_counter() - began, done.stdout


if __name__ == "__main__":
    sys.exit(main())
