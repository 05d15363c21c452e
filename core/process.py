"""Processes: look at them, signal them by identity, end a whole group, reap.

What lives here: pidfds, process groups as /proc shows them, the child-subreaper switch. How one is
started is in `core.spawning`. No policy: when to TERM and when to KILL is `core.supervision`'s.

Rules it keeps:
- a process is PID + start time (+ boot); it is signalled through a pidfd that was opened first and
  compared with the identity afterwards, so a recycled PID is never signalled;
- a child leads its own session, so its group is everything with its session or group id, plus
  whatever has been reparented to us (we are a child subreaper);
- a group is empty when /proc shows no member that is not a zombie;
Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from core.identity import ProcessId, process_start_ticks

_PR_SET_CHILD_SUBREAPER = 36  # include/uapi/linux/prctl.h


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcStat:
    """One line of /proc/PID/stat. `cpu_ticks` is user + system time, `rss_pages` resident pages."""

    pid: int
    state: str
    ppid: int
    pgrp: int
    session: int
    cpu_ticks: int
    start: int
    rss_pages: int

    @property
    def is_zombie(self) -> bool:
        return self.state in ("Z", "X", "x")


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A process that we started or adopted, held by a pidfd. `ours`: we can reap it."""

    pid: int
    start: int
    pidfd: int
    ours: bool

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.pidfd)


# Looking ----------------------------------------------------------------------------------------


def read_stat(pid: int) -> ProcStat | None:
    """Read /proc/PID/stat; None when the process is gone."""
    try:
        # Bare calls: a sweep reads this file of every process, with the bot waiting to be started.
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.read(fd, 4096)
        finally:
            os.close(fd)
    except OSError:
        return None
    # The command stands in parentheses and may itself hold spaces and parentheses.
    fields = data[data.rfind(b")") + 2 :].split()
    if len(fields) < 22:
        return None
    return ProcStat(
        pid=pid,
        state=fields[0].decode("ascii"),
        ppid=int(fields[1]),
        pgrp=int(fields[2]),
        session=int(fields[3]),
        cpu_ticks=int(fields[11]) + int(fields[12]),
        start=int(fields[19]),
        rss_pages=int(fields[21]),
    )


def all_processes() -> dict[int, ProcStat]:
    """Read every process that /proc shows."""
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - names alone; a Path each costs ten times
        if name.isdigit() and (stat := read_stat(int(name))) is not None:
            found[stat.pid] = stat
    return found


def group_members(
    group: int, *, reaper: int | None = None, spare: Iterable[int] = ()
) -> list[ProcStat]:
    """Find the living members of a child's group, the leader first.

    Members have the group's id as group or session. With `reaper` (our own PID) everything that
    descends from it counts too, except `spare` and what descends from those: a grandchild that made
    a session of its own is reparented to us when its parent dies, and is still the child's.
    """
    processes = all_processes()
    spared = {os.getpid(), *spare}

    def descends(stat: ProcStat) -> bool:
        seen = set()
        while stat.ppid not in seen:
            if stat.pid in spared:
                return False
            if stat.ppid == reaper:
                return True
            seen.add(stat.ppid)
            parent = processes.get(stat.ppid)
            if parent is None:
                return False
            stat = parent
        return False

    found = [
        stat
        for stat in processes.values()
        if not stat.is_zombie
        and stat.pid not in spared
        and (group in (stat.pgrp, stat.session) or (reaper is not None and descends(stat)))
    ]
    return sorted(found, key=lambda stat: (stat.pid != group, stat.pid))


def lock_holders(path: Path) -> list[ProcStat]:
    """Find the processes that hold the exclusive flock on the file, except ourselves.

    A descriptor's fdinfo shows the lock of its open file, so a reader that merely has the file
    open, or looks at the lock with a shared try, is never taken for a holder.
    """
    return [
        stat
        for pid, stat in all_processes().items()
        if pid != os.getpid() and not stat.is_zombie and holds_lock(pid, path)
    ]


def holds_lock(pid: int, path: Path) -> bool:
    """Tell whether the process itself has the exclusive flock on the file, by any descriptor."""
    try:
        wanted = path.stat(follow_symlinks=False)
        entries = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
    for entry in entries:
        with contextlib.suppress(OSError):
            seen = entry.stat()
            if (seen.st_dev, seen.st_ino) != (wanted.st_dev, wanted.st_ino):
                continue
            info = Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text(encoding="ascii")
            if any(
                line.startswith("lock:") and "FLOCK" in line and "WRITE" in line
                for line in info.splitlines()
            ):
                return True
    return False


