"""`PaperDatabase(db_path)`: what the paper exchange keeps, `PaperStore` of core/ports.py.

It lives in the instance's own file, in tables of its own: a commit here is what "the exchange has
it" means, whatever the ledger has or has not written. So it outlives a crash of the bot as an
exchange does: safe against the death of the process at any instruction.

`PaperDatabase(database)` borrows the ledger's connection, for the same thread alone: a third
faster, since two connections that write by turns throw away each other's page cache. Its commits
are still transactions of their own; one inside a `Database.transaction()` is refused, as the
exchange's word would then hang on ours. `PaperDatabase(path)` has a connection of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from core.errors import StoreError
from core.model import Fill, FundingPayment, Order
from database import retention
from database.db import UPSERT_ORDER, Database, marks
from database.migrations import open_session
from database.rows import (
    FILL_COLUMNS,
    FUNDING_COLUMNS,
    ORDER_COLUMNS,
    fill_of,
    fill_row,
    from_json,
    funding_of,
    funding_row,
    order_of,
    order_row,
    to_json,
    to_micros,
)
from database.session import BUSY_TIMEOUT_S

_SAVE_ACCOUNT = (
    "INSERT INTO paper_account (id, payload) VALUES (1, ?) "
    "ON CONFLICT (id) DO UPDATE SET payload = excluded.payload"
)
_SAVE_ORDER = UPSERT_ORDER.format(
    table="paper_orders", columns=ORDER_COLUMNS, marks=marks(ORDER_COLUMNS)
)
_INSERT_FILL = f"INSERT INTO paper_fills ({FILL_COLUMNS}) VALUES ({marks(FILL_COLUMNS)})"
_INSERT_FUNDING = f"INSERT INTO paper_funding ({FUNDING_COLUMNS}) VALUES ({marks(FUNDING_COLUMNS)})"
_BEGINNING = -(2**63)


class PaperDatabase:
    """The paper exchange's books. Errors of every method: StoreError, with nothing written."""

    def __init__(
        self, place: str | Path | Database, *, busy_timeout_s: float = BUSY_TIMEOUT_S
    ) -> None:
        """Use the connection of an open ledger, or open a path, bringing its schema up to date.

        A path of ":memory:" has books of its own.
        """
        self._borrowed = isinstance(place, Database)
        if isinstance(place, Database):
            self._session = place.session
            return
        self._session = open_session(place, busy_timeout_s=busy_timeout_s)

    @property
    def path(self) -> str:
        return self._session.path

    def load_account(self) -> dict[str, Any] | None:
        """The account document last committed (JSON types only); None: a new account."""
        row = self._session.one("read the paper account", "SELECT payload FROM paper_account")
        return None if row is None else from_json(row[0])

    def load_open_orders(self) -> tuple[Order, ...]:
        """What rests on the paper exchange, oldest first."""
        rows = self._session.all(
            "read the open paper orders",
            f"SELECT {ORDER_COLUMNS} FROM paper_orders WHERE live = 1 ORDER BY created_at, id",
        )
        return tuple(map(order_of, rows))

    def load_order(self, client_order_id: str) -> Order | None:
        row = self._session.one(
            "read a paper order",
            f"SELECT {ORDER_COLUMNS} FROM paper_orders WHERE client_order_id = ?",
            (client_order_id,),
        )
        return None if row is None else order_of(row)

    def load_fills(self, since: datetime | None) -> tuple[Fill, ...]:
        """All fills at or after `since` (None: all), oldest first."""
        rows = self._session.all(
            "read the paper fills",
            f"SELECT {FILL_COLUMNS} FROM paper_fills WHERE time >= ? ORDER BY time, id",
            (_BEGINNING if since is None else to_micros(since),),
        )
        return tuple(map(fill_of, rows))

    def load_funding(self, since: datetime | None) -> tuple[FundingPayment, ...]:
        """All funding payments at or after `since` (None: all), oldest first."""
        rows = self._session.all(
            "read the paper funding",
            f"SELECT {FUNDING_COLUMNS} FROM paper_funding WHERE time >= ? ORDER BY time, id",
            (_BEGINNING if since is None else to_micros(since),),
        )
        return tuple(map(funding_of, rows))

    def commit(
        self,
        account: Mapping[str, Any],
        orders: Sequence[Order] = (),
        fills: Sequence[Fill] = (),
        funding: Sequence[FundingPayment] = (),
    ) -> None:
        """Write all of it in one transaction.

        Errors: StoreError, with nothing written; a trade id or funding time that is there already
        is one too, since an exchange gives each out once.
        """
        if self._session.in_transaction:
            raise StoreError(
                f"{self.path}: the paper exchange was called inside a transaction of the ledger: a "
                f"bug of ours; commit the intent first, then send it"
            )
        run = self._session.execute
        with self._session.transaction():
            run("save the paper account", _SAVE_ACCOUNT, (to_json(account),))
            for order in orders:
                run("save a paper order", _SAVE_ORDER, order_row(order))
            for fill in fills:
                run("append a paper fill", _INSERT_FILL, fill_row(fill))
            for payment in funding:
                run("append a paper funding payment", _INSERT_FUNDING, funding_row(payment))

    def prune(self, now: datetime) -> retention.Pruned:
        """Forget orders that ended long ago without any fill, as exchanges do."""
        return retention.prune(self._session, now, paper=True)

    def close(self) -> None:
        """Close the connection unless it is borrowed; it may be called again."""
        if not self._borrowed:
            self._session.close()
