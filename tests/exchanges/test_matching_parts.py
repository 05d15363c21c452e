"""Fills in part: what is taken now, what becomes of the rest, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from paper_world import D, request, rules

from core.model import Order, OrderStatus, Side
from exchanges.changes import Changes
from exchanges.margin_account import open_account
from exchanges.matching import Market

BUY, SELL = Side.BUY, Side.SELL
Take = Callable[[Order], Decimal]


def market(last: int = 100) -> Market:
    return Market(rules(), open_account(D(100_000)), last=D(last), time_ms=0)


def one(_order: Order) -> Decimal:
    """One unit at a time."""
    return D(1)


def move(at: Market, target: int, take: Take | None = one) -> Changes:
    """As an exchange with parts moves: first what is touched, then the path."""
    out = Changes()
    at.refill(D(target), out, take)
    while (stop := at.next_stop(D(target))) is not None:
        at.fill(stop, out, take)
    at.last = D(target)
    return out


def quantities(out: Changes) -> list[str]:
    return [f"{fill.client_order_id}:{fill.quantity}@{fill.price}" for fill in out.fills]


@pytest.mark.parametrize(
    ("side", "price", "path", "fills"),
    [
        (BUY, 95, [95], ["b:1@95"]),
        (BUY, 95, [95, 95, 95], ["b:1@95"] * 3),  # standing at it, it fills on with every move
        (BUY, 95, [90, 91], ["b:1@95"] * 2),  # beyond it, too, at its own price
        (BUY, 95, [95, 96], ["b:1@95"]),  # the price left it: the rest waits
        (BUY, 95, [95, 96, 95], ["b:1@95"] * 2),  # and is reached again
        (SELL, 105, [105, 104, 106, 107], ["b:1@105"] * 3),
    ],
)
def test_a_maker_fills_on_while_the_price_is_at_or_beyond_it(
    side: Side, price: int, path: list[int], fills: list[str]
) -> None:
    at = market()
    at.place(request("b", side, price, 3), Changes())
    told = [text for target in path for text in quantities(move(at, target))]
    assert told == fills
    order = at.book.orders.get("b")
    left = 3 - len(fills)
    assert (order is None) == (left == 0)
    if order is not None:
        assert (order.status, order.filled_qty) == (OrderStatus.PARTIALLY_FILLED, D(len(fills)))


def test_the_rest_counts_for_margin_and_can_be_cancelled() -> None:
    """What was filled is held, what was not is open: together they are the order."""
    at = market()
    at.place(request("b", BUY, 95, 3), Changes())
    move(at, 95)
    assert at.account.position == 1
    assert at.book.notional(BUY) == 2 * 95
    out = Changes()
    ended = at.cancel("b", out)
    assert ended is not None
    assert (ended.status, ended.filled_qty) == (OrderStatus.CANCELED, D(1))
    assert not at.book.touched
    assert quantities(move(at, 90)) == []


@pytest.mark.parametrize(
    ("ioc", "status", "rests"),
    [(True, OrderStatus.EXPIRED, False), (False, OrderStatus.PARTIALLY_FILLED, True)],
)
def test_the_rest_of_a_taker(ioc: bool, status: OrderStatus, rests: bool) -> None:
    at = market()
    out = Changes()
    placed = at.place(request("t", BUY, 101, 3, ioc=ioc), out, one)
    assert isinstance(placed, Order)
    assert (placed.status, placed.filled_qty) == (status, D(1))
    assert quantities(out) == ["t:1@100"]
    assert out.orders["t"].status is status
    assert ("t" in at.book.orders) is rests
    assert quantities(move(at, 99)) == (["t:1@101"] if rests else [])


def test_reduce_only_rests_shrink_with_the_position() -> None:
    """The newest that the position no longer covers end, counted by what they have left."""
    at = market()
    at.place(request("open", BUY, 100, 3), Changes())
    at.place(request("old", SELL, 105, 2, reduce_only=True), Changes())
    at.place(request("new", SELL, 110, 1, reduce_only=True), Changes())
    move(at, 105)
    assert set(at.book.orders) == {"old", "new"}
    at.place(request("close", SELL, 100, 1), Changes())
    assert set(at.book.orders) == {"old"}
    assert quantities(move(at, 106)) == ["old:1@105"]
    assert at.account.position == 0


def test_a_copy_has_its_own_rests() -> None:
    at = market()
    at.place(request("b", BUY, 95, 3), Changes())
    move(at, 95)
    draft = at.copy()
    move(draft, 95)
    assert (draft.account.position, at.account.position) == (2, 1)
    assert set(at.book.touched) == {"b"}
