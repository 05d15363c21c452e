"""A position told by the stream: an early look when it disagrees, and nothing else ever."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from random import Random

import pytest
from fakes import EPOCH
from grid_world import SYMBOL, World, make_settings

from core.model import PositionTold
from strategies.position_watch import DOUBT_S, PAUSE_S, PositionWatch

D = Decimal


def told(quantity: object, at: float = 0.0) -> PositionTold:
    return PositionTold(
        symbol=SYMBOL, quantity=D(str(quantity)), time=EPOCH + timedelta(seconds=at)
    )


def test_a_disagreement_that_ends_in_time_asks_for_nothing() -> None:
    """The fill comes a moment later: the ledger is what was told."""
    watch = PositionWatch()
    watch.take(told(1), D(0), 100.0)
    assert watch.next_due == 100.0 + DOUBT_S
    assert not watch.wants_look(D(0), 100.0 + DOUBT_S - 0.01)
    assert not watch.wants_look(D(1), 100.0 + DOUBT_S)
    assert watch.next_due is None


def test_one_that_lasts_asks_once() -> None:
    """And not again before the pause is over, whatever is told meanwhile."""
    watch = PositionWatch()
    watch.take(told(1), D(0), 100.0)
    watch.take(told(2, 1), D(0), 101.0)  # the moment runs from the first doubt
    at = 100.0 + DOUBT_S
    assert watch.wants_look(D(0), at)
    assert not watch.wants_look(D(0), at)
    watch.settled()
    watch.take(told(2, 9), D(0), at + 1)
    assert not watch.wants_look(D(0), at + DOUBT_S + 1)
    assert watch.next_due == at + PAUSE_S
    assert watch.wants_look(D(0), at + PAUSE_S)


def test_an_event_that_was_overtaken_counts_for_nothing() -> None:
    """Late and twice: the newest time stands."""
    watch = PositionWatch()
    watch.take(told(3, 5), D(3), 100.0)
    watch.take(told(2, 4), D(3), 100.0)
    assert watch.next_due is None
    watch.take(told(4, 6), D(3), 101.0)
    watch.take(told(3, 5), D(3), 101.5)
    assert watch.wants_look(D(3), 101.0 + DOUBT_S)


def looks(world: World) -> int:
    return sum(event == "position_in_doubt" for event, _ in world.log)


def live_on(world: World, seconds: int) -> None:
    for _ in range(seconds):
        world.clock.advance(1.0)
        world.settle()


def at_now(world: World, quantity: object) -> PositionTold:
    return told(quantity, world.clock.seconds)


def test_a_hand_trade_is_found_before_the_interval() -> None:
    """The stream tells a position that no fill of ours makes: frozen within seconds, not 10 min."""
    world = World(make_settings(interval_s=600.0), 105)
    base = world.exchange.position
    hand = world.exchange.add_foreign(world.own()[0].side, 103)
    world.exchange.deliver = lambda _fill: "hidden"
    world.exchange.fill(hand)
    world.exchange.tell(at_now(world, world.exchange.position))
    world.settle()
    assert "position" not in world.engine.frozen
    live_on(world, 4)
    assert looks(world) == 1
    assert "position" in world.engine.frozen
    assert world.grid.position == base  # told, never believed: no fill of ours


def test_a_lost_fill_is_found_before_the_interval() -> None:
    """The stream swallowed the fill and told its position: the look brings it by REST."""
    world = World(make_settings(interval_s=600.0), 105)
    world.exchange.deliver = lambda _fill: "hidden"
    order = next(o for o in world.own() if o.price == 104)
    world.exchange.last = D(104)
    world.exchange.fill(order.client_order_id)
    world.exchange.tell(at_now(world, world.exchange.position))
    world.settle()
    assert world.grid.position == 0
    live_on(world, 4)
    assert world.grid.position == world.exchange.position == 1
    assert not world.engine.frozen
    live_on(world, 100)
    assert looks(world) == 1


@pytest.mark.parametrize("seed", range(20))
def test_events_twice_and_out_of_order_never_hurt(seed: int) -> None:
    """A storm of stale, doubled and wrong positions: the book is what the fills make, the same
    orders rest as without, and the looks keep their pace.
    """
    chance = Random(seed)
    world = World(make_settings(interval_s=600.0), 105)
    calm = World(make_settings(interval_s=600.0), 105)
    history: list[PositionTold] = [at_now(world, 0)]
    price = 105
    for _ in range(60):
        price = min(109, max(101, price + chance.choice((-1, 1))))
        for each in (world, calm):
            each.go(price)
        history.append(at_now(world, world.exchange.position))
        for _ in range(chance.randrange(4)):
            event = chance.choice(history[-5:])
            if chance.random() < 0.2:
                event = at_now(world, chance.randrange(-3, 4))
            world.exchange.tell(event)
        for each in (world, calm):
            live_on(each, 1)
    assert world.grid.position == world.exchange.position == calm.grid.position
    assert not world.engine.frozen
    assert sorted((o.side.value, o.price) for o in world.own()) == sorted(
        (o.side.value, o.price) for o in calm.own()
    )
    assert looks(world) <= 60 / PAUSE_S + 1
