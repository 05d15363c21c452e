"""What is kept of each death: why, how long, how much, the last lines; masked and bounded."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from toy_fleet import ToyFleet, is_alive, wait_for

from core import deaths


def day_folder(log_dir: Path) -> Path:
    folder = log_dir / time.strftime("%Y-%m-%d")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# The file -----------------------------------------------------------------------------------------


def test_the_newest_are_kept_and_come_first(tmp_path: Path) -> None:
    for number in range(deaths.KEPT + 5):
        record = deaths.make_record(pid=number, start=0, code=1, cause="")
        deaths.save(tmp_path, record, {"bot_stderr.log": [f"line {number}"]})
    found = deaths.load(tmp_path)
    assert [record["pid"] for record in found] == list(range(deaths.KEPT + 4, 4, -1))
    assert found[0]["log"] == {"bot_stderr.log": [f"line {deaths.KEPT + 4}"]}


@pytest.mark.parametrize("text", ["", "{", "[1, null]", "{}", "\x00" * 100, "[" * 100_000])
def test_a_damaged_file_is_no_record_and_no_error(tmp_path: Path, text: str) -> None:
    (tmp_path / deaths.DEATHS_NAME).write_text(text)
    assert deaths.load(tmp_path) == []
    deaths.save(tmp_path, deaths.make_record(pid=1, start=0, code=0, cause=""), {})
    assert len(deaths.load(tmp_path)) == 1


@pytest.mark.parametrize(
    ("code", "cause", "expected"),
    [
        (3, "", ("exit", 3, None)),
        (0, "", ("exit", 0, None)),
        (None, "", ("exit", None, None)),
        (-9, "", ("signal", None, "SIGKILL")),
        (-9, "memory", ("memory", None, "SIGKILL")),
        (0, "stop", ("stop", 0, None)),
    ],
)
def test_how_and_why_stand_apart(
    code: int | None, cause: str, expected: tuple[str, int | None, str | None]
) -> None:
    record = deaths.make_record(pid=1, start=0, code=code, cause=cause)
    assert (record["cause"], record["code"], record["signal"]) == expected


def test_last_lines_end_where_the_dead_one_ended(tmp_path: Path) -> None:
    """What the successor writes into the same file is not its predecessor's; secrets are masked."""
    path = day_folder(tmp_path) / "bot_stderr.log"
    path.write_text(
        "".join(f"old {number}\n" for number in range(60)) + "api_key=abcdefgh12345678\n"
    )
    marked = deaths.LastLines.mark(tmp_path)
    with path.open("a") as file:
        file.write("the successor\n")
    path.rename(path.with_name("bot_stderr.log.1"))
    path.write_text("the successor, after a rotation\n")
    lines = marked.read()["bot_stderr.log"]
    assert len(lines) == deaths.LINES
    assert lines[0] == "old 11"
    assert lines[-1] == "api_key=***"


def test_last_lines_reach_back_over_midnight(tmp_path: Path) -> None:
    """A crash right after midnight still shows what went before."""
    yesterday = tmp_path / "2020-01-01"
    yesterday.mkdir()
    (yesterday / "bot_stdout.log").write_text("before 1\nbefore 2\n")
    assert deaths.LastLines.mark(tmp_path).read()["bot_stdout.log"] == ["before 1", "before 2"]
    (day_folder(tmp_path) / "bot_stdout.log").write_text("after\n")
    assert deaths.LastLines.mark(tmp_path).read() == {
        "bot_stdout.log": ["before 1", "before 2", "after"],
        "bot_stderr.log": [],
    }


# Real deaths --------------------------------------------------------------------------------------


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[ToyFleet]:
    fleet = ToyFleet(tmp_path)
    yield fleet
    fleet.clean_up()


def wait_deaths(fleet: ToyFleet, count: int) -> list[dict[str, Any]]:
    wait_for(lambda: len(deaths.load(fleet.folder())) >= count, f"{count} deaths")
    return deaths.load(fleet.folder())


