"""How each child of an instance ended: `logs/{id}/deaths.json`, kept over restarts and stops.

One record a death: when, which process, how (code or signal), why, how long it had lived, what it
took at most, and its last lines of output. The newest `KEPT` stay. The files are opened before the
successor starts (which writes into them too) and read after it: nothing here delays a restart.

| cause | what happened |
| --- | --- |
| exit, signal | it ended by itself, or somebody else killed it |
| oom | the kernel killed it for want of memory (its counter says so), or gave it no more and its |
|     | last lines say so |
| stop, restart | a user asked |
| startup, heartbeat, probe, memory, cpu | its supervisor ended it, and this is why |
| spawn | it could not be started |
| unwatched | it ended while no supervisor lived |

Secrets are masked. Nothing raises: a full disk costs a record. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from core.files import publish
from core.log_reading import lines_before, tail_of
from core.masking import escape_controls, mask_text
from core.paths import read_limited

DEATHS_NAME = "deaths.json"
KEPT = 20
LINES = 50
STREAMS = ("bot_stdout.log", "bot_stderr.log")
_LINE = 400  # characters of a line that are kept: 20 records of 100 lines stay below a megabyte
_LIMIT = 4 << 20
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

Record = dict[str, Any]


@dataclass(slots=True)
class LastLines:
    """The ends of an instance's output files at one moment, held open until they are read."""

    log_dir: Path
    ends: dict[str, tuple[int, int]] = field(default_factory=dict)  # name: (descriptor, size)

    @classmethod
    def mark(cls, log_dir: Path) -> LastLines:
        """Hold today's files as they are now; what can't be opened is left out."""
        marked = cls(log_dir)
        folder = log_dir / time.strftime("%Y-%m-%d")
        for name in STREAMS:
            with contextlib.suppress(OSError):
                fd = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                marked.ends[name] = (fd, os.fstat(fd).st_size)
        return marked

    def read(self) -> dict[str, list[str]]:
        """Take the last lines of each stream, reaching back over files, and let go of them."""
        taken = {}
        for name in STREAMS:
            lines: list[str] = []
            fd, end = self.ends.pop(name, (-1, 0))
            skip: tuple[int, int] | None = None
            if fd >= 0:
                info = os.fstat(fd)
                skip = (info.st_dev, info.st_ino)
                lines = lines_before(fd, end, LINES)
                os.close(fd)
            if len(lines) < LINES:
                lines = tail_of(self.log_dir, name, LINES - len(lines), before=skip) + lines
            taken[name] = [escape_controls(mask_text(line[:_LINE]), keep="\t") for line in lines]
        return taken


def make_record(
    *,
    pid: int,
    start: int,
    code: int | None,
    cause: str,
    reason: str = "",
    peak_bytes: int = 0,
    cpu_s: float | None = None,
    was_killed: bool = False,
) -> Record:
    """Describe one death; `cause` "" means that it ended by itself."""
    if not cause:
        cause = "exit" if code is None or code >= 0 else "signal"
    return {
        "at": datetime.now().astimezone().isoformat(timespec="milliseconds"),
        "pid": pid,
        "code": code if code is None or code >= 0 else None,
        "signal": _signal_name(-code) if code is not None and code < 0 else None,
        "cause": cause,
        "reason": mask_text(reason),
        "killed": was_killed,
        "uptime_s": uptime_s(start),
        "peak_mb": round(peak_bytes / 1048576, 1) or None,
        "cpu_s": None if cpu_s is None else round(cpu_s, 2),
    }


def uptime_s(start: int) -> float | None:
    """Seconds since a process began, by the clock that also counts suspended time."""
    if start <= 0:
        return None
    return max(0.0, round(time.clock_gettime(time.CLOCK_BOOTTIME) - start / _TICKS_PER_S, 2))


def save(run_dir: Path, record: Record, lines: Mapping[str, list[str]]) -> None:
    """Add one record, the oldest beyond `KEPT` goes. Errors: OSError, the file is as it was."""
    records = [*reversed(load(run_dir)), {**record, "log": dict(lines)}][-KEPT:]
    publish(run_dir / DEATHS_NAME, json.dumps(records) + "\n", durable=False)


def load(run_dir: Path) -> list[Record]:
    """Read the records, newest first; nothing when there is no whole file."""
    try:
        raw = json.loads(read_limited(run_dir / DEATHS_NAME, _LIMIT, follow=False))
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(raw, list):
        return []
    return [record for record in reversed(raw) if isinstance(record, dict)]


def summary(record: Record) -> str:
    """Say in one line how it ended, e.g. `signal SIGKILL after 12.5 s, peak 47.1 MB`."""
    how = f"signal {record.get('signal')}" if record.get("signal") else ""
    if not how and record.get("code") is not None:
        how = f"exit code {record['code']}"
    words = [f"{record.get('cause')}: {how or 'exit code unknown'}"]
    if record.get("killed"):
        words.append("after it did not end by itself")
    if record.get("uptime_s") is not None:
        words.append(f"after {record['uptime_s']} s")
    if record.get("peak_mb"):
        words.append(f"peak {record['peak_mb']} MB")
    if record.get("reason"):
        words.append("; ".join(str(record["reason"]).splitlines()))
    return ", ".join(words)


def blame_oom(record: Record, before: int | None, now: int | None, words: str) -> None:
    """Say that a death was the kernel's doing, if its count of kills rose since `before`."""
    if before is not None and now is not None and now > before:
        record |= {"cause": "oom", "reason": words}


def oom_kills() -> int | None:
    """How often the kernel has killed for want of memory: in our cgroup, else on this machine."""
    for path, key in ((_cgroup_events(), b"oom_kill"), ("/proc/vmstat", b"oom_kill")):
        if path is None:
            continue
        with contextlib.suppress(OSError, ValueError):
            for line in Path(path).read_bytes().splitlines():
                name, _, count = line.partition(b" ")
                if name == key:
                    return int(count)
    return None


def _cgroup_events() -> str | None:
    """Name cgroup v2's counter of our own group; the root group has none."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            if line.startswith("0::"):
                return f"/sys/fs/cgroup{line[3:]}/memory.events"
    return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
