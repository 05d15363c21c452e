"""Who descends from whom: by the kernel's lists, over real forks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_fleet import wait_for

from core import family
from core.process import read_stat


@pytest.fixture(autouse=True)
def lists() -> None:
    if family.children_of(os.getpid()) is None:
        pytest.skip("this kernel has no lists of children (CONFIG_PROC_CHILDREN)")


def test_a_family_is_the_process_and_all_its_descendants(tmp_path: Path) -> None:
    """Children of threads too; nobody else."""
    note = tmp_path / "pids"
    code = (
        "import os, subprocess, sys, threading, time\n"
        "def start():\n"
        "    inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"    open({str(note)!r}, 'w').write(str(inner.pid))\n"
        "    time.sleep(600)\n"
        "threading.Thread(target=start).start()\n"
    )
    outer = subprocess.Popen([sys.executable, "-c", code])
    try:
        inner = int(wait_for(lambda: note.exists() and note.read_text(), "the inner process"))
        found = family.family(outer.pid)
        assert found is not None
        assert [member.pid for member in found] == [outer.pid, inner]
        os.kill(inner, signal.SIGKILL)
        wait_for(lambda: len(family.family(outer.pid) or ()) == 1, "the inner one's end")
    finally:
        outer.kill()
        outer.wait()
    assert family.family(outer.pid) == []


def test_a_dead_child_that_left_nobody_is_proven_so() -> None:
    """A zombie of ours alone is proof; one more child, and it is none."""
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    try:
        wait_for(lambda: (stat := read_stat(dead)) is not None and stat.is_zombie, "a zombie")
        mine = set(family.children_of(os.getpid()) or ()) - {dead}
        assert family.is_childless_but(dead, mine)
        more = os.fork()
        if more == 0:
            time.sleep(600)
            os._exit(0)
        try:
            assert not family.is_childless_but(dead, mine)
            assert family.is_childless_but(dead, {*mine, more})
        finally:
            os.kill(more, signal.SIGKILL)
            os.waitpid(more, 0)
    finally:
        os.waitpid(dead, 0)


def test_a_kernel_without_lists_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The callers then look through all of /proc."""
    monkeypatch.setattr(family, "children_of", lambda _: None)
    assert not family.is_childless_but(1)
    assert family.family(os.getppid()) is None
