"""Run the live engine over history: same strategy, desk, journal and paper exchange, no waiting.

The clock is the data's own; the ledger is in memory. Nothing here decides anything, so what a
backtest does is what the bot does on the same prices.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from core.errors import ConfigError
from core.model import ZERO, Fill, PnL, Quote
from core.ports import PaperStore, Store
from database.db import Database
from exchanges.matching import Rules
from exchanges.paper import PaperExchange
from exchanges.price_feed import PriceSource
from strategies import ending, journal
from strategies.engine import Engine
from strategies.grid_state import GridState, pnl
from strategies.lots import cost_of, fees_of
from strategies.settings import EngineSettings

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ReplayClock:
    """Wall time as the last quote tells it, while the monotonic clock stands still.

    So nothing that waits for seconds to pass (a beat, a reconciliation, a point of the equity
    curve) is ever due: a replay is what the prices alone cause.
    """

    def __init__(self) -> None:
        self.engine: Engine | None = None

    def now(self) -> datetime:
        quote: Quote | None = None if self.engine is None else self.engine.quote
        return EPOCH if quote is None else quote.time

    def monotonic(self) -> float:
        return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayIds:
    """Client order ids of a replay: the number alone tells them apart."""

    prefix: str = "bt"

    def make(self, number: int) -> str:
        return f"{self.prefix}-{number}"

    def owns(self, client_order_id: str) -> bool:
        return client_order_id.startswith(self.prefix)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerPoint:
    """The ledger after one booking; between two of them only the mark price moves the equity.

    `cost` is the signed sum of quantity x entry price of all open lots, so that
    unrealized = position x mark - cost. All but `position` (base) in the quote currency.
    """

    time: datetime
    position: Decimal
    cost: Decimal
    grid: Decimal
    trend: Decimal
    fees: Decimal
    open_fees: Decimal
    funding: Decimal

    def pnl(self, mark: Decimal) -> PnL:
        """Give the accounting of GRID.md 6 at a mark price."""
        return PnL(
            grid=self.grid,
            trend=self.trend,
            unrealized=self.position * mark - self.cost,
            fees=self.fees,
            open_fees=self.open_fees,
            funding=self.funding,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a replay ended with. `seconds` is the run alone; `start_price` the first price.

    `points`: the ledger after each booking, oldest first; empty unless asked for. `ended_by`: the
    stop that ended it before the data did, as the bot words it; None: it ran to the data's end.
    `ended_at`: the data's time then.
    """

    grid: GridState
    pnl: PnL
    equity_change: Decimal
    start_price: Decimal
    last_price: Decimal
    fills: tuple[Fill, ...]
    seconds: float
    points: tuple[LedgerPoint, ...] = ()
    ended_by: str | None = None
    ended_at: datetime = EPOCH


def replay(
    settings: EngineSettings,
    rules: Rules,
    source: PriceSource,
    store: PaperStore,
    balance: Decimal,
    *,
    with_points: bool = False,
) -> Replayed:
    """Trade the whole of `source` and leave the position open, unless a stop of the bot closes it.

    Errors: ConfigError.
    `with_points` gives the ledger after each booking as well, outside of `seconds`.
    """
    clock = ReplayClock()
    paper = PaperExchange(
        rules=rules, balance=balance, speed=Decimal(0), source=source, store=store, clock=clock
    )
    ledger = Database(":memory:")
    engine = Engine(
        settings=settings,
        client=paper,
        feed=paper,
        store=ledger,
        clock=clock,
        ids=ReplayIds(),
        log=_silent,
        wait=_at_once,
    )
    clock.engine = engine
    began = time.perf_counter()
    engine.load()
    paper.start(engine.inbox.post)
    start_price = paper.fetch_quote(settings.symbol).last
    while engine.stop_request is None:
        engine.step(0.0)
    request = engine.stop_request
    if request.close_positions:  # a stop or the boundary: the bot closes before it ends
        ending.shut_down(engine, request)
    seconds = time.perf_counter() - began
    grid = engine.book.grid
    if grid is None:
        raise ConfigError(
            f"strategy_config.trigger_price: was {settings.grid.trigger_price}, a price that the "
            "data never reaches; no order was placed"
        )
    assert engine.quote is not None
    fills = ledger.load_fills(10_000_000)
    equity = paper.fetch_balance().equity
    points = ledger_points(ledger) if with_points else ()
    paper.stop()
    ledger.close()
    return Replayed(
        grid=grid,
        pnl=pnl(grid, engine.quote.mark),
        equity_change=equity - balance,
        start_price=start_price,
        last_price=engine.quote.last,
        fills=fills,
        seconds=seconds,
        points=points,
        ended_by=request.reason if request.close_positions else None,
        ended_at=engine.quote.time,
    )


def ledger_points(store: Store) -> tuple[LedgerPoint, ...]:
    """Fold the journal once more and note the figures after each booking, oldest first."""
    book, points = journal.Book(), []
    for seq, kind, payload, at in store.events_after(0):
        book = journal.apply(book, kind, payload, seq, at)
        grid = book.grid
        if grid is None or kind in ("wake", "initial_end", "zone", "source"):
            continue
        cost = open_fees = ZERO
        for side, lot in grid.lots():
            cost += side.sign * cost_of(lot)
            open_fees += fees_of(lot)
        totals = grid.totals
        points.append(
            LedgerPoint(
                time=at,
                position=grid.position,
                cost=cost,
                grid=totals.grid,
                trend=totals.trend,
                fees=totals.fees,
                open_fees=open_fees,
                funding=totals.funding,
            )
        )
    return tuple(points)


def _at_once(seconds: float) -> None:
    """The exchange is in this process: a pause before asking it again changes nothing."""


def _silent(event: str, **fields: object) -> None:
    """A replay keeps no log: its report is what it returns."""
