"""Locks and PID files: held for life, never through a link, proof only together."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core import pidfile, process
from core.identity import identify, process_start_ticks, read_pid_file


def test_a_lock_is_held_once_and_freed_by_its_descriptor(tmp_path: Path) -> None:
    """S3: existence means nothing, the flock does; the file stays."""
    path = tmp_path / ".supervisor.lock"
    fd = pidfile.acquire(path)
    assert fd is not None
    assert pidfile.is_held(path)
    assert pidfile.acquire(path) is None
    os.close(fd)
    assert path.exists()
    assert not pidfile.is_held(path)
    again = pidfile.acquire(path)
    assert again is not None
    os.close(again)


def test_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    """Umask 000 still makes 0600."""
    before = os.umask(0)
    try:
        fd = pidfile.acquire(tmp_path / ".bot.lock")
        pidfile.write_pid(tmp_path / "bot.pid", 17, 4711)
    finally:
        os.umask(before)
    assert fd is not None
    os.close(fd)
    for name in (".bot.lock", "bot.pid"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_a_pid_file_has_the_pid_alone_on_its_first_line(tmp_path: Path) -> None:
    """The contract's form, with the start time on a second line for the bot."""
    pidfile.write_pid(tmp_path / "daemon.pid", 17)
    pidfile.write_pid(tmp_path / "bot.pid", 18, 4711)
    assert (tmp_path / "daemon.pid").read_text() == "17\n"
    assert (tmp_path / "bot.pid").read_text() == "18\n4711\n"
    assert read_pid_file(tmp_path / "bot.pid") == (18, 4711)


@pytest.mark.parametrize(
    ("name", "write"),
    [(".bot.lock", pidfile.acquire), ("bot.pid", lambda path: pidfile.write_pid(path, 17))],
)
def test_a_planted_link_is_refused_and_its_target_stays_whole(
    tmp_path: Path, name: str, write: Callable[[Path], object]
) -> None:
    """Nothing is ever written through a link that somebody left at our name."""
    target = tmp_path / "precious"
    target.write_text("whole")
    (tmp_path / name).symlink_to(target)
    with pytest.raises(OSError, match=r"link|symbolic"):
        write(tmp_path / name)
    assert target.read_text() == "whole"
    pidfile.remove_pid(tmp_path / name)
    assert target.read_text() == "whole"


def test_alive_is_lock_and_identity_together(tmp_path: Path) -> None:
    """FAILURES 16: a PID file alone proves nothing, nor does a held lock with a stale PID."""
    lock, pid_file = tmp_path / ".bot.lock", tmp_path / "bot.pid"
    me = identify(os.getpid())
    assert me is not None
    pidfile.write_pid(pid_file, me.pid, me.start)
    assert pidfile.live_holder(lock, pid_file) is None
    fd = pidfile.acquire(lock)
    assert fd is not None
    assert pidfile.live_holder(lock, pid_file) == me
    pidfile.write_pid(pid_file, me.pid, me.start - 1)  # the number was recycled
    assert pidfile.live_holder(lock, pid_file) is None
    os.close(fd)
    pidfile.write_pid(pid_file, me.pid, me.start)
    assert pidfile.live_holder(lock, pid_file) is None, "the file is there, and nobody holds it"


def test_the_lock_file_names_its_supervisor(tmp_path: Path) -> None:
    """daemon.pid has no start time; the lock's own note tells it."""
    lock, pid_file = tmp_path / ".supervisor.lock", tmp_path / "daemon.pid"
    fd = pidfile.acquire(lock)
    me = identify(os.getpid())
    assert fd is not None
    assert me is not None
    pidfile.note_holder(fd, me)
    pidfile.write_pid(pid_file, me.pid)
    assert pidfile.live_holder(lock, pid_file) == me
    os.close(fd)


def test_only_an_exclusive_holder_is_a_holder(tmp_path: Path) -> None:
    """A reader with the file open, or a shared lock on it, must never be taken for a leftover."""
    path = tmp_path / ".bot.lock"
    path.touch()
    code = (
        "import fcntl, sys\n"
        "f = open(sys.argv[1])\n"
        "if sys.argv[2] != 'none': fcntl.flock(f, getattr(fcntl, sys.argv[2]))\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()"
    )
    for mode, expected in (("none", False), ("LOCK_SH", False), ("LOCK_EX", True)):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(path), mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as other:
            assert other.stdout is not None
            other.stdout.readline()
            holders = [holder.pid for holder in process.lock_holders(path)]
            assert holders == ([other.pid] if expected else []), mode
            assert process_start_ticks(other.pid) is not None
