"""A price path held whole in memory, as columns of integers, for replays that skip what is quiet.

A track is a list of rows (candles, or trades), each with its lowest and highest price and the
corners that price passes, in order. Prices are integers in units of `10 ** -digits`, exact, so that
rows are compared at the speed of integers; `price` gives the decimal as it was written.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from operator import itemgetter
from pathlib import Path
from typing import Protocol

from core.errors import ConfigError
from core.model import ZERO

MOST_DECIMALS = 60
_EXACT = Context(prec=200)  # prices are below 1e30: 30 digits before the point, 60 behind it

Rates = tuple[tuple[int, Decimal], ...]
"""Funding rates as (stamp in Unix milliseconds, rate), oldest first."""


class Track(Protocol):
    """A whole price path. `lows`, `highs`: of each row, in units of `10 ** -digits`."""

    @property
    def digits(self) -> int: ...

    @property
    def lows(self) -> Sequence[int]: ...

    @property
    def highs(self) -> Sequence[int]: ...

    @property
    def lowest(self) -> Decimal:
        """The lowest price of all."""
        ...

    @property
    def highest(self) -> Decimal: ...

    def corners(self, row: int) -> tuple[int, ...]:
        """The prices of one row in the order in which they are passed."""
        ...

    def time_ms(self, row: int, corner: int) -> int:
        """When a corner is passed."""
        ...

    def price(self, row: int, corner: int) -> Decimal:
        """The price of a corner as the file writes it."""
        ...

    def dues(self, funding: Rates) -> list[tuple[int, Rates]]:
        """The rates that fall into the path, by the row at whose last corner they are due."""
        ...


def decimals_of(prices: Iterable[Decimal], path: Path) -> int:
    """How many decimals the longest of some prices has. Errors: ConfigError above 60."""
    digits = -min((int(price.as_tuple().exponent) for price in prices), default=0)
    digits = max(0, digits)
    if digits > MOST_DECIMALS:
        raise ConfigError(f"{path}: a price has {digits} decimals, expected at most 60")
    return digits


def to_units(price: Decimal, digits: int) -> int:
    """A price of no more than `digits` decimals in units, exactly."""
    return int(_EXACT.scaleb(price, digits))


def floor_units(price: Decimal, digits: int) -> int:
    """The greatest whole number of units that is no more than `price`. Range: finite."""
    return int(_EXACT.scaleb(price, digits).to_integral_value(ROUND_FLOOR))


def ceil_units(price: Decimal, digits: int) -> int:
    """The least whole number of units that is no less than `price`. Range: finite."""
    return int(_EXACT.scaleb(price, digits).to_integral_value(ROUND_CEILING))


def quiet_rows(track: Track, begin: int, end: int, low: Decimal, high: Decimal) -> int:
    """Count the rows from `begin` on, before `end`, that lie strictly between `low` and `high`."""
    low_units = floor_units(low, track.digits) if low > ZERO else 0  # no price is below
    rows = zip(range(begin, end), track.lows[begin:end], track.highs[begin:end], strict=True)
    if high.is_infinite():
        for row, lowest, _ in rows:
            if lowest <= low_units:
                return row - begin
        return end - begin
    high_units = ceil_units(high, track.digits)
    for row, lowest, highest in rows:
        if lowest <= low_units or highest >= high_units:
            return row - begin
    return end - begin


def group_rates(funding: Rates, times: Sequence[int], end_ms: int) -> list[tuple[int, Rates]]:
    """Give each rate to the last row stamped at or before it; those outside of the path are none.

    `times`: the rows' stamps; `end_ms`: where the last row ends.
    """
    groups: dict[int, list[tuple[int, Decimal]]] = {}
    stamp_of = itemgetter(0)
    first = bisect_left(funding, times[0], key=stamp_of)
    for stamp, rate in funding[first : bisect_left(funding, end_ms, key=stamp_of)]:
        groups.setdefault(bisect_right(times, stamp) - 1, []).append((stamp, rate))
    return [(row, tuple(rates)) for row, rates in groups.items()]
