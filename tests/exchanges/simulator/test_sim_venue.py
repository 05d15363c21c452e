"""The exchange behind both protocols, without a server: properties over random histories."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.model import Instrument, OrderStatus, Side
from exchanges.simulator.faults import Faults
from exchanges.simulator.limits import Listing, PriceBand
from exchanges.simulator.past import INTERVALS, Past
from exchanges.simulator.records import (
    Draft,
    Event,
    Exit,
    FundingEvent,
    OrderChange,
    OrderEvent,
    PositionEvent,
    Refused,
    Trigger,
    Why,
)
from exchanges.simulator.tape import Tape
from exchanges.simulator.venue import Venue

pytestmark = pytest.mark.slow

D = Decimal
SYMBOLS = ("SOL_USDC_PERP", "ETH_USDC_PERP")
NOW_US = 1_795_700_000_000_000


def listing(symbol: str, max_open_orders: int = 50) -> Listing:
    instrument = Instrument(
        symbol=symbol,
        base_asset=symbol[:3],
        quote_asset="USDC",
        tick_size=D("0.01"),
        lot_size=D("0.001"),
        min_quantity=D("0.001"),
        min_notional=D(5),
        maker_fee=D("0.0002"),
        taker_fee=D("0.0005"),
        liquidation_fee=D("0.0005"),
        max_open_orders=max_open_orders,
    )
    band = PriceBand(low=D("0.1"), high=D(10), is_aggressive=False)
    return Listing(instrument=instrument, min_price=D("0.01"), max_price=D(10**6), band=band)


def make_venue(
    partial: float = 0, seed: int = 0, balance: int = 100_000, leverage: int = 10
) -> Venue:
    faults = Faults(seed)
    assert faults.merge({"partial_fill": partial}) == []
    return Venue(
        [listing(symbol) for symbol in SYMBOLS],
        balance=D(balance),
        leverage=leverage,
        price=D(150),
        faults=faults,
        seed=seed,
        now_us=NOW_US,
        shrinks=seed % 3 != 0,
    )


def draft(
    side: Side, price: str | None, quantity: str = "1", symbol: str = SYMBOLS[0], **more: Any
) -> Draft:
    fixed = None if price is None else D(price)
    return Draft(symbol=symbol, side=side, price=fixed, quantity=D(quantity), **more)


class Witness:
    """Books every event by itself, and holds it against the venue."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.positions = dict.fromkeys(SYMBOLS, D(0))
        self.cash = D(0)
        self.filled: dict[int, Decimal] = {}
        self.trades: set[int] = set()
        self.ended: set[int] = set()
        self.accepted: set[int] = set()
        self.waiting: set[int] = set()
        venue.tell = self.hear

    def hear(self, event: Event) -> None:
        if isinstance(event, FundingEvent):
            self.cash += event.payment.amount
        elif isinstance(event, OrderEvent):
            number = event.order.number
            assert number not in self.ended, "an order that has ended is told of no more"
            if event.change is OrderChange.WAITING:
                assert event.order.is_waiting
                self.waiting.add(number)
                return
            if event.change is OrderChange.ACCEPTED:
                assert number not in self.accepted
                self.accepted.add(number)
            else:
                is_known = number in self.accepted or number in self.waiting
                assert is_known, "accepted comes first"
            if event.fill is not None:
                fill = event.fill.fill
                assert event.fill.number not in self.trades
                self.trades.add(event.fill.number)
                self.positions[fill.symbol] += fill.signed_quantity
                self.cash -= fill.signed_quantity * fill.price + fill.fee
                self.filled[number] = self.filled.get(number, D(0)) + fill.quantity
                assert event.order.filled == self.filled[number] <= event.order.quantity
            if event.order.status.is_terminal:
                self.ended.add(number)
        elif isinstance(event, PositionEvent):
            is_flat = self.positions[event.symbol] == 0
            assert (event.change == "closed") == is_flat

    def check(self) -> None:
        venue = self.venue
        for symbol, market in venue.markets.items():
            assert market.account.position == self.positions[symbol]
            resting = {int(key) for key in market.book.orders}
            entered = [order for order in venue.open_orders(symbol) if not order.is_waiting]
            assert resting == {order.number for order in entered}
            for order in entered:
                engine = market.book.orders[str(order.number)]
                assert (engine.filled_qty, engine.quantity) == (order.filled, order.quantity)
                if order.reduce_only:
                    assert order.side.sign * market.account.position < 0
        worth = sum((self.positions[s] * market.last for s, market in venue.markets.items()), D(0))
        assert venue.portfolio.equity == venue.portfolio.initial + self.cash + worth
        gained = sum((known.realized for known in venue.fills), D(0))
        fees = sum((known.fill.fee for known in venue.fills), D(0))
        paid = sum((event.payment.amount for event in venue.funding), D(0))
        assert venue.portfolio.wallet == venue.portfolio.initial + gained - fees + paid
        for order in venue.orders.values():
            assert order.filled == self.filled.get(order.number, D(0))
            assert (order.status is OrderStatus.FILLED) == (order.filled == order.quantity)
            assert order.is_open == (order.number not in self.ended)


