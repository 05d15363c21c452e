"""Who is alive: processes told apart by PID, start time and boot, and locks looked at from outside.

A PID alone names nobody: it is reused. With the start time in clock ticks since boot, and the
boot, it names one process for ever. A zombie counts as gone: it holds nothing and runs nothing.

How a reader looks at a lock without disturbing anyone. A `flock` can't be queried, only tried,
and a reader that tries and wins holds it for some microseconds, in which a starting supervisor's
own try would fail. So a reader tries only where it expects to lose, which takes nothing:
where the PID file's process is alive (`expected=True`), or where /proc/locks, which is only read,
lists the file. Anything else counts as free. The try itself settles what /proc/locks leaves open:
an inode number that two file systems share, and a holder that has died since. Where /proc/locks
can't be read every look is a try. For that rest, those who take these locks keep trying for a
quarter of a second (`take_lock`) before they say "held".

Standard library only: a supervisor loads this.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import time
from pathlib import Path
from typing import NamedTuple


@functools.cache
def boot_id() -> str:
    """Name this boot of the machine; empty where the kernel doesn't tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def process_start_ticks(pid: int) -> int | None:
    """Tell when the process started, in ticks since boot; None when it is gone or a zombie."""
    try:
        data = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The command stands in parentheses and may itself hold spaces and parentheses.
    fields = data[data.rfind(b")") + 2 :].split()
    if len(fields) < 20 or fields[0] in (b"Z", b"X", b"x"):
        return None
    return int(fields[19])


class ProcessId(NamedTuple):  # importing dataclasses would cost `list` a quarter of its time
    """One process for ever: PID, start in clock ticks, boot. An empty boot is not compared."""

    pid: int
    start: int
    boot: str = ""

    def is_alive(self) -> bool:
        """Tell whether exactly this process runs now."""
        if self.boot and self.boot != boot_id():
            return False
        return self.pid > 0 and process_start_ticks(self.pid) == self.start


def identify(pid: int) -> ProcessId | None:
    """Take the identity of a running process; None when it is gone."""
    start = process_start_ticks(pid)
    return None if start is None else ProcessId(pid=pid, start=start, boot=boot_id())


def read_pid_file(path: Path) -> tuple[int, int | None] | None:
    """Read `PID\\n[START]\\n`; None for anything else. It informs, it proves nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        words = os.read(descriptor, 128).split()
    except OSError:
        return None
    finally:
        os.close(descriptor)
    numbers = [int(word) for word in words[:2] if word.isascii() and word.isdigit()]
    if len(numbers) != len(words[:2]) or not numbers or numbers[0] <= 0:
        return None
    return numbers[0], numbers[1] if len(numbers) > 1 else None


class LockTable:
    """The kernel's list of held locks, read once; make a new one for each look."""

    def __init__(self, path: Path = Path("/proc/locks")) -> None:
        self._holders: dict[int, list[int]] | None
        try:
            self._holders = _parse_locks(path.read_text(encoding="ascii", errors="replace"))
        except OSError:
            self._holders = None

    def is_held(self, path: Path, *, expected: bool = False) -> bool:
        """Tell whether some process holds a flock on the file (module docstring: how)."""
        if self._holders is not None and not expected and _inode(path) not in self._holders:
            return False
        return _is_locked(path)

    def holder(self, path: Path) -> int | None:
        """Give the PID that took the lock, where the kernel names one that still lives."""
        for pid in (self._holders or {}).get(_inode(path), ()):
            if pid > 0 and process_start_ticks(pid) is not None:
                return pid
        return None


def take_lock(descriptor: int, patience_s: float = 0.25) -> bool:
    """Take the exclusive flock; False when somebody holds it for longer than a reader's look."""
    deadline, pause = time.monotonic() + patience_s, 0.0005
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            if time.monotonic() >= deadline:
                return False
            time.sleep(
                pause
            )  # fifty supervisors that start together each need it for a millisecond
            pause = min(0.005, pause * 1.5)
        else:
            return True


def _inode(path: Path) -> int:
    """Give the file's inode number; 0, which no file has, when there is none."""
    try:
        return path.lstat().st_ino
    except OSError:
        return 0


def _parse_locks(text: str) -> dict[int, list[int]]:
    """Map inode to PIDs; a line reads `1: FLOCK  ADVISORY  WRITE 7170 fe:00:2146451 0 EOF`."""
    holders: dict[int, list[int]] = {}
    for line in text.splitlines():
        words = line.split()
        # A waiter's line has "->" as its second word: it holds nothing.
        if len(words) < 6 or words[1] not in ("FLOCK", "POSIX"):  # NFS shows a flock as POSIX
            continue
        with contextlib.suppress(ValueError):
            holders.setdefault(int(words[5].rpartition(":")[2]), []).append(int(words[4]))
    return holders


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    finally:
        os.close(descriptor)
    return False
