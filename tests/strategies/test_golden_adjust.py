"""GRID.md's golden vectors of adjust and limit: as states and as the requests that lead to them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from fakes import Fault
from grid_world import World, make_settings

from core.model import GridType, LotsPolicy, Outcome

D = Decimal
LONG, NEUTRAL = GridType.LONG, GridType.NEUTRAL


def test_v1_a_long_grid_moves_down_and_narrows() -> None:
    """FAILURES 9: orders that survive keep their place, lots stay with their cost."""
    world = World(make_settings(kind=LONG), 105)
    assert world.orders() == "BUY 100 101 102 103 104"

    world.go(102)
    assert world.orders() == "BUY 100 101; SELL 103[c] 104[c] 105[c]"
    assert world.lots() == {"102": "1", "103": "1", "104": "1"}

    world.asked()
    ids = {order.client_order_id for order in world.own()}
    assert world.adjust(98, 103, 6).outcome is Outcome.DONE
    assert sorted(world.asked()) == ["BUY 98", "BUY 99"]
    assert ids < {order.client_order_id for order in world.own()}
    assert world.orders() == "BUY 98 99 100 101; SELL 103[c] 104[k] 105[k]"
    assert world.lots() == {"102": "1"}
    assert world.exchange.position == world.grid.position == 3

    world.go(106)
    assert world.exchange.position == world.grid.position == 0
    assert world.orders() == "BUY 98 99 100 101 102"
    assert (world.pnl.grid, world.pnl.trend) == (D("2.8758"), D(0))
    assert world.pnl.total == world.exchange.equity_change


def test_v2_a_long_grid_keeps_fewer_levels() -> None:
    """FAILURES 9: a lot that shares its new cell's closing price is carried beside it."""
    world = World(make_settings(90, 120, 4, kind=LONG), 119)
    assert world.orders() == "BUY 90 100 110"

    world.go(99)
    assert world.orders() == "BUY 90; SELL 110[c] 120[c]"

    world.asked()
    assert world.adjust(100, 120, 2).outcome is Outcome.DONE
    requests = world.asked()
    assert sorted(requests[:2]) == ["cancel BUY 90", "cancel SELL 110"]
    assert requests[2:] == ["SELL 120 reduce"]
    assert world.orders() == "SELL 120[c] 120[k]"
    assert world.lots() == {"100": "1"}
    assert world.exchange.position == world.grid.position == 2

    world.go(120)
    assert world.exchange.position == 0
    assert world.orders() == "BUY 100"
    assert (world.pnl.grid, world.pnl.trend) == (D("29.91"), D(0))
    assert world.pnl.total == world.exchange.equity_change


@pytest.fixture
def v3() -> World:
    world = World(make_settings(98, 104, 4), 103)
    assert world.orders() == "BUY 98 100; SELL 104"
    world.go(100, 99)
    assert world.orders() == "BUY 98; SELL 102[c] 104"
    world.asked()
    assert world.adjust(98, 102, 3).outcome is Outcome.DONE
    assert sorted(world.asked()) == ["SELL 100", "cancel BUY 98", "cancel SELL 104"]
    assert world.orders() == "SELL 100 102[c]"
    world.go(100)
    return world


def test_v3_a_neutral_grid_holds_a_long_beside_a_short(v3: World) -> None:
    """After the adjust both sides hold a lot, and neither exit is reduce-only."""
    assert v3.exchange.position == v3.grid.position == 0
    assert v3.lots() == {"-100": "1", "100": "1"}
    assert v3.orders() == "BUY 98[c]; SELL 102[c]"
    assert not any(order.reduce_only for order in v3.own())


def test_v3_upward_the_long_lot_closes(v3: World) -> None:
    """At 102 the long lot has earned its interval and its cell buys again."""
    v3.go(102)
    assert v3.exchange.position == v3.grid.position == -1
    assert v3.orders() == "BUY 98[c] 100"
    assert (v3.pnl.grid, v3.pnl.trend) == (D("1.9596"), D(0))
    assert v3.pnl.total == v3.exchange.equity_change


def test_v3_downward_again_the_short_lot_closes(v3: World) -> None:
    """At 98 the short lot has earned its interval and its cell sells again."""
    v3.go(102, 98)
    assert v3.exchange.position == v3.grid.position == 1
    assert v3.orders() == "SELL 100 102[c]"
    assert v3.pnl.grid == D("3.92")
    assert v3.pnl.total == v3.exchange.equity_change


