"""Many replays at once: every combination, on every core, each exactly as a single run.

**Processes.** Workers are forked: the candles, read once, are theirs without a copy, and so are the
modules. A fork is safe here because this command has one thread until then, and loads numpy and
matplotlib only after. A worker dies with its parent, whatever ends that.

**Results** come back in the order of the combinations, however the work was shared out, so two
sweeps give the same rows.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from cli.backtesting.axes import Axis, bot_args
from cli.backtesting.figures import Rates
from cli.backtesting.setup import Assumptions, accounting, prepare, run
from core.errors import ConfigError, GridfleetError
from core.paths import for_display
from exchanges.price_files import History as Prices
from exchanges.price_files import source_of
from strategies.grid_math import plain

CHUNKS_A_JOB = 32  # few enough to cost nothing, enough for an even end and a bar that moves
_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h

Span = tuple[int, int]
"""Which candles: from the first, up to before the second."""

Result = dict[str, Any]
"""A row: the keys of `ACCOUNTING`, `start_price` and the grid as it was laid out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What all runs share."""

    config: Path
    root: Path
    data: Path
    candles: Prices
    rates: Rates
    assumptions: Assumptions
    axes: tuple[Axis, ...]

    @property
    def whole(self) -> Span:
        return 0, len(self.candles)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run: its values, one an axis, and its candles."""

    values: tuple[str, ...]
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of a combination: a result, or the reason why `start` would refuse it."""

    values: tuple[str, ...]
    result: Result | None
    refused: str = ""

    def objective(self, name: str) -> Decimal | None:
        """What it is judged by; None for a refused one."""
        if self.result is None:
            return None
        if name == "realized":
            return Decimal(self.result["grid"]) + Decimal(self.result["trend"])
        return Decimal(self.result[name])


def ranked(rows: Iterable[Row], objective: str) -> list[Row]:
    """Best first; of equals the one asked for first; refused ones at the end."""

    def key(row: Row) -> tuple[bool, Decimal]:
        value = row.objective(objective)
        return value is None, Decimal(0) if value is None else -value

    return sorted(rows, key=key)


def one(history: History, task: Task) -> Row:
    """Run one combination. What the bot itself would refuse is a row with its reason."""
    from core.config_load import load

    try:
        loaded = load(history.config, history.root, bot_args=bot_args(history.axes, task.values))
        setup = prepare(loaded.config, history.assumptions)
        first, end = task.span
        whole = (first, end) == history.whole
        prices = history.candles if whole else history.candles[first:end]
        source = source_of(prices, tuple(history.rates))
        replayed = run(setup, source)
    except GridfleetError as error:
        return Row(values=task.values, result=None, refused=_reason(error, history))
    spec = replayed.grid.spec
    result = {
        **accounting(replayed),
        "start_price": plain(replayed.start_price),
        "lower": plain(spec.lower),
        "upper": plain(spec.upper),
        "quantity": plain(spec.quantity),
    }
    return Row(values=task.values, result=result)


def _reason(error: GridfleetError, history: History) -> str:
    """The faults in one line, without the file's name, which all rows share."""
    faults = error.faults if isinstance(error, ConfigError) else (str(error),)
    name = f"{for_display(history.config, history.root)}: "
    return "; ".join(line.removeprefix(name) for fault in faults for line in fault.splitlines())


@contextmanager
def workers(history: History, jobs: int) -> Iterator[Callable[[Sequence[Task]], Iterator[Row]]]:
    """Give a function that runs tasks on `jobs` processes and yields their rows in order.

    Errors of it: GridfleetError when a worker was killed.
    """
    if jobs == 1:
        yield lambda tasks: (one(history, task) for task in tasks)
        return
    global _history
    _history = history
    gc.collect()
    gc.freeze()  # else the first collection in each worker would copy every candle
    pool = ProcessPoolExecutor(
        max_workers=jobs,
        mp_context=multiprocessing.get_context("fork"),
        initializer=_begin_worker,
        initargs=(os.getpid(),),
    )

    def run_all(tasks: Sequence[Task]) -> Iterator[Row]:
        chunk = max(1, len(tasks) // (jobs * CHUNKS_A_JOB))
        try:
            yield from pool.map(_work, tasks, chunksize=chunk)
        except BrokenProcessPool:
            raise GridfleetError(
                "a process of the sweep was killed, by hand or for lack of memory: "
                f"try fewer --jobs than {jobs}"
            ) from None

    try:
        yield run_all
    except BaseException:  # a Ctrl-C above all: do not wait for runs that nobody will see
        for child in multiprocessing.active_children():
            child.kill()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        gc.unfreeze()
        _history = None


_history: History | None = None  # what a forked worker finds


def _work(task: Task) -> Row:
    assert _history is not None
    return one(_history, task)


def _begin_worker(parent: int) -> None:
    """Die with the parent, and at once at a Ctrl-C, which a terminal sends to every process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
