"""Run the live engine over history: same strategy, desk, journal and paper exchange, no waiting.

The clock is the data's own; the ledger is in memory. Nothing here decides anything, so what a
backtest does is what the bot does on the same prices.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from cli.fast_proof import NotProven
from cli.fast_replay import TrackSource, fast_replay
from cli.replayed import EPOCH
from cli.replayed import LedgerPoint as LedgerPoint  # what a replay gives back is had from here
from cli.replayed import Replayed as Replayed
from cli.replayed import ReplayIds as ReplayIds
from core.errors import ConfigError
from core.model import ZERO, Quote
from core.ports import PaperStore, Store
from database.memory_store import MemoryStore
from exchanges.matching import Rules
from exchanges.paper import PaperExchange
from exchanges.price_feed import PriceSource
from exchanges.track import Rates, Track
from strategies import ending, journal
from strategies.engine import Engine
from strategies.grid_state import pnl
from strategies.lots import cost_of, fees_of
from strategies.settings import EngineSettings


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


def replay(
    settings: EngineSettings,
    rules: Rules,
    source: PriceSource,
    store: PaperStore,
    balance: Decimal,
    *,
    with_points: bool = False,
    fast: bool = True,
) -> Replayed:
    """Trade the whole of `source` and leave the position open, unless a stop of the bot closes it.

    Errors: ConfigError.

    Where only crossings matter the engine is not needed (`fast_replay`); `why_engine` of the result
    says why it was. `fast` False: always the engine. `with_points` gives the ledger after each
    booking as well, outside of `seconds`. `store` stays empty unless the engine runs.
    """
    why, tried = "it was asked for", 0.0
    if fast:
        try:
            with _no_collection():
                track, funding = _track_of(source, store)
            began = time.perf_counter()
            try:
                with _no_collection():
                    return fast_replay(settings, rules, track, funding, balance, points=with_points)
            finally:
                tried = time.perf_counter() - began
        except NotProven as error:
            why = str(error)
    replayed = _engine_replay(settings, rules, source, store, balance, with_points=with_points)
    return replace(replayed, why_engine=why, seconds=replayed.seconds + tried)


def _track_of(source: PriceSource, store: PaperStore) -> tuple[Track, Rates]:
    """Read the whole path. Errors: NotProven when there is no track, or the account is not new."""
    if not isinstance(source, TrackSource):
        raise NotProven(f"a {source.kind} feed has no end")
    if store.load_account() is not None:
        raise NotProven("the account is not new")
    return source.track(), source.funding


@contextmanager
def _no_collection() -> Iterator[None]:
    """Leave the garbage be: thousands of values come to stay, and none of them is in a cycle.

    Each round of the collector would look at all of them again, a fifth of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _engine_replay(
    settings: EngineSettings,
    rules: Rules,
    source: PriceSource,
    store: PaperStore,
    balance: Decimal,
    *,
    with_points: bool,
) -> Replayed:
    clock = ReplayClock()
    paper = PaperExchange(
        rules=rules, balance=balance, speed=Decimal(0), source=source, store=store, clock=clock
    )
    ledger = MemoryStore()
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
