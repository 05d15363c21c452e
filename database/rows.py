"""Values to rows and back, exactly: the one place that knows the columns.

Decimals are TEXT as `str` gives them, so that sign, exponent and trailing zeros survive; moments
are INTEGER microseconds since 1970 UTC; enums are their values; flags are 0 or 1.
Pure: no connection, no clock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from core.model import (
    EquitySample,
    Fill,
    FundingPayment,
    Order,
    OrderStatus,
    PnL,
    Side,
    TimeInForce,
)

Row = tuple[Any, ...]

ORDER_COLUMNS = (
    "client_order_id, venue_order_id, symbol, side, price, quantity, filled_qty, status, live, "
    "post_only, reduce_only, time_in_force, slot, reason, created_at, updated_at"
)
FILL_COLUMNS = (
    "trade_id, venue_order_id, client_order_id, symbol, side, price, quantity, fee, fee_asset, "
    "is_maker, time"
)
FUNDING_COLUMNS = "symbol, time, rate, mark_price, position, amount"
EQUITY_COLUMNS = "time, price, position, equity, grid, trend, unrealized, fees, open_fees, funding"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SIDES = {side.value: side for side in Side}
_STATUSES = {status.value: status for status in OrderStatus}
_TIMES_IN_FORCE = {tif.value: tif for tif in TimeInForce}
_encode_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 UTC, exact. Errors: ValueError for a moment without a zone."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone; moments are timezone-aware UTC")
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def from_micros(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def to_text(number: Decimal) -> str:
    """The number's exact text. Errors: ValueError for NaN and infinities, which are no money."""
    if not number.is_finite():
        raise ValueError(f"{number} is no number that can be stored")
    return str(number)


def to_json(document: Mapping[str, Any]) -> str:
    """Compact JSON. Errors: TypeError for what JSON has no type for (a Decimal: pass its text)."""
    return _encode_json(document)


def from_json(text: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text)
    return document


def order_row(order: Order) -> Row:
    status = order.status
    return (
        order.client_order_id,
        order.venue_order_id,
        order.symbol,
        order.side.value,
        to_text(order.price),
        to_text(order.quantity),
        to_text(order.filled_qty),
        status.value,
        0 if status.is_terminal else 1,
        1 if order.post_only else 0,
        1 if order.reduce_only else 0,
        order.time_in_force.value,
        order.slot,
        order.reason,
        to_micros(order.created_at),
        to_micros(order.updated_at),
    )


def order_of(row: Row) -> Order:
    return Order(
        client_order_id=row[0],
        venue_order_id=row[1],
        symbol=row[2],
        side=_SIDES[row[3]],
        price=Decimal(row[4]),
        quantity=Decimal(row[5]),
        filled_qty=Decimal(row[6]),
        status=_STATUSES[row[7]],
        post_only=bool(row[9]),
        reduce_only=bool(row[10]),
        time_in_force=_TIMES_IN_FORCE[row[11]],
        slot=row[12],
        reason=row[13],
        created_at=from_micros(row[14]),
        updated_at=from_micros(row[15]),
    )


def fill_row(fill: Fill) -> Row:
    return (
        fill.trade_id,
        fill.venue_order_id,
        fill.client_order_id,
        fill.symbol,
        fill.side.value,
        to_text(fill.price),
        to_text(fill.quantity),
        to_text(fill.fee),
        fill.fee_asset,
        1 if fill.is_maker else 0,
        to_micros(fill.time),
    )


def fill_of(row: Row) -> Fill:
    return Fill(
        trade_id=row[0],
        venue_order_id=row[1],
        client_order_id=row[2],
        symbol=row[3],
        side=_SIDES[row[4]],
        price=Decimal(row[5]),
        quantity=Decimal(row[6]),
        fee=Decimal(row[7]),
        fee_asset=row[8],
        is_maker=bool(row[9]),
        time=from_micros(row[10]),
    )


def funding_row(payment: FundingPayment) -> Row:
    """A figure that the exchange does not tell is an empty text."""
    return (
        payment.symbol,
        to_micros(payment.time),
        _told(payment.rate),
        _told(payment.mark_price),
        _told(payment.position),
        to_text(payment.amount),
    )


def funding_of(row: Row) -> FundingPayment:
    return FundingPayment(
        symbol=row[0],
        time=from_micros(row[1]),
        rate=Decimal(row[2]) if row[2] else None,
        mark_price=Decimal(row[3]) if row[3] else None,
        position=Decimal(row[4]) if row[4] else None,
        amount=Decimal(row[5]),
    )


def _told(number: Decimal | None) -> str:
    return "" if number is None else to_text(number)


def equity_row(sample: EquitySample) -> Row:
    pnl = sample.pnl
    return (
        to_micros(sample.time),
        to_text(sample.price),
        to_text(sample.position),
        to_text(sample.equity),
        to_text(pnl.grid),
        to_text(pnl.trend),
        to_text(pnl.unrealized),
        to_text(pnl.fees),
        to_text(pnl.open_fees),
        to_text(pnl.funding),
    )


def equity_of(row: Row) -> EquitySample:
    return EquitySample(
        time=from_micros(row[0]),
        price=Decimal(row[1]),
        position=Decimal(row[2]),
        equity=Decimal(row[3]),
        pnl=PnL(
            grid=Decimal(row[4]),
            trend=Decimal(row[5]),
            unrealized=Decimal(row[6]),
            fees=Decimal(row[7]),
            open_fees=Decimal(row[8]),
            funding=Decimal(row[9]),
        ),
    )