def test_a_reduce_only_order_shrinks_to_what_the_position_covers() -> None:
    """The older one whole, the newer one by what is missing; then it fills at its new quantity."""
    venue = make_venue(seed=1)
    told: list[tuple[OrderChange, Decimal]] = []
    venue.place(draft(Side.BUY, None, "3"))
    older = venue.place(draft(Side.SELL, "151", "1", reduce_only=True))
    newer = venue.place(draft(Side.SELL, "151", "2", reduce_only=True))
    venue.tell = lambda event: (
        told.append((event.change, event.order.quantity)) if isinstance(event, OrderEvent) else None
    )
    venue.place(draft(Side.SELL, None, "1.5"))
    assert told[-1] == (OrderChange.SHRUNK, D("0.5"))
    assert (older.quantity, newer.quantity, newer.status) == (1, D("0.5"), OrderStatus.NEW)
    venue.move(SYMBOLS[0], D(152))
    assert (newer.status, newer.filled) == (OrderStatus.FILLED, D("0.5"))
    assert venue.markets[SYMBOLS[0]].account.position == 0


def test_without_that_rule_it_expires_whole() -> None:
    venue = make_venue(seed=0)
    venue.place(draft(Side.BUY, None, "3"))
    resting = venue.place(draft(Side.SELL, "151", "2", reduce_only=True))
    venue.place(draft(Side.SELL, None, "1.5"))
    assert (resting.status, resting.quantity) == (OrderStatus.EXPIRED, 2)


ticks = st.integers(14_800, 15_200).map(lambda n: str(D(n) / 100))
lots = st.integers(40, 400_000).map(lambda n: str(D(n) / 1_000))
step = st.one_of(
    st.tuples(
        st.just("place"),
        st.sampled_from(SYMBOLS),
        st.sampled_from(Side),
        st.one_of(st.none(), ticks),
        lots,
        st.sampled_from(["GTC", "GTC", "GTC", "IOC", "FOK"]),
        st.sampled_from([False, False, False, True]),  # post-only
        st.sampled_from([False, False, False, True]),  # reduce-only
    ),
    st.tuples(st.just("move"), st.sampled_from(SYMBOLS), ticks),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("fund"), st.sampled_from(SYMBOLS), st.integers(-100, 100)),
    st.tuples(st.just("rest"), st.sampled_from(SYMBOLS)),
)


def carry_out(venue: Venue, number: int, wish: Any, seed: int) -> None:
    """One step; what is refused leaves no order behind."""
    kind, *values = wish
    venue.now_us += 1_000
    if kind == "place":
        symbol, side, price, quantity, tif, post_only, reduce_only = values
        order = draft(
            side,
            price,
            quantity,
            symbol,
            tif=tif,
            post_only=post_only and price is not None and tif == "GTC",
            reduce_only=reduce_only,
            client_id=str(number),
            expires_crossing=seed % 2 == 0,
        )
        before = len(venue.orders)
        try:
            venue.place(order)
        except Refused:
            assert len(venue.orders) == before
    elif kind == "move":
        venue.move(values[0], D(values[1]))
        assert venue.markets[values[0]].last == D(values[1])
    elif kind == "cancel":
        resting = venue.open_orders()
        if resting:
            venue.cancel(resting[values[0] % len(resting)])
    elif kind == "fund":
        venue.fund(values[0], D(values[1]) / 10_000)
    else:
        venue.fill_on(values[0])
        assert not venue.waiting(values[0])


@settings(max_examples=60)
@given(
    steps=st.lists(step, min_size=30, max_size=50),
    partial=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 9),
)
def test_the_ledger_always_adds_up(steps: list[Any], partial: float, seed: int) -> None:
    """Fills, orders, positions, wallet and equity agree after every step, to the last digit."""
    venue = make_venue(partial, seed)
    witness = Witness(venue)
    for number, wish in enumerate(steps):
        carry_out(venue, number, wish, seed)
        witness.check()


