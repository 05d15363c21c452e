"""The equity curve: a point a minute of market time, and never more than two a second of ours."""

from __future__ import annotations

from datetime import datetime, timedelta

from core.model import EquitySample, Quote
from core.ports import Clock, Store
from strategies.grid_state import GridState, pnl

EQUITY_S = 60.0
"""Seconds of market time between two points."""

EQUITY_WALL_S = 0.5
"""Seconds of wall time between two points at least, however fast the market's own time runs."""


class EquityCurve:
    """Writes a point whenever one is due. Engine thread only."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._next: datetime | None = None
        self._next_at = 0.0

    def sample(self, quote: Quote, grid: GridState) -> None:
        """Take a price; most of them make no point. Errors: StoreError."""
        if self._next is not None and quote.time < self._next:
            return
        now = self._clock.monotonic()
        if now < self._next_at:
            return  # a replay at full speed: the curve has enough points
        self._next_at = now + EQUITY_WALL_S
        self._next = quote.time + timedelta(seconds=EQUITY_S)
        figures = pnl(grid, quote.mark)
        sample = EquitySample(
            time=quote.time,
            price=quote.last,
            position=grid.position,
            pnl=figures,
            equity=figures.total,
        )
        with self._store.transaction(lazy=True):
            self._store.insert_equity(sample)
