"""The key figures of one run, from its accounting and its curve. Pure and exact, but for rounding.

What each figure means is written beside it on the page; here is how it is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from cli.backtesting.curve import Curve
from cli.backtesting.setup import Setup
from cli.replay import Replayed
from core.model import ZERO
from strategies.snapshots import invested

YEAR_DAYS = 365
DAY_MS = 86_400_000
_CENT = Decimal("0.01")
Rates = Sequence[tuple[int, Decimal]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The same notional bought at the start and simply held. Quote units, quantity in base."""

    quantity: Decimal
    notional: Decimal
    price_gain: Decimal
    fee: Decimal
    funding: Decimal

    @property
    def equity_change(self) -> Decimal:
        return self.price_gain - self.fee + self.funding


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Percentages are rounded to a hundredth; None: there is nothing to divide by.

    `notional`: what one side of the grid holds when it is full; `invested`: its margin, the base of
    both yearly rates. `in_range`: share of candles that closed inside the range. `exposed`: share
    that closed with a position; `mean_exposure`: mean of |position| x close over all of them.
    """

    days: Decimal
    notional: Decimal
    invested: Decimal
    grid_apr: Decimal | None
    total_apr: Decimal | None
    drawdown: Decimal
    drawdown_percent: Decimal
    drawdown_of_invested: Decimal | None
    in_range: Decimal
    exposed: Decimal
    mean_exposure: Decimal
    most_held: Decimal
    held: Held


def figures(setup: Setup, replayed: Replayed, curve: Curve, rates: Rates, end_ms: int) -> Figures:
    """Compute them; `end_ms` is the end of the last candle, or when a stop ended the run."""
    settings, instrument = setup.settings, setup.rules.instrument
    spec = replayed.grid.spec
    margin = invested(spec, settings.max_position, settings.leverage)
    notional = margin * settings.leverage
    count = Decimal(len(curve))
    exposures = [abs(q) * price for q, price in zip(curve.position, curve.close, strict=True)]
    inside = sum(spec.lower <= close <= spec.upper for close in curve.close)
    days = Decimal(end_ms - curve.times_ms[0]) / DAY_MS
    due = [(stamp, rate) for stamp, rate in rates if stamp < end_ms]
    quantity = instrument.floor_quantity(notional / replayed.start_price)
    deepest = curve.deepest
    return Figures(
        days=days,
        notional=_cents(notional),
        invested=_cents(margin),
        grid_apr=_percent(replayed.pnl.grid * YEAR_DAYS, margin * days),
        total_apr=_percent(replayed.equity_change * YEAR_DAYS, margin * days),
        drawdown=deepest.amount,
        drawdown_percent=_cents(deepest.percent),
        drawdown_of_invested=_percent(deepest.amount, margin),
        in_range=_percent(Decimal(inside), count) or ZERO,
        exposed=_percent(Decimal(sum(q != 0 for q in curve.position)), count) or ZERO,
        mean_exposure=_cents(sum(exposures, ZERO) / count),
        most_held=max(abs(q) for q in curve.position),
        held=hold(quantity, replayed, instrument.taker_fee, curve, due),
    )


def hold(
    quantity: Decimal, replayed: Replayed, taker_fee: Decimal, curve: Curve, rates: Rates
) -> Held:
    """Buy at the first price, as taker, and hold to the end; funding as the grid pays it."""
    start, last = replayed.start_price, replayed.last_price
    notional = quantity * start
    return Held(
        quantity=quantity,
        notional=notional,
        price_gain=quantity * (last - start),
        fee=notional * taker_fee,
        funding=sum((-(quantity * close * rate) for close, rate in _due(curve, rates)), ZERO),
    )


def _due(curve: Curve, rates: Rates) -> list[tuple[Decimal, Decimal]]:
    """The close at which each rate was due: of the last candle stamped at or before it."""
    found, i, times = [], 0, curve.times_ms
    for stamp, rate in rates:
        if stamp < times[0]:
            continue
        while i + 1 < len(times) and times[i + 1] <= stamp:
            i += 1
        found.append((curve.close[i], rate))
    return found


def _percent(part: Decimal, whole: Decimal) -> Decimal | None:
    return _cents(part * 100 / whole) if whole > 0 else None


def _cents(value: Decimal) -> Decimal:
    return value.quantize(_CENT)
