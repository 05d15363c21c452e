"""The paper exchange as client and feed: replies, pace, persistence, and what fails."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from paper_world import (
    START,
    SYMBOL,
    D,
    FlakyStore,
    ToyGrid,
    TurnedClock,
    paper,
    request,
    rules,
    write_candles,
    write_path,
)

from core.errors import ConfigError, Rejected, RejectReason, Retryable
from core.model import (
    FeedEnd,
    Fill,
    FundingPayment,
    MarketEvent,
    Order,
    OrderStatus,
    Quote,
    Side,
)
from exchanges.paper import VERTICES_PER_POLL, PaperExchange
from exchanges.price_feed import CandleSource
from exchanges.synthetic_feed import SyntheticSource

BUY, SELL = Side.BUY, Side.SELL


def over(path: Path, prices: Sequence[object]) -> CandleSource:
    return CandleSource(write_path(path / "prices.csv", prices))


def drain(exchange: PaperExchange) -> list[MarketEvent]:
    """All events up to the end of the data."""
    events: list[MarketEvent] = []
    while not (events and isinstance(events[-1], FeedEnd)):
        events.extend(exchange.poll())
    return events


def ignore(event: MarketEvent) -> None:
    """A pulled feed posts nothing."""
    raise AssertionError(event)


def fills_of(events: Sequence[MarketEvent]) -> list[tuple[str, str]]:
    return [(e.client_order_id, str(e.price)) for e in events if isinstance(e, Fill)]


def one(outcomes: Sequence[object]) -> Order:
    (order,) = outcomes
    assert isinstance(order, Order), order
    return order


def test_a_new_account_knows_price_limits_and_balance(tmp_path: Path) -> None:
    """Before the first poll: the first candle's open, the instrument, the balance, no position."""
    exchange = paper(over(tmp_path, [100, 101]))
    quote = exchange.fetch_quote(SYMBOL)
    assert quote.bid == quote.ask == quote.last == quote.mark == 100
    assert exchange.name == "paper"
    assert exchange.fetch_instrument(SYMBOL).maker_fee == D("0.0002")
    assert exchange.fetch_position(SYMBOL).quantity == 0
    assert exchange.fetch_position(SYMBOL).entry_price is None
    balance = exchange.fetch_balance()
    assert (balance.asset, balance.wallet, balance.equity, balance.available) == (
        "USDC",
        *[D(100_000)] * 3,
    )
    assert exchange.age_s() is None
    exchange.poll()
    assert exchange.age_s() == 0.0
    with pytest.raises(ConfigError, match="symbol: was 'X', expected 'BTC_USDC_PERP'"):
        exchange.fetch_quote("X")


def test_answer_to_a_fill_takes_part_in_the_rest_of_the_line(tmp_path: Path) -> None:
    """Down to 90 in one line: the fill at 97 is told at 97, and a buy placed then fills at 95."""
    exchange = paper(over(tmp_path, [100, 90]))
    exchange.place_orders([request("one", BUY, 97)])
    for _ in range(4):
        assert [q.last for q in exchange.poll() if isinstance(q, Quote)] == [100]
    told = exchange.poll()
    assert [type(event) for event in told] == [Fill, Quote]
    assert isinstance(told[1], Quote)
    assert told[1].last == 97
    exchange.place_orders([request("two", BUY, 95), request("answer", SELL, 98, post_only=True)])
    assert fills_of(drain(exchange)) == [("two", "95")]
    assert [order.client_order_id for order in exchange.fetch_open_orders(SYMBOL)] == ["answer"]
    position = exchange.fetch_position(SYMBOL)
    assert (position.quantity, position.entry_price) == (D(2), D(96))


