"""The resting orders of one simulated account on one instrument. Pure: no I/O, no clock."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from decimal import Decimal

from core.model import ZERO, Order, Side


class Book:
    """Orders by client order id in order of arrival, and the sorted prices of each side."""

    __slots__ = ("asks", "bids", "orders")

    def __init__(self, orders: Iterable[Order] = ()) -> None:
        self.orders: dict[str, Order] = {}
        self.bids: list[Decimal] = []  # one entry an order; the best is the last
        self.asks: list[Decimal] = []  # one entry an order; the best is the first
        for order in orders:
            self.add(order)

    def copy(self) -> Book:
        other = Book()
        other.orders = dict(self.orders)
        other.bids = list(self.bids)
        other.asks = list(self.asks)
        return other

    def add(self, order: Order) -> None:
        self.orders[order.client_order_id] = order
        insort(self._prices(order.side), order.price)

    def remove(self, order: Order) -> None:
        del self.orders[order.client_order_id]
        prices = self._prices(order.side)
        del prices[bisect_left(prices, order.price)]

    def level(self, side: Side, price: Decimal) -> tuple[Order, ...]:
        """The orders at exactly this price, first come first."""
        return tuple(o for o in self.orders.values() if o.side is side and o.price == price)

    def notional(self, side: Side) -> Decimal:
        """Quantity x price of the orders that may open."""
        return sum(
            (
                order.quantity * order.price
                for order in self.orders.values()
                if order.side is side and not order.reduce_only
            ),
            ZERO,
        )

    def reducing(self, side: Side) -> Decimal:
        """Quantity of the reduce-only orders."""
        return sum(
            (
                order.quantity
                for order in self.orders.values()
                if order.side is side and order.reduce_only
            ),
            ZERO,
        )

    def _prices(self, side: Side) -> list[Decimal]:
        return self.bids if side is Side.BUY else self.asks
