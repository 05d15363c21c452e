"""The cells as tables: seeding, fills, the orders that follow, the initial entry: GRID.md 2-5."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from fakes import EPOCH, Fault
from grid_world import World, make_instrument, make_settings

from core.errors import OutcomeUnknown, Rejected, RejectReason, Retryable
from core.model import Fill, GridMode, GridType, Pause, Resume, Side
from strategies.desired import desired_orders, turning_prices
from strategies.grid_math import level_prices
from strategies.grid_state import GridSpec, GridState, Leg, entry_price, parse_slot, pnl, slot_of
from strategies.perp_grid import (
    cells_to_wake,
    close_outside,
    end_initial,
    new_grid,
    on_fill,
    seed,
    settle,
    wake,
)

D = Decimal
NEUTRAL, LONG, SHORT = GridType.NEUTRAL, GridType.LONG, GridType.SHORT
TICK = make_instrument()


def spec(kind: GridType = NEUTRAL, num: int = 6, upper: int = 105, quantity: str = "1") -> GridSpec:
    levels = level_prices(D(100), D(upper), num, GridMode.ARITHMETIC, TICK)
    return GridSpec(
        lower=D(100),
        upper=D(upper),
        mode=GridMode.ARITHMETIC,
        kind=kind,
        quantity=D(quantity),
        levels=levels,
    )


def start(
    kind: GridType, price: str, *, initial: bool = False, limit: str | None = None
) -> GridState:
    return new_grid(
        spec(kind), D(price), open_initial=initial, max_position=None if limit is None else D(limit)
    )


def fill(side: Side, price: str, quantity: str = "1", fee: str = "0.02") -> Fill:
    return Fill(
        trade_id="t",
        venue_order_id="",
        client_order_id="",
        symbol="BTCUSDT",
        side=side,
        price=D(price),
        quantity=D(quantity),
        fee=D(fee),
        fee_asset="USDT",
        is_maker=True,
        time=EPOCH,
    )


def wanted(
    state: GridState, price: str, limit: str | None = None, *, entries: bool = True
) -> list[str]:
    """The desired orders as words, in the order they are wanted."""
    orders = desired_orders(
        state,
        D(price),
        TICK,
        max_position=None if limit is None else D(limit),
        entries=entries,
    )
    return [
        f"{o.side.value} {o.price}"
        + ("" if o.quantity == 1 else f"*{o.quantity}")
        + ("" if o.leg is Leg.ENTRY else f" {o.leg.value}")
        for o in orders
    ]


# Seeding ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "price", "cells"),
    [
        # b and s: buy and sell cells that are awake; B and S: DORMANT by their kind
        (NEUTRAL, "102", "bbsss"),
        (NEUTRAL, "102.5", "bbsss"),  # a tie: the lower level
        (NEUTRAL, "102.6", "bbbss"),
        (NEUTRAL, "90", "sssss"),
        (NEUTRAL, "200", "bbbbb"),
        (LONG, "102", "bbBBB"),
        (LONG, "200", "bbbbb"),
        (LONG, "90", "bBBBB"),  # the bottom cell is never DORMANT by its kind
        (SHORT, "102", "SSsss"),
        (SHORT, "102.5", "SSSss"),  # a tie: the upper level
        (SHORT, "90", "sssss"),
        (SHORT, "200", "SSSSs"),
    ],
)
def test_seeding(kind: GridType, price: str, cells: str) -> None:
    """Sides and dormancy of every cell by the nearest level, and no lot."""
    found = seed(spec(kind), D(price))
    words = "".join(
        letter if cell.awake else letter.upper()
        for cell in found
        for letter in ["b" if cell.side is Side.BUY else "s"]
    )
    assert words == cells
    assert not any(cell.lot for cell in found)


@pytest.mark.parametrize(
    ("kind", "price", "limit", "initial"),
    [
        (LONG, "102", None, "3"),
        (LONG, "102", "2.5", "2"),  # whole cells that the limit allows
        (LONG, "102", "0.5", "0"),
        (LONG, "105", None, "0"),
        (LONG, "90", None, "5"),
        (SHORT, "102", None, "2"),
        (SHORT, "200", None, "5"),
        (NEUTRAL, "102", None, "0"),
    ],
)
def test_the_initial_entry_is_for_the_cells_beyond_the_price(
    kind: GridType, price: str, limit: str | None, initial: str
) -> None:
    """One entry for the DORMANT cells, as far as the limit goes; none for a neutral grid."""
    assert start(kind, price, initial=True, limit=limit).initial == D(initial)


def test_the_initial_fill_goes_to_the_cells_nearest_the_price() -> None:
    """The last one may be partly filled; what is missing stays DORMANT."""
    state = start(LONG, "102", initial=True)
    state = on_fill(state, fill(Side.BUY, "102", "1.4", "0.014"), "1.i", 1)
    state = end_initial(state)
    held = [sum((part.quantity for part in cell.lot), D(0)) for cell in state.cells]
    assert held == [0, 0, 1, D("0.4"), 0]
    assert [cell.awake for cell in state.cells] == [True, True, True, True, False]
    assert state.position == D("1.4")
    assert (state.totals.fills, state.totals.initial_fills) == (0, 1)
    assert sum(part.fee for _, lot in state.lots() for part in lot) == D("0.014")


def test_a_short_grid_spreads_its_initial_fill_downward() -> None:
    """The mirror of the long grid: the cells just below the price come first."""
    state = start(SHORT, "103", initial=True)
    state = end_initial(on_fill(state, fill(Side.SELL, "103", "1.5"), "1.i", 1))
    held = [sum((part.quantity for part in cell.lot), D(0)) for cell in state.cells]
    assert held == [0, D("0.5"), 1, 0, 0]
    assert state.position == D("-1.5")


@pytest.mark.parametrize(
    ("kind", "price", "woken"),
    [
        (LONG, "102.9", ()),
        (LONG, "103", (2,)),
        (LONG, "104.5", (2, 3)),
        (SHORT, "102", ()),
        (SHORT, "101", (1,)),
        (SHORT, "90", (0, 1)),
        (NEUTRAL, "104", ()),
    ],
)
def test_dormant_cells_wake_at_their_far_level(
    kind: GridType, price: str, woken: tuple[int, ...]
) -> None:
    """A trade at or beyond the level of its exit wakes a cell, as if a lot there had been sold."""
    state = start(kind, "102")
    assert cells_to_wake(state, D(price)) == woken
    assert cells_to_wake(wake(state, woken), D(price)) == ()


# Fills --------------------------------------------------------------------------------------------


def test_slots_are_read_as_they_are_written() -> None:
    """A slot of another version, or of nobody, names no place."""
    assert [slot_of(3, leg, 7) for leg in Leg] == ["3.e7", "3.x7", "k7", "c7", "3.i"]
    assert parse_slot("3.e7", 3) == (Leg.ENTRY, 7)
    assert parse_slot("k12", 3) == (Leg.CARRIED, 12)
    assert parse_slot("3.i", 3) == (Leg.INITIAL, 0)
    for slot in ("2.e7", "", "3.e7x", "close", "moving.x"):
        assert parse_slot(slot, 3) is None


def test_a_round_trip_in_parts() -> None:
    """Half in, half in, a part out, the rest out: fees split, one closed cell, the sum exact."""
    state = start(NEUTRAL, "103")
    state = on_fill(state, fill(Side.BUY, "101", "0.5", "0.01"), "1.e1", 1)
    assert wanted(state, "101.5")[:2] == ["SELL 102*0.5 exit", "BUY 101*0.5"]
    state = on_fill(state, fill(Side.BUY, "101", "0.5", "0.01"), "1.e1", 2)
    assert "BUY 101" not in wanted(state, "101.5")
    state = on_fill(state, fill(Side.SELL, "102", "0.7", "0.014"), "1.x1", 3)
    assert state.totals.closed_cells == 0
    assert wanted(state, "101.5")[:2] == ["SELL 102*0.3 exit", "BUY 101*0.7"]
    state = on_fill(state, fill(Side.SELL, "102", "0.3", "0.006"), "1.x1", 4)
    assert state.totals.closed_cells == 1
    assert state.position == 0
    assert state.totals.grid == D("0.96")
    assert (state.totals.trend, state.totals.fees) == (D(0), D("0.04"))


def test_a_fill_beyond_the_lot_is_a_lot_of_its_own() -> None:
    """More closed than was held: the lot is booked, the rest is carried, the position exact."""
    state = on_fill(start(NEUTRAL, "103"), fill(Side.BUY, "101"), "1.e1", 1)
    state = on_fill(state, fill(Side.SELL, "102", "1.5", "0.03"), "1.x1", 2)
    assert state.position == D("-0.5")
    assert state.totals.closed_cells == 1
    assert state.totals.stray_fills == 1
    assert state.carried[0].side is Side.SELL
    figures = pnl(state, D(102))
    assert figures.total == 1 - D("0.02") - D("0.03")
    assert figures.open_fees == D("0.01")


@pytest.mark.parametrize(
    ("slot", "side"),
    [
        ("7.e1", Side.BUY),
        ("1.e99", Side.BUY),
        ("1.e1", Side.SELL),
        ("k5", Side.SELL),
        ("1.x0", Side.SELL),
    ],
)
def test_a_fill_that_fits_no_cell_is_carried(slot: str, side: Side) -> None:
    """Late after an adjust, of a wrong side, or without a lot: never lost, and it has a way out."""
    state = on_fill(start(NEUTRAL, "103"), fill(side, "102.5"), slot, 1)
    assert state.position == side.sign
    assert [c.side for c in state.carried] == [side]
    exits = [word for word in wanted(state, "102.5") if "carried" in word]
    assert exits == ["SELL 103 carried" if side is Side.BUY else "BUY 102 carried"]


def test_a_carried_lot_ends_with_its_close() -> None:
    """No counter-order follows the close of a carried lot, in parts too."""
    state = on_fill(start(NEUTRAL, "103"), fill(Side.BUY, "102"), "9.e1", 1)
    state = on_fill(state, fill(Side.SELL, "103", "0.4", "0.01"), "k1", 2)
    assert [sum(p.quantity for p in c.lot) for c in state.carried] == [D("0.6")]
    state = on_fill(state, fill(Side.SELL, "103", "0.6", "0.01"), "k1", 3)
    assert state.carried == ()
    assert state.totals.grid == 1 - D("0.04")


def test_a_close_from_outside_takes_the_oldest_lots_into_trend() -> None:
    """A liquidation or a hand's trade: oldest first, fees too, what is over is a lot of its own."""
    state = start(NEUTRAL, "103")
    state = on_fill(state, fill(Side.BUY, "102"), "1.e2", 1)
    state = on_fill(state, fill(Side.BUY, "101"), "1.e1", 2)
    part = close_outside(state, fill(Side.SELL, "99", "1.5", "0.3"), 3)
    assert part.position == D("0.5")
    assert part.totals.grid == 0
    # 1 * (99 - 102) + 0.5 * (99 - 101), the fees of what was closed and of the close
    assert part.totals.trend == -3 - 1 - D("0.03") - D("0.3")
    over = close_outside(state, fill(Side.SELL, "99", "3", "0.3"), 3)
    assert over.position == -1
    assert [c.side for c in over.carried] == [Side.SELL]
    assert pnl(over, D(99)).total == -3 - 2 - D("0.04") - D("0.3")


