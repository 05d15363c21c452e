"""What must hold between the keys of a config: pure checks over sections that are valid each.

Every check runs, whatever the others found; a check whose inputs are faulty themselves is silent,
so that one mistake is one line. Whether a grid earns its fees and stands its worst case is the
strategy's own preflight, which knows the instrument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Any

from core.config_sections import DaemonConfig, ExchangeConfig, StrategyConfig
from core.config_text import Findings, is_truthy, references, value_text
from core.config_values import is_loopback
from core.model import GridMode, GridType, Secret
from core.spec import BROWSER_BLOCKED_PORTS

KEY_VARIABLES = {
    "backpack": ("BACKPACK_KEY", "BACKPACK_SECRET"),
    "aster": ("ASTER_KEY", "ASTER_SECRET"),
}
"""Where a config that names no keys gets them from."""

KEY_NAMES = ("api_key", "secret_key")

RESERVED_VARIABLES = frozenset(
    {
        "INSTANCE_ID",
        "CONFIG_FILE",
        "WEB_HOST",
        "WEB_PORT",
        "DB_PATH",
        "LOG_DIR",
        "GRID_ROOT",
        "GRID_RUN_DIR",
        "GRID_BOT_LOCK_FD",
        "GRID_STARTED_AT",
        "GRID_CONFIG_SOURCE",
    }
)
"""What the supervisor itself tells its child."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is checked, and how to speak of it.

    `raw` are the sections as written. `where` spells a place in the file. `said_of(key)` tells
    where a strategy value comes from and how it stands there. `bad` are (section, key) that are
    faulty already. `variables` are the environment, then .env, then env_file.
    """

    daemon: DaemonConfig
    exchange: ExchangeConfig
    strategy: StrategyConfig
    raw: Mapping[str, Mapping[str, Any]]
    where: Callable[[str, str], str]
    said_of: Callable[[str], tuple[str, str]]
    bad: frozenset[tuple[str, str]]
    variables: Mapping[str, str]
    findings: Findings

    def ok(self, section: str, *keys: str) -> bool:
        """Tell whether none of these keys is faulty itself."""
        return not any((section, key) in self.bad for key in keys)

    def strategy_fault(self, key: str, expected: str) -> None:
        where, found = self.said_of(key)
        self.findings.fault(where, found, expected)


# The supervisor's side ------------------------------------------------------------------------


def check_daemon(subject: Subject) -> None:
    """Check restarts, the web address and the child's environment."""
    daemon, raw = subject.daemon, subject.raw["daemon_config"]
    if (
        "restart_delay_max" in daemon.model_fields_set
        and daemon.restart_delay_max < daemon.restart_delay
        and subject.ok("daemon_config", "restart_delay", "restart_delay_max")
    ):
        subject.findings.fault(
            subject.where("daemon_config", "restart_delay_max"),
            value_text(raw["restart_delay_max"]),
            f"at least restart_delay, which is {daemon.restart_delay:g}",
        )
    if not is_loopback(daemon.web_host) and not _web_token(subject).strip():
        subject.findings.fault(
            subject.where("daemon_config", "web_host"),
            value_text(raw.get("web_host")),
            "WEB_TOKEN to be set (in .env or the environment) before the page listens beyond this"
            " machine; or web_host 127.0.0.1",
        )
    if daemon.web_port in BROWSER_BLOCKED_PORTS:
        subject.findings.warn(
            subject.where("daemon_config", "web_port"),
            f"browsers refuse to open port {daemon.web_port}: curl reaches it, for the page choose"
            " another",
        )
    raw_environment = raw.get("environment")
    for name in daemon.environment:
        where = f"{subject.where('daemon_config', 'environment')}.{name}"
        if name in RESERVED_VARIABLES:
            subject.findings.fault(where, "set", "another name: the supervisor sets this one")
        text = raw_environment.get(name) if isinstance(raw_environment, Mapping) else None
        if value_text(text, (name,)) == "***":
            subject.findings.warn(
                where, "holds a literal secret; put it in .env and write ${" + name + "} here"
            )


def _web_token(subject: Subject) -> str:
    return subject.variables.get("WEB_TOKEN", "") or subject.daemon.environment.get("WEB_TOKEN", "")


