"""Both real clients over real HTTP and WebSocket against the simulator: one contract for two."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from simulated import Simulator, needs_simulator, order_request, simulator, wait_until

from core.errors import (
    AuthError,
    ConfigError,
    OutcomeUnknown,
    Rejected,
    RejectReason,
    Retryable,
)
from core.market_state import MarketState
from core.model import FeedGap, Fill, MarketEvent, Order, OrderStatus, PositionTold, Quote, Side
from exchanges import aster_wire, backpack_wire, rest_client, transport
from exchanges.live import Live

pytestmark = [pytest.mark.slow, needs_simulator]

D = Decimal


@pytest.fixture(scope="module", params=["backpack", "aster", "aster-v3"])
def sim(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    """Both exchanges, and Aster with either envelope."""
    protocol, _, envelope = request.param.partition("-")
    with simulator(protocol) as running:
        yield running.by_wallet() if envelope else running


@pytest.fixture
def live(sim: Simulator, tmp_path: Path) -> Iterator[Live]:
    """A client of its own; afterwards nothing rests, nothing is held, the price is 150."""
    made = sim.open(tmp_path)
    yield made
    sim.control("faults", timeout_after=0, timeout_before=0, http_500=0, ws_drop=0, http_429=0)
    made.feed.stop()
    rest = made.client.fetch_open_orders(sim.symbol)
    made.client.cancel_orders(rest)
    made.client.close()
    sim.price(150)


NUMBERS = itertools.count(1)


def place(sim: Simulator, live: Live, prices: list[object], side: Side = Side.BUY) -> list[Order]:
    requests = [order_request(sim, next(NUMBERS), side, price) for price in prices]
    outcomes = live.client.place_orders(requests)
    assert all(isinstance(outcome, Order) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, Order)]


def flatten(sim: Simulator, live: Live) -> None:
    """Close what is held, within the band around the mark that the exchange allows."""
    held = live.client.fetch_position(sim.symbol).quantity
    side, step = (Side.SELL, D("0.99")) if held > 0 else (Side.BUY, D("1.01"))
    price = (live.client.fetch_quote(sim.symbol).last * step).quantize(D("0.01"))
    request = order_request(sim, next(NUMBERS), side, price, abs(held), post_only=False)
    (closed,) = live.client.place_orders([request])
    assert isinstance(closed, Order)
    assert live.client.fetch_position(sim.symbol).quantity == 0


# Reading --------------------------------------------------------------------------------------


def test_instrument_quote_and_account(sim: Simulator, live: Live) -> None:
    """Limits, fees, a quote and the account come as the exchange tells them."""
    instrument = live.client.fetch_instrument(sim.symbol)
    assert (instrument.tick_size, instrument.lot_size) == (D("0.01"), D("0.001"))
    assert instrument.min_notional == (0 if sim.protocol == "backpack" else 5)
    assert 0 < instrument.maker_fee < instrument.taker_fee < D("0.01")
    quote = live.client.fetch_quote(sim.symbol)
    assert quote.bid <= quote.last <= quote.ask
    assert quote.mark == 150
    assert abs((quote.time - datetime.now(UTC)).total_seconds()) < 60
    balance = live.client.fetch_balance()
    assert balance.asset == instrument.quote_asset
    assert balance.wallet > 90_000
    assert any("leverage" in words for words in live.rest.account_words())


def test_an_unknown_symbol_is_a_config_error(sim: Simulator, live: Live) -> None:
    """A symbol that is not traded there is the operator's to change."""
    with pytest.raises(ConfigError, match=r"symbol: was 'NOPE_USDC_PERP'"):
        live.client.fetch_instrument("NOPE_USDC_PERP")


def test_wrong_keys_stop_the_bot(sim: Simulator, tmp_path: Path) -> None:
    """Credentials of nobody are refused by the exchange: the operator's move."""
    if sim.protocol == "backpack":
        seed = "A" * 43 + "="
        import base64

        from nacl.signing import SigningKey

        public = bytes(SigningKey(base64.b64decode(seed)).verify_key)
        stranger = sim.open(tmp_path, api_key=base64.b64encode(public).decode(), secret_key=seed)
    else:
        stranger = sim.open(tmp_path, api_key="a" * 64, secret_key="b" * 64)
    with pytest.raises(AuthError):
        stranger.client.fetch_balance()
    stranger.client.close()


# Orders ---------------------------------------------------------------------------------------


