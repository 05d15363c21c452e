"""S23, alerts lost: the spool takes every alert, stays bounded, and never stops who raises one."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from core import alert_spool
from core.alert_files import OLD_NAME, SPOOL_NAME, state_path
from core.alert_lines import Alert, parse_alert
from core.alert_reading import read_spool
from core.alert_repeats import KIND_MAX, WINDOW_S, Repeats
from core.alert_spool import MESSAGE_MAX, AlertSpool


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "logs" / "bp"
    folder.mkdir(parents=True)
    return folder


def alerts_in(run_dir: Path) -> list[Alert]:
    return [entry.alert for entry in read_spool(run_dir) if entry.alert is not None]


def messages(run_dir: Path) -> list[str]:
    return [alert.message for alert in alerts_in(run_dir)]


# Writing ------------------------------------------------------------------------------------------


def test_an_alert_is_one_line_with_all_that_is_known(run_dir: Path) -> None:
    """Version, unique id, time with zone, instance, source, level, kind, message; 0600."""
    spool = AlertSpool(run_dir, "bp", "supervisor")
    assert spool.add("critical", "fatal", "given up")
    assert spool.add("warning", "signal", "killed")
    path = run_dir / SPOOL_NAME
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["message"] for line in lines] == ["given up", "killed"]
    assert lines[0]["id"] != lines[1]["id"]
    first = {key: lines[0][key] for key in ("v", "instance_id", "source", "level", "kind")}
    assert first == {
        "v": 1,
        "instance_id": "bp",
        "source": "supervisor",
        "level": "critical",
        "kind": "fatal",
    }
    assert lines[0]["time"][-6] in "+-"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("signature=0123456789abcdef here", "signature=*** here"),
        ("two\nlines", "two\nlines"),
        ("\x1b[31mred\u202e", "\\x1b[31mred\\u202e"),
        ("實例 🟢", "實例 🟢"),
        ("x" * 5000, "x" * (MESSAGE_MAX - 1) + "…"),
        ("\ud800", "\\ud800"),
    ],
)
def test_a_message_is_masked_escaped_and_cut(run_dir: Path, message: str, expected: str) -> None:
    AlertSpool(run_dir, "bp", "bot").add("warning", "bot", message)
    assert messages(run_dir) == [expected]


def test_a_line_that_a_full_disk_cut_swallows_no_other(run_dir: Path) -> None:
    """The next alert begins a line of its own; the torn one is passed over."""
    (run_dir / SPOOL_NAME).write_bytes(b'{"v": 1, "id": "bp.1.aa')
    spool = AlertSpool(run_dir, "bp", "bot")
    spool.add("warning", "bot", "whole")
    entries = read_spool(run_dir)
    assert [entry.alert and entry.alert.message for entry in entries] == [None, "whole"]
    spool.add("warning", "bot", "next")
    place = {entries[-1].file: entries[-1].end}
    assert [e.alert and e.alert.message for e in read_spool(run_dir, place)] == ["next"]


def test_a_line_that_is_not_whole_yet_is_left_for_the_next_time(run_dir: Path) -> None:
    AlertSpool(run_dir, "bp", "bot").add("warning", "bot", "first")
    with (run_dir / SPOOL_NAME).open("ab") as file:
        file.write(b'{"v": 1, "id"')
    assert messages(run_dir) == ["first"]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b'{"v": 2}',
        b'{"v": 1, "id": 3}',
        b"\xff\xfe",
        b"[" * 5000,
        b'{"v": 1, "id": "a", "time": "t", "instance_id": "i", "source": "s", "level": "loud"}',
        b'{"v": 1, "id": "a", "time": "t", "instance_id": "i", "source": "s", "level": "info"}',
    ],
)
def test_what_is_no_alert_is_none(line: bytes) -> None:
    assert parse_alert(line) is None


# What can't be written ----------------------------------------------------------------------------


def _directory(path: Path) -> None:
    path.mkdir()


def _link(path: Path) -> None:
    path.symlink_to(path.with_name("target"))


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _device_link(path: Path) -> None:
    path.symlink_to("/dev/full")


@pytest.mark.parametrize("plant", [_directory, _link, _fifo, _device_link])
def test_a_spool_that_cannot_be_written_costs_a_counted_drop(run_dir: Path, plant: Any) -> None:
    """S23: nothing is raised, nothing waits, each loss is told; later the spool says how many."""
    told: list[tuple[str, int]] = []
    spool = AlertSpool(run_dir, "bp", "bot", on_drop=lambda why, n: told.append((why, n)))
    path = run_dir / SPOOL_NAME
    plant(path)
    assert not spool.add("critical", "fatal", "one")
    assert not spool.add("critical", "fatal", "one")  # not counted as a repeat: it never was there
    assert [count for _, count in told] == [1, 2]
    assert not (run_dir / "target").exists()
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink()
    assert spool.add("critical", "fatal", "one")
    assert messages(run_dir) == ["2 alerts could not be written here", "one"]


def test_a_disk_that_takes_a_part_is_a_drop(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short write counts as none, and the next line is whole."""
    spool = AlertSpool(run_dir, "bp", "bot")
    true_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: true_write(fd, data[:20]))
    assert not spool.add("warning", "bot", "torn")
    monkeypatch.undo()
    assert spool.add("warning", "bot", "whole")
    assert messages(run_dir) == ["1 alerts could not be written here", "whole"]


