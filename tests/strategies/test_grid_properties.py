"""GRID.md 9 as oracles: random weather, a crash at every write, and the mirror.

The oracles are in `storm`. `make check` runs a short storm, the slow suite a longer one; with
GRID_LONG=1 and `-m long` it goes on for about a million events.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest
from fakes import CrashError
from grid_world import World, make_instrument, make_settings
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from storm import WEATHER, Storm, WatchedStore

from core.errors import OutcomeUnknown, Retryable, StoreError
from core.model import AdjustGrid, GridMode, GridType, LotsPolicy, Order, Pause, Resume, Side
from database.db import Database
from strategies.grid_state import GridState

D = Decimal


def run_storms(examples: int, ops: int, boundary: str | None = None) -> tuple[int, Counter[str]]:
    """Run that many storms; gives the events handled and how often each thing happened."""
    actions = BOUNDARIES if boundary is None else (boundary,)
    total, happened = 0, Counter[str]()

    @settings(max_examples=examples)
    @seed(20220101)
    @given(
        number=st.integers(0, 2**32),
        kind=st.sampled_from(GridType),
        mode=st.sampled_from(GridMode),
        limit=st.sampled_from((None, "3", "2.5")),
        open_initial=st.booleans(),
        boundary=st.sampled_from(actions),
    )
    def storm(
        number: int,
        kind: GridType,
        mode: GridMode,
        limit: str | None,
        open_initial: bool,
        boundary: str,
    ) -> None:
        nonlocal total
        storm = Storm(
            number,
            kind=kind,
            mode=mode,
            max_position=limit,
            open_initial=open_initial,
            boundary=boundary,
        )
        storm.blow(ops)
        storm.finish()
        total += storm.events
        happened.update(storm.seen_ops)

    storm()
    return total, happened


def test_every_invariant_holds_in_a_short_storm() -> None:
    """I1-I4, I6 (FAILURES 31), I7-I9, I12, I13, I15-I17: at every request, in every lull."""
    events, happened = run_storms(examples=14, ops=50)
    assert events > 700
    assert set(WEATHER) <= set(happened), "the storm blew from every side"


BOUNDARIES = ("none", "stop_only", "trail", "adjust_range")


@pytest.mark.slow
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_every_invariant_holds_in_a_storm(boundary: str) -> None:
    """The same over more than 25,000 fills, quotes and requests, 100,000 with the others."""
    events, happened = run_storms(examples=210, ops=90, boundary=boundary)
    assert events > 25_000
    assert happened["adjusted"] > 200
    assert happened["crash"] > 150
    assert happened["closed"] > 30
    assert (happened["moved"] > 100) == (boundary in ("trail", "adjust_range"))


@pytest.mark.long
@pytest.mark.skipif(os.environ.get("GRID_LONG") != "1", reason="set GRID_LONG=1 for the long storm")
def test_every_invariant_holds_in_a_long_storm() -> None:
    """The same for about a million events."""
    events, _ = run_storms(examples=8_000, ops=120)
    assert events > 800_000


# I10: a fault at any call -------------------------------------------------------------------------

PATH = (102, 106, 103, 109, 101, 107)


class FaultyStore(WatchedStore):
    """A ledger whose n-th write fails, with nothing written, and the process goes on."""

    @contextmanager
    def transaction(self, *, lazy: bool = False) -> Iterator[None]:
        with Database.transaction(self, lazy=lazy):
            self.burn()
            yield
            self.burn()

    def burn(self) -> None:
        try:
            super().burn()
        except CrashError:
            raise StoreError("the disk is full for a moment") from None


def live_through(kind: GridType, fuse: int | None, fault: str = "crash") -> tuple[World, int, bool]:
    """A short life with an adjust, a pause and a resume, and a fault at step number `fuse`.

    A step is a write of the ledger or one end of a call to the exchange. Gives the world at the
    end, how many steps there were, and whether the fault came to pass.
    """
    store = FaultyStore() if fault == "store" else WatchedStore()
    instrument = make_instrument(lot="0.1")
    grid = make_settings(kind=kind, max_position=4, open_initial=True)
    world = World(grid, 105, instrument=instrument, store=store, boot=False)
    calls, hit = 0, False

    def on_call(what: str) -> None:
        nonlocal calls, hit
        if fault == "crash":
            store.burn()
        elif fault == "exchange":
            calls += 1
            if calls == fuse:
                hit = True
                sends = what in ("place", "placed", "cancel", "canceled")
                raise OutcomeUnknown("time-out") if sends else Retryable("busy", 0.2)

    def do(step: Callable[[], object]) -> None:
        nonlocal hit
        try:
            step()
            world.settle(patience_s=4)
        except CrashError:
            hit, store.fuse = True, None
            world.restart()
            world.exchange.on_call = on_call
            world.settle(patience_s=4)

    world.exchange.on_call = on_call
    store.fuse = None if fault == "exchange" else fuse
    do(world.boot)
    for price in PATH[:2]:
        for _ in world.exchange.walk(price):
            do(world.settle)
    move = AdjustGrid(lower=Decimal(98), upper=Decimal(108), grid_num=6)
    for command in (move, move, Pause(), Pause()):  # twice: the first may have died unheard
        do(lambda command=command: world.do(command, patience_s=4))
    for _ in world.exchange.walk(PATH[2]):
        do(world.settle)
    for _ in range(2):
        do(lambda: world.do(Resume(), patience_s=4))
    for price in PATH[3:]:
        for _ in world.exchange.walk(price):
            do(world.settle)
    world.clock.advance(1)
    world.exchange.pay_funding("0.0001")
    do(world.settle)
    close = AdjustGrid(lower=Decimal(101), upper=Decimal(106), lots=LotsPolicy.CLOSE)
    for command in (close, close):
        do(lambda command=command: world.do(command, patience_s=4))
    hit = hit or (fault == "store" and fuse is not None and store.fuse is None)
    store.fuse = None
    world.settle(patience_s=4)
    return world, calls if fault == "exchange" else store.writes, hit


def lots_of(grid: GridState) -> list[object]:
    """What is held, without the numbers of the journal entries that brought it."""
    return [
        (side, [(part.quantity, part.price, part.fee) for part in lot]) for side, lot in grid.lots()
    ]


def fail_everywhere(kind: GridType, step: int, fault: str) -> int:
    calm, steps, hit = live_through(kind, None, fault)
    assert not hit
    expected, figures = calm.orders(), calm.pnl
    count = 0
    for fuse in range(1, steps + 1, step):
        world, _, hit = live_through(kind, fuse, fault)
        assert hit, fuse
        assert world.orders() == expected, f"{fault} at step {fuse}"
        assert lots_of(world.grid) == lots_of(calm.grid), f"{fault} at step {fuse}"
        assert world.pnl == figures, f"{fault} at step {fuse}"
        assert world.exchange.position == world.grid.position
        assert not world.engine.frozen
        ids = [order.client_order_id for order in world.exchange.orders.values()]
        assert len(ids) == len(set(ids))
        count += 1
    return count


FAULTS = ("crash", "store", "exchange")


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_changes_nothing(fault: str) -> None:
    """I10: after a death, a failed write or a failed call, the same orders rest as without it."""
    assert fail_everywhere(GridType.NEUTRAL, 17, fault) > 4


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", list(GridType), ids=lambda kind: kind.value)
def test_a_fault_at_every_step_changes_nothing(kind: GridType, fault: str) -> None:
    """I10, at each single step: a write before, in and after its transaction, a call's two ends."""
    assert fail_everywhere(kind, 1, fault) > (60 if fault == "exchange" else 150)


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