def test_a_grid_is_placed_and_cancelled_in_batches(sim: Simulator, live: Live) -> None:
    """Outcomes in the order of the requests; each order is found; a second cancel finds nothing."""
    orders = place(sim, live, [str(149 - D(i) / 4) for i in range(23)])
    assert [str(o.price.normalize()) for o in orders[:2]] == ["149", "148.75"]
    assert all(o.status is OrderStatus.NEW and o.venue_order_id for o in orders)
    resting = {o.client_order_id for o in live.client.fetch_open_orders(sim.symbol)}
    assert resting == {o.client_order_id for o in orders}
    found = live.client.fetch_order(sim.symbol, orders[7].client_order_id)
    assert found is not None
    assert (found.price, found.status) == (orders[7].price, OrderStatus.NEW)
    ended = live.client.cancel_orders(orders)
    assert [o.client_order_id for o in ended if isinstance(o, Order)] == [
        o.client_order_id for o in orders
    ]
    assert {o.status for o in ended if isinstance(o, Order)} == {OrderStatus.CANCELED}
    assert live.client.fetch_open_orders(sim.symbol) == ()
    again = live.client.cancel_orders(orders[:12])
    assert [type(o) for o in again] == [Rejected] * 12
    assert {o.reason for o in again if isinstance(o, Rejected)} == {RejectReason.NOT_FOUND}
    found = live.client.fetch_order(sim.symbol, orders[7].client_order_id)
    assert found is not None
    assert found.status is OrderStatus.CANCELED


def test_a_look_up_needs_no_memory(sim: Simulator, live: Live, tmp_path: Path) -> None:
    """A new process finds what an earlier one placed and cancelled, by the client id alone."""
    orders = place(sim, live, ["149", "148"])
    live.client.cancel_orders(orders[:1])
    fresh = sim.open(tmp_path)
    seen = [fresh.client.fetch_order(sim.symbol, o.client_order_id) for o in orders]
    assert [o.status for o in seen if o] == [OrderStatus.CANCELED, OrderStatus.NEW]
    fresh.client.close()


@pytest.mark.parametrize(
    ("price", "quantity", "reduce_only", "expected"),
    [
        ("155", "0.5", False, RejectReason.POST_ONLY),
        ("149.001", "0.5", False, RejectReason.PRECISION),
        ("149", "0.0001", False, RejectReason.PRECISION),
        ("149", "0.5", True, RejectReason.REDUCE_ONLY),
        ("149", "100000", False, RejectReason.MARGIN),
    ],
)
@pytest.mark.parametrize("beside", [0, 1])
def test_refusals_have_their_reason(
    sim: Simulator,
    live: Live,
    price: str,
    quantity: str,
    reduce_only: bool,
    expected: RejectReason,
    beside: int,
) -> None:
    """Alone or in a batch beside a good one, which is placed."""
    bad = order_request(sim, next(NUMBERS), Side.BUY, price, quantity, reduce_only=reduce_only)
    good = [order_request(sim, next(NUMBERS), Side.BUY, 141) for _ in range(beside)]
    outcome, *others = live.client.place_orders([bad, *good])
    assert all(isinstance(o, Order) for o in others)
    if expected is RejectReason.PRECISION and quantity == "0.0001":
        assert isinstance(outcome, Rejected)
        assert outcome.reason in (RejectReason.PRECISION, RejectReason.NOTIONAL)
        return
    assert isinstance(outcome, Rejected), outcome
    assert outcome.reason is expected, outcome


