"""Who is alive: identities, PID files, locks looked at from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from registry_world import Holder, wait_for

from core.identity import (
    LockTable,
    ProcessId,
    boot_id,
    identify,
    process_start_ticks,
    read_pid_file,
    take_lock,
)


def test_a_running_process_is_itself() -> None:
    """PID, start and boot agree."""
    own = identify(os.getpid())
    assert own is not None
    assert own.is_alive()
    assert own.boot == boot_id() != ""


@pytest.mark.parametrize("change", [{"start": 1}, {"boot": "another"}, {"pid": 0}, {"pid": -1}])
def test_any_difference_is_somebody_else(change: dict[str, int]) -> None:
    """A recycled PID, an earlier boot, no PID at all."""
    own = identify(os.getpid())
    assert own is not None
    assert not own._replace(**change).is_alive()  # type: ignore[arg-type]


def test_a_zombie_is_gone() -> None:
    """It runs nothing and holds nothing, though its PID is still taken."""
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    try:
        wait_for(lambda: process_start_ticks(child.pid) is None, "the end of the child")
        assert Path(f"/proc/{child.pid}").exists()
        assert identify(child.pid) is None
    finally:
        child.wait()


def test_a_hostile_process_name_is_read_past(tmp_path: Path) -> None:
    """Spaces and parentheses in the command's name move no field."""
    name = tmp_path / "a) S 1 (b"
    name.symlink_to(sys.executable)
    with subprocess.Popen([str(name), "-S", "-c", "input()"], stdin=subprocess.PIPE) as child:
        ticks = process_start_ticks(child.pid)
        child.communicate(b"\n")
    own = process_start_ticks(os.getpid())
    assert ticks is not None
    assert own is not None
    assert ticks >= own


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"42\n", (42, None)),
        (b"42\n1234\n", (42, 1234)),
        (b"42", (42, None)),
        (b"42 1234", (42, 1234)),
        (b"", None),
        (b"0\n", None),
        (b"-7\n", None),
        (b"4x2\n", None),
        (b"42\nx\n", None),
        (b"\xd9\xa4\xd9\xa2\n", None),
        (b"\0\0\0\0", None),
    ],
)
def test_read_pid_file(tmp_path: Path, content: bytes, expected: object) -> None:
    """Two numbers or one; anything else is no PID."""
    path = tmp_path / "x.pid"
    path.write_bytes(content)
    assert read_pid_file(path) == expected


def test_read_pid_file_of_what_is_no_file(tmp_path: Path) -> None:
    """Missing, a link, a folder, a FIFO: nothing, and no waiting."""
    (tmp_path / "real").write_text("42\n")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "fifo")
    for name in ("none", "link", "fifo", "."):
        assert read_pid_file(tmp_path / name) is None


def test_a_lock_is_seen_and_its_taker_named(tmp_path: Path) -> None:
    """Held while its holder lives, free after; a file that nobody locked is free."""
    lock, other = tmp_path / "a.lock", tmp_path / "b.lock"
    other.touch()
    with Holder(lock) as holder:
        assert LockTable().is_held(lock)
        assert LockTable().is_held(lock, expected=True)
        assert LockTable().holder(lock) == holder.pid
        assert not LockTable().is_held(other)
        assert LockTable().holder(other) is None
    assert not LockTable().is_held(lock)
    assert LockTable().holder(lock) is None


def test_take_lock(tmp_path: Path) -> None:
    """It waits out a short look, and gives up on a real holder."""
    path = tmp_path / "a.lock"
    with Holder(path) as holder, path.open("a") as lock:
        assert take_lock(lock.fileno(), patience_s=0.02) is False
        holder.end()
        assert take_lock(lock.fileno()) is True


def test_a_hostile_proc_locks_is_read_past(tmp_path: Path) -> None:
    """Waiters and lines of other kinds hold nothing."""
    path = tmp_path / "a.lock"
    path.touch()
    inode = path.stat().st_ino
    table = tmp_path / "locks"
    table.write_text(
        f"1: -> FLOCK  ADVISORY  WRITE 1 fe:00:{inode} 0 EOF\n"
        f"2: LEASE  ACTIVE    WRITE 1 fe:00:{inode} 0 EOF\n"
        "3: FLOCK\n\nnonsense\n4: FLOCK  ADVISORY  WRITE x fe:00:y 0 EOF\n"
    )
    assert LockTable(table).holder(path) is None
    assert ProcessId(pid=1, start=1) == (1, 1, "")
