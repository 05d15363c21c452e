"""S26: systemd is told when a start is decided, as sd_notify(3) says; real sockets."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_daemon_manager import SCRIPT, write_config
from toy_fleet import DEADLINE_S, TOY, ToyFleet, wait_for

from core.notify import VARIABLE, Notifier


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[ToyFleet]:
    root = tmp_path / "root"
    (root / "config" / "active").mkdir(parents=True)
    shutil.copy(TOY, root / "toy.py")
    fleet = ToyFleet(root)
    yield fleet
    fleet.clean_up()


@pytest.mark.parametrize("is_abstract", [True, False])
def test_it_is_said_once_when_the_start_is_decided(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_abstract: bool
) -> None:
    """A failure is a decision too; the address goes out of the environment at once."""
    name = f"@gridfleet-{os.getpid()}" if is_abstract else "socket"
    monkeypatch.chdir(tmp_path)  # a short name: a socket's path has 108 bytes
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as heard:
        heard.bind("\0" + name[1:] if is_abstract else name)
        monkeypatch.setenv(VARIABLE, name)
        notifier = Notifier()
        assert VARIABLE not in os.environ
        notifier.hear({"state": "STARTING"})
        with pytest.raises(BlockingIOError):
            heard.recv(100)
        notifier.hear({"state": "BACKOFF"})
        notifier.hear({"state": "RUNNING"})
        assert heard.recv(100) == b"READY=1"
        with pytest.raises(BlockingIOError):
            heard.recv(100)


def test_where_nobody_listens_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    Notifier().hear({"state": "RUNNING"})
    monkeypatch.setenv(VARIABLE, str(tmp_path / "gone"))
    Notifier().hear({"state": "RUNNING"})


@pytest.mark.slow
def test_a_supervisor_under_systemd_says_when_its_bot_is_ready(
    fleet: ToyFleet, tmp_path: Path
) -> None:
    """S26: not before the record says RUNNING; its bot can't speak for it."""
    write_config(fleet, "toy")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        name = f"\0gridfleet-{os.getpid()}-ready"
        heard.bind(name)
        heard.settimeout(DEADLINE_S)
        words = (sys.executable, str(SCRIPT), "--root", str(fleet.root), "start", "--foreground")
        with subprocess.Popen(
            [*words, "--config", "toy"],
            env={**os.environ, VARIABLE: "@" + name[1:]},
            stdout=subprocess.DEVNULL,
            cwd=tmp_path,
        ) as supervisor:
            assert heard.recv(100) == b"READY=1"
            assert fleet.status() == "RUNNING"
            environ = Path(f"/proc/{fleet.bot_pid()}/environ").read_bytes()
            assert VARIABLE.encode() not in environ
            supervisor.send_signal(signal.SIGTERM)
            assert supervisor.wait(DEADLINE_S) == 0
    wait_for(lambda: not fleet.processes(), "the end of all")
