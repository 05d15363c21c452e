"""Builds the exchange that a config asks for; each is imported only when it is asked for.

The paper exchange takes its limits and fees from `exchange_config.paper`, leverage and range from
`strategy_config`; the live ones are put together in `live`.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import ConfigError
from core.model import ZERO, Instrument

if TYPE_CHECKING:
    from core.config import InstanceConfig
    from core.ports import Clock, ExchangeClient, Feed, PaperStore
    from exchanges.matching import Rules
    from exchanges.paper import PaperExchange
    from exchanges.price_feed import PriceSource

DEFAULT_LEVERAGE = Decimal(10)  # CONTRACT 8: what the simulator's account has
DEFAULT_START_PRICE = Decimal(100)  # a synthetic feed that neither names a price nor has a range
DEFAULT_BAND = Decimal("0.05")  # the same, for how far it strays from there
VOLATILITY = Decimal("0.0005")  # a second's; 20 levels over +-7 % fill about 18 times an hour of it
BAND_SHARE = Decimal(20)  # a narrow band gets a calmer price: at most this part of it a second
QUOTE_ASSETS = ("USDT", "USDC", "FDUSD", "USD1", "BUSD", "USDF", "USD", "BTC", "ETH")


def create_exchange(
    config: InstanceConfig,
    paper_store: PaperStore,
    clock: Clock,
    *,
    root: Path | None = None,
    history_from: datetime | None = None,
    may_change: bool = True,
) -> tuple[ExchangeClient, Feed]:
    """Build the client and the feed of an instance.

    `root` resolves a relative candle file and holds the live request budget (None: the current
    directory). `history_from`: nothing on a live exchange is older than this and ours. Unless
    `may_change` nothing of a live account is set. Errors: ConfigError for keys that are none and
    for a price file that cannot be read; StoreError.
    """
    if config.exchange.mode == "live":
        from exchanges.live import create_live

        live = create_live(
            config, root=root or Path(), history_from=history_from, may_change=may_change
        )
        return live.client, live.feed
    exchange = create_paper(config, paper_store, clock, root=root)
    return exchange, exchange


def create_paper(
    config: InstanceConfig,
    store: PaperStore,
    clock: Clock,
    *,
    root: Path | None = None,
    source: PriceSource | None = None,
    speed: Decimal | None = None,
    fill_through: bool = False,
) -> PaperExchange:
    """Build the paper exchange; `source` and `speed` take the place of the config's own."""
    from exchanges.paper import PaperExchange

    rules = paper_rules(config, fill_through=fill_through)
    return PaperExchange(
        rules=rules,
        balance=config.exchange.paper.balance,
        speed=config.exchange.paper.speed if speed is None else speed,
        source=source or paper_source(config, rules.instrument, root=root),
        store=store,
        clock=clock,
    )


def paper_rules(
    config: InstanceConfig, *, fill_through: bool = False, slippage: Decimal = ZERO
) -> Rules:
    """What the paper exchange allows and charges."""
    from exchanges.matching import Rules

    paper = config.exchange.paper
    base, quote = split_symbol(config.symbol)
    instrument = Instrument(
        symbol=config.symbol,
        base_asset=base,
        quote_asset=quote,
        tick_size=paper.tick_size,
        lot_size=paper.lot_size,
        min_quantity=paper.lot_size,
        min_notional=paper.min_notional,
        maker_fee=paper.maker_fee,
        taker_fee=paper.taker_fee,
        liquidation_fee=paper.taker_fee,  # a liquidation takes, at the price that caused it
    )
    leverage = config.strategy.leverage
    return Rules(
        instrument=instrument,
        leverage=DEFAULT_LEVERAGE if leverage is None else Decimal(leverage),
        fill_through=fill_through,
        slippage=slippage,
    )


def paper_source(
    config: InstanceConfig, instrument: Instrument, *, root: Path | None = None
) -> PriceSource:
    """The price path of `exchange_config.paper.feed`. Errors: ConfigError."""
    from exchanges.price_feed import read_funding
    from exchanges.price_files import file_source
    from exchanges.synthetic_feed import SyntheticSource

    paper = config.exchange.paper
    base = root or Path()
    if paper.feed == "csv":
        if paper.file is None:
            raise ConfigError(
                "exchange_config.paper.file: missing, expected a file of candles or trades"
            )
        funding: tuple[tuple[int, Decimal], ...] = ()
        if paper.funding_file is not None:
            funding = read_funding(base / paper.funding_file, config.symbol)
        return file_source(base / paper.file, funding)
    start, band = _start_and_band(config, instrument)
    return SyntheticSource(
        seed=paper.seed,
        start_price=start,
        tick_size=instrument.tick_size,
        volatility=min(VOLATILITY, band / BAND_SHARE),
        band=band,
        funding_rate=paper.funding_rate,
    )


def split_symbol(symbol: str) -> tuple[str, str]:
    """Tell base and quote asset of `SOL_USDC_PERP` or `BTCUSDT`; USD when none is named."""
    parts = symbol.replace("-", "_").replace("/", "_").split("_")
    if len(parts) > 1 and parts[0] and parts[1] and parts[1].upper() != "PERP":
        return parts[0], parts[1]
    for quote in QUOTE_ASSETS:
        if parts[0].upper().endswith(quote) and len(parts[0]) > len(quote):
            return parts[0][: -len(quote)], quote
    return parts[0], "USD"


def _start_and_band(config: InstanceConfig, instrument: Instrument) -> tuple[Decimal, Decimal]:
    """Where a synthetic price starts, on the tick, and the share by which it strays from there."""
    lower, upper = config.strategy.grid_lower_price, config.strategy.grid_upper_price
    start = config.exchange.paper.start_price
    percent = config.strategy.price_range
    band = DEFAULT_BAND if percent is None else percent / 100
    if lower is not None and upper is not None:
        middle = (lower + upper) / 2
        start = middle if start is None else start
        band = (upper - lower) / 2 / middle
    start = instrument.round_price(DEFAULT_START_PRICE if start is None else start)
    return max(start, instrument.tick_size), band
