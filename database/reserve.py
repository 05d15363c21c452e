"""Client order ids kept for slots, on the disk before they are needed (docs/decisions/008).

The rows are ordinary ones of the ledger; what brings them to the disk is a thread that syncs the
write-ahead log, so that the engine never waits for it.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping

from database.db import Database

FOLD_EVERY = 64
"""Syncs between two folds of the log into the database: some thousand pages. SQLite would fold at
twice that by itself, within a commit: two syncs and a thousand writes, before an order leaves."""

CLOSE_S = 10.0
"""Seconds that a close waits for a sync under way: a disk that hangs for longer is given up."""


class WalSync:
    """Syncs a database's write-ahead log on a thread of its own, when it is asked to, and folds it.

    SQLite appends to that file with every commit and never replaces it while a connection is open.
    Whatever part of it was folded into the database meanwhile, SQLite has synced by itself.
    A sync that fails is the last one: the kernel tells a failure once, and what it could not write
    counts as written from then on. What waits goes on waiting, so every order takes the synced way,
    and the ledger's own commits tell the operator.
    """

    def __init__(self, db_path: str, sync: Callable[[int], None] = os.fdatasync) -> None:
        self._path = db_path
        self._sync = sync
        self._asked = 0
        self._done = 0
        self._has_failed = False
        self._bell: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def begin(self) -> int:
        """Have what is committed by now synced; gives its mark. One thread at a time."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="wal-sync", daemon=True)
            self._thread.start()
        self._asked += 1
        if not self._has_failed:
            self._bell.put(True)
        return self._asked

    @property
    def done(self) -> int:
        """The mark up to which everything is on the disk."""
        return self._done

    def close(self) -> None:
        if self._thread is not None:
            self._bell.put(False)
            self._thread.join(CLOSE_S)
            self._thread = None

    def _run(self) -> None:
        file: int | None = None
        syncs = 0
        try:
            while self._bell.get():
                mark = self._asked
                if mark == self._done:
                    continue  # one sync has served several askers
                try:
                    if file is None:
                        file = os.open(f"{self._path}-wal", os.O_RDONLY | os.O_CLOEXEC)
                    self._sync(file)
                except OSError:
                    self._has_failed = True
                    return
                self._done = mark
                syncs += 1
                if syncs % FOLD_EVERY == 0:
                    self._fold()
        finally:
            if file is not None:
                os.close(file)

    def _fold(self) -> None:
        """Fold the log into the database beside the writer, as far as readers let us.

        What this cannot do, the writer's own connection does at a commit.
        """
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(self._path, timeout=0)) as connection,
        ):
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


class Reserve:
    """The `IdReserve` of core/ports.py over the ledger's own file."""

    def __init__(self, database: Database, sync: Callable[[int], None] = os.fdatasync) -> None:
        self._session = database.session
        self._wal = WalSync(database.path, sync)

    def load(self) -> dict[str, str]:
        rows = self._session.all("read kept ids", "SELECT client_order_id, slot FROM reserved")
        return dict(rows)

    def keep(self, slots: Mapping[str, str]) -> None:
        self._session.executemany(
            "keep ids",
            "INSERT INTO reserved (client_order_id, slot) VALUES (?, ?)",
            [*slots.items()],
        )

    def drop(self, ids: Iterable[str]) -> None:
        self._session.executemany(
            "drop kept ids",
            "DELETE FROM reserved WHERE client_order_id = ?",
            [(client_id,) for client_id in ids],
        )

    def sync_soon(self) -> int:
        return self._wal.begin()

    def is_synced(self, mark: int) -> bool:
        return mark <= self._wal.done

    def close(self) -> None:
        """End the thread; before the database is closed."""
        self._wal.close()