def test_orders_are_known_for_good(tmp_path: Path) -> None:
    """Working, filled, cancelled, expired; None only for what never was; an id is used once."""
    exchange = paper(over(tmp_path, [100, 90]))
    exchange.place_orders(
        [request("f", BUY, 95), request("c", BUY, 80), request("e", BUY, 85, ioc=True)]
    )
    ended = one(exchange.cancel_orders([one([exchange.fetch_order(SYMBOL, "c")])]))
    assert ended.status is OrderStatus.CANCELED
    drain(exchange)
    states = {name: exchange.fetch_order(SYMBOL, name) for name in ("f", "c", "e", "never")}
    assert {name: order and order.status for name, order in states.items()} == {
        "f": OrderStatus.FILLED,
        "c": OrderStatus.CANCELED,
        "e": OrderStatus.EXPIRED,
        "never": None,
    }
    for name in ("f", "c", "e"):
        (refused,) = exchange.place_orders([request(name, BUY, 70)])
        assert isinstance(refused, Rejected)
        assert refused.reason is RejectReason.DUPLICATE_ID
    twice = exchange.place_orders([request("n", BUY, 70), request("n", BUY, 71)])
    assert isinstance(twice[0], Order)
    assert isinstance(twice[1], Rejected)


def test_each_request_of_a_batch_has_its_own_outcome(tmp_path: Path) -> None:
    """In order, the refused beside the accepted; ids and counters skip nothing."""
    exchange = paper(over(tmp_path, [100]))
    outcomes = exchange.place_orders(
        [request("a", BUY, 90), request("b", BUY, "90.5"), request("c", SELL, 110)]
    )
    assert [getattr(o, "venue_order_id", None) for o in outcomes] == ["P1", None, "P2"]


def test_cancel_answers_the_terminal_order_or_not_found(tmp_path: Path) -> None:
    """A cancel that lost the race gets the FILLED order, a second one the CANCELED one."""
    exchange = paper(over(tmp_path, [100, 90]))
    filled, cancelled = exchange.place_orders([request("f", BUY, 95), request("c", BUY, 80)])
    assert isinstance(filled, Order)
    assert isinstance(cancelled, Order)
    drain(exchange)
    answers = exchange.cancel_orders([filled, cancelled, cancelled])
    assert [getattr(a, "status", None) for a in answers] == [
        OrderStatus.FILLED,
        OrderStatus.CANCELED,
        OrderStatus.CANCELED,
    ]
    unknown = one(paper(over(tmp_path, [100])).place_orders([request("x", BUY, 90)]))
    (answer,) = exchange.cancel_orders([unknown])
    assert isinstance(answer, Rejected)
    assert answer.reason is RejectReason.NOT_FOUND
    assert exchange.fetch_open_orders(SYMBOL) == ()


def test_taking_is_answered_at_once_and_told_by_the_feed(tmp_path: Path) -> None:
    """The reply says FILLED; the fill comes with the next poll, once, and is in `fetch_fills`."""
    exchange = paper(over(tmp_path, [100, 100, 100]), speed=1)
    exchange.poll()
    assert one(exchange.place_orders([request("t", BUY, 105)])).status is OrderStatus.FILLED
    assert exchange.next_due() == 1000.0
    assert fills_of(exchange.poll()) == [("t", "100")]
    assert exchange.poll() == ()
    assert fills_of(exchange.fetch_fills(SYMBOL, None)) == [("t", "100")]


def test_pace_follows_the_clock(tmp_path: Path) -> None:
    """At speed 60 a minute's candle takes a second, a quarter for a corner; a gap takes none."""
    path = tmp_path / "c.csv"
    path.write_text(
        "timestamp_ms,open,high,low,close,volume\n0,10,12,9,11,1\n60000,11,14,8,13,1\n"
        "86400000,13,16,12,15,1\n"
    )
    clock = TurnedClock()
    exchange = paper(CandleSource(path), clock=clock, speed=60, with_rules=rules())
    seen: list[tuple[float, int]] = []
    due = exchange.next_due()
    while due is not None:
        clock.seconds = max(clock.seconds, due - 1000)
        for event in exchange.poll():
            if isinstance(event, Quote):
                seen.append((clock.seconds, int(event.last)))
        due = exchange.next_due()
    assert seen == [
        (0.0, 10),
        (0.25, 9),
        (0.5, 12),
        (0.75, 11),
        (1.0, 11),
        (1.25, 8),
        (1.5, 14),
        (1.75, 13),
        (2.0, 13),
        (2.25, 12),
        (2.5, 16),
        (2.75, 15),
    ]