def test_one_who_listens_to_drops_may_fail_too(run_dir: Path) -> None:
    def fails(_why: str, _count: int) -> None:
        raise OSError

    (run_dir / SPOOL_NAME).mkdir()
    assert not AlertSpool(run_dir, "bp", "bot", on_drop=fails).add("info", "x", "y")


# Repeats ------------------------------------------------------------------------------------------


def test_the_same_text_is_counted_and_then_told(run_dir: Path) -> None:
    """At most once in five minutes, and nothing goes untold."""
    clock = Clock()
    spool = AlertSpool(run_dir, "bp", "bot", clock=clock)
    for _ in range(4):
        spool.add("warning", "bot", "again")
    spool.add("warning", "bot", "other")
    assert messages(run_dir) == ["again", "other"]
    assert spool.next_due() == clock.now + WINDOW_S
    clock.now += WINDOW_S
    spool.tell_repeats()
    assert messages(run_dir)[2:] == ["again (3 more)"]
    assert alerts_in(run_dir)[2].repeats == 3
    assert spool.next_due() is None
    clock.now += WINDOW_S
    spool.add("warning", "bot", "again")
    assert messages(run_dir)[3:] == ["again"]


def test_a_flood_of_ever_new_texts_is_counted_by_its_kind(run_dir: Path) -> None:
    """A price in each text: `KIND_MAX` lines, then a count; another kind is not held up."""
    clock = Clock()
    spool = AlertSpool(run_dir, "bp", "bot", clock=clock)
    for number in range(500):
        spool.add("warning", "bot", f"at {number}")
    spool.add("critical", "fatal", "given up")
    assert len(messages(run_dir)) == KIND_MAX + 1
    clock.now += WINDOW_S
    spool.tell_repeats()
    assert messages(run_dir)[-1] == "480 more alerts of this kind; the last: at 499"


def test_the_end_of_a_process_tells_what_was_counted(run_dir: Path) -> None:
    spool = AlertSpool(run_dir, "bp", "bot")
    for _ in range(3):
        spool.add("warning", "bot", "again")
    spool.tell_repeats(at_end=True)
    assert messages(run_dir) == ["again", "again (2 more)"]


def test_repeats_keep_their_memory_small() -> None:
    """However many texts come, and however long it goes on."""
    repeats = Repeats()
    for number in range(10_000):
        now = number * 1.0
        repeats.take_due(now)
        repeats.admit("warning", "bot", f"text {number}", now)
    assert len(repeats._texts) <= 2 * KIND_MAX
    assert len(repeats._kinds) == 1


# Staying bounded ----------------------------------------------------------------------------------


def fill(spool: AlertSpool, start: int, count: int) -> None:
    for number in range(start, start + count):
        spool.add("warning", f"kind {number}", f"number {number}")


