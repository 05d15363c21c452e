"""S23: which of a supervisor's events are alerts, in which words, and when they are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core import deaths
from core.alert_files import SPOOL_NAME
from core.alert_reading import read_spool
from core.supervisor_alerts import UNHEALTHY_S, AlertingLog


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class World:
    def __init__(self, root: Path) -> None:
        self.run_dir = root / "logs" / "bp"
        self.run_dir.mkdir(parents=True)
        self.clock = Clock()
        self.log = AlertingLog(self.run_dir, self.run_dir, "bp", clock=self.clock)

    def state(self, to: str, reason: str = "") -> None:
        self.log.event("state_changed", "info", **{"from": "X", "to": to, "reason": reason})

    def die(self, pid: int, cause: str, code: int | None, reason: str = "") -> None:
        """What a keeper does: the event, the successor, then the record."""
        self.log.event("child_exited", "error", child=pid, code=code, cause="")
        record = deaths.make_record(pid=pid, start=0, code=code, cause=cause, reason=reason)
        deaths.save(self.run_dir, record, {})

    def turn(self, seconds: float = 0.0) -> None:
        """What the loop does: it wakes when something is due."""
        self.clock.now += seconds
        due = self.log.next_due()
        if due is not None and due <= self.clock.now:
            self.log.on_timer(self.clock.now)

    def told(self) -> list[tuple[str, str, str]]:
        alerts = [entry.alert for entry in read_spool(self.run_dir)]
        return [(alert.level, alert.kind, alert.message) for alert in alerts if alert]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


SETTLE = "orders may rest on the exchange; settle them: daemon_manager stop bp"
Story = Callable[[World], object]
STORIES: dict[str, tuple[Story, list[tuple[str, str, str]]]] = {
    "a crash, and the successor": (
        lambda w: (w.die(7, "", -9), w.state("STARTING"))[0],
        [("warning", "signal", "the bot ended (signal: signal SIGKILL); it was started again")],
    ),
    "a crash that waits": (
        lambda w: (w.die(7, "", 3, "a bug"), w.state("BACKOFF"))[0],
        [("warning", "exit", "the bot ended (exit: exit code 3, a bug); it will be started again")],
    ),
    "memory over its limit": (
        lambda w: (w.die(7, "memory", 0, "memory 9 MB is over 5"), w.state("STARTING"))[0],
        [
            (
                "warning",
                "memory",
                "the bot ended (memory: exit code 0, memory 9 MB is over 5); it was started again",
            )
        ],
    ),
    "a stop that was asked for": (
        lambda w: (w.die(7, "stop", 0), w.state("STOPPED"))[0],
        [],
    ),
    "a restart that was asked for, and had to be killed": (
        lambda w: (w.die(7, "restart", -9), w.state("STARTING"))[0],
        [],
    ),
    "the end of a duration": (
        lambda w: (w.die(7, "", 0), w.state("EXITED", "finished"))[0],
        [("info", "exited", "ended by itself: finished")],
    ),
    "the start limit": (
        lambda w: (w.die(7, "", 3), w.state("FATAL", "exit code 3; 3 restarts within 60 s"))[0],
        [
            ("warning", "exit", "the bot ended (exit: exit code 3); it stays down"),
            (
                "critical",
                "fatal",
                "given up: exit code 3; 3 restarts within 60 s; see: daemon_manager logs bp",
            ),
        ],
    ),
    "a finish step that failed": (
        lambda w: w.log.event("finish_ended", "error", code=1),
        [
            (
                "critical",
                "finish_failed",
                f"the finish step failed: {SETTLE}",
            )
        ],
    ),
    "a finish step that succeeded": (
        lambda w: w.log.event("finish_ended", "info", code=0),
        [],
    ),
    "a config that was refused": (
        lambda w: w.log.event("reload_refused", "error", error="x.json: grid_num: was 1"),
        [
            (
                "warning",
                "config_refused",
                "the changed config was refused: x.json: grid_num: was 1",
            )
        ],
    ),
    "an orphan": (
        lambda w: w.log.event("child_adopted", child=7),
        [
            (
                "warning",
                "adopted",
                "the bot traded on without a supervisor and is watched again",
            )
        ],
    ),
    "too much CPU": (
        lambda w: w.log.event("cpu_over_limit", "warning", detail="CPU 99 % is over 80"),
        [("warning", "cpu", "the bot takes too much CPU: CPU 99 % is over 80")],
    ),
    "what is told to the log alone": (
        lambda w: (w.log.event("child_started"), w.log.event("logs_cleaned", days=[]))[0],
        [],
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_a_story_and_its_alerts(world: World, name: str) -> None:
    """Written at the loop's next turn, from the death record where a child died."""
    story, expected = STORIES[name]
    story(world)
    assert not (world.run_dir / SPOOL_NAME).exists()
    world.turn()
    assert world.told() == expected
    assert world.log.next_due() is None


def test_nothing_is_written_between_a_death_and_the_successor(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event only remembers: its cost before the new process is a line on a list."""

    def fails(*_: object) -> Any:
        raise AssertionError("the spool was touched")

    with monkeypatch.context() as patch:
        patch.setattr("core.alert_spool.AlertSpool.add", fails)
        patch.setattr("core.deaths.load", fails)
        world.log.event("child_exited", "error", child=1, code=3, cause="")
        world.state("FATAL", "x")
    assert world.log.next_due() == world.clock.now


def test_a_death_that_could_not_be_recorded_is_told_from_the_event(world: World) -> None:
    """A full disk keeps no record; the alert says what the event says."""
    world.log.event("child_exited", "error", child=7, code=-9, cause="")
    world.log.event("spawn_failed", "error", error="no such program")
    world.state("BACKOFF")
    world.turn()
    assert [message for _, _, message in world.told()] == [
        "the bot ended (exit: exit code -9); it will be started again",
        "the bot ended (exit: exit code unknown, no such program); it will be started again",
    ]


def test_unhealthy_is_told_when_it_lasts_and_when_it_is_over(world: World) -> None:
    """Not at once: an exchange's short maintenance passes."""
    world.state("UNHEALTHY", "HTTP 503: exchange unreachable")
    world.turn(UNHEALTHY_S - 1)
    assert world.told() == []
    world.turn(1)
    assert world.told() == [
        ("warning", "unhealthy", "unhealthy for 120 s: HTTP 503: exchange unreachable")
    ]
    world.turn(1000)
    world.state("RUNNING")
    world.turn()
    assert world.told()[1:] == [("info", "recovered", "healthy again")]


def test_a_short_unhealthy_moment_is_no_alert(world: World) -> None:
    for _ in range(5):
        world.state("UNHEALTHY", "x")
        world.turn(UNHEALTHY_S - 1)
        world.state("RUNNING")
        world.turn(1)
    assert world.told() == []
    assert world.log.next_due() is None


def test_what_waits_is_written_when_the_log_is_closed(world: World) -> None:
    """A supervisor that fails ends without another turn of its loop."""
    world.log.event("supervisor_failed", "error", traceback="...")
    world.log.close()
    ((level, kind, _),) = world.told()
    assert (level, kind) == ("critical", "supervisor_failed")


def test_a_spool_that_cannot_be_written_is_a_line_in_the_log(world: World) -> None:
    """And nothing else: no exception, no repetition."""
    (world.run_dir / SPOOL_NAME).mkdir()
    world.state("FATAL", "x")
    world.turn()
    assert world.log.next_due() is None
    lines = "".join(path.read_text() for path in world.run_dir.glob("*/daemon.log"))
    assert lines.count('"alert_dropped"') == 1
    assert '"dropped": 1' in lines
