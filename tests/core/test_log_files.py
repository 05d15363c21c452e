"""Log files: dated folders, rotation, retention, full disks, reading back."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from core import log_files
from core.log_files import (
    JsonLineLog,
    OutputRepointer,
    append_line,
    clean_up,
    dated_dir,
    follow,
    open_output,
    rotate,
    seconds_to_midnight,
    tail,
)

TODAY = date(2026, 11, 23)


@pytest.fixture(autouse=True)
def day(monkeypatch: pytest.MonkeyPatch) -> list[date]:
    """The date by which files are named; a test moves it by changing the only item."""
    days = [TODAY]
    monkeypatch.setattr(log_files, "today", lambda: days[0])
    return days


def events(log_dir: Path, name: str = "daemon.log") -> list[dict[str, Any]]:
    return [json.loads(line) for line in tail(log_dir, name, 10_000)]


def write(log_dir: Path, day: str, name: str, *lines: str) -> Path:
    path = log_dir / day / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


# Writing --------------------------------------------------------------------------------------


def test_an_event_is_one_json_line_in_todays_folder(tmp_path: Path) -> None:
    """With time and zone, level, name, the static fields, and secrets masked."""
    log = JsonLineLog(tmp_path, static={"instance_id": "a"})

    assert log.event("child_exited", "warning", pid=7, cause="a\nb", api_key="xyz") is True

    (line,) = (tmp_path / "2026-11-23" / "daemon.log").read_text().splitlines()
    event = json.loads(line)
    assert event.pop("timestamp")[-6] in "+-"
    assert event == {
        "level": "warning",
        "event": "child_exited",
        "instance_id": "a",
        "pid": 7,
        "cause": "a\nb",
        "api_key": "***",
    }


def test_files_are_private(tmp_path: Path) -> None:
    """0600 in a 0700 folder, whatever the umask."""
    before = os.umask(0)
    try:
        JsonLineLog(tmp_path / "logs").event("x")
    finally:
        os.umask(before)

    path = tmp_path / "logs" / "2026-11-23" / "daemon.log"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_midnight_begins_a_new_folder(tmp_path: Path, day: list[date]) -> None:
    """S21: the first event of a day opens the day's file."""
    log = JsonLineLog(tmp_path)
    log.event("before")
    day[0] = date(2026, 11, 24)
    log.event("after")

    assert [event["event"] for event in events(tmp_path)] == ["before", "after"]
    assert len((tmp_path / "2026-11-24" / "daemon.log").read_text().splitlines()) == 1


def test_rotation_by_size_loses_no_line(tmp_path: Path) -> None:
    """S21: at the limit the file becomes `.1`; together they hold every line once, in order."""
    log = JsonLineLog(tmp_path, max_bytes=2000, backups=50)
    for number in range(200):
        log.event("tick", number=number)

    assert [event["number"] for event in events(tmp_path)] == list(range(200))
    sizes = [path.stat().st_size for path in (tmp_path / "2026-11-23").iterdir()]
    assert len(sizes) > 5
    assert max(sizes) <= 2000


def test_rotation_keeps_a_bounded_number_of_files(tmp_path: Path) -> None:
    """The oldest goes; the newest lines stay."""
    log = JsonLineLog(tmp_path, max_bytes=500, backups=3)
    for number in range(100):
        log.event("tick", number=number)

    names = sorted(path.name for path in (tmp_path / "2026-11-23").iterdir())
    assert names == ["daemon.log", "daemon.log.1", "daemon.log.2", "daemon.log.3"]
    assert events(tmp_path)[-1]["number"] == 99


def test_a_deleted_file_is_made_anew(tmp_path: Path) -> None:
    """Somebody's `rm` costs what was in it, not what comes."""
    log = JsonLineLog(tmp_path)
    log.event("lost")
    (tmp_path / "2026-11-23" / "daemon.log").unlink()
    log.event("kept")

    assert [event["event"] for event in events(tmp_path)] == ["kept"]


