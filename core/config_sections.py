"""The sections of a config file: their keys, types and defaults (CONTRACT 2).

Pure, frozen pydantic models; a field is named as its JSON key. A model knows its own fields only;
what holds between fields and sections is in `core.config_checks`. Seconds are floats, money and
rates are Decimal, None means "not given" as each line says.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict

from core.config_values import (
    BotArgs,
    Count,
    Fee,
    FundingRate,
    GridNum,
    Host,
    HostList,
    HttpUrl,
    Key,
    Leverage,
    MarketType,
    Name,
    NameList,
    NotNegative,
    PathText,
    Percent,
    Port,
    Positive,
    PositiveCount,
    PositiveSeconds,
    Seconds,
    Seed,
    Slippage,
    Switch,
    Symbol,
    Text,
    Tolerance,
    Variables,
    Version,
    WsUrl,
    member_of,
    one_of,
)
from core.model import BoundaryAction, GridMode, GridType

EXCHANGES = ("backpack", "aster", "paper")
STRATEGIES = ("perp_grid",)

ExchangeName = Annotated[Literal["backpack", "aster", "paper"], one_of(*EXCHANGES)]
StrategyName = Annotated[Literal["perp_grid"], one_of(*STRATEGIES)]
Mode = Annotated[Literal["live", "paper"], one_of("live", "paper")]
FeedKind = Annotated[Literal["synthetic", "csv"], one_of("synthetic", "csv")]
HealthCheck = Annotated[Literal["auto", "none"], one_of("auto", "none")]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"], one_of("debug", "info", "warning", "error")
]
CpuLimitAction = Annotated[Literal["warn", "restart"], one_of("warn", "restart")]


class Section(BaseModel):
    """What all sections share: frozen, silent about inputs in errors, unknown keys left out."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, arbitrary_types_allowed=True
    )


class Metadata(Section):
    """Who this is. The trading keys here are the weakest word on them."""

    name: Text | None = None
    instance_id: Name | None = None
    exchange: ExchangeName | None = None
    symbol: Symbol | None = None
    market_type: MarketType | None = None
    strategy: StrategyName | None = None
    version: Version | None = None
    example: Switch = False  # true: never started by --all


class DaemonConfig(Section):
    """How it is run, watched and logged."""

    python_path: PathText = ".venv/bin/python3"
    script_path: PathText = "run.py"
    working_dir: PathText = "."
    log_dir: PathText = ""  # parsed: logs/{id}
    db_path: PathText = ""  # parsed: database/{id}.db
    web_host: Host = "127.0.0.1"
    web_port: Port | None = None  # None: the first usable one from 5001
    allowed_hosts: HostList = ()
    max_restart_attempts: Count = 3
    restart_delay: Seconds = 60.0
    restart_window: PositiveSeconds = 3600.0
    restart_delay_max: Seconds = 900.0  # never below restart_delay
    healthy_after: Seconds = 600.0
    fatal_retry_interval: PositiveSeconds | None = None  # None: FATAL stays
    health_check: HealthCheck = "auto"
    health_check_interval: PositiveSeconds = 30.0
    health_check_timeout: PositiveSeconds = 5.0
    health_check_failures: PositiveCount = 3
    startup_timeout: PositiveSeconds = 60.0
    stop_timeout: PositiveSeconds = 30.0
    finish_after: Seconds = 10.0
    memory_limit_mb: PositiveCount | None = 2048  # null: no limit
    cpu_limit_percent: PositiveCount | None = 80  # null: no limit
    cpu_limit_action: CpuLimitAction = "warn"
    auto_restart: Switch = True
    start_after: NameList = ()  # of those that are started together with it
    log_cleanup_interval: PositiveSeconds = 86400.0
    log_retention_days: PositiveCount = 2
    log_max_mb: PositiveCount | None = 512  # null: no limit
    log_level: LogLevel = "info"  # of the bot
    environment: Variables = {}
    env_file: PathText | None = None
    bot_args: BotArgs = ""


class PaperConfig(Section):
    """The embedded paper exchange. `speed`: simulated seconds per second, 0: at full speed."""

    feed: FeedKind = "synthetic"
    seed: Seed = 7
    speed: NotNegative = Decimal(1)
    start_price: Positive | None = None  # None: the middle of the range
    file: PathText | None = None
    funding_file: PathText | None = None  # rates for a csv feed; None: no funding
    funding_rate: FundingRate = Decimal("0.0001")  # of a synthetic feed, every 8 simulated hours
    balance: Positive = Decimal(100000)
    maker_fee: Fee = Decimal("0.0002")
    taker_fee: Fee = Decimal("0.0005")
    tick_size: Positive = Decimal("0.01")
    lot_size: Positive = Decimal("0.001")
    min_notional: NotNegative = Decimal(5)


class ExchangeConfig(Section):
    """Where it trades. `mode` is as decided: "live" unless the file or the exchange says paper."""

    mode: Mode = "live"
    api_key: Key | None = None
    secret_key: Key | None = None
    base_url: HttpUrl | None = None
    ws_url: WsUrl | None = None
    paper: PaperConfig = PaperConfig()


class StrategyConfig(Section):
    """What it trades. Every long option of run.py is a key here."""

    exchange: ExchangeName | None = None
    symbol: Symbol | None = None
    strategy: StrategyName = "perp_grid"
    market_type: MarketType = "perp"
    grid_lower_price: Positive | None = None  # None only with auto_price
    grid_upper_price: Positive | None = None
    grid_num: GridNum | None = None
    grid_mode: Annotated[GridMode, member_of(GridMode)] = GridMode.ARITHMETIC
    grid_type: Annotated[GridType, member_of(GridType)] = GridType.NEUTRAL
    quantity: Positive | None = None  # of one order; None: from max_position
    max_position: Positive | None = None  # None: no limit
    leverage: Leverage | None = None  # None: as the account has it
    open_initial: Switch = False
    stop_loss: Positive | None = None
    take_profit: Positive | None = None
    boundary_action: Annotated[BoundaryAction, member_of(BoundaryAction)] = BoundaryAction.NONE
    boundary_tolerance: Tolerance = Decimal("0.001")
    boundary_confirm: Seconds = 10.0  # of market time, before a breach or a return counts
    boundary_moves_per_hour: PositiveCount = 12  # of trail and adjust_range; above it: as stop_only
    auto_price: Switch = False
    price_range: Percent | None = None
    trigger_price: Positive | None = None
    slippage_cap: Slippage = Decimal("0.005")
    allow_liquidation_in_range: Switch = False
    allow_account_changes: Switch = False
    dead_mans_switch: PositiveSeconds | None = None  # Aster's countdown; None: off
    duration: PositiveSeconds | None = None  # None: until it is stopped
    interval: PositiveSeconds = 60.0
    no_web: Switch = False