@pytest.mark.parametrize("seed", range(4))
def test_a_long_history_adds_up(seed: int) -> None:
    """The same over hundreds of steps, with positions that open, shrink, flip and close."""
    chance = Random(seed)
    venue = make_venue(partial=(0, 0.5)[seed % 2], seed=seed)
    witness = Witness(venue)
    for number in range(400):
        symbol = chance.choice(SYMBOLS)
        price = str(D(chance.randint(14_800, 15_200)) / 100)
        kind = chance.choice(["place", "place", "place", "move", "move", "cancel", "fund", "rest"])
        wish: tuple[Any, ...] = {
            "place": (
                symbol,
                chance.choice(list(Side)),
                chance.choice([None, price, price]),
                str(D(chance.randint(40, 40_000)) / 1_000),
                chance.choice(["GTC", "GTC", "IOC", "FOK"]),
                chance.random() < 0.2,
                chance.random() < 0.2,
            ),
            "move": (symbol, price),
            "cancel": (number,),
            "fund": (symbol, chance.randint(-100, 100)),
            "rest": (symbol,),
        }[kind]
        carry_out(venue, number, (kind, *wish), seed)
        witness.check()
    assert sum(bool(known.realized) for known in venue.fills) > 30
    assert any(event.payment.amount > 0 for event in venue.funding)


@given(prices=st.lists(ticks, min_size=1, max_size=15), seed=st.integers(0, 99))
def test_parts_sum_to_the_whole(prices: list[str], seed: int) -> None:
    """However it was filled in part, an order that the price has passed and left fills exactly."""
    venue = make_venue(partial=1, seed=seed)
    Witness(venue)
    order = venue.place(draft(Side.BUY, "149.5", "3"))
    for price in prices:
        venue.move(SYMBOLS[0], D(price))
    venue.move(SYMBOLS[0], D(149))
    venue.fill_on(SYMBOLS[0])
    assert order.status is OrderStatus.FILLED
    assert sum(known.fill.quantity for known in venue.fills) == 3
    assert all(known.fill.price == D("149.5") for known in venue.fills)


@pytest.mark.parametrize("seed", range(3))
def test_triggers_fire_once_and_the_ledger_adds_up(seed: int) -> None:
    """Each waits until the price comes to it, enters the book once, and is booked as any order."""
    chance = Random(seed)
    venue = make_venue(partial=0.5, seed=seed)
    witness = Witness(venue)
    waiting: dict[int, Trigger] = {}
    for _ in range(200):
        venue.now_us += 1_000
        symbol, last = SYMBOLS[0], venue.markets[SYMBOLS[0]].last
        price = D(chance.randint(14_800, 15_200)) / 100
        if chance.random() < 0.5 and price != last and len(waiting) < 10:
            trigger = Trigger(price=price, is_above=price > last)
            fixed = chance.choice([None, str(price)])
            order = venue.wait(draft(chance.choice(list(Side)), fixed, "2", trigger=trigger))
            waiting[order.number] = trigger
        else:
            venue.move(symbol, price)
            for number, trigger in tuple(waiting.items()):
                if trigger.is_reached(price):
                    assert not venue.orders[number].is_waiting
                    del waiting[number]
        assert all(venue.orders[number].is_waiting for number in waiting)
        witness.check()
    assert len(venue.fills) > 20
    assert sum(order.triggered_us is not None for order in venue.orders.values()) > 20


def test_an_exit_that_the_price_has_passed_takes_at_once_and_none_is_lost() -> None:
    """More exits than conditional orders may wait; a move beyond entry and stop closes at once."""
    venue, symbol = make_venue(), SYMBOLS[0]
    stop = Exit(trigger=Trigger(price=D(145), is_above=False), limit=None, by=None)
    for _ in range(12):
        venue.place(draft(Side.BUY, None, "1", exits=(stop,)))
    assert len(venue.open_orders()) == 12
    venue.place(draft(Side.BUY, "146", "1", exits=(stop,)))
    venue.move(symbol, D(144))
    assert venue.open_orders() == []
    assert venue.markets[symbol].account.position == 0


