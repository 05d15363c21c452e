"""A true supervisor takes over a child that outlived its predecessor, or what is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_fleet import ToyFleet, is_alive, wait_for

from core import pidfile
from core.process import read_stat
from core.supervision_types import Restart, Stop

pytestmark = pytest.mark.slow


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[ToyFleet]:
    fleet = ToyFleet(tmp_path)
    yield fleet
    fleet.clean_up()


def test_a_bot_outlives_its_supervisor_and_is_adopted(fleet: ToyFleet) -> None:
    """S1: one copy, the same process, watched again; its later death is noticed."""
    spec = fleet.spec()
    one = fleet.start(spec)
    bot = fleet.bot_pid()
    os.kill(int(one.last["pid"]), signal.SIGKILL)
    wait_for(lambda: not is_alive(int(one.last["pid"])))
    assert is_alive(bot)
    again = fleet.start(spec)
    assert (again.outcome, again.last["bot_pid"]) == ("ready", bot)
    assert again.last["pid"] != one.last["pid"]
    os.kill(bot, signal.SIGKILL)
    wait_for(lambda: fleet.bot_pid() not in (0, bot))
    fleet.wait_status("RUNNING")
    assert len(fleet.lines("starts")) == 2


def test_an_adopted_bot_s_exit_code_is_read_from_its_note(fleet: ToyFleet) -> None:
    """A clean end of a bot that is not our child is EXITED, not a crash."""
    spec = fleet.spec()
    one = fleet.start(spec)
    os.kill(int(one.last["pid"]), signal.SIGKILL)
    wait_for(lambda: not is_alive(int(one.last["pid"])))
    fleet.start(spec)
    fleet.kill_bot(signum=signal.SIGTERM)
    fleet.wait_status("EXITED")
    assert len(fleet.lines("starts")) == 1


def test_a_deleted_pid_file_does_not_cost_the_bot(fleet: ToyFleet) -> None:
    """The heartbeat names it too; it is adopted, not doubled and not ended."""
    spec = fleet.spec()
    one = fleet.start(spec)
    bot = fleet.bot_pid()
    os.kill(int(one.last["pid"]), signal.SIGKILL)
    wait_for(lambda: not is_alive(int(one.last["pid"])))
    (fleet.folder() / "bot.pid").unlink()
    again = fleet.start(spec)
    assert again.last["bot_pid"] == bot
    assert fleet.bot_pid() == bot


def test_a_recycled_pid_in_the_files_is_never_touched(fleet: ToyFleet) -> None:
    """S2, no stranger touched: files that name one's PID neither adopt nor end it."""
    with subprocess.Popen(["/bin/sleep", "600"]) as stranger:
        found = read_stat(stranger.pid)
        assert found is not None
        folder = fleet.folder()
        folder.mkdir(mode=0o700)
        pidfile.write_pid(folder / "bot.pid", stranger.pid, found.start - 1)
        pidfile.write_pid(folder / "daemon.pid", stranger.pid)
        one = fleet.start(fleet.spec())
        assert one.outcome == "ready"
        assert one.last["bot_pid"] != stranger.pid
        fleet.stop()
        assert stranger.poll() is None
        stranger.kill()


def test_a_stranger_that_a_file_names_in_full_is_never_touched(fleet: ToyFleet) -> None:
    """bot.pid has a stranger's PID and start time while the bot lives: the bot is adopted."""
    spec = fleet.spec()
    one = fleet.start(spec)
    bot = fleet.bot_pid()
    os.kill(int(one.last["pid"]), signal.SIGKILL)
    wait_for(lambda: not is_alive(int(one.last["pid"])))
    with subprocess.Popen(["/bin/sleep", "600"]) as stranger:
        found = read_stat(stranger.pid)
        assert found is not None
        pidfile.write_pid(fleet.folder() / "bot.pid", stranger.pid, found.start)
        again = fleet.start(spec)
        assert again.last["bot_pid"] == bot
        fleet.stop()
        assert not is_alive(bot)
        assert stranger.poll() is None
        stranger.kill()


