"""One finished run and what its report tells, as values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.backtesting.curve import Curve, to_ms, trace
from cli.backtesting.figures import Figures, Rates, figures
from cli.backtesting.setup import Setup, report_of
from cli.replay import Replayed
from exchanges.price_files import History, source_of
from exchanges.trade_file import Trades
from strategies.grid_math import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One finished run and all that its report tells. `data`, `funding`: the files' names."""

    setup: Setup
    replayed: Replayed
    curve: Curve
    figures: Figures
    candles: int
    are_trades: bool
    interval_ms: int
    end_ms: int
    data: str
    funding: str | None
    config: str


def finish(
    setup: Setup,
    replayed: Replayed,
    history: History,
    rates: Rates,
    *,
    data: str,
    funding: str | None,
    config: str,
) -> Run:
    """Derive from a replay with points everything that is reported."""
    source = source_of(history, tuple(rates))
    curve = trace(source, replayed, setup.config.exchange.paper.balance)
    interval = history.interval_ms
    end_ms = history[-1].time_ms + interval
    if replayed.ended_by is not None:
        end_ms = max(to_ms(replayed.ended_at), history[0].time_ms + 1)
    return Run(
        setup=setup,
        replayed=replayed,
        curve=curve,
        figures=figures(setup, replayed, curve, rates, end_ms),
        candles=len(history),
        are_trades=isinstance(history, Trades),
        interval_ms=interval,
        end_ms=end_ms,
        data=data,
        funding=funding,
        config=config,
    )


def report_document(run: Run) -> dict[str, Any]:
    """The report as JSON: the accounting, what was assumed, the key figures."""
    report = report_of(run.replayed, run.candles, run.setup.assumptions)
    del report["seconds"]  # the only thing that two runs differ in
    return {**report, "assumptions": assumptions(run), "figures": figures_document(run.figures)}


def assumptions(run: Run) -> dict[str, Any]:
    """What the run took for granted: files, fills, fees, limits, the grid."""
    setup = run.setup
    instrument, spec, grid = setup.rules.instrument, run.replayed.grid.spec, setup.settings.grid
    paper = setup.config.exchange.paper
    return {
        "config": Path(run.config).name,
        "data": Path(run.data).name,
        "funding_file": None if run.funding is None else Path(run.funding).name,
        "from": iso(run.curve.times_ms[0]),
        "to": iso(run.end_ms),
        "interval_ms": run.interval_ms,
        "symbol": setup.config.symbol,
        "fill_rule": setup.assumptions.fill_rule,
        "slippage": plain(setup.assumptions.slippage),
        "maker_fee": plain(instrument.maker_fee),
        "taker_fee": plain(instrument.taker_fee),
        "tick_size": plain(instrument.tick_size),
        "lot_size": plain(instrument.lot_size),
        "min_notional": plain(instrument.min_notional),
        "balance": plain(paper.balance),
        "leverage": plain(setup.settings.leverage),
        "grid_type": spec.kind.value,
        "grid_mode": spec.mode.value,
        "grid_lower_price": plain(spec.lower),
        "grid_upper_price": plain(spec.upper),
        "grid_num": spec.num,
        "quantity": plain(spec.quantity),
        "max_position": None if grid.max_position is None else plain(grid.max_position),
        "open_initial": grid.open_initial,
        "boundary_action": setup.settings.boundary_action,
        "stop_loss": _optional(setup.settings.stop_loss),
        "take_profit": _optional(setup.settings.take_profit),
        "trigger_price": _optional(grid.trigger_price),
    }


def figures_document(found: Figures) -> dict[str, Any]:
    """The key figures as exact text; percentages are per cent."""
    held = found.held
    return {
        "days": plain(found.days.quantize(found.invested)),
        "notional": plain(found.notional),
        "invested": plain(found.invested),
        "grid_apr": _optional(found.grid_apr),
        "total_apr": _optional(found.total_apr),
        "max_drawdown": plain(found.drawdown),
        "max_drawdown_percent": plain(found.drawdown_percent),
        "max_drawdown_of_invested": _optional(found.drawdown_of_invested),
        "in_range_percent": plain(found.in_range),
        "exposed_percent": plain(found.exposed),
        "mean_exposure": plain(found.mean_exposure),
        "most_held": plain(found.most_held),
        "buy_and_hold": {
            "quantity": plain(held.quantity),
            "notional": plain(held.notional),
            "price_gain": plain(held.price_gain),
            "fee": plain(held.fee),
            "funding": plain(held.funding),
            "equity_change": plain(held.equity_change),
        },
    }


def iso(time_ms: int) -> str:
    """A UTC moment as people and programs read it, to the second where that is exact."""
    from exchanges.changes import moment

    return moment(time_ms).isoformat().replace("+00:00", "Z")


def _optional(value: Any) -> str | None:
    return None if value is None else plain(value)
