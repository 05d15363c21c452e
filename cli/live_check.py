"""What a check of a live config says of keys, credentials, modes and limits. Sends no write.

Each line names what was looked at and how it stands; what is wrong is an error in words, with the
exit code that a start would end with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.model import Instrument
from strategies.grid_math import plain

if TYPE_CHECKING:
    from core.config import InstanceConfig
    from core.ports import ExchangeClient
    from exchanges.live import Live

CheckLine = tuple[str, str]


def open_for_check(config: InstanceConfig, root: Path) -> tuple[ExchangeClient, LiveWords]:
    """Open the exchange so that nothing of the account is changed. Errors: ConfigError."""
    from exchanges.live import create_live

    live = create_live(config, root=root, may_change=False)
    return live.client, LiveWords(live)


@dataclass(frozen=True, slots=True)
class LiveWords:
    """The lines of a live check. Errors of each: ConfigError, AuthError, ExchangeError."""

    live: Live

    def credentials(self) -> Iterator[CheckLine]:
        """Keys are well-formed (they were read) and accepted (a signed read)."""
        tag = hashlib.sha256(self.live.account.encode()).hexdigest()[:8]
        yield "keys", f"well-formed, for {self.live.host}; fingerprint {tag}"
        balance = self.live.client.fetch_balance()
        equity, free = plain(balance.equity), plain(balance.available)
        yield "credentials", f"accepted; equity {equity} {balance.asset}, {free} free"

    def is_closed(self) -> bool:
        """Tell whether the exchange says that the symbol takes no order now."""
        return not self.live.rest.fetch_market_state(self.live.rest.symbol).state.takes_exits

    def account(self, instrument: Instrument) -> Iterator[CheckLine]:
        """The account's modes, and what the exchange takes."""
        report = self.live.rest.fetch_market_state(self.live.rest.symbol)
        is_open = report.state.takes_entries
        yield "market" if is_open else "warning", report.words
        yield "modes", "; ".join(self.live.rest.account_words())
        yield "limits", _limits(instrument)


def _limits(instrument: Instrument) -> str:
    parts = [
        f"tick {plain(instrument.tick_size)}",
        f"lot {plain(instrument.lot_size)}",
        f"at least {plain(instrument.min_quantity)} {instrument.base_asset}",
    ]
    if instrument.min_notional:
        parts.append(f"at least {plain(instrument.min_notional)} {instrument.quote_asset}")
    if instrument.max_open_orders:
        parts.append(f"at most {instrument.max_open_orders} open orders")
    return ", ".join(parts)
