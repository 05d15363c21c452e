"""`run.py --check`: every check that a start makes, in words, and nothing started.

Prints one line a check, `ok` or what is wrong and what to do; the exit code is a start's: 0, 2, 4
or 6 (CONTRACT 6).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from cli.bot_place import Place, place_of
from cli.bot_wiring import SystemClock, engine_settings
from core.errors import AuthError, ConfigError, ExitCode, GridfleetError, UsageError
from core.model import ZERO, Instrument, Secret
from strategies.desired import desired_orders
from strategies.grid_math import cells_of, plain
from strategies.grid_state import GridSpec
from strategies.perp_grid import new_grid
from strategies.risk import liquidation_faults, worst_case
from strategies.settings import EngineSettings, build_spec, spec_warnings
from strategies.snapshots import invested

if TYPE_CHECKING:
    from core.config_load import LoadedConfig


class PageTaken(GridfleetError):
    """Another program listens where this instance's page should."""

    exit_code = ExitCode.PORT_TAKEN


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
    except (ConfigError, UsageError) as error:
        print(f"run.py: {error}", file=sys.stderr)
        return int(ExitCode.USAGE)
    except GridfleetError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return int(getattr(error, "exit_code", ExitCode.FAILED))
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
    _refuse_folders(place)
    yield from _database(place.db_path, config.instance_id)
    if not config.strategy.no_web:
        yield "page", _page_words(loaded, place)


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


def _refuse_folders(place: Place) -> None:
    """Refuse folders that a start could not make or write to, without making any."""
    for key, folder in (("log_dir", place.log_dir), ("db_path", place.db_path.parent)):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise ConfigError(
                f"daemon_config.{key}: was {str(folder)!r}, expected a folder this user can write "
                f"to; {str(there)!r} is none"
            )


def _page_words(loaded: LoadedConfig, place: Place) -> str:
    """Judge the page's address as the start does; a port that this instance's bot holds is well."""
    from core.claims import is_port_free
    from core.pidfile import is_held
    from web.settings import refuse_unsafe

    token = loaded.variables.get("WEB_TOKEN")
    refuse_unsafe(place.web_host, Secret(token) if token else None, debug=False)
    if not place.web_port:
        return f"on the first free port of {place.web_host}"
    address = f"{place.web_host}:{place.web_port}"
    if is_held(place.run_dir / ".bot.lock"):
        return f"{address}, where this instance runs now"
    if not is_port_free(place.web_host, place.web_port):
        raise PageTaken(
            f"web_port: {place.web_port} on {place.web_host} cannot be listened on (another "
            "program has it, or web_host is no address of this machine): set another "
            "daemon_config.web_port"
        )
    return f"{address} is free"


def _database(path: Path, instance_id: str) -> Iterator[tuple[str, str]]:
    """Open an existing database as a start would, without leaving one where there was none."""
    from database.db import Database

    if not path.exists():
        yield "database", f"{path.name} will be created"
        return
    database = Database(path)
    try:
        database.bind_instance(instance_id)
        yield "database", f"{path.name} is whole, {database.fill_count()} fills"
    finally:
        database.close()
