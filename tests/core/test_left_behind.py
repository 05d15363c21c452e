"""What a death of the supervisor leaves behind, and what the next one makes of it: no hand needed.

Sockets, files and a writing program, each left as SIGKILL leaves them, at no moment of its choice.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from free_ports import free_port
from toy_fleet import TOY, ToyFleet, is_alive, wait_for

from core.desired import Desired

pytestmark = pytest.mark.slow

FIFO_BYTES = 65536  # what a pipe holds; a program writes so much without any reader


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[ToyFleet]:
    fleet = ToyFleet(tmp_path)
    yield fleet
    fleet.clean_up()


def kill(*pids: int) -> None:
    """End each with no chance to tidy up, and wait until it is gone."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: not is_alive(pid), f"the end of {pid}")


def test_a_stale_control_socket_is_taken_over(fleet: ToyFleet) -> None:
    """S4: its file is still there and nobody listens: the next supervisor is reached by it."""
    spec = fleet.spec()
    one = fleet.start(spec)
    kill(int(one.last["pid"]))
    folder = os.open(fleet.folder(), os.O_PATH)  # a deep root passes the socket's 108 bytes so
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
        client.connect(f"/proc/self/fd/{folder}/control.sock")
    os.close(folder)
    again = fleet.start(spec)
    assert again.outcome == "ready"
    assert fleet.ask("status")["pid"] == again.last["pid"]


def test_a_writing_program_outlives_its_supervisor(fleet: ToyFleet) -> None:
    """No death: its reader is gone, and it writes on; not a line of it is lost."""
    spec = fleet.spec("toy", "--chatter", "0.01", is_bot=False)
    one = fleet.start(spec)
    program = fleet.bot_pid()

    def written() -> int:
        return int(Path(f"/proc/{program}/io").read_text().split("wchar:")[1].split()[0])

    kill(int(one.last["pid"]))
    before = written()
    wait_for(lambda: written() > before + 2000, "lines with no reader")
    assert written() - before < FIFO_BYTES, "it could not have written more"
    assert is_alive(program)
    again = fleet.start(spec)
    assert (again.outcome, again.last["bot_pid"]) == ("ready", program)
    fleet.stop()
    lines = re.findall(rf"line {program} (\d+) \.{{40}} end\n", fleet.output("bot_stdout.log"))
    assert [int(number) for number in lines] == list(range(1, len(lines) + 1))
    assert len(lines) > 30


def test_failure_16_stale_files_of_the_dead_stop_nobody(fleet: ToyFleet) -> None:
    """PID files, locks, socket and record of both are left: a start needs no `rm`, no `pkill`."""
    spec = fleet.spec()
    one = fleet.start(spec)
    dead = (int(one.last["pid"]), fleet.bot_pid())
    kill(*dead)
    for name in ("daemon.pid", "bot.pid", "control.sock", ".supervisor.lock", ".bot.lock"):
        assert (fleet.folder() / name).exists(), name
    assert fleet.status() == "RUNNING", "as it was last written"
    again = fleet.start(spec)
    assert again.outcome == "ready"
    assert not {int(again.last["pid"]), int(again.last["bot_pid"])} & set(dead)
    assert (fleet.supervisor_pid(), fleet.bot_pid()) == (again.last["pid"], again.last["bot_pid"])


def test_failure_14_a_stop_is_wanted_before_anybody_is_told(tmp_path: Path) -> None:
    """Killed in the middle of a stop, supervisor and bot: nothing starts the bot again."""
    root = tmp_path / "root"
    (root / "config" / "active").mkdir(parents=True)
    shutil.copy(TOY, root / "toy.py")
    fleet = ToyFleet(root)
    daemon = {
        "script_path": "toy.py",
        "python_path": sys.executable,
        "bot_args": ["--bot", "--ignore-term"],
        "web_port": free_port(),
        "health_check": "auto",
        "stop_timeout": 90,
    }
    (root / "config" / "active" / "toy.json").write_text(json.dumps({"daemon_config": daemon}))
    script = TOY.parents[2] / "core" / "daemon_manager.py"
    command = [sys.executable, str(script), "--root", str(root)]
    try:
        assert subprocess.run([*command, "start", "--config", "toy"], timeout=120).returncode == 0
        assert set(Desired(root).load()) == {"toy"}
        pids = (fleet.supervisor_pid(), fleet.bot_pid())
        with subprocess.Popen([*command, "stop", "toy"]) as stop:
            fleet.wait_status("STOPPING")
            assert Desired(root).load() == {}
            kill(*pids)
            stop.kill()
        assert subprocess.run([*command, "resurrect"], timeout=120).returncode == 0
        assert fleet.processes() == []
        assert len(fleet.lines("starts")) == 1
    finally:
        fleet.clean_up()