def test_settling_books_every_lot() -> None:
    """The position is gone: every lot is booked at one price, nothing is open."""
    state = on_fill(start(NEUTRAL, "103"), fill(Side.BUY, "102"), "1.e2", 1)
    state = on_fill(state, fill(Side.SELL, "104"), "9.e1", 2)
    flat = settle(state, D(100))
    assert flat.position == 0
    assert list(flat.lots()) == []
    assert flat.totals.trend == -2 + 4 - D("0.04")
    assert pnl(flat, D(1)).total == pnl(state, D(100)).total


def test_the_average_entry_is_of_the_side_that_is_held() -> None:
    """Flat has none; else the lots of the position's side, weighted."""
    state = start(NEUTRAL, "103")
    assert entry_price(state) is None
    state = on_fill(state, fill(Side.BUY, "102"), "1.e2", 1)
    state = on_fill(state, fill(Side.BUY, "100", "0.5"), "1.e0", 2)
    assert entry_price(state) == D(152) / D("1.5")


# Orders wanted ------------------------------------------------------------------------------------


def test_the_start_of_a_neutral_grid() -> None:
    """Nearest first on either side; the nearest level is the hole."""
    assert wanted(start(NEUTRAL, "102"), "102") == [
        "BUY 101", "BUY 100", "SELL 103", "SELL 104", "SELL 105",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "orders"),
    [
        ("1", ["BUY 101", "SELL 103"]),
        ("1.5", ["BUY 101", "BUY 100*0.5", "SELL 103", "SELL 104*0.5"]),
        ("0.0005", []),  # below a lot: nothing legal is left
        ("9", ["BUY 101", "BUY 100", "SELL 103", "SELL 104", "SELL 105"]),
    ],
)
def test_room_goes_to_the_nearest_and_then_in_part(limit: str, orders: list[str]) -> None:
    """What fits only partly is sent for what is left, if that is legal; the rest is DORMANT."""
    assert wanted(start(NEUTRAL, "102"), "102", limit) == orders


