"""From a config to the parts of a bot: settings, client ids, database, exchange, engine.

The one place where the arms meet. Nothing here runs; `cli.bot` does.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import ConfigError, ExchangeError
from strategies.settings import EngineSettings, GridRequest

if TYPE_CHECKING:
    from core.config import InstanceConfig
    from core.model import Snapshot
    from core.ports import Clock, DeadMansSwitch, ExchangeClient, Feed, MarketStates
    from database.db import Database
    from database.reserve import Reserve
    from exchanges.account_lock import AccountLock
    from exchanges.transport import RestSession
    from strategies.engine import Engine
    from strategies.order_desk import DeskLog
    from strategies.order_ids import ClientIds
from strategies.order_ids import ClientIds

DEFAULT_LEVERAGE = Decimal(10)
DEFAULT_GRID_NUM = 20
HISTORY_KEY = "live_since"
CLOCK_SLACK = timedelta(hours=1)
"""How wrong the machine's own clock may be when a ledger begins."""

ID_LENGTH = 20
"""Characters of the instance id in a client order id: Aster takes 36 in all, a counter follows."""


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class InstanceIds:
    """Client order ids that carry the instance: `bp_sol_01-17`."""

    capacity: int | None = None

    def __init__(self, instance_id: str) -> None:
        self._prefix = f"{instance_id[:ID_LENGTH]}-"
        self._own = re.compile(re.escape(self._prefix) + r"\d+")

    def make(self, number: int) -> str:
        return f"{self._prefix}{number}"

    def owns(self, client_order_id: str) -> bool:
        return self._own.fullmatch(client_order_id) is not None


def client_ids(config: InstanceConfig) -> ClientIds:
    """Make client order ids in the form that the config's exchange takes."""
    if config.exchange.mode == "live":
        from exchanges.client_ids import AsterIds, BackpackIds

        kind = BackpackIds if config.exchange_name == "backpack" else AsterIds
        return kind(config.instance_id)
    return InstanceIds(config.instance_id)


def engine_settings(config: InstanceConfig, started_at: datetime) -> EngineSettings:
    """Take the engine's settings from a config; `duration` runs from the user's last start."""
    strategy = config.strategy
    end_at = None
    if strategy.duration is not None:
        end_at = started_at + timedelta(seconds=strategy.duration)
    return EngineSettings(
        instance_id=config.instance_id,
        exchange=config.exchange_name,
        mode=config.exchange.mode,
        symbol=config.symbol,
        strategy=strategy.strategy,
        grid=grid_request(config),
        leverage=Decimal(strategy.leverage or DEFAULT_LEVERAGE),
        boundary_action=strategy.boundary_action.value,
        boundary_tolerance=strategy.boundary_tolerance,
        boundary_confirm_s=strategy.boundary_confirm,
        boundary_moves_per_hour=strategy.boundary_moves_per_hour,
        interval_s=strategy.interval,
        end_at=end_at,
        slippage_cap=strategy.slippage_cap,
        dead_mans_switch_s=strategy.dead_mans_switch,
        stop_loss=strategy.stop_loss,
        take_profit=strategy.take_profit,
        allow_liquidation_in_range=strategy.allow_liquidation_in_range,
    )


def grid_request(config: InstanceConfig) -> GridRequest:
    """Take the grid that a config asks for."""
    strategy = config.strategy
    lower, upper = strategy.grid_lower_price, strategy.grid_upper_price
    if strategy.auto_price:
        lower = upper = None
    return GridRequest(
        lower=lower,
        upper=upper,
        num=strategy.grid_num or DEFAULT_GRID_NUM,
        mode=strategy.grid_mode,
        kind=strategy.grid_type,
        quantity=strategy.quantity,
        max_position=strategy.max_position,
        price_range=strategy.price_range,
        open_initial=strategy.open_initial,
        trigger_price=strategy.trigger_price,
    )


