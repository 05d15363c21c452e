"""Lots: what is held in a cell, and the money that closing it books (GRID.md 3 and 6), pure.

A lot is a list of fills, closed first in, first out. A part's fee is rounded to 1e-12 when only a
piece of it is closed; what is left of the fee stays with the remainder, so nothing is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from core.model import ZERO, Side

FEE_STEP = Decimal("1E-12")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One fill, or what is left of it: base quantity, price, and the quote fee still on it.

    `seq` is the place of the fill in the ledger: lower is older.
    """

    quantity: Decimal
    price: Decimal
    fee: Decimal
    seq: int


Lot = tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """What a close added to the accounting, in the quote currency."""

    grid: Decimal = ZERO
    trend: Decimal = ZERO
    quantity: Decimal = ZERO


def quantity_of(lot: Lot) -> Decimal:
    """Total base quantity, unsigned."""
    if len(lot) == 1:  # nearly always: one fill made it
        return lot[0].quantity
    return sum((part.quantity for part in lot), ZERO)


def cost_of(lot: Lot) -> Decimal:
    """Quantity x entry price, unsigned, without fees."""
    return sum((part.quantity * part.price for part in lot), ZERO)


def fees_of(lot: Lot) -> Decimal:
    """Fees paid to open what is still open."""
    return sum((part.fee for part in lot), ZERO)


def take(lot: Lot, quantity: Decimal) -> tuple[Lot, Lot]:
    """Split a lot, oldest first, into the part that makes up `quantity` and the rest."""
    taken: list[Part] = []
    rest = list(lot)
    while quantity > 0 and rest:
        part = rest.pop(0)
        if part.quantity <= quantity:
            taken.append(part)
            quantity -= part.quantity
            continue
        fee = (part.fee * quantity / part.quantity).quantize(FEE_STEP)
        taken.append(Part(quantity=quantity, price=part.price, fee=fee, seq=part.seq))
        rest.insert(
            0,
            Part(
                quantity=part.quantity - quantity,
                price=part.price,
                fee=part.fee - fee,
                seq=part.seq,
            ),
        )
        quantity = ZERO
    return tuple(taken), tuple(rest)


def book_interval(
    closed: Lot, side: Side, lower: Decimal, upper: Decimal, price: Decimal, fee: Decimal
) -> Booked:
    """Book a lot closed by its own closing order: one interval is grid, what is beyond is trend.

    `side` is the side that opened it (BUY: a long lot); `fee` is the closing fee.
    """
    quantity = quantity_of(closed)
    grid = quantity * (upper - lower) - fees_of(closed) - fee
    if side is Side.BUY:
        trend = quantity * lower - cost_of(closed) + quantity * (price - upper)
    else:
        trend = cost_of(closed) - quantity * upper + quantity * (lower - price)
    return Booked(grid=grid, trend=trend, quantity=quantity)


def book_trend(closed: Lot, side: Side, price: Decimal, fee: Decimal) -> Booked:
    """Book any other close: all of it, fees too, is trend."""
    quantity = quantity_of(closed)
    gross = side.sign * (quantity * price - cost_of(closed))
    return Booked(trend=gross - fees_of(closed) - fee, quantity=quantity)


def break_even(lot: Lot, side: Side, fee_rate: Decimal) -> Decimal:
    """Give the price at which the lot closes with nothing lost, its closing fee included."""
    quantity = quantity_of(lot)
    if side is Side.BUY:
        return (cost_of(lot) + fees_of(lot)) / (quantity * (1 - fee_rate))
    return (cost_of(lot) - fees_of(lot)) / (quantity * (1 + fee_rate))