def test_lots_take_room_and_exits_need_none() -> None:
    """With the limit reached by long lots, their exits and all sells are wanted, no buy is."""
    state = start(NEUTRAL, "103")
    for i, price in ((2, "102"), (1, "101")):
        state = on_fill(state, fill(Side.BUY, price), f"1.e{i}", i)
    assert wanted(state, "100.5", "2") == [
        "SELL 102 exit", "SELL 103 exit", "SELL 104", "SELL 105",
    ]  # fmt: skip


def test_without_entries_only_exits_are_wanted() -> None:
    """Paused or outside the range: the lots keep their way out."""
    state = on_fill(start(NEUTRAL, "103"), fill(Side.BUY, "102"), "1.e2", 1)
    assert wanted(state, "102.5", entries=False) == ["SELL 103 exit"]


def test_exits_that_the_price_has_passed_go_first() -> None:
    """They may take: they come before the ones that would rest."""
    state = start(NEUTRAL, "105")
    for i in (0, 3, 1):
        state = on_fill(state, fill(Side.BUY, str(100 + i)), f"1.e{i}", i + 1)
    assert wanted(state, "102.5")[:3] == ["SELL 101 exit", "SELL 102 exit", "SELL 104 exit"]


def test_exits_of_short_lots_that_the_price_has_passed_go_first() -> None:
    """The mirror: the BUYs above the price come before the ones below it."""
    state = start(NEUTRAL, "100")
    for i in (0, 1, 4):
        state = on_fill(state, fill(Side.SELL, str(101 + i)), f"1.e{i}", i + 1)
    assert wanted(state, "102.5")[:3] == ["BUY 104 exit", "BUY 100 exit", "BUY 101 exit"]


