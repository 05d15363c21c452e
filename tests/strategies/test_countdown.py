"""The dead man's switch in the engine: when the exchange is told, and when it is not."""

from __future__ import annotations

import pytest
from grid_world import SYMBOL, World, make_settings

from core.errors import AuthError, ExchangeError, Retryable
from core.model import OrderStatus, Side
from strategies.countdown import Countdown

SECONDS = 120.0


class Switch:
    """An exchange's timer: what it was told, and what goes wrong with the next calls."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.calls: list[tuple[float, float]] = []
        self.faults: list[ExchangeError] = []

    def set_countdown(self, symbol: str, seconds: float) -> None:
        assert symbol == SYMBOL
        if self.faults:
            raise self.faults.pop(0)
        self.calls.append((self.world.clock.monotonic(), seconds))

    @property
    def told(self) -> list[float]:
        return [seconds for _, seconds in self.calls]


@pytest.fixture
def world() -> World:
    return World(make_settings(interval_s=60.0), 105, boot=False)


@pytest.fixture
def switch(world: World) -> Switch:
    switch = Switch(world)
    world.engine.countdown = Countdown(switch, SECONDS)
    return switch


def live_on(world: World, seconds: int) -> None:
    for _ in range(seconds):
        world.clock.advance(1.0)
        world.settle()


def end(world: World, **options: bool) -> None:
    world.stop(**options)
    world.engine.countdown.switch_off(world.engine)


def extra(world: World) -> str:
    return world.engine.countdown.words(world.engine)["dead_mans_switch"]


def test_it_is_wound_up_at_a_quarter_of_its_time_and_turned_off_at_the_stop(
    world: World, switch: Switch
) -> None:
    """Once when the grid rests, then every 30 s of 120, and 0 when nothing rests any more."""
    world.boot()
    assert switch.told == [SECONDS]
    live_on(world, 95)
    gaps = [b - a for (a, _), (b, _) in zip(switch.calls, switch.calls[1:], strict=False)]
    assert len(gaps) == 3
    assert all(30 <= gap < 32 for gap in gaps)
    assert "in 1" in extra(world)
    end(world)
    assert switch.told[-1] == 0
    assert world.own() == []


def test_the_engine_wakes_for_it(world: World, switch: Switch) -> None:
    """Its time is one of those that end a wait, though every other one is far off."""
    world.boot()
    world.engine._next_beat = world.engine.next_reconcile = 1e9
    world.engine.wants_snapshot = False
    assert world.engine._timeout() <= SECONDS / 4
    assert switch.told == [SECONDS]


def test_it_is_off_while_orders_of_others_rest(world: World, switch: Switch) -> None:
    """Told 0 when one is seen, said once, and on again when it is gone."""
    world.boot()
    hand = world.exchange.add_foreign(Side.BUY, 90)
    live_on(world, 61)
    assert switch.told[-1] == 0
    count = len(switch.calls)
    live_on(world, 120)
    assert len(switch.calls) == count
    assert sum("orders of others" in alert for alert in world.engine.alerts) == 1
    assert "off: 1 orders of others" in extra(world)
    world.exchange.end(hand, OrderStatus.CANCELED)
    live_on(world, 61)
    assert switch.told[-1] == SECONDS
    assert "on again" in world.engine.alerts[-1]


def test_orders_that_were_there_before_turn_off_what_an_earlier_run_has_set(
    world: World, switch: Switch
) -> None:
    """A timer of a killed run may still go: it is stopped once, then left alone."""
    world.exchange.add_foreign(Side.SELL, 130)
    world.boot()
    live_on(world, 100)
    assert switch.told == [0.0]


def test_a_failed_call_is_tried_again_soon_and_is_no_trouble_of_the_grids(
    world: World, switch: Switch
) -> None:
    """Ten seconds later; the engine stays in step and its orders rest."""
    world.boot()
    switch.faults = [Retryable("busy"), Retryable("busy")]
    live_on(world, 55)
    assert switch.faults == []
    assert len(switch.calls) == 2
    assert world.engine.synced
    assert not world.engine.frozen


def test_refused_credentials_end_the_run(world: World, switch: Switch) -> None:
    """As they do on any other call."""
    world.boot()
    switch.faults = [AuthError("the key is gone")]
    with pytest.raises(AuthError):
        live_on(world, 40)


def test_orders_that_could_not_be_cancelled_are_left_to_it(world: World, switch: Switch) -> None:
    """The exchange will not cancel ours at the stop: the timer runs on, and is told of."""
    world.boot()
    world.engine.orders_left = 3
    world.engine.countdown.switch_off(world.engine)
    assert switch.told == [SECONDS]
    assert "3 orders are left" in world.engine.alerts[-1]


def test_kept_orders_are_kept(world: World, switch: Switch) -> None:
    """A stop that keeps the orders turns it off, or they would not be kept."""
    world.boot()
    end(world, keep_orders=True)
    assert switch.told[-1] == 0
    assert world.own()


def test_without_a_switch_nothing_is_done(world: World) -> None:
    """No option, or an exchange without one: no call, no word, no timer."""
    for countdown in (Countdown(None, SECONDS), Countdown(Switch(world), None)):
        world.engine.countdown = countdown
        assert countdown.next_due is None
        assert countdown.words(world.engine) == {}
    world.boot()
