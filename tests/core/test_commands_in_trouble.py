"""Commands to a supervisor that does not hear, is on its way down, or is not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from command_shell import SCRIPT, Shell, write_config
from toy_fleet import ToyFleet, is_alive, wait_for

from core import control, daemon_manager, stopping

pytestmark = pytest.mark.slow  # every test runs the real command as a process


def test_a_supervisor_without_its_channel_is_stopped_by_signal(run: Shell, fleet: ToyFleet) -> None:
    """S5: the control socket is gone, stop still works."""
    write_config(fleet, "toy")
    run("start", "--config", "toy")
    (fleet.folder() / "control.sock").unlink()
    assert run("stop", "toy").code == 0
    assert fleet.status() == "STOPPED"
    assert fleet.processes() == []


def test_a_lost_channel_costs_no_command(run: Shell, fleet: ToyFleet) -> None:
    """S5: restart and the exchange of a supervisor bring the socket back and go through it."""
    write_config(fleet, "toy")
    run("start", "--config", "toy")
    bot = fleet.bot_pid()
    (fleet.folder() / "control.sock").unlink()
    assert run("restart", "toy").code == 0
    assert fleet.bot_pid() not in (0, bot)
    (fleet.folder() / "control.sock").unlink()
    assert run("restart", "toy", "--supervisor-only").code == 0
    assert fleet.ask("status")["ok"]


def test_a_stopped_supervisor_is_woken_and_stops(run: Shell, fleet: ToyFleet) -> None:
    """SIGSTOP (a debugger, Ctrl-Z in its group): stop still ends it and its bot in good order."""
    write_config(fleet, "toy")
    run("start", "--config", "toy")
    bot = fleet.bot_pid()
    os.kill(fleet.supervisor_pid(), signal.SIGSTOP)
    assert run("stop", "toy").code == 0
    assert fleet.status() == "STOPPED"
    assert not is_alive(bot)
    assert any(line.startswith("TERM") for line in fleet.lines("said"))


def test_one_that_is_silent_costs_the_others_nothing(run: Shell, fleet: ToyFleet) -> None:
    """What the others have answered meanwhile counts: they get no signal, which has no options."""
    write_config(fleet, "a_frozen")
    # Still at it when the patience with the first is over.
    write_config(fleet, "b_well", "--ignore-term", stop_timeout=8)
    assert run("start", "--config", "a_frozen", "--config", "b_well").code == 0
    os.kill(fleet.supervisor_pid("a_frozen"), signal.SIGSTOP)
    assert run("stop", "--all", "--keep-orders").code == 0
    assert {fleet.status("a_frozen"), fleet.status("b_well")} == {"STOPPED"}
    assert "signal" in fleet.event_names("a_frozen")
    assert "signal" not in fleet.event_names("b_well")
    assert fleet.processes() == []


def test_a_supervisor_that_never_answers_is_killed_and_its_bot_stopped(
    fleet: ToyFleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its time over, another one ends the bot with all that belongs to a stop."""
    one = fleet.start(fleet.spec())
    bot = fleet.bot_pid()
    os.kill(int(one.last["pid"]), signal.SIGKILL)
    wait_for(lambda: not is_alive(int(one.last["pid"])))
    code = (
        "import fcntl, pathlib, signal, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "lock = open(sys.argv[1], 'r+')\n"
        "fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "print(flush=True)\n"
        "signal.pause()\n"
    )
    lock = fleet.folder() / ".supervisor.lock"
    with subprocess.Popen([sys.executable, "-c", code, lock], stdout=subprocess.PIPE) as deaf:
        assert deaf.stdout is not None
        deaf.stdout.readline()
        fleet.registry.update("toy", pid=deaf.pid)
        monkeypatch.setattr(stopping, "patience_s", lambda _: 0.5)
        monkeypatch.setattr(control, "_NUDGE_S", 0.1)
        assert daemon_manager.main(["--root", str(fleet.root), "stop", "toy"]) == 0
        assert deaf.wait(20) == -signal.SIGKILL
    assert "was killed" in capsys.readouterr().err
    assert not is_alive(bot)
    assert fleet.status() == "STOPPED"
    assert any(line.startswith("TERM") for line in fleet.lines("said"))


def test_a_start_on_the_way_down_is_not_dropped(run: Shell, fleet: ToyFleet) -> None:
    """S30, DESIGN: start in STOPPING means want up; the successor follows at once."""
    write_config(fleet, "toy", "--ignore-term", stop_timeout=60)
    run("start", "--config", "toy")
    supervisor, bot = fleet.supervisor_pid(), fleet.bot_pid()
    os.kill(supervisor, signal.SIGTERM)
    fleet.wait_status("STOPPING")
    assert not fleet.ask("status")["want_up"]
    with ThreadPoolExecutor() as beside:
        started = beside.submit(run, "start", "--config", "toy")
        wait_for(lambda: fleet.ask("status")["want_up"], "the start is heard")
        os.kill(bot, signal.SIGKILL)  # only now, however slow the command was
        answer = started.result()
    assert answer.code == 0, answer.err
    assert fleet.status() == "RUNNING"
    assert fleet.supervisor_pid() == supervisor
    assert fleet.bot_pid() not in (0, bot)


def test_a_start_that_another_command_stops_says_so(run: Shell, fleet: ToyFleet) -> None:
    """Not "still starting", and not "stays supervised"."""
    write_config(fleet, "toy", "--never-ready")
    command = [sys.executable, str(SCRIPT), "--root", str(fleet.root), "start", "--config", "toy"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=run.env, text=True) as waiting:
        fleet.wait_status("STARTING")
        wait_for(lambda: fleet.lines("starts"))
        assert run("stop", "toy").code == 0
        _, err = waiting.communicate(timeout=20)
    assert waiting.returncode == 1
    assert "another command stops it" in err
    assert "supervised" not in err


def test_a_refused_start_is_told_without_a_supervisor(run: Shell, fleet: ToyFleet) -> None:
    """A link at the lock's name: the fault, and nothing about a supervisor that is not there."""
    write_config(fleet, "toy")
    fleet.folder().mkdir(mode=0o700)
    (fleet.folder() / ".supervisor.lock").symlink_to(fleet.root / "precious")
    answer = run("start", "--config", "toy")
    assert answer.code == 1
    assert ".supervisor.lock" in answer.err
    assert "supervised" not in answer.err


def test_stop_of_a_config_that_never_ran_is_done(run: Shell, fleet: ToyFleet) -> None:
    """Nothing ran: exit 0; a name that is no file and no instance is unknown: exit 1."""
    write_config(fleet, "toy")
    assert run("stop", "--config", "toy").code == 0
    assert run("stop", "--config", "nobody").code == 1
    assert run("status", "--config", "toy").code == 3


def test_a_stop_whose_orders_are_not_proven_gone_fails(run: Shell, fleet: ToyFleet) -> None:
    """Exit 1 and the words; a repeated stop tries the finish step again."""
    spec = fleet.spec("toy", "--ignore-term", "--finish-code", "1", health={"stop_timeout": 0.2})
    fleet.start(spec)
    for attempt in (1, 2):
        answer = run("stop", "toy")
        assert answer.code == 1
        assert "orders" in answer.err
        assert len(fleet.lines("finishes")) == attempt
    assert fleet.status() == "STOPPED"
