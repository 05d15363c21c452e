"""The file itself: private, and never through a planted link."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from database_values import T0, an_order

from core.errors import StoreError
from database.db import Database
from database.history import DatabaseHistory
from database.paper_store import PaperDatabase


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("open_umask")
def test_files_are_0600_and_new_folders_0700_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.db"
    store = Database(path)
    store.append_event("seed", {}, T0)
    assert mode_of(tmp_path / "a") == 0o700
    assert mode_of(tmp_path / "a" / "b") == 0o700
    for name in ("x.db", "x.db-wal", "x.db-shm"):
        assert mode_of(path.with_name(name)) == 0o600
    store.close()


def test_a_database_that_others_can_read_is_made_private(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    Database(path).close()
    path.chmod(0o666)
    Database(path).close()
    assert mode_of(path) == 0o600


def test_an_existing_folder_keeps_its_mode(tmp_path: Path) -> None:
    """It may be shared, /tmp even; only what we create is ours to close."""
    tmp_path.chmod(0o755)
    Database(tmp_path / "x.db").close()
    assert mode_of(tmp_path) == 0o755


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("opener", [Database, PaperDatabase])
def test_a_planted_link_is_refused_and_its_target_whole(
    tmp_path: Path, suffix: str, opener: type
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    victim.chmod(0o644)
    (tmp_path / f"x.db{suffix}").symlink_to(victim)
    with pytest.raises(StoreError, match=rf"x\.db{suffix}: is a symbolic link"):
        opener(tmp_path / "x.db")
    assert victim.read_text() == "precious"
    assert mode_of(victim) == 0o644


def test_a_dangling_link_creates_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="symbolic link"):
        Database(tmp_path / "x.db")
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_or_a_pipe_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.db").mkdir()
    os.mkfifo(tmp_path / "pipe.db")
    for name in ("folder.db", "pipe.db"):
        with pytest.raises(StoreError, match="no regular file"):
            Database(tmp_path / name)


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be prepared"):
        Database(tmp_path / "file" / "x.db")


@pytest.mark.parametrize("name", ["a b.db", "50%.db", "what?.db", "a#b.db", "資料.db", "a{0}.db"])
def test_any_file_name_works(tmp_path: Path, name: str) -> None:
    """SQLite opens it by URI, where these characters mean something."""
    store = Database(tmp_path / name)
    store.save_order(an_order(1))
    history = DatabaseHistory(tmp_path / name)
    assert len(history.orders(10, None, open_only=True)[0]) == 1
    history.close()
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_opening_it_again_does_not_drop_the_locks_of_this_process(tmp_path: Path) -> None:
    """A plain open and close of the files would: POSIX locks belong to the process."""
    path = tmp_path / "x.db"
    writer = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)\n"
        "try: connection.execute('BEGIN IMMEDIATE')\n"
        "except sqlite3.OperationalError as error: print(error)\n"
        "else: print('let in')\n"
    )

    def ask() -> str:
        command = [sys.executable, "-c", writer, str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    first = Database(path)
    assert ask() == "let in"
    with first.transaction():
        PaperDatabase(path).close()
        history = DatabaseHistory(path)
        history.fills(1, None)
        history.close()
        assert ask() == "database is locked"
    first.close()
