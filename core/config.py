"""A config document becomes an InstanceConfig, or every fault of it at once.

Pure: no file, no environment, no clock; variables come in as a mapping. What lives elsewhere:
JSON text and `${NAME}` in `core.config_text`, the kinds of values in `core.config_values`, the
sections' keys and defaults in `core.config_sections`, formats and precedence in
`core.config_reader`, what must hold between keys in `core.config_checks`, files in
`core.config_manager`.

Order of precedence for a trading key, strongest first: options typed after run.py, `bot_args`,
`strategy_config`, `metadata` (exchange, symbol, market_type, strategy), the default. An unknown key
is a warning, a known key with a wrong value is a fault, a file with a fault is no config.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.config_checks import (
    check_daemon,
    check_dead_mans_switch,
    check_grid,
    check_keys,
    check_paper,
    check_web_debug,
    decide_mode,
)
from core.config_reader import SECTIONS, TRADING_METADATA, Reader
from core.config_sections import (
    DaemonConfig,
    ExchangeConfig,
    Metadata,
    PaperConfig,
    Section,
    StrategyConfig,
)
from core.config_text import Findings, JsonPath, cleaned, decode, value_text
from core.paths import NAME_RULE, is_safe_name

__all__ = [
    "DaemonConfig",
    "Examined",
    "ExchangeConfig",
    "InstanceConfig",
    "Metadata",
    "PaperConfig",
    "StrategyConfig",
    "decode",
    "examine",
    "json_schema",
    "parse",
]


class InstanceConfig(Section):
    """One instance, whole and valid. `daemon`, `exchange`, `strategy` hold the merged values."""

    instance_id: str
    metadata: Metadata
    daemon: DaemonConfig
    exchange: ExchangeConfig
    strategy: StrategyConfig
    is_bot: bool = True  # False: a program of the user's own; exchange and strategy mean nothing

    @property
    def symbol(self) -> str:
        return self.strategy.symbol or ""

    @property
    def exchange_name(self) -> str:
        """backpack, aster or paper, as the config says; see `is_paper` for what is traded."""
        return self.strategy.exchange or ""

    @property
    def is_paper(self) -> bool:
        return self.exchange.mode == "paper"


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What was found: `config` is None exactly when there is a fault.

    `daemon` and `paper` are what could be read of them, for the checks of files that follow;
    `environment` is the child's, as written; `prefix` begins the path of a daemon_config key.
    """

    config: InstanceConfig | None
    daemon: DaemonConfig
    paper: PaperConfig
    environment: dict[str, str]
    prefix: str
    mode: str | None
    is_bot: bool
    findings: Findings


def parse(
    document: object,
    *,
    stem: str,
    source: str = "config",
    instance_id: str | None = None,
    variables: Mapping[str, str] | None = None,
    bot_args: Sequence[str] = (),
) -> tuple[InstanceConfig, tuple[str, ...]]:
    """Turn a decoded document into a config and its warnings.

    Errors: ConfigError with one line for each fault: `source: json.path: was ..., expected ...`.
    """
    found = examine(
        document,
        stem=stem,
        findings=Findings(source),
        instance_id=instance_id,
        variables=variables,
        bot_args=bot_args,
    )
    found.findings.raise_faults()
    assert found.config is not None  # no fault, so there is a config
    return found.config, tuple(found.findings.warnings)


def examine(
    document: object,
    *,
    stem: str,
    findings: Findings,
    instance_id: str | None = None,
    variables: Mapping[str, str] | None = None,
    is_bot: bool | None = None,
    bot_args: Sequence[str] = (),
) -> Examined:
    """Find every fault of a document; adds to `findings`, raises nothing.

    `stem` names an instance that names itself nowhere else. `is_bot` None: by script_path's name.
    `bot_args` are options typed after run.py; they win over the file's.
    """
    reader = Reader(findings, variables or {})
    unusable: list[JsonPath] = []
    tree = cleaned(document, findings, unusable)
    if not isinstance(tree, dict):
        if not findings.faults:
            findings.fault("$", value_text(tree), f"an object with {', '.join(SECTIONS)}")
        tree = {}
        bot = True
    else:
        reader.take(tree, unusable)
        script = reader.raw["daemon_config"].get("script_path")
        bot = _names_run_py(script) if is_bot is None else is_bot
    reader.expand(is_bot=bot)
    metadata = reader.section("metadata", Metadata, () if bot else TRADING_METADATA)
    daemon = reader.section("daemon_config", DaemonConfig)
    identity = _instance_id(metadata, stem, instance_id, findings, reader)
    daemon = _with_defaults(daemon, identity or stem, is_bot=bot)
    exchange, strategy, mode = ExchangeConfig(), StrategyConfig(), None
    subject = reader.subject(daemon, exchange, strategy)
    if bot:
        exchange = reader.section("exchange_config", ExchangeConfig)
        strategy = reader.strategy(metadata, daemon, bot_args)
        subject = reader.subject(daemon, exchange, strategy)
        mode = decide_mode(subject)
        keys = check_keys(subject, mode)
        exchange = exchange.model_copy(update={"mode": mode or "live", **keys})
        if mode == "paper" and strategy.exchange is None:
            strategy = strategy.model_copy(update={"exchange": "paper"})
        check_grid(subject, mode)
        check_dead_mans_switch(subject, mode)
        if mode == "paper":
            check_paper(subject)
        check_web_debug(subject)
        reader.check_secrets_in_arguments(exchange)
    check_daemon(subject)
    config = None
    if not findings.faults and identity is not None:
        config = InstanceConfig(
            instance_id=identity,
            metadata=metadata,
            daemon=daemon,
            exchange=exchange,
            strategy=strategy,
            is_bot=bot,
        )
    written = reader.raw["daemon_config"].get("environment")
    return Examined(
        config=config,
        daemon=daemon,
        paper=exchange.paper,
        environment={k: str(v) for k, v in written.items()} if isinstance(written, dict) else {},
        prefix="" if reader.flat else "daemon_config.",
        mode=mode,
        is_bot=bot,
        findings=findings,
    )


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the sectioned format, one property for each section."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gridfleet instance",
        "type": "object",
        "properties": {name: model.model_json_schema() for name, model in SECTIONS.items()},
    }


def _names_run_py(script: object) -> bool:
    return not isinstance(script, str) or script.removeprefix("./") == "run.py"


def _with_defaults(daemon: DaemonConfig, identity: str, *, is_bot: bool) -> DaemonConfig:
    given = daemon.model_fields_set
    update: dict[str, Any] = {}
    if not daemon.log_dir:
        update["log_dir"] = f"logs/{identity}"
    if not daemon.db_path:
        update["db_path"] = f"database/{identity}.db"
    if "restart_delay_max" not in given:
        update["restart_delay_max"] = max(daemon.restart_delay_max, daemon.restart_delay)
    if not is_bot and "health_check" not in given:
        update["health_check"] = "none"  # a program that knows nothing of us has no /health
    return daemon.model_copy(update=update)


def _instance_id(
    metadata: Metadata,
    stem: str,
    typed: str | None,
    findings: Findings,
    reader: Reader,
) -> str | None:
    if typed is not None:
        if is_safe_name(typed):
            return typed
        findings.fault("--instance-id", value_text(typed), f"{NAME_RULE}, whole")
        return None
    if ("metadata", "instance_id") in reader.bad:
        return None
    if metadata.instance_id is not None:
        return metadata.instance_id
    if is_safe_name(stem):
        return stem
    findings.fault(
        "metadata.instance_id",
        f"not set, and the file's stem is {value_text(stem)}",
        f"{NAME_RULE}, whole",
    )
    return None
