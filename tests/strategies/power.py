"""A disk that can lose its power: what was not synced is gone, from any byte on.

The ledger is a real SQLite file. Its write-ahead log is never folded here, so it is one run of
appended bytes, and a power cut keeps any number of them between the last sync and the end.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storm import WatchedStore

from core.model import Order
from database.db import Database
from database.reserve import Reserve


class PoweredStore(WatchedStore):
    """A ledger on a disk of its own; `cut` gives the one that a machine finds after a power cut."""

    def __init__(self, path: Path) -> None:
        self._file = path
        self._depth = 0
        self.synced_bytes = 0
        super().__init__(path, durable=True)
        self.session.execute("test", "PRAGMA wal_autocheckpoint = 0")
        self.note_sync()

    @property
    def _log(self) -> Path:
        return self._file.with_name(f"{self._file.name}-wal")

    def note_sync(self) -> None:
        """Everything that is committed is on the disk."""
        self.synced_bytes = self._log.stat().st_size

    @contextmanager
    def transaction(self, *, lazy: bool = False) -> Iterator[None]:
        self._depth += 1
        try:
            with super().transaction(lazy=lazy):
                yield
        finally:
            self._depth -= 1
        if not lazy and self._depth == 0:
            self.note_sync()

    def save_order(self, order: Order) -> None:
        super().save_order(order)
        if self._depth == 0:
            self.note_sync()

    def cut(self, dice: random.Random | None = None) -> PoweredStore:
        """Lose the power, and with it all that was not synced, or as much of it as the dice say."""
        whole = self._log.stat().st_size
        after = self._file.with_name(f"{self._file.stem}x.db")
        kept = self.synced_bytes
        if dice is not None and dice.random() < 0.5:
            kept = dice.randint(self.synced_bytes, whole)
        self._copy(after, kept)
        self.close()
        self._log.unlink(missing_ok=True)
        self._file.unlink()
        return PoweredStore(after)

    def on_disk(self) -> Database:
        """The ledger as a power cut would leave it, while this one goes on."""
        copy = self._file.with_name("copy.db")
        for old in copy.parent.glob("copy.db*"):
            old.unlink()
        self._copy(copy, self.synced_bytes)
        return Database(copy)

    def _copy(self, target: Path, log_bytes: int) -> None:
        shutil.copyfile(self._file, target)
        with self._log.open("rb") as log:
            target.with_name(f"{target.name}-wal").write_bytes(log.read(log_bytes))


class SlowReserve(Reserve):
    """The real rows; the sync is over when the test's dice say so, not a thread."""

    def __init__(self, store: PoweredStore, dice: random.Random, luck: float = 0.5) -> None:
        super().__init__(store)
        self._store = store
        self._dice = dice
        self._luck = luck
        self._asked = self._done = 0

    def sync_soon(self) -> int:
        self._asked += 1
        self._roll()
        return self._asked

    def is_synced(self, mark: int) -> bool:
        if mark > self._done:
            self._roll()
        return mark <= self._done

    def _roll(self) -> None:
        if self._dice.random() < self._luck:
            self._done = self._asked
            self._store.note_sync()
