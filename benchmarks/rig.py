"""What the benchmarks share: a fleet under a temporary root, figures out of /proc, the table.

Every process is started by a benchmark, known by its PID and ended by its PID; ports are asked of
the kernel; everything is on the loopback address. Bytecode is written and warm before anything is
measured, as it is on every machine after the first start.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent
DATA = Path(os.environ.get("GRID_DATA", CHECKOUT.parent / "shared/market_data"))
MONTH = DATA / "btc_perp_1m_2022-01.csv"
DEADLINE_S = 60.0

_OURS = ("GRID_", "WEB_", "BACKPACK_", "ASTER_", "PYTHON")
_T = TypeVar("_T")


def arguments(words: str | None, runs: int) -> argparse.Namespace:
    """Read the command line that all benchmarks have."""
    parser = argparse.ArgumentParser(
        description=words, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=runs, help=f"runs of each (default {runs})")
    return parser.parse_args()


def environment(**more: str) -> dict[str, str]:
    """Give the environment without what would change a bot or its interpreter."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_OURS)}
    return {**kept, **more}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: str, look: Callable[[], _T | None], pause_s: float = 0.002) -> _T:
    """Look until there is something; errors of a process that comes or goes are a no."""
    end = time.monotonic() + DEADLINE_S
    while True:
        with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
            found = look()
            if found:
                return found
        if time.monotonic() > end:
            raise SystemExit(f"not within {DEADLINE_S:g} s: {what}")
        time.sleep(pause_s)


# Processes ------------------------------------------------------------------------------------


@contextmanager
def process(*words: str | Path, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Start a program, and end it by its PID whatever happens."""
    options.setdefault("env", environment())
    started = subprocess.Popen([str(word) for word in words], text=True, **options)
    try:
        yield started
    finally:
        if started.poll() is None:
            started.kill()
        started.wait()
        for pipe in (started.stdin, started.stdout):
            if pipe is not None:
                pipe.close()


def cpu_s(pid: int) -> float:
    """Processor seconds of a process and its threads, dead ones too; in steps of 10 ms."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def fine_cpu_s(pid: int) -> float:
    """Processor seconds of the threads that live, to the nanosecond where the kernel tells."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except OSError:
        return cpu_s(pid)


def wake_ups(pid: int) -> int:
    """How often threads went to sleep by themselves: once for each time they were woken."""
    return sum(
        int(line.split()[1])
        for task in Path(f"/proc/{pid}/task").iterdir()
        for line in (task / "status").read_text().splitlines()
        if line.startswith("voluntary_ctxt_switches")
    )


def memory_mb(pid: int) -> tuple[float, float]:
    """RSS and PSS."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("Rss", "Pss"):
            found[name] = int(rest.split()[0]) / 1024
    return found["Rss"], found["Pss"]


# A fleet --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Fleet:
    """Instances under one root, with the commands that a user has."""

    root: Path
    ports: dict[str, int] = field(default_factory=dict)

    def write(
        self, name: str, *, paper: dict[str, Any] | None = None, **strategy: Any
    ) -> dict[str, Any]:
        """Write a paper config; a second one of the same name keeps its port."""
        self.ports.setdefault(name, free_port())
        config: dict[str, Any] = {
            "metadata": {"instance_id": name},
            "daemon_config": {
                "web_port": self.ports[name],
                "restart_delay": 0,
                "max_restart_attempts": 1000,
            },
            "exchange_config": {"mode": "paper", "paper": {"seed": 7, "speed": 1} | (paper or {})},
            "strategy_config": {
                "exchange": "backpack",
                "symbol": "SOL_USDC_PERP",
                "grid_lower_price": 140,
                "grid_upper_price": 160,
                "grid_num": 20,
                "max_position": 10,
            }
            | strategy,
        }
        path = self.root / "config" / "active" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(config), encoding="utf-8")
        return config

    def run(self, command: str, *words: str) -> str:
        """Run a command to its end; gives its standard output."""
        done = subprocess.run(
            [str(Path(sys.executable).with_name(command)), *words],
            env=environment(GRID_ROOT=str(self.root)),
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=180,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            raise SystemExit(f"{command} {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self, *names: str) -> None:
        self.run("daemon_manager", "start", *(x for name in names for x in ("--config", name)))

    def stop(self) -> None:
        self.run("daemon_manager", "stop", "--all")

    def supervisor(self, name: str) -> int:
        return self._pid(name, "daemon.pid")

    def bot(self, name: str) -> int:
        return self._pid(name, "bot.pid")

    def _pid(self, name: str, file: str) -> int:
        return int((self.root / "logs" / name / file).read_text().split()[0])

    def get(self, name: str, path: str) -> Any:
        return get(self.ports[name], path)

    def end(self) -> None:
        """Stop everything; what would not stop is killed, if it is ours."""
        with contextlib.suppress(SystemExit, subprocess.TimeoutExpired):
            self.stop()
        for name in self.ports:
            for find in (self.supervisor, self.bot):
                with contextlib.suppress(OSError, ValueError, IndexError):
                    pid = find(name)
                    if str(self.root).encode() in Path(f"/proc/{pid}/environ").read_bytes():
                        os.kill(pid, signal.SIGKILL)


@contextmanager
def fleet() -> Iterator[Fleet]:
    """Give a fleet under a temporary root, and leave nothing of it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # and clean up
    with tempfile.TemporaryDirectory(prefix="gridfleet-bench-") as folder:
        made = Fleet(Path(folder))
        try:
            yield made
        finally:
            made.end()


def get(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return json.loads(answer.read())


def wait_healthy(port: int, pid: int | None = None) -> None:
    """Wait until /health says ready, and says that it is this process (None: any)."""

    def ready() -> bool:
        health = get(port, "/health")
        return bool(health["ready"]) and pid in (None, health["pid"])

    until(f"port {port} is healthy", ready)


def warm_up() -> None:
    """Have every module's bytecode written, and the files in the cache."""
    with fleet() as one:
        one.write("warm")
        one.start("warm")
        one.run("instance_cli", "list")


# The table ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure of ours beside the floor of it; `aim` is the order's number, or None."""

    name: str
    ours: Sequence[float]
    floor_name: str = ""
    floor: Sequence[float] = ()
    unit: str = "ms"
    aim: float | None = None
    more_is_better: bool = False


def show(title: str, rows: Sequence[Row]) -> None:
    """Print medians, ranges and ratios."""
    print(f"\n{title}   (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors)")
    print(f"{'':40} {'ours: median (min-max)':>38}   {'floor':>40}   ratio   aim")
    for row in rows:
        ours = statistics.median(row.ours)
        line = f"{row.name:40} {_figure(row.ours, row.unit):>38}"
        if row.floor:
            floor = statistics.median(row.floor)
            high, low = (floor, ours) if row.more_is_better else (ours, floor)
            ratio = f"{high / low:5.1f}x" if low > 0 else "     -"
            line += f"   {_figure(row.floor, row.unit):>40}  {ratio}"
        else:
            line += " " * 51
        if row.aim is not None:
            met = ours >= row.aim if row.more_is_better else ours <= row.aim
            line += f"   {row.aim:g} {'met' if met else 'MISSED'}"
        print(line.rstrip() + (f"   [{row.floor_name}]" if row.floor else ""))


def _figure(values: Sequence[float], unit: str) -> str:
    middle = statistics.median(values)
    places = 0 if middle >= 200 else 1 if middle >= 10 else 2
    text = f"{middle:,.{places}f} {unit}"
    if len(values) > 1:
        text += f" ({min(values):,.{places}f}-{max(values):,.{places}f})"
    return text
