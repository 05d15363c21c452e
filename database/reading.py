"""`LedgerReader(db_path)`: one frozen moment of a whole ledger, for an audit of a running bot.

A read-only connection (`mode=ro`) inside one read transaction: everything it gives is of the same
instant, the paper exchange's books in the same file included, whatever the bot commits meanwhile.
It writes nothing, locks no writer out, and is to be closed soon, since the WAL cannot be folded
beyond it while it is open. It creates and migrates nothing: a file of another version is refused.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from core.errors import StoreError
from core.model import Fill, FundingPayment, Order
from database.faults import explain
from database.files import require_file
from database.migrations import APPLICATION_ID, MIGRATIONS
from database.rows import (
    FILL_COLUMNS,
    FUNDING_COLUMNS,
    ORDER_COLUMNS,
    Row,
    fill_of,
    from_json,
    from_micros,
    funding_of,
    order_of,
    to_micros,
)

BUSY_TIMEOUT_S = 2.0
"""A reader of a WAL file waits for nobody but one who has locked the whole file."""

_ACCOUNT = "SELECT payload FROM paper_account"
_OPEN = f"SELECT {ORDER_COLUMNS} FROM paper_orders WHERE live = 1 ORDER BY created_at, id"
_ONE = f"SELECT {ORDER_COLUMNS} FROM paper_orders WHERE client_order_id = ?"
_PAPER_FILLS = f"SELECT {FILL_COLUMNS} FROM paper_fills WHERE time >= ? ORDER BY time, id"
_PAPER_FUNDING = f"SELECT {FUNDING_COLUMNS} FROM paper_funding WHERE time >= ? ORDER BY time, id"
_BEGINNING = -(2**63)

_T = TypeVar("_T")

Entry = tuple[int, str, dict[str, Any], datetime]


class LedgerReader:
    """One moment of one database; a context manager. Errors of every method: StoreError.

    Values that cannot be read back (no number, no known word) are a StoreError too: they are
    damage, not a ledger.
    """

    def __init__(self, db_path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self.path = db_path.absolute()
        self._timeout_s = busy_timeout_s
        require_file(self.path)
        try:
            self._connection = sqlite3.connect(
                f"{self.path.as_uri()}?mode=ro",
                uri=True,
                isolation_level=None,
                timeout=busy_timeout_s,
            )
        except sqlite3.Error as error:
            raise self._failed("open it", error) from error
        try:
            self._rows("begin to read", "BEGIN")
            self._refuse_strangers()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> LedgerReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the read and close; it may be called again."""
        self._connection.close()

    # The ledger -----------------------------------------------------------------------------

    def meta(self, key: str) -> str | None:
        rows = self._rows("read meta", "SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    def orders(self) -> tuple[Order, ...]:
        """Every order that the ledger still has, oldest first."""
        sql = f"SELECT {ORDER_COLUMNS} FROM orders ORDER BY id"
        return self.read("read the orders", sql, order_of)

    def fills(self) -> tuple[tuple[Fill, str], ...]:
        """Every fill with its slot, in the order of arrival."""
        sql = f"SELECT {FILL_COLUMNS}, slot FROM fills ORDER BY id"
        return self.read("read the fills", sql, lambda row: (fill_of(row), str(row[-1])))

    def funding(self) -> tuple[FundingPayment, ...]:
        """Every funding payment, in the order of arrival."""
        sql = f"SELECT {FUNDING_COLUMNS} FROM funding ORDER BY id"
        return self.read("read the funding", sql, funding_of)

    def has_events(self) -> bool:
        """Whether the journal has any entry."""
        return bool(self._rows("read the journal", "SELECT 1 FROM events LIMIT 1"))

    def events(self, after: int = 0) -> tuple[Entry, ...]:
        """The journal after an entry: (sequence number, kind, payload, time), in order."""
        sql = "SELECT seq, kind, payload, time FROM events WHERE seq > ? ORDER BY seq"
        return self.read(
            "read the journal",
            sql,
            lambda row: (row[0], row[1], from_json(row[2]), from_micros(row[3])),
            after,
        )

    def checkpoint(self) -> tuple[int, dict[str, Any]] | None:
        found = self.read(
            "read the checkpoint",
            "SELECT seq, payload FROM checkpoint",
            lambda row: (row[0], from_json(row[1])),
        )
        return found[0] if found else None

    # Helpers --------------------------------------------------------------------------------

    def _refuse_strangers(self) -> None:
        owner = self._rows("read its schema", "PRAGMA application_id")[0][0]
        version = self._rows("read its schema", "PRAGMA user_version")[0][0]
        if owner != APPLICATION_ID:
            raise StoreError(f"{self.path}: is no database of gridfleet")
        if version != len(MIGRATIONS):
            raise StoreError(
                f"{self.path}: has schema version {version}, this program reads "
                f"{len(MIGRATIONS)}; start the instance once with this version, which brings it "
                "up to date"
            )

    def read(self, doing: str, sql: str, make: Callable[[Row], _T], *values: Any) -> tuple[_T, ...]:
        """Run one query and make each row a value."""
        rows = self._rows(doing, sql, values)
        try:
            return tuple(map(make, rows))
        except (ArithmeticError, KeyError, TypeError, ValueError) as error:
            why = f"{type(error).__name__}: {error}"
            words = f"{self.path}: could not {doing}: a value is damaged ({why})"
            raise StoreError(words) from error

    def _rows(self, doing: str, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._failed(doing, error) from error

    def _failed(self, doing: str, error: sqlite3.Error) -> StoreError:
        return StoreError(explain(str(self.path), doing, error, self._timeout_s))


class PaperReader:
    """The paper exchange's books at a reader's moment: a `PaperStore` that refuses every write."""

    def __init__(self, reader: LedgerReader) -> None:
        self._reader = reader

    def load_account(self) -> dict[str, Any] | None:
        found = self._reader.read("read the paper account", _ACCOUNT, lambda row: from_json(row[0]))
        return found[0] if found else None

    def load_open_orders(self) -> tuple[Order, ...]:
        return self._reader.read("read the open paper orders", _OPEN, order_of)

    def load_order(self, client_order_id: str) -> Order | None:
        found = self._reader.read("read a paper order", _ONE, order_of, client_order_id)
        return found[0] if found else None

    def load_fills(self, since: datetime | None) -> tuple[Fill, ...]:
        start = _BEGINNING if since is None else to_micros(since)
        return self._reader.read("read the paper fills", _PAPER_FILLS, fill_of, start)

    def load_funding(self, since: datetime | None) -> tuple[FundingPayment, ...]:
        start = _BEGINNING if since is None else to_micros(since)
        return self._reader.read("read the paper funding", _PAPER_FUNDING, funding_of, start)

    def commit(
        self,
        account: Mapping[str, Any],  # noqa: ARG002 - the port's signature
        orders: Sequence[Order] = (),  # noqa: ARG002
        fills: Sequence[Fill] = (),  # noqa: ARG002
        funding: Sequence[FundingPayment] = (),  # noqa: ARG002
    ) -> None:
        """Refuse: an audit writes nothing. Errors: StoreError, always."""
        raise StoreError(f"{self._reader.path}: is only read here; nothing was written")