def test_the_initial_entry_takes_its_room_first() -> None:
    """While it is under way the entries have only what it leaves of the limit."""
    state = start(LONG, "102", initial=True, limit="4")
    assert wanted(state, "102", "4") == ["BUY 103*3 initial", "BUY 101"]


@pytest.mark.parametrize("kind", [LONG, SHORT])
def test_exits_are_reduce_only_in_one_sided_grids_alone(kind: GridType) -> None:
    """Their sum never exceeds the position; in a neutral grid the exchange would remove them."""
    one, index = (Side.BUY, 1) if kind is LONG else (Side.SELL, 3)
    for grid, expected in ((kind, True), (NEUTRAL, False)):
        state = on_fill(
            start(grid, "103" if kind is LONG else "102"), fill(one, "102"), f"1.e{index}", 1
        )
        orders = desired_orders(state, D("102.5"), TICK, max_position=None)
        assert [o.reduce_only for o in orders if o.leg is Leg.EXIT] == [expected]
        assert not any(o.reduce_only for o in orders if o.leg is Leg.ENTRY)
        assert all(o.post_only == (o.leg is Leg.ENTRY) for o in orders)


def test_dust_leaves_its_cell_open_for_a_full_order() -> None:
    """A lot too small to close has no exit; its cell wants a full q beside it."""
    instrument = replace(TICK, min_notional=D(20))
    state = on_fill(start(NEUTRAL, "103"), fill(Side.BUY, "102", "0.1"), "1.e2", 1)
    orders = desired_orders(state, D("102.5"), instrument, max_position=None)
    assert [(o.leg, o.quantity) for o in orders if o.price == 102] == [(Leg.ENTRY, D(1))]
    assert not any(o.leg is Leg.EXIT for o in orders)


def test_between_turning_prices_nothing_changes() -> None:
    """The orders wanted are the same at every price strictly between two turning prices."""
    for kind in GridType:
        state = start(kind, "102")
        for limit in (None, D(2)):
            at = D("102.5")
            orders = desired_orders(state, at, TICK, max_position=limit)
            turns = turning_prices(state, orders, {})
            low = max((p for p in turns if p <= at), default=D(1))
            high = min((p for p in turns if p >= at), default=D(999))
            for share in ("0.1", "0.5", "0.9"):
                price = low + (high - low) * D(share)
                again = desired_orders(state, price, TICK, max_position=limit)
                assert again == orders
                assert not cells_to_wake(state, price)


# The initial entry, through the engine ------------------------------------------------------------


def initial(**options: object) -> World:
    world = World(make_settings(kind=LONG, open_initial=True, max_position=4), 105, boot=False)
    for name, value in options.items():
        setattr(world.exchange, name, value)
    return world


def initial_requests(world: World) -> list[str]:
    return [
        o.slot for o in map(world.store.load_order, world.exchange.orders) if o and o.slot == "1.i"
    ]


