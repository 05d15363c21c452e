"""Exposure and admission: what may be sent so that the limit holds at every instant, pure.

The worst case has every order fill (GRID.md 5): lots plus opening orders of one side, orders in
flight and orders whose cancel is not confirmed included, never exceed `max_position`.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from core.model import ZERO, Order, Side


def opening_exposure(orders: Iterable[Order], side: Side, entry_ids: frozenset[str]) -> Decimal:
    """Sum what opening orders of one side may still fill; `entry_ids` are their client ids."""
    return sum(
        (
            order.quantity - order.filled_qty
            for order in orders
            if order.side is side and order.client_order_id in entry_ids
        ),
        ZERO,
    )


def fits(quantity: Decimal, held: Decimal, opening: Decimal, max_position: Decimal | None) -> bool:
    """Tell whether one more opening order keeps the worst case within the limit."""
    return max_position is None or held + opening + quantity <= max_position


def liquidation_price(
    position: Decimal,
    entry: Decimal,
    margin: Decimal,
    maintenance_rate: Decimal,
    liquidation_fee: Decimal,
) -> Decimal | None:
    """Estimate where a linear one-way position is liquidated; None: nowhere (GRID.md 6).

    `margin` is what is left to the position after fees and funding, in the quote currency.
    """
    size = abs(position)
    if size == 0:
        return None
    if position > 0:
        price = (size * entry - margin) / (size * (1 - maintenance_rate - liquidation_fee))
    else:
        price = (size * entry + margin) / (size * (1 + maintenance_rate + liquidation_fee))
    return price if price > 0 else None
