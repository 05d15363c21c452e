"""A start while the symbol is closed, settled or off the list: up, frozen, and trying on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from grid_world import SYMBOL, World, make_instrument, make_settings

from core.errors import (
    ExchangeError,
    Rejected,
    RejectReason,
    Retryable,
    Unavailable,
    UnknownSymbol,
)
from core.market_state import MarketReport, MarketState
from core.model import RunState
from strategies import known_instrument
from strategies.market_watch import MarketWatch
from strategies.snapshots import build

GONE = Rejected(RejectReason.OTHER, "-1121 Invalid symbol.")
NO_BOOK = ExchangeError("depth: both sides are empty")
UNKNOWN = UnknownSymbol("strategy_config.symbol: was 'X', expected one that is traded")


class Book:
    """The exchange's word on the symbol."""

    def __init__(self, state: MarketState) -> None:
        self.state = state

    def fetch_market_state(self, symbol: str) -> MarketReport:
        assert symbol == SYMBOL
        return MarketReport(state=self.state, told=self.state.name)


def refusing(**errors: Exception) -> Callable[[str], None]:
    """Answer each of these calls with its error."""

    def on_call(what: str) -> None:
        if what in errors:
            raise errors[what]

    return on_call


def begin(world: World, book: Book, **errors: Exception) -> None:
    """Start another process on the same ledger and exchange."""
    world.crash()
    world.engine = world._new_engine()
    world.engine.market_watch = MarketWatch(book)
    world.exchange.on_call = refusing(**errors)
    world.boot()


def live_on(world: World, seconds: int) -> None:
    for _ in range(seconds):
        world.clock.advance(1.0)
        world.settle()


def held_world() -> World:
    """A grid with one lot, whose exit ended with the settlement."""
    world = World(make_settings(interval_s=60.0), 105).go(104)
    for order in world.exchange.open:
        world.exchange.end(order.client_order_id)
    return world


def failing(world: World) -> list[str]:
    return [check.name for check in build(world.engine, 1).checks if not check.ok]


@pytest.mark.parametrize(
    "errors",
    [
        {},
        {"quote": NO_BOOK},
        {"instrument": UNKNOWN, "quote": NO_BOOK},
        {"instrument": GONE, "quote": GONE},
    ],
)
def test_a_held_symbol_that_closed_is_up_and_waits(errors: dict[str, Exception]) -> None:
    """Ready, healthy, told once, nothing sent; when it trades again the grid is laid again."""
    world, book = held_world(), Book(MarketState.CLOSED)
    begin(world, book, **errors)
    live_on(world, 70)
    assert world.engine.state is RunState.RUNNING
    assert failing(world) == []
    assert "CLOSED" in world.engine.frozen["market"]
    assert sum("closed" in alert for alert in world.engine.alerts) == 1
    assert world.exchange.open == []
    world.exchange.on_call = None
    book.state = MarketState.OPEN
    world.exchange.tell(world.exchange.quote())
    live_on(world, 40)
    assert not world.engine.frozen
    assert len(world.exchange.open) == 10


def test_what_answers_nothing_at_all_of_the_symbol_is_asked_again() -> None:
    """Every call about it is refused: up all the same, and it goes on when one is answered."""
    world, book = held_world(), Book(MarketState.CLOSED)
    calls = ("instrument", "quote", "open_orders", "order", "fills", "funding", "position")
    begin(world, book, **dict.fromkeys(calls, GONE))
    live_on(world, 40)
    assert world.engine.state is RunState.RUNNING
    assert not world.engine.synced
    assert failing(world) == []
    assert "Invalid symbol" in world.engine.frozen["closed"]
    world.exchange.on_call = None
    book.state = MarketState.OPEN
    live_on(world, 40)
    assert not world.engine.frozen
    assert len(world.exchange.open) == 10


def test_an_unknown_symbol_is_for_good_where_nothing_was_traded() -> None:
    """Without a ledger of it there is nothing to wait for: the operator's config is wrong."""
    world = World(make_settings(), 105, boot=False)
    with pytest.raises(UnknownSymbol):
        begin(world, Book(MarketState.CLOSED), instrument=UNKNOWN)


def test_another_symbols_limits_are_not_taken() -> None:
    """The ledger's instrument counts for its own symbol alone, and only while that is closed."""
    world = held_world()
    with pytest.raises(UnknownSymbol):
        begin(world, Book(MarketState.OPEN), instrument=UNKNOWN)
    other = replace(make_instrument(), symbol="OTHER")
    world.store.save_meta(known_instrument.KEY, known_instrument.encode(other))
    with pytest.raises(UnknownSymbol):
        begin(world, Book(MarketState.CLOSED), instrument=UNKNOWN)


def test_an_exchange_in_maintenance_is_no_failure_to_start() -> None:
    """It says so itself: up, everything waits, and the grid is laid when it is over."""
    world = World(make_settings(interval_s=60.0), 105, boot=False)
    down = Unavailable("MAINTENANCE System under maintenance", 15.0)
    begin(world, Book(MarketState.OPEN), instrument=down, quote=down)
    live_on(world, 20)
    assert world.engine.state is RunState.RUNNING
    assert failing(world) == []
    assert "MAINTENANCE" in world.engine.frozen["closed"]
    world.exchange.on_call = None
    live_on(world, 20)
    assert not world.engine.frozen
    assert len(world.exchange.open) == 10


def test_silence_is_a_failure_to_start_whatever_the_book_said() -> None:
    """An exchange that cannot be reached is not taken for one that is closed."""
    world = held_world()
    begin(world, Book(MarketState.CLOSED), quote=Retryable("no answer"))
    live_on(world, 5)
    assert world.engine.state is RunState.STARTING
    assert failing(world) == ["exchange"]


def test_the_kept_limits_are_the_same_ones() -> None:
    """Exact decimals, and what is no such text is none."""
    instrument = replace(
        make_instrument(),
        max_quantity=Decimal("1E+6"),
        max_open_orders=200,
        liquidation_fee=Decimal(0),
    )
    text = known_instrument.encode(instrument)
    assert known_instrument.decode(text) == instrument
    assert known_instrument.encode(known_instrument.decode(text) or instrument) == text
    for broken in ("", "[]", "{}", '{"symbol": 1}', text.replace("0.0002", "x")):
        assert known_instrument.decode(broken) is None
