"""GRID.md 9 as oracles: random weather, a crash at every write, and the mirror.

The oracles are in `storm`. `make check` runs a short storm, the slow suite a longer one; with
GRID_LONG=1 and `-m long` it goes on for about a million events.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from decimal import Decimal

import pytest
from fakes import CrashError
from grid_world import World, make_instrument, make_settings
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from storm import WEATHER, Storm, WatchedStore

from core.model import GridMode, GridType, LotsPolicy, Order, Pause, Resume, Side
from strategies.grid_state import GridState

D = Decimal


def run_storms(examples: int, ops: int) -> tuple[int, Counter[str]]:
    """Run that many storms; gives the events handled and how often each thing happened."""
    total, happened = 0, Counter[str]()

    @settings(max_examples=examples)
    @seed(20220101)
    @given(
        number=st.integers(0, 2**32),
        kind=st.sampled_from(GridType),
        mode=st.sampled_from(GridMode),
        limit=st.sampled_from((None, "3", "2.5")),
        open_initial=st.booleans(),
    )
    def storm(
        number: int, kind: GridType, mode: GridMode, limit: str | None, open_initial: bool
    ) -> None:
        nonlocal total
        storm = Storm(number, kind=kind, mode=mode, max_position=limit, open_initial=open_initial)
        storm.blow(ops)
        storm.finish()
        total += storm.events
        happened.update(storm.seen_ops)

    storm()
    return total, happened


def test_every_invariant_holds_in_a_short_storm() -> None:
    """I1-I4, I6-I9, I12, I13, I15-I17 hold at every request and in every lull."""
    events, happened = run_storms(examples=14, ops=50)
    assert events > 700
    assert set(WEATHER) <= set(happened), "the storm blew from every side"


@pytest.mark.slow
def test_every_invariant_holds_in_a_storm_of_ten_thousand_events() -> None:
    """The same over more than 10,000 fills, quotes and requests."""
    events, happened = run_storms(examples=130, ops=80)
    assert events > 10_000
    assert happened["adjusted"] > 100
    assert happened["crash"] > 50


@pytest.mark.long
@pytest.mark.skipif(os.environ.get("GRID_LONG") != "1", reason="set GRID_LONG=1 for the long storm")
def test_every_invariant_holds_in_a_long_storm() -> None:
    """The same for about a million events."""
    events, _ = run_storms(examples=8_000, ops=120)
    assert events > 800_000


# I10: a crash at any write ------------------------------------------------------------------------

PATH = (102, 106, 103, 109)


def live_through(kind: GridType, fuse: int | None) -> tuple[WatchedStore, World, bool]:
    """A short life with an adjust, a pause and a resume; it dies at write number `fuse`."""
    store = WatchedStore()
    instrument = make_instrument(lot="0.1")
    grid = make_settings(kind=kind, max_position=4, open_initial=True)
    world = World(grid, 105, instrument=instrument, store=store, boot=False)
    died = False

    def do(step: Callable[[], object]) -> None:
        nonlocal died
        try:
            step()
            world.settle(patience_s=3)
        except CrashError:
            died = True
            store.fuse = None
            world.restart()
            world.settle(patience_s=3)

    store.fuse = fuse
    do(world.boot)
    for price in PATH[:2]:
        for _ in world.exchange.walk(price):
            do(world.settle)
    do(lambda: world.adjust(98, 108, 6, lots=LotsPolicy.CARRY))
    do(lambda: world.adjust(98, 108, 6))  # asked twice: the first may have died unheard
    do(lambda: world.do(Pause()))
    do(lambda: world.do(Pause()))  # asked twice: the first may have died unheard
    for _ in world.exchange.walk(PATH[2]):
        do(world.settle)
    do(lambda: world.do(Resume()))
    do(lambda: world.do(Resume()))
    for _ in world.exchange.walk(PATH[3]):
        do(world.settle)
    store.fuse = None
    world.settle(patience_s=3)
    return store, world, died


def lots_of(grid: GridState) -> list[object]:
    """What is held, without the numbers of the journal entries that brought it."""
    return [
        (side, [(part.quantity, part.price, part.fee) for part in lot]) for side, lot in grid.lots()
    ]


def crash_everywhere(kind: GridType, step: int) -> int:
    store, calm, died = live_through(kind, None)
    assert not died
    expected, figures = calm.orders(), calm.pnl
    count = 0
    for fuse in range(1, store.writes + 1, step):
        _, world, died = live_through(kind, fuse)
        assert died, fuse
        assert world.orders() == expected, f"died at write {fuse}"
        assert lots_of(world.grid) == lots_of(calm.grid), f"died at write {fuse}"
        assert world.pnl == figures, f"died at write {fuse}"
        assert world.exchange.position == world.grid.position
        count += 1
    return count


def test_a_crash_changes_nothing() -> None:
    """I10: after a death at a write and a restart, the same orders rest as without it."""
    assert crash_everywhere(GridType.NEUTRAL, 23) > 8


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(GridType), ids=lambda kind: kind.value)
def test_a_crash_at_every_write_changes_nothing(kind: GridType) -> None:
    """I10, at each single write: before it, after it, and after its commit."""
    assert crash_everywhere(kind, 1) > 120


# The mirror ---------------------------------------------------------------------------------------

CENTRE = 105


def mirrored(price: Decimal) -> Decimal:
    return 2 * CENTRE - price


def shape(orders: list[Order], *, mirror: bool) -> list[tuple[str, Decimal, Decimal, bool]]:
    """Side, price and size of what rests; in the mirror sides and prices are turned."""
    return sorted(
        (
            (o.side.opposite if mirror else o.side).value,
            mirrored(o.price) if mirror else o.price,
            o.leaves_qty,
            o.reduce_only,
        )
        for o in orders
    )


@settings(max_examples=25)
@seed(7)
@given(
    path=st.lists(st.integers(96, 114), min_size=4, max_size=14),
    limit=st.sampled_from((None, 3, 5)),
    start=st.integers(98, 112),
    open_initial=st.booleans(),
    move=st.tuples(st.integers(-3, 3), st.sampled_from((6, 10)), st.sampled_from((3, 6))),
)
def test_a_short_grid_mirrors_a_long_one(
    path: list[int],
    limit: int | None,
    start: int,
    open_initial: bool,
    move: tuple[int, int, int],
) -> None:
    """I4, FAILURES 34: under price -> -price sides, orders and lots are each other's image."""
    instrument = make_instrument(fee="0")  # a fee is on the notional: the mirror is not in it

    def world(kind: GridType, price: int) -> World:
        grid = make_settings(kind=kind, max_position=limit, open_initial=open_initial)
        return World(grid, price, instrument=instrument)

    long = world(GridType.LONG, start)
    short = world(GridType.SHORT, 2 * CENTRE - start)

    def compare() -> None:
        assert shape(long.own(), mirror=False) == shape(short.own(), mirror=True)
        assert long.exchange.position == -short.exchange.position
        assert long.grid.held(Side.BUY) == short.grid.held(Side.SELL)
        assert long.pnl.grid == short.pnl.grid
        assert long.pnl.trend == short.pnl.trend

    compare()
    for i, price in enumerate(path):
        long.go(price)
        short.go(2 * CENTRE - price)
        compare()
        if i == 2:
            lower, width, num = 100 + move[0], move[1], move[2]
            one = long.adjust(lower, lower + width, num)
            two = short.adjust(2 * CENTRE - lower - width, 2 * CENTRE - lower, num)
            assert one.outcome is two.outcome
            compare()
