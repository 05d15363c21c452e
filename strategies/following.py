"""A grid that follows the price: the next index of a trailing one, the new middle of another. Pure.

`trail` moves the grid by one index of the formula it was laid out with (GRID.md 8): one cell
drops out, its lot is carried, one is added at the other end, and all the others stay as they are.
`adjust_range` lays out a range of the same width (arithmetic) or ratio (geometric) around the
price; from there on it is an adjust like any other.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from core.model import GridMode, GridType, Instrument
from strategies.boundary import Zone
from strategies.grid_math import level_prices
from strategies.grid_state import Carried, GridSpec, GridState, Origin
from strategies.perp_grid import seed

HOUR = timedelta(hours=1)


def step_of(kind: GridType, zone: Zone) -> int:
    """Tell by how much a trailing grid's index moves: +1 up, -1 down, 0 when its kind does not.

    Beyond the top a long or neutral grid moves up, beyond the bottom a short or neutral one down.
    """
    if zone is Zone.ABOVE and kind is not GridType.SHORT:
        return 1
    if zone is Zone.BELOW and kind is not GridType.LONG:
        return -1
    return 0


def shifted(spec: GridSpec, step: int, instrument: Instrument) -> GridSpec:
    """Give the grid one index on. Errors: ValueError for levels that cannot be, one fault a line.

    Nothing is computed from rounded levels: all come from the bounds that the grid began with.
    """
    begun = spec.origin or Origin(lower=spec.lower, upper=spec.upper, index=0)
    origin = replace(begun, index=begun.index + step)
    levels = level_prices(
        origin.lower, origin.upper, spec.num, spec.mode, instrument, first=origin.index
    )
    return GridSpec(
        lower=levels[0],
        upper=levels[-1],
        mode=spec.mode,
        kind=spec.kind,
        quantity=spec.quantity,
        levels=levels,
        origin=origin,
    )


def shift(state: GridState, spec: GridSpec, step: int, price: Decimal) -> GridState:
    """Move every cell by one place into `spec`; the new cell gets the side that `price` gives.

    The position stays: a lot of the cell that drops out is carried with its own two levels.
    """
    spec = replace(spec)  # a memo of its own, as at every layout
    new = seed(spec, price)
    if step > 0:
        at, gone, cells = 0, state.cells[0], (*state.cells[1:], new[-1])
    else:
        at, gone, cells = len(state.cells) - 1, state.cells[-1], (new[0], *state.cells[:-1])
    carried, next_id = state.carried, state.next_carried
    if gone.lot:
        levels = state.spec.levels
        kept = Carried(
            id=next_id, side=gone.side, lower=levels[at], upper=levels[at + 1], lot=gone.lot
        )
        carried, next_id = (*carried, kept), next_id + 1
    return replace(
        state,
        spec=spec,
        cells=cells,
        version=state.version + 1,
        carried=carried,
        next_carried=next_id,
    )


def recentred(spec: GridSpec, price: Decimal, instrument: Instrument) -> GridSpec:
    """Give the grid around `price`. Errors: ValueError for levels that cannot be."""
    if spec.mode is GridMode.ARITHMETIC:
        width = spec.upper - spec.lower
        lower = instrument.round_price(price - width / 2)
        upper = lower + width
    else:
        ratio = spec.upper / spec.lower
        lower = instrument.round_price(price / ratio.sqrt())
        upper = instrument.round_price(lower * ratio)
    return GridSpec(
        lower=lower,
        upper=upper,
        mode=spec.mode,
        kind=spec.kind,
        quantity=spec.quantity,
        levels=level_prices(lower, upper, spec.num, spec.mode, instrument),
    )


def recent_moves(moves: tuple[datetime, ...], now: datetime) -> tuple[datetime, ...]:
    """Keep the moves of the last hour."""
    return tuple(move for move in moves if move > now - HOUR)