@dataclass(slots=True)
class Opened:
    """An exchange that was opened. `lock` and `session` belong to a live one."""

    client: ExchangeClient
    feed: Feed
    lock: AccountLock | None = None  # of account and symbol
    session: RestSession | None = None
    switch: DeadMansSwitch | None = None  # where the exchange has one
    market: MarketStates | None = None

    def close(self) -> None:
        self.client.close()
        if self.lock is not None:
            self.lock.close()

    def budget_words(self) -> dict[str, str]:
        """Say how much of each request budget all bots of the machine use, for the status."""
        if self.session is None:
            return {}
        try:
            found = self.session.budget.use()
        except ExchangeError:
            return {}
        words = {}
        for use in found:
            held = f", held back for {use.blocked_s:.0f} s" if use.blocked_s else ""
            words[f"budget_{use.name}"] = f"{use.used} of {use.limit} in {use.period_s:.0f} s{held}"
        return words


@dataclass(slots=True)
class Parts:
    """A bot put together: what runs and what has to be closed."""

    engine: Engine
    database: Database
    opened: Opened
    reserve: Reserve | None = None  # of a live bot

    @property
    def client(self) -> ExchangeClient:
        return self.opened.client

    def close(self) -> None:
        self.opened.close()
        if self.reserve is not None:
            self.reserve.close()
        self.database.close()


def build(
    config: InstanceConfig,
    *,
    db_path: Path,
    root: Path,
    started_at: datetime,
    log: DeskLog,
    publish: Callable[[Snapshot], None],
    beat: Callable[[int, bool], None],
) -> Parts:
    """Open the database and the exchange and join them. Errors: ConfigError, StoreError."""
    from database.db import Database
    from database.reserve import Reserve
    from strategies.engine import Engine

    settings = engine_settings(config, started_at)
    database = Database(db_path, durable=config.exchange.mode == "live")
    try:
        database.bind_instance(config.instance_id)
        opened = open_exchange(config, database, SystemClock(), root)
    except BaseException:
        database.close()
        raise
    # Only where a commit waits for the disk is there anything to keep ready.
    reserve = Reserve(database) if config.exchange.mode == "live" else None
    engine = Engine(
        settings=settings,
        client=opened.client,
        feed=opened.feed,
        store=database,
        clock=SystemClock(),
        ids=client_ids(config),
        log=log,
        publish=publish,
        beat=beat,
        housekeeping=lambda now: log("pruned", rows=str(database.prune(now))),
        switch=opened.switch,
        market=opened.market,
        reserve=reserve,
    )
    return Parts(engine=engine, database=database, opened=opened, reserve=reserve)


def open_exchange(
    config: InstanceConfig, database: Database, clock: Clock, root: Path, *, alone: bool = True
) -> Opened:
    """Open the exchange of a config; paper keeps its books in the instance's own file.

    A live one is locked by account and symbol, unless not `alone`: cancelling what carries our
    ids is safe beside anybody. Errors: ConfigError naming the holder.
    """
    if config.exchange.mode == "live":
        from exchanges.live import create_live, take_lock

        live = create_live(config, root=root, history_from=_history_from(database, clock))
        try:
            lock = take_lock(live, config) if alone else None
        except ConfigError:
            live.client.close()
            raise
        return Opened(
            client=live.client,
            feed=live.feed,
            lock=lock,
            session=live.rest.session,
            switch=live.switch,
            market=live.rest,
        )
    from database.paper_store import PaperDatabase
    from exchanges.factory import create_exchange

    client, feed = create_exchange(config, PaperDatabase(database), clock, root=root)
    return Opened(client=client, feed=feed)


def _history_from(database: Database, clock: Clock) -> datetime:
    """When this instance's ledger began trading live: nothing of ours is older on the exchange."""
    known = database.load_meta(HISTORY_KEY)
    if known is None:
        known = (clock.now() - CLOCK_SLACK).isoformat()
        database.save_meta(HISTORY_KEY, known)
    return datetime.fromisoformat(known)
