"""Walk-forward: choose on the past, be judged on what came after. Pure but for its tasks' runs.

The candles are cut into N windows of equal length, one after the other; the remainder goes to the
last. In each, the first part is for training, the rest is out of sample and starts at the very next
candle. Every combination runs on the training part; the best by the objective (of equals the one
asked for first) runs on the rest, on a new account and a new grid laid out at that part's first
price. Nothing of the out-of-sample part is seen before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Any

from cli.backtesting.sweep import Row, Span, Task, ranked
from core.errors import ConfigError
from core.model import ZERO
from strategies.grid_math import plain

LEAST_CANDLES = 2
"""In either part: two stamps tell how long a candle lasts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Candle numbers, ends excluded: `train` ends where `test` begins."""

    train: Span
    test: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One window: the best on its training part, and the same on what followed.

    `best` is None when every combination was refused there; `refused` is the first reason then.
    """

    window: Window
    best: Row | None
    after: Row | None
    refused: str = ""


def split(candles: int, count: int, train: Decimal) -> tuple[Window, ...]:
    """Cut the candles into windows. Errors: ConfigError when they are too few."""
    size = candles // count
    learn = int((size * train).to_integral_value(ROUND_DOWN))
    if learn < LEAST_CANDLES or size - learn < LEAST_CANDLES:
        raise ConfigError(
            f"--walk-forward: was {count}: {candles:,} candles make windows of {size}, {learn} to "
            f"train and {size - learn} after, expected at least {LEAST_CANDLES} in each: use fewer "
            "windows, more data or another --train"
        )
    windows = []
    for number in range(count):
        first = number * size
        end = candles if number == count - 1 else first + size
        windows.append(Window(train=(first, first + learn), test=(first + learn, end)))
    return tuple(windows)


def walk(
    windows: Sequence[Window],
    combinations: Sequence[tuple[str, ...]],
    objective: str,
    run_all: Callable[[Sequence[Task]], Iterator[Row]],
    told: Callable[[int], None],
) -> tuple[Judged, ...]:
    """Train on all windows, then judge all choices; `told` hears how many runs are done."""
    tasks = [Task(values=v, span=w.train) for w in windows for v in combinations]
    rows = []
    for row in run_all(tasks):
        rows.append(row)
        told(len(rows))
    size = len(combinations)
    bests = [ranked(rows[i * size : (i + 1) * size], objective)[0] for i in range(len(windows))]
    chosen = [
        Task(values=best.values, span=window.test)
        for window, best in zip(windows, bests, strict=True)
        if best.result is not None
    ]
    after = {}
    for task, row in zip(chosen, run_all(chosen), strict=True):
        after[task.span] = row
        told(len(rows) + len(after))
    return tuple(
        Judged(
            window=window,
            best=None if best.result is None else best,
            after=after.get(window.test),
            refused=best.refused,
        )
        for window, best in zip(windows, bests, strict=True)
    )


def total(rows: Sequence[Row | None], key: str) -> Decimal:
    """Add up one exact figure; a window without a choice, or whose choice was refused, adds 0."""
    return sum(
        (Decimal(row.result[key]) for row in rows if row is not None and row.result is not None),
        ZERO,
    )


SUMMED = ("equity_change", "grid", "trend", "unrealized", "open_fees", "funding", "fees")


def sums(judged: Sequence[Judged]) -> dict[str, Any]:
    """The sums over all windows, in sample and out of sample, as exact text."""
    return {
        name: {key: plain(total(rows, key)) for key in SUMMED}
        for name, rows in (
            ("in_sample", [item.best for item in judged]),
            ("out_of_sample", [item.after for item in judged]),
        )
    }