def test_p1_the_limit_of_a_neutral_grid() -> None:
    """The three orders nearest the price have the room of each side; exits need none."""
    world = World(make_settings(max_position=3), 105)
    start = "BUY 102 103 104; SELL 106 107 108"
    assert world.orders() == start

    world.go(108, 110)
    assert world.exchange.position == -3
    assert world.orders() == "BUY 102 103 104 105[c] 106[c] 107[c]"

    world.go(100)
    assert world.exchange.position == 3
    assert world.orders() == "SELL 103[c] 104[c] 105[c] 106 107 108"
    assert world.pnl.grid == D("2.8722")

    world.go(105)
    assert world.exchange.position == 0
    assert world.orders() == start
    assert world.pnl.grid == D("5.748")
    asked = world.asked()
    assert not {"BUY 100", "BUY 101", "SELL 109", "SELL 110"} & set(asked)
    assert not any(word.startswith("cancel") for word in asked)
    assert world.pnl.total == world.exchange.equity_change


def test_p2_the_limit_slides_with_a_long_grid() -> None:
    """The farthest order is cancelled, its end awaited, and only then the nearer one is placed."""
    world = World(make_settings(kind=LONG, max_position=3), 105)
    assert world.orders() == "BUY 102 103 104"

    world.asked()
    world.go(106)
    assert world.asked() == ["cancel BUY 102", "BUY 105"]
    assert world.orders() == "BUY 103 104 105"

    world.go(108)
    assert world.orders() == "BUY 105 106 107"
    world.go(104)
    assert world.exchange.position == 3
    assert world.orders() == "SELL 106[c] 107[c] 108[c]"
    world.go(106)
    assert world.exchange.position == 2
    assert world.orders() == "BUY 105; SELL 107[c] 108[c]"
    assert world.pnl.grid == D("0.9578")
    assert world.pnl.total == world.exchange.equity_change


def test_p2_the_only_request_is_the_cancel_until_its_end_is_known() -> None:
    """While the cancel's outcome is unknown the nearer order waits for the end to be seen."""

    from core.errors import OutcomeUnknown

    world = World(make_settings(kind=LONG, max_position=3), 105)
    world.asked()
    world.exchange.cancel_faults.append(Fault(error=OutcomeUnknown("time-out"), arrives=True))
    world.go(106)
    assert world.asked() == ["cancel BUY 102"]
    world.settle(patience_s=3)
    assert world.asked() == ["BUY 105"]
    assert world.orders() == "BUY 103 104 105"


def test_p2_race_the_price_falls_before_the_cancel_arrives() -> None:
    """A cancel that lost its race is a fill: the nearer order is never sent, the limit holds."""
    world = World(make_settings(kind=LONG, max_position=3), 105)
    world.asked()
    world.exchange.before_cancel = lambda: world.exchange.jump(102)
    world.go(106)
    world.settle(patience_s=3)
    world.go(102)
    assert "BUY 105" not in world.asked()
    assert world.exchange.position == world.grid.position == 3
    assert world.orders() == "SELL 103[c] 104[c] 105[c]"

    world.go(106)
    assert world.orders() == "BUY 103 104 105"
    assert (world.exchange.position, world.pnl.grid) == (D(0), D("2.8758"))
    assert world.pnl.total == world.exchange.equity_change


def test_redistribute_gives_every_lot_a_cell_whatever_its_cost() -> None:
    """With `redistribute` a lot without a cell that earns takes the highest beyond the price."""
    world = World(make_settings(kind=LONG), 105)
    world.go(102)
    assert world.adjust(98, 103, 6, lots=LotsPolicy.REDISTRIBUTE).outcome is Outcome.DONE
    # price 102: only [102, 103] lies beyond it, the first lot has it, the others are carried
    assert world.lots() == {"102": "1"}
    assert len(world.grid.carried) == 2
    world.go(100)
    assert world.exchange.position == world.grid.position == 5
    assert world.adjust(97, 102, 6, lots=LotsPolicy.REDISTRIBUTE).outcome is Outcome.DONE
    assert world.lots() == {"100": "1", "101": "1"}
    assert world.exchange.position == world.grid.position == 5
    assert world.pnl.total == world.exchange.equity_change
