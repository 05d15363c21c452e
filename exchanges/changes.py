"""What the simulated exchange's matching stops at, and what it leaves behind. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from core.model import Fill, FundingPayment, Order, Side

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(time_ms: int) -> datetime:
    """Turn Unix milliseconds into an aware UTC moment, exactly."""
    return EPOCH + timedelta(milliseconds=time_ms)


@dataclass(frozen=True, slots=True)
class Stop:
    """Where the path is interrupted. `side`: whose orders fill; None: liquidation."""

    price: Decimal
    side: Side | None


@dataclass(slots=True)
class Changes:
    """What happened: rows to store, and `events` to tell, in order.

    An order is told only when it ended unasked; the others are told by their fill or the reply.
    """

    orders: dict[str, Order] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    funding: list[FundingPayment] = field(default_factory=list)
    events: list[Fill | Order | FundingPayment] = field(default_factory=list)