def check_web_debug(subject: Subject) -> None:
    """Refuse WEB_DEBUG, wherever it is set."""
    reason = (
        "it unset or 0: the debugger would let whoever reaches the page run code in the process"
        " that trades"
    )
    own = subject.daemon.environment.get("WEB_DEBUG")
    if own is not None and is_truthy(own):
        where = subject.where("daemon_config", "environment") + ".WEB_DEBUG"
        subject.findings.fault(where, "on", reason)
    elif own is None and is_truthy(subject.variables.get("WEB_DEBUG", "")):
        subject.findings.fault("WEB_DEBUG", "on in the environment", reason)


# The exchange's side --------------------------------------------------------------------------


def decide_mode(subject: Subject) -> str | None:
    """Return "paper" or "live" (no mode is live, as in the guide's files); None: cannot be told."""
    if not subject.ok("exchange_config", "mode"):
        return None
    named = "mode" in subject.exchange.model_fields_set
    on_paper = subject.strategy.exchange == "paper"
    if named and on_paper and subject.exchange.mode == "live":
        subject.findings.fault(
            subject.where("exchange_config", "mode"),
            '"live"',
            '"paper": the exchange is paper; or name a real exchange',
        )
        return None
    return "paper" if on_paper else subject.exchange.mode


def check_keys(subject: Subject, mode: str | None) -> dict[str, Secret]:
    """Return the keys; a live config without both is refused with both ways out.

    A file that does not name a key gets it from the exchange's own variable. Paper needs none.
    """
    exchange, raw = subject.exchange, subject.raw["exchange_config"]
    name = subject.strategy.exchange or "backpack"
    defaults = KEY_VARIABLES.get(name, KEY_VARIABLES["backpack"])
    keys: dict[str, Secret] = {}
    lacking: list[tuple[str, str, str]] = []
    for key, default in zip(KEY_NAMES, defaults, strict=True):
        where = subject.where("exchange_config", key)
        written = raw.get(key)
        value: Secret | None = getattr(exchange, key)
        if not written and subject.variables.get(default):
            value = Secret(subject.variables[default].strip())
        if isinstance(written, str) and value_text(written, (key,)) == "***":
            subject.findings.warn(
                where, "holds a literal key; put it in .env and write ${" + default + "} here"
            )
        if value:
            keys[key] = value
        elif subject.ok("exchange_config", key):
            variable = next(iter(references(written)), default) if written else default
            lacking.append((where, variable, value_text(written) if written else ""))
    if mode == "live":
        variables = " and ".join(variable for _, variable, _ in lacking)
        for where, variable, written in lacking:
            subject.findings.fault(
                where,
                f"{written}, and {variable} is not set" if written else "not set",
                f"a key, since no mode or mode live needs both keys: set {variables} in .env (or"
                ' the environment), or set "mode": "paper" in exchange_config',
            )
    return keys


def check_paper(subject: Subject) -> None:
    """Check the paper exchange's feed, and the grid against its tick, lot and minimum."""
    paper, strategy = subject.exchange.paper, subject.strategy
    raw = subject.raw["exchange_config"].get("paper") or {}
    inside = subject.where("exchange_config", "paper")
    usable = subject.ok("exchange_config", "paper")
    if paper.feed == "csv" and paper.file is None and usable:
        subject.findings.fault(
            f"{inside}.file",
            "not set",
            "a file of timestamp_ms,open,high,low,close,volume: feed is csv",
        )
    if paper.feed == "synthetic" and paper.file is not None:
        subject.findings.warn(f"{inside}.file", 'is not read: feed is synthetic, not "csv"')
    no_range = strategy.grid_lower_price is None or strategy.grid_upper_price is None
    if (
        paper.feed == "synthetic"
        and strategy.auto_price
        and no_range
        and paper.start_price is None
        and usable
        and subject.ok("strategy_config", "grid_lower_price", "grid_upper_price")
    ):
        subject.findings.fault(
            f"{inside}.start_price",
            value_text(raw.get("start_price")) if "start_price" in raw else "not set",
            "a price: with auto_price there is no range to start in the middle of",
        )
    if usable:
        _check_levels(subject, paper.tick_size)
        _check_quantity(subject, paper.lot_size, paper.min_notional)


def _check_levels(subject: Subject, tick: Decimal) -> None:
    strategy = subject.strategy
    lower, upper, num = strategy.grid_lower_price, strategy.grid_upper_price, strategy.grid_num
    if strategy.auto_price or lower is None or upper is None or num is None or lower >= upper:
        return
    before: Decimal | None = None
    for index, level in enumerate(levels(lower, upper, num, strategy.grid_mode)):
        rounded = (level / tick).to_integral_value(ROUND_HALF_EVEN) * tick
        if rounded <= 0:
            subject.strategy_fault("grid_lower_price", f"at least one tick, which is {tick}")
            return
        if rounded == before:
            subject.strategy_fault(
                "grid_num",
                f"levels at least one tick ({tick}) apart: levels {index - 1} and {index} are both"
                f" {rounded} once rounded; fewer levels or a wider range",
            )
            return
        before = rounded


