"""The page of a sweep or a walk-forward."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from cli.backtesting import page as html
from cli.backtesting.sweep import Row
from cli.backtesting.sweep_report import Sweep, cells, walk_rows
from cli.backtesting.walk_forward import total
from strategies.grid_math import plain

PAGE_ROWS = 1000
"""Rows on the page; the CSV has all."""

SHOWN = (
    "equity_change",
    "grid",
    "trend",
    "unrealized",
    "open_fees",
    "funding",
    "fees",
    "position",
    "closed_cells",
    "fills",
    "initial_fills",
)
"""What is judged first: on a narrow page the others are for who scrolls."""


def page(sweep: Sweep, picture: bytes | None, warning: str | None) -> str:
    """Write index.html."""
    what = "Walk-forward" if sweep.is_walk else "Sweep"
    title = f"{what} of {sweep.history.config.stem}: {', '.join(sweep.keys)}"
    body = [f"<h1>{html.escape(title)}</h1>"]
    body.append(html.paragraph(_about(sweep), "faint"))
    if warning is not None:
        body.append(html.paragraph(warning, "note"))
    body += _walk(sweep, picture) if sweep.is_walk else _sweep(sweep, picture)
    body += [html.heading("What this rests on"), html.pairs(_assumed(sweep))]
    return html.document(title, body)


def _about(sweep: Sweep) -> str:
    sizes = ", ".join(
        f"{axis.key} {axis.values[0]} to {axis.values[-1]} ({len(axis.values)})"
        for axis in sweep.history.axes
    )
    return f"{sizes}; {len(sweep.history.candles):,} candles of {sweep.history.data.name}."


def _sweep(sweep: Sweep, picture: bytes | None) -> list[str]:
    good = [row for row in sweep.rows if row.result is not None]
    bad = [row for row in sweep.rows if row.result is None]
    found = []
    if good:
        found.append(
            html.cards(
                [
                    html.card("combinations", f"{len(sweep.rows):,}", f"{len(bad):,} refused"),
                    _card("best", sweep, good[0]),
                    _card("middle", sweep, good[len(good) // 2]),
                    _card("worst", sweep, good[-1]),
                ]
            )
        )
        found.append(
            html.paragraph(
                "The best of many is in part luck: look for a wide field of good neighbours, not "
                "for the one best number, and judge it by a walk-forward.",
                "faint",
            )
        )
    if picture is not None:
        rest = sweep.keys[2:]
        over = f"; each field is the best over {', '.join(rest)}" if rest else ""
        found.append(
            html.picture(picture, f"{_words(sweep.objective)} of every combination{over}.")
        )
    if good:
        found.append(html.heading(f"Every combination, best {_words(sweep.objective)} first"))
        names = [*sweep.keys, *(_words(name) for name in SHOWN)]
        rows = [_pretty(cells(row, SHOWN)) for row in good[:PAGE_ROWS]]
        found.append(html.table(names, rows, frozenset(range(len(names)))))
        if len(good) > PAGE_ROWS:
            found.append(
                html.paragraph(f"{len(good) - PAGE_ROWS:,} more are in sweep.csv.", "faint")
            )
    if bad:
        found.append(html.heading("Refused, as start would"))
        found.append(
            html.pairs([(" ".join(_named(sweep, row)), row.refused) for row in bad[:PAGE_ROWS]])
        )
    return found


def _walk(sweep: Sweep, picture: bytes | None) -> list[str]:
    inside = total([item.best for item in sweep.judged], "equity_change")
    outside = total([item.after for item in sweep.judged], "equity_change")
    won = sum(
        item.after is not None and (item.after.objective("equity_change") or 0) > 0
        for item in sweep.judged
    )
    found = [
        html.cards(
            [
                html.card("windows", str(len(sweep.judged)), f"{won} with a gain out of sample"),
                html.card("in sample, sum", _money(inside), "equity change of what was chosen"),
                html.card(
                    "out of sample, sum",
                    _money(outside),
                    "equity change of the same afterwards: the figure to trust",
                    "good" if outside > 0 else "bad" if outside < 0 else "",
                ),
            ]
        )
    ]
    if picture is not None:
        found.append(
            html.picture(picture, "Equity change of each window's choice, before and afterwards.")
        )
    headers, rows = walk_rows(sweep)
    found.append(html.heading("Windows"))
    pretty = [[*row[:4], *_pretty(row[4:])] for row in rows]
    found.append(html.table(headers, pretty, frozenset(range(4, len(headers)))))
    reasons = [
        (f"window {number}", item.refused or (item.after.refused if item.after else ""))
        for number, item in enumerate(sweep.judged, 1)
        if item.refused or (item.after is not None and item.after.result is None)
    ]
    if reasons:
        found.append(html.heading("Refused, as start would"))
        found.append(html.pairs(reasons))
    return found


def _assumed(sweep: Sweep) -> list[tuple[str, str]]:
    history = sweep.history
    rows = [
        ("config", f"{history.config.name}, with the values above in the place of its own"),
        ("candles", f"{len(history.candles):,} of {history.data.name}"),
        ("funding", "none: no file was given" if not sweep.funding else Path(sweep.funding).name),
        (
            "fill rule",
            "touch: a resting order fills when the price touches it"
            if not history.assumptions.through
            else "through: a resting order fills when the price goes a tick beyond it",
        ),
        (
            "slippage",
            (
                f"{plain(history.assumptions.slippage * 100)} % against the last price for orders "
                "that take"
            ),
        ),
        (
            "objective",
            _words(sweep.objective) + ("" if sweep.objective != "realized" else ": grid + trend"),
        ),
        (
            "each run",
            (
                "is exactly a backtest of its own, on an account of its own; price_range centres "
                "the range on its first price"
            ),
        ),
    ]
    if sweep.is_walk:
        share = plain(sweep.train * 100)
        rows.append(
            (
                "split",
                (
                    f"{len(sweep.judged)} windows of equal length, one after the other; the first "
                    f"{share} % of each is for choosing, the rest begins at the very next candle "
                    "and is run once, with the choice, on a new account and a new grid"
                ),
            )
        )
    return rows


def _card(name: str, sweep: Sweep, row: Row) -> str:
    value = row.objective(sweep.objective) or Decimal(0)
    return html.card(
        name,
        _money(value),
        ", ".join(_named(sweep, row)),
        "good" if value > 0 else "bad" if value < 0 else "",
    )


def _named(sweep: Sweep, row: Row) -> list[str]:
    return [f"{key} {value}" for key, value in zip(sweep.keys, row.values, strict=True)]


def _pretty(row: list[str]) -> list[str]:
    return [html.grouped(cell) for cell in row]


def _money(value: Decimal) -> str:
    return html.grouped(f"{value:.2f}")


def _words(name: str) -> str:
    return name.replace("_", " ")