def sizes(run_dir: Path) -> int:
    return sum((run_dir / name).stat().st_size for name in (SPOOL_NAME, OLD_NAME))


def deliver_all(run_dir: Path) -> None:
    """Say that one channel has taken everything that is there now."""
    place = {entry.file: entry.end for entry in read_spool(run_dir)}
    channel = {"name": "json", "spools": {run_dir.name: place}}
    document = {"v": 1, "active": ["c"], "level": "info", "channels": {"c": channel}}
    state_path(run_dir.parent.parent).write_text(json.dumps(document))


def test_delivered_alerts_go_when_the_file_has_grown(run_dir: Path) -> None:
    """Two files of `rotate_bytes` at most, while an alerter keeps up."""
    spool = AlertSpool(run_dir, "bp", "bot", rotate_bytes=2000, cap_bytes=100_000)
    for number in range(100):
        fill(spool, number * 3, 3)
        deliver_all(run_dir)
    assert sizes(run_dir) < 2 * 2000 + 1000
    assert not any("dropped" in text for text in messages(run_dir))


def test_what_nobody_has_delivered_stays_until_the_cap_and_then_the_oldest_go(
    run_dir: Path,
) -> None:
    """No alerter: bounded all the same; what is gone is told with its number."""
    spool = AlertSpool(run_dir, "bp", "bot", rotate_bytes=2000, cap_bytes=8000)
    fill(spool, 0, 200)
    assert sizes(run_dir) < 2 * 8000 + 1000
    kept = messages(run_dir)
    numbers = [int(text.split()[1]) for text in kept if text.startswith("number")]
    assert numbers == list(range(200 - len(numbers), 200))  # the newest, in order, with no hole
    # Every drop is told in the file that begins with it; the latest is still there.
    assert any("oldest alerts were dropped" in text for text in kept)


def test_the_count_of_what_was_dropped_is_right(run_dir: Path) -> None:
    """Summed over all notes, exactly what is missing."""
    spool = AlertSpool(run_dir, "bp", "bot", rotate_bytes=1000, cap_bytes=3000)
    dropped, notes = 0, set()
    for number in range(60):
        fill(spool, number, 1)
        for alert in alerts_in(run_dir):
            if alert.kind == "alerts_dropped" and alert.id not in notes:
                notes.add(alert.id)
                dropped += int(alert.message.split()[1])
    assert len(notes) >= 3
    # A note that goes as well is told again by the next: only the last ones say it all.
    kept = alerts_in(run_dir)
    told = sum(alert.repeats for alert in kept if alert.kind == "alerts_dropped")
    assert told == 60 - sum(alert.kind != "alerts_dropped" for alert in kept)
    assert dropped >= told > 0


def test_one_of_two_channels_that_is_behind_keeps_the_file(run_dir: Path) -> None:
    spool = AlertSpool(run_dir, "bp", "bot", rotate_bytes=1000, cap_bytes=100_000)
    fill(spool, 0, 8)
    deliver_all(run_dir)
    document = json.loads(state_path(run_dir.parent.parent).read_text())
    document["active"].append("other")  # has taken nothing
    state_path(run_dir.parent.parent).write_text(json.dumps(document))
    fill(spool, 8, 50)
    numbers = [int(text.split()[1]) for text in messages(run_dir)]
    assert numbers == list(range(58))


