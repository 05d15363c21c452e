"""The books of a fast replay: from the events of a walk to fills, lots, money and numbers. Pure.

Every figure is what the engine's journal would come to. Orders are numbered as it sends them: the
first plan nearest price first, then one in answer to each fill, and those of woken cells nearest
price first. The exchange accepts all, so its own numbers are the same. Journal entries are numbered
too, since a lot names the one that opened it: the seed, each fill, each funding payment while
something is held, each waking of cells that slept.

Money is added up exactly: in integers for the proofs, and at the end from counts of fills.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from cli.fast_proof import Bounds, NotProven
from cli.fast_walk import BUY, FUND, SELL, Event
from cli.replayed import LedgerPoint
from core.model import ZERO, Fill, GridType, Side
from exchanges.changes import moment
from exchanges.track import Rates, Track
from strategies.grid_state import GridState, Totals
from strategies.lots import Part, cost_of, fees_of

SEED_SEQ = 1


@dataclass(slots=True, kw_only=True)
class Books:
    """What is booked, event by event, from `grid`, the state that the first orders start from.

    `fills`, `cash` (integer units) and `orders` (numbers given out) already hold what the start
    did; `number` is each cell's working order. `base`: the hole at which the position is zero.
    """

    track: Track
    dues: Sequence[tuple[int, Rates]]
    grid: GridState
    bounds: Bounds
    fee_rate: Decimal
    fee_asset: str
    symbol: str
    order_id: Callable[[int], str]
    seeded_at: datetime
    exit_prices: Sequence[Decimal]  # of each level, as an exit writes it
    quantity: Decimal
    hole: int
    bottom: int
    top: int
    base: int
    fills: list[Fill]
    cash: int
    orders: int
    number: list[int]
    seq: int
    started: int = 0  # how many fills the start made
    closed: list[int] = field(default_factory=list)  # by cell: how often its lot was closed
    filled: list[int] = field(default_factory=list)  # by level: how many orders filled there
    opened: list[int] = field(default_factory=list)  # by cell: the entry that opened its lot; 0
    funding: list[tuple[int, Decimal, int]] = field(default_factory=list)  # booked ones
    unbooked: Decimal = ZERO

    def run(self, events: Sequence[Event]) -> None:
        """Book all events. Errors: NotProven when the cash falls below what the proof needs."""
        spec, bounds, track, kind = self.grid.spec, self.bounds, self.track, self.grid.spec.kind
        levels = spec.levels
        fees = [_fee(self.quantity, level, self.fee_rate) for level in levels]
        exact = [int((self.quantity * level).scaleb(bounds.digits)) for level in levels]
        fee_units = [int(fee.scaleb(bounds.digits)) for fee in fees]
        paid = [-worth - fee for worth, fee in zip(exact, fee_units, strict=True)]
        earned = [worth - fee for worth, fee in zip(exact, fee_units, strict=True)]
        opened = self.opened = [cell.lot[0].seq if cell.lot else 0 for cell in self.grid.cells]
        closed = self.closed = [0] * len(opened)
        filled = self.filled = [0] * len(levels)
        sides = [cell.side for cell in self.grid.cells]
        number, fills, order_id = self.number, self.fills, self.order_id
        least = bounds.least_cash(self.bottom, self.top, self.base)
        cash, orders, seq, trades = self.cash, self.orders, self.seq, len(fills)
        asset, symbol, quantity = self.fee_asset, self.symbol, self.quantity
        exit_prices, hole = self.exit_prices, self.hole
        self._enough(cash, least[hole])
        buying, selling = Side.BUY, Side.SELL
        passed, now = (-1, -1), self.seeded_at
        for row, corner, what, level in events:
            if what in (BUY, SELL):
                if what == BUY:
                    cell, side = level, buying
                    cash += paid[level]
                else:
                    cell, side = level - 1, selling
                    cash += earned[level]
                seq += 1
                trades += 1
                filled[level] += 1
                if sides[cell] is side:
                    opened[cell] = seq
                    price = levels[level]
                else:
                    opened[cell] = 0
                    closed[cell] += 1
                    price = exit_prices[level]
                if passed != (row, corner):
                    passed, now = (row, corner), moment(track.time_ms(row, corner))
                mine = number[cell]
                fills.append(
                    Fill(
                        trade_id=f"T{trades}",
                        venue_order_id=f"P{mine}",
                        client_order_id=order_id(mine),
                        symbol=symbol,
                        side=side,
                        price=price,
                        quantity=quantity,
                        fee=fees[level],
                        fee_asset=asset,
                        is_maker=True,
                        time=now,
                    )
                )
                orders += 1
                number[cell] = orders
                hole = level
                if cash < least[level]:
                    raise NotProven(f"margin may be short after fill {trades} at {price}")
            elif what == FUND:
                position = self.base - hole
                if position:
                    mark = track.price(row, corner)
                    for stamp, rate in self.dues[level][1]:
                        amount = -(quantity * position * mark * rate)
                        cash += int(amount.scaleb(bounds.digits))
                        if moment(stamp) >= self.seeded_at:
                            seq += 1
                            self.funding.append((stamp, amount, trades))
                        else:  # the account pays at a candle's close what the ledger finds old
                            self.unbooked += amount
                    self._enough(cash, least[hole])
            else:
                asleep = self.grid.cells
                if kind is GridType.LONG:
                    woken = range(self.top, level)
                    order = reversed(woken)
                    self.top = level
                else:
                    woken = range(level, self.bottom)
                    order = iter(woken)
                    self.bottom = level
                seq += any(not asleep[i].awake for i in woken)
                for i in order:
                    orders += 1
                    number[i] = orders
                hole = self.base = level
                least = bounds.least_cash(self.bottom, self.top, self.base)
                self._enough(cash, least[level])
        self.hole, self.cash, self.orders, self.seq = hole, cash, orders, seq

    def _enough(self, cash: int, least: int) -> None:
        if cash < least:
            raise NotProven("margin may be short")

    def final_grid(self) -> GridState:
        """Give the state that the engine's journal would fold to."""
        grid, quantity = self.grid, self.quantity
        levels, before = grid.spec.levels, grid.totals
        gains = trend = ZERO
        cells = []
        fees = before.fees
        for level, count in zip(levels, self.filled, strict=True):
            if count:
                fees += count * _fee(quantity, level, self.fee_rate)
        open_fees = ZERO
        for i, cell in enumerate(grid.cells):
            lower, upper = levels[i], levels[i + 1]
            if self.closed[i]:
                gains += self.closed[i] * (quantity * (upper - lower))
                trend += _trend_of(cell.side, cell.lot, quantity, lower, upper)
            awake = cell.awake or self.bottom <= i < self.top
            lot = cell.lot
            if not self.opened[i]:
                lot = ()
            elif not lot or lot[0].seq != self.opened[i]:
                at = lower if cell.side is Side.BUY else upper
                fee = _fee(quantity, at, self.fee_rate)
                lot = (Part(quantity=quantity, price=at, fee=fee, seq=self.opened[i]),)
            open_fees += fees_of(lot)
            cells.append(replace(cell, awake=awake, lot=lot))
        closed = sum(self.closed)
        funding = ZERO
        for _, amount, _ in self.funding:
            funding += amount
        return replace(
            grid,
            cells=tuple(cells),
            totals=Totals(
                grid=gains - (fees - open_fees) if closed else ZERO,
                trend=trend,
                fees=fees,
                funding=funding,
                closed_cells=closed,
                fills=len(self.fills) - self.started,
                initial_fills=before.initial_fills,
            ),
        )

    def points(self) -> tuple[LedgerPoint, ...]:
        """Give the ledger after each booking, oldest first."""
        grid, levels = self.grid, self.grid.spec.levels
        lots = [_Held(cost_of(cell.lot), fees_of(cell.lot)) for cell in grid.cells]
        sides = [cell.side for cell in grid.cells]
        held = [bool(cell.lot) for cell in grid.cells]
        index = {level: i for i, level in enumerate(levels)}
        now = LedgerPoint(
            time=self.seeded_at,
            position=ZERO,
            cost=ZERO,
            grid=ZERO,
            trend=ZERO,
            fees=ZERO,
            open_fees=ZERO,
            funding=ZERO,
        )
        points = [now]
        payments = iter(self.funding)
        payment = next(payments, None)
        for count, fill in enumerate(self.fills, start=1):
            while payment is not None and payment[2] < count:
                now = replace(now, time=moment(payment[0]), funding=now.funding + payment[1])
                points.append(now)
                payment = next(payments, None)
            if count <= self.started:
                now = self._started(fill, lots, now)
            else:
                level = index[fill.price]
                cell = level if fill.side is Side.BUY else level - 1
                now = self._booked(fill, cell, lots, held, sides[cell], now)
            points.append(now)
        while payment is not None:
            now = replace(now, time=moment(payment[0]), funding=now.funding + payment[1])
            points.append(now)
            payment = next(payments, None)
        return tuple(points)

    def _started(self, fill: Fill, lots: list[_Held], now: LedgerPoint) -> LedgerPoint:
        """The initial entry: its lots are the grid's from the beginning."""
        sign = fill.side.sign
        return replace(
            now,
            time=fill.time,
            position=fill.signed_quantity,
            cost=sum((sign * lot.cost for lot in lots), ZERO),
            fees=fill.fee,
            open_fees=sum((lot.fee for lot in lots), ZERO),
        )

    def _booked(
        self,
        fill: Fill,
        i: int,
        lots: list[_Held],
        held: list[bool],
        side: Side,
        now: LedgerPoint,
    ) -> LedgerPoint:
        """One fill of a cell's order: it opens the cell's lot, or closes it."""
        levels, quantity = self.grid.spec.levels, self.quantity
        position, fees = now.position + fill.signed_quantity, now.fees + fill.fee
        if not held[i]:
            lots[i], held[i] = _Held(quantity * fill.price, fill.fee), True
            return replace(
                now,
                time=fill.time,
                position=position,
                cost=now.cost + side.sign * lots[i].cost,
                fees=fees,
                open_fees=now.open_fees + fill.fee,
            )
        held[i] = False
        lot, lower, upper = lots[i], levels[i], levels[i + 1]
        away = quantity * lower - lot.cost if side is Side.BUY else lot.cost - quantity * upper
        return replace(
            now,
            time=fill.time,
            position=position,
            cost=now.cost - side.sign * lot.cost,
            grid=now.grid + quantity * (upper - lower) - lot.fee - fill.fee,
            trend=now.trend + away,
            fees=fees,
            open_fees=now.open_fees - lot.fee,
        )


@dataclass(frozen=True, slots=True)
class _Held:
    """What a cell holds: quantity x entry price, and the fee on it."""

    cost: Decimal
    fee: Decimal


def _fee(quantity: Decimal, price: Decimal, rate: Decimal) -> Decimal:
    return quantity * price * rate


def _trend_of(
    side: Side, first: tuple[Part, ...], quantity: Decimal, lower: Decimal, upper: Decimal
) -> Decimal:
    """What closing a cell's first lot booked as trend: nothing unless the start made the lot."""
    if not first:
        return quantity * lower - quantity * lower  # zero, written as the ledger writes it
    if side is Side.BUY:
        return quantity * lower - cost_of(first)
    return cost_of(first) - quantity * upper
