"""Versions of the schema: backed up, applied whole or not at all, never downgraded."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from database_values import T0, a_fill

from core.errors import StoreError
from database.db import Database
from database.faults import list_backups
from database.migrations import (
    BACKUPS_KEPT,
    MIGRATIONS,
    Migration,
    back_up,
    migrate,
)
from database.paper_store import PaperDatabase
from database.session import Session

NEXT = Migration(name="a column more", statements=("ALTER TABLE fills ADD COLUMN venue TEXT",))
BROKEN = Migration(
    name="a broken one",
    statements=("CREATE TABLE half (x)", "DELETE FROM fills", "INSERT INTO nowhere VALUES (1)"),
)


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def filled(path: Path) -> Path:
    store = Database(path)
    for number in range(10):
        store.insert_fill(a_fill(number), "entry:1")
    store.close()
    return path


def test_a_new_database_has_the_newest_schema_and_no_backup(tmp_path: Path) -> None:
    path = filled(tmp_path / "x.db")
    assert version_of(path) == len(MIGRATIONS)
    Database(path).close()
    assert list_backups(path) == []


def test_each_version_leads_to_the_newest_with_its_data(tmp_path: Path) -> None:
    for version in range(1, len(MIGRATIONS)):
        path = tmp_path / f"v{version}.db"
        session = Session(path)
        migrate(session, MIGRATIONS[:version])
        session.execute("test", "INSERT INTO meta VALUES ('k', 'kept')")
        session.close()
        store = Database(path)
        assert store.load_meta("k") == "kept"
        store.close()
        assert version_of(path) == len(MIGRATIONS)
        assert [version_of(backup) for backup in list_backups(path)] == [version]


def test_names_of_migrations_are_unique() -> None:
    assert len({migration.name for migration in MIGRATIONS}) == len(MIGRATIONS)


def test_before_a_migration_a_whole_private_copy_is_made(tmp_path: Path) -> None:
    path = filled(tmp_path / "x.db")
    session = Session(path)
    assert migrate(session, (*MIGRATIONS, NEXT)) == len(MIGRATIONS)
    session.close()
    (backup,) = list_backups(path)
    assert backup.name.startswith(f"x.db.backup-v{len(MIGRATIONS)}-20")
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    with closing(sqlite3.connect(f"{backup.as_uri()}?mode=ro", uri=True)) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copy.execute("SELECT count(*) FROM fills").fetchone() == (10,)
        assert "venue" not in [row[1] for row in copy.execute("PRAGMA table_info(fills)")]
    assert version_of(path) == len(MIGRATIONS) + 1
    assert sorted(each.name for each in tmp_path.iterdir()) == ["x.db", backup.name]


def test_a_backup_can_be_put_in_place_of_the_database(tmp_path: Path) -> None:
    path = filled(tmp_path / "x.db")
    session = Session(path)
    backup = back_up(session, len(MIGRATIONS))
    session.close()
    path.unlink()
    backup.rename(path)
    store = Database(path)
    assert store.fill_count() == 10
    store.close()


def test_the_newest_three_backups_are_kept(tmp_path: Path) -> None:
    path = filled(tmp_path / "x.db")
    session = Session(path)
    made = [back_up(session, 11 - n, T0 + timedelta(hours=n)) for n in range(BACKUPS_KEPT + 3)]
    session.close()
    assert list_backups(path) == made[-BACKUPS_KEPT:]


def test_a_backup_that_cannot_be_made_stops_the_migration(tmp_path: Path) -> None:
    path = filled(tmp_path / "x.db")
    session = Session(path)
    blocker = tmp_path / f"x.db.backup-v1-{T0:%Y%m%dT%H%M%S%fZ}.partial"
    blocker.mkdir()
    with pytest.raises(StoreError, match=r"could not be backed up to .*nothing was changed"):
        migrate(session, (*MIGRATIONS, NEXT))
    session.close()
    assert version_of(path) == len(MIGRATIONS)


def test_a_migration_that_fails_leaves_the_old_version_whole(tmp_path: Path) -> None:
    path = filled(tmp_path / "x.db")
    session = Session(path)
    with pytest.raises(StoreError, match=r"apply migration \d \(a broken one\).*nowhere"):
        migrate(session, (*MIGRATIONS, NEXT, BROKEN))
    session.close()
    assert version_of(path) == len(MIGRATIONS) + 1  # each step stands by itself
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM fills").fetchone() == (10,)
        assert not connection.execute("SELECT * FROM sqlite_master WHERE name='half'").fetchall()


INTERRUPTED = """
import sys
from database.migrations import MIGRATIONS, Migration, migrate
from database.paper_store import PaperDatabase
from database.session import Session

def halt():
    print("half-way", flush=True)
    sys.stdin.readline()

session = Session(sys.argv[1])
session.connection.create_function("halt", 0, halt)
statements = ("CREATE TABLE half (x)", "DELETE FROM fills", "INSERT INTO half VALUES (halt())")
migrate(session, (*MIGRATIONS, Migration(name="interrupted", statements=statements)))
"""


def test_kill_9_in_the_middle_of_a_migration_leaves_the_old_version_whole(tmp_path: Path) -> None:
    path = filled(tmp_path / "x.db")
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half-way\n"
        process.kill()
    store = Database(path)
    assert store.fill_count() == 10
    store.close()
    assert version_of(path) == len(MIGRATIONS)
    assert len(list_backups(path)) == 1
    session = Session(path)
    migrate(session, (*MIGRATIONS, NEXT))
    session.close()
    assert version_of(path) == len(MIGRATIONS) + 1


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = filled(tmp_path / "x.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match=r"schema version 99.*newer gridfleet"):
        Database(path)
    assert version_of(path) == 99
    assert list_backups(path) == []


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE notes (x)", "PRAGMA user_version = 3", "PRAGMA application_id = 5"]
)
def test_a_database_of_another_program_is_refused_untouched(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
    path.chmod(0o644)
    theirs = path.read_bytes()
    for opener in (Database, PaperDatabase):
        with pytest.raises(StoreError, match="another program"):
            opener(path)
    assert path.read_bytes() == theirs
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    """What a crash between the creation of the file and the first migration leaves."""
    (tmp_path / "x.db").touch()
    filled(tmp_path / "x.db")
    assert version_of(tmp_path / "x.db") == len(MIGRATIONS)