def test_nothing_comes_before_it_is_due(tmp_path: Path) -> None:
    """Polled early it is empty, and `next_due` says when; polled late it catches up in order."""
    clock = TurnedClock()
    exchange = paper(over(tmp_path, [100, 101, 102]), clock=clock, speed=1)
    assert len(exchange.poll()) == 1
    assert exchange.poll() == ()
    assert exchange.next_due() == 1015.0
    clock.seconds = 14.9
    assert exchange.poll() == ()
    clock.seconds = 300.0
    late = drain(exchange)
    assert [q.last for q in late if isinstance(q, Quote)] == [100] * 3 + [101] * 4 + [102] * 4
    assert isinstance(late[-1], FeedEnd)


def test_end_is_told_once_and_again_after_a_restart(tmp_path: Path) -> None:
    """FeedEnd, then nothing, `next_due` None; a restart on the same data tells it again."""
    source, store = over(tmp_path, [100, 101]), FlakyStore()
    exchange = paper(source, store)
    assert sum(isinstance(event, FeedEnd) for event in drain(exchange)) == 1
    assert (exchange.poll(), exchange.next_due()) == ((), None)
    exchange.close()
    again = paper(source, store)
    again.start(ignore)
    assert [type(event) for event in again.poll()] == [FeedEnd]
    assert (again.poll(), again.next_due()) == ((), None)
    assert again.fetch_quote(SYMBOL).last == 101


def test_funding_is_paid_after_the_fills_of_its_close(tmp_path: Path) -> None:
    """At the close of the candle that has its stamp, on the position after a fill there."""
    path = write_candles(tmp_path / "c.csv", [(100, 100, 100, 100), (100, 100, 95, 95)])
    exchange = paper(CandleSource(path, ((60_000, D("0.001")), (999_999, D("0.5")))))
    exchange.place_orders([request("b", BUY, 95, 2)])
    events = drain(exchange)
    kinds = [type(e) for e in events if not isinstance(e, Quote)]
    assert kinds == [Fill, FundingPayment, FeedEnd]
    (payment,) = exchange.fetch_funding(SYMBOL, None)
    assert payment in events
    assert (payment.amount, payment.position) == (-2 * 95 * D("0.001"), D(2))
    assert payment.time.timestamp() == 60
    assert exchange.fetch_funding(SYMBOL, payment.time + timedelta(seconds=1)) == ()
    balance = exchange.fetch_balance()
    assert balance.equity == 100_000 - 190 * D("0.0002") + payment.amount


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    """Placing, cancelling, walking into a fill: Retryable, no trace; later all goes on."""
    store = FlakyStore()
    exchange = paper(over(tmp_path, [100, 90]), store)
    kept = one(exchange.place_orders([request("kept", BUY, 95)]))
    for _ in range(4):
        exchange.poll()
    store.fails = True
    before = exchange.fetch_balance(), exchange.fetch_quote(SYMBOL)
    refused, wrong = exchange.place_orders([request("new", BUY, 96), request("off", BUY, "9.5")])
    assert isinstance(refused, Retryable)
    assert isinstance(wrong, Rejected)
    assert isinstance(exchange.cancel_orders([kept])[0], Retryable)
    for _ in range(3):
        with pytest.raises(Retryable, match="disk full"):
            exchange.poll()
    assert (exchange.fetch_balance(), exchange.fetch_quote(SYMBOL)) == before
    assert exchange.fetch_open_orders(SYMBOL) == (kept,)
    assert exchange.fetch_order(SYMBOL, "new") is None
    store.fails = False
    new = one(exchange.place_orders([request("new", BUY, 96)]))
    assert new.venue_order_id == "P2"
    assert fills_of(drain(exchange)) == [("new", "96"), ("kept", "95")]
    assert [fill.trade_id for fill in exchange.fetch_fills(SYMBOL, None)] == ["T1", "T2"]


