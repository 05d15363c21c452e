"""Why the engine refused, in the exchange's words, and why an order ended unasked. Pure."""

from __future__ import annotations

from core.errors import RejectReason
from exchanges.simulator.records import SimOrder, Why

REFUSED = {
    RejectReason.POST_ONLY: Why.POST_ONLY,
    RejectReason.PRECISION: Why.PRICE_TICK,
    RejectReason.NOTIONAL: Why.NOTIONAL,
    RejectReason.MARGIN: Why.MARGIN,
    RejectReason.REDUCE_ONLY: Why.REDUCE_ONLY,
}
EXPIRED = {
    RejectReason.POST_ONLY: "PostOnlyTaker",
    RejectReason.MARGIN: "InsufficientMargin",
    RejectReason.REDUCE_ONLY: "ReduceOnlyNotReduced",
}


def unfilled(order: SimOrder) -> str:
    return "FillOrKill" if order.tif == "FOK" else "ImmediateOrCancel"
