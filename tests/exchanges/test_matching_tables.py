"""The rules of the simulated exchange: this order, this path, these fills."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
from paper_world import SYMBOL, D, request, rules

from core.errors import Rejected, RejectReason
from core.model import Fill, Order, OrderStatus, Side
from exchanges.changes import Changes
from exchanges.margin_account import Account, apply_trade, liquidation_price, open_account
from exchanges.matching import Market

BUY, SELL = Side.BUY, Side.SELL


def market(last: int | str = 100, *, balance: int | str = 100_000, through: bool = False) -> Market:
    return Market(rules(through=through), open_account(D(balance)), last=D(last), time_ms=0)


def walk(at: Market, *prices: Decimal | int | str) -> Changes:
    """Walk the lines from price to price as the exchange does; gives all that happened."""
    out = Changes()
    for target in map(D, prices):
        while (stop := at.next_stop(target)) is not None:
            at.fill(stop, out)
        at.last = target
    return out


def placed(at: Market, *orders: tuple[str, Side, int | str, int | str]) -> None:
    for name, side, price, quantity in orders:
        outcome = at.place(request(name, side, price, quantity), Changes())
        assert isinstance(outcome, Order), outcome


def told(out: Changes) -> list[tuple[str, str]]:
    return [(fill.client_order_id, str(fill.price)) for fill in out.fills]


@pytest.mark.parametrize(
    ("orders", "path", "touch", "through"),
    [
        ([("b", BUY, 95, 1)], [96], [], []),
        ([("b", BUY, 95, 1)], [95], ["b"], []),
        ([("b", BUY, 95, 1)], [94], ["b"], ["b"]),
        ([("b", BUY, 95, 1)], [110, 95, 110], ["b"], []),
        ([("b", BUY, 95, 1)], [95, 94], ["b"], ["b"]),
        ([("s", SELL, 105, 1)], [104], [], []),
        ([("s", SELL, 105, 1)], [105], ["s"], []),
        ([("s", SELL, 105, 1)], [106], ["s"], ["s"]),
        ([("b", BUY, 95, 1)], [94, 110, 94], ["b"], ["b"]),  # once, however often it is crossed
        ([("far", BUY, 90, 1), ("near", BUY, 95, 1)], [80], ["near", "far"], ["near", "far"]),
        ([("far", SELL, 110, 1), ("near", SELL, 105, 1)], [120], ["near", "far"], ["near", "far"]),
        ([("1", BUY, 95, 1), ("2", BUY, 95, 2), ("3", BUY, 95, 1)], [95], ["1", "2", "3"], []),
        ([("b", BUY, 95, 1), ("s", SELL, 105, 1)], [120, 80], ["s", "b"], ["s", "b"]),
        ([("b", BUY, 95, 1), ("s", SELL, 105, 1)], [80, 120], ["b", "s"], ["b", "s"]),
    ],
)
def test_path_fills_resting_orders(
    orders: Sequence[tuple[str, Side, int, int]],
    path: Sequence[int],
    touch: list[str],
    through: list[str],
) -> None:
    """Nearest price first, at one price in order of arrival, at exactly the price only by touch."""
    for is_through, wanted in ((False, touch), (True, through)):
        at = market(through=is_through)
        placed(at, *orders)
        assert [name for name, _ in told(walk(at, *path))] == wanted


@pytest.mark.parametrize(
    ("side", "path", "through"),
    [
        (BUY, ["95"], []),
        (BUY, ["94.99"], []),  # beyond, by less than a tick of 1
        (BUY, ["94.01", "96", "94.01"], []),
        (BUY, ["94"], ["x"]),
        (BUY, ["94.5", "94"], ["x"]),  # the second line ends a tick beyond, from wherever it came
        (SELL, ["105"], []),
        (SELL, ["105.99"], []),
        (SELL, ["106"], ["x"]),
        (SELL, ["105.5", "106"], ["x"]),
    ],
)
def test_through_asks_for_a_whole_tick(side: Side, path: list[str], through: list[str]) -> None:
    """On data finer than the tick: by touch all of them fill, through only from a tick beyond."""
    for is_through, wanted in ((False, ["x"]), (True, through)):
        at = market(through=is_through)
        placed(at, ("x", side, 95 if side is BUY else 105, 1))
        out = walk(at, *path)
        assert [name for name, _ in told(out)] == wanted
        assert all(fill.price in (95, 105) and fill.is_maker for fill in out.fills)
        assert at.last == D(path[-1])


@pytest.mark.parametrize(
    ("side", "limit", "slippage", "price"),
    [
        (BUY, 130, "0", "100"),
        (BUY, 130, "0.01", "101"),
        (BUY, 130, "0.011", "102"),  # 101.1, rounded against the taker
        (BUY, 101, "0.05", "101"),  # never beyond its limit
        (SELL, 70, "0", "100"),
        (SELL, 70, "0.01", "99"),
        (SELL, 70, "0.011", "98"),
        (SELL, 99, "0.05", "99"),
        (SELL, 3, "0.999", "3"),
    ],
)
def test_slippage_worsens_what_takes(side: Side, limit: int, slippage: str, price: str) -> None:
    """From a last price of 100; the fee is on the price really paid, the last price stays."""
    at = Market(rules(slippage=slippage), open_account(D(100_000)), last=D(100), time_ms=0)
    out = Changes()
    at.place(request("x", side, limit, 2, ioc=True), out)
    (fill,) = out.fills
    assert (fill.price, fill.is_maker, at.last) == (D(price), False, 100)
    assert fill.fee == 2 * D(price) * D("0.0005")


def test_slippage_leaves_resting_orders_alone() -> None:
    """What rests fills at its own price."""
    at = Market(rules(slippage="0.05"), open_account(D(100_000)), last=D(100), time_ms=0)
    placed(at, ("b", BUY, 95, 1))
    assert told(walk(at, 90)) == [("b", "95")]


def test_slippage_counts_for_the_margin() -> None:
    """What an order really pays is what it must be able to pay."""
    free = Market(rules(leverage=1), open_account(D(205)), last=D(100), time_ms=0)
    assert isinstance(free.place(request("x", BUY, 110, 2), Changes()), Order)
    slips = Market(rules(leverage=1, slippage="0.05"), open_account(D(205)), last=D(100), time_ms=0)
    refused = slips.place(request("x", BUY, 110, 2), Changes())
    assert isinstance(refused, Rejected)
    assert refused.reason is RejectReason.MARGIN


def test_resting_order_fills_whole_at_its_own_price_as_maker() -> None:
    """A jump far beyond the limit fills at the limit, with the maker fee of it, unrounded."""
    at = market()
    placed(at, ("b", BUY, 95, "0.123"))
    (fill,) = walk(at, 50).fills
    assert (fill.price, fill.quantity, fill.is_maker) == (D(95), D("0.123"), True)
    assert fill.fee == D("0.123") * 95 * D("0.0002")
    assert (fill.trade_id, fill.venue_order_id, fill.fee_asset) == ("T1", "P1", "USDC")
    assert at.last == 50


@pytest.mark.parametrize(
    ("side", "price", "post_only", "ioc", "expected"),
    [
        (BUY, 99, True, False, OrderStatus.NEW),
        (BUY, 100, True, False, RejectReason.POST_ONLY),  # exactly the price would fill
        (BUY, 101, True, False, RejectReason.POST_ONLY),
        (SELL, 101, True, False, OrderStatus.NEW),
        (SELL, 100, True, False, RejectReason.POST_ONLY),
        (SELL, 99, True, False, RejectReason.POST_ONLY),
        (BUY, 99, False, False, OrderStatus.NEW),
        (BUY, 100, False, False, OrderStatus.FILLED),
        (BUY, 130, False, False, OrderStatus.FILLED),
        (SELL, 101, False, False, OrderStatus.NEW),
        (SELL, 100, False, False, OrderStatus.FILLED),
        (SELL, 70, False, False, OrderStatus.FILLED),
        (BUY, 99, False, True, OrderStatus.EXPIRED),
        (BUY, 100, False, True, OrderStatus.FILLED),
        (SELL, 101, False, True, OrderStatus.EXPIRED),
        (SELL, 90, False, True, OrderStatus.FILLED),
    ],
)
def test_placing_rests_takes_expires_or_is_rejected(
    side: Side, price: int, post_only: bool, ioc: bool, expected: OrderStatus | RejectReason
) -> None:
    """At a last price of 100; what takes pays the last price, not its limit, and the taker fee."""
    at, out = market(), Changes()
    outcome = at.place(request("x", side, price, 2, post_only=post_only, ioc=ioc), out)
    if isinstance(expected, RejectReason):
        assert isinstance(outcome, Rejected)
        assert outcome.reason is expected
        assert not out.orders
        assert at.to_doc() == market().to_doc()
        return
    assert isinstance(outcome, Order)
    assert outcome.status is expected
    assert out.orders == {"x": outcome}
    assert ("x" in at.book.orders) == (expected is OrderStatus.NEW)
    if expected is OrderStatus.FILLED:
        (fill,) = out.fills
        assert (fill.price, fill.is_maker) == (D(100), False)
        assert fill.fee == 2 * 100 * D("0.0005")
        assert outcome.filled_qty == 2
    else:
        assert not out.fills


@pytest.mark.parametrize(
    ("price", "quantity", "reason", "words"),
    [
        ("99.5", 1, RejectReason.PRECISION, "tick 1"),
        ("0", 1, RejectReason.PRECISION, "tick 1"),
        ("-5", 1, RejectReason.PRECISION, "tick 1"),
        ("NaN", 1, RejectReason.PRECISION, "tick 1"),
        ("Infinity", 1, RejectReason.PRECISION, "tick 1"),
        ("1e40", 1, RejectReason.PRECISION, "tick 1"),
        ("90", "1e40", RejectReason.PRECISION, "lot 0.001"),
        ("90", "0.0005", RejectReason.PRECISION, "lot 0.001"),
        ("90", "1.0001", RejectReason.PRECISION, "lot 0.001"),
        ("90", "0", RejectReason.PRECISION, "lot 0.001"),
        ("90", "-1", RejectReason.PRECISION, "lot 0.001"),
        ("90", "NaN", RejectReason.PRECISION, "lot 0.001"),
        ("90", "0.055", RejectReason.NOTIONAL, "minimum is 5"),
        ("90", 20_000, RejectReason.MARGIN, "equity x leverage allows"),
    ],
)
def test_wrong_orders_are_rejected_in_words(
    price: str, quantity: int | str, reason: RejectReason, words: str
) -> None:
    """Off the tick or lot, too small, too large: each with its reason and the limit it broke."""
    outcome = market().place(request("x", BUY, price, quantity), Changes())
    assert isinstance(outcome, Rejected)
    assert outcome.reason is reason
    assert words in str(outcome)


def test_other_symbols_and_reserved_ids_are_refused() -> None:
    """One instrument is traded here, and ids of liquidations are the exchange's own."""
    other = replace(request("x", BUY, 90), symbol="ETH_USDC_PERP")
    reserved = request("liquidation-7", BUY, 90)
    for wrong in (other, reserved):
        outcome = market().place(wrong, Changes())
        assert isinstance(outcome, Rejected)
        assert outcome.reason is RejectReason.OTHER
    assert SYMBOL in str(market().place(other, Changes()))