@needs_simulator
def test_the_countdown_ends_all_orders_unless_it_is_stopped(tmp_path: Path) -> None:
    """Aster's own timer, by our call: 0 stops it, a short one runs out."""
    with simulator("aster") as sim:
        live = sim.open(tmp_path)
        assert live.switch is not None
        place(sim, live, ["149", "148"])
        live.switch.set_countdown(sim.symbol, 600)
        live.switch.set_countdown(sim.symbol, 0)
        assert len(live.client.fetch_open_orders(sim.symbol)) == 2
        live.switch.set_countdown(sim.symbol, 0.1)
        wait_until(lambda: not live.client.fetch_open_orders(sim.symbol), "it has run out")
        live.client.close()


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("post_only", {"backpack": MarketState.POST_ONLY, "aster": MarketState.CLOSED}),
        ("cancel_only", {"backpack": MarketState.CANCEL_ONLY, "aster": MarketState.CLOSING}),
        ("closed", {"backpack": MarketState.CLOSED, "aster": MarketState.CLOSED}),
    ],
)
def test_a_book_that_takes_no_orders(
    sim: Simulator, live: Live, state: str, expected: dict[str, MarketState]
) -> None:
    """Its state is told, a taking order is refused for it, what rests can be cancelled."""
    assert live.rest.fetch_market_state(sim.symbol).state is MarketState.OPEN
    (resting,) = place(sim, live, ["149"])
    sim.control("market", symbol=sim.symbol, state=state)
    try:
        report = live.rest.fetch_market_state(sim.symbol)
        request = order_request(sim, next(NUMBERS), Side.BUY, 148, post_only=False)
        (outcome,) = live.client.place_orders([request])
        (ended,) = live.client.cancel_orders([resting])
        assert live.client.fetch_instrument(sim.symbol).tick_size == D("0.01")
    finally:
        sim.control("market", symbol=sim.symbol, state="open")
    assert report.state is expected[sim.protocol]
    assert report.told in report.words
    assert isinstance(outcome, Rejected), outcome
    assert outcome.reason is RejectReason.MARKET
    assert isinstance(ended, Order)
    assert ended.status is OrderStatus.CANCELED


# Fills and payments ---------------------------------------------------------------------------


