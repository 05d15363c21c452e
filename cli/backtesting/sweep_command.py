"""`instance_cli backtest --sweep` and `--walk-forward`: read, run on all cores, print, write."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from decimal import Decimal
from pathlib import Path

from cli.backtesting import sweep_report, walk_forward
from cli.backtesting.arguments import fraction, readable, whole_number
from cli.backtesting.axes import bot_args, combinations, parse_axes
from cli.backtesting.progress import Bar, watching
from cli.backtesting.setup import Assumptions
from cli.backtesting.sweep import History, Row, Task, ranked, workers
from cli.backtesting.sweep_folder import write_folder
from cli.backtesting.sweep_report import Sweep
from core.config_files import find
from core.config_load import load
from core.errors import ConfigError, ExitCode
from exchanges.price_feed import read_funding
from exchanges.price_files import read_history

MOST_JOBS = 256
MOST_WINDOWS = 1000
MOST_RUNS = 1_000_000
TRAIN = Decimal("0.7")


def sweep(arguments: argparse.Namespace, assumptions: Assumptions, root: Path) -> int:
    """Run it; gives the exit code: 2 when every combination was refused.

    Errors: ConfigError for the command line and the files, GridfleetError for a killed process.
    """
    axes = parse_axes(arguments.sweep)
    objective = arguments.objective or "equity_change"
    cores = len(os.sched_getaffinity(0))
    jobs = cores if arguments.jobs is None else whole_number("--jobs", arguments.jobs, MOST_JOBS)
    config = find(arguments.config, root)
    values = combinations(axes)
    symbol = _symbol(config, root, bot_args(axes, values[0]))
    data = readable("--data", arguments.data)
    funding = arguments.funding
    rates = read_funding(readable("--funding", funding), symbol) if funding else ()
    bar = Bar("sweep", is_shown=not arguments.json)
    windows = _windows_asked(arguments, len(values))
    train = TRAIN
    if arguments.train is not None:
        train = fraction("--train", arguments.train, "a share between 0 and 1, e.g. 0.7")
    with watching(bar, lambda: (0, 0)):
        candles = read_history(data)
    history = History(
        config=config,
        root=root,
        data=data,
        candles=candles,
        rates=rates,
        assumptions=assumptions,
        axes=axes,
    )
    cut = walk_forward.split(len(candles), windows, train) if windows else ()
    rows: list[Row] = []
    judged: tuple[walk_forward.Judged, ...] = ()
    runs = len(values) if not windows else (len(values) + 1) * windows
    began = time.perf_counter()
    try:
        with workers(history, min(jobs, runs)) as run_all:
            if windows:
                judged = walk_forward.walk(
                    cut, values, objective, run_all, lambda done: bar.show(done, runs)
                )
            else:
                for row in run_all([Task(values=v, span=history.whole) for v in values]):
                    rows.append(row)
                    bar.show(len(rows), runs)
    finally:
        bar.clear()
    found = Sweep(
        history=history,
        objective=objective,
        seconds=time.perf_counter() - began,
        rows=ranked(rows, objective),
        judged=judged,
        train=train,
        funding=funding,
    )
    if arguments.out:
        warning = write_folder(Path(arguments.out), found)
        if warning is not None:
            print(f"warning: {warning}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(sweep_report.document(found)))
    else:
        print(sweep_report.text(found))
    reason = sweep_report.all_refused(found)
    if reason is not None:
        print(
            f"instance_cli backtest: every combination was refused; the first: {reason}",
            file=sys.stderr,
        )
        return int(ExitCode.USAGE)
    return int(ExitCode.OK)


def _windows_asked(arguments: argparse.Namespace, count: int) -> int:
    """How many windows to walk forward in; 0: none."""
    if arguments.walk_forward is None:
        return 0
    windows = whole_number("--walk-forward", arguments.walk_forward, MOST_WINDOWS)
    if windows * count > MOST_RUNS:
        raise ConfigError(
            f"--walk-forward: was {windows}: with {count:,} combinations that is "
            f"{windows * count:,} runs, expected at most {MOST_RUNS:,}: use fewer of either"
        )
    return windows


def _symbol(config: Path, root: Path, first: list[str]) -> str:
    """The symbol whose funding is read, and the file's warnings said once.

    A file that is only whole together with the swept keys is no fault; one that is not whole with
    the first combination either is none yet: its runs will tell.
    """
    for options in ([], first):
        try:
            loaded = load(config, root, bot_args=options)
        except ConfigError:
            continue
        if not options:
            for warning in loaded.warnings:
                print(f"warning: {warning}", file=sys.stderr)
        return loaded.config.symbol
    return ""
