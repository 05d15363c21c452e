"""What an order of one symbol must keep to, beside margin and reduce-only. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from core.model import Instrument
from exchanges.simulator.records import Draft, Refused, Why

_TOO_LONG = Decimal("1e15")  # so that value % step stays within Decimal's digits


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBand:
    """Allowed prices as factors of the last price.

    `is_aggressive`: only a BUY has the upper and only a SELL the lower bound, as Aster's
    PERCENT_PRICE; else both sides have both.
    """

    low: Decimal
    high: Decimal
    is_aggressive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A symbol and its limits."""

    instrument: Instrument
    min_price: Decimal
    max_price: Decimal
    band: PriceBand
    state: str = "open"

    @property
    def symbol(self) -> str:
        return self.instrument.symbol


STATES = ("open", "post_only", "cancel_only", "closed")


def check(draft: Draft, listing: Listing, last: Decimal) -> None:
    """Errors: Refused for the first limit that the order breaks."""
    if listing.state == "post_only" and not draft.post_only:
        raise Refused(Why.BOOK_POST_ONLY)
    if listing.state in ("cancel_only", "closed"):
        raise Refused(Why.BOOK_CLOSED)
    if draft.price is not None:
        _check_price(draft, draft.price, listing, last)
    if draft.trigger is not None:
        _check_trigger(draft.trigger.price, listing)
    for exit_ in draft.exits:
        for price in (exit_.trigger.price, exit_.limit):
            if price is not None:
                _check_trigger(price, listing)
    quantity = draft.quantity
    if quantity is None:
        if draft.quote_quantity is None or draft.price is not None:
            raise Refused(Why.QUANTITY_MISSING)
        return
    instrument = listing.instrument
    if not quantity.is_finite() or quantity >= _TOO_LONG:
        raise Refused(Why.QUANTITY_HIGH)
    if quantity <= 0:
        raise Refused(Why.QUANTITY_ZERO)
    if quantity % instrument.lot_size != 0:
        raise Refused(Why.QUANTITY_STEP)
    if quantity < instrument.min_quantity:
        raise Refused(Why.QUANTITY_LOW)
    if instrument.max_quantity is not None and quantity > instrument.max_quantity:
        raise Refused(Why.QUANTITY_HIGH)
    worth = quantity * (last if draft.price is None else draft.price)
    if not draft.reduce_only and worth < instrument.min_notional:
        raise Refused(Why.NOTIONAL)


def _check_price(draft: Draft, price: Decimal, listing: Listing, last: Decimal) -> None:
    if not price.is_finite() or price > listing.max_price:
        raise Refused(Why.PRICE_HIGH)
    if price < listing.min_price:
        raise Refused(Why.PRICE_LOW)
    if price % listing.instrument.tick_size != 0:
        raise Refused(Why.PRICE_TICK)
    band = listing.band
    if price > last * band.high and not (band.is_aggressive and draft.side.sign < 0):
        raise Refused(Why.BAND_HIGH)
    if price < last * band.low and not (band.is_aggressive and draft.side.sign > 0):
        raise Refused(Why.BAND_LOW)


def _check_trigger(price: Decimal, listing: Listing) -> None:
    """It has a tick as a price has, and no band."""
    if price > listing.max_price:
        raise Refused(Why.PRICE_HIGH)
    if price < listing.min_price:
        raise Refused(Why.PRICE_LOW)
    if price % listing.instrument.tick_size != 0:
        raise Refused(Why.PRICE_TICK)
