"""Orders and requests for the tests of the real exchanges."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from core.model import Order, OrderRequest, OrderStatus, Side, TimeInForce

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def request(
    client_id: str,
    *,
    symbol: str = "SOL_USDC_PERP",
    side: Side = Side.BUY,
    price: str = "141.05",
    quantity: str = "1.2",
    post_only: bool = False,
    reduce_only: bool = False,
    ioc: bool = False,
) -> OrderRequest:
    return OrderRequest(
        client_order_id=client_id,
        symbol=symbol,
        side=side,
        price=Decimal(price),
        quantity=Decimal(quantity),
        post_only=post_only,
        reduce_only=reduce_only,
        time_in_force=TimeInForce.IOC if ioc else TimeInForce.GTC,
    )


def order(
    client_id: str,
    *,
    symbol: str = "SOL_USDC_PERP",
    venue_id: str | None = "99",
    status: OrderStatus = OrderStatus.NEW,
) -> Order:
    return Order(
        client_order_id=client_id,
        symbol=symbol,
        side=Side.BUY,
        price=Decimal("141.05"),
        quantity=Decimal("1.2"),
        status=status,
        created_at=MOMENT,
        updated_at=MOMENT,
        venue_order_id=venue_id,
    )
