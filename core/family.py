"""Who descends from whom, told by the kernel's lists of children.

A look through all of /proc reads a file for each process of the machine; the lists of children
(`/proc/PID/task/TID/children`, proc(5)) name a family at the price of its own size. A kernel built
without them says so by their absence, and the callers then look through everything.

What they are good for: sampling a group, and proof that a dead child left nobody. We are a child
subreaper, so when a child has ended, whoever it left is in *our* list by then (the kernel moves
orphans before it tells of the death), and a list shrinks only when we reap. Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Collection

from core.process import ProcStat, read_stat


def children_of(pid: int) -> list[int] | None:
    """List the children of a process and all its threads, zombies too; None: nobody can tell."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - numbers, not paths
    except FileNotFoundError:
        return []
    except OSError:
        return None
    for thread in threads:
        path = f"/proc/{pid}/task/{thread}/children"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            if thread == str(pid) and os.path.isdir(f"/proc/{pid}"):  # noqa: PTH112 - bare and quick
                return None  # this kernel has no such lists
            continue
        except OSError:
            return None
        try:
            while chunk := os.read(fd, 4096):
                found += [int(word) for word in chunk.split()]
        except ProcessLookupError:
            continue
        finally:
            os.close(fd)
    return found


def is_childless_but(pid: int, spare: Collection[int] = ()) -> bool:
    """Prove that we have no child but the ended `pid` (a zombie, not reaped) and `spare`.

    False means no more than that it isn't proven.
    """
    children = children_of(os.getpid())
    return children is not None and set(children) <= {pid, *spare}


def family(pid: int, *, adopted: Collection[int] = ()) -> list[ProcStat] | None:
    """Read a process and everything that descends from it, the process first.

    `adopted`: orphans that came to us and count as its own. None: nobody can tell.
    """
    found: list[ProcStat] = []
    waiting, seen = [pid, *adopted], {os.getpid()}
    while waiting:
        one = waiting.pop(0)
        if one in seen:
            continue
        seen.add(one)
        stat = read_stat(one)
        if stat is None or stat.is_zombie:
            continue
        found.append(stat)
        children = children_of(one)
        if children is None:
            return None
        waiting += children
    return found
