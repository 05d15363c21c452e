"""Growth within bounds: what is thinned, what never is, and the WAL."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from database_values import T0, a_fill, a_payment, a_sample, an_order

from core.model import Order, OrderStatus
from database.db import Database
from database.history import DatabaseHistory
from database.paper_store import PaperDatabase
from database.retention import Pruned
from database.session import WAL_KEEP_BYTES

pytestmark = pytest.mark.slow  # months of rows are written

NOW = T0


def equity_times(store: Database) -> list[timedelta]:
    """Ages of the samples, oldest first."""
    history = DatabaseHistory(store.path)
    samples, _ = history.equity(100_000, None)
    history.close()
    return [NOW - sample.time for sample in reversed(samples)]


def test_equity_is_thinned_with_age_and_its_first_and_last_points_stay(tmp_path: Path) -> None:
    store = Database(tmp_path / "x.db")
    with store.transaction():
        for age in range(500 * 24 * 60, -1, -30):  # one per half hour, in minutes
            store.insert_equity(a_sample(NOW - timedelta(minutes=age)))
        for age in range(3 * 24 * 60, -1, -1):  # and one per minute of the last three days
            store.insert_equity(a_sample(NOW - timedelta(minutes=age, seconds=30)))
    before = equity_times(store)
    store.prune(NOW)
    ages = equity_times(store)

    def within(older: timedelta, newer: timedelta) -> int:
        return sum(newer < age <= older for age in ages)

    assert ages[0] == before[0]  # the very first: the start of the curve
    assert within(timedelta(days=1), timedelta(minutes=-1)) == 24 * 60 + 24 * 2 + 1  # both ends
    assert within(timedelta(days=2), timedelta(days=1)) == 24 * 12
    assert within(timedelta(days=20), timedelta(days=10)) == 10 * 24 * 2  # nothing to thin
    assert within(timedelta(days=200), timedelta(days=100)) == 100 * 24
    assert within(timedelta(days=499), timedelta(days=410)) == 89
    assert store.prune(NOW).equity == 0
    store.close()


def test_thinning_every_hour_ends_where_thinning_once_does(tmp_path: Path) -> None:
    hourly, once = Database(tmp_path / "hourly.db"), Database(tmp_path / "once.db")
    for hour in range(72):
        for minute in range(0, 60, 2):
            age = timedelta(hours=72 - hour, minutes=-minute)
            hourly.insert_equity(a_sample(NOW - age))
            once.insert_equity(a_sample(NOW - age))
        hourly.prune(NOW - timedelta(hours=71 - hour))
    once.prune(NOW)
    assert equity_times(hourly) == equity_times(once)
    hourly.close()
    once.close()


def test_only_old_ended_orders_without_fills_are_dropped(tmp_path: Path) -> None:
    store = Database(tmp_path / "x.db")

    def ended(number: int, status: OrderStatus, filled: str = "0", days: int = 31) -> Order:
        return an_order(
            number,
            status=status,
            filled_qty=Decimal(filled),
            updated_at=NOW - timedelta(days=days),
        )

    orders = {
        "resting": ended(1, OrderStatus.NEW),
        "canceled": ended(2, OrderStatus.CANCELED),
        "rejected": ended(3, OrderStatus.REJECTED, "0.000"),
        "canceled after a part": ended(4, OrderStatus.CANCELED, "0.001"),
        "filled": ended(5, OrderStatus.FILLED, "2.000"),
        "recently canceled": ended(6, OrderStatus.CANCELED, days=29),
    }
    paper = PaperDatabase(store)
    for order in orders.values():
        store.save_order(order)
        paper.commit({}, [order])
    assert store.prune(NOW) == Pruned(equity=0, orders=2)
    assert paper.prune(NOW) == Pruned(equity=0, orders=2)
    for name, order in orders.items():
        gone = name in ("canceled", "rejected")
        assert (store.load_order(order.client_order_id) is None) is gone, name
        assert (paper.load_order(order.client_order_id) is None) is gone, name
    store.close()


def test_the_ledger_is_never_pruned(tmp_path: Path) -> None:
    """Fills, funding and the journal, however old: I12 replays them."""
    store = Database(tmp_path / "x.db")
    for number in range(50):
        store.insert_fill(a_fill(number), "")
        store.append_event("fill", {}, T0)
        store.insert_funding(a_payment(number))
    store.save_checkpoint(50, {})
    store.prune(NOW + timedelta(days=10_000))
    assert store.fill_count() == 50
    assert len(list(store.events_after(0))) == 50
    assert store.last_funding_time() == T0 + timedelta(hours=49)
    store.close()


def test_the_wal_stays_small_under_writing_with_readers_now_and_then(tmp_path: Path) -> None:
    store = Database(tmp_path / "x.db")
    history = DatabaseHistory(store.path)
    wal = tmp_path / "x.db-wal"
    largest = 0
    for number in range(6000):
        store.append_event("fill", {"pad": "x" * 1000, "n": number}, T0)
        if number % 50 == 0:
            history.fills(100, None)
            largest = max(largest, wal.stat().st_size)
    written = 6000 * 3 * 2048
    assert largest < WAL_KEEP_BYTES < written / 3
    store.close()
    history.close()


def test_the_wal_shrinks_again_after_a_long_reader(tmp_path: Path) -> None:
    """While someone reads an old state the WAL cannot be folded; afterwards a prune cuts it."""
    store = Database(tmp_path / "x.db")
    store.append_event("first", {}, T0)
    history = DatabaseHistory(store.path)
    reader = history._open()
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM events").fetchone()
    with store.transaction():
        for number in range(6000):
            store.append_event("fill", {"pad": "x" * 2000, "n": number}, T0)
    wal = tmp_path / "x.db-wal"
    store.prune(NOW)  # it does not wait for the reader
    assert wal.stat().st_size > WAL_KEEP_BYTES
    assert reader.execute("SELECT count(*) FROM events").fetchone() == (1,)
    reader.close()
    store.prune(NOW)
    assert wal.stat().st_size == 0
    store.close()
    history.close()


@pytest.mark.parametrize("paper", [True, False])
def test_memory_can_be_pruned(*, paper: bool) -> None:
    store = Database(":memory:")
    pruned = PaperDatabase(store).prune(NOW) if paper else store.prune(NOW)
    assert pruned == Pruned(equity=0, orders=0)
    store.close()


def test_the_wal_is_cut_back_by_writing_alone_once_the_long_reader_is_gone(tmp_path: Path) -> None:
    store = Database(tmp_path / "x.db")
    history = DatabaseHistory(store.path)
    reader = history._open()
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM events").fetchone()
    for number in range(6000):
        store.append_event("fill", {"pad": "x" * 2000, "n": number}, T0)
    wal = tmp_path / "x.db-wal"
    assert wal.stat().st_size > WAL_KEEP_BYTES
    reader.close()
    for number in range(3):  # one folds it, the next begins it anew and cuts it
        store.append_event("fill", {"n": number}, T0)
    assert wal.stat().st_size <= WAL_KEEP_BYTES
    store.close()
    history.close()
