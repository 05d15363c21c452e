"""`python -m exchanges.simulator`: a local exchange that speaks a real one's protocol.

When it accepts connections it prints one line of JSON on standard output, and nothing else ever;
everything else goes to standard error. SIGTERM or SIGINT ends it with 0. Exit 2: bad arguments.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import time
from decimal import Decimal
from pathlib import Path

from core.errors import ConfigError, ExitCode, UsageError
from core.model import Instrument
from exchanges.factory import split_symbol
from exchanges.simulator import credentials, feed
from exchanges.simulator.app import App, Exchange
from exchanges.simulator.credentials import ASTER, BACKPACK, Credentials
from exchanges.simulator.faults import MAX_SEED, Faults
from exchanges.simulator.hub import Hub
from exchanges.simulator.limits import Listing, PriceBand
from exchanges.simulator.server import Plan, listen, serve
from exchanges.simulator.text import decimal_or_none
from exchanges.simulator.venue import Venue

BALANCE = Decimal(100_000)
LEVERAGE = 10
TICK = Decimal("0.01")
LOT = Decimal("0.001")
MAKER_FEE = Decimal("0.0002")
TAKER_FEE = Decimal("0.0005")
MAX_PRICE = Decimal(1_000_000)
MAX_QUANTITY = Decimal(1_000_000)
DEFAULT_SYMBOL = {BACKPACK: "SOL_USDC_PERP", ASTER: "SOLUSDT"}
_SYMBOL = {
    BACKPACK: re.compile(r"[A-Za-z0-9]{1,20}_[A-Z0-9]{2,10}_PERP\Z"),
    ASTER: re.compile(r"[A-Z0-9]{1,20}(USDT|USDC|USD1|USDF|USD|FDUSD)\Z"),
}
_BAND = {
    BACKPACK: PriceBand(low=Decimal("0.1"), high=Decimal(10), is_aggressive=False),
    ASTER: PriceBand(low=Decimal("0.8"), high=Decimal("1.2"), is_aggressive=True),
}
_MAX_ORDERS = {BACKPACK: 1_000, ASTER: 200}  # Backpack documents no figure


def main(arguments: list[str] | None = None) -> int:
    """Run until told to stop; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        plan = _plan(options)
    except (UsageError, ConfigError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a command prints
        return ExitCode.USAGE
    try:
        asyncio.run(serve(plan))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a command prints
        return ExitCode.FAILED
    return ExitCode.OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m exchanges.simulator",
        description="A local exchange that speaks the protocol of Backpack or Aster.",
    )
    parser.add_argument("--protocol", required=True, choices=(BACKPACK, ASTER))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--symbol", nargs="+", action="extend", help="one or more to be traded")
    parser.add_argument("--price", default="150", help="where every symbol starts")
    parser.add_argument(
        "--feed", default="synthetic", metavar="synthetic|CSV|none", help="what moves the price"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the price, the faults and the past")
    parser.add_argument(
        "--speed", default="1", help="simulated seconds a second; 0: as fast as it can"
    )
    parser.add_argument(
        "--listen-key-life", default="3600", metavar="SECONDS", help="of Aster's user stream"
    )
    parser.add_argument("--credentials", type=Path, metavar="FILE.json")
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    """Errors: UsageError, ConfigError."""
    protocol: str = options.protocol
    price = _figure("--price", options.price, TICK, MAX_PRICE)
    life = _figure("--listen-key-life", options.listen_key_life, Decimal("0.1"), Decimal(86_400))
    speed = _figure("--speed", options.speed, Decimal(0), Decimal(1_000_000))
    if not 0 <= options.seed <= MAX_SEED:
        raise UsageError(f"--seed: was {options.seed}, expected an integer from 0")
    listings = _listings(protocol, options.symbol or [DEFAULT_SYMBOL[protocol]])
    keys = (
        credentials.throwaway(protocol)
        if options.credentials is None
        else credentials.read(options.credentials, protocol)
    )
    now_ms = _now_us() // 1000
    sources = []
    for number, listing in enumerate(listings):
        seed = options.seed + number
        source = feed.make_source(options.feed, listing.instrument, price, seed, now_ms)
        if source is not None:
            sources.append((listing.symbol, source))
            if options.feed != "synthetic":
                price = source.beginning.price
    return Plan(
        listener=listen(options.host, options.port),
        credentials=keys,
        make_app=lambda: _make_app(protocol, listings, keys, price, options.seed, int(life * 1000)),
        sources=sources,
        speed=speed,
    )


def _make_app(
    protocol: str,
    listings: list[Listing],
    keys: Credentials,
    price: Decimal,
    seed: int,
    listen_key_ms: int,
) -> App:
    faults = Faults(seed)
    hub = Hub(faults)
    venue = Venue(
        listings,
        balance=BALANCE,
        leverage=LEVERAGE,
        price=price,
        faults=faults,
        seed=seed,
        now_us=_now_us(),
        shrinks=protocol == BACKPACK,
    )
    exchange: Exchange
    if protocol == BACKPACK:
        from exchanges.simulator.backpack import Backpack

        exchange = Backpack(venue, hub, keys.api_key)
    else:
        from exchanges.simulator.aster import Aster

        exchange = Aster(venue, hub, keys, listen_key_ms)
    return App(venue, exchange, hub, faults, keys.api_key, _now_us)


def _listings(protocol: str, symbols: list[str]) -> list[Listing]:
    listings: dict[str, Listing] = {}
    for symbol in symbols:
        if not _SYMBOL[protocol].match(symbol):
            raise UsageError(
                f"--symbol: was {symbol!r}, expected one such as {DEFAULT_SYMBOL[protocol]}"
            )
        base, quote = split_symbol(symbol)
        instrument = Instrument(
            symbol=symbol,
            base_asset=base,
            quote_asset=quote,
            tick_size=TICK,
            lot_size=LOT,
            min_quantity=LOT,
            min_notional=Decimal(5) if protocol == ASTER else Decimal(0),
            maker_fee=MAKER_FEE,
            taker_fee=TAKER_FEE,
            max_quantity=MAX_QUANTITY,
            liquidation_fee=TAKER_FEE,
            max_open_orders=_MAX_ORDERS[protocol],
        )
        listings[symbol] = Listing(
            instrument=instrument, min_price=TICK, max_price=MAX_PRICE, band=_BAND[protocol]
        )
    quotes = {listing.instrument.quote_asset for listing in listings.values()}
    if len(quotes) > 1:
        raise UsageError(f"--symbol: one account has one quote asset, found {sorted(quotes)}")
    return list(listings.values())


def _figure(name: str, text: str, low: Decimal, high: Decimal) -> Decimal:
    value = decimal_or_none(text)
    if value is None or not low <= value <= high:
        raise UsageError(f"{name}: was {text!r}, expected {low} to {high}")
    return value


def _now_us() -> int:
    return time.time_ns() // 1000


if __name__ == "__main__":
    sys.exit(main())
