"""`instance_cli backtest`: the live engine over a CSV at full speed, and its accounting.

The config is read as `start` reads it: what `start` refuses, this refuses. Fees, tick and lot come
from `exchange_config.paper`. With `--out` a report folder, with `--sweep` many runs at once, with
`--walk-forward` what the best of them would have been worth afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.backtesting.arguments import fraction, readable
from core.errors import ConfigError, ExitCode, GridfleetError

if TYPE_CHECKING:
    from cli.backtesting.setup import Assumptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of CONTRACT 4."""
    parser.add_argument("--config", "-c", required=True, metavar="FILE", help="an instance's file")
    parser.add_argument(
        "--data",
        required=True,
        metavar="CSV",
        help="candles: timestamp_ms,open,high,low,close,volume; or trades: timestamp_ms,id,side,"
        "price,amount",
    )
    parser.add_argument(
        "--funding", metavar="CSV", help="funding rates: timestamp_ms,symbol,funding_rate"
    )
    parser.add_argument(
        "--fill",
        choices=["touch", "through"],
        default="touch",
        help="when a resting order fills: the price touches it, or goes a tick through it",
    )
    parser.add_argument(
        "--slippage",
        default="0",
        metavar="FRACTION",
        help="what orders that take lose against the last price, e.g. 0.0005",
    )
    parser.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="KEY=VALUES",
        help="run every combination: KEY=START:STOP:STEP or KEY=A,B,C; may be repeated",
    )
    parser.add_argument(
        "--walk-forward",
        metavar="N",
        help="with --sweep: in each of N windows choose on one part, judge on the next",
    )
    parser.add_argument(
        "--train",
        metavar="SHARE",
        help="with --walk-forward: the part of a window to choose on, 0.7",
    )
    parser.add_argument(
        "--objective",
        choices=["equity_change", "grid", "realized"],
        help="with --sweep: what is best; realized is grid + trend (default: equity_change)",
    )
    parser.add_argument("--jobs", metavar="N", help="with --sweep: processes (default: all cores)")
    parser.add_argument("--out", metavar="DIR", help="write a report folder there")
    parser.add_argument("--json", action="store_true", help="one JSON value on standard output")


def run(arguments: argparse.Namespace, root: Path) -> int:
    """Replay and print; gives the exit code: 0, 2 for what a start would refuse, 1 otherwise."""
    try:
        if arguments.out:
            _make_writable(Path(arguments.out))  # before the replay, not after it
        assumptions = _assumptions(arguments)
        _check_combination(arguments)
        if arguments.sweep:
            from cli.backtesting.sweep_command import sweep

            return sweep(arguments, assumptions, root)
        return _run_one(arguments, assumptions, root)
    except ConfigError as error:
        print(f"instance_cli backtest: {error}", file=sys.stderr)
        return int(ExitCode.USAGE)
    except (GridfleetError, OSError) as error:
        print(f"instance_cli backtest: {error}", file=sys.stderr)
        return int(ExitCode.FAILED)


def _run_one(arguments: argparse.Namespace, assumptions: Assumptions, root: Path) -> int:
    from cli.backtesting import setup as setups
    from cli.backtesting.progress import Bar, watching
    from core.config_load import load
    from exchanges.price_feed import read_funding
    from exchanges.price_files import read_history, source_of

    loaded = load(arguments.config, root)
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    setup = setups.prepare(loaded.config, assumptions)
    data = readable("--data", arguments.data)
    funding = arguments.funding
    rates = read_funding(readable("--funding", funding), setup.config.symbol) if funding else ()
    bar = Bar("backtest", is_shown=not arguments.json)
    with watching(bar, lambda: (0, 0)):
        history = read_history(data)
    source = source_of(history, rates)
    with watching(bar, lambda: (source.walked, len(history))):
        replayed = setups.run(setup, source, with_points=bool(arguments.out))
    report = setups.report_of(replayed, len(history), assumptions)
    if arguments.out:
        from cli.backtesting.folder import write_folder
        from cli.backtesting.run import finish

        found = finish(
            setup,
            replayed,
            history,
            rates,
            data=str(data),
            funding=funding,
            config=str(loaded.path),
        )
        missing = write_folder(Path(arguments.out), found)
        if missing is not None:
            print(f"warning: {missing}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(report))
    else:
        print_report(report)
    return int(ExitCode.OK)


def print_report(report: dict[str, Any]) -> None:
    """Print the accounting as a table whose parts visibly add up."""
    rule = "touches" if report["fill_rule"] == "touch" else "goes a tick through"
    print(
        f"{report['candles']} candles in {report['seconds']:.2f} s, {report['start_price']} to "
        f"{report['last_price']}; orders fill when the price {rule} them"
    )
    if report["ended_by"] is not None:
        print(f"ended before the data did, with everything closed: {report['ended_by']}")
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


# The command line -------------------------------------------------------------------------------


def _assumptions(arguments: argparse.Namespace) -> Assumptions:
    from cli.backtesting.setup import Assumptions

    slippage = fraction(
        "--slippage", arguments.slippage, "a fraction from 0 to below 1, e.g. 0.0005 for 0.05 %"
    )
    return Assumptions(through=arguments.fill == "through", slippage=slippage)


def _check_combination(arguments: argparse.Namespace) -> None:
    """Refuse an option that would be ignored: whoever wrote it expects something of it."""
    for option, needs in (
        ("walk_forward", "sweep"),
        ("objective", "sweep"),
        ("jobs", "sweep"),
        ("train", "walk_forward"),
    ):
        if getattr(arguments, option) is not None and not getattr(arguments, needs):
            flag, needed = f"--{option.replace('_', '-')}", f"--{needs.replace('_', '-')}"
            raise ConfigError(
                f"{flag}: was {getattr(arguments, option)!r} without {needed}, which it needs: "
                f"add {needed} or leave it out"
            )


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
