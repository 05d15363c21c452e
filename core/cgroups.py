"""A cgroup v2 group of its own for each child, where the system lets us have one.

What lives here: finding the folder in which we may make groups, and one group. How far its limits
go is `core.kernel_limits`'; when it is made and left is `core.bounds`'.

Which folder is ours (cgroups have one writer each, so a writable one need not be):

| where the supervisor is | groups are made |
| --- | --- |
| in `supervisor`, below a delegated folder (our units' `DelegateSubgroup=`) | beside it |
| alone in a delegated folder that is no systemd service (a container) | below it; we move too |
| anywhere else | nowhere |

A folder is delegated when we, no root, may write it; root asks systemd's mark, or is at the root of
a namespace of its own. A service without a subgroup is left alone: a folder whose controllers are
given to its children takes no process itself, so systemd could not start the next supervisor as
long as the bot lives, and nobody would adopt it.

Errors: OSError, as the kernel gave it. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from core import kernel_limits

SUPERVISORS = "supervisor"
"""The name that our units give as `DelegateSubgroup=`."""

_MARKS = ("user.delegate", "trusted.delegate")  # systemd, CGROUP_DELEGATION
_WRITTEN = ("cgroup.procs", "cgroup.subtree_control")
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A group's folder; `is_root`: of the mount that we see."""

    folder: Path
    is_root: bool


def place_of(pid: int | str, *, proc: Path = _PROC) -> Place | None:
    """Find the group that a process is in; None without cgroup v2, or when it is gone."""
    try:
        cgroup = (proc / str(pid) / "cgroup").read_text(encoding="utf-8", errors="surrogateescape")
        mounts = (proc / "self" / "mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    found = kernel_limits.group_folder(cgroup, mounts)
    return None if found is None else Place(folder=Path(found[0]), is_root=found[1])


def find_base(own: Place | None) -> tuple[Path | None, str]:
    """Find where groups of children are to be made, and move there if need be; else say why not.

    Errors: OSError when it is granted and yet does not work.
    """
    if own is None:
        return None, "there is no cgroup v2 here"
    if own.folder.name == SUPERVISORS and not own.is_root:
        base = own.folder.parent
        # Whether the parent is the mount's root does not matter: systemd marks what it delegates.
        if not (why := _why_not_ours(Place(folder=base, is_root=False))):
            _give_controllers(base)
            return base, ""
        return None, why
    if why := _why_not_ours(own):
        return None, why
    if own.folder.suffix == ".service":
        return None, f"{own.folder} is a service without DelegateSubgroup={SUPERVISORS}"
    if _pids_in(own.folder) != [os.getpid()]:
        return None, f"others are in {own.folder} too"
    leaf = own.folder / SUPERVISORS
    leaf.mkdir(exist_ok=True)
    _write(leaf / "cgroup.procs", os.getpid())
    _give_controllers(own.folder)
    return own.folder, ""


def _why_not_ours(place: Place) -> str:
    folder = place.folder
    try:
        controllers = (folder / "cgroup.controllers").read_text().split()
    except OSError as error:
        return f"{folder}: {error.strerror}"
    if "memory" not in controllers:
        return f"{folder} has no memory controller"
    if not all(os.access(path, os.W_OK) for path in (folder, *(folder / n for n in _WRITTEN))):
        return f"{folder} is not ours to write"
    # The machine's own root has no events; the root of a container's namespace has.
    is_own_namespace = place.is_root and (folder / "cgroup.events").exists()
    if os.geteuid() == 0 and not is_own_namespace and not _is_marked(folder):
        return f"{folder} is not delegated"
    return ""


def _is_marked(folder: Path) -> bool:
    for mark in _MARKS:
        with contextlib.suppress(OSError):
            if os.getxattr(folder, mark) == b"1":
                return True
    return False


def _give_controllers(base: Path) -> None:
    """Let the children of the folder have limits of memory, and of processes if that is there."""
    _write(base / "cgroup.subtree_control", "+memory")
    with contextlib.suppress(OSError):
        _write(base / "cgroup.subtree_control", "+pids")


class Group:
    """One instance's group: `bot-ID`. Its limits are the kernel's, so they outlive us."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def make(cls, base: Path, instance_id: str) -> Group:
        """Make it, or take the one that is there."""
        group = cls(base / _name(instance_id))
        group.folder.mkdir(exist_ok=True)
        return group

    @classmethod
    def of(cls, pid: int, instance_id: str) -> Group | None:
        """Find the group that an earlier supervisor made for this living child."""
        place = place_of(pid)
        if place is None or place.folder.name != _name(instance_id):
            return None
        return cls(place.folder) if os.access(place.folder / "cgroup.procs", os.W_OK) else None

    def limit(self, memory: int | None, pids: int | None) -> None:
        """Set what it may hold; None: no limit. Over its memory it is killed as a whole.

        Nothing of it goes to swap: a bot that waits for a disk trades too late, and a leak that
        swaps stops the machine.
        """
        _write(self.folder / "memory.max", "max" if memory is None else memory)
        for name, value in (
            ("memory.swap.max", "max" if memory is None else 0),
            ("memory.oom.group", 1),
            ("pids.max", "max" if pids is None else pids),
        ):
            with contextlib.suppress(OSError):  # no swap accounting, no pids controller
                _write(self.folder / name, value)

    def add(self, pid: int) -> None:
        """Move a process in."""
        _write(self.folder / "cgroup.procs", pid)

    def pids(self) -> list[int]:
        """List who is in it, zombies not."""
        return _pids_in(self.folder)

    def kill(self) -> None:
        """KILL everybody in it at once, also who is just being forked (Linux 5.14)."""
        _write(self.folder / "cgroup.kill", 1)

    def held(self) -> int:
        """Tell the bytes that it holds."""
        return int((self.folder / "memory.current").read_text())

    def oom_kills(self) -> int | None:
        """Tell how many of its processes were killed for want of memory."""
        try:
            text = (self.folder / "memory.events").read_text()
        except OSError:
            return None
        return kernel_limits.count_of(text, "oom_kill")

    def remove(self) -> None:
        """Remove it; nobody may be in it."""
        self.folder.rmdir()


def _name(instance_id: str) -> str:
    return f"bot-{instance_id}"  # an id is letters, digits, _ and -: no file of the kernel's


def _pids_in(folder: Path) -> list[int]:
    return [int(word) for word in (folder / "cgroup.procs").read_text().split()]


def _write(path: Path, value: int | str) -> None:
    """Write one value by one write, which is what the kernel takes; never make a file."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)
