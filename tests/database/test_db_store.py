# ruff: noqa: PT012 - what must raise is a whole transaction block
"""The Store contract of core/ports.py, on a file, in memory, and in lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from database_values import T0, a_fill, a_payment, an_order

from core.errors import ConfigError, StoreError
from core.model import OrderStatus
from core.ports import Store
from database.db import EVENTS_PER_READ, Database
from database.memory_store import MemoryStore
from database.session import PAGE_BYTES


@pytest.fixture(params=["file", "memory", "durable", "lists"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "lists":
        yield MemoryStore()
        return
    path = ":memory:" if request.param == "memory" else tmp_path / "x.db"
    database = Database(path, durable=request.param == "durable")
    yield database
    database.close()


def test_it_is_a_store(store: Store) -> None:
    """mypy checks this assignment, the run that each method exists."""
    port: Store = store
    assert all(hasattr(port, name) for name in vars(Store) if not name.startswith("_"))


def test_a_transaction_is_all_or_nothing(store: Store) -> None:
    store.insert_fill(a_fill(1), "entry:1")
    assert store.fill_count() == 1
    with pytest.raises(KeyError), store.transaction():
        store.insert_fill(a_fill(2, time=T0 + timedelta(days=1)), "entry:2")
        store.append_event("fill", {"trade_id": "t2"}, T0)
        store.save_meta("k", "v")
        assert store.fill_count() == 2
        raise KeyError("anything")
    assert store.fill_count() == 1
    assert store.last_fill_time() == T0
    assert list(store.events_after(0)) == []
    assert store.load_meta("k") is None


def test_a_nested_transaction_joins_the_outer_one(store: Store) -> None:
    with store.transaction():
        store.save_meta("a", "1")
        with store.transaction():
            store.save_meta("b", "2")
    assert (store.load_meta("a"), store.load_meta("b")) == ("1", "2")
    with pytest.raises(KeyError), store.transaction():
        with store.transaction():
            store.save_meta("a", "3")
        raise KeyError
    assert store.load_meta("a") == "1"


def test_a_swallowed_inner_failure_still_rolls_back_the_whole(store: Store) -> None:
    """Else the first half of the inner block would be committed with the outer."""
    with pytest.raises(StoreError, match="a part of it failed"), store.transaction():
        store.save_meta("a", "1")
        try:
            with store.transaction():
                store.save_meta("b", "2")
                raise KeyError("inner")
        except KeyError:
            pass
    assert store.load_meta("a") is None
    assert store.load_meta("b") is None
    store.save_meta("c", "3")
    assert store.load_meta("c") == "3"


def test_after_a_failed_statement_the_transaction_takes_nothing_more(store: Store) -> None:
    store.save_order(an_order(1, slot="entry:1"))
    with pytest.raises(StoreError, match="a part of it failed"), store.transaction():
        store.save_meta("a", "1")
        with pytest.raises(StoreError, match="UNIQUE"):
            store.save_order(an_order(2, slot="entry:1"))
        with pytest.raises(StoreError, match="already failed"):
            store.save_meta("b", "2")
        with pytest.raises(StoreError, match="already failed"):
            store.load_meta("a")
    assert store.load_meta("a") is None
    assert store.load_order("gf-2") is None


def test_order_numbers_are_never_given_out_twice(store: Store) -> None:
    assert store.reserve_order_numbers(1) == 1
    assert store.reserve_order_numbers(10) == 2
    with pytest.raises(KeyError), store.transaction():
        assert store.reserve_order_numbers(5) == 12
        raise KeyError
    assert store.reserve_order_numbers(1) == 17
    with pytest.raises(ValueError, match="count was 0"):
        store.reserve_order_numbers(0)


def test_order_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    first = Database(tmp_path / "x.db")
    first.reserve_order_numbers(41)
    first.close()
    second = Database(tmp_path / "x.db")
    assert second.reserve_order_numbers(1) == 42
    second.close()


def test_orders_are_updated_in_place_and_live_ones_listed_oldest_first(store: Store) -> None:
    later = T0 + timedelta(seconds=1)
    store.save_order(an_order(2, created_at=later))
    store.save_order(an_order(1))
    store.save_order(an_order(3, status=OrderStatus.NEW, created_at=later))
    assert [order.client_order_id for order in store.live_orders()] == ["gf-1", "gf-2", "gf-3"]
    done = an_order(
        2, status=OrderStatus.FILLED, filled_qty=Decimal("2.000"), venue_order_id="v2", slot="x"
    )
    store.save_order(done)
    assert store.load_order("gf-2") == done
    assert [order.client_order_id for order in store.live_orders()] == ["gf-1", "gf-3"]
    assert store.load_order("nobody") is None


def test_a_slot_holds_one_live_order(store: Store) -> None:
    """I2 by the database: a second one is refused loudly, until the first has ended."""
    store.save_order(an_order(1, slot="entry:7", status=OrderStatus.NEW))
    with pytest.raises(StoreError, match=r"UNIQUE.*bug of ours.*'gf-2', slot 'entry:7', PENDING"):
        store.save_order(an_order(2, slot="entry:7"))
    store.save_order(an_order(1, slot="entry:7", status=OrderStatus.CANCELED))
    store.save_order(an_order(2, slot="entry:7"))
    with pytest.raises(StoreError, match="UNIQUE"):
        store.save_order(an_order(1, slot="entry:7", status=OrderStatus.NEW))


def test_orders_without_a_slot_do_not_exclude_each_other(store: Store) -> None:
    store.save_order(an_order(1))
    store.save_order(an_order(2))
    assert len(store.live_orders()) == 2


def test_a_repeated_trade_id_writes_nothing(store: Store) -> None:
    assert store.insert_fill(a_fill(1), "entry:1")
    assert not store.insert_fill(a_fill(1, price=Decimal("1")), "entry:2")
    assert store.insert_fill(a_fill(1, symbol="ETH_USDC_PERP"), "entry:1")
    assert store.fill_count() == 2
    assert store.load_fills(5)[0].price == Decimal("150.10")


def test_the_newest_fills_come_oldest_first(store: Store) -> None:
    for number in range(1, 6):
        store.insert_fill(a_fill(number, time=T0 - timedelta(minutes=number)), "")
    assert [fill.trade_id for fill in store.load_fills(2)] == ["t4", "t5"]
    assert store.load_fills(0) == ()
    assert store.last_fill_time() == T0 - timedelta(minutes=1)


def test_an_empty_ledger_has_no_times(store: Store) -> None:
    assert store.last_fill_time() is None
    assert store.last_funding_time() is None
    assert store.fill_count() == 0
    assert store.load_checkpoint() is None
    assert store.load_meta("nothing") is None


def test_funding_is_keyed_by_symbol_and_time(store: Store) -> None:
    assert store.insert_funding(a_payment(8))
    assert not store.insert_funding(a_payment(8, amount=Decimal("9")))
    assert store.insert_funding(a_payment(0))
    assert store.last_funding_time() == T0 + timedelta(hours=8)


def test_the_journal_is_numbered_without_gaps(store: Store) -> None:
    assert store.append_event("seed", {"price": "150"}, T0) == 1
    with pytest.raises(KeyError), store.transaction():
        assert store.append_event("lost", {}, T0) == 2
        raise KeyError
    assert store.append_event("fill", {"lots": [["1", "2"], []], "é": None}, T0) == 2
    assert list(store.events_after(0)) == [
        (1, "seed", {"price": "150"}, T0),
        (2, "fill", {"lots": [["1", "2"], []], "é": None}, T0),
    ]
    assert [entry[0] for entry in store.events_after(1)] == [2]


def test_a_long_journal_is_read_whole_and_ends_where_it_began_to_be_read(store: Store) -> None:
    """Appending while reading, as a replay may, does not make the reading endless."""
    length = EVENTS_PER_READ * 2 + 1
    with store.transaction():
        for number in range(length):
            store.append_event("n", {"n": number}, T0)
    seen = []
    for seq, _, payload, _ in store.events_after(0):
        seen.append((seq, payload["n"]))
        if seq == length:
            store.append_event("late", {}, T0)
    assert seen == [(number + 1, number) for number in range(length)]


def test_the_checkpoint_is_the_last_one_saved(store: Store) -> None:
    store.append_event("seed", {}, T0)
    store.save_checkpoint(0, {"lots": []})
    store.save_checkpoint(1, {"lots": ["1"]})
    assert store.load_checkpoint() == (1, {"lots": ["1"]})


def test_a_database_is_bound_to_one_instance(tmp_path: Path) -> None:
    store = Database(tmp_path / "x.db")
    store.bind_instance("bp_sol_01")
    store.bind_instance("bp_sol_01")
    with pytest.raises(ConfigError, match=r"belongs to instance 'bp_sol_01', not to 'bp_eth_02'"):
        store.bind_instance("bp_eth_02")
    assert store.load_meta("instance_id") == "bp_sol_01"
    store.close()


def test_text_that_is_no_utf8_is_a_store_error_and_rolls_back(store: Store) -> None:
    if isinstance(store, MemoryStore):
        pytest.skip("values are kept as they are: nothing is encoded")
    with pytest.raises(StoreError, match="append a fill"), store.transaction():
        store.save_meta("a", "1")
        store.insert_fill(a_fill(1, venue_order_id="\ud800"), "")
    assert store.load_meta("a") is None


def test_a_closed_database_says_so(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed database"):
        store.load_meta("a")
    with pytest.raises(StoreError, match="closed database"), store.transaction():
        pass


def levels_of(store: Database, work: Callable[[], object]) -> list[tuple[str, int]]:
    """How each commit of some work was synced: what was written in it, and 2 or 1."""
    seen: list[tuple[str, int]] = []
    connection = store.session.connection
    level = [connection.execute("PRAGMA synchronous").fetchone()[0]]
    keys: list[str] = []

    def trace(statement: str) -> None:
        if statement.startswith("PRAGMA synchronous = "):
            level[0] = {"FULL": 2, "NORMAL": 1}[statement.split()[-1]]
        elif statement.startswith("INSERT INTO meta"):
            keys.append(statement.split("VALUES ('")[1].split("'")[0])
        if statement == "COMMIT" or (keys and not connection.in_transaction):
            seen.append((",".join(keys), level[0]))
            keys.clear()

    connection.set_trace_callback(trace)
    work()
    connection.set_trace_callback(None)
    assert connection.execute("PRAGMA synchronous").fetchone()[0] == level[0]
    return seen


@pytest.mark.parametrize(("durable", "full"), [(True, 2), (False, 1)])
def test_a_lazy_commit_is_not_synced_and_the_next_one_is(
    tmp_path: Path, *, durable: bool, full: int
) -> None:
    """Whatever comes between: a rollback, a nested block, a write outside any transaction."""
    store = Database(tmp_path / "x.db", durable=durable)

    def work() -> None:
        with store.transaction(lazy=True), store.transaction(lazy=True):
            store.save_meta("a", "1")
        with store.transaction(), store.transaction(lazy=True):
            store.save_meta("b", "1")
        with pytest.raises(ZeroDivisionError), store.transaction(lazy=True):
            raise ZeroDivisionError
        store.save_meta("c", "1")
        with store.transaction(lazy=True):
            store.save_meta("d", "1")
        store.save_meta("e", "1")
        with store.transaction():
            store.save_meta("f", "1")

    assert levels_of(store, work) == [
        *(("a", 1), ("b", full), ("c", full)),
        *(("d", 1), ("e", full), ("f", full)),
    ]
    store.close()


def test_a_lazy_transaction_holds_none_that_must_be_synced(tmp_path: Path) -> None:
    """It would not be: refused before anything is written, and the store is good afterwards."""
    store = Database(tmp_path / "x.db", durable=True)
    with pytest.raises(StoreError, match="inside a lazy one"), store.transaction(lazy=True):
        store.save_meta("a", "1")
        with store.transaction():
            store.save_meta("b", "1")
    assert store.load_meta("a") is store.load_meta("b") is None
    with store.transaction():
        store.save_meta("c", "1")
    assert store.load_meta("c") == "1"
    store.close()


@pytest.mark.parametrize(("durable", "level"), [(True, 2), (False, 1)])
def test_live_money_is_synced_at_every_commit(tmp_path: Path, *, durable: bool, level: int) -> None:
    """2 is FULL, 1 is NORMAL; both in WAL, with foreign keys and our page size."""
    store = Database(tmp_path / "x.db", durable=durable)

    def pragma(name: str) -> object:
        return store.session.connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert pragma("synchronous") == level
    assert pragma("journal_mode") == "wal"
    assert pragma("foreign_keys") == 1
    assert pragma("page_size") == PAGE_BYTES
    store.close()