def test_its_age_grows_only_while_it_fails(tmp_path: Path) -> None:
    """In touch between two prices; since the last good poll when the store cannot write."""
    store, clock = FlakyStore(), TurnedClock()
    exchange = paper(over(tmp_path, [100, 90, 80]), store, clock, speed=1)
    exchange.poll()
    clock.seconds = 10.0
    assert exchange.age_s() == 0.0
    store.fails = True
    with pytest.raises(Retryable):
        exchange.poll()
    clock.seconds = 25.0
    assert exchange.age_s() == 25.0
    store.fails = False
    exchange.poll()
    assert exchange.age_s() == 0.0


def test_place_is_stored_about_once_a_second(tmp_path: Path) -> None:
    """A walk without a fill does not write at each vertex, and loses at most that second of it."""
    store, clock = FlakyStore(), TurnedClock()
    exchange = paper(over(tmp_path, range(100, 1100)), store, clock)
    for step in range(1000):
        clock.seconds = step / 100
        exchange.poll()
    assert 9 <= store.commits <= 12
    reached = exchange.fetch_quote(SYMBOL).last
    again = paper(over(tmp_path, range(100, 1100)), store, clock)
    assert reached - 101 <= again.fetch_quote(SYMBOL).last <= reached
    exchange.stop()
    assert paper(over(tmp_path, range(100, 1100)), store).fetch_quote(SYMBOL).last == reached


def test_stopped_feed_is_taken_up_where_it_was(tmp_path: Path) -> None:
    """`stop` stores the place, in mid-line too, and lets go of the file; `poll` goes on."""
    exchange = paper(over(tmp_path, [100, 90, 120]))
    exchange.place_orders([request("b", BUY, 95), request("s", SELL, 110)])
    for _ in range(5):
        exchange.poll()
    exchange.stop()
    exchange.stop()
    assert exchange.fetch_quote(SYMBOL).last == 95
    assert fills_of(drain(exchange)) == [("s", "110")]


def test_place_survives_a_commit_before_the_first_step(tmp_path: Path) -> None:
    """Restarted, an order placed, killed, restarted: nothing of the path is walked twice."""
    store = FlakyStore()
    exchange = paper(over(tmp_path, [100, 90, 120, 130]), store)
    exchange.place_orders([request("b", BUY, 95)])
    while exchange.fetch_quote(SYMBOL).last != 120:
        exchange.poll()
    exchange.close()
    for name in ("one", "two"):
        again = paper(over(tmp_path, [100, 90, 120, 130]), store)
        again.start(ignore)
        again.place_orders([request(name, BUY, 91)])
    assert fills_of(drain(again)) == []
    assert again.fetch_quote(SYMBOL).last == 130


def test_orders_can_be_cancelled_without_the_candles(tmp_path: Path) -> None:
    """The file is gone: what rests is seen and cancelled all the same; only walking needs it."""
    store = FlakyStore()
    source = over(tmp_path, [100, 101, 102])
    exchange = paper(source, store)
    exchange.place_orders([request("b", BUY, 95)])
    exchange.poll()
    exchange.close()
    (tmp_path / "prices.csv").unlink()
    again = paper(source, store)
    outcomes = again.cancel_orders(again.fetch_open_orders(SYMBOL))
    assert one(outcomes).status is OrderStatus.CANCELED
    with pytest.raises(ConfigError, match=r"prices\.csv: cannot be read"):
        again.start(ignore)
    again.close()


def test_an_account_stays_with_its_kind_of_feed(tmp_path: Path) -> None:
    """Another kind of feed over an old account is refused with the two ways out."""
    store = FlakyStore()
    exchange = paper(over(tmp_path, [100, 101]), store)
    exchange.poll()
    exchange.close()
    source = SyntheticSource(
        seed=1,
        start_price=D(100),
        tick_size=D(1),
        volatility=D("0.0005"),
        band=D("0.05"),
        funding_rate=D(0),
    )
    with pytest.raises(ConfigError, match=r"paper\.feed: was 'synthetic', expected 'csv'.*db_path"):
        paper(source, store).start(ignore)


