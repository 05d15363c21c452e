"""Exposure and admission: what may be sent so that the limit holds at every instant, pure.

The worst case has every order fill (GRID.md 5): lots plus opening orders of one side, orders in
flight and orders whose cancel is not confirmed included, never exceed `max_position`. The same
worst case says where an account would be liquidated (GRID.md 6).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from core.model import ZERO, Instrument, Side
from strategies.grid_state import DesiredOrder, Leg


def fits(quantity: Decimal, held: Decimal, opening: Decimal, max_position: Decimal | None) -> bool:
    """Tell whether one more opening order keeps the worst case within the limit."""
    return max_position is None or held + opening + quantity <= max_position


def trim_quantity(held: Decimal, ours: Decimal, max_position: Decimal | None) -> Decimal:
    """Say how much of a position is to be taken off (signed: > 0 sells); 0: nothing.

    `held` is what the exchange has and `ours` what the lots make, both signed and without what was
    there before. Only what came from outside is ever trimmed, and only above the limit.
    """
    foreign = held - ours
    if max_position is None or foreign * held <= 0:
        return ZERO
    excess = min(abs(held) - max_position, abs(foreign))
    if excess <= 0:
        return ZERO
    return excess if held > 0 else -excess


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


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstCase:
    """Where the account would be liquidated if the price fell, or rose, through all orders.

    None: nowhere on that way.
    """

    falling: Decimal | None
    rising: Decimal | None


def worst_case(
    position: Decimal,
    entry: Decimal | None,
    margin: Decimal,
    orders: Iterable[DesiredOrder],
    instrument: Instrument,
) -> WorstCase:
    """Fill one side's orders from the price outward and see where liquidation would come first.

    `margin` is the wallet: balance without unrealized PnL, quote currency. An initial entry
    counts as filled before the price moves.
    """
    wanted = list(orders)
    first = [order for order in wanted if order.leg is Leg.INITIAL]
    rest = [order for order in wanted if order.leg is not Leg.INITIAL]
    results = {}
    for side in Side:
        way = [order for order in rest if order.side is side]
        way.sort(key=lambda order: order.price, reverse=side is Side.BUY)
        results[side] = _walk(position, entry, margin, first, way, side, instrument)
    return WorstCase(falling=results[Side.BUY], rising=results[Side.SELL])


def _walk(
    position: Decimal,
    entry: Decimal | None,
    margin: Decimal,
    first: list[DesiredOrder],
    way: list[DesiredOrder],
    side: Side,
    instrument: Instrument,
) -> Decimal | None:
    """Walk outward; BUY orders lie on the way down, where only a long position is liquidated."""
    at_risk = 1 if side is Side.BUY else -1
    average = ZERO if entry is None else entry
    for order in first:
        position, average, margin = _fill(position, average, margin, order, instrument.taker_fee)
    found = _liquidation(position, average, margin, instrument, at_risk)
    for order in way:
        if found is not None and (found - order.price) * at_risk >= 0:
            break  # liquidation comes before this order
        position, average, margin = _fill(position, average, margin, order, instrument.maker_fee)
        found = _liquidation(position, average, margin, instrument, at_risk)
        if found is not None and (found - order.price) * at_risk > 0:
            found = order.price  # never beyond the level just filled
            break
    return found


def _fill(
    position: Decimal, average: Decimal, margin: Decimal, order: DesiredOrder, fee: Decimal
) -> tuple[Decimal, Decimal, Decimal]:
    """Give position, average entry and margin after an order filled at its own price."""
    signed = order.side.sign * order.quantity
    margin -= order.quantity * order.price * fee
    closing = min(abs(position), order.quantity) if position * signed < 0 else ZERO
    if closing:
        margin += closing * (order.price - average) * (1 if position > 0 else -1)
    after = position + signed
    if after == 0:
        return after, ZERO, margin
    if after * position <= 0:  # from flat, or through it
        return after, order.price, margin
    if closing:
        return after, average, margin
    cost = abs(position) * average + order.quantity * order.price
    return after, cost / abs(after), margin


def _liquidation(
    position: Decimal, average: Decimal, margin: Decimal, instrument: Instrument, at_risk: int
) -> Decimal | None:
    if position * at_risk <= 0:
        return None
    return liquidation_price(
        position, average, margin, instrument.maintenance_rate, instrument.liquidation_fee
    )


def liquidation_faults(worst: WorstCase, lower: Decimal, upper: Decimal) -> tuple[str, ...]:
    """Say that the account would be liquidated inside the range; empty when it would not."""
    faults = []
    if worst.falling is not None and worst.falling >= lower:
        faults.append(_fault("falling", worst.falling, lower, upper))
    if worst.rising is not None and worst.rising <= upper:
        faults.append(_fault("rising", worst.rising, lower, upper))
    return tuple(faults)


def _fault(way: str, price: Decimal, lower: Decimal, upper: Decimal) -> str:
    return (
        f"in the worst case a {way} price liquidates the account at about {price:.8g}, inside the "
        f"range {lower} to {upper}: lower quantity or max_position, add margin, or set "
        "allow_liquidation_in_range"
    )
