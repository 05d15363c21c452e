"""`instance_cli backtest`: the live engine over a CSV at full speed, and its accounting.

The config is read as `start` reads it: what `start` refuses, this refuses. Fees, tick and lot come
from `exchange_config.paper`; orders fill when the price touches them.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import ConfigError, ExitCode, GridfleetError

if TYPE_CHECKING:
    from cli.replay import Replayed
    from core.config import InstanceConfig

NEVER_S = 1e12  # a replay needs no periodic reconciliation: nothing else trades on its account


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of CONTRACT 4."""
    parser.add_argument("--config", "-c", required=True, metavar="FILE", help="an instance's file")
    parser.add_argument(
        "--data",
        required=True,
        metavar="CSV",
        help="candles: timestamp_ms,open,high,low,close,volume",
    )
    parser.add_argument(
        "--funding", metavar="CSV", help="funding rates: timestamp_ms,symbol,funding_rate"
    )
    parser.add_argument("--out", metavar="DIR", help="write report.json and fills.csv there")
    parser.add_argument("--json", action="store_true", help="one JSON value on standard output")


def run(arguments: argparse.Namespace, root: Path) -> int:
    """Replay and print; gives the exit code: 0, 2 for what a start would refuse, 1 otherwise."""
    try:
        if arguments.out:
            _make_writable(Path(arguments.out))  # before the replay, not after it
        report, replayed = backtest(arguments.config, Path(arguments.data), arguments.funding, root)
        if arguments.out:
            write_report(Path(arguments.out), report, replayed)
    except ConfigError as error:
        print(f"instance_cli backtest: {error}", file=sys.stderr)
        return int(ExitCode.USAGE)
    except (GridfleetError, OSError) as error:
        print(f"instance_cli backtest: {error}", file=sys.stderr)
        return int(ExitCode.FAILED)
    if arguments.json:
        print(json.dumps(report))
    else:
        print_report(report)
    return int(ExitCode.OK)


def backtest(
    config_file: str, data: Path, funding: str | None, root: Path
) -> tuple[dict[str, Any], Replayed]:
    """Replay a config over candles; gives the report of CONTRACT 4 and the replay behind it.

    Errors: ConfigError for the config, the candles or the funding file.
    """
    from dataclasses import replace

    from cli.bot_wiring import SystemClock, engine_settings
    from cli.replay import replay
    from core.config_load import load
    from exchanges.factory import paper_rules
    from exchanges.paper_memory import MemoryPaperStore
    from exchanges.price_feed import CandleSource, read_funding

    loaded = load(config_file, root)
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    config: InstanceConfig = loaded.config
    settings = engine_settings(config, SystemClock().now())
    settings = replace(settings, mode="paper", interval_s=NEVER_S, end_at=None)
    rates = read_funding(Path(funding), config.symbol) if funding else ()
    source = CandleSource(_readable(data), rates, preload=True)
    replayed = replay(
        settings,
        paper_rules(config),
        source,
        MemoryPaperStore(),
        config.exchange.paper.balance,
    )
    return report_of(replayed, source.candle_count), replayed


def _readable(path: Path) -> Path:
    if not os.access(path, os.R_OK) or not path.is_file():
        raise ConfigError(f"--data: was {str(path)!r}, expected a readable candle file")
    return path


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "there is a file of that name" if folder.exists() else error.strerror
        raise ConfigError(
            f"--out: was {str(folder)!r}, expected a folder to write into: {reason}"
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"--out: was {str(folder)!r}, expected a folder to write into")


def report_of(replayed: Replayed, candles: int) -> dict[str, Any]:
    """Write the accounting as CONTRACT 4 names it: exact decimals as text, counts as integers.

    `fills` counts the grid's own; the fills of an initial entry are `initial_fills`.
    """
    from strategies.grid_math import plain

    totals, pnl = replayed.grid.totals, replayed.pnl
    return {
        "candles": candles,
        "seconds": round(replayed.seconds, 6),
        "fills": totals.fills,
        "initial_fills": totals.initial_fills,
        "closed_cells": totals.closed_cells,
        "position": plain(replayed.grid.position),
        "grid": plain(pnl.grid),
        "trend": plain(pnl.trend),
        "unrealized": plain(pnl.unrealized),
        "fees": plain(pnl.fees),
        "open_fees": plain(pnl.open_fees),
        "funding": plain(pnl.funding),
        "equity_change": plain(replayed.equity_change),
        "start_price": plain(replayed.start_price),
        "last_price": plain(replayed.last_price),
        "fill_rule": "touch",
    }


def print_report(report: dict[str, Any]) -> None:
    """Print the accounting as a table whose parts visibly add up."""
    print(
        f"{report['candles']} candles in {report['seconds']:.2f} s, {report['start_price']} to "
        f"{report['last_price']}; orders fill when the price touches them"
    )
    rows = [
        ("fills", report["fills"]),
        ("closed cells", report["closed_cells"]),
        ("position", report["position"]),
        ("grid", report["grid"]),
        ("+ trend", report["trend"]),
        ("+ unrealized", report["unrealized"]),
        ("- open fees", report["open_fees"]),
        ("+ funding", report["funding"]),
        ("= equity change", report["equity_change"]),
        ("fees paid in all", report["fees"]),
    ]
    for name, value in rows:
        whole, _, part = str(value).partition(".")
        print(f"{name:<18}{whole:>12}{'.' + part if part else ''}")


def write_report(folder: Path, report: dict[str, Any], replayed: Replayed) -> None:
    """Write report.json and fills.csv into a folder."""
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    with (folder / "fills.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["time", "trade_id", "client_order_id", "side", "price", "quantity", "fee", "is_maker"]
        )
        for fill in replayed.fills:
            writer.writerow(
                [
                    fill.time.isoformat(),
                    fill.trade_id,
                    fill.client_order_id,
                    fill.side.value,
                    fill.price,
                    fill.quantity,
                    fill.fee,
                    str(fill.is_maker).lower(),
                ]
            )
