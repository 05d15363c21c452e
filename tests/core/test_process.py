"""Processes: exec or a reason, identity before any signal, whole groups, no zombie."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from toy_fleet import is_alive, wait_for

from core import process
from core.identity import ProcessId, boot_id
from core.process import Child
from core.spawning import SpawnError, close_inherited_on_exec, spawn, spawn_plain


@pytest.fixture
def null() -> Iterator[int]:
    fd = os.open("/dev/null", os.O_RDWR)
    yield fd
    os.close(fd)


@pytest.fixture
def children() -> Iterator[list[Child]]:
    made: list[Child] = []
    yield made
    for child in made:
        process.kill_until_empty(partial(process.group_members, child.pid), 5.0)
        with contextlib.suppress(ChildProcessError):
            process.reap(child.pid)
        child.close()


@pytest.fixture(params=["fork", "plain"])
def way(request: pytest.FixtureRequest) -> str:
    """Both ways to start a program keep the same rules."""
    return str(request.param)


def python(code: str, null: int, way: str = "fork", **options: object) -> Child:
    defaults: dict[str, object] = {"cwd": "/", "stdout": null, "stderr": null}
    argv, how = (sys.executable, "-c", code), {**defaults, **options}
    if way == "plain":
        close_inherited_on_exec()
        return spawn_plain(argv, env=dict(os.environ), **how)  # type: ignore[arg-type]
    return spawn(argv, **{"env": lambda: dict(os.environ), **how})  # type: ignore[arg-type]


def test_a_child_leads_its_own_session_and_reads_nothing(
    tmp_path: Path, null: int, children: list[Child], way: str
) -> None:
    """Own session and group, /dev/null as standard input, no descriptor of ours."""
    told = tmp_path / "told"
    code = (
        "import os, sys\n"
        "fds = sorted(int(n) for n in os.listdir('/proc/self/fd'))[:-1]\n"
        f"open({str(told)!r}, 'w').write(repr((os.getsid(0) == os.getpid(), "
        "os.getpgrp() == os.getpid(), sys.stdin.read(), fds)))"
    )
    leaked = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    child = python(code, null, way)
    children.append(child)
    os.close(leaked)
    process.wait_gone([child.pidfd], 10.0)
    assert process.reap(child.pid) == 0
    assert told.read_text() == repr((True, True, "", [0, 1, 2]))


def test_a_failed_exec_says_which_program_and_leaves_no_process(null: int) -> None:
    """The reason reaches the parent through the pipe; there is no child to reap."""
    with pytest.raises(SpawnError, match=r"/nowhere/prog: cannot be executed: No such file"):
        spawn(("/nowhere/prog",), cwd="/", env=dict, stdout=null, stderr=null)
    with pytest.raises(SpawnError, match=r"/nowhere/prog: cannot be executed: No such file"):
        spawn_plain(("/nowhere/prog",), cwd="/", env={}, stdout=null, stderr=null)
    assert process.peek_exited() is None


def test_a_missing_folder_and_a_bad_environment_are_named(null: int) -> None:
    """What fails between fork and exec fails with its own words."""
    with pytest.raises(SpawnError, match=r"working_dir /nowhere: No such file"):
        python("pass", null, cwd="/nowhere")
    here = Path.cwd()
    with pytest.raises(SpawnError, match=r"working_dir /nowhere: No such file"):
        python("pass", null, "plain", cwd="/nowhere")
    assert Path.cwd() == here

    def broken() -> dict[str, str]:
        raise LookupError("environment.TOKEN: the variable TOKEN is not set")

    with pytest.raises(SpawnError, match=r"the variable TOKEN is not set"):
        python("pass", null, env=broken)


def test_a_kept_descriptor_survives_the_exec(
    tmp_path: Path, null: int, children: list[Child], way: str
) -> None:
    """The bot lock's descriptor keeps its number over exec."""
    fd = os.open(tmp_path / "kept", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    child = python(f"import os; os.write({fd}, b'here')", null, way, keep_fds=(fd,))
    children.append(child)
    process.wait_gone([child.pidfd], 10.0)
    assert os.pread(fd, 10, 0) == b"here"
    os.close(fd)


def test_signals_are_as_new_in_the_child(
    tmp_path: Path, null: int, children: list[Child], way: str
) -> None:
    """What we ignore or block, the child must not."""
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    told = tmp_path / "told"
    code = (
        "import re\n"
        "text = open('/proc/self/status').read()\n"
        "found = [re.search(rf'Sig{name}:\\s*(\\S+)', text)[1] for name in ('Blk', 'Ign')]\n"
        f"open({str(told)!r}, 'w').write(' '.join(found))"
    )
    try:
        child = python(code, null, way)
    finally:
        signal.signal(signal.SIGUSR1, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    children.append(child)
    process.wait_gone([child.pidfd], 10.0)
    is_blocked, is_ignored = (int(word, 16) for word in told.read_text().split())
    assert is_blocked == 0
    assert not is_ignored & 1 << (signal.SIGUSR1 - 1)


def test_a_recycled_pid_is_never_opened(null: int, children: list[Child]) -> None:
    """S2: the same number with another start time is another process."""
    child = python("import time; time.sleep(60)", null)
    children.append(child)
    assert process.open_pidfd(child.pid, child.start + 1) is None
    stranger = ProcessId(pid=child.pid, start=child.start - 1, boot=boot_id())
    assert process.adopt(stranger) is None
    stat = process.read_stat(child.pid)
    assert stat is not None
    assert process.signal_members([replace(stat, start=stat.start + 1)], signal.SIGKILL) == []
    assert is_alive(child.pid)


def test_a_group_is_killed_to_its_last_member(
    tmp_path: Path, null: int, children: list[Child]
) -> None:
    """S6: a grandchild that ignores TERM, and one that left the group, are found and ended."""
    marks = [tmp_path / "one", tmp_path / "two"]
    grandchild = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "open(sys.argv[1], 'w').write(str(os.getpid()))\n"
        "time.sleep(60)"
    )
    code = (
        "import os, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {grandchild!r}, {str(marks[0])!r}])\n"
        f"subprocess.Popen([sys.executable, '-c', {grandchild!r}, {str(marks[1])!r}],"
        " process_group=0)\n"
        "time.sleep(60)"
    )
    child = python(code, null)
    children.append(child)
    pids = [int(wait_for(mark.read_text, str(mark))) for mark in marks]
    members = {m.pid for m in process.group_members(child.pid)}
    assert members == {child.pid, *pids}
    assert process.kill_until_empty(lambda: process.group_members(child.pid), 10.0) == []
    assert not any(is_alive(pid) for pid in pids)
    assert process.reap(child.pid) == -signal.SIGKILL


def test_a_zombie_is_no_member(null: int, children: list[Child]) -> None:
    """A group is empty when only its unreaped leader is left."""
    child = python("pass", null)
    children.append(child)
    process.wait_gone([child.pidfd], 10.0)
    assert process.peek_exited() == child.pid
    assert process.group_members(child.pid) == []
    assert process.reap(child.pid) == 0


def test_waiting_for_the_living_ends_in_time(null: int, children: list[Child]) -> None:
    """The wait is on descriptors, with a deadline."""
    child = python("import time; time.sleep(60)", null)
    children.append(child)
    assert process.wait_gone([child.pidfd], 0.05) is False
    process.send(child.pidfd, signal.SIGKILL)
    assert process.wait_gone([child.pidfd], 10.0) is True
    process.reap(child.pid)
    assert process.send(child.pidfd, signal.SIGTERM) is False
