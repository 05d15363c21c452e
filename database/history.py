"""`DatabaseHistory(db_path)`: pages of the ledger for the web, `History` of core/ports.py.

Read-only connections (`mode=ro`), so no page can change or lock the ledger; safe from any thread.
A few connections are kept and lent to one call each. Every call reads its rows at once and ends
its read, so that no open reader keeps the WAL from being folded. It creates nothing.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from pathlib import Path
from typing import Any

from core.errors import StoreError
from core.model import EquitySample, Fill, Order
from database.faults import explain
from database.files import MEMORY, require_file
from database.rows import (
    EQUITY_COLUMNS,
    FILL_COLUMNS,
    ORDER_COLUMNS,
    Row,
    equity_of,
    fill_of,
    order_of,
)
from database.session import BUSY_TIMEOUT_S

MAX_LIMIT = 100_000
CONNECTIONS_KEPT = 4
"""Idle ones kept for the next call; more are opened under load and closed after it."""

CACHE_KIB = 256
_NEWEST = 2**63 - 1


class DatabaseHistory:
    """Newest first; `before` is the row number (`next_before`) of the page before."""

    def __init__(self, db_path: str | Path) -> None:
        if str(db_path) == MEMORY:
            raise StoreError(":memory: has no history to read: use a file")
        self._path = Path(db_path).absolute()
        self._idle: deque[sqlite3.Connection] = deque()
        self._closed = False

    def orders(
        self, limit: int, before: int | None, *, open_only: bool
    ) -> tuple[tuple[Order, ...], int | None]:
        """Orders by age of their first record, with the cursor of the next page (None: no more)."""
        live = " AND live = 1" if open_only else ""
        rows, following = self._page("orders", ORDER_COLUMNS, limit, before, live)
        return tuple(map(order_of, rows)), following

    def fills(self, limit: int, before: int | None) -> tuple[tuple[Fill, ...], int | None]:
        """Fills by order of arrival, with the cursor of the next page (None: no more)."""
        rows, following = self._page("fills", FILL_COLUMNS, limit, before)
        return tuple(map(fill_of, rows)), following

    def equity(self, limit: int, before: int | None) -> tuple[tuple[EquitySample, ...], int | None]:
        """Points of the equity curve, with the cursor of the next page (None: no more)."""
        rows, following = self._page("equity", EQUITY_COLUMNS, limit, before)
        return tuple(map(equity_of, rows)), following

    def close(self) -> None:
        """Close what is idle; calls still running close their own connection."""
        self._closed = True
        self._close_idle()

    def _page(
        self, table: str, columns: str, limit: int, before: int | None, condition: str = ""
    ) -> tuple[list[Row], int | None]:
        if not 1 <= limit <= MAX_LIMIT:
            raise ValueError(f"limit was {limit}, expected 1 to {MAX_LIMIT}")
        # The id comes last, so the columns keep their places; one row more tells of a next page.
        sql = f"SELECT {columns}, id FROM {table} WHERE id < ?{condition} ORDER BY id DESC LIMIT ?"
        cursor = _NEWEST if before is None else max(min(before, _NEWEST), 0)
        rows = self._read(f"read a page of {table}", sql, (cursor, limit + 1))
        if len(rows) <= limit:
            return rows, None
        del rows[limit:]
        return rows, rows[-1][-1]

    def _read(self, doing: str, sql: str, values: tuple[Any, ...]) -> list[Row]:
        connection: sqlite3.Connection | None = None
        try:
            connection = self._take()
            rows = connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            raise StoreError(explain(str(self._path), doing, error, BUSY_TIMEOUT_S)) from error
        self._give_back(connection)
        return rows

    def _take(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreError(f"{self._path}: its history is closed; the bot is ending")
        try:
            return self._idle.pop()
        except IndexError:
            return self._open()

    def _open(self) -> sqlite3.Connection:
        require_file(self._path)
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_TIMEOUT_S,
        )
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if self._closed or len(self._idle) >= CONNECTIONS_KEPT:
            connection.close()
            return
        self._idle.append(connection)
        if self._closed:  # closed in between: leave nothing open
            self._close_idle()

    def _close_idle(self) -> None:
        while True:
            try:
                self._idle.pop().close()
            except IndexError:
                return