def test_reduce_only_is_bounded_by_the_position() -> None:
    """Their sum never exceeds what there is to close; no minimum notional holds them back."""
    at = market()
    refused = at.place(request("r", SELL, 105, 1, reduce_only=True), Changes())
    assert isinstance(refused, Rejected)
    assert refused.reason is RejectReason.REDUCE_ONLY
    placed(at, ("b", BUY, 95, 3))
    walk(at, 95)
    for name, quantity, fits in (("1", 2, True), ("2", 2, False), ("3", "0.001", True)):
        outcome = at.place(request(name, SELL, 105, quantity, reduce_only=True), Changes())
        assert isinstance(outcome, Order) is fits
    wrong_side = at.place(request("4", BUY, 90, 1, reduce_only=True), Changes())
    assert isinstance(wrong_side, Rejected)
    assert wrong_side.reason is RejectReason.REDUCE_ONLY


def test_newest_reduce_only_orders_expire_when_the_position_shrinks() -> None:
    """What the position no longer covers ends whole, newest first, and is told; nothing flips."""
    at = market()
    placed(at, ("b", BUY, 95, 3))
    walk(at, 95)
    for name, price in (("old", 105), ("mid", 106), ("new", 104)):
        at.place(request(name, SELL, price, 1, reduce_only=True), Changes())
    out = Changes()
    at.place(request("take", SELL, 90, 2), out)
    assert at.account.position == 1
    assert list(at.book.orders) == ["old"]
    ended = [event for event in out.events if isinstance(event, Order)]
    assert [(o.client_order_id, o.status) for o in ended] == [
        ("new", OrderStatus.EXPIRED),
        ("mid", OrderStatus.EXPIRED),
    ]
    assert told(walk(at, 200)) == [("old", "105")]
    assert at.account.position == 0


