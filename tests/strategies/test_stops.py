"""Stops and breaches that end a bot: everything cancelled, the position gone, and it is proved."""

from __future__ import annotations

from decimal import Decimal

import pytest
from fakes import Fault
from grid_world import World, make_settings

from core.errors import Retryable
from core.model import GridType, RunState, Side
from strategies import ending

D = Decimal


def drive(world: World, *prices: int) -> None:
    """Move the price level by level until the bot decides to end."""
    for price in prices:
        for _ in world.exchange.walk(price):
            world.clock.advance(0.01)
            for _ in range(8):
                if world.engine.stop_request is not None:
                    return
                world.step()


def end(world: World) -> None:
    assert world.engine.stop_request is not None
    ending.shut_down(world.engine, world.engine.stop_request)


def test_a_stop_loss_closes_everything() -> None:
    """At a total, less the exit's cost, of minus the stop the bot ends flat, without an order."""
    world = World(make_settings(stop_loss=D(20)), 105)
    drive(world, 100)  # lots at 104 to 100 stand at -10, and leaving would cost 2.6 more
    assert world.engine.stop_request is None
    drive(world, 97)
    request = world.engine.stop_request
    assert request is not None
    assert "stop_loss" in request.reason
    end(world)
    assert world.exchange.position == 0
    assert world.grid.position == 0
    assert world.own() == []
    assert world.pnl.unrealized == 0
    assert not world.engine.position_left
    assert world.is_in(RunState.STOPPED)
    assert world.severity_of("closing everything: stop_loss") == "critical"


def test_a_take_profit_closes_everything() -> None:
    """The same above: the total that is left after the exit is at least what was asked for."""
    world = World(make_settings(take_profit=D(3)), 105)
    for _ in range(4):
        if world.engine.stop_request is not None:
            break
        drive(world, 103, 107)
    assert world.engine.stop_request is not None
    end(world)
    assert world.exchange.position == 0
    assert world.pnl.total >= D(3)


def test_a_stop_loss_counts_the_whole_life() -> None:
    """A crash and a restart do not forget what was lost before."""
    world = World(make_settings(stop_loss=D(20)), 105)
    drive(world, 100)
    assert world.engine.stop_request is None
    world.crash()
    world.exchange.jump(D(97))
    world.restart()
    assert world.engine.stop_request is not None
    end(world)
    assert world.exchange.position == 0


@pytest.mark.parametrize("far", [90, 121])
def test_an_emergency_close_ends_flat_once_the_breach_is_confirmed(far: int) -> None:
    """Beyond the range for ten seconds: everything is cancelled and closed."""
    world = World(make_settings(boundary_action="emergency_close"), 105)
    world.go(far)
    assert world.engine.stop_request is None, "not confirmed yet"
    world.clock.advance(11)
    world.go(far - 1 if far < 100 else far + 1)
    assert world.engine.stop_request is not None
    end(world)
    assert world.exchange.position == 0
    assert world.own() == []


def test_an_emergency_close_goes_on_after_a_crash() -> None:
    """A crash between the breach and the close does not leave a bot that idles outside."""
    world = World(make_settings(boundary_action="emergency_close"), 105)
    world.go(90)
    world.clock.advance(11)
    world.go(89)
    assert world.exchange.position != 0
    world.restart()
    assert world.engine.stop_request is not None
    end(world)
    assert world.exchange.position == 0


def test_the_end_waits_as_long_as_the_exchange_asks_for() -> None:
    """An exchange that is busy for a second does not leave orders behind (FAILURES 13)."""
    world = World(make_settings(), 105)
    world.exchange.cancel_faults.extend([Fault(error=Retryable("busy", 1.0))] * 10)
    assert world.stop() == 0
    assert world.own() == []


def test_a_bot_that_waits_for_its_trigger_is_up() -> None:
    """Waiting for a price is what it was told to do, not a failure to start."""
    world = World(make_settings(trigger=103), 105)
    assert world.is_in(RunState.RUNNING)
    assert world.own() == []
    world.go(103)
    assert world.own()


def test_a_long_grid_with_stops_trades_as_one_without() -> None:
    """Far stops change no order."""
    plain = World(make_settings(kind=GridType.LONG, max_position=3), 105)
    watched = World(
        make_settings(kind=GridType.LONG, max_position=3, stop_loss=D(999), take_profit=D(999)), 105
    )
    for price in (106, 108, 104, 106, 102):
        assert plain.go(price).orders() == watched.go(price).orders()


def test_a_close_before_any_grid_has_nothing_to_close() -> None:
    """What the account holds beforehand is not ours: it stays, and that is no failure."""
    world = World(make_settings(trigger=109), 105, boot=False)
    world.exchange.add_foreign(Side.BUY, 200, "hand-1")
    world.boot()
    assert world.book.grid is None
    assert world.stop(close_positions=True) == 0
    assert world.exchange.position == 1
    assert not world.engine.position_left


def test_a_position_that_went_unheard_is_booked_by_its_own_fills() -> None:
    """The exits filled while nothing could be read: the end waits for their fills, not the mark."""
    world = World(make_settings(kind=GridType.LONG), 105)
    world.go(102)
    world.exchange.deliver = lambda _: "hidden"
    world.exchange.jump(107)
    world.exchange.outbox.clear()
    world.exchange.fetch_faults.extend([Retryable("busy", 0.1)] * 8)
    world.stop(close_positions=True)
    assert not world.engine.position_left
    assert world.exchange.position == world.grid.position == 0
    assert world.grid.totals.closed_cells == 3
    assert world.pnl.total == world.exchange.equity_change
