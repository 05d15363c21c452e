"""`run.py --check`: every check that a start makes, in words, and nothing started.

Prints one line a check, `ok`, `warning` or `refused` with what to do, and goes on where it can, so
that every fault is told at once; the exit code is a start's: 0, 2, 4 or 6 (CONTRACT 6). With
`GRID_CHECK_REPORT` set, as `daemon_manager validate` sets it, a last line holds the same for a
program: a record separator (RFC 7464), then one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import account_bots
from cli.bot_place import Place, place_of
from cli.bot_wiring import SystemClock, client_ids, engine_settings
from cli.first_grid import has_journal
from cli.grid_preflight import preflight_of, refuse
from cli.preflight_words import Line, document, lines, refused_checks
from core.check_report import REPORT_MARK, REPORT_VARIABLE
from core.config_spec import account_of
from core.errors import (
    AuthError,
    ConfigError,
    ExchangeError,
    ExitCode,
    GridfleetError,
    UnknownSymbol,
    UsageError,
)
from core.i18n import t
from core.model import Secret
from exchanges.factory import create_exchange
from exchanges.paper_memory import MemoryPaperStore
from strategies.grid_math import plain

if TYPE_CHECKING:
    from cli.live_check import LiveWords
    from core.config import InstanceConfig
    from core.config_load import LoadedConfig
    from core.ports import ExchangeClient


class PageTaken(GridfleetError):
    """Another program listens where this instance's page should."""

    exit_code = ExitCode.PORT_TAKEN


@dataclass(slots=True)
class Report:
    """What the checks found so far; `codes` are those of the faults."""

    lines: list[Line] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    preflight: dict[str, Any] | None = None

    @property
    def code(self) -> int:
        """What only the operator can mend comes first; then the first that was met."""
        for permanent in (ExitCode.USAGE, ExitCode.AUTH):
            if permanent in self.codes:
                return int(permanent)
        return self.codes[0] if self.codes else int(ExitCode.OK)

    def say(self, name: str, words: str, *, is_refused: bool = False) -> None:
        self.lines.append((name, words))
        passed = "warning" if name == "warning" else "ok"
        verdict = "refused" if is_refused else passed
        print(f"{verdict:<9}{name:<13}{words}")

    def attempt(self, check: Callable[[], None]) -> bool:
        """Make one check; tell and keep its fault. Gives whether it was passed."""
        try:
            check()
        except GridfleetError as error:
            self.faults += error.faults if isinstance(error, ConfigError) else (str(error),)
            self.codes.append(_code_of(error))
            print(f"run.py: {error}", file=sys.stderr)
            return False
        return True


def _code_of(error: GridfleetError) -> int:
    if isinstance(error, AuthError):
        return int(ExitCode.AUTH)
    if isinstance(error, ConfigError | UsageError):
        return int(ExitCode.USAGE)
    return int(getattr(error, "exit_code", ExitCode.FAILED))


def check(loaded: LoadedConfig) -> int:
    """Make every check and print it; gives the exit code that a start would end with."""
    config, place, report = loaded.config, place_of(loaded), Report()
    words = "{id}: {mode} on {symbol}"
    mode = t(config.exchange.mode)
    report.say("config", t(words, id=config.instance_id, mode=mode, symbol=config.symbol))
    report.attempt(lambda: _trading(loaded, place, report))
    report.attempt(lambda: _refuse_folders(place))
    report.attempt(lambda: _database(place.db_path, config.instance_id, report))
    if not config.strategy.no_web:
        report.attempt(lambda: report.say("page", _page_words(loaded, place)))
    if os.environ.get(REPORT_VARIABLE):
        print(f"{REPORT_MARK}{json.dumps(_report_of(report))}", flush=True)
    return report.code


def _report_of(report: Report) -> dict[str, Any]:
    return {
        "faults": report.faults,
        "warnings": [words for name, words in report.lines if name == "warning"],
        "preflight": report.preflight,
    }


def _trading(loaded: LoadedConfig, place: Place, report: Report) -> None:
    """Ask the exchange and judge the grid. Errors: ConfigError with every reason; ExchangeError."""
    config, clock = loaded.config, SystemClock()
    settings = engine_settings(config, clock.now())
    client, live = _open(config, clock, place)
    try:
        if live is not None:
            for line in live.credentials():
                report.say(*line)
        try:
            instrument = client.fetch_instrument(config.symbol)
            sharing = account_bots.look(config, place.root, place.db_path, client)
            found = preflight_of(client, settings, instrument, sharing)
        except AuthError:
            raise
        except (ExchangeError, UnknownSymbol) as error:
            if live is None or not has_journal(place.db_path) or not live.is_closed():
                raise
            words = "the grid in the ledger waits for its symbol to trade again: {error}"
            report.say("warning", t(words, error=error))
            return
        words = "{exchange} answers; {symbol} is at {price}"
        price = plain(found.price)
        report.say("exchange", t(words, exchange=client.name, symbol=config.symbol, price=price))
        if not config.is_paper:
            report.say("account", _account_words(client, config))
        if live is not None:
            for line in live.account(instrument):
                report.say(*line)
    finally:
        client.close()
    for text in sharing.unknown:
        report.say("warning", text)
    report.preflight = document(found, instrument)
    refused = refused_checks(found)
    for name, text in lines(found, instrument, t):
        report.say(name, text, is_refused=name in refused)
    refuse(found)


def _open(
    config: InstanceConfig, clock: SystemClock, place: Place
) -> tuple[ExchangeClient, LiveWords | None]:
    """Open the exchange so that a check changes nothing there. Errors: ConfigError."""
    if config.exchange.mode == "live":
        from cli.live_check import open_for_check

        return open_for_check(config, place.root)
    client, _ = create_exchange(config, MemoryPaperStore(), clock, root=place.root)
    return client, None


def _account_words(client: ExchangeClient, config: InstanceConfig) -> str:
    """Name a live account, without its key, and count what rests on it already (CONTRACT 3)."""
    owns = client_ids(config).owns
    orders = client.fetch_open_orders(config.symbol)
    own = sum(owns(order.client_order_id) for order in orders)
    words = "{account}: {own} open orders of this instance, {foreign} of others"
    return t(words, account=account_of(config), own=own, foreign=len(orders) - own)


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
        return t("on the first free port of {host}", host=place.web_host)
    address = f"{place.web_host}:{place.web_port}"
    if is_held(place.run_dir / ".bot.lock"):
        return t("{address}, where this instance runs now", address=address)
    if not is_port_free(place.web_host, place.web_port):
        raise PageTaken(
            f"web_port: {place.web_port} on {place.web_host} cannot be listened on (another "
            "program has it, or web_host is no address of this machine): set another "
            "daemon_config.web_port"
        )
    return t("{address} is free", address=address)


def _database(path: Path, instance_id: str, report: Report) -> None:
    """Open an existing database as a start would, without leaving one where there was none."""
    from database.db import Database

    if not path.exists():
        report.say("database", t("{name} will be created", name=path.name))
        return
    database = Database(path)
    try:
        database.bind_instance(instance_id)
        count = database.fill_count()
        report.say("database", t("{name} is whole, {count} fills", name=path.name, count=count))
    finally:
        database.close()
