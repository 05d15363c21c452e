"""A market that takes no orders: what waits, what is told, and how it goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import Fault
from grid_world import SYMBOL, World, make_settings

from core.errors import ExchangeError, Rejected, RejectReason, Unavailable
from core.market_state import MarketReport, MarketState
from core.model import Order, OrderStatus, Side
from strategies.market_watch import MarketWatch


class Book:
    """The exchange's word on the symbol, and how often it was asked."""

    def __init__(self) -> None:
        self.state = MarketState.OPEN
        self.fault: ExchangeError | None = None
        self.asked = 0

    def fetch_market_state(self, symbol: str) -> MarketReport:
        assert symbol == SYMBOL
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        return MarketReport(state=self.state, told=self.state.name)


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def world(book: Book) -> World:
    world = World(make_settings(interval_s=60.0), 105, boot=False)
    world.engine.market_watch = MarketWatch(book)
    return world


def live_on(world: World, seconds: int) -> None:
    for _ in range(seconds):
        world.clock.advance(1.0)
        world.settle()


def exits_of(world: World) -> list[Order]:
    """What closes the lot that was bought at 104."""
    return [o for o in world.own() if o.side is Side.SELL and o.price == 105]


def frozen(world: World) -> str:
    return world.engine.frozen.get("market", "")


@pytest.mark.parametrize("state", [s for s in MarketState if s is not MarketState.OPEN])
def test_at_a_start_nothing_enters_a_book_that_is_not_open(
    world: World, book: Book, state: MarketState
) -> None:
    """Whatever its state: no order, one alert, the words in the status; then it goes on."""
    book.state = state
    world.boot()
    live_on(world, 100)
    assert world.own() == []
    assert state.name in frozen(world)
    assert sum(state.value in alert for alert in world.engine.alerts) == 1
    assert 3 <= book.asked <= 5
    book.state = MarketState.OPEN
    live_on(world, 31)
    assert len(world.own()) == 10
    assert not world.engine.frozen
    assert "trades again" in world.engine.alerts[-1]
    assert world.severity_of("trades again") == "info"


@pytest.mark.parametrize(
    ("state", "exits"),
    [
        (MarketState.POST_ONLY, 1),
        (MarketState.CLOSING, 1),
        (MarketState.CANCEL_ONLY, 0),
        (MarketState.CLOSED, 0),
        (MarketState.MAINTENANCE, 0),
    ],
)
def test_exits_go_as_the_state_allows(
    world: World, book: Book, state: MarketState, exits: int
) -> None:
    """A lot is held, its exit was ended by the exchange: it is laid again where it may rest."""
    world.boot().go(104)
    (closing,) = exits_of(world)
    book.state = state
    live_on(world, 601)
    assert state.name in frozen(world)
    world.exchange.end(closing.client_order_id, OrderStatus.CANCELED)
    live_on(world, 65)
    assert len(exits_of(world)) == exits
    assert len([o for o in world.own() if o.side is Side.BUY]) == 4  # entries that rest stay


def test_a_market_that_trades_is_looked_at_seldom(world: World, book: Book) -> None:
    """Once at the start, then every ten minutes."""
    world.boot()
    live_on(world, 1250)
    assert book.asked == 3


def test_a_refusal_stops_entries_until_the_next_look(world: World, book: Book) -> None:
    """The exchange takes no such order: frozen at once, looked at after 30 s, then tried again."""
    world.boot()
    world.exchange.place_faults.append(Fault(error=Rejected(RejectReason.MARKET, "paused")))
    world.go(104)
    assert "takes no such orders" in world.engine.alerts[-1]
    placed = len(world.exchange.requests)
    live_on(world, 20)
    assert world.exchange.requests[placed:] == []
    live_on(world, 15)
    assert not world.engine.frozen
    assert len(exits_of(world)) == 1


def test_a_look_that_fails_is_made_again(world: World, book: Book) -> None:
    """No answer says nothing of the book: it stays as it was."""
    book.fault = Unavailable("down")
    world.boot()
    assert len(world.own()) == 10
    book.fault = None
    live_on(world, 31)
    assert book.asked == 2


def test_an_order_that_ended_unheard_is_laid_again() -> None:
    """A look at all orders finds it gone while the price stands still: it used to stay away."""
    world = World(make_settings(interval_s=60.0), 105).go(104)
    (closing,) = exits_of(world)
    world.exchange.end(closing.client_order_id, OrderStatus.CANCELED)
    live_on(world, 65)
    assert len(exits_of(world)) == 1


def test_a_liquidation_that_is_told_without_a_trade_is_looked_for(world: World) -> None:
    """Its fill is read by REST at once: the lots are closed, and nothing is frozen."""
    world.boot().go(103)
    held = world.exchange.position
    assert held == 2
    world.exchange.deliver = lambda _fill: "hidden"
    forced = world.exchange.add_foreign(Side.SELL, 110, "liquidation:9")
    order = world.exchange.orders[forced]
    world.exchange.fill(forced, held)
    world.exchange.tell(replace(order, status=OrderStatus.FILLED, filled_qty=held))
    world.settle()
    assert world.grid.position == world.exchange.position
    assert world.severity_of("closed from outside") == "critical"
    assert "position" not in world.engine.frozen