def levels(lower: Decimal, upper: Decimal, num: int, mode: GridMode) -> list[Decimal]:
    """Return the unrounded level prices of GRID.md 1, lowest first, precise enough to round."""
    cells = num - 1
    with localcontext() as context:
        context.prec = 60
        if mode is GridMode.ARITHMETIC:
            return [lower + i * (upper - lower) / cells for i in range(num)]
        step = ((upper / lower).ln() / cells).exp()
        prices = [lower]
        for _ in range(cells - 1):
            prices.append(prices[-1] * step)
        return [*prices, upper]


def _check_quantity(subject: Subject, lot: Decimal, min_notional: Decimal) -> None:
    strategy = subject.strategy
    quantity, lower = strategy.quantity, strategy.grid_lower_price
    if quantity is None:
        return
    if quantity % lot != 0:
        subject.strategy_fault("quantity", f"a whole number of lots of {lot}")
    elif lower is not None and not strategy.auto_price and quantity * lower < min_notional:
        subject.strategy_fault(
            "quantity",
            f"an order worth min_notional {min_notional} at the lowest level; it is worth"
            f" {quantity * lower}",
        )


# The strategy's side --------------------------------------------------------------------------


def check_grid(subject: Subject, mode: str | None) -> None:
    """Check that the grid is whole: its symbol, range, levels and size."""
    strategy = subject.strategy

    def required(key: str, expected: str) -> None:
        if getattr(strategy, key) is None and subject.ok("strategy_config", key):
            subject.strategy_fault(key, expected)

    if mode != "paper":
        required("exchange", "backpack or aster")
    required("symbol", "the contract, as the exchange spells it, e.g. SOL_USDC_PERP")
    if strategy.auto_price:
        required("price_range", "per cent to each side of the first price: auto_price needs it")
        if strategy.grid_lower_price is not None or strategy.grid_upper_price is not None:
            where, _ = subject.said_of("auto_price")
            subject.findings.warn(where, "is on, so grid_lower_price and grid_upper_price are not")
    else:
        required("grid_lower_price", "the lowest level's price, or auto_price")
        required("grid_upper_price", "the highest level's price, or auto_price")
        if strategy.price_range is not None:
            where, _ = subject.said_of("price_range")
            subject.findings.warn(where, "has no effect without auto_price")
    required("grid_num", "how many levels, from 2 to 1000")
    lower, upper = strategy.grid_lower_price, strategy.grid_upper_price
    if lower is not None and upper is not None and lower >= upper:
        subject.strategy_fault(
            "grid_lower_price", f"less than grid_upper_price, which is {value_text(upper)}"
        )
    quantity, limit = strategy.quantity, strategy.max_position
    if quantity is None and limit is None and subject.ok("strategy_config", "quantity"):
        required("max_position", "a limit in the base currency, or quantity, the size of an order")
    if quantity is not None and limit is not None and quantity > limit:
        subject.strategy_fault("quantity", f"at most max_position, which is {value_text(limit)}")
    if strategy.open_initial and strategy.grid_type is GridType.NEUTRAL:
        where, _ = subject.said_of("open_initial")
        subject.findings.warn(where, "has no effect: a neutral grid starts without a position")


SHORTEST_COUNTDOWN_S = 10.0
"""Seconds of a dead man's switch at least: several calls must fail before it runs out."""


def check_dead_mans_switch(subject: Subject, mode: str | None) -> None:
    """Check that the exchange has such a timer, and that it is no hair trigger."""
    seconds, exchange = subject.strategy.dead_mans_switch, subject.strategy.exchange
    if seconds is None:
        return
    if mode == "live" and exchange == "backpack":
        subject.strategy_fault(
            "dead_mans_switch",
            "it unset: Backpack has no such timer; the orders of a bot that is gone are cancelled"
            " by its supervisor's finish step, run.py --cancel-orders",
        )
    elif seconds < SHORTEST_COUNTDOWN_S:
        subject.strategy_fault("dead_mans_switch", f"at least {SHORTEST_COUNTDOWN_S:g} seconds")
    elif mode == "paper":
        where, _ = subject.said_of("dead_mans_switch")
        subject.findings.warn(where, "has no effect on paper")