@pytest.mark.slow
def test_each_death_leaves_its_record(fleet: ToyFleet) -> None:
    """A crash, a kill by a stranger, a stale heartbeat, a restart, a stop: newest first."""
    spec = fleet.spec(
        "toy", "--exit-code", "3", "--times", "1", restart={"max_restart_attempts": 9}
    )
    fleet.start(spec)
    fleet.wait_status("RUNNING")
    fleet.kill_bot()
    wait_deaths(fleet, 2)
    fleet.wait_status("RUNNING")
    (fleet.folder() / "hang").touch()
    wait_deaths(fleet, 3)
    (fleet.folder() / "hang").unlink()
    fleet.wait_status("RUNNING")
    fleet.ask("restart")
    wait_deaths(fleet, 4)
    fleet.wait_status("RUNNING")
    pid = fleet.bot_pid()
    fleet.stop()
    found = wait_deaths(fleet, 5)
    assert [record["cause"] for record in found] == [
        "stop",
        "restart",
        "heartbeat",
        "signal",
        "exit",
    ]
    assert [record["code"] for record in found] == [0, 0, 0, None, 3]
    assert found[3]["signal"] == "SIGKILL"
    assert found[0]["pid"] == pid
    assert "heartbeat is" in found[2]["reason"]
    assert found[4]["log"]["bot_stderr.log"][-1] == "toy ends with 3"
    assert "start 1" in found[4]["log"]["bot_stdout.log"]
    assert "start 2" not in found[4]["log"]["bot_stdout.log"]
    for record in found:
        assert record["uptime_s"] is not None
        assert 1 < record["peak_mb"] < 500
        assert record["cpu_s"] is not None


@pytest.mark.slow
def test_a_death_that_nobody_watched_is_told_by_the_next_supervisor(fleet: ToyFleet) -> None:
    fleet.start(fleet.spec())
    bot, supervisor = fleet.bot_pid(), fleet.supervisor_pid()
    os.kill(supervisor, signal.SIGKILL)
    os.kill(bot, signal.SIGKILL)
    wait_for(lambda: not is_alive(bot) and not is_alive(supervisor))
    fleet.start(fleet.spec())
    found = wait_deaths(fleet, 1)
    assert (found[0]["cause"], found[0]["pid"]) == ("unwatched", bot)


@pytest.mark.slow
def test_a_kill_for_want_of_memory_is_named(
    fleet: ToyFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL while the kernel's counter went up. The counter is a file of the test's."""
    count = fleet.root / "oom"
    count.write_text("1")
    monkeypatch.setattr(deaths, "oom_kills", lambda: int(count.read_text()))
    fleet.start(fleet.spec())
    bot = fleet.bot_pid()
    count.write_text("2")
    os.kill(bot, signal.SIGKILL)
    found = wait_deaths(fleet, 1)
    assert (found[0]["cause"], found[0]["signal"]) == ("oom", "SIGKILL")


@pytest.mark.slow
def test_a_program_that_cannot_be_started_leaves_a_record(fleet: ToyFleet) -> None:
    spec = fleet.spec(argv=(str(fleet.root / "nothing"),), restart={"max_restart_attempts": 0})
    fleet.start(spec)
    found = wait_deaths(fleet, 1)
    assert found[0]["cause"] == "spawn"
    assert "cannot be executed" in found[0]["reason"]


def test_this_machine_counts_kills_for_want_of_memory() -> None:
    count = deaths.oom_kills()
    if count is None:
        pytest.skip("neither cgroup v2 nor /proc/vmstat counts them here")
    assert count >= 0


def test_a_record_is_plain_json(tmp_path: Path) -> None:
    record = deaths.make_record(pid=1, start=1, code=-11, cause="", peak_bytes=1 << 20, cpu_s=0.123)
    assert json.loads(json.dumps(record)) == record
    assert deaths.summary(record).startswith("signal: signal SIGSEGV, after ")