def test_who_finds_the_other_writer_at_the_rename_goes_on(run_dir: Path) -> None:
    """The lock is never waited for."""
    spool = AlertSpool(run_dir, "bp", "bot", rotate_bytes=100)
    fd = os.open(run_dir / alert_spool.ROTATE_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    fill(spool, 0, 10)
    os.close(fd)
    assert len(messages(run_dir)) == 10
    assert not (run_dir / OLD_NAME).exists()


def test_a_place_in_a_file_that_is_gone_is_none_in_the_next(run_dir: Path) -> None:
    """Also where the kernel gives the next file the number of the one that is gone."""
    spool = AlertSpool(run_dir, "bp", "bot")
    fill(spool, 0, 5)
    place = {entry.file: entry.end for entry in read_spool(run_dir)}
    (run_dir / SPOOL_NAME).unlink()
    fill(spool, 5, 8)
    assert [e.alert and e.alert.message for e in read_spool(run_dir, place)] == [
        f"number {number}" for number in range(5, 13)
    ]


def test_a_place_that_a_power_cut_made_wrong_reads_the_file_again(run_dir: Path) -> None:
    """Beyond the end, or within a line: rather twice than never."""
    fill(AlertSpool(run_dir, "bp", "bot"), 0, 3)
    (entry, *_) = read_spool(run_dir)
    for end in (entry.end - 1, entry.end + 1, 10**9):
        assert len(read_spool(run_dir, {entry.file: end})) == 3
    assert len(read_spool(run_dir, {entry.file: entry.end})) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"v": 1, "active": 3}', '{"v": 9}', "[" * 9999])
def test_a_damaged_state_means_that_all_is_undelivered(run_dir: Path, text: str) -> None:
    state_path(run_dir.parent.parent).write_text(text)
    spool = AlertSpool(run_dir, "bp", "bot", rotate_bytes=500, cap_bytes=100_000)
    fill(spool, 0, 40)
    assert len(messages(run_dir)) == 40


# Many writers -------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from core.alert_spool import AlertSpool
folder, source, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
spool = AlertSpool(folder, "bp", source, rotate_bytes=20_000, cap_bytes=1 << 30)
for number in range(count):
    assert spool.add("warning", f"kind {number}", f"{source} {number}")
"""


@pytest.mark.slow
def test_processes_that_write_rename_and_read_at_once_lose_nothing(run_dir: Path) -> None:
    """S23: three writers that also rename, and a reader that moves its place all the while."""
    count, sources = 1500, ("supervisor", "bot", "third")
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(run_dir), source, str(count)])
        for source in sources
    ]
    place: dict[str, int] = {}
    taken: list[str] = []
    while True:
        has_ended = all(writer.poll() is not None for writer in writers)
        entries = read_spool(run_dir, place)
        for entry in entries:
            place[entry.file] = entry.end
            assert entry.alert is not None
            taken.append(entry.alert.message)
        channel = {"name": "json", "spools": {"bp": place}}
        document = {"v": 1, "active": ["c"], "level": "info", "channels": {"c": channel}}
        temp = run_dir / "state.tmp"
        temp.write_text(json.dumps(document))
        temp.rename(state_path(run_dir.parent.parent))
        if has_ended and not entries:
            break
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    for source in sources:
        mine = [text for text in taken if text.startswith(source)]
        assert mine == [f"{source} {number}" for number in range(count)]
    assert len(place) > 5  # it was renamed many times meanwhile


def test_threads_may_share_a_spool(run_dir: Path) -> None:
    """A bot's engine raises alerts while its main thread tells what was counted."""
    spool = AlertSpool(run_dir, "bp", "bot")

    def work(name: str) -> None:
        for number in range(200):
            spool.add("warning", f"{name} {number}", "text")
            spool.tell_repeats()

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = alerts_in(run_dir)
    assert len(found) == len({alert.id for alert in found}) == 600


def test_a_writer_that_slept_through_two_renames_writes_again(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is gone when it writes: the line goes into the one that is there."""
    sleeper = AlertSpool(run_dir, "bp", "supervisor")
    other = AlertSpool(run_dir, "bp", "bot")
    other.add("warning", "first", "first")
    true_open, opened = alert_spool.open_private, []

    def sleeping(path: Path, flags: int) -> int:
        fd = true_open(path, flags)
        if not opened:
            opened.append(fd)
            for number in range(2):
                (run_dir / SPOOL_NAME).rename(run_dir / OLD_NAME)
                other.add("warning", f"kind {number}", f"number {number}")
        return fd

    monkeypatch.setattr(alert_spool, "open_private", sleeping)
    assert sleeper.add("critical", "fatal", "given up")
    assert messages(run_dir) == ["number 0", "number 1", "given up"]
