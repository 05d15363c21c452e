"""A true supervisor watches a toy child: deaths, health, limits, and its output."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_fleet import ToyFleet, is_alive, wait_for

from core.desired import Desired
from core.process import read_stat

pytestmark = pytest.mark.slow


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[ToyFleet]:
    fleet = ToyFleet(tmp_path)
    yield fleet
    fleet.clean_up()


def test_a_killed_bot_comes_back_and_the_other_never_notices(fleet: ToyFleet) -> None:
    """SIGKILL of one bot: a successor, one restart counted; its neighbour is the same process."""
    fleet.start(fleet.spec("one"))
    fleet.start(fleet.spec("two"))
    other, victim = fleet.bot_pid("two"), fleet.bot_pid("one")
    os.kill(victim, signal.SIGKILL)
    successor = wait_for(lambda: fleet.bot_pid("one") not in (0, victim) and fleet.bot_pid("one"))
    fleet.wait_status("RUNNING", instance_id="one")
    assert successor == fleet.bot_pid("one")
    assert fleet.record("one")["restarts"] == 1
    assert fleet.bot_pid("two") == other
    assert read_stat(victim) is None  # reaped: not even a zombie


def test_a_clock_that_jumps_changes_nothing(
    fleet: ToyFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S17: the wall clock steps by decades at every look; probes, beats and back-off go on."""
    steps = itertools.cycle((0.0, 4e9, 1e9))
    monkeypatch.setattr(time, "time", lambda: next(steps))
    one = fleet.start(fleet.spec(restart={"restart_delay": 0.3}))
    assert one.outcome == "ready"
    bot = fleet.kill_bot()
    wait_for(lambda: len(fleet.lines("starts")) == 2, "a new bot")
    wait_for(lambda: fleet.bot_pid() not in (0, bot) and fleet.status() == "RUNNING")
    (fleet.folder() / "hang").touch()
    wait_for(lambda: len(fleet.lines("starts")) == 3, "a bot in place of the hung one")
    (fleet.folder() / "hang").unlink()
    fleet.wait_status("RUNNING")
    assert is_alive(int(one.last["pid"]))


def test_a_frozen_bot_is_found_and_replaced(fleet: ToyFleet) -> None:
    """S8: SIGSTOP: it can't even take the TERM; it is KILLed after stop_timeout."""
    fleet.start(fleet.spec(health={"stop_timeout": 0.5}))
    frozen = fleet.kill_bot(signum=signal.SIGSTOP)
    wait_for(lambda: fleet.bot_pid() not in (0, frozen), "a new bot")
    wait_for(lambda: not is_alive(frozen), "the end of the frozen one")
    wait_for(lambda: len(fleet.lines("starts")) == 2, "its first words")
    assert "child_killed" in fleet.event_names()


def test_too_many_crashes_end_in_fatal_after_the_finish_step(fleet: ToyFleet) -> None:
    """The budget is spent, the orders are finished once, the supervisor ends."""
    spec = fleet.spec("toy", "--exit-code", "1", restart={"restart_delay": 0.0})
    fleet.start(spec)
    fleet.wait_status("FATAL")
    assert len(fleet.lines("starts")) == 4
    assert len(fleet.lines("finishes")) == 1
    assert fleet.record()["orders_unsettled"] is False
    assert "3 restarts within" in fleet.record()["reason"]
    assert "toy" in Desired(fleet.root).load()


def test_exit_zero_is_exited_and_no_longer_wanted(fleet: ToyFleet) -> None:
    """A bot that has finished is not resurrected."""
    spec = fleet.spec("toy", "--exit-code", "0")
    one = fleet.start(spec)
    assert one.outcome == "ready"
    fleet.wait_status("EXITED")
    wait_for(lambda: not is_alive(int(one.last["pid"])))
    assert Desired(fleet.root).load() == {}
    assert fleet.lines("finishes") == []


def test_a_taken_port_is_retried(fleet: ToyFleet) -> None:
    """S4, S7: exit 6 goes through the backoff until the port is free; no finish step."""
    spec = fleet.spec(restart={"restart_delay": 0.2, "max_restart_attempts": 50})
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", spec.web_port or 0))
        taken.listen()
        one = fleet.start(spec)
        assert (one.outcome, one.error) == ("failed", "exit code 6")
    fleet.wait_status("RUNNING")
    assert fleet.lines("finishes") == []


def test_a_stale_beat_restarts_the_bot(fleet: ToyFleet) -> None:
    """S8: the process lives and even answers, but its engine does not turn."""
    fleet.start(fleet.spec())
    hung = fleet.bot_pid()
    (fleet.folder() / "hang").touch()
    wait_for(lambda: fleet.bot_pid() != hung, "a new bot")
    (fleet.folder() / "hang").unlink()
    stopping = [e for e in fleet.events() if e["event"] == "child_stopping"]
    assert stopping[0]["cause"] == "heartbeat"
    states = [e["reason"] for e in fleet.events() if e.get("to") == "STOPPING"]
    assert "heartbeat is" in states[0]
    fleet.wait_status("RUNNING")
    assert '"keep_orders": true' in "".join(fleet.lines("said"))


