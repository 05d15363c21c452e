"""Resource limits of a child that runs already, by prlimit(2): data, core dumps, descriptors.

Set right after the spawn: from exec to there it is some hundredths of a millisecond, in which no
program has begun to do anything, and a spawn that copies nothing stays one. Everything that it
starts later inherits them. Nothing here raises. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path

from core import kernel_limits

BOT_FILES = 4096
"""Of our bot: its database, its streams and some hundred connections to its page take 300."""


def limit_data(pid: int, memory_limit_mb: int | None, *, is_bot: bool, lives: bool) -> int | None:
    """Bound what the process may map; gives the bytes in force, None when no limit of ours is.

    A limit that we run under ourselves is never widened. `lives`: it has run for a while and may
    have more than the limit allows; it keeps what it has, and some more.
    """
    own, _ = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = resource.RLIM_INFINITY
    if memory_limit_mb is not None:
        stack, _ = resource.getrlimit(resource.RLIMIT_STACK)
        wanted = kernel_limits.data_bytes(
            memory_limit_mb,
            stack=None if stack == resource.RLIM_INFINITY else stack,
            is_bot=is_bot,
        )
        if lives:
            wanted = kernel_limits.never_below(wanted, mapped_data(pid))
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_DATA)
        soft = _least(wanted, own, hard)
        resource.prlimit(pid, resource.RLIMIT_DATA, (soft, hard))
        if memory_limit_mb is not None:
            return soft
    return None


def forbid_core_dump(pid: int) -> None:
    """Let no dump of its memory be written: keys stand in it.

    A dump that is piped into a program does not ask for the limit, so what such a dump would hold
    is emptied too (core(5), coredump_filter).
    """
    with contextlib.suppress(OSError, ValueError):
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        fd = os.open(f"/proc/{pid}/coredump_filter", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"0")
        finally:
            os.close(fd)


def allow_files(pid: int, wanted: int = BOT_FILES) -> None:
    """Raise the number of descriptors that it may have open, as far as the hard limit goes."""
    with contextlib.suppress(OSError, ValueError):
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            soft = _least(wanted, hard)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def mapped_data(pid: int) -> int:
    """Read how many bytes RLIMIT_DATA counts of a process at present; 0 when nobody can tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return kernel_limits.size_of(status, "VmData") or 0


def _least(*limits: int) -> int:
    finite = [limit for limit in limits if limit != resource.RLIM_INFINITY]
    return min(finite, default=resource.RLIM_INFINITY)