# Signalling -------------------------------------------------------------------------------------


def open_pidfd(pid: int, start: int) -> int | None:
    """Open a pidfd of exactly this process; None when it is gone or the PID was recycled."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    # Compared after the open: from here on the descriptor names this process and no other.
    if process_start_ticks(pid) != start:
        os.close(pidfd)
        return None
    return pidfd


def adopt(identity: ProcessId) -> Child | None:
    """Take a running process that is not our child; None when it is gone."""
    pidfd = open_pidfd(identity.pid, identity.start)
    if pidfd is None:
        return None
    return Child(pid=identity.pid, start=identity.start, pidfd=pidfd, ours=False)


def send(pidfd: int, signum: int) -> bool:
    """Signal through a pidfd; False when the process is gone."""
    try:
        signal.pidfd_send_signal(pidfd, signum)
    except ProcessLookupError:
        return False
    return True


def signal_members(members: Iterable[ProcStat], signum: int) -> list[int]:
    """Signal each member that is still the process we saw; returns the PIDs reached."""
    reached = []
    for member in members:
        pidfd = open_pidfd(member.pid, member.start)
        if pidfd is None:
            continue
        try:
            if send(pidfd, signum):
                reached.append(member.pid)
        except PermissionError:
            pass  # it changed its user: not ours to end, and the caller's proof will show it
        finally:
            os.close(pidfd)
    return reached


def kill_until_empty(find: Callable[[], list[ProcStat]], timeout_s: float) -> list[ProcStat]:
    """KILL whatever `find` shows until it shows nothing; returns who is left after `timeout_s`.

    It waits on the victims' pidfds, not on a clock. A victim can outlast KILL only in an
    uninterruptible system call, which is why there is an end to the patience.
    """
    deadline = time.monotonic() + timeout_s
    while members := find():
        left = deadline - time.monotonic()
        if left <= 0:
            return members
        pidfds = [fd for m in members if (fd := open_pidfd(m.pid, m.start)) is not None]
        try:
            for pidfd in pidfds:
                with contextlib.suppress(PermissionError):
                    send(pidfd, signal.SIGKILL)
            wait_gone(pidfds, left)
        finally:
            for pidfd in pidfds:
                os.close(pidfd)
    return []


def wait_gone(pidfds: Iterable[int], timeout_s: float | None) -> bool:
    """Wait until every process behind the pidfds has ended; False when the time ran out."""
    waiting = set(pidfds)
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    poller = select.poll()
    for pidfd in waiting:
        poller.register(pidfd, select.POLLIN)
    while waiting:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready = poller.poll(None if left is None else left * 1000)
        if not ready and left is not None and left <= 0:
            return False
        for pidfd, _ in ready:
            poller.unregister(pidfd)
            waiting.discard(pidfd)
    return True


def wait_reaped(identity: ProcessId, timeout_s: float = 2.0) -> None:
    """Wait until an ended process of somebody else's is out of the process table too.

    Its parent (init, for a supervisor) reaps it within milliseconds; nothing announces that, so
    this looks at short intervals and gives up quietly: a zombie runs nothing and holds nothing.
    """
    deadline, pause = time.monotonic() + timeout_s, 0.001
    while (stat := read_stat(identity.pid)) is not None and stat.start == identity.start:
        if time.monotonic() > deadline:
            return
        time.sleep(pause)
        pause = min(0.02, pause * 1.5)


# Reaping ----------------------------------------------------------------------------------------


def become_subreaper() -> None:
    """Let orphaned descendants be reparented to this process, so that it can reap them."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def peek_exited() -> int | None:
    """Find a child that has ended, without reaping it; None when there is none."""
    try:
        info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if info is None else info.si_pid


def reap(pid: int) -> int:
    """Reap an ended child; returns its exit code, or minus the signal that killed it."""
    return reap_used(pid)[0]


def reap_used(pid: int) -> tuple[int, int, float]:
    """Reap an ended child; its exit code, the bytes it held at most, the CPU seconds it took."""
    _, status, used = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code, used.ru_maxrss * 1024, used.ru_utime + used.ru_stime