def test_order_expired_by_the_fill_before_it_does_not_fill() -> None:
    """Two sells at one price, the first closes all: the reduce-only one behind it is gone."""
    at = market()
    placed(at, ("b", BUY, 95, 1))
    walk(at, 95)
    placed(at, ("s", SELL, 105, 1))
    at.place(request("r", SELL, 105, 1, reduce_only=True), Changes())
    out = walk(at, 105)
    assert told(out) == [("s", "105")]
    assert at.account.position == 0
    assert out.orders["r"].status is OrderStatus.EXPIRED


@pytest.mark.parametrize(
    ("held", "side", "quantity", "accepted"),
    [
        (0, BUY, 10, True),  # 10 x 100 = equity 100 x leverage 10
        (0, BUY, "10.001", False),
        (0, SELL, 10, True),
        (5, BUY, 5, True),
        (5, BUY, "5.5", False),
        (5, SELL, 15, True),  # through flat to as much on the other side
        (5, SELL, 16, False),
    ],
)
def test_margin_bounds_what_an_order_may_open(
    held: int, side: Side, quantity: int | str, accepted: bool
) -> None:
    """Exposure, resting orders of the side included, is at most equity x leverage."""
    account = Account(initial=D(100), wallet=D(100), position=D(held), cost=D(held) * 100)
    at = Market(rules(), account, last=D(100), time_ms=0)
    outcome = at.place(request("x", side, 100, quantity, ioc=True), Changes())
    assert isinstance(outcome, Order) is accepted
    if not accepted:
        assert isinstance(outcome, Rejected)
        assert outcome.reason is RejectReason.MARGIN


