"""`trail` and `adjust_range` in the real engine: what moves, what stays, and when nothing may."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from fakes import CrashError, Fault
from grid_world import World, make_settings
from storm import WatchedStore

from core.errors import Retryable
from core.model import GridMode, GridType, Outcome, Pause, Resume
from strategies.boundary import Zone
from strategies.journal import Move

D = Decimal
LONG, NEUTRAL, SHORT = GridType.LONG, GridType.NEUTRAL, GridType.SHORT


def make_world(
    action: str, kind: GridType = NEUTRAL, start: int = 105, store: Any = None, **rest: Any
) -> World:
    settings = make_settings(kind=kind, boundary_action=action, **rest)
    return World(settings, start, store=store, boot=store is None)


def hold(world: World, seconds: float = 11) -> World:
    """Let the price stay where it is for longer than a breach needs."""
    for _ in range(2):
        world.exchange.tell(world.exchange.quote())
        world.settle()
        world.clock.advance(seconds)
    world.exchange.tell(world.exchange.quote())
    return world.settle()


def bounds(world: World) -> tuple[Decimal, Decimal]:
    return world.grid.spec.levels[0], world.grid.spec.levels[-1]


# trail --------------------------------------------------------------------------------------------


def test_a_long_grid_trails_up_one_index_after_the_other() -> None:
    """The lowest cell's order goes, the next one comes, until the price is inside again."""
    world = make_world("trail", LONG)
    world.go(112)
    world.asked()
    hold(world)
    assert bounds(world) == (102, 112)
    assert world.orders() == "BUY 102 103 104 105 106 107 108 109 110 111"
    assert world.asked() == ["cancel BUY 100", "cancel BUY 101", "BUY 111", "BUY 110"]
    assert world.book.zone is Zone.INSIDE
    assert len(world.book.moves) == 2


def test_a_short_grid_trails_down() -> None:
    """The mirror of the long one."""
    world = make_world("trail", SHORT)
    hold(world.go(98))
    assert bounds(world) == (98, 108)
    assert world.orders() == "SELL 99 100 101 102 103 104 105 106 107 108"


def test_a_neutral_grid_trails_both_ways_and_carries_what_drops_out() -> None:
    """Up until the cells with short lots drop out: they are carried, the position stays."""
    world = make_world("trail", NEUTRAL, boundary_moves_per_hour=100)
    hold(world.go(117))
    assert bounds(world) == (107, 117)
    assert world.exchange.position == world.grid.position == -5
    assert [c.side.value for c in world.grid.carried] == ["SELL", "SELL"]
    assert world.orders().startswith("BUY 105[k] 106[k] 107[c] 108[c] 109[c] 110 111")
    assert world.pnl.total == world.exchange.equity_change
    hold(world.go(104))
    assert bounds(world) == (104, 114)
    assert world.pnl.total == world.exchange.equity_change
    assert world.exchange.position == world.grid.position


@pytest.mark.parametrize(("kind", "price", "way"), [(SHORT, 112, "up"), (LONG, 98, "down")])
def test_the_other_way_a_trailing_grid_stops_its_entries(
    kind: GridType, price: int, way: str
) -> None:
    """As `stop_only`: entries are cancelled, exits stay, and all is back with the price."""
    world = make_world("trail", kind)
    hold(world.go(price))
    assert bounds(world) == (100, 110)
    assert "[c]" in world.orders()
    assert all("[c]" in word for word in world.orders().split()[1:])
    assert f"a {kind.value} grid does not trail {way}" in world.alerts()
    hold(world.go(105))
    assert any("[c]" not in word for word in world.orders().split()[1:])


def test_more_moves_than_an_hour_may_have_wait_for_the_next() -> None:
    """At the limit entries stop, with an alert; when the hour is over it goes on by itself."""
    world = make_world("trail", LONG, boundary_moves_per_hour=2)
    hold(world.go(115))
    assert bounds(world) == (102, 112)
    assert world.orders() == ""
    assert "2 moves within an hour" in world.alerts()
    assert world.alerts().count("moves within an hour") == 1
    world.clock.advance(3600)
    world.exchange.tell(world.exchange.quote())
    world.settle()
    assert bounds(world) == (104, 114)
    assert len(world.book.moves) == 2
    assert world.orders() == ""  # 115 is still beyond it
    world.clock.advance(3600)
    world.exchange.tell(world.exchange.quote())
    world.settle()
    assert bounds(world) == (105, 115)
    assert world.orders() == "BUY 105 106 107 108 109 110 111 112 113 114"


def test_the_limit_outlives_a_restart() -> None:
    """The moves of the last hour are in the journal."""
    world = make_world("trail", LONG, boundary_moves_per_hour=2)
    hold(world.go(115))
    world.restart()
    hold(world)
    assert bounds(world) == (102, 112)
    assert len(world.book.moves) == 2


