"""One writing connection to SQLite: pragmas, transactions, and every error in words.

What it promises: inside `transaction()` all is committed together or not at all. A statement that
fails, or an exception that leaves a nested block, rolls the whole transaction back at once and
refuses everything until the outermost block is left, even if someone in between swallows the error:
SQLite itself may already have rolled back (a full disk), and what came after would otherwise be
committed piecemeal. Afterwards the same connection is good again.

One thread at a time. It knows no table.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from core.errors import StoreError
from database.faults import explain
from database.files import MEMORY, make_private, prepare_file
from database.rows import Row

Values = Sequence[Any] | Mapping[str, Any]

BUSY_TIMEOUT_S = 5.0
"""How long a write waits for another connection's lock; far under a supervisor's patience."""

PAGE_BYTES = 2048
"""Half of SQLite's default. A commit writes whole pages and ours touch many with a row each:
measured, this takes a fifth off the time of a fill and costs a read nothing."""

WAL_PAGES = 2000
"""Fold the WAL into the database whenever it passes 4 MiB."""

WAL_KEEP_BYTES = 8 * 2**20
"""What the WAL file is cut back to once a long reader has let it grow beyond."""

_WRITE_ERRORS = (sqlite3.Error, UnicodeEncodeError, OverflowError)
"""The last two: text that is no UTF-8 and integers over 64 bits, refused while being bound."""


class Session:
    """A connection in autocommit mode with explicit, joinable transactions."""

    def __init__(
        self,
        db_path: str | Path,
        *,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        on_rollback: Callable[[], None] | None = None,
    ) -> None:
        self.path = str(db_path)
        self.in_memory = self.path == MEMORY
        self._busy_timeout_s = busy_timeout_s
        self._on_rollback = on_rollback
        self._depth = 0
        self._broken = ""
        self._block = _Block(self, is_lazy=False)
        self._lazy_block = _Block(self, is_lazy=True)
        self._is_lazy = False  # the transaction that is open
        self._is_durable = False
        self.connection = self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            if self.in_memory:
                return sqlite3.connect(MEMORY, isolation_level=None, check_same_thread=False)
            path = Path(self.path).absolute()
            prepare_file(path)
            # mode=rw: SQLite itself never creates the file, prepare_file has.
            return sqlite3.connect(
                f"{path.as_uri()}?mode=rw",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                timeout=self._busy_timeout_s,
            )
        except sqlite3.Error as error:
            raise StoreError(self.explain("open it", error)) from error

    def make_ready(self, *, durable: bool) -> None:
        """Make the file private and set it up for writing; call it once it is known to be ours."""
        run = self.execute
        run("set up the connection", "PRAGMA foreign_keys = ON")
        run("set up the connection", "PRAGMA temp_store = MEMORY")
        if self.in_memory:
            return
        make_private(Path(self.path).absolute())
        mode = self.one("read its journal mode", "PRAGMA journal_mode")
        if mode != ("wal",):
            run(
                "set its page size", f"PRAGMA page_size = {PAGE_BYTES}"
            )  # obeyed by a new file only
            mode = self.one("switch it to WAL", "PRAGMA journal_mode = WAL")
        if mode != ("wal",):
            raise StoreError(
                f"{self.path}: SQLite cannot use WAL here (journal mode is {mode}); "
                f"it needs a local disk, no network file system: set daemon_config.db_path to one"
            )
        self._is_durable = durable
        run("set up the connection", f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        run("set up the connection", f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        run("set up the connection", f"PRAGMA journal_size_limit = {WAL_KEEP_BYTES}")

    # Statements -----------------------------------------------------------------------------

    def execute(self, doing: str, sql: str, values: Values = ()) -> sqlite3.Cursor:
        """Run one statement. Errors: StoreError that says what was being done (`doing`)."""
        if self._broken:
            self._refuse(doing)
        if self._is_lazy and not self._depth:
            self._be_lazy(False)  # outside a transaction every statement is a synced commit
        try:
            return self.connection.execute(sql, values)
        except _WRITE_ERRORS as error:
            raise self._failed(doing, error) from error

    def executemany(self, doing: str, sql: str, rows: Sequence[Row]) -> None:
        if self._broken:
            self._refuse(doing)
        if self._is_lazy and not self._depth:
            self._be_lazy(False)
        try:
            self.connection.executemany(sql, rows)
        except _WRITE_ERRORS as error:
            raise self._failed(doing, error) from error

    def one(self, doing: str, sql: str, values: Values = ()) -> Row | None:
        """The first row, with the statement finished, so that no read lock stays behind."""
        rows = self.all(doing, sql, values)
        return rows[0] if rows else None

    def all(self, doing: str, sql: str, values: Values = ()) -> list[Row]:
        if self._broken:
            self._refuse(doing)
        try:
            return self.connection.execute(sql, values).fetchall()
        except _WRITE_ERRORS as error:
            raise self._failed(doing, error) from error

    # Transactions ---------------------------------------------------------------------------

    def transaction(self, *, lazy: bool = False) -> AbstractContextManager[None]:
        """Commit at the end, roll back on any exception; a nested one joins the outer.

        A lazy one is not synced to the disk. The WAL is written in order and synced as a whole, so
        the next commit that is synced takes it along: no later one is ever there without it.
        """
        return self._lazy_block if lazy else self._block

    @property
    def in_transaction(self) -> bool:
        return self._depth > 0

    def _enter(self, *, is_lazy: bool) -> None:
        if self._depth == 0:
            self._be_lazy(is_lazy and self._is_durable)
            # IMMEDIATE: the lock is taken here, where waiting is safe, never half-way through.
            self._run("begin a transaction", "BEGIN IMMEDIATE")
        elif self._is_lazy and not is_lazy:
            raise StoreError("a transaction that must be synced was begun inside a lazy one")
        self._depth += 1

    def _be_lazy(self, is_lazy: bool) -> None:
        """Set how the next commits are synced; SQLite takes it between transactions only.

        It stays until another kind of commit comes: a fill's reaction has several lazy ones.
        """
        if is_lazy is not self._is_lazy:
            level = "NORMAL" if is_lazy else "FULL"
            self._run("set how it is synced", f"PRAGMA synchronous = {level}")
            self._is_lazy = is_lazy

    def _run(self, doing: str, sql: str) -> None:
        try:
            self.connection.execute(sql)
        except sqlite3.Error as error:
            raise self._failed(doing, error) from error

    def _leave(self, error: BaseException | None) -> None:
        self._depth -= 1
        if error is not None and not self._broken:
            self._broken = f"{type(error).__name__}: {error}"
            self._roll_back()
        if self._depth:
            return
        if not self._broken:
            try:
                self.connection.execute("COMMIT")
            except sqlite3.Error as commit_error:
                raise self._failed("commit", commit_error) from commit_error
            return
        cause, self._broken = self._broken, ""
        if error is None:
            raise StoreError(f"{self.path}: a part of it failed, so nothing was written ({cause})")

    def _failed(self, doing: str, error: Exception) -> StoreError:
        message = self.explain(doing, error)
        if self._depth:
            self._broken = message
        self._roll_back()
        return StoreError(message)

    def _roll_back(self) -> None:
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        except sqlite3.Error:
            # SQLite has rolled back by itself, or the connection is closed: there is nothing left.
            pass
        finally:
            if self._on_rollback is not None:
                self._on_rollback()

    def _refuse(self, doing: str) -> NoReturn:
        raise StoreError(
            f"{self.path}: could not {doing}: the transaction has already failed ({self._broken})"
        )

    def fold_wal(self) -> None:
        """Fold the WAL into the database and cut it to nothing, unless someone is reading."""
        if self.in_memory:
            return
        doing = "fold the WAL"
        self.execute(doing, "PRAGMA busy_timeout = 0")
        try:
            self.one(doing, "PRAGMA wal_checkpoint(TRUNCATE)")  # a busy reader is no error
        finally:
            self.execute(doing, f"PRAGMA busy_timeout = {round(self._busy_timeout_s * 1000)}")

    # Errors in words ------------------------------------------------------------------------

    def explain(self, doing: str, error: Exception) -> str:
        """One line for the operator: the file, what was being done, what SQLite said, the fix."""
        return explain(self.path, doing, error, self._busy_timeout_s)

    def close(self) -> None:
        """Close; what was not committed is gone. It may be called again."""
        self._roll_back()
        self.connection.close()


class _Block:
    """A context manager of a session; the session counts the depth."""

    __slots__ = ("_is_lazy", "_session")

    def __init__(self, session: Session, *, is_lazy: bool) -> None:
        self._session = session
        self._is_lazy = is_lazy

    def __enter__(self) -> None:
        self._session._enter(is_lazy=self._is_lazy)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session._leave(error)