def test_a_planted_link_is_not_written_through(tmp_path: Path) -> None:
    """The event is dropped and the link's target stays whole."""
    target = tmp_path / "precious"
    target.write_text("precious")
    (tmp_path / "2026-11-23").mkdir()
    (tmp_path / "2026-11-23" / "daemon.log").symlink_to(target)
    log = JsonLineLog(tmp_path)

    assert log.event("x") is False

    assert log.dropped == 1
    assert target.read_text() == "precious"


class FullDisk:
    """`os.write` on a disk with so many bytes left, for one file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, left: int) -> None:
        self.left = left
        self.real_write = os.write
        self.before_failing: Callable[[], object] = lambda: None
        monkeypatch.setattr(os, "write", self.write)

    def write(self, descriptor: int, data: Any) -> int:
        taken = min(self.left, len(data))
        if taken == 0:
            self.before_failing()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.left -= taken
        return self.real_write(descriptor, data[:taken])


def test_a_full_disk_drops_lines_counts_them_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No exception, no torn line; when there is room again the count comes first."""
    log = JsonLineLog(tmp_path)
    log.event("first")
    disk = FullDisk(monkeypatch, left=30)

    assert [log.event("lost", number=number) for number in range(3)] == [False] * 3

    disk.left = 10_000
    assert log.event("after") is True
    told = [(event["event"], event.get("count")) for event in events(tmp_path)]
    assert told == [("first", None), ("log_lines_dropped", 3), ("after", None)]


def test_a_torn_line_is_taken_back_only_if_it_is_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another process has appended meanwhile is never cut away."""
    path = tmp_path / "2026-11-23" / "x.log"
    descriptor, other = open_output(tmp_path, "x.log"), open_output(tmp_path, "x.log")
    disk = FullDisk(monkeypatch, left=5)
    with pytest.raises(OSError, match="No space"):
        append_line(descriptor, b"0123456789\n")
    assert path.read_bytes() == b""

    disk.left = 5
    disk.before_failing = lambda: disk.real_write(other, b"other\n")
    with pytest.raises(OSError, match="No space"):
        append_line(descriptor, b"0123456789\n")
    assert path.read_bytes() == b"01234other\n"
    os.close(descriptor)
    os.close(other)


def test_logging_never_raises(tmp_path: Path) -> None:
    """A log directory that can't be is no reason to die."""
    (tmp_path / "file").write_text("")
    log = JsonLineLog(tmp_path / "file" / "logs")

    assert log.event("x") is False


def test_seconds_to_midnight_is_within_a_day() -> None:
    """A timer set by it wakes up on the next date, also on the day of a clock change."""
    assert 1.0 <= seconds_to_midnight() <= 25 * 3600


# Re-pointing ----------------------------------------------------------------------------------


@pytest.fixture
def output(tmp_path: Path) -> Iterator[int]:
    """A descriptor as the supervisor opened it for a bot."""
    descriptor = open_output(tmp_path, "bot_stdout.log")
    yield descriptor
    os.close(descriptor)


def repointer(tmp_path: Path, output: int, **settings: int) -> OutputRepointer:
    return OutputRepointer(tmp_path, outputs=((output, "bot_stdout.log"),), **settings)


def test_output_moves_at_midnight(tmp_path: Path, output: int, day: list[date]) -> None:
    """S21: the same descriptor writes into the new day's file."""
    mover = repointer(tmp_path, output)
    os.write(output, b"before\n")
    assert mover.check() is False
    day[0] = date(2026, 11, 24)

    assert mover.check() is True

    os.write(output, b"after\n")
    assert (tmp_path / "2026-11-23" / "bot_stdout.log").read_bytes() == b"before\n"
    assert (tmp_path / "2026-11-24" / "bot_stdout.log").read_bytes() == b"after\n"
    assert os.get_inheritable(output)
    assert mover.check() is False


def test_output_moves_at_its_size(tmp_path: Path, output: int) -> None:
    """The full file becomes `.1`."""
    mover = repointer(tmp_path, output, max_bytes=10)
    os.write(output, b"more than ten bytes\n")

    assert mover.check() is True

    os.write(output, b"after\n")
    assert tail(tmp_path, "bot_stdout.log", 10) == ["more than ten bytes", "after"]
    assert (tmp_path / "2026-11-23" / "bot_stdout.log.1").exists()


