"""`Database(db_path)`: the instance's ledger, the engine's `Store` (core/ports.py).

One writer: the engine's thread. Reads of the web go through `history.DatabaseHistory`, the paper
exchange's books through `paper_store.PaperDatabase`. No transaction may span a call of the
exchange: on paper that call commits to this same file and would wait for the lock held here.

What survives: a commit survives the death of the process, always. With `durable` (live money) it
survives a power cut too, at one fsync a commit; without, a power cut may cost the last commits,
never the consistency of what is left. ":memory:" is for backtests.

Never deleted: fills, funding, the journal. See retention.py for what is thinned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

from core.errors import ConfigError, StoreError
from core.model import EquitySample, Fill, FundingPayment, Order
from database import retention
from database.migrations import open_session
from database.rows import (
    EQUITY_COLUMNS,
    FILL_COLUMNS,
    FUNDING_COLUMNS,
    ORDER_COLUMNS,
    equity_row,
    fill_of,
    fill_row,
    from_json,
    from_micros,
    funding_row,
    order_of,
    order_row,
    to_json,
    to_micros,
)
from database.session import BUSY_TIMEOUT_S, Session

EVENTS_PER_READ = 1000
"""The journal is read in pieces, so that no read lock keeps the WAL from being folded."""

_NUMBERS = "order_number"
_INSTANCE = "instance_id"

UPSERT_ORDER = """
INSERT INTO {table} ({columns}) VALUES ({marks})
ON CONFLICT (client_order_id) DO UPDATE SET
    venue_order_id = excluded.venue_order_id, symbol = excluded.symbol, side = excluded.side,
    price = excluded.price, quantity = excluded.quantity, filled_qty = excluded.filled_qty,
    status = excluded.status, live = excluded.live, post_only = excluded.post_only,
    reduce_only = excluded.reduce_only, time_in_force = excluded.time_in_force,
    slot = excluded.slot, reason = excluded.reason, created_at = excluded.created_at,
    updated_at = excluded.updated_at"""


def marks(columns: str) -> str:
    """One question mark a column."""
    return ", ".join("?" * (columns.count(",") + 1))


_SAVE_ORDER = UPSERT_ORDER.format(table="orders", columns=ORDER_COLUMNS, marks=marks(ORDER_COLUMNS))
_INSERT_FILL = (
    f"INSERT INTO fills ({FILL_COLUMNS}, slot) VALUES ({marks(FILL_COLUMNS)}, ?) "
    f"ON CONFLICT (symbol, trade_id) DO NOTHING"
)
_INSERT_FUNDING = (
    f"INSERT INTO funding ({FUNDING_COLUMNS}) VALUES ({marks(FUNDING_COLUMNS)}) "
    f"ON CONFLICT (symbol, time) DO NOTHING"
)
_INSERT_EQUITY = f"INSERT INTO equity ({EQUITY_COLUMNS}) VALUES ({marks(EQUITY_COLUMNS)})"
_INSERT_EVENT = "INSERT INTO events (kind, payload, time) VALUES (?, ?, ?)"
_EVENTS = (
    "SELECT seq, kind, payload, time FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
)
_ONE_ORDER = f"SELECT {ORDER_COLUMNS} FROM orders WHERE client_order_id = ?"
_LIVE_ORDERS = f"SELECT {ORDER_COLUMNS} FROM orders WHERE live = 1 ORDER BY created_at, id"
_NEWEST_FILLS = f"SELECT {FILL_COLUMNS} FROM fills ORDER BY id DESC LIMIT ?"


class Database:
    """The ledger over one SQLite file. Errors of every method: StoreError, nothing half-written."""

    def __init__(
        self, db_path: str | Path, *, durable: bool = False, busy_timeout_s: float = BUSY_TIMEOUT_S
    ) -> None:
        """Open, check and migrate `db_path`; create it, 0600, when it is absent."""
        self._fill_count: int | None = None
        self._last_fill: int | None = None
        self._next_number = 1
        self._session = open_session(
            db_path,
            durable=durable,
            checked=True,
            busy_timeout_s=busy_timeout_s,
            on_rollback=self._forget,
        )

    @property
    def path(self) -> str:
        return self._session.path

    @property
    def session(self) -> Session:
        """The connection, for this room's own use."""
        return self._session

    def bind_instance(self, instance_id: str) -> None:
        """Make this the database of `instance_id` for good; refuse one that is another's."""
        with self._session.transaction():
            owner = self.load_meta(_INSTANCE)
            if owner is None:
                self.save_meta(_INSTANCE, instance_id)
            elif owner != instance_id:
                raise ConfigError(  # for ever: no retry makes it ours
                    f"daemon_config.db_path: {self.path} belongs to instance {owner!r}, not to "
                    f"{instance_id!r}; set it to a file of its own, such as "
                    f"database/{instance_id}.db"
                )

    def transaction(self, *, lazy: bool = False) -> AbstractContextManager[None]:
        """Commit at the end, roll back on any exception; a nested one joins the outer."""
        return self._session.transaction(lazy=lazy)

    # Small facts ----------------------------------------------------------------------------

    def load_meta(self, key: str) -> str | None:
        row = self._session.one("read meta", "SELECT value FROM meta WHERE key = ?", (key,))
        return None if row is None else str(row[0])

    def save_meta(self, key: str, value: str) -> None:
        self._session.execute(
            "save meta",
            "INSERT INTO meta (key, value) VALUES (?, ?) "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, value),
        )

    def reserve_order_numbers(self, count: int, *, lazy: bool = False) -> int:
        """Take `count` numbers, from 1, never given out before; returns the first.

        A number given out inside a transaction that is rolled back is not given out again either;
        a lazy one may be, after a power cut that came before it was on the disk.
        """
        if count < 1:
            raise ValueError(f"count was {count}, expected 1 or more")
        session = self._session
        doing = "reserve order numbers"
        with session.transaction(lazy=lazy):
            row = session.one(doing, "SELECT next FROM counters WHERE name = ?", (_NUMBERS,))
            first = max(self._next_number, row[0] if row else 1)
            self._next_number = first + count
            session.execute(
                doing,
                "INSERT INTO counters (name, next) VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET next = excluded.next",
                (_NUMBERS, self._next_number),
            )
        return first

    # Orders ---------------------------------------------------------------------------------

    def save_order(self, order: Order) -> None:
        """Insert or update by client order id.

        Errors: StoreError also when another live order holds the slot (I2), which is a bug of ours.
        """
        try:
            self._session.execute("save an order", _SAVE_ORDER, order_row(order))
        except StoreError as error:
            raise StoreError(
                f"{error} [order {order.client_order_id!r}, slot {order.slot!r}, "
                f"{order.status.value}]"
            ) from error

    def load_order(self, client_order_id: str) -> Order | None:
        row = self._session.one("read an order", _ONE_ORDER, (client_order_id,))
        return None if row is None else order_of(row)

    def live_orders(self) -> tuple[Order, ...]:
        """All orders that are not terminal, oldest first."""
        return tuple(map(order_of, self._session.all("read the live orders", _LIVE_ORDERS)))

    # Fills and funding ----------------------------------------------------------------------

    def insert_fill(self, fill: Fill, slot: str) -> bool:
        """Append a fill; False, with nothing written, when its (symbol, trade id) is known."""
        row = fill_row(fill)
        cursor = self._session.execute("append a fill", _INSERT_FILL, (*row, slot))
        if cursor.rowcount != 1:
            return False
        if self._fill_count is not None:
            self._fill_count += 1
        if self._last_fill is not None and row[-1] > self._last_fill:
            self._last_fill = row[-1]
        return True

    def load_fills(self, limit: int) -> tuple[Fill, ...]:
        """The newest fills by order of arrival, oldest first."""
        rows = self._session.all("read fills", _NEWEST_FILLS, (max(limit, 0),))
        return tuple(map(fill_of, reversed(rows)))

    def fill_count(self) -> int:
        if self._fill_count is None:
            row = self._session.one("count the fills", "SELECT count(*) FROM fills")
            self._fill_count = row[0] if row else 0
        return self._fill_count

    def last_fill_time(self) -> datetime | None:
        """The latest time of any fill; None: there is none."""
        if self._last_fill is None:
            row = self._session.one("read the last fill's time", "SELECT max(time) FROM fills")
            self._last_fill = row[0] if row else None
        return None if self._last_fill is None else from_micros(self._last_fill)

    def insert_funding(self, payment: FundingPayment) -> bool:
        """Append a payment; False when its (symbol, time) is known."""
        cursor = self._session.execute(
            "append a funding payment", _INSERT_FUNDING, funding_row(payment)
        )
        return cursor.rowcount == 1

    def last_funding_time(self) -> datetime | None:
        row = self._session.one("read the last funding's time", "SELECT max(time) FROM funding")
        return None if row is None or row[0] is None else from_micros(row[0])

    # The journal ----------------------------------------------------------------------------

    def append_event(self, kind: str, payload: Mapping[str, Any], time: datetime) -> int:
        """Append to the journal; returns its sequence number, from 1, without gaps."""
        values = (kind, to_json(payload), to_micros(time))
        seq = self._session.execute("append to the journal", _INSERT_EVENT, values).lastrowid
        assert seq is not None
        return seq

    def events_after(self, seq: int) -> Iterator[tuple[int, str, dict[str, Any], datetime]]:
        """Journal entries with a greater sequence number, in order, as far as it goes now."""
        doing = "read the journal"
        row = self._session.one(doing, "SELECT coalesce(max(seq), 0) FROM events")
        last = row[0] if row else 0
        while seq < last:
            rows = self._session.all(doing, _EVENTS, (seq, last, EVENTS_PER_READ))
            for number, kind, payload, time in rows:
                yield number, kind, from_json(payload), from_micros(time)
            seq = rows[-1][0]

    def save_checkpoint(self, seq: int, payload: Mapping[str, Any]) -> None:
        """Keep the folded state as of journal entry `seq`; replaces the one before."""
        self._session.execute(
            "save the checkpoint",
            "INSERT INTO checkpoint (id, seq, payload) VALUES (1, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, payload = excluded.payload",
            (seq, to_json(payload)),
        )

    def load_checkpoint(self) -> tuple[int, dict[str, Any]] | None:
        row = self._session.one("read the checkpoint", "SELECT seq, payload FROM checkpoint")
        return None if row is None else (row[0], from_json(row[1]))

    # Equity and upkeep ----------------------------------------------------------------------

    def insert_equity(self, sample: EquitySample) -> None:
        self._session.execute("save an equity sample", _INSERT_EQUITY, equity_row(sample))

    def prune(self, now: datetime) -> retention.Pruned:
        """Thin what may be thinned and fold the WAL; for now and then, outside a transaction."""
        return retention.prune(self._session, now)

    def close(self) -> None:
        """Close the connection; it may be called again."""
        self._session.close()

    def _forget(self) -> None:
        # A rollback takes back rows that the remembered figures have counted.
        self._fill_count = None
        self._last_fill = None
