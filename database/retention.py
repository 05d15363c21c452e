"""What is thinned, so that a database grows with its trades and with nothing else.

- Equity samples: all of the last day, one per 5 minutes for 30 days, one per hour for 400 days, one
  per day for ever; of each span the last sample, and always the very first (the curve's start).
- Orders that ended without any fill: dropped after 30 days.
- Fills, funding, orders with fills and the journal are the ledger and are never deleted: I12 wants
  to replay them. A fill costs some 360 bytes on disk with its order and a short journal entry, 600
  with the paper exchange's books (benchmarks/database_speed.py): a thousand a day is 130 to 220 MB
  a year.

Pages that become free are used again; the file itself does not shrink.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from database.rows import to_micros
from database.session import Session

ORDERS_KEPT = timedelta(days=30)
ORDERS_PER_PRUNE = 20_000
"""At most this many a call: a prune runs on the engine's thread."""

EQUITY_TIERS: tuple[tuple[timedelta, timedelta], ...] = (
    (timedelta(days=1), timedelta(minutes=5)),
    (timedelta(days=30), timedelta(hours=1)),
    (timedelta(days=400), timedelta(days=1)),
)
"""(older than, one sample per): each tier reaches to the next one's age."""

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """How many rows went."""

    equity: int
    orders: int


def prune(session: Session, now: datetime, *, paper: bool = False) -> Pruned:
    """Drop what the rules above let go, in one transaction, then fold the WAL."""
    with session.transaction():
        pruned = Pruned(
            equity=0 if paper else _thin_equity(session, now),
            orders=_drop_orders(session, now, "paper_orders" if paper else "orders"),
        )
    if not session.in_transaction:
        session.fold_wal()
    return pruned


def _thin_equity(session: Session, now: datetime) -> int:
    # Each tier ends at a whole span of its own and begins where the next one ends, so that every
    # span is judged by one tier, and only once it is complete.
    ends = [_whole(to_micros(now - older_than), one_per) for older_than, one_per in EQUITY_TIERS]
    begins = [*ends[1:], -(2**62)]
    dropped = 0
    for (_, one_per), begin, end in zip(EQUITY_TIERS, begins, ends, strict=True):
        cursor = session.execute(
            "thin the equity curve",
            "DELETE FROM equity WHERE time >= :begin AND time < :end"
            " AND id > (SELECT min(id) FROM equity)"
            " AND id NOT IN (SELECT max(id) FROM equity WHERE time >= :begin AND time < :end"
            " GROUP BY time / :span)",
            {"begin": begin, "end": end, "span": one_per // _MICROSECOND},
        )
        dropped += cursor.rowcount
    return dropped


def _whole(micros: int, span: timedelta) -> int:
    return micros - micros % (span // _MICROSECOND)


def _drop_orders(session: Session, now: datetime, table: str) -> int:
    cursor = session.execute(
        "drop old orders without fills",
        f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table}"
        " WHERE live = 0 AND status <> 'FILLED' AND updated_at < ?"
        " AND CAST(filled_qty AS REAL) = 0 ORDER BY id LIMIT ?)",
        (to_micros(now - ORDERS_KEPT), ORDERS_PER_PRUNE),
    )
    return cursor.rowcount