def test_a_deleted_output_file_is_made_anew(tmp_path: Path, output: int) -> None:
    """After somebody's `rm` the output is visible again."""
    mover = repointer(tmp_path, output)
    (tmp_path / "2026-11-23" / "bot_stdout.log").unlink()

    assert mover.check() is True

    os.write(output, b"after\n")
    assert tail(tmp_path, "bot_stdout.log", 10) == ["after"]


def test_what_is_not_ours_is_not_moved(tmp_path: Path, day: list[date]) -> None:
    """A pipe, a file elsewhere and a closed descriptor are left alone."""
    reader, writer = os.pipe()
    elsewhere = os.open(tmp_path / "elsewhere", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        outputs = ((writer, "bot_stdout.log"), (elsewhere, "bot_stdout.log"), (9999, "x"))
        mover = OutputRepointer(tmp_path, outputs=outputs)
        day[0] = date(2026, 11, 24)

        assert mover.check() is False
    finally:
        for descriptor in (reader, writer, elsewhere):
            os.close(descriptor)
    assert not (tmp_path / "2026-11-24").exists()


# Retention ------------------------------------------------------------------------------------


def day_name(age: int) -> str:
    return (TODAY - timedelta(days=age)).isoformat()


@pytest.mark.parametrize(
    ("retention", "kept"),
    [(0, [0]), (1, [0, 1]), (2, [0, 1, 2]), (7, [0, 1, 2, 3, 8][:4]), (8, [0, 1, 2, 3, 8])],
)
def test_days_older_than_the_retention_go(tmp_path: Path, retention: int, kept: list[int]) -> None:
    """Age is counted in days; today's folder always stays."""
    for age in (0, 1, 2, 3, 8):
        write(tmp_path, day_name(age), "daemon.log", "x")

    result = clean_up(tmp_path, retention, day=TODAY)

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(day_name(age) for age in kept)
    assert result.freed == 2 * (5 - len(kept))


NOT_DAYS = [
    "2020-01-01x",
    "x2020-01-01",
    "2020-1-1",
    "2020-02-31",
    "20200101",
    "2020-01-01 ",
    "old",
]


def test_only_whole_dates_are_days(tmp_path: Path) -> None:
    """Nothing else that stands there is touched: other names, files, links, the future."""
    for name in (*NOT_DAYS, "2020-01-01\n", "２０２０-01-01"):
        (tmp_path / name).mkdir()
    (tmp_path / "2020-01-02").write_text("a file")
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere, "x", "kept.log", "x")
    (tmp_path / "2020-01-03").symlink_to(elsewhere)
    write(tmp_path, "2030-01-01", "daemon.log", "x")
    before = sorted(path.name for path in tmp_path.iterdir())

    assert clean_up(tmp_path, 0, max_mb=0, day=TODAY).days == ()

    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (elsewhere / "x" / "kept.log").exists()


def test_a_link_inside_a_day_is_removed_not_followed(tmp_path: Path) -> None:
    """The folder goes; what the link points to stays."""
    precious = write(tmp_path, "elsewhere", "precious", "x")
    old = write(tmp_path, "2020-01-01", "daemon.log", "x").parent
    (old / "link").symlink_to(precious.parent)

    clean_up(tmp_path, 2, day=TODAY)

    assert not old.exists()
    assert precious.exists()


def test_the_cap_takes_the_oldest_first_and_never_today(tmp_path: Path) -> None:
    """Until the rest fits; if today alone is too much it stays all the same."""
    for age in range(4):
        path = write(tmp_path, day_name(age), "bot_stdout.log")
        path.write_bytes(b"x" * 600_000)

    assert clean_up(tmp_path, 30, max_mb=2, day=TODAY).days == (day_name(3),)
    assert clean_up(tmp_path, 30, max_mb=0, day=TODAY).days == (day_name(2), day_name(1))
    assert (tmp_path / day_name(0) / "bot_stdout.log").stat().st_size == 600_000


def test_cleaning_where_nothing_is(tmp_path: Path) -> None:
    """A log directory that doesn't exist yet is clean."""
    assert clean_up(tmp_path / "none", 2, max_mb=1).days == ()


# Reading --------------------------------------------------------------------------------------


