"""A true supervisor stops a toy child: escalation, leftovers, the finish step."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_fleet import ToyFleet, is_alive, wait_for

from core.desired import Desired
from core.spec import LogSettings

pytestmark = pytest.mark.slow


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[ToyFleet]:
    fleet = ToyFleet(tmp_path)
    yield fleet
    fleet.clean_up()


def test_a_full_disk_under_a_foreign_program_costs_counted_lines_only(
    fleet: ToyFleet, tmp_path: Path
) -> None:
    """S18, S19: a small disk fills up; the program runs on, no line is torn, the loss is told."""
    disk = tmp_path / "small"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)], capture_output=True
    )
    if made.returncode != 0:
        pytest.skip("no small file system can be mounted here (needs root)")
    try:
        logs = disk / "logs"
        spec = fleet.spec(
            "toy", "--chatter", "0.0005", is_bot=False, logs=LogSettings(log_dir=str(logs))
        )
        fleet.start(spec)
        bot = fleet.bot_pid()

        sizes = [-1]

        def told() -> list[dict[str, object]]:
            for path in logs.glob("*/bot_stdout.log"):
                sizes.append(path.stat().st_size)
                if len(set(sizes[-10:])) == 1:  # nothing more goes in: somebody makes room
                    os.truncate(path, 0)
            text = "".join(path.read_text() for path in logs.glob("*/daemon.log"))
            events = [json.loads(line) for line in text.splitlines()]
            return [event for event in events if event["event"] == "output_lost"]

        wait_for(told, "the loss in the log")
        assert (fleet.bot_pid(), is_alive(bot)) == (bot, True)
        assert int(str(told()[0]["lines"])) > 0
        fleet.stop()
        text = "".join(path.read_text() for path in sorted(logs.glob("*/bot_stdout.log")))
        lines = [line for line in text.strip("\0\n").splitlines() if "." * 40 in line]
        assert lines
        assert all(line.startswith("line ") and line.endswith(" end") for line in lines)
    finally:
        fleet.clean_up()
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_one_sigterm_stops_bot_and_supervisor(fleet: ToyFleet) -> None:
    """The bot is told first and cancels its orders; what should run stays as it was."""
    one = fleet.start(fleet.spec())
    os.kill(int(one.last["pid"]), signal.SIGTERM)
    wait_for(lambda: not is_alive(int(one.last["pid"])))
    assert fleet.status() == "STOPPED"
    assert '"keep_orders": false, "reason": "stop"' in "".join(fleet.lines("said"))
    assert not (fleet.folder() / "daemon.pid").exists()
    assert not (fleet.folder() / "bot.pid").exists()
    assert not (fleet.folder() / "control.sock").exists()
    assert "toy" in Desired(fleet.root).load()


def test_a_bot_that_ignores_term_is_killed_and_finished(fleet: ToyFleet) -> None:
    """S14: the escalation is timed, the orders are cancelled by the finish step."""
    fleet.start(fleet.spec("toy", "--ignore-term", health={"stop_timeout": 0.3}))
    fleet.stop()
    assert fleet.status() == "STOPPED"
    assert "child_killed" in fleet.event_names()
    assert len(fleet.lines("finishes")) == 1
    assert fleet.processes() == []


def test_no_grandchild_survives_a_stop(fleet: ToyFleet) -> None:
    """S6, none left: one that ignores TERM, in the group or in its own session, is gone."""
    for name, options in (("in", ()), ("out", ("--own-session",))):
        fleet.start(fleet.spec(name, "--grandchild", *options))
        grandchild = int((fleet.folder(name) / "grandchild").read_text())
        assert is_alive(grandchild)
        fleet.stop(name)
        assert not is_alive(grandchild), name
    assert fleet.processes() == []


def test_a_crashed_bot_s_grandchild_is_gone_before_the_successor(fleet: ToyFleet) -> None:
    """S7: the successor never meets what its predecessor left."""
    fleet.start(fleet.spec("toy", "--grandchild"))
    grandchild, bot = int((fleet.folder() / "grandchild").read_text()), fleet.bot_pid()
    (fleet.folder() / "grandchild").unlink()
    os.kill(bot, signal.SIGKILL)
    wait_for(lambda: len(fleet.lines("starts")) == 2)
    assert not is_alive(grandchild)


def test_a_hanging_finish_step_is_killed_and_told(
    fleet: ToyFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stop ends; the record says that orders may rest."""
    monkeypatch.setattr("core.supervision_types.FINISH_FLOOR_S", 0.5)
    options = ("--ignore-term", "--finish-hangs")
    fleet.start(fleet.spec("toy", *options, health={"stop_timeout": 0.3}))
    fleet.stop()
    assert fleet.status() == "STOPPED"
    assert fleet.record()["orders_unsettled"] is True
    assert fleet.processes() == []


def test_stop_without_keeping_orders_tells_the_bot_its_options(fleet: ToyFleet) -> None:
    """close_positions travels in stop.json."""
    fleet.start(fleet.spec())
    fleet.stop(close_positions=True)
    assert '"close_positions": true' in "".join(fleet.lines("said"))


def test_a_restart_keeps_the_orders_and_costs_no_budget(fleet: ToyFleet) -> None:
    """The same supervisor, a new bot, no delay even with a long one configured."""
    spec = fleet.spec(restart={"restart_delay": 600.0, "max_restart_attempts": 0})
    fleet.start(spec)
    supervisor, bot = fleet.supervisor_pid(), fleet.bot_pid()
    assert fleet.ask("restart", spec=spec.to_json())["ok"]
    wait_for(lambda: fleet.bot_pid() not in (0, bot))
    fleet.wait_status("RUNNING")
    assert fleet.supervisor_pid() == supervisor
    assert '"keep_orders": true, "reason": "restart"' in "".join(fleet.lines("said"))
    assert fleet.lines("finishes") == []
