"""Pages for the web: newest first, by cursor, from any thread, never in the writer's way."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from database_values import T0, a_fill, a_sample, an_order

from core.errors import StoreError
from core.model import OrderStatus
from core.ports import History
from database.db import Database
from database.history import CONNECTIONS_KEPT, MAX_LIMIT, DatabaseHistory


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "x.db")
    yield database
    database.close()


@pytest.fixture
def history(store: Database) -> Iterator[DatabaseHistory]:
    pages = DatabaseHistory(store.path)
    yield pages
    pages.close()


def test_pages_follow_each_other_without_gap_or_overlap(
    store: Database, history: DatabaseHistory
) -> None:
    """Also while new rows arrive between the pages."""
    port: History = history
    for number in range(1, 8):
        store.insert_fill(a_fill(number), "")
    seen: list[str] = []
    before: int | None = None
    while True:
        page, before = port.fills(3, before)
        seen += [fill.trade_id for fill in page]
        store.insert_fill(a_fill(100 + len(seen)), "")
        if before is None:
            break
    assert seen == ["t7", "t6", "t5", "t4", "t3", "t2", "t1"]


def test_a_page_that_holds_the_last_row_says_that_none_follows(
    store: Database, history: DatabaseHistory
) -> None:
    for number in range(1, 4):
        store.insert_fill(a_fill(number), "")
    assert history.fills(3, None)[1] is None
    assert history.fills(2, None)[1] == 2
    assert history.fills(2, 2) == ((a_fill(1),), None)
    assert history.fills(2, 1) == ((), None)


def test_open_orders_and_all_orders(store: Database, history: DatabaseHistory) -> None:
    store.save_order(an_order(1, status=OrderStatus.NEW))
    store.save_order(an_order(2, status=OrderStatus.CANCELED))
    store.save_order(an_order(3))
    shown, _ = history.orders(10, None, open_only=True)
    assert [order.client_order_id for order in shown] == ["gf-3", "gf-1"]
    shown, following = history.orders(2, None, open_only=False)
    assert [order.client_order_id for order in shown] == ["gf-3", "gf-2"]
    assert history.orders(2, following, open_only=False) == ((store.load_order("gf-1"),), None)


def test_equity_is_paged_too(store: Database, history: DatabaseHistory) -> None:
    samples = [a_sample(T0 + timedelta(minutes=n), str(n)) for n in range(5)]
    for sample in samples:
        store.insert_equity(sample)
    page, following = history.equity(2, None)
    assert page == (samples[4], samples[3])
    assert history.equity(10, following) == ((samples[2], samples[1], samples[0]), None)


@pytest.mark.parametrize("limit", [0, -1, MAX_LIMIT + 1])
def test_a_limit_out_of_range_is_refused(history: DatabaseHistory, limit: int) -> None:
    with pytest.raises(ValueError, match=f"limit was {limit}, expected 1 to 100000"):
        history.fills(limit, None)


def test_any_cursor_is_answered(store: Database, history: DatabaseHistory) -> None:
    """A cursor comes from a URL: no integer in it may be an error of the server."""
    store.insert_fill(a_fill(1), "")
    assert len(history.fills(MAX_LIMIT, 10**30)[0]) == 1
    assert history.fills(1, -(10**30)) == ((), None)


def test_what_is_not_committed_is_not_shown(store: Database, history: DatabaseHistory) -> None:
    with store.transaction():
        store.insert_fill(a_fill(1), "")
        assert history.fills(1, None) == ((), None)
    assert history.fills(1, None) == ((a_fill(1),), None)


def test_it_cannot_write(history: DatabaseHistory) -> None:
    history.fills(1, None)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        history._idle[0].execute("DELETE FROM fills")


def test_many_threads_read_while_one_writes(store: Database, history: DatabaseHistory) -> None:
    """Each sees a whole prefix of the fills, and few connections stay open."""
    faults: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            page, _ = history.fills(MAX_LIMIT, None)
            expected = [f"t{number}" for number in range(len(page), 0, -1)]
            if [fill.trade_id for fill in page] != expected:
                faults.append(f"{len(page)} fills, not in order")

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for number in range(1, 301):
        store.insert_fill(a_fill(number), "")
    done.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(history.fills(MAX_LIMIT, None)[0]) == 300
    assert len(history._idle) <= CONNECTIONS_KEPT


def test_it_creates_nothing(tmp_path: Path) -> None:
    history = DatabaseHistory(tmp_path / "x.db")
    with pytest.raises(StoreError, match=r"x\.db: there is no such database"):
        history.fills(1, None)
    assert list(tmp_path.iterdir()) == []


def test_a_closed_history_says_so(history: DatabaseHistory) -> None:
    history.fills(1, None)
    history.close()
    history.close()
    with pytest.raises(StoreError, match="closed"):
        history.fills(1, None)
    assert not history._idle


def test_memory_has_no_history() -> None:
    with pytest.raises(StoreError, match="use a file"):
        DatabaseHistory(":memory:")


def test_a_database_of_a_stopped_bot_can_be_read(store: Database) -> None:
    store.insert_fill(a_fill(1), "")
    store.close()
    history = DatabaseHistory(store.path)
    assert len(history.fills(1, None)[0]) == 1
    history.close()
