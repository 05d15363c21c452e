"""A small world around the paper exchange: a clock to turn, a store that crashes, a toy grid."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from core.errors import StoreError
from core.model import (
    FeedEnd,
    Fill,
    FundingPayment,
    Instrument,
    MarketEvent,
    Order,
    OrderRequest,
    Side,
    TimeInForce,
)
from exchanges.matching import Rules
from exchanges.paper import PaperExchange
from exchanges.paper_memory import MemoryPaperStore
from exchanges.price_feed import PriceSource

D = Decimal
SYMBOL = "BTC_USDC_PERP"
START = datetime(2022, 1, 1, tzinfo=UTC)
MARKET_DATA = Path(os.environ.get("GRID_DATA", Path(__file__).parents[3] / "shared/market_data"))
MONTH = MARKET_DATA / "btc_perp_1m_2022-01.csv"
FUNDING = MARKET_DATA / "funding_btcusdt_binance_8h_2020_2023.csv"


class TurnedClock:
    """A clock that stands until it is turned."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return 1000.0 + self.seconds


class CrashError(BaseException):
    """The process dies here: nothing of ours catches it."""


class FlakyStore(MemoryPaperStore):
    """Fails on demand (`fails`), or dies after (`dies_at` >= 0) or before the n-th commit."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = False
        self.commits = 0
        self.dies_at: int | None = None
        self.dies_before = False

    def commit(
        self,
        account: Mapping[str, Any],
        orders: Sequence[Order] = (),
        fills: Sequence[Fill] = (),
        funding: Sequence[FundingPayment] = (),
    ) -> None:
        if self.fails:
            raise StoreError("disk full")
        self.commits += 1
        dies = self.dies_at is not None and self.commits == self.dies_at
        if dies and self.dies_before:
            raise CrashError
        super().commit(account, orders, fills, funding)
        if dies:
            raise CrashError


def instrument(
    tick: str = "1", lot: str = "0.001", maker: str = "0.0002", taker: str = "0.0005"
) -> Instrument:
    return Instrument(
        symbol=SYMBOL,
        base_asset="BTC",
        quote_asset="USDC",
        tick_size=D(tick),
        lot_size=D(lot),
        min_quantity=D(lot),
        min_notional=D(5),
        maker_fee=D(maker),
        taker_fee=D(taker),
        liquidation_fee=D(taker),
    )


def rules(
    leverage: int = 10, *, through: bool = False, tick: str = "1", slippage: str = "0"
) -> Rules:
    return Rules(
        instrument=instrument(tick),
        leverage=D(leverage),
        fill_through=through,
        slippage=D(slippage),
    )


def request(
    name: str,
    side: Side,
    price: Decimal | int | str,
    quantity: Decimal | int | str = 1,
    *,
    post_only: bool = False,
    reduce_only: bool = False,
    ioc: bool = False,
) -> OrderRequest:
    return OrderRequest(
        client_order_id=name,
        symbol=SYMBOL,
        side=side,
        price=D(price),
        quantity=D(quantity),
        post_only=post_only,
        reduce_only=reduce_only,
        time_in_force=TimeInForce.IOC if ioc else TimeInForce.GTC,
    )


def paper(
    source: PriceSource,
    store: MemoryPaperStore | None = None,
    clock: TurnedClock | None = None,
    *,
    speed: int = 0,
    balance: int = 100_000,
    with_rules: Rules | None = None,
) -> PaperExchange:
    return PaperExchange(
        rules=with_rules or rules(),
        balance=D(balance),
        speed=D(speed),
        source=source,
        store=store if store is not None else MemoryPaperStore(),
        clock=clock or TurnedClock(),
    )


def write_candles(path: Path, candles: Sequence[Sequence[object]], start_ms: int = 0) -> Path:
    """Write rows of (open, high, low, close), a minute each."""
    lines = ["timestamp_ms,open,high,low,close,volume"]
    for index, candle in enumerate(candles):
        lines.append(",".join(map(str, (start_ms + index * 60_000, *candle, 1))))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_path(path: Path, prices: Sequence[object]) -> Path:
    """Write candles that have one price each: the path visits just these."""
    return write_candles(path, [(price,) * 4 for price in prices])


class ToyGrid:
    """A neutral grid that answers each fill with its counter-order. Not the product's: a driver.

    Cells as in GRID.md 1-3. Its order names count the orders of a cell, so that after a crash it
    continues from the exchange's own fills, as an engine does from its ledger.
    """

    def __init__(self, levels: Sequence[Decimal], quantity: Decimal, price: Decimal) -> None:
        self.levels = levels
        self.quantity = quantity
        nearest = min(range(len(levels)), key=lambda i: (abs(levels[i] - price), i))
        self.buys_first = [cell < nearest for cell in range(len(levels) - 1)]
        self.counts = [0] * (len(levels) - 1)
        self.seen: set[str] = set()
        self.fills: list[Fill] = []
        self.funding: dict[datetime, FundingPayment] = {}
        self.closed = 0
        self.grid = D(0)
        self.ended = False

    def wanted(self, cell: int) -> OrderRequest:
        count = self.counts[cell]
        is_buy = self.buys_first[cell] == (count % 2 == 0)
        price = self.levels[cell] if is_buy else self.levels[cell + 1]
        side = Side.BUY if is_buy else Side.SELL
        return request(f"c{cell}-{count}", side, price, self.quantity, post_only=True)

    def place_missing(self, exchange: PaperExchange) -> None:
        """Place whatever is wanted and not known there."""
        missing = [
            order
            for cell in range(len(self.counts))
            if exchange.fetch_order(SYMBOL, (order := self.wanted(cell)).client_order_id) is None
        ]
        for outcome in exchange.place_orders(missing):
            assert isinstance(outcome, Order), outcome

    def apply(self, fill: Fill) -> int | None:
        """Advance the cell of a fill; None when it was known."""
        if fill.trade_id in self.seen:
            return None
        self.seen.add(fill.trade_id)
        self.fills.append(fill)
        cell = int(fill.client_order_id[1:].split("-")[0])
        if self.counts[cell] % 2:
            self.closed += 1
            self.grid += self.quantity * (self.levels[cell + 1] - self.levels[cell])
            self.grid -= self.quantity * (self.levels[cell + 1] + self.levels[cell]) * D("0.0002")
        self.counts[cell] += 1
        return cell

    def handle(self, exchange: PaperExchange, events: Sequence[MarketEvent]) -> None:
        changed: list[int] = []
        for event in events:
            if isinstance(event, Fill):
                cell = self.apply(event)
                if cell is not None:
                    changed.append(cell)
            elif isinstance(event, FundingPayment):
                self.funding[event.time] = event
            elif isinstance(event, FeedEnd):
                self.ended = True
        if changed:
            for outcome in exchange.place_orders([self.wanted(cell) for cell in changed]):
                assert isinstance(outcome, Order), outcome

    def recover(self, exchange: PaperExchange) -> None:
        """After a crash: what the exchange did and never told, then what is missing."""
        for fill in exchange.fetch_fills(SYMBOL, None):
            self.apply(fill)
        for payment in exchange.fetch_funding(SYMBOL, None):
            self.funding[payment.time] = payment
        self.place_missing(exchange)

    def run(self, exchange: PaperExchange, polls: int = 10**9) -> None:
        for _ in range(polls):
            if self.ended:
                return
            self.handle(exchange, exchange.poll())
