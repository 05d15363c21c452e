"""The picture of a sweep, as PNG bytes: a line for one key, a heatmap for two or more.

With more than two keys the map shows the first two; each of its fields is the best of the others.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cli.backtesting.plots import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    SIZE,
    _legend,
    _thousands,
    house_style,
    png,
)
from cli.backtesting.sweep_report import Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WRITTEN = 160  # fields that have room for their figure
TICKS = 24  # names of values along one side
MARKED = 60  # values of a line that are marked


def draw_sweep(sweep: Sweep) -> bytes:
    """Draw the objective over the first key, or the first two."""
    with house_style():
        if len(sweep.keys) == 1:
            figure = Figure(figsize=SIZE, layout="constrained")
            _line(sweep, figure.add_subplot())
        else:
            first, second = sweep.history.axes[:2]
            width = min(14.0, max(9.6, 2.6 + 0.62 * len(first.values)))
            height = min(14.0, max(3.4, 1.7 + 0.36 * len(second.values)))
            figure = Figure(figsize=(width, height), layout="constrained")
            _heat(sweep, figure, figure.add_subplot())
        return png(figure)


def draw_walk(sweep: Sweep) -> bytes:
    """Draw each window's change of equity, in sample beside out of sample."""
    with house_style():
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.add_subplot()
        places = np.arange(1, len(sweep.judged) + 1)
        for shift, name, rows, colour, hatch in (
            (-0.2, "in sample (chosen on it)", [i.best for i in sweep.judged], ORANGE, "//"),
            (0.2, "out of sample", [i.after for i in sweep.judged], BLUE, ""),
        ):
            heights = [float(row.objective("equity_change") or 0) if row else 0.0 for row in rows]
            axes.bar(
                places + shift, heights, 0.38, color=colour, hatch=hatch, edgecolor="white",
                label=name,
            )  # fmt: skip
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=20))
        axes.set_xlim(0.4, len(places) + 0.6)
        axes.grid(visible=False, axis="x")
        axes.yaxis.set_major_formatter(FuncFormatter(_thousands))
        axes.set_xlabel("window")
        axes.set_ylabel("equity change (quote)")
        _legend(axes, "Walk-forward: what the choice was worth afterwards")
        return png(figure)


def _line(sweep: Sweep, axes: Axes) -> None:
    axis = sweep.history.axes[0]
    by_value = {row.values[0]: row.objective(sweep.objective) for row in sweep.rows}
    found = [by_value[value] for value in axis.values]
    numbers = axis.numbers
    places = [float(x) for x in numbers] if numbers else list(range(len(axis.values)))
    order = np.argsort(places, kind="stable")
    heights = [float("nan") if (h := found[i]) is None else float(h) for i in order]
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.plot(
        [places[i] for i in order],
        heights,
        color=BLUE,
        linewidth=1.4 if numbers else 0,
        marker="o" if len(places) <= MARKED else "",
        markersize=4.5,
        label=_words(sweep.objective),
    )
    best = sweep.rows[0]
    where = places[axis.values.index(best.values[0])]
    height = float(best.objective(sweep.objective) or 0)
    axes.plot(
        [where], [height], marker="*", markersize=14, color=ORANGE, markeredgecolor=INK,
        linestyle="none", label=f"best: {best.values[0]}",
    )  # fmt: skip
    if numbers is None:
        axes.set_xticks(places, axis.values)
    axes.yaxis.set_major_formatter(FuncFormatter(_thousands))
    axes.set_xlabel(axis.key)
    axes.set_ylabel(f"{_words(sweep.objective)} (quote)")
    _legend(axes, f"{_words(sweep.objective).capitalize()} by {axis.key}")


def _heat(sweep: Sweep, figure: Figure, axes: Axes) -> None:
    first, second = sweep.history.axes[:2]
    best: dict[tuple[str, str], Decimal] = {}
    for row in sweep.rows:  # best first
        value = row.objective(sweep.objective)
        if value is not None:
            best.setdefault((row.values[0], row.values[1]), value)
    field = np.full((len(second.values), len(first.values)), np.nan)
    for (x, y), value in best.items():
        field[second.values.index(y), first.values.index(x)] = float(value)
    low, high = float(np.nanmin(field)), float(np.nanmax(field))
    if low < 0 < high:  # both signs: nothing is white, loss and gain have a colour each
        reach = max(-low, high)
        norm, colours = Normalize(-reach, reach), colormaps["PuOr"]
    else:
        norm = Normalize(low, high if high > low else low + 1)
        colours = colormaps["cividis"]
    colours = colours.with_extremes(bad="#e3e5e9")
    shown = axes.imshow(field, cmap=colours, norm=norm, aspect="auto", origin="lower")
    axes.grid(visible=False)
    for set_ticks, values in ((axes.set_xticks, first.values), (axes.set_yticks, second.values)):
        step = -(-len(values) // TICKS)
        set_ticks(range(0, len(values), step), values[::step])
    if max(len(value) for value in first.values) > 5 and len(first.values) > 8:
        axes.tick_params(axis="x", rotation=60)
    if field.size <= WRITTEN:
        for (y, x), value in np.ndenumerate(field):
            _write(axes, x, y, float(value), tuple(colours(norm(value))), is_big=high - low > 100)
    top = sweep.rows[0].values
    corner = (first.values.index(top[0]) - 0.5, second.values.index(top[1]) - 0.5)
    axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=INK, linewidth=2.2, clip_on=False))
    bar = figure.colorbar(shown, ax=axes, format=FuncFormatter(_thousands), pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label(f"{_words(sweep.objective)} (quote)")
    axes.set_xlabel(first.key)
    axes.set_ylabel(second.key)
    rest = ", ".join(sweep.keys[2:])
    axes.set_title(
        f"{_words(sweep.objective).capitalize()}"
        + (f", the best over {rest}" if rest else "")
        + "; framed: the best; grey: refused",
        loc="left",
        fontsize=10,
        fontweight="bold",
    )


def _write(
    axes: Axes, x: int, y: int, value: float, colour: tuple[float, ...], *, is_big: bool
) -> None:
    if np.isnan(value):
        return
    red, green, blue = colour[:3]
    is_dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
    text = f"{value:,.0f}" if is_big else f"{value:,.3g}"
    axes.text(
        x, y, text.replace("-", "\N{MINUS SIGN}"), ha="center", va="center", fontsize=8,
        color="white" if is_dark else INK,
    )  # fmt: skip


def _words(name: str) -> str:
    return name.replace("_", " ")
