"""The preflight of a grid over a real or a paper exchange: asked for, worked out, refused.

Shared by `run.py --check`, a bot's first start, and the look at the other bots of an account.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.errors import ConfigError
from strategies.account_margin import ALONE, Sharing
from strategies.preflight import Preflight, preflight
from strategies.settings import EngineSettings, build_spec

if TYPE_CHECKING:
    from core.model import Instrument
    from core.ports import ExchangeClient


def preflight_of(
    client: ExchangeClient,
    settings: EngineSettings,
    instrument: Instrument,
    sharing: Sharing = ALONE,
) -> Preflight:
    """Look at price, balance and position and work the figures out; `sharing` as in `preflight`.

    Errors: ExchangeError; ConfigError, a fault a line, for a grid that cannot be laid out.
    """
    price = client.fetch_quote(settings.symbol).last
    try:
        spec = build_spec(settings.grid, price, instrument)
    except ValueError as error:
        raise _refused(str(error).splitlines()) from error
    balance, position = client.fetch_balance(), client.fetch_position(settings.symbol)
    return preflight(settings, spec, instrument, price, balance, position, sharing)


def refuse(found: Preflight) -> None:
    """Refuse a grid that may not start. Errors: ConfigError with every reason."""
    if found.faults:
        raise _refused(found.faults)


def _refused(reasons: Sequence[str]) -> ConfigError:
    faults = tuple(f"strategy_config: {reason}" for reason in reasons)
    if len(faults) == 1:
        return ConfigError(faults[0])
    return ConfigError(f"the grid is refused for {len(faults)} reasons", faults)
