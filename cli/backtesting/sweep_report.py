"""What a sweep or a walk-forward tells: a table of text, one JSON value, a folder with a page.

The folder is the same bytes for the same data: `seconds` is told on the terminal and in `--json`
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from cli.backtesting.sweep import History, Row
from cli.backtesting.walk_forward import Judged, sums, total
from strategies.grid_math import plain

COLUMNS = (
    "fills",
    "initial_fills",
    "closed_cells",
    "position",
    "grid",
    "trend",
    "unrealized",
    "open_fees",
    "funding",
    "equity_change",
    "fees",
    "start_price",
    "last_price",
    "lower",
    "upper",
    "quantity",
    "ended_by",
)
SHOWN = COLUMNS[: COLUMNS.index("fees") + 1]
"""On a terminal: the accounting."""

TEXT_ROWS = 200
"""Rows printed on a terminal; the folder and `--json` have all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A finished sweep. `rows`: best first; empty for a walk-forward, which has `judged`."""

    history: History
    objective: str
    seconds: float
    rows: Sequence[Row]
    judged: Sequence[Judged]
    train: Decimal
    funding: str | None

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(axis.key for axis in self.history.axes)

    @property
    def is_walk(self) -> bool:
        return bool(self.judged)


def all_refused(sweep: Sweep) -> str | None:
    """The first reason when nothing could be run at all; None: something could."""
    if sweep.is_walk:
        if any(item.best is not None for item in sweep.judged):
            return None
        return sweep.judged[0].refused
    if any(row.result is not None for row in sweep.rows):
        return None
    return sweep.rows[0].refused


def document(sweep: Sweep) -> dict[str, Any]:
    """Everything as one JSON value."""
    history = sweep.history
    found: dict[str, Any] = {
        "candles": len(history.candles),
        "seconds": round(sweep.seconds, 6),
        "fill_rule": history.assumptions.fill_rule,
        "slippage": plain(history.assumptions.slippage),
        "config": history.config.name,
        "data": history.data.name,
        "funding_file": None if sweep.funding is None else Path(sweep.funding).name,
        "objective": sweep.objective,
        "axes": {axis.key: list(axis.values) for axis in history.axes},
    }
    if not sweep.is_walk:
        found["rows"] = [_row_document(sweep, row) for row in sweep.rows]
        return found
    found["train"] = plain(sweep.train)
    found["windows"] = [
        {
            "train": _span(sweep, item.window.train),
            "test": _span(sweep, item.window.test),
            "choice": None if item.best is None else _values(sweep, item.best),
            "in_sample": None if item.best is None else item.best.result,
            "out_of_sample": None if item.after is None else item.after.result,
            "refused": item.refused or (item.after.refused if item.after else "") or None,
        }
        for item in sweep.judged
    ]
    found["sums"] = sums(sweep.judged)
    return found


def _row_document(sweep: Sweep, row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {"values": _values(sweep, row)}
    if row.result is None:
        return {**found, "refused": row.refused}
    return {**found, **row.result}


def _values(sweep: Sweep, row: Row) -> dict[str, str]:
    return dict(zip(sweep.keys, row.values, strict=True))


def _span(sweep: Sweep, span: tuple[int, int]) -> dict[str, Any]:
    from cli.backtesting.run import iso

    candles = sweep.history.candles
    return {
        "first": span[0],
        "candles": span[1] - span[0],
        "from": iso(candles[span[0]].time_ms),
        "last": iso(candles[span[1] - 1].time_ms),
    }


# Text -------------------------------------------------------------------------------------------


def text(sweep: Sweep) -> str:
    """The table as the terminal shows it."""
    return _walk_text(sweep) if sweep.is_walk else _sweep_text(sweep)


def _sweep_text(sweep: Sweep) -> str:
    from tabulate import tabulate

    good = [row for row in sweep.rows if row.result is not None]
    bad = [row for row in sweep.rows if row.result is None]
    lines = [
        (
            f"{len(sweep.rows):,} combinations over {len(sweep.history.candles):,} candles in "
            f"{sweep.seconds:.2f} s, best {sweep.objective} first; fill rule "
            f"{sweep.history.assumptions.fill_rule}, slippage "
            f"{plain(sweep.history.assumptions.slippage)}"
        )
    ]
    if good:
        headers = [*sweep.keys, *(name.replace("_", " ") for name in SHOWN)]
        lines.append(
            tabulate(
                [cells(row, SHOWN) for row in good[:TEXT_ROWS]],
                headers,
                disable_numparse=True,
                colalign=["right"] * len(headers),
            )
        )
    if len(good) > TEXT_ROWS:
        lines.append(f"{len(good) - TEXT_ROWS:,} more: --out and --json have them all")
    if bad:
        lines.append(f"{len(bad):,} refused, as start would:")
        lines += [f"  {_name(sweep, row)}: {row.refused}" for row in bad[:TEXT_ROWS]]
    return "\n".join(lines)


def _walk_text(sweep: Sweep) -> str:
    from tabulate import tabulate

    headers, rows = walk_rows(sweep)
    return "\n".join(
        [
            (
                f"{len(sweep.judged)} windows over {len(sweep.history.candles):,} candles in "
                f"{sweep.seconds:.2f} s; the best {sweep.objective} of the first "
                f"{plain(sweep.train * 100)} % of each runs on the rest of it"
            ),
            tabulate(
                rows,
                headers,
                disable_numparse=True,
                colalign=["right"] * len(headers),
            ),
            *(
                f"window {number}: {item.refused or (item.after and item.after.refused)}"
                for number, item in enumerate(sweep.judged, 1)
                if item.best is None or item.after is None or item.after.result is None
            ),
        ]
    )


def walk_rows(sweep: Sweep) -> tuple[list[str], list[list[str]]]:
    """The windows as a table, the sums in its last row."""
    headers = ["window", "train from", "judged from", "to", *sweep.keys]
    for name in ("equity change", "grid", "closed cells"):
        headers += [f"{name}, in", f"{name}, out"]
    rows = []
    for number, item in enumerate(sweep.judged, 1):
        train, test = _span(sweep, item.window.train), _span(sweep, item.window.test)
        row = [str(number), _minute(train["from"]), _minute(test["from"]), _minute(test["last"])]
        row += ["-"] * len(sweep.keys) if item.best is None else item.best.values
        for key in ("equity_change", "grid", "closed_cells"):
            row += [_figure(item.best, key), _figure(item.after, key)]
        rows.append(row)
    last = ["sum", "", "", "", *([""] * len(sweep.keys))]
    inside, outside = [i.best for i in sweep.judged], [i.after for i in sweep.judged]
    for key in ("equity_change", "grid", "closed_cells"):
        last += [plain(total(inside, key)), plain(total(outside, key))]
    return headers, [*rows, last]


def _minute(iso: str) -> str:
    return iso[:16].replace("T", " ")


def _figure(row: Row | None, key: str) -> str:
    return "-" if row is None or row.result is None else str(row.result[key])


def cells(row: Row, columns: Sequence[str]) -> list[str]:
    """A row's values and figures as text; a refused one has no figures."""
    if row.result is None:
        return [*row.values, *("" for _ in columns)]
    found = (row.result[name] for name in columns)
    return [*row.values, *("" if value is None else str(value) for value in found)]


def _name(sweep: Sweep, row: Row) -> str:
    return " ".join(f"{key}={value}" for key, value in _values(sweep, row).items())
