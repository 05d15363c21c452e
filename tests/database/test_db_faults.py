# ruff: noqa: PT012, SIM117 - what must raise is a whole transaction block
"""When the disk is full, the file locked or damaged: words, and nothing half-written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from database_values import T0, a_fill, an_order

from core.errors import StoreError
from database.db import Database
from database.history import DatabaseHistory
from database.paper_store import PaperDatabase

FULL_DISK = """
import resource, sys
from datetime import UTC, datetime
from core.errors import StoreError
from database.db import Database

store = Database(sys.argv[1])
store.append_event("before", {}, datetime.now(UTC))
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, hard))
failures = 0
try:
    while True:
        with store.transaction():
            seq = store.append_event("small", {}, datetime.now(UTC))
            store.append_event("big", {"pad": "x" * 20000, "of": seq}, datetime.now(UTC))
except StoreError as error:
    print(error)
    kept = seq - 1
try:
    with store.transaction():
        store.append_event("small", {}, datetime.now(UTC))
        store.append_event("big", {"pad": "x" * 200000}, datetime.now(UTC))
except StoreError as error:
    print("again:", error)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
assert [entry[0] for entry in store.events_after(0)] == list(range(1, kept + 1)), kept
assert store.append_event("after", {}, datetime.now(UTC)) == kept + 1
print("kept", kept)
"""


def test_a_full_disk_is_told_and_the_same_connection_goes_on_when_there_is_space(
    tmp_path: Path,
) -> None:
    """The kernel itself refuses to write: a file size limit on a real process."""
    path = tmp_path / "x.db"
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    first, again, kept = result.stdout.splitlines()
    assert str(path) in first
    assert "could not" in first
    assert "full disk" in first
    assert again.startswith("again:")
    store = Database(path)
    entries = list(store.events_after(0))
    assert len(entries) == int(kept.split()[1]) + 1
    assert {kind for _, kind, _, _ in entries[1:-1:2]} == {"small"}
    assert {kind for _, kind, _, _ in entries[2:-1:2]} == {"big"}
    store.close()


def test_a_database_at_its_page_limit_is_a_full_disk(tmp_path: Path) -> None:
    store = Database(tmp_path / "x.db")
    store.append_event("before", {}, T0)
    connection = store.session.connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 4}")
    with pytest.raises(StoreError, match=r"x\.db: could not .*SQLITE_FULL.*free space"):
        with store.transaction():
            store.save_order(an_order(1))
            store.insert_fill(a_fill(1), "entry:1")
            store.append_event("fill", {"pad": "x" * 100_000}, T0)
    assert store.load_order("gf-1") is None
    assert store.fill_count() == 0
    connection.execute("PRAGMA max_page_count = 1000000")
    with store.transaction():
        store.save_order(an_order(1))
        assert store.append_event("fill", {"pad": "x" * 100_000}, T0) == 2
    store.close()


LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
print("free", flush=True)
sys.stdin.readline()
"""


def test_another_process_that_holds_the_lock_is_told_and_writing_goes_on_after_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.db"
    store = Database(path, busy_timeout_s=0.05)
    store.save_meta("a", "1")
    history = DatabaseHistory(path)
    command = [sys.executable, "-c", LOCKER, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as locker:
        assert locker.stdin is not None
        assert locker.stdout is not None
        assert locker.stdout.readline() == "locked\n"
        with pytest.raises(StoreError, match=r"SQLITE_BUSY.*over 0\.05 s: close sqlite3 shells"):
            with store.transaction():
                raise AssertionError("the lock was not taken")
        with pytest.raises(StoreError, match="SQLITE_BUSY"):
            store.save_meta("a", "2")
        assert store.load_meta("a") == "1"
        assert history.fills(10, None) == ((), None)  # readers never wait in WAL
        locker.stdin.write("\n")
        locker.stdin.flush()
        assert locker.stdout.readline() == "free\n"
        store.save_meta("a", "3")
        assert store.load_meta("a") == "3"
        locker.stdin.write("\n")
    history.close()
    store.close()


def fill_some(path: Path) -> None:
    store = Database(path)
    with store.transaction():
        for number in range(300):
            store.insert_fill(a_fill(number), "entry:1")
            store.append_event("fill", {"trade_id": f"t{number}"}, T0)
    store.close()


def spoil_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"not a database at all!")


def spoil_page(path: Path) -> None:
    """Overwrite the fills' pages in the middle of the file."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2 // 2048 * 2048)
        file.write(b"\xa5" * 8192)


def cut_off(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


@pytest.mark.parametrize("spoil", [spoil_header, spoil_page, cut_off])
@pytest.mark.parametrize("has_backup", [True, False])
def test_a_damaged_database_is_refused_named_and_left_as_it_is(
    tmp_path: Path, spoil: Callable[[Path], None], *, has_backup: bool
) -> None:
    path = tmp_path / "x.db"
    fill_some(path)
    spoil(path)
    damaged = path.read_bytes()
    newest = tmp_path / "x.db.backup-v1-20261123T000000000000Z"
    if has_backup:
        newest.write_bytes(b"")
        (tmp_path / "x.db.backup-v9-20250101T000000000000Z").write_bytes(b"")
    with pytest.raises(StoreError) as caught:
        Database(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "damaged" in message
    assert (f"newest backup, {newest}" in message) is has_backup
    assert ("there is no backup" in message) is not has_backup
    assert path.read_bytes() == damaged


def test_a_page_of_a_large_database_is_still_read_at_both_ends(tmp_path: Path) -> None:
    """Beyond the bound not every page is read, but a table that cannot be entered is found."""
    from database.migrations import check
    from database.session import Session

    path = tmp_path / "x.db"
    fill_some(path)
    store = Database(path)
    (root,) = store.session.connection.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = 'fills'"
    ).fetchone()
    store.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * 2048)
        file.write(b"\xa5" * 2048)
    session = Session(path)
    with pytest.raises(StoreError, match="damaged"):
        check(session, full_check_bytes=0)
    session.close()


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("DELETE FROM events WHERE seq = 7", "299 entries, from 1 to 300"),
        ("DELETE FROM events WHERE seq = 1", "from 2 to 300"),
        ("INSERT INTO checkpoint VALUES (1, 301, '{}')", "checkpoint is of entry 301"),
    ],
)
def test_a_journal_with_a_gap_is_refused(tmp_path: Path, statement: str, finding: str) -> None:
    path = tmp_path / "x.db"
    fill_some(path)
    store = Database(path)
    store.session.connection.execute(statement)
    store.close()
    with pytest.raises(StoreError, match=finding):
        Database(path)


def test_a_text_file_in_its_place_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_text("my notes\n" * 100)
    for opener in (Database, PaperDatabase):
        with pytest.raises(StoreError, match="file is not a database"):
            opener(path)
    assert path.read_text() == "my notes\n" * 100


def test_reading_a_damaged_page_later_is_told_too(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    fill_some(path)
    history = DatabaseHistory(path)
    assert len(history.fills(1000, None)[0]) == 300
    history.close()
    spoil_page(path)
    history = DatabaseHistory(path)
    with pytest.raises(StoreError, match=r"could not read a page of fills.*damaged"):
        history.fills(1000, None)
    history.close()
