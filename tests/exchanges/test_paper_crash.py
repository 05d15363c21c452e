"""Killed at any commit, before or after it: the same fills as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from paper_world import (
    MONTH,
    SYMBOL,
    CrashError,
    D,
    FlakyStore,
    ToyGrid,
    TurnedClock,
    paper,
    rules,
    write_candles,
)

from core.model import Fill
from core.ports import PaperStore
from database.paper_store import PaperDatabase
from exchanges.paper import PaperExchange
from exchanges.price_feed import CandleSource, PriceSource
from exchanges.synthetic_feed import SyntheticSource

pytestmark = pytest.mark.slow  # a crash at every commit adds up

LEVELS = [D(price) for price in range(90, 112, 2)]
RATES = tuple((minute * 60_000, D("0.0001")) for minute in range(2, 60, 3))


def candles(tmp_path: Path) -> PriceSource:
    """A zigzag of candles across the whole grid, with funding every three minutes."""
    turns = [100, 97, 104, 93, 93, 109, 88, 101, 112, 95]
    rows = [
        (a, max(a, b) + i % 3, min(a, b) - i % 2, b) for i, (a, b) in enumerate(pairwise(turns))
    ]
    return CandleSource(write_candles(tmp_path / "zigzag.csv", rows), RATES)


def synthetic(tmp_path: Path) -> PriceSource:
    """A wild process, so that a few hundred seconds of it fill."""
    return SyntheticSource(
        seed=3,
        start_price=D(100),
        tick_size=D(1),
        volatility=D("0.03"),
        band=D("0.2"),
        funding_rate=D("0.0001"),
    )


def life(
    build: Callable[[PaperStore], PaperExchange], store: PaperStore, toy: ToyGrid, polls: int
) -> None:
    """A bot's life: open, catch up, place what is missing, trade."""
    exchange = build(store)
    exchange.start(lambda _: None)
    toy.recover(exchange)
    toy.run(exchange, polls)


def truth(exchange: PaperExchange) -> tuple[object, ...]:
    return (
        exchange.fetch_fills(SYMBOL, None),
        exchange.fetch_funding(SYMBOL, None),
        exchange.fetch_position(SYMBOL),
        exchange.fetch_balance(),
        {(o.client_order_id, o.price, o.quantity) for o in exchange.fetch_open_orders(SYMBOL)},
    )


@pytest.mark.parametrize("make", [candles, synthetic])
@pytest.mark.parametrize("dies_before", [True, False], ids=["before", "after"])
def test_crash_at_any_commit_changes_nothing(
    make: Callable[[Path], PriceSource], dies_before: bool, tmp_path: Path
) -> None:
    """One crash at each commit in turn; a new process over the same store ends the same."""
    clock = TurnedClock()

    def build(store: PaperStore) -> PaperExchange:
        return PaperExchange(
            rules=rules(),
            balance=D(100_000),
            speed=D(0),
            source=make(tmp_path),
            store=store,
            clock=clock,
        )

    polls = 130
    calm = FlakyStore()
    life(build, calm, ToyGrid(LEVELS, D("0.5"), D(100)), polls)
    wanted = truth(build(calm))
    (fills, *_) = wanted
    assert isinstance(fills, tuple)
    assert len(fills) > 20
    last = fills[-1]
    assert isinstance(last, Fill)
    for dies_at in range(1, calm.commits + 1):
        store = FlakyStore()
        store.dies_at, store.dies_before = dies_at, dies_before
        toy = ToyGrid(LEVELS, D("0.5"), D(100))
        with pytest.raises(CrashError):
            life(build, store, toy, polls)
        toy = ToyGrid(LEVELS, D("0.5"), D(100))  # a new process knows what is stored, no more
        exchange = build(store)
        exchange.start(lambda _: None)
        toy.recover(exchange)
        while not (toy.ended or last.trade_id in toy.seen):
            toy.handle(exchange, exchange.poll())
        got = exchange.fetch_fills(SYMBOL, None)
        assert got[: len(fills)] == fills, dies_at
        assert len({fill.trade_id for fill in got}) == len(got)
        if toy.ended:
            assert truth(exchange) == wanted, dies_at


def test_books_in_a_file_survive_as_those_in_memory(tmp_path: Path) -> None:
    """Over the real database: dropped and reopened every seventeen polls, the same truth."""
    source, clock = candles(tmp_path), TurnedClock()
    calm = ToyGrid(LEVELS, D("0.5"), D(100))
    memory = paper(source, clock=clock)
    calm.place_missing(memory)
    calm.run(memory)
    toy = ToyGrid(LEVELS, D("0.5"), D(100))
    path = tmp_path / "paper.db"
    while not toy.ended:
        store = PaperDatabase(path)
        life(lambda store: paper_over(tmp_path, store, clock), store, toy, 17)
        store.close()
    store = PaperDatabase(path)
    try:
        assert truth(paper_over(tmp_path, store, clock)) == truth(memory)
    finally:
        store.close()


def paper_over(tmp_path: Path, store: PaperStore, clock: TurnedClock) -> PaperExchange:
    return PaperExchange(
        rules=rules(),
        balance=D(100_000),
        speed=D(0),
        source=candles(tmp_path),
        store=store,
        clock=clock,
    )


@pytest.mark.skipif(not MONTH.exists(), reason=f"no market data in {MONTH.parent}; set GRID_DATA")
def test_crashes_through_the_real_month() -> None:
    """Killed at every hundredth commit of the month: the 786 fills of GRID.md all the same."""
    store, clock = FlakyStore(), TurnedClock()
    levels = [(33000 + i * D(15000) / 49).quantize(D(1)) for i in range(50)]

    def build(store: PaperStore) -> PaperExchange:
        return PaperExchange(
            rules=rules(),
            balance=D(100_000),
            speed=D(0),
            source=CandleSource(MONTH),
            store=store,
            clock=clock,
        )

    ended, crashes = False, 0
    while not ended:
        toy = ToyGrid(levels, D("0.1"), D(46319))
        store.dies_at, store.dies_before = store.commits + 100, crashes % 2 == 0
        exchange = build(store)
        exchange.set_wake_range(D(1), None)
        exchange.start(lambda _: None)
        try:
            toy.recover(exchange)
            toy.run(exchange)
        except CrashError:
            crashes += 1
        ended = toy.ended
    assert crashes > 10
    assert len(exchange.fetch_fills(SYMBOL, None)) == 786
    assert exchange.fetch_position(SYMBOL).quantity == D("2.6")
