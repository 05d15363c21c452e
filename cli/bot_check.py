"""`run.py --check`: every check that a start makes, in words, and nothing started.

Prints one line a check, `ok` or what is wrong and what to do; exit code 0, 2 or 4 (CONTRACT 6).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from cli.bot_place import place_of
from cli.bot_wiring import SystemClock, engine_settings
from core.errors import AuthError, ConfigError, ExitCode, GridfleetError
from core.model import ZERO, Instrument
from strategies.grid_math import cells_of, plain
from strategies.grid_state import GridSpec
from strategies.perp_grid import desired_orders, new_grid
from strategies.risk import liquidation_faults, worst_case
from strategies.settings import EngineSettings, build_spec, spec_warnings
from strategies.snapshots import invested

if TYPE_CHECKING:
    from core.config_load import LoadedConfig


def check(loaded: LoadedConfig) -> int:
    """Make every check and print it; gives the exit code that a start would end with."""
    config = loaded.config
    print(f"ok       config       {config.instance_id}: {config.exchange.mode} on {config.symbol}")
    try:
        for name, words in _checks(loaded):
            print(f"{'ok' if name != 'warning' else 'warning':<9}{name:<13}{words}")
    except AuthError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return int(ExitCode.AUTH)
    except ConfigError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return int(ExitCode.USAGE)
    except GridfleetError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return int(ExitCode.FAILED)
    return int(ExitCode.OK)


def _checks(loaded: LoadedConfig) -> Iterator[tuple[str, str]]:
    from exchanges.factory import create_exchange
    from exchanges.paper_memory import MemoryPaperStore

    config, place, clock = loaded.config, place_of(loaded), SystemClock()
    settings = engine_settings(config, clock.now())
    client, _ = create_exchange(config, MemoryPaperStore(), clock, root=place.root)
    instrument = client.fetch_instrument(config.symbol)
    quote = client.fetch_quote(config.symbol)
    yield "exchange", f"{client.name} answers; {config.symbol} is at {plain(quote.last)}"
    try:
        spec = build_spec(settings.grid, quote.last, instrument)
    except ValueError as error:
        raise ConfigError(f"strategy_config: {error}") from error
    yield "grid", _grid_words(spec, instrument)
    yield "profit", _profit_words(spec, instrument)
    balance = client.fetch_balance()
    yield "margin", _margin_words(settings, spec, instrument, balance.available)
    yield "liquidation", _liquidation_words(settings, spec, instrument, quote.last, balance.wallet)
    for words in spec_warnings(spec.levels, instrument):
        yield "warning", words
    yield from _database(place.db_path, config.instance_id)


def _grid_words(spec: GridSpec, instrument: Instrument) -> str:
    return (
        f"{spec.num} levels ({spec.num - 1} cells) from {plain(spec.levels[0])} to "
        f"{plain(spec.levels[-1])}, {spec.mode.value}, {spec.kind.value}, "
        f"{plain(spec.quantity)} {instrument.base_asset} an order"
    )


def _profit_words(spec: GridSpec, instrument: Instrument) -> str:
    fee = instrument.maker_fee
    nets = [
        spec.quantity * (high - low - fee * (high + low)) for low, high in cells_of(spec.levels)
    ]
    step = Decimal("0.0001")
    return (
        f"a closed cell earns {plain(min(nets).quantize(step))} to "
        f"{plain(max(nets).quantize(step))} {instrument.quote_asset} after fees"
    )


def _margin_words(
    settings: EngineSettings, spec: GridSpec, instrument: Instrument, available: Decimal
) -> str:
    needed = invested(spec, settings.max_position, settings.leverage).quantize(Decimal("0.01"))
    words = (
        f"a full side takes about {plain(needed)} {instrument.quote_asset} at leverage "
        f"{plain(settings.leverage)}, {plain(available.quantize(Decimal('0.01')))} is available"
    )
    if needed > available:
        raise ConfigError(f"strategy_config: {words}; lower quantity or max_position")
    return words


def _liquidation_words(
    settings: EngineSettings,
    spec: GridSpec,
    instrument: Instrument,
    price: Decimal,
    wallet: Decimal,
) -> str:
    request = settings.grid
    grid = new_grid(
        spec, price, open_initial=request.open_initial, max_position=request.max_position
    )
    wanted = desired_orders(grid, price, instrument, max_position=request.max_position)
    worst = worst_case(ZERO, None, wallet, wanted, instrument)
    faults = liquidation_faults(worst, spec.levels[0], spec.levels[-1])
    if faults and not settings.allow_liquidation_in_range:
        raise ConfigError("strategy_config: " + "; ".join(faults))
    ways = [
        f"{way} price at about {plain(instrument.round_price(at))}"
        for way, at in (("a falling", worst.falling), ("a rising", worst.rising))
        if at is not None
    ]
    return f"worst case: {' or '.join(ways)}" if ways else "no price on the way leads to it"


def _database(db_path: object, instance_id: str) -> Iterator[tuple[str, str]]:
    """Open an existing database as a start would, without leaving one where there was none."""
    from pathlib import Path

    from database.db import Database

    path = Path(str(db_path))
    if not path.exists():
        yield "database", f"{path.name} will be created"
        return
    database = Database(path)
    try:
        database.bind_instance(instance_id)
        yield "database", f"{path.name} is whole, {database.fill_count()} fills"
    finally:
        database.close()
