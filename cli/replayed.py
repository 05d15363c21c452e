"""What a replay gives back, whichever way it was computed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from core.model import Fill, PnL
from strategies.grid_state import GridState

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayIds:
    """Client order ids of a replay: the number alone tells them apart."""

    prefix: str = "bt"
    capacity: int | None = None

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
    `ended_at`: the data's time then. `why_engine`: why the engine itself had to run; empty when
    crossings alone told the result.
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
    why_engine: str = ""
