"""The resting orders of one simulated account on one instrument. Pure: no I/O, no clock."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from decimal import Decimal

from core.model import ZERO, Order, Side


class Book:
    """Orders by client order id in order of arrival, and the sorted prices of each side.

    `touched` are those that were filled in part and wait for the rest: the price stands at or
    beyond them, so they are in `orders` but not among the prices that a path can reach.
    """

    __slots__ = ("asks", "bids", "orders", "touched")

    def __init__(self, orders: Iterable[Order] = ()) -> None:
        self.orders: dict[str, Order] = {}
        self.touched: dict[str, None] = {}  # a set that keeps the order of arrival
        self.bids: list[Decimal] = []  # one entry an order; the best is the last
        self.asks: list[Decimal] = []  # one entry an order; the best is the first
        for order in orders:
            self.add(order)

    def copy(self) -> Book:
        other = Book()
        other.orders = dict(self.orders)
        other.touched = dict(self.touched)
        other.bids = list(self.bids)
        other.asks = list(self.asks)
        return other

    def add(self, order: Order) -> None:
        self.orders[order.client_order_id] = order
        insort(self._prices(order.side), order.price)

    def remove(self, order: Order) -> None:
        del self.orders[order.client_order_id]
        if order.client_order_id in self.touched:
            del self.touched[order.client_order_id]
        else:
            self._take_price(order)

    def touch(self, order: Order) -> None:
        """Put a partly filled order in the place of what it was, waiting for the rest."""
        self.orders[order.client_order_id] = order
        if order.client_order_id not in self.touched:
            self._take_price(order)
            self.touched[order.client_order_id] = None

    def rest(self, order: Order) -> None:
        """The price has left a touched order: a path can reach it again."""
        del self.touched[order.client_order_id]
        insort(self._prices(order.side), order.price)

    def level(self, side: Side, price: Decimal) -> tuple[Order, ...]:
        """The orders at exactly this price that a path can reach, first come first."""
        return tuple(
            o
            for o in self.orders.values()
            if o.side is side and o.price == price and o.client_order_id not in self.touched
        )

    def notional(self, side: Side) -> Decimal:
        """Quantity x price of what the orders that may open have left."""
        return sum(
            (
                (order.quantity - order.filled_qty) * order.price
                for order in self.orders.values()
                if order.side is side and not order.reduce_only
            ),
            ZERO,
        )

    def reducing(self, side: Side) -> Decimal:
        """What the reduce-only orders have left."""
        return sum(
            (
                order.quantity - order.filled_qty
                for order in self.orders.values()
                if order.side is side and order.reduce_only
            ),
            ZERO,
        )

    def excess(self, side: Side, closable: Decimal) -> list[Order]:
        """The newest reduce-only orders that exceed what can be closed, each whole."""
        excess = self.reducing(side) - closable
        found: list[Order] = []
        if excess > 0:
            for order in reversed(self.orders.values()):
                if excess > 0 and order.side is side and order.reduce_only:
                    excess -= order.quantity - order.filled_qty
                    found.append(order)
        return found

    def _take_price(self, order: Order) -> None:
        prices = self._prices(order.side)
        del prices[bisect_left(prices, order.price)]

    def _prices(self, side: Side) -> list[Decimal]:
        return self.bids if side is Side.BUY else self.asks
