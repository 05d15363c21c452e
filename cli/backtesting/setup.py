"""From a config to one replay, and from the replay to the accounting of CONTRACT 4.

Everything that a backtest assumes beyond the config is in `Assumptions`; the rest is the bot's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from core.errors import ConfigError
from core.model import ZERO
from strategies.grid_math import plain

if TYPE_CHECKING:
    from cli.replay import Replayed
    from core.config import InstanceConfig
    from exchanges.matching import Rules
    from exchanges.price_feed import PriceSource
    from strategies.settings import EngineSettings

NEVER_S = 1e12  # a replay needs no periodic reconciliation: nothing else trades on its account

ACCOUNTING = (
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
    "last_price",
    "ended_by",
)
"""The keys of a run's result, in the order in which people read them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """How a backtest fills, where history does not say. `slippage`: a fraction, for what takes."""

    through: bool = False
    slippage: Decimal = ZERO

    @property
    def fill_rule(self) -> str:
        return "through" if self.through else "touch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A config ready to be replayed."""

    config: InstanceConfig
    settings: EngineSettings
    rules: Rules
    assumptions: Assumptions


def prepare(config: InstanceConfig, assumptions: Assumptions) -> Setup:
    """Take from a checked config what a replay needs. Errors: ConfigError."""
    from cli.bot_wiring import SystemClock, engine_settings
    from exchanges.factory import paper_rules

    settings = engine_settings(config, SystemClock().now())
    if assumptions.slippage > settings.slippage_cap:
        raise ConfigError(
            f"--slippage: was {plain(assumptions.slippage)}, expected at most strategy_config."
            f"slippage_cap, {plain(settings.slippage_cap)}: the bot's closing orders go no further"
        )
    rules = paper_rules(config, fill_through=assumptions.through, slippage=assumptions.slippage)
    return Setup(
        config=config,
        settings=replace(settings, mode="paper", interval_s=NEVER_S, end_at=None),
        rules=rules,
        assumptions=assumptions,
    )


def run(setup: Setup, source: PriceSource, *, with_points: bool = False) -> Replayed:
    """Replay once, on an account of its own. Errors: ConfigError."""
    from cli.replay import replay
    from exchanges.paper_memory import MemoryPaperStore

    return replay(
        setup.settings,
        setup.rules,
        source,
        MemoryPaperStore(),
        setup.config.exchange.paper.balance,
        with_points=with_points,
    )


def accounting(replayed: Replayed) -> dict[str, Any]:
    """Write a result under the keys of `ACCOUNTING`: exact decimals as text, counts as integers.

    `fills` counts the grid's own; the fills of an initial entry are `initial_fills`. `ended_by` is
    None when the data's end ended it.
    """
    totals, pnl = replayed.grid.totals, replayed.pnl
    return {
        "fills": totals.fills,
        "initial_fills": totals.initial_fills,
        "closed_cells": totals.closed_cells,
        "position": plain(replayed.grid.position),
        "grid": plain(pnl.grid),
        "trend": plain(pnl.trend),
        "unrealized": plain(pnl.unrealized),
        "open_fees": plain(pnl.open_fees),
        "funding": plain(pnl.funding),
        "equity_change": plain(replayed.equity_change),
        "fees": plain(pnl.fees),
        "last_price": plain(replayed.last_price),
        "ended_by": replayed.ended_by,
    }


def report_of(replayed: Replayed, candles: int, assumptions: Assumptions) -> dict[str, Any]:
    """Write the report of one run, as `--json` prints it."""
    return {
        "candles": candles,
        "seconds": round(replayed.seconds, 6),
        "start_price": plain(replayed.start_price),
        **accounting(replayed),
        "fill_rule": assumptions.fill_rule,
        "slippage": plain(assumptions.slippage),
    }
