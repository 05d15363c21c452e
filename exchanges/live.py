"""Builds a live exchange from a config: keys, budget, session, client and feed, lock and ids."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from exchanges.account_lock import AccountLock
from exchanges.budget import Budget
from exchanges.feed import StreamFeed
from exchanges.rest_client import RestClient, Terms

if TYPE_CHECKING:
    from core.config import InstanceConfig
    from core.ports import DeadMansSwitch, ExchangeClient

BUDGET_FOLDER = ".budget"


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """A live exchange put together. `account` names the account, hashed wherever it is written."""

    client: ExchangeClient
    rest: RestClient
    feed: StreamFeed
    host: str
    account: str
    switch: DeadMansSwitch | None = None  # Backpack has none


def budget_folder(root: Path) -> Path:
    """Where the machine's budgets are: `GRID_BUDGET_DIR`, for several roots, else the root's."""
    named = os.environ.get("GRID_BUDGET_DIR")
    return Path(named) if named else root / "logs" / BUDGET_FOLDER


def create_live(
    config: InstanceConfig,
    *,
    root: Path,
    history_from: datetime | None = None,
    may_change: bool = True,
) -> Live:
    """Build client and feed; nothing is sent yet. Errors: ConfigError for keys that are none."""
    exchange, strategy = config.exchange, config.strategy
    api_key = exchange.api_key.reveal() if exchange.api_key else ""
    secret = exchange.secret_key.reveal() if exchange.secret_key else ""
    terms = Terms(
        leverage=None if strategy.leverage is None else Decimal(strategy.leverage),
        may_change=may_change,
        allow_account_changes=strategy.allow_account_changes,
    )
    if config.exchange_name == "backpack":
        return _backpack(config, api_key, secret, terms, root, history_from)
    return _aster(config, api_key, secret, terms, root, history_from)


def _backpack(
    config: InstanceConfig,
    api_key: str,
    secret: str,
    terms: Terms,
    root: Path,
    history_from: datetime | None,
) -> Live:
    from exchanges import backpack, backpack_wire, channels

    keys = backpack_wire.BackpackKeys(api_key, secret)
    host = _host(config.exchange.base_url or backpack_wire.BASE_URL)
    budget = Budget(
        budget_folder(root), host=host, account=keys.api_key, limits=backpack_wire.LIMITS
    )
    session = backpack.open_session(budget, _trimmed(config.exchange.base_url), keys)
    client = backpack.BackpackClient(
        session, symbol=config.symbol, terms=terms, history_from=history_from
    )
    feed = StreamFeed(
        channels.backpack_channels(
            symbol=config.symbol,
            session=session,
            keys=keys,
            ws_url=config.exchange.ws_url,
            name_of=client.name_of,
        ),
        symbol=config.symbol,
    )
    return Live(client=client, rest=client, feed=feed, host=host, account=keys.api_key)


def _aster(
    config: InstanceConfig,
    api_key: str,
    secret: str,
    terms: Terms,
    root: Path,
    history_from: datetime | None,
) -> Live:
    from exchanges import aster, aster_wire, channels

    keys = aster_wire.read_keys(api_key, secret)
    host = _host(config.exchange.base_url or aster_wire.BASE_URL)
    budget = Budget(budget_folder(root), host=host, account=keys.account, limits=aster_wire.LIMITS)
    session = aster.open_session(budget, _trimmed(config.exchange.base_url), keys)
    client = aster.AsterClient(
        session, symbol=config.symbol, terms=terms, history_from=history_from
    )
    feed = StreamFeed(
        channels.aster_channels(
            symbol=config.symbol,
            session=session,
            ws_url=config.exchange.ws_url,
            fee_of=client.stream_signs.fee,
            learn_fees=client.learn_fees,
        ),
        symbol=config.symbol,
    )
    return Live(
        client=client, rest=client, feed=feed, host=host, account=keys.account, switch=client
    )


def take_lock(live: Live, config: InstanceConfig) -> AccountLock:
    """Be the only bot on this account and symbol. Errors: ConfigError naming the holder."""
    return AccountLock(
        host=live.host,
        account=live.account,
        symbol=config.symbol,
        instance_id=config.instance_id,
        shown=f"{config.symbol} on {config.exchange_name}",
    )


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2].lower()


def _trimmed(url: str | None) -> str | None:
    return url.rstrip("/") if url else None