def test_a_trailing_grid_goes_on_from_where_it_began_after_a_restart() -> None:
    """With levels that round, the next index is the formula's, not the rounded levels'."""
    world = make_world("trail", LONG, num=8, boundary_moves_per_hour=100)
    assert world.grid.spec.levels == (100, 101, 103, 104, 106, 107, 109, 110)
    hold(world.go(111))
    world.restart()
    hold(world.go(115))
    levels = world.grid.spec.levels
    expected = tuple(round(100 + 10 * i / 7) for i in range(4, 12))
    assert levels == expected
    assert world.grid.spec.origin is not None
    assert world.grid.spec.origin.index == 4


def test_a_grid_that_can_no_longer_earn_stops_trailing() -> None:
    """Each next cell of an arithmetic grid has a smaller ratio: below the fee floor it stays."""
    world = make_world("trail", LONG, lower=9950, upper=9990, num=11, start=9970)
    hold(world.go(10020))
    assert "cell 9998 to 10002 does not earn its fees" in world.alerts()
    assert bounds(world) == (9958, 9998)
    assert world.orders() == ""
    assert world.book.pending is None


def test_a_paused_grid_does_not_move() -> None:
    """The user's pause holds the grid too; it follows when entries are resumed."""
    world = make_world("trail", LONG)
    world.do(Pause())
    hold(world.go(112))
    assert bounds(world) == (100, 110)
    world.do(Resume())
    hold(world)
    assert bounds(world) == (102, 112)


def test_a_users_adjust_ends_the_trail_where_it_is() -> None:
    """The new range is where the next trail begins."""
    world = make_world("trail", LONG)
    hold(world.go(112))
    assert world.adjust(100, 114, 8).outcome is Outcome.DONE
    assert world.grid.spec.origin is None
    hold(world.go(117))
    assert world.grid.spec.levels == tuple(range(104, 119, 2))


def test_a_refused_cancel_leaves_the_grid_and_is_tried_again() -> None:
    """The exchange refused before anything was cancelled: the old grid stands for a while."""
    world = make_world("trail", LONG)
    world.go(112)
    world.exchange.cancel_faults.append(Fault(error=Retryable("busy", 0.1)))
    hold(world)
    hold(world)
    assert bounds(world) == (102, 112)
    assert world.book.pending is None


# adjust_range -------------------------------------------------------------------------------------


def test_a_range_is_laid_out_around_the_price() -> None:
    """Same width, the lots carried, and the grid opens on both sides of the price again."""
    world = make_world("adjust_range")
    hold(world.go(115))
    assert bounds(world) == (110, 120)
    assert world.exchange.position == world.grid.position == -5
    assert world.orders() == (
        "BUY 105[k] 106[k] 107[k] 108[k] 109[k] 110 111 112 113 114; SELL 116 117 118 119 120"
    )
    assert world.book.zone is Zone.INSIDE
    assert world.pnl.total == world.exchange.equity_change


def test_a_geometric_range_keeps_its_ratio() -> None:
    """Lower and upper move by the same factor."""
    world = make_world("adjust_range", lower=1000, upper=1210, num=5, start=1100, mode=GEOMETRIC)
    hold(world.go(1331))
    assert bounds(world) == (1210, 1464)


GEOMETRIC = GridMode.GEOMETRIC


def test_a_range_with_no_room_to_open_stays_and_says_so() -> None:
    """A short grid at its limit would stand idle in a new range: it acts as `stop_only`."""
    world = make_world("adjust_range", SHORT, max_position=5)
    hold(world.go(115))
    assert bounds(world) == (100, 110)
    assert "no opening order would be possible" in world.alerts()
    assert world.alerts().count("no opening order") == 1
    hold(world.go(104))
    assert world.book.zone is Zone.INSIDE
    assert "SELL" in world.orders()


def test_the_hourly_limit_holds_for_new_ranges_too() -> None:
    """A market that runs away is followed so many times, then entries stop."""
    world = make_world("adjust_range", LONG, boundary_moves_per_hour=1)
    hold(world.go(115))
    assert bounds(world) == (110, 120)
    hold(world.go(130))
    assert bounds(world) == (110, 120)
    assert world.orders() == ""
    assert "1 moves within an hour" in world.alerts()


# Crashes ------------------------------------------------------------------------------------------


def moved(action: str, fuse: int | None) -> tuple[WatchedStore, World, bool]:
    store = WatchedStore()
    world = make_world(action, NEUTRAL, store=store, boundary_moves_per_hour=100)
    world.boot()
    world.go(117)
    store.writes, store.fuse = 0, fuse
    died = False
    try:
        hold(world)
    except CrashError:
        died, store.fuse = True, None
        world.restart()
        hold(world)
    return store, world, died


@pytest.mark.slow
@pytest.mark.parametrize("action", [move.value for move in (Move.TRAIL, Move.ADJUST_RANGE)])
def test_a_move_that_a_crash_cut_is_carried_out_after_it(action: str) -> None:
    """The plan is stored before the first cancel: at every write, the same orders in the end."""
    store, calm, died = moved(action, None)
    assert not died
    for fuse in range(1, store.writes + 1, 3):
        _, world, died = moved(action, fuse)
        assert died, fuse
        assert world.orders() == calm.orders(), fuse
        assert bounds(world) == bounds(calm), fuse
        assert world.exchange.position == world.grid.position
        assert world.pnl.total == world.exchange.equity_change
