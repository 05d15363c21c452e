"""The files by which an instance's supervisor and bot are told: locks and PID files.

A lock is a flock on `.supervisor.lock` or `.bot.lock` in the run directory. The kernel frees it at
any death, so a lock that is held means somebody lives. The files are never deleted or renamed: two
holders of one name would then be possible. The bot's lock is taken before exec and its descriptor
stays open in the child, so any program holds it, and its grandchildren too.

PID files only inform. daemon.pid holds the PID alone; bot.pid has the PID on the first line and
its start time, in clock ticks since boot, on the second. Alive = lock held and PID + start match.
Planted links are refused, never followed. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from core.files import open_private, publish
from core.identity import LockTable, ProcessId, boot_id, read_pid_file, take_lock

SUPERVISOR_LOCK = ".supervisor.lock"
BOT_LOCK = ".bot.lock"
DAEMON_PID = "daemon.pid"
BOT_PID = "bot.pid"


def acquire(path: Path) -> int | None:
    """Take a lock; its descriptor (close-on-exec) holds it. None: somebody else holds it.

    Errors: OSError when a link or anything else than a regular file stands at the name.
    """
    fd = open_private(path, os.O_RDWR | os.O_CREAT)
    try:
        if take_lock(fd):
            return fd
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def is_held(path: Path) -> bool:
    """Tell whether some process holds the lock; takes nothing, creates nothing."""
    return LockTable().is_held(path)


def note_holder(fd: int, identity: ProcessId) -> None:
    """Write who holds a lock into its file: PID and start time, a line each."""
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{identity.pid}\n{identity.start}\n".encode("ascii"), 0)


def write_pid(path: Path, pid: int, start: int | None = None) -> None:
    """Publish a PID file. Errors: OSError; a planted link is refused (ELOOP), its target whole.

    Not through to the disk: after a power cut no PID means anything.
    """
    publish(path, f"{pid}\n" if start is None else f"{pid}\n{start}\n", durable=False)


def remove_pid(path: Path) -> None:
    """Remove a PID file, if it is there; a link goes itself, its target stays."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def live_holder(lock: Path, pid_file: Path) -> ProcessId | None:
    """Identify the process that the PID file names, when it lives and the lock is held.

    A file without a start time (daemon.pid) is told by the lock file's own note instead.
    """
    found = read_pid_file(pid_file)
    if found is None or found[1] is None:
        found = read_pid_file(lock)
    if found is None or found[1] is None or not is_held(lock):
        return None
    identity = ProcessId(pid=found[0], start=found[1], boot=boot_id())
    return identity if identity.is_alive() else None
