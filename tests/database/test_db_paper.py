# ruff: noqa: PT012 - what must raise is a whole transaction block
"""The paper exchange's books: committed whole, apart from the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from database_values import T0, a_fill, a_payment, an_order

from core.errors import StoreError
from core.model import OrderStatus
from core.ports import PaperStore
from database.db import Database
from database.paper_store import PaperDatabase


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "x.db", busy_timeout_s=0.05)
    yield database
    database.close()


@pytest.fixture(params=["own", "borrowed", "memory", "borrowed memory"])
def paper(request: pytest.FixtureRequest, ledger: Database) -> Iterator[PaperDatabase]:
    memory = Database(":memory:")
    places: dict[str, str | Database] = {
        "own": ledger.path,
        "borrowed": ledger,
        "memory": ":memory:",
        "borrowed memory": memory,
    }
    books = PaperDatabase(places[request.param], busy_timeout_s=0.05)
    yield books
    books.close()
    memory.close()


def test_everything_of_a_commit_comes_back(paper: PaperDatabase) -> None:
    port: PaperStore = paper
    assert port.load_account() is None
    open_order = an_order(1, status=OrderStatus.NEW, venue_order_id="7")
    done = an_order(2, status=OrderStatus.FILLED, filled_qty=Decimal("2.000"))
    account = {"wallet": "100000.00", "next": 3, "feed": {"candle": 17, "step": 2}}
    port.commit(account, [open_order, done], [a_fill(1)], [a_payment(0)])
    assert port.load_account() == account
    assert port.load_open_orders() == (open_order,)
    assert port.load_order("gf-2") == done
    assert port.load_order("gf-3") is None
    assert port.load_fills(None) == (a_fill(1),)
    assert port.load_funding(None) == (a_payment(0),)


def test_since_includes_its_own_moment_and_rows_come_oldest_first(paper: PaperDatabase) -> None:
    fills = [a_fill(n, time=T0 + timedelta(microseconds=n)) for n in (3, 1, 2)]
    paper.commit({}, fills=fills, funding=[a_payment(16), a_payment(8)])
    assert [each.trade_id for each in paper.load_fills(None)] == ["t1", "t2", "t3"]
    since = T0 + timedelta(microseconds=2)
    assert [each.trade_id for each in paper.load_fills(since)] == ["t2", "t3"]
    assert paper.load_funding(T0 + timedelta(hours=16)) == (a_payment(16),)
    assert [each.time for each in paper.load_funding(None)] == [
        T0 + timedelta(hours=8),
        T0 + timedelta(hours=16),
    ]


def test_a_commit_that_fails_writes_nothing(paper: PaperDatabase) -> None:
    paper.commit({"n": 1}, fills=[a_fill(1)])
    with pytest.raises(StoreError, match="append a paper fill"):
        paper.commit({"n": 2}, [an_order(1)], [a_fill(2), a_fill(1)])
    assert paper.load_account() == {"n": 1}
    assert paper.load_open_orders() == ()
    assert paper.load_fills(None) == (a_fill(1),)
    paper.commit({"n": 3})
    assert paper.load_account() == {"n": 3}


def test_its_books_are_apart_from_the_ledger(ledger: Database) -> None:
    for place in (ledger, ledger.path):
        paper = PaperDatabase(place)
        paper.commit({"n": 1}, [an_order(1)])
        paper.close()
    assert ledger.load_order("gf-1") is None
    assert ledger.live_orders() == ()
    ledger.save_order(an_order(2))
    paper = PaperDatabase(ledger)
    assert [order.client_order_id for order in paper.load_open_orders()] == ["gf-1"]


def test_what_the_exchange_committed_stays_when_the_ledger_rolls_back(ledger: Database) -> None:
    paper = PaperDatabase(ledger)
    paper.commit({"n": 1}, [an_order(1)])
    with pytest.raises(KeyError), ledger.transaction():
        ledger.save_order(an_order(1))
        raise KeyError
    assert ledger.load_order("gf-1") is None
    assert paper.load_order("gf-1") is not None


@pytest.mark.parametrize("borrowed", [True, False])
def test_the_exchange_is_never_called_inside_a_transaction(
    ledger: Database, *, borrowed: bool
) -> None:
    """The order would be on the exchange before its intent is in the ledger."""
    paper = PaperDatabase(ledger if borrowed else ledger.path, busy_timeout_s=0.05)
    expected = "inside a transaction" if borrowed else "SQLITE_BUSY"
    with pytest.raises(StoreError, match=expected), ledger.transaction():
        ledger.save_order(an_order(1))
        paper.commit({}, [an_order(1)])
    assert ledger.load_order("gf-1") is None
    assert paper.load_order("gf-1") is None
    paper.close()


def test_closing_borrowed_books_leaves_the_ledger_open(ledger: Database) -> None:
    PaperDatabase(ledger).close()
    ledger.save_meta("a", "1")
    assert ledger.load_meta("a") == "1"


def test_it_survives_a_restart(tmp_path: Path) -> None:
    first = PaperDatabase(tmp_path / "x.db")
    first.commit({"n": 1}, [an_order(1)])
    first.close()
    second = PaperDatabase(tmp_path / "x.db")
    assert second.load_account() == {"n": 1}
    assert second.load_order("gf-1") == an_order(1)
    second.close()