def test_fills_position_and_funding_are_the_ledgers(
    sim: Simulator, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read page by page to the end, each once, with their client ids, equal to the truth."""
    for wire in (aster_wire, backpack_wire):
        monkeypatch.setattr(wire, "PAGE", 3)
    began = live.rest.session.now_ms()
    since = datetime.fromtimestamp(began / 1000, UTC)
    orders = place(sim, live, [str(149 - i) for i in range(8)])
    for i in range(8):
        sim.price(149 - i)
    sim.control("funding", symbol=sim.symbol, rate="0.0001")
    fills = live.client.fetch_fills(sim.symbol, since)
    assert [f.client_order_id for f in fills] == [o.client_order_id for o in orders]
    truth = {f["trade_id"]: f for f in sim.ledger()["fills"]}
    for fill in fills:
        told = truth[fill.trade_id]
        assert (fill.price, fill.quantity, fill.fee) == (
            D(told["price"]),
            D(told["quantity"]),
            D(told["fee"]),
        )
        assert fill.is_maker
        assert fill.time.tzinfo is not None
    position = live.client.fetch_position(sim.symbol)
    (held,) = [p for p in sim.ledger()["positions"] if p["symbol"] == sim.symbol]
    assert position.quantity == D(held["quantity"])
    assert position.entry_price is not None
    (payment,) = live.client.fetch_funding(sim.symbol, since)
    assert payment.amount == D(sim.ledger()["funding"][-1]["amount"])
    assert (payment.position, payment.mark_price) == (None, None)  # neither tells them: no nought
    assert live.client.fetch_funding(sim.symbol, payment.time) == (payment,)
    assert live.client.fetch_fills(sim.symbol, fills[-1].time)[-1] == fills[-1]
    seen = live.client.fetch_order(sim.symbol, orders[0].client_order_id)
    assert seen is not None
    assert (seen.status, seen.filled_qty) == (OrderStatus.FILLED, D("0.5"))
    flatten(sim, live)


# Unknown outcomes -----------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "WRITE_TIMEOUT_S", 0.4)
    monkeypatch.setattr(rest_client, "WINDOW_MS", 700)
    monkeypatch.setattr(rest_client, "SETTLE_MS", 300)


@pytest.mark.usefixtures("impatient")
def test_an_order_whose_answer_was_lost_is_found(sim: Simulator, live: Live) -> None:
    """The exchange has it and said nothing: unknown, then found by its client id, once there."""
    live.client.fetch_quote(sim.symbol)
    sim.control("faults", timeout_after=1)
    request = order_request(sim, next(NUMBERS), Side.BUY, 149)
    (outcome,) = live.client.place_orders([request])
    sim.control("faults", timeout_after=0)
    assert isinstance(outcome, OutcomeUnknown)
    found = live.client.fetch_order(sim.symbol, request.client_order_id)
    assert found is not None
    assert found.status is OrderStatus.NEW
    assert len(live.client.fetch_open_orders(sim.symbol)) == 1


def test_the_history_has_what_rests_and_what_has_ended(sim: Simulator, live: Live) -> None:
    """By client id, and from when to when it is whole: not the last minute."""
    since = datetime.fromtimestamp(live.rest.session.now_ms() / 1000, UTC) - timedelta(minutes=5)
    orders = place(sim, live, ["149", "148", "147"])
    live.client.cancel_orders(orders[:1])
    sim.price(148)
    history, start, end = live.rest.fetch_history(sim.symbol, since)
    found = [history[order.client_order_id].status for order in orders]
    assert found == [OrderStatus.CANCELED, OrderStatus.FILLED, OrderStatus.NEW]
    assert since < start < end < datetime.fromtimestamp(live.rest.session.now_ms() / 1000, UTC)
    sim.price(150)
    flatten(sim, live)


@pytest.mark.usefixtures("impatient")
def test_an_order_that_never_arrived_is_proved_so_in_time(sim: Simulator, live: Live) -> None:
    """While its request may still arrive its absence proves nothing; afterwards it does."""
    live.client.fetch_quote(sim.symbol)
    sim.control("faults", timeout_before=1)
    request = order_request(sim, next(NUMBERS), Side.BUY, 149)
    (outcome,) = live.client.place_orders([request])
    sim.control("faults", timeout_before=0)
    assert isinstance(outcome, OutcomeUnknown)
    with pytest.raises(Retryable, match="may still arrive"):
        live.client.fetch_order(sim.symbol, request.client_order_id)

    def is_proved() -> bool:
        try:
            return live.client.fetch_order(sim.symbol, request.client_order_id) is None
        except Retryable:
            return False

    wait_until(is_proved, "the absence is a proof")


@pytest.mark.usefixtures("impatient")
def test_an_earlier_processs_order_is_not_given_up_at_once(sim: Simulator, live: Live) -> None:
    """What a killed process sent may still be on its way when the next one asks."""
    never_sent = sim.ids().make(next(NUMBERS))
    with pytest.raises(Retryable, match="may still arrive"):
        live.client.fetch_order(sim.symbol, never_sent)


# The feed -------------------------------------------------------------------------------------


def of(events: list[MarketEvent], kind: type) -> list[MarketEvent]:
    return [event for event in events if isinstance(event, kind)]


def test_the_feed_tells_prices_orders_and_fills(sim: Simulator, live: Live) -> None:
    """Once it stands it says so by a gap; then events come as they happen."""
    events: list[MarketEvent] = []
    live.feed.start(events.append)
    wait_until(lambda: of(events, FeedGap), "the stream stands")
    (order,) = place(sim, live, ["149"])
    sim.price("148.5")
    fills = wait_until(lambda: of(events, Fill), "the fill is told")
    assert isinstance(fills[0], Fill)
    assert fills[0].client_order_id == order.client_order_id
    assert (fills[0].price, fills[0].quantity) == (D(149), D("0.5"))
    states = [e for e in of(events, Order) if isinstance(e, Order)]
    assert states[-1].status is OrderStatus.FILLED
    held = live.client.fetch_position(sim.symbol).quantity
    wait_until(
        lambda: [p for p in events if isinstance(p, PositionTold) and p.quantity == held],
        "the position is told",
    )
    quote = wait_until(
        lambda: [q for q in of(events, Quote) if isinstance(q, Quote) and q.mark == D("148.5")],
        "the new price is told",
    )[-1]
    assert quote.bid <= quote.last <= quote.ask
    age = live.feed.age_s()
    assert age is not None
    assert age < 30
    flatten(sim, live)


def test_a_dropped_stream_is_a_gap_and_comes_back(sim: Simulator, live: Live) -> None:
    """A gap when it breaks, one when it stands again; then it tells of fills as before."""
    events: list[MarketEvent] = []
    live.feed.start(events.append)
    wait_until(lambda: of(events, FeedGap), "the stream stands")
    sim.control("faults", ws_drop=1)

    def has_broken() -> bool:
        sim.price(D(150) + D(next(NUMBERS) % 7) / 100)
        return any("broke" in e.reason for e in of(events, FeedGap) if isinstance(e, FeedGap))

    wait_until(has_broken, "the stream breaks")
    sim.control("faults", ws_drop=0)
    wait_until(lambda: live.feed.is_up, "the streams stand again")
    events.clear()
    (order,) = place(sim, live, ["149"])
    sim.price("148.9")

    def told() -> bool:
        return any(
            isinstance(e, Fill) and e.client_order_id == order.client_order_id for e in events
        ) or bool(of(events, FeedGap))

    wait_until(told, "the fill, or a gap after which it is read by REST")
    sim.price(150)
    flatten(sim, live)
