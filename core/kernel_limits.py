"""The kernel's limits over a child: how far above `memory_limit_mb`, and what its files say.

Pure: numbers and texts in, numbers and texts out. What reads and writes them is `core.rlimits`,
`core.cgroups` and `core.bounds`.

Two guards stand behind the sampling of `core.monitor`, for what grows faster than it is looked at:

| guard | counts | at its limit |
| --- | --- | --- |
| cgroup v2 `memory.max`, where the system delegates | what the whole group has touched | kills it |
| `RLIMIT_DATA`, always | private writable memory that one process has mapped | ENOMEM |

Both stand above `memory_limit_mb`, so that the graceful restart by sampling (15 s) comes first
unless the growth outruns it. `RLIMIT_DATA` also counts what is mapped and never touched; nearly
all of that is the stacks of threads, so room for those is added. `RLIMIT_AS` would count every
library and file that is mapped as well, and says nothing of memory.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

MB = 1 << 20
LEAST_MARGIN_MB = 128
"""What a bot takes for seconds at most: a sort, a compression, its start (47 MB with its page)."""

BOT_STACKS = 72
"""Our bot runs 53 threads with its page (48 answer requests), some more when it trades live."""

OTHER_STACKS = 128
"""Nothing is known of another program; a hundred threads are many."""

UNLIMITED_STACK = 2 * MB
"""What glibc gives a thread when RLIMIT_STACK is unlimited (x86-64, pthread_create(3))."""

_SAID_LINES = 5
_SAID = re.compile(
    r"MemoryError|std::bad_alloc|cannot allocate memory|out of memory|can't start new thread",
    re.IGNORECASE,
)
_ESCAPE = re.compile(r"\\([0-7]{3})")


# How much -----------------------------------------------------------------------------------------


def backstop_bytes(memory_limit_mb: int) -> int:
    """What a child may really hold: half as much again as its limit, and at least 128 MB more."""
    return (memory_limit_mb + max(memory_limit_mb // 2, LEAST_MARGIN_MB)) * MB


def data_bytes(memory_limit_mb: int, *, stack: int | None, is_bot: bool) -> int:
    """What one process may have mapped: the same, and room for stacks.

    `stack` is the size of one in bytes, None when it is unlimited.
    """
    stacks = BOT_STACKS if is_bot else OTHER_STACKS
    return backstop_bytes(memory_limit_mb) + stacks * (UNLIMITED_STACK if stack is None else stack)


def never_below(wanted: int, used: int) -> int:
    """Keep a limit over a running child above what it has already.

    A limit that was lowered under it would end it at once; the sampling ends it gracefully.
    """
    return max(wanted, used + LEAST_MARGIN_MB * MB)


# What the kernel says -----------------------------------------------------------------------------


def group_folder(cgroup: str, mountinfo: str) -> tuple[str, bool] | None:
    """Find a process's cgroup v2 folder from the texts of /proc/PID/cgroup and mountinfo.

    The flag tells whether it is the root of the mount. None: no cgroup v2 that we see, or a group
    outside of what is mounted here.
    """
    path = next((line[3:] for line in cgroup.splitlines() if line.startswith("0::")), None)
    mount = _cgroup2_mount(mountinfo)
    if path is None or mount is None or path.endswith(" (deleted)"):
        return None
    root, folder = (text.rstrip("/") for text in mount)
    below = path.rstrip("/").removeprefix(root)
    is_inside = path.startswith(root) and (not below or below.startswith("/"))
    if not is_inside or ".." in path.split("/"):
        return None
    return folder + below, not below


def _cgroup2_mount(mountinfo: str) -> tuple[str, str] | None:
    """Give the root within the hierarchy and the mount point, proc_pid_mountinfo(5)."""
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if separator and after.split(" ")[0] == "cgroup2" and len(fields) >= 6:
            return _plain(fields[3]), _plain(fields[4])
    return None


def _plain(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), text)


def count_of(text: str, key: str) -> int | None:
    """Read one counter of a flat keyed file, as `oom_kill` of memory.events; None: not there."""
    for line in text.splitlines():
        name, _, count = line.partition(" ")
        if name == key and count.isdigit():
            return int(count)
    return None


def size_of(status: str, key: str) -> int | None:
    """Read one size of /proc/PID/status, in bytes; None: not there, as of a zombie."""
    for line in status.splitlines():
        name, _, rest = line.partition(":")
        size = rest.split()
        if name == key and size and size[0].isdigit():
            return int(size[0]) * 1024
    return None


# What the child said ------------------------------------------------------------------------------


def said_memory_is_out(streams: Sequence[Sequence[str]]) -> bool:
    """Tell whether the very last lines of a dead child speak of memory that it did not get."""
    return any(
        _SAID.search(line)
        for lines in streams
        for line in [line for line in lines if line.strip()][-_SAID_LINES:]
    )