def test_tail_reaches_over_rotations_and_days(tmp_path: Path) -> None:
    """The last lines, oldest first, from as many files as it takes."""
    write(tmp_path, "2026-11-21", "x.log", "1", "2")
    write(tmp_path, "2026-11-22", "x.log.10", "3")
    write(tmp_path, "2026-11-22", "x.log.2", "4")
    write(tmp_path, "2026-11-22", "x.log", "5", "6")
    write(tmp_path, "2026-11-22", "x.log.old", "no")
    write(tmp_path, "2026-11-22", "y.log", "no")
    (tmp_path / "2026-11-23").mkdir()

    for count in range(8):
        assert tail(tmp_path, "x.log", count) == ["1", "2", "3", "4", "5", "6"][max(0, 6 - count) :]


def test_tail_of_long_files_reads_their_end(tmp_path: Path) -> None:
    """Blocks are read backwards until there are enough lines; an unfinished one counts."""
    path = write(tmp_path, "2026-11-23", "x.log", *(f"line {n} " + "é" * 50 for n in range(5000)))
    with path.open("a") as file:
        file.write("unfinished")

    assert [line.split(" é")[0] for line in tail(tmp_path, "x.log", 3)] == [
        "line 4998",
        "line 4999",
        "unfinished",
    ]


def test_tail_of_nothing(tmp_path: Path) -> None:
    """No log, no lines."""
    assert tail(tmp_path / "none", "x.log", 5) == []
    write(tmp_path, "2026-11-23", "x.log")
    assert tail(tmp_path, "x.log", 5) == []


class Script:
    """Stands in for the pause between looks: does the next thing, and ends the following after."""

    def __init__(self, *steps: Any) -> None:
        self._steps = list(steps)

    def __call__(self, _: float) -> bool:
        if not self._steps:
            return True
        self._steps.pop(0)()
        return False


def append(path: Path, text: str) -> Any:
    def step() -> None:
        path.parent.mkdir(exist_ok=True)
        with path.open("a") as file:
            file.write(text)

    return step


def test_follow_over_rotations_and_midnight(tmp_path: Path) -> None:
    """Every new line once, in order: also those written between two looks and two rotations."""
    path = write(tmp_path, "2026-11-23", "x.log", "old", "tail")

    def two_rotations() -> None:
        append(path, "4\n")()
        rotate(path)
        append(path, "5\n")()
        rotate(path)
        append(path, "6\n")()

    script = Script(
        append(path, "1\n2"),
        append(path, "b\n"),
        lambda: rotate(path),
        append(path, "3\n"),
        two_rotations,
        append(tmp_path / "2026-11-24" / "x.log", "7\n"),
        append(tmp_path / "2026-11-24" / "x.log", "unfinished"),
    )

    followed = list(follow(tmp_path, "x.log", lines=1, wait=script))

    assert followed == ["tail", "1", "2b", "3", "4", "5", "6", "7"]


def test_follow_begins_before_the_log_exists(tmp_path: Path) -> None:
    """Its first line is not missed."""
    script = Script(lambda: None, append(tmp_path / "2026-11-23" / "x.log", "first\n"))

    assert list(follow(tmp_path, "x.log", lines=5, wait=script)) == ["first"]


def test_follow_goes_on_when_the_file_is_deleted(tmp_path: Path) -> None:
    """The next file is found."""
    path = write(tmp_path, "2026-11-23", "x.log", "old")
    script = Script(path.unlink, append(path, "new\n"))

    assert list(follow(tmp_path, "x.log", wait=script)) == ["new"]


def test_follow_never_begins_inside_a_line(tmp_path: Path) -> None:
    """A line that is being written when the following starts comes whole."""
    path = write(tmp_path, "2026-11-23", "x.log", "old")
    append(path, "half")()

    script = Script(append(path, " done\n"))

    assert list(follow(tmp_path, "x.log", lines=1, wait=script)) == ["old", "half done"]


def test_dated_dir_names_the_local_day(tmp_path: Path) -> None:
    """`YYYY-MM-DD`."""
    assert dated_dir(tmp_path) == tmp_path / "2026-11-23"
    assert dated_dir(tmp_path, date(2026, 1, 2)) == tmp_path / "2026-01-02"