@pytest.mark.parametrize("seed", range(4))
def test_exits_never_open_a_position_and_the_ledger_adds_up(seed: int) -> None:
    """Orders with a stop loss and a take profit, filled in part or whole, on a wandering price."""
    chance, symbol = Random(seed), SYMBOLS[0]
    venue = make_venue(partial=(0, 0.5)[seed % 2], seed=seed)
    witness = Witness(venue)
    for _ in range(300):
        venue.now_us += 1_000
        last, side = venue.markets[symbol].last, chance.choice(list(Side))
        loss, gain = (last - side.sign * 2, last + side.sign * 2)
        exits = tuple(
            Exit(trigger=Trigger(price=price, is_above=price > last), limit=None, by=None)
            for price in (loss, gain)
        )
        if chance.random() < 0.3:
            with suppress(Refused):
                venue.place(draft(side, str(last - side.sign), "1", exits=exits))
        else:
            venue.move(symbol, last + D(chance.randint(-200, 200)) / 100)
        witness.check()
    ended = [order for order in venue.orders.values() if order.related is not None]
    assert {order.status for order in ended} >= {OrderStatus.FILLED, OrderStatus.CANCELED}
    assert all(order.reduce_only for order in ended)


def test_two_symbols_share_one_margin() -> None:
    """What one symbol's orders hold back, the other cannot use."""
    venue = make_venue(balance=1_000, leverage=10)
    venue.place(draft(Side.BUY, "150", "40"))
    with pytest.raises(Refused) as refused:
        venue.place(draft(Side.BUY, "149", "40", SYMBOLS[1]))
    assert refused.value.why is Why.MARGIN
    venue.place(draft(Side.BUY, "149", "20", SYMBOLS[1]))
    assert venue.portfolio.available < 110


def test_a_loss_on_one_symbol_liquidates_by_the_whole() -> None:
    """The other symbol's gain counts: with it the position lives, without it it is closed."""
    for gains in (True, False):
        venue = make_venue(balance=1_000, leverage=10)
        venue.place(draft(Side.BUY, None, "40"))
        if gains:
            venue.place(draft(Side.SELL, None, "20", SYMBOLS[1]))
            venue.move(SYMBOLS[1], D(100))
        venue.move(SYMBOLS[0], D(120))
        assert (venue.markets[SYMBOLS[0]].account.position != 0) is gains


def test_the_limit_of_open_orders() -> None:
    venue = make_venue()
    for index in range(50):
        venue.place(draft(Side.BUY, str(100 + index)))
    with pytest.raises(Refused) as refused:
        venue.place(draft(Side.BUY, "149.5"))
    assert refused.value.why is Why.TOO_MANY_ORDERS


# The public record -----------------------------------------------------------------------------


def make_past(seed: int = 1) -> Past:
    return Past(seed=seed, symbol="S", end_price=D(150), tick=D("0.01"), now_ms=NOW_US // 1000)


@pytest.mark.parametrize("interval", list(INTERVALS))
def test_candles_are_whole_in_every_interval(interval: str) -> None:
    """High and low bound open and close; each begins where the one before ended."""
    tape = Tape(make_past(), NOW_US // 1000)
    length = INTERVALS[interval] or 31 * 86_400_000
    candles = tape.candles(interval, NOW_US // 1000 - 20 * length, NOW_US // 1000, 1_000)
    assert len(candles) in range(18, 24)
    for candle in candles:
        bar = candle.bar
        assert bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
        assert bar.volume >= 0
    for before, after in pairwise(candles):
        assert before.end_ms == after.start_ms
        assert before.bar.close == after.bar.open
    assert candles[-1].bar.close == 150


def test_the_past_is_the_seeds() -> None:
    """The same candles at any time, others by another seed, none before the listing."""
    tapes = [Tape(make_past(seed), NOW_US // 1000) for seed in (1, 1, 2)]
    when = NOW_US // 1000 - 86_400_000
    drawn = [tape.candles("1m", when, NOW_US // 1000, 10) for tape in tapes]
    assert drawn[0] == drawn[1] != drawn[2]
    assert tapes[0].candles("1d", 0, make_past().listed_ms - 1, 10) == []


def test_quiet_minutes_are_flat_and_present() -> None:
    """A candle for every minute, traded or not, and one that is being drawn."""
    tape = Tape(make_past(), NOW_US // 1000)
    later = NOW_US // 1000 + 5 * 60_000
    tape.price(D(160), later)
    candles = tape.candles("1m", NOW_US // 1000, later, 10)
    assert [candle.bar.close for candle in candles] == [150, 150, 150, 150, 160]
    assert candles[-1].bar.high == 160
    assert tape.day(later).high == 160


def test_a_minute_that_nothing_touched_has_its_candle() -> None:
    """The candle of this minute was missing until the price moved: `limit=3` got two rows."""
    tape = Tape(make_past(), NOW_US // 1000)
    later = NOW_US // 1000 + 3 * 60_000
    candles = tape.candles("1m", later - 3 * 60_000, later, 10)
    assert [candle.bar.close for candle in candles] == [150, 150, 150]