def test_bad_data_is_an_operator_error_at_its_row(tmp_path: Path) -> None:
    """Met while walking it is a ConfigError, each time, and never the end of the data."""
    path = write_path(tmp_path / "c.csv", [100, 101])
    path.write_text(path.read_text() + "120000,1,2\n")
    exchange = paper(CandleSource(path))
    with pytest.raises(ConfigError, match="line 4"):
        drain(exchange)
    with pytest.raises(ConfigError, match="line 4"):
        exchange.poll()


def test_wake_range_drops_quotes_and_nothing_else(tmp_path: Path) -> None:
    """The same fills in the same order with the same stamps; far fewer quotes; bounded polls."""
    prices = [100 + (i * 7) % 23 - (i * 5) % 17 for i in range(500)]
    runs = []
    for wake in (None, (D(95), D(105)), (D(1), None), (None, D(500))):
        exchange = paper(over(tmp_path, prices))
        toy = ToyGrid([D(p) for p in range(88, 120, 4)], D(1), D(100))
        toy.place_missing(exchange)
        if wake is not None:
            exchange.set_wake_range(*wake)
        polls = 0
        while not toy.ended:
            toy.handle(exchange, exchange.poll())
            polls += 1
        runs.append((toy.fills, exchange.fetch_balance(), polls))
    assert len(runs[0][0]) > 40
    assert [run[:2] for run in runs[1:]] == [runs[0][:2]] * 3
    assert runs[2][2] < runs[0][2]


@pytest.mark.parametrize("side", [BUY, SELL])
def test_liquidation_is_met_when_quotes_are_dropped(side: Side, tmp_path: Path) -> None:
    """The wake range is about quotes: a candle far outside the book still liquidates."""
    prices = [1000] * 3 + [1000 - 200 * side.sign] * 3 + [1000] * 3
    runs = []
    for coalesced in (False, True):
        exchange = paper(over(tmp_path, prices), balance=110)
        if coalesced:
            exchange.set_wake_range(D(1), D(10_000))
        exchange.place_orders([request("take", side, 1000)])
        drain(exchange)
        runs.append(exchange.fetch_fills(SYMBOL, None))
    assert [fill.client_order_id for fill in runs[0]] == ["take", "liquidation-2"]
    assert runs[0] == runs[1]


def test_coalesced_polls_are_bounded_and_keep_the_price_fresh(tmp_path: Path) -> None:
    """At full speed a poll walks about VERTICES_PER_POLL and tells the price it came to."""
    exchange = paper(over(tmp_path, range(100, 2200)))
    exchange.set_wake_range(D(1), None)
    polls = [exchange.poll() for _ in range(4)]
    assert all(len(events) == 1 and isinstance(events[0], Quote) for events in polls)
    assert [int(e.last) for (e,) in polls if isinstance(e, Quote)] == [
        100 + VERTICES_PER_POLL // 4 * (i + 1) - 1 for i in range(4)
    ]
    exchange.set_wake_range(None, None)
    (quote,) = exchange.poll()
    assert isinstance(quote, Quote)
    assert quote.last == exchange.fetch_quote(SYMBOL).last == 2100


def test_synthetic_exchange_goes_on_after_an_absence(tmp_path: Path) -> None:
    """Its clock has jumped to now, the price stands where it was."""
    store, clock = FlakyStore(), TurnedClock()

    def build() -> PaperExchange:
        source = SyntheticSource(
            seed=1,
            start_price=D(100),
            tick_size=D("0.01"),
            volatility=D("0.0005"),
            band=D("0.05"),
            funding_rate=D(0),
        )
        return paper(source, store, clock, speed=1, with_rules=rules(tick="0.01"))

    exchange = build()
    for clock.seconds in range(30):
        exchange.poll()
    price = exchange.fetch_quote(SYMBOL)
    assert price.time == START + timedelta(seconds=29)
    exchange.close()
    clock.seconds = 7200
    again = build()
    assert again.fetch_quote(SYMBOL).last == price.last
    (quote,) = again.poll()
    assert isinstance(quote, Quote)
    assert quote.time == START + timedelta(seconds=7200)
    assert abs(quote.last - price.last) < 1