def test_a_sick_answer_is_unhealthy_and_never_a_restart(fleet: ToyFleet) -> None:
    """503 with live true, then no HTTP at all: UNHEALTHY; then healthy again, the same process."""
    fleet.start(fleet.spec())
    bot, override = fleet.bot_pid(), fleet.folder() / "health"
    override.write_text('[503, {"status": "exchange unreachable"}]')
    fleet.wait_status("UNHEALTHY")
    assert "exchange unreachable" in fleet.record()["reason"]
    override.write_text('[200, {"pid": 1}]')  # as good as no answer: another process speaks
    wait_for(lambda: "another process" in fleet.record()["reason"])
    override.unlink()
    fleet.wait_status("RUNNING")
    assert fleet.bot_pid() == bot


def test_a_page_that_never_answers_is_unhealthy_and_never_a_restart(fleet: ToyFleet) -> None:
    """Probes that time out one after another cost nothing but their own sockets."""
    fleet.start(fleet.spec(health={"timeout": 0.1, "interval": 0.1}))
    bot, supervisor = fleet.bot_pid(), fleet.supervisor_pid()
    (fleet.folder() / "silent").touch()
    fleet.wait_status("UNHEALTHY")
    assert "no answer within 0.1 s" in fleet.record()["reason"]
    before = len(list(Path(f"/proc/{supervisor}/fd").iterdir()))
    deadline = time.monotonic() + 3.0
    wait_for(lambda: time.monotonic() > deadline)
    assert len(list(Path(f"/proc/{supervisor}/fd").iterdir())) <= before + 1
    (fleet.folder() / "silent").unlink()
    fleet.wait_status("RUNNING")
    assert (fleet.bot_pid(), fleet.supervisor_pid()) == (bot, supervisor)


def test_a_program_that_says_it_is_stuck_is_restarted(fleet: ToyFleet) -> None:
    """`live: false`, as often in a row as the config says."""
    fleet.start(fleet.spec(health={"failures": 2}))
    bot, override = fleet.bot_pid(), fleet.folder() / "health"
    override.write_text('[503, {"live": false}]')
    wait_for(lambda: fleet.bot_pid() != bot, "a new bot")
    override.unlink()
    fleet.wait_status("RUNNING")


@pytest.mark.parametrize("options", [(), ("--by-grandchild",)])
def test_a_leaking_bot_is_restarted_gracefully(
    fleet: ToyFleet, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """S28: what the whole group holds, for several samples; TERM with its orders kept."""
    monkeypatch.setattr("core.monitor.SAMPLE_INTERVAL_S", 0.1)
    fleet.start(
        fleet.spec("toy", "--leak", "80", "--once", *options, limits={"memory_limit_mb": 64})
    )
    leaking = fleet.bot_pid()
    wait_for(lambda: fleet.bot_pid() not in (0, leaking), "a new bot")
    fleet.wait_status("RUNNING")
    stopping = next(e for e in fleet.events() if e["event"] == "child_stopping")
    assert stopping["cause"] == "memory"
    assert "is over memory_limit_mb 64, " in json.dumps(fleet.events())
    assert '"keep_orders": true' in "".join(fleet.lines("said"))
    assert "child_killed" not in fleet.event_names()


@pytest.mark.parametrize("options", [(), ("--by-grandchild",)])
def test_a_spinning_bot_is_restarted_if_the_config_says_so(
    fleet: ToyFleet, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """A loop without an end, in the bot or in a process of its own."""
    monkeypatch.setattr("core.monitor.SAMPLE_INTERVAL_S", 0.2)
    limits = {"cpu_limit_percent": 5, "cpu_limit_action": "restart"}
    fleet.start(fleet.spec("toy", "--spin", "--once", *options, limits=limits))
    spinning = fleet.bot_pid()
    wait_for(lambda: fleet.bot_pid() not in (0, spinning), "a new bot")
    fleet.wait_status("RUNNING")
    stopping = next(e for e in fleet.events() if e["event"] == "child_stopping")
    assert stopping["cause"] == "cpu"
    assert "is over cpu_limit_percent 5, " in json.dumps(fleet.events())


def test_a_spinning_bot_only_warns_by_default(
    fleet: ToyFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fast market is no reason to stop trading: the log says it, nothing else happens."""
    monkeypatch.setattr("core.monitor.SAMPLE_INTERVAL_S", 0.2)
    fleet.start(fleet.spec("toy", "--spin", limits={"cpu_limit_percent": 5}))
    bot = fleet.bot_pid()
    wait_for(lambda: fleet.event_names().count("cpu_over_limit") >= 2, "two warnings")
    assert fleet.bot_pid() == bot
    assert "child_stopping" not in fleet.event_names()


def test_a_foreign_program_writes_into_a_fifo_and_loses_nothing(fleet: ToyFleet) -> None:
    """S20: the last words before an exit are in the dated file, however fast it went."""
    code = "import sys; sys.stdout.write('line\\n' * 20000); sys.stderr.write('last word')"
    spec = fleet.spec(is_bot=False, argv=(sys.executable, "-c", code), health={"check": "none"})
    fleet.start(spec)
    fleet.wait_status("EXITED")
    assert fleet.output("bot_stdout.log") == "line\n" * 20000
    assert fleet.output("bot_stderr.log") == "last word"