def test_the_initial_entry_opens_the_cells_above() -> None:
    """One marketable order; its lots have exits, the room that is left goes to entries."""
    world = initial().boot()
    assert world.exchange.position == world.grid.position == 4
    assert world.orders() == "SELL 106[c] 107[c] 108[c] 109[c]"
    assert world.exchange.fills[0].is_maker is False


def test_an_initial_entry_that_fills_in_part_is_not_sent_again() -> None:
    """One entry, once: what the market did not give stays DORMANT."""
    wide = make_settings(100, 200, 11, kind=LONG, open_initial=True, max_position=4)
    world = World(wide, 150, boot=False)
    world.exchange.ioc_liquidity = D("2.5")
    world.boot()
    world.settle(patience_s=5)
    assert len(initial_requests(world)) == 1
    assert world.exchange.position == world.grid.position == D("2.5")
    assert world.orders() == "BUY 130*0.5 140; SELL 160[c] 170[c] 180[c]*0.5"
    assert world.grid.initial == 0


def test_an_initial_entry_that_found_nobody_is_not_sent_again() -> None:
    """It expired without a fill: the grid goes on as without it."""
    world = initial(ioc_liquidity=D(0)).boot()
    world.settle(patience_s=5)
    assert len(initial_requests(world)) == 1
    assert world.orders() == "BUY 101 102 103 104"


def test_a_partial_initial_entry_is_not_sent_again_after_a_crash() -> None:
    """The same when the process dies before it has seen the end of the order."""
    world = initial(ioc_liquidity=D("2.5")).boot()
    world.restart()
    world.settle(patience_s=5)
    assert len(initial_requests(world)) == 1
    assert world.exchange.position == world.grid.position == D("2.5")


def test_an_initial_entry_that_never_arrived_is_sent_again() -> None:
    """A busy exchange at the start does not cost the user the initial position."""
    world = initial()
    world.exchange.place_faults.append(Fault(error=Retryable("busy", 0.5)))
    world.boot().settle(patience_s=3)
    assert world.exchange.position == world.grid.position == 4


@pytest.mark.parametrize("arrives", [True, False])
def test_an_initial_entry_of_unknown_outcome_is_looked_up(arrives: bool) -> None:
    """It is never doubled; one that proves not to have arrived is sent again."""
    world = initial()
    world.exchange.place_faults.append(Fault(error=OutcomeUnknown("slow"), arrives=arrives))
    world.boot().settle(patience_s=5)
    assert world.exchange.position == world.grid.position == 4


def test_an_initial_entry_that_was_refused_leaves_a_grid_without_it() -> None:
    """Refused for good: the grid trades on as without `open_initial`."""
    world = initial()
    world.exchange.place_faults.append(Fault(error=Rejected(RejectReason.OTHER, "no")))
    world.boot().settle(patience_s=60)
    assert world.grid.initial == 0
    assert world.exchange.position == 0
    assert world.orders() == "BUY 101 102 103 104"


def test_a_pause_and_resume_do_not_reopen_the_initial_entry() -> None:
    """Once ended, it stays so."""
    world = initial(ioc_liquidity=D(1)).boot()
    world.settle(patience_s=3)
    world.do(Pause())
    world.do(Resume())
    world.settle(patience_s=3)
    assert len(initial_requests(world)) == 1


# Places in the queue ------------------------------------------------------------------------------


def partly(world: World, price: int, quantity: str) -> None:
    """The price comes to the order that rests there and takes a part of it."""
    order = next(o for o in world.own() if o.price == price)
    world.exchange.last = D(price)
    world.exchange.fill(order.client_order_id, D(quantity))
    world.exchange.tell(world.exchange.quote())
    world.settle()


def test_an_entry_that_rests_at_the_price_keeps_its_place() -> None:
    """The market trades at its level and took a part of it: the rest is not cancelled."""
    world = World(make_settings(), 105)
    world.asked()
    partly(world, 104, "0.3")
    assert world.asked() == ["SELL 105"]
    assert "104*0.7" in world.orders()


def test_a_smaller_entry_keeps_its_place_until_the_lot_is_zero() -> None:
    """A part of the lot was closed: the entry keeps its place; at zero it is brought back to q."""
    world = World(make_settings(), 105)
    partly(world, 104, "0.7")
    world.asked()
    partly(world, 105, "0.4")
    assert world.lots() == {"104": "0.3"}
    assert "BUY 104" not in " ".join(world.asked())
    assert "104*0.3" in world.orders()
    partly(world, 105, "0.3")
    assert world.asked() == ["cancel BUY 104", "BUY 104"]
    assert "BUY 100 101 102 103 104;" in world.orders()
