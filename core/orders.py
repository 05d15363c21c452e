"""The order-status table: how an order moves on by a fill and by the exchange's word. Pure.

    from \\ by            fill, some left   fill, all     report: open   report: ended
    PENDING              PARTIALLY_FILLED  FILLED        NEW            as reported
    NEW                  PARTIALLY_FILLED  FILLED        NEW            as reported
    PARTIALLY_FILLED     PARTIALLY_FILLED  FILLED        itself         as reported
    CANCELED, EXPIRED    itself            FILLED        itself         itself
    REJECTED             itself            FILLED        itself         itself
    FILLED               FILLED            FILLED        FILLED         FILLED

A fill after CANCELED is odd but true: the cancel lost the race and the news overtook each other.
The quantity filled is the sum of the fills we have, never a report's own figure: a report that
knows of more is answered by fetching those fills, and until they are here the order has not ended.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from core.model import Fill, Order, OrderStatus


def apply_fill(order: Order, fill: Fill) -> Order:
    """Give the order after one new fill of it."""
    filled = order.filled_qty + fill.quantity
    status = order.status
    if filled >= order.quantity:
        status = OrderStatus.FILLED
    elif not status.is_terminal:
        status = OrderStatus.PARTIALLY_FILLED
    return replace(
        order,
        filled_qty=filled,
        status=status,
        venue_order_id=fill.venue_order_id or order.venue_order_id,
        updated_at=fill.time,
    )


def is_missing_fills(order: Order, seen: Order) -> bool:
    """Tell whether the exchange reports more filled than the ledger has."""
    return seen.filled_qty > order.filled_qty


def apply_report(order: Order, seen: Order, now: datetime) -> Order:
    """Give the order after the exchange's word on it; unchanged when that says nothing new.

    A report that ends an order whose fills are not all here leaves it as it is.
    """
    if order.status.is_terminal:
        return order
    venue_order_id = seen.venue_order_id or order.venue_order_id
    if seen.status.is_terminal:
        if is_missing_fills(order, seen):
            return order
        return replace(
            order,
            status=seen.status,
            venue_order_id=venue_order_id,
            updated_at=now,
            reason=seen.reason,
        )
    status = OrderStatus.PARTIALLY_FILLED if order.filled_qty else OrderStatus.NEW
    if order.status is status and order.venue_order_id == venue_order_id:
        return order
    return replace(order, status=status, venue_order_id=venue_order_id, updated_at=now)
