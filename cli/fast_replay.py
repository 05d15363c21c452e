"""A replay without the engine, where only crossings matter: the same result, sooner.

It lays the grid out with the engine's own functions, walks the path in integers (`fast_walk`) and
books what happened (`fast_ledger`). It answers only what it can prove to be what the engine would
have answered (`fast_proof`); for everything else it raises `NotProven`, before anything was
changed, and the engine runs instead. That it is equal, fill by fill, is tested against the engine.
"""

from __future__ import annotations

import time
from decimal import Context, Decimal
from typing import Protocol, runtime_checkable

from cli.fast_ledger import Books
from cli.fast_proof import (
    MOST_DIGITS,
    Bounds,
    NotProven,
    check_boundary,
    check_settings,
)
from cli.fast_start import FirstOrders
from cli.fast_walk import Lines, Walk
from cli.replayed import Replayed
from core.model import Side
from exchanges.changes import moment
from exchanges.matching import Rules
from exchanges.track import Rates, Track, ceil_units, floor_units
from strategies import journal
from strategies.grid_state import GridSpec, GridState, pnl
from strategies.settings import EngineSettings, build_spec

MOST_PRICE = Decimal("1e15")
"""Where the paper exchange begins to refuse prices and quantities (`admission`)."""

_EXACT = Context(prec=200)


@runtime_checkable
class TrackSource(Protocol):
    """A price source that can be had whole."""

    @property
    def funding(self) -> Rates: ...

    def track(self) -> Track: ...


def fast_replay(
    settings: EngineSettings,
    rules: Rules,
    track: Track,
    funding: Rates,
    balance: Decimal,
    *,
    points: bool = False,
) -> Replayed:
    """Replay a whole track. Errors: NotProven, when the engine has to tell."""
    began = time.perf_counter()
    check_settings(settings, rules)
    row, corner = _start(settings, track)
    price = track.price(max(row, 0), max(corner, 0))
    spec = _spec(settings, rules, price)
    low, high = track.lowest, track.highest
    check_boundary(settings, spec.levels, low, high)
    seeded_ms = track.time_ms(max(row, 0), max(corner, 0))
    dues = track.dues(funding)
    if spec.levels[-1] >= MOST_PRICE or spec.quantity * spec.num >= MOST_PRICE:
        raise NotProven("prices or quantities are beyond what the exchange takes")
    start = FirstOrders(settings, rules, spec, price, moment(seeded_ms), balance)
    bounds = Bounds(
        spec=spec,
        quantity=start.quantity,
        rules=rules,
        low=low,
        high=high,
        digits=_money_digits(spec, rules, balance, track, dues, start),
    )
    start.check(bounds)
    walk = Walk(
        track=track,
        lines=Lines.of(spec.levels, track.digits, bounds.beyond),
        hole=start.hole,
        bottom=start.bottom,
        top=start.top,
    )
    walk.run(max(row, 0), corner + 1, dues)
    books = start.books(track, dues, bounds)
    books.run(walk.events)
    _check_limit(settings, start.grid, walk, start.quantity)
    grid = books.final_grid()
    last = len(track.lows) - 1
    last_price = track.price(last, -1)
    figures = pnl(grid, last_price)
    held = start.quantity * (books.base - books.hole)
    equity = _EXACT.scaleb(Decimal(books.cash), -bounds.digits) + held * last_price
    _check_size(books, bounds, start)
    if figures.total + books.unbooked != equity - balance:  # I6; sums that were made apart
        raise NotProven("a fault of this short way: its accounts do not add up")
    seconds = time.perf_counter() - began
    return Replayed(
        grid=grid,
        pnl=figures,
        equity_change=equity - balance,
        start_price=track.price(0, 0),
        last_price=last_price,
        fills=tuple(books.fills),
        seconds=seconds,
        points=books.points() if points else (),
        ended_at=moment(track.time_ms(last, len(track.corners(last)) - 1)),
    )


def _start(settings: EngineSettings, track: Track) -> tuple[int, int]:
    """Find the corner at which the grid is laid out; (0, -1): at the very first price.

    With a trigger it is the first corner at it, or beyond it as seen from the first price.
    """
    trigger = settings.grid.trigger_price
    first = track.price(0, 0)
    if trigger is None or first == trigger:
        return 0, -1
    digits = track.digits
    if first > trigger:
        limit = floor_units(trigger, digits)
        for row, low in enumerate(track.lows):
            if low <= limit:
                return row, next(i for i, p in enumerate(track.corners(row)) if p <= limit)
    else:
        limit = ceil_units(trigger, digits)
        for row, high in enumerate(track.highs):
            if high >= limit:
                return row, next(i for i, p in enumerate(track.corners(row)) if p >= limit)
    raise NotProven("the trigger is never reached")


def _spec(settings: EngineSettings, rules: Rules, price: Decimal) -> GridSpec:
    """Lay the grid out as the journal gives it back."""
    try:
        spec = build_spec(settings.grid, price, rules.instrument)
    except (ValueError, ArithmeticError) as error:
        raise NotProven(f"the grid is refused: {error}") from None
    return journal.decode_spec(journal.encode_spec(spec))


def _check_limit(settings: EngineSettings, grid: GridState, walk: Walk, quantity: Decimal) -> None:
    """Refuse a limit that can bind: each side's awake cells together must fit under it."""
    limit = settings.max_position
    if limit is None:
        return
    awake = [cell.side for cell in grid.cells[walk.bottom : walk.top]]
    most = max(awake.count(Side.BUY), awake.count(Side.SELL))
    if most * quantity > limit:
        raise NotProven("max_position may limit the orders")


def _money_digits(
    spec: GridSpec,
    rules: Rules,
    balance: Decimal,
    track: Track,
    dues: list[tuple[int, Rates]],
    start: FirstOrders,
) -> int:
    """How many decimals the longest sum of money has."""
    levels = max(_decimals(level) for level in spec.levels)
    quantity = _decimals(spec.quantity)
    rates = [_decimals(rate) for _, due in dues for _, rate in due]
    price = max(track.digits, levels)
    return max(
        _decimals(balance),
        quantity + price + _decimals(rules.instrument.maker_fee),
        quantity + price + max(rates, default=0),
        *(_decimals(fill.fee) for fill in start.fills),
    )


def _decimals(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def _check_size(books: Books, bounds: Bounds, start: FirstOrders) -> None:
    """Refuse sums so long that the ledger's 60 digits might round them."""
    turnover = sum(books.filled) * books.quantity * start.spec.levels[-1]
    most = abs(start.balance) + turnover + start.initial * start.price * 2
    if most.adjusted() + bounds.digits + 4 > MOST_DIGITS:
        raise NotProven("the sums are too long")
