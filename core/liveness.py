"""Which processes of an instance run now: told by locks, PIDs and start times, nobody disturbed.

Alive means: lock held, and a process runs that has the PID and start time written down (in the
record, the PID file or the lock file's note; where nothing is, the kernel's list of lock holders
tells). So neither a recycled PID nor a deleted PID file deceives. Standard library only.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from core.identity import LockTable, ProcessId, read_pid_file
from core.registry_file import Record


class Liveness(NamedTuple):  # a dataclass would cost `list` a quarter of its time
    """Which processes of an instance run now; None: not running."""

    pid: int | None
    bot_pid: int | None

    @property
    def is_alive(self) -> bool:
        """Whether the supervisor lives."""
        return self.pid is not None

    @property
    def is_any_alive(self) -> bool:
        return self.pid is not None or self.bot_pid is not None


def look(folder: Path, record: Record, locks: LockTable) -> Liveness:
    """Look at the instance of a run directory, whose record is `record`."""
    pid = _live_pid(folder, ".supervisor.lock", "daemon.pid", record, "pid", locks)
    bot = _live_pid(folder, ".bot.lock", "bot.pid", record, "bot_pid", locks)
    if bot is None and pid is not None:
        # A program that closed what it inherited holds no lock; its supervisor knows it well.
        bot = _recorded_bot(record)
    # Where no file tells, the bot lock's taker may be the supervisor that opened it.
    return Liveness(pid=pid, bot_pid=None if bot == pid else bot)


def _live_pid(
    folder: Path, lock: str, pid_file: str, record: Record, key: str, locks: LockTable
) -> int | None:
    """Give the PID of the process that holds the lock, by record, PID file or the kernel's list."""
    starts = {"pid": "pid_start", "bot_pid": "bot_start"}
    written = read_pid_file(folder / pid_file) or (None, None)
    noted = read_pid_file(folder / lock) or (None, None)  # the holder's note in its lock file
    candidates = (
        (record.get(key), record.get(starts[key]), record.get("boot_id") or ""),
        (*written, ""),
        (*noted, ""),
    )
    for pid, start, boot in candidates:
        if not isinstance(pid, int) or not isinstance(start, int):
            continue
        if ProcessId(pid=pid, start=start, boot=str(boot)).is_alive():
            return pid if locks.is_held(folder / lock, expected=True) else None
    if locks.is_held(folder / lock):
        return locks.holder(folder / lock)
    return None


def _recorded_bot(record: Record) -> int | None:
    """Give the recorded bot's PID if that very process runs."""
    pid, start = record.get("bot_pid"), record.get("bot_start")
    if not isinstance(pid, int) or not isinstance(start, int):
        return None
    identity = ProcessId(pid=pid, start=start, boot=str(record.get("boot_id") or ""))
    return pid if identity.is_alive() else None