def test_resting_orders_use_margin_and_exits_are_never_held_back() -> None:
    """Two buys that fit alone do not fit together; a sell against the position always fits."""
    at = market(balance=100)
    placed(at, ("1", BUY, 90, 6))
    second = at.place(request("2", BUY, 90, 6), Changes())
    assert isinstance(second, Rejected)
    walk(at, 89)
    assert at.account.position == 6
    placed(at, ("exit", SELL, 95, 6))


def test_an_account_over_its_limit_may_still_get_out() -> None:
    """Losses left 540 held on 20 x 10: what shrinks it is accepted, what adds is not."""
    account = Account(initial=D(20), wallet=D(20), position=D(6), cost=D(540))
    at = Market(rules(), account, last=D(90), time_ms=0)
    orders = (
        (SELL, 95, 6, True),
        (SELL, 95, 6, False),  # with the one before it: 1140 sold, 600 short
        (BUY, 80, 1, False),
    )
    for index, (side, price, quantity, accepted) in enumerate(orders):
        outcome = at.place(request(f"{index}", side, price, quantity), Changes())
        assert isinstance(outcome, Order) is accepted


def test_costs_and_realized_profit_are_exact() -> None:
    """A part closed takes its share of the cost; a third is rounded to 1e-12, the rest stays."""
    account = open_account(D(1000))
    account = apply_trade(account, BUY, D(100), D(1), D(0))
    account = apply_trade(account, BUY, D(101), D(2), D("0.5"))
    assert (account.position, account.cost) == (D(3), D(302))
    account = apply_trade(account, SELL, D(110), D(1), D(0))
    share = D("100.666666666667")
    assert (account.realized, account.cost) == (110 - share, 302 - share)
    account = apply_trade(account, SELL, D(110), D(4), D(0))
    assert (account.position, account.cost, account.entry_price) == (D(-2), D(-220), D(110))
    assert account.realized == 330 - 302
    assert account.wallet == 1000 + account.realized - account.fees
    account = apply_trade(account, BUY, D(100), D(2), D(0))
    assert (account.position, account.cost, account.entry_price) == (D(0), D(0), None)
    assert account.realized == 28 + 20


def test_months_of_parts_closed_stay_exact() -> None:
    """Each share of a cost by eighths has three digits more; they stay few."""
    account = apply_trade(open_account(D(100_000)), BUY, D(100), D("0.8"), D(0))
    equity = D(100_000) - 80
    for turn in range(400):
        price = D(100) + turn % 7
        account = apply_trade(account, SELL, price + 1, D("0.1"), D("0.002"))
        account = apply_trade(account, BUY, price, D("0.1"), D("0.002"))
        equity += D("0.1") - D("0.004")
    assert account.equity(D(90)) == equity + D("0.8") * 90
    assert account.cost.as_tuple().exponent == -12


