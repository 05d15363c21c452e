"""The pictures of a run, as PNG bytes: the same bytes for the same run and the same matplotlib.

The only module here, with `sweep_plots`, that loads matplotlib and numpy; neither a bot nor a
supervisor ever imports it. (matplotlib's dates have no types: hence the ignores.) Figures are exact
until here: floats are for pixels alone. Colours are Okabe and Ito's, which people with any colour
vision tell apart; lines differ in style as well.

Long data is drawn in at most `BINS` steps: the range of prices within each, and its last value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from io import BytesIO
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from core.model import Side

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from cli.backtesting.run import Run

BINS = 2000
MARKS = 3000  # fills drawn as marks at most; beyond that they would only be a smear
LEVELS = 200  # level lines drawn at most
SIZE = (10.0, 4.2)
DPI = 110

INK = "#222222"
FAINT = "#8a8f98"
BLUE = "#0072B2"
ORANGE = "#E69F00"
GREEN = "#009E73"
RED = "#D55E00"
PURPLE = "#CC79A7"
SKY = "#56B4E9"

STYLE: dict[Any, Any] = {
    "axes.edgecolor": "#b8bcc4",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8ec",
    "grid.linewidth": 0.8,
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "text.color": INK,
    "xtick.color": "#555a63",
    "ytick.color": "#555a63",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "path.simplify": True,
    "timezone": "UTC",
}


@contextmanager
def house_style() -> Iterator[None]:
    """Our look, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def png(figure: Figure) -> bytes:
    """Draw to PNG, without the version and the date that would differ between two runs."""
    file = BytesIO()
    figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()


def draw(run: Run) -> dict[str, bytes]:
    """Draw all pictures of one run: name to PNG."""
    drawn: dict[str, Callable[[Run, Steps, Axes], None]] = {
        "price": _price,
        "equity": _equity,
        "position": _position,
        "drawdown": _drawdown,
    }
    steps = Steps(run)
    found = {}
    with house_style():
        for name, paint in drawn.items():
            figure = Figure(figsize=SIZE, layout="constrained")
            axes = figure.add_subplot()
            paint(run, steps, axes)
            axes.set_xlim(steps.start, steps.end)
            locator = AutoDateLocator(tz="UTC", minticks=4, maxticks=9)  # type: ignore[no-untyped-call]
            axes.xaxis.set_major_locator(locator)
            axes.xaxis.set_major_formatter(
                ConciseDateFormatter(locator, tz="UTC")  # type: ignore[no-untyped-call]
            )
            axes.yaxis.set_major_formatter(FuncFormatter(_thousands))
            axes.set_xlabel("time (UTC)")
            found[name] = png(figure)
    return found


class Steps:
    """The curve in at most `BINS` steps. `times` at each step's end."""

    def __init__(self, run: Run) -> None:
        curve, count = run.curve, len(run.curve)
        edges = np.unique(np.linspace(0, count, min(count, BINS) + 1).astype(int))
        self._first, self._last = edges[:-1], edges[1:] - 1
        stamps = np.array([*curve.times_ms, run.end_ms], dtype="int64")
        self.start = _moment(stamps[0])
        self.end = _moment(stamps[-1])
        self.times = stamps[self._last + 1].astype("datetime64[ms]")

    def last(self, series: Sequence[Decimal]) -> NDArray[Any]:
        return np.array([float(series[i]) for i in self._last])

    def least(self, series: Sequence[Decimal]) -> NDArray[Any]:
        return np.minimum.reduceat(_floats(series), self._first)

    def most(self, series: Sequence[Decimal]) -> NDArray[Any]:
        return np.maximum.reduceat(_floats(series), self._first)


def _floats(series: Sequence[Decimal]) -> NDArray[Any]:
    return np.array([float(value) for value in series])


def _moment(stamp_ms: Any) -> Any:
    return np.int64(stamp_ms).astype("datetime64[ms]")


