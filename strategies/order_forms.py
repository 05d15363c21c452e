"""An order as it is wanted, as it is written down, and as it is asked for. Pure."""

from __future__ import annotations

from datetime import datetime

from core.model import Order, OrderRequest, OrderStatus
from strategies.grid_state import DesiredOrder


def pending_order(want: DesiredOrder, client_order_id: str, symbol: str, now: datetime) -> Order:
    """Give the row of an order that is about to leave."""
    return Order(
        client_order_id=client_order_id,
        symbol=symbol,
        side=want.side,
        price=want.price,
        quantity=want.quantity,
        status=OrderStatus.PENDING,
        created_at=now,
        updated_at=now,
        post_only=want.post_only,
        reduce_only=want.reduce_only,
        time_in_force=want.time_in_force,
        slot=want.slot,
    )


def request_of(order: Order) -> OrderRequest:
    """Give the request for an order that is written down."""
    return OrderRequest(
        client_order_id=order.client_order_id,
        symbol=order.symbol,
        side=order.side,
        price=order.price,
        quantity=order.quantity,
        post_only=order.post_only,
        reduce_only=order.reduce_only,
        time_in_force=order.time_in_force,
    )
