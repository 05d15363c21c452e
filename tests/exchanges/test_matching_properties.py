"""What holds for any orders on any path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from paper_world import SYMBOL, D, paper, request, rules, write_path

from core.model import FeedEnd, Fill, Order, OrderRequest, OrderStatus, Side, TimeInForce
from exchanges.changes import Changes
from exchanges.margin_account import apply_trade, open_account
from exchanges.matching import Market
from exchanges.price_feed import CandleSource

PRICES = st.integers(80, 120)
QUANTITIES = st.integers(1, 5000).map(lambda n: D(n) / 1000)


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[str, object]]:
    """Moves, orders, cancels and funding in any order."""
    order = st.builds(
        request,
        st.just("order"),
        st.sampled_from(Side),
        PRICES,
        QUANTITIES,
        post_only=st.booleans(),
        reduce_only=st.booleans(),
        ioc=st.booleans(),
    )
    return draw(
        st.lists(
            st.one_of(
                st.tuples(st.just("move"), PRICES),
                st.tuples(st.just("place"), order),
                st.tuples(st.just("cancel"), st.integers(0, 30)),
                st.tuples(st.just("fund"), st.integers(-50, 50).map(lambda n: D(n) / 10_000)),
            ),
            max_size=60,
        )
    )


def perform(
    at: Market, todo: list[tuple[str, object]], check: Callable[[Market, Changes], None]
) -> Changes:
    """Carry out the steps on one market, checking after each change."""
    out = Changes()
    for index, (kind, value) in enumerate(todo):
        if kind == "move":
            target = Decimal(str(value))
            while (stop := at.next_stop(target)) is not None:
                at.fill(stop, out)
                check(at, out)
            at.last = target
        elif kind == "place":
            assert isinstance(value, OrderRequest)
            at.place(replace(value, client_order_id=f"o{index}"), out)
        elif kind == "cancel":
            at.cancel(f"o{value}", out)
        elif isinstance(value, Decimal):
            at.fund(index, value, out)
        check(at, out)
    return out


def check_market(at: Market, out: Changes) -> None:
    account = at.account
    assert account.position == sum((fill.signed_quantity for fill in out.fills), D(0))
    assert account.fees == sum((fill.fee for fill in out.fills), D(0))
    assert account.funding == sum((payment.amount for payment in out.funding), D(0))
    assert account.wallet == account.initial + account.realized - account.fees + account.funding
    cash = sum((-f.signed_quantity * f.price - f.fee for f in out.fills), account.initial)
    assert account.equity(at.last) == cash + account.funding + account.position * at.last
    assert (account.position == 0) == (account.cost == 0)
    for side in Side:
        closable = max(D(0), -account.position * side.sign)
        assert at.book.reducing(side) <= closable
    resting = list(at.book.orders.values())
    assert all(o.status is OrderStatus.NEW for o in resting)
    assert all((o.price - at.last) * o.side.sign < 0 for o in resting)
    assert sorted(at.book.bids) == sorted(o.price for o in resting if o.side is Side.BUY)
    assert sorted(at.book.asks) == sorted(o.price for o in resting if o.side is Side.SELL)
    assert len({fill.trade_id for fill in out.fills}) == len(out.fills)
    assert len({fill.client_order_id for fill in out.fills}) == len(out.fills)


@settings(max_examples=40, deadline=None)
@given(steps(), st.sampled_from([200, 2_000, 100_000]))
def test_books_balance_after_every_change(todo: list[tuple[str, object]], balance: int) -> None:
    """Position, fees, wallet and equity are exactly the sum of fills; nothing fills twice;
    resting orders lie strictly on their side of the price; reduce-only never exceeds the position.
    """
    at = Market(rules(), open_account(D(balance)), last=D(100), time_ms=0)
    out = perform(at, todo, check_market)
    for fill in out.fills:
        order = out.orders[fill.client_order_id]
        assert order.status is OrderStatus.FILLED
        assert (fill.price - order.price) * order.side.sign <= 0  # its limit or better
        if order.reduce_only or order.time_in_force is TimeInForce.GTC:
            assert order.filled_qty == order.quantity


@settings(max_examples=30, deadline=None)
@given(steps())
def test_equity_is_never_below_maintenance_by_more_than_a_tick(
    todo: list[tuple[str, object]],
) -> None:
    """A walk that would ruin the account is stopped by a liquidation, and leaves some equity."""
    at = Market(rules(), open_account(D(150)), last=D(100), time_ms=0)

    def check(at: Market, _: Changes) -> None:
        limit, position = at.liquidation, at.account.position
        if limit is not None and (at.last - limit) * (1 if position > 0 else -1) > 0:
            held = at.rules.instrument.maintenance_rate + at.rules.instrument.liquidation_fee
            assert at.account.equity(at.last) > abs(position) * at.last * held

    perform(at, [step for step in todo if step[0] != "fund"], check)


@settings(max_examples=30, deadline=None)
@given(steps())
def test_through_fills_no_more_than_touch_on_one_line(todo: list[tuple[str, object]]) -> None:
    """The same resting orders and one move: whatever fills through would have filled by touch."""
    names = []
    for through in (False, True):
        at = Market(rules(through=through), open_account(D(10**6)), last=D(100), time_ms=0)
        placing = [step for step in todo if step[0] == "place"]
        moves = [step for step in todo if step[0] == "move"][:1]
        out = perform(at, placing + moves, lambda *_: None)
        names.append({fill.client_order_id for fill in out.fills if fill.is_maker})
    assert names[1] <= names[0]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(Side), st.integers(1, 10**10), st.integers(1, 10**8)),
        min_size=1,
        max_size=30,
    )
)
def test_account_is_exact_to_the_last_digit(trades: list[tuple[Side, int, int]]) -> None:
    """Prices and quantities of eight decimals, any order of trades: wallet and cost add up."""
    account, cash, position = open_account(D(100_000)), D(100_000), D(0)
    for side, ticks, lots in trades:
        price, quantity = D(ticks).scaleb(-8), D(lots).scaleb(-8)
        fee = price * quantity * D("0.0002")
        account = apply_trade(account, side, price, quantity, fee)
        cash -= side.sign * price * quantity + fee
        position += side.sign * quantity
        assert account.position == position
        assert account.wallet - account.cost == cash
        assert account.wallet == 100_000 + account.realized - account.fees


@settings(max_examples=40, deadline=None)
@given(
    st.lists(PRICES, min_size=2, max_size=40),
    st.lists(st.tuples(st.sampled_from(Side), PRICES, QUANTITIES), max_size=12),
    st.one_of(st.none(), st.tuples(PRICES, PRICES)),
)
def test_a_path_is_deterministic_however_it_is_polled(
    prices: list[int],
    orders: list[tuple[Side, int, Decimal]],
    wake: tuple[int, int] | None,
) -> None:
    """At full speed or paced, with quotes dropped or not: the same fills with the same stamps."""
    with TemporaryDirectory() as folder:
        path = write_path(Path(folder) / "p.csv", prices)
        runs = []
        for coalesced in (None, wake):
            exchange = paper(CandleSource(path))
            requests = [
                request(f"o{i}", side, price, quantity)
                for i, (side, price, quantity) in enumerate(orders)
            ]
            placed = exchange.place_orders(requests)
            if coalesced is not None:
                exchange.set_wake_range(D(min(coalesced)), D(max(coalesced)))
            events: list[object] = []
            while not (events and isinstance(events[-1], FeedEnd)):
                events.extend(exchange.poll())
            exchange.close()
            told = [event for event in events if isinstance(event, Fill | Order)]
            stored = exchange.fetch_fills(SYMBOL, None)
            assert [event for event in told if isinstance(event, Fill)] == list(stored)
            outcomes = [o if isinstance(o, Order) else str(o) for o in placed]
            runs.append((outcomes, told, exchange.fetch_balance()))
        assert runs[0] == runs[1]
