"""Moves the market by itself: a seeded random price, or a candle file, in its own time.

The price path is the paper exchange's (`exchanges.price_feed`): straight lines between vertices,
`speed` simulated seconds a second. Stamps of the exchange are the wall clock's all the same, since
requests are signed for it; no funding is paid but by `/_sim/funding`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

from core.model import Instrument
from exchanges.price_feed import CandleSource, PriceSource, Vertex
from exchanges.synthetic_feed import SyntheticSource

VOLATILITY = Decimal("0.0005")  # a second's, as the paper exchange's
BAND = Decimal("0.05")
BATCH = 200  # vertices before others get their turn
MIN_SLEEP_S = 0.02

Move = Callable[[str, Decimal], None]


def make_source(
    feed: str, instrument: Instrument, price: Decimal, seed: int, now_ms: int
) -> PriceSource | None:
    """A path for one symbol; None: the price moves by the control route alone.

    Errors: ConfigError for a file that is no candle file.
    """
    if feed == "none":
        return None
    source: PriceSource
    if feed == "synthetic":
        source = SyntheticSource(
            seed=seed,
            start_price=instrument.round_price(price),
            tick_size=instrument.tick_size,
            volatility=VOLATILITY,
            band=BAND,
            funding_rate=Decimal(0),
        )
    else:
        source = CandleSource(Path(feed))
    source.open(None, now_ms)
    return source


async def run(sources: Sequence[tuple[str, PriceSource]], speed: Decimal, move: Move) -> None:
    """Walk every path until it ends. `speed` 0: as fast as the loop allows.

    Errors: ConfigError for a candle file that turns out to be faulty on the way.
    """
    await asyncio.gather(*(_walk(symbol, source, float(speed), move) for symbol, source in sources))


async def _walk(symbol: str, source: PriceSource, speed: float, move: Move) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    told: Decimal | None = None
    count = 0
    while (vertex := source.next()) is not None:
        wait_s = _due_s(vertex, speed) - (loop.time() - began)
        count += 1
        if wait_s > 0 or count % BATCH == 0:
            await asyncio.sleep(max(wait_s, MIN_SLEEP_S) if wait_s > 0 else 0)
        if vertex.price != told:
            told = vertex.price
            move(symbol, vertex.price)


def _due_s(vertex: Vertex, speed: float) -> float:
    return vertex.pace_ms / 1000 / speed if speed else 0.0