@pytest.mark.parametrize("side", [BUY, SELL])
def test_liquidation_closes_everything_at_the_first_tick(side: Side) -> None:
    """All orders end, the position is closed at the price that did it, at its own fee, and told."""
    at = market(1000, balance=110)
    placed(at, ("take", side, 1000, 1), ("rest", side, 1000 - 300 * side.sign, "0.05"))
    limit = at.liquidation
    assert limit is not None
    one_before = limit + side.sign
    assert not walk(at, one_before).fills
    held = at.rules.instrument.maintenance_rate + at.rules.instrument.liquidation_fee
    assert at.account.equity(one_before) > one_before * held
    assert at.account.equity(limit) <= limit * held
    out = walk(at, limit - 500 * side.sign)
    fill = out.fills[0]
    assert len(out.fills) == 1
    assert fill.client_order_id == "liquidation-3"
    assert (fill.price, fill.side, fill.quantity) == (limit, side.opposite, D(1))
    assert fill.fee == limit * D("0.0005")
    assert at.account.position == 0
    assert not at.book.orders
    assert at.liquidation is None
    assert out.orders["rest"].status is OrderStatus.EXPIRED
    assert [type(event) for event in out.events] == [Order, Fill]


@pytest.mark.parametrize(("side", "target"), [(BUY, 1100), (SELL, 900)])
def test_funding_that_ruins_is_followed_by_liquidation(side: Side, target: int) -> None:
    """Due at the price where it is, whichever way the path goes on."""
    at = market(1000, balance=110)
    placed(at, ("take", side, 1000, 1))
    at.fund(0, D("0.105") * side.sign, Changes())
    out = walk(at, target)
    assert [(f.client_order_id, f.price) for f in out.fills] == [("liquidation-2", D(1000))]


def test_nearer_order_fills_before_liquidation_and_moves_it() -> None:
    """A resting exit of the other side on the way down comes first; nothing is skipped."""
    at = market(1000, balance=110)
    placed(at, ("take", BUY, 1000, 1), ("more", BUY, 990, "0.05"))
    before = at.liquidation
    assert before is not None
    out = walk(at, 700)
    assert [name for name, _ in told(out)] == ["more", "liquidation-3"]
    assert out.fills[1].price > before
    assert out.fills[1].quantity == D("1.05")


def test_funding_pays_on_the_signed_position() -> None:
    """A long pays a positive rate, a short receives it, flat neither; exact and unrounded."""
    for side, sign in ((BUY, -1), (SELL, 1)):
        at, out = market(), Changes()
        at.fund(0, D("0.0001"), out)
        assert not out.funding
        placed(at, ("take", side, 100, "0.123"))
        at.last = D(101)
        at.fund(28_800_000, D("0.0001"), out)
        (payment,) = out.funding
        assert payment.amount == sign * D("0.123") * 101 * D("0.0001")
        assert (payment.mark_price, payment.rate) == (D(101), D("0.0001"))
        assert at.account.funding == payment.amount
        assert at.account.wallet == 100_000 - at.account.fees + payment.amount


def test_liquidation_price_matches_the_specification() -> None:
    """GRID.md 6: long (Q E - M) / (Q (1 - m - f)), short (Q E + M) / (Q (1 + m + f))."""
    instrument = rules().instrument
    rate = instrument.maintenance_rate + instrument.liquidation_fee
    long = Account(initial=D(50), wallet=D(50), position=D(2), cost=D(200))
    short = Account(initial=D(50), wallet=D(50), position=D(-2), cost=D(-200))
    rich = Account(initial=D(500), wallet=D(500), position=D(2), cost=D(200))
    assert liquidation_price(long, instrument) == instrument.price_down(
        (200 - 50) / (2 * (1 - rate))
    )
    assert liquidation_price(short, instrument) == instrument.price_up(
        (200 + 50) / (2 * (1 + rate))
    )
    assert liquidation_price(rich, instrument) is None
    assert liquidation_price(open_account(D(5)), instrument) is None


def test_a_copy_leaves_the_original_alone() -> None:
    """What is done to a copy can be dropped: a failed commit rolls back by that."""
    at = market()
    placed(at, ("b", BUY, 95, 1))
    before = at.to_doc(), dict(at.book.orders), at.liquidation
    draft = at.copy()
    walk(draft, 90)
    draft.place(request("s", SELL, 105), Changes())
    assert (at.to_doc(), dict(at.book.orders), at.liquidation) == before
    assert draft.account.position == Decimal(1)


def test_a_market_survives_its_document() -> None:
    """Account, counters, last price and the order of arrival come back as they were."""
    at = market()
    placed(at, ("z", BUY, 95, 1), ("a", BUY, 95, 1), ("s", SELL, 100, "0.3"))
    again = Market.from_doc(at.rules, at.to_doc(), reversed(list(at.book.orders.values())))
    assert again.to_doc() == at.to_doc()
    assert list(again.book.orders) == ["z", "a"]
    assert again.liquidation == at.liquidation
    assert told(walk(again, 90)) == told(walk(at, 90))
