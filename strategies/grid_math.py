"""Level prices, spacing against fees, order quantity: GRID.md 1, 2 and 6, pure.

A level is a price line, a cell the gap between two neighbouring levels: `num` levels make
`num - 1` cells. Each level is rounded to the tick once, half to even, and never again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

from core.model import GridMode, GridType, Instrument

Levels = tuple[Decimal, ...]


def level_prices(
    lower: Decimal,
    upper: Decimal,
    num: int,
    mode: GridMode,
    instrument: Instrument,
    *,
    first: int = 0,
) -> Levels:
    """Give the level prices, lowest first, each rounded to the tick.

    `first` is the index of the lowest one: with 3, the same formula's levels from `lower` + 3
    intervals on, so that a grid that moves by an index keeps every level that it already had.
    Errors: ValueError when `lower < upper`, `num >= 2` or distinct levels do not hold.
    """
    if not (lower.is_finite() and upper.is_finite() and 0 < lower < upper):
        raise ValueError(
            f"the range was {lower} to {upper}; expected 0 < lower < upper, both finite"
        )
    if num < 2:
        raise ValueError(f"grid_num was {num}; expected at least 2 levels (one cell)")
    cells = num - 1
    if mode is GridMode.ARITHMETIC:
        width = upper - lower
        raw = [lower + width * i / cells for i in range(first, first + num)]
    else:
        growth = (upper / lower).ln() / cells
        raw = [lower * (growth * i).exp() for i in range(first, first + num)]
        if 0 <= cells - first < num:
            raw[cells - first] = upper
    levels = tuple(instrument.round_price(price) for price in raw)
    for below, above in pairwise(levels):
        if below >= above:
            raise ValueError(
                f"two levels fall on the same price {plain(above)} at tick "
                f"{plain(instrument.tick_size)}; use fewer levels or a wider range"
            )
    if levels[0] <= 0:
        raise ValueError(f"the lowest level rounds to {plain(levels[0])}; raise the lower bound")
    return levels


def nearest_level(levels: Levels, price: Decimal, kind: GridType) -> int:
    """Give the index of the level nearest the price; a tie goes down, for a short grid up."""
    above = bisect_left(levels, price)
    if above == 0:
        return 0
    if above == len(levels):
        return len(levels) - 1
    to_below, to_above = price - levels[above - 1], levels[above] - price
    if to_below == to_above:
        return above if kind is GridType.SHORT else above - 1
    return above - 1 if to_below < to_above else above


def default_quantity(
    max_position: Decimal, levels: Levels, price: Decimal, kind: GridType, instrument: Instrument
) -> Decimal:
    """Derive the quantity of one order from the position limit, rounded down to the lot.

    A neutral grid holds at most the larger of its two sides at once; the others all cells.
    """
    cells = len(levels) - 1
    most = cells
    if kind is GridType.NEUTRAL:
        below = nearest_level(levels, price, kind)
        most = max(below, cells - below)
    return instrument.floor_quantity(max_position / most)


def fee_floor_faults(levels: Levels, fee: Decimal) -> tuple[str, ...]:
    """Name each cell that cannot earn its two fees (`fee` is the maker rate); empty when all can.

    A cell earns only if upper / lower > (1 + f) / (1 - f).
    """
    needed = ((1 + fee) / (1 - fee) - 1) * 100
    faults = [
        f"cell {plain(low)} to {plain(high)} does not earn its fees: it needs a step over "
        f"{needed:.6f} % and has {(high / low - 1) * 100:.6f} %; use fewer levels or a wider range"
        for low, high in cells_of(levels)
        if high * (1 - fee) <= low * (1 + fee)
    ]
    if len(faults) > 3:
        return (*faults[:3], f"and {len(faults) - 3} more cells like these")
    return tuple(faults)


def thin_cells(levels: Levels, fee: Decimal) -> Sequence[tuple[Decimal, Decimal]]:
    """Give the cells that earn less than twice their fees, lowest first."""
    return [(low, high) for low, high in cells_of(levels) if high - low < 2 * fee * (low + high)]


def fee_floor_warnings(levels: Levels, fee: Decimal) -> tuple[str, ...]:
    """Warn when the thinnest cell earns less than twice its fees."""
    thin = thin_cells(levels, fee)
    if not thin:
        return ()
    low, high = thin[0]
    words = (
        f"{len(thin)} cells earn less than twice their fees, the first {plain(low)} to "
        f"{plain(high)}: a step of {plain(high - low)} pays {plain(fee * (low + high))} in fees"
    )
    return (words,)


def cells_of(levels: Levels) -> Sequence[tuple[Decimal, Decimal]]:
    """Pair the levels into cells, lowest first."""
    return list(pairwise(levels))


def plain(value: Decimal) -> str:
    """Write a decimal for a person or a program: no exponent, no trailing zeros, never `-0`."""
    if value == 0:
        return "0"
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