def _price(run: Run, steps: Steps, axes: Axes) -> None:
    curve, replayed = run.curve, run.replayed
    spec, quote = replayed.grid.spec, run.setup.rules.instrument.quote_asset
    levels = spec.levels if len(spec.levels) <= LEVELS else (spec.levels[0], spec.levels[-1])
    for number, level in enumerate(levels):
        edge = number in (0, len(levels) - 1)
        axes.axhline(
            float(level),
            color=FAINT if edge else "#c9cdd4",
            linewidth=1.1 if edge else 0.5,
            linestyle="--" if edge else "-",
            zorder=1,
            label="range" if number == 0 else "levels" if number == 1 and len(levels) > 2 else None,
        )
    axes.fill_between(
        steps.times, steps.least(curve.low), steps.most(curve.high), color=SKY, alpha=0.35, lw=0
    )
    axes.plot(steps.times, steps.last(curve.close), color=BLUE, linewidth=0.9, label="price")
    marks = replayed.fills[:: max(1, -(-len(replayed.fills) // MARKS))]
    for side, colour, mark, name in (
        (Side.BUY, GREEN, "^", "buy"),
        (Side.SELL, RED, "v", "sell"),
    ):
        chosen = [fill for fill in marks if fill.side is side]
        axes.scatter(
            np.array([fill.time.replace(tzinfo=None) for fill in chosen], dtype="datetime64[ms]"),
            [float(fill.price) for fill in chosen],
            s=13,
            marker=mark,
            color=colour,
            linewidths=0,
            alpha=0.85,
            zorder=3,
            label=f"{name} ({sum(fill.side is side for fill in replayed.fills):,})",
        )
    axes.set_ylabel(f"price ({quote})")
    axes.grid(visible=False, axis="y")
    _legend(axes, "Price, levels and fills")


def _equity(run: Run, steps: Steps, axes: Axes) -> None:
    curve, quote = run.curve, run.setup.rules.instrument.quote_asset
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.plot(
        steps.times, steps.last(curve.equity), color=INK, linewidth=1.7, label="equity", zorder=4
    )
    parts = (
        ("grid", curve.grid, BLUE, "-"),
        ("trend", curve.trend, PURPLE, "-."),
        ("unrealized", curve.unrealized, ORANGE, "-"),
        ("funding", curve.funding, GREEN, "--"),
        ("open fees", [-fee for fee in curve.open_fees], RED, ":"),
    )
    for name, series, colour, line in parts:
        if any(series):
            axes.plot(
                steps.times,
                steps.last(series),
                color=colour,
                linewidth=1.1,
                linestyle=line,
                label=name,
            )
    axes.set_ylabel(f"change since the start ({quote})")
    _legend(axes, "Equity and its parts")


def _position(run: Run, steps: Steps, axes: Axes) -> None:
    curve, base = run.curve, run.setup.rules.instrument.base_asset
    held = steps.last(curve.position)
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.fill_between(
        steps.times, held, 0, where=(held >= 0).tolist(), step="post", color=BLUE, alpha=0.25, lw=0
    )
    axes.fill_between(
        steps.times, held, 0, where=(held <= 0).tolist(), step="post", color=RED, alpha=0.25, lw=0
    )
    axes.step(steps.times, held, where="post", color=INK, linewidth=0.9, label="position")
    axes.set_ylabel(f"position ({base}), short below 0")
    _legend(axes, "Position")


def _drawdown(run: Run, steps: Steps, axes: Axes) -> None:
    curve, quote = run.curve, run.setup.rules.instrument.quote_asset
    fall = -steps.most(curve.drawdown)
    axes.fill_between(steps.times, fall, 0, color=RED, alpha=0.25, lw=0)
    axes.plot(steps.times, fall, color=RED, linewidth=0.9, label="below the peak before")
    deepest = curve.deepest
    if deepest.amount:
        axes.plot(
            [_moment(deepest.trough_ms)],
            [-float(deepest.amount)],
            marker="o",
            color=INK,
            markersize=5,
            linestyle="none",
            label=f"deepest: {deepest.amount:,.2f}",
        )
    axes.set_ylim(top=0)
    axes.set_ylabel(f"drawdown ({quote})")
    _legend(axes, "Drawdown, judged at every candle's low and high")


def _legend(axes: Axes, title: str) -> None:
    """The title at the left, the legend in a row above the plot at the right: over no line."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=26)
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=7, borderaxespad=0.2, columnspacing=1.4
    )


def _thousands(value: float, _: object) -> str:
    return f"{value:,.10g}".replace("-", "\N{MINUS SIGN}")