def test_no_grandchild_of_an_adopted_bot_survives_a_stop(fleet: ToyFleet) -> None:
    """S6 after S1, none left: in a session of its own, no descendant of the new supervisor."""
    spec = fleet.spec("toy", "--grandchild", "--own-session")
    one = fleet.start(spec)
    grandchild = int((fleet.folder() / "grandchild").read_text())
    os.kill(int(one.last["pid"]), signal.SIGKILL)
    wait_for(lambda: not is_alive(int(one.last["pid"])))
    fleet.start(spec)
    fleet.stop()
    assert not is_alive(grandchild)
    assert fleet.processes() == []


def test_a_foreign_program_leaves_no_orders_to_prove(fleet: ToyFleet) -> None:
    """Both were killed: a program that we can't finish for is stopped, and that is that."""
    spec = fleet.spec(is_bot=False, argv=("/bin/sleep", "600"), health={"check": "none"})
    one = fleet.start(spec)
    bot = fleet.bot_pid()
    for pid in (int(one.last["pid"]), bot):
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: not is_alive(pid))
    fleet.start(spec, first=Stop(), to_stop=True, keep_desired=False)
    assert fleet.status() == "STOPPED"
    assert fleet.record()["orders_unsettled"] is False


def test_leftovers_that_hold_the_lock_are_ended_before_the_next_start(fleet: ToyFleet) -> None:
    """Supervisor and bot dead, a grandchild holds the bot lock: it goes, then a bot starts."""
    spec = fleet.spec("toy", "--grandchild")
    one = fleet.start(spec)
    grandchild, bot = int((fleet.folder() / "grandchild").read_text()), fleet.bot_pid()
    os.kill(int(one.last["pid"]), signal.SIGKILL)
    wait_for(lambda: not is_alive(int(one.last["pid"])))
    os.kill(bot, signal.SIGKILL)
    wait_for(lambda: not is_alive(bot))
    assert is_alive(grandchild)
    assert pidfile.is_held(fleet.folder() / ".bot.lock")
    (fleet.folder() / "grandchild").unlink()
    again = fleet.start(spec)
    assert again.outcome == "ready"
    assert not is_alive(grandchild)
    assert "leftovers_ended" in fleet.event_names()


def test_a_supervisor_for_stopping_ends_an_orphan(fleet: ToyFleet) -> None:
    """What `stop` forks over an ORPHANED instance: adopt, stop, end."""
    spec = fleet.spec()
    one = fleet.start(spec)
    bot = fleet.bot_pid()
    os.kill(int(one.last["pid"]), signal.SIGKILL)
    wait_for(lambda: not is_alive(int(one.last["pid"])))
    fleet.start(spec, first=Stop(), to_stop=True, keep_desired=False)
    assert not is_alive(bot)
    assert fleet.status() == "STOPPED"
    assert fleet.processes() == []


def test_a_supervisor_for_stopping_finishes_a_dead_bot(fleet: ToyFleet) -> None:
    """Both were killed: the finish step runs, nothing is started."""
    spec = fleet.spec()
    one = fleet.start(spec)
    bot = fleet.bot_pid()
    for pid in (int(one.last["pid"]), bot):
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: not is_alive(pid))
    fleet.start(spec, first=Stop(), to_stop=True, keep_desired=False)
    assert fleet.status() == "STOPPED"
    assert (len(fleet.lines("starts")), len(fleet.lines("finishes"))) == (1, 1)


def test_a_restart_of_an_orphan_replaces_the_bot(fleet: ToyFleet) -> None:
    """Adopted, stopped with its orders kept, started anew."""
    spec = fleet.spec()
    one = fleet.start(spec)
    bot = fleet.bot_pid()
    os.kill(int(one.last["pid"]), signal.SIGKILL)
    wait_for(lambda: not is_alive(int(one.last["pid"])))
    fleet.start(spec, first=Restart())
    wait_for(lambda: fleet.bot_pid() not in (0, bot))
    fleet.wait_status("RUNNING")
    assert not is_alive(bot)
