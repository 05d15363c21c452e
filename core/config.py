"""A config document becomes an InstanceConfig, or every fault of it at once.

Pure: no file, no environment, no clock; variables come in as a mapping. What lives elsewhere:
JSON text and `${NAME}` in `core.config_text`, the kinds of values in `core.config_values`, the
sections' keys and defaults in `core.config_sections`, what must hold between keys in
`core.config_checks`, files in `core.config_manager`.

Order of precedence for a trading key, strongest first: options typed after run.py, `bot_args`,
`strategy_config`, `metadata` (exchange, symbol, market_type, strategy), the default. An unknown key
is a warning, a known key with a wrong value is a fault, a file with a fault is no config.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from core.bot_options import COMMAND_KEYS, FLAG_OF_KEY, KEY_ALIASES, BotArgsError, parse_bot_args
from core.config_checks import (
    KEY_NAMES,
    Subject,
    check_daemon,
    check_grid,
    check_keys,
    check_paper,
    check_web_debug,
    decide_mode,
)
from core.config_sections import (
    DaemonConfig,
    ExchangeConfig,
    Metadata,
    PaperConfig,
    Section,
    StrategyConfig,
)
from core.config_text import (
    Findings,
    Path,
    cleaned,
    decode,
    expand_tree,
    path_text,
    references,
    value_text,
)
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

SECTIONS: dict[str, type[Section]] = {
    "metadata": Metadata,
    "daemon_config": DaemonConfig,
    "exchange_config": ExchangeConfig,
    "strategy_config": StrategyConfig,
}
_TRADING_METADATA = ("exchange", "symbol", "market_type", "strategy")
_NULL_MEANS_NONE = frozenset({"memory_limit_mb", "cpu_limit_percent", "log_max_mb"})
_SILENT_TOP_LEVEL = frozenset({"$schema"})

_S = TypeVar("_S", bound=Section)


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

    `daemon` is what could be read of its section, for the checks of files that follow.
    """

    config: InstanceConfig | None
    daemon: DaemonConfig
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
    reader = _Reader(findings, variables or {})
    unusable: list[Path] = []
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
    metadata = reader.section("metadata", Metadata, () if bot else _TRADING_METADATA)
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
    return Examined(config=config, daemon=daemon, mode=mode, is_bot=bot, findings=findings)


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
    reader: _Reader,
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


# Reading one document -------------------------------------------------------------------------


@dataclass(slots=True)
class _Layer:
    """One voice on the strategy: its values as written, and those that could be read."""

    name: str
    written: Mapping[str, Any]
    values: dict[str, Any]


@dataclass(slots=True)
class _Reader:
    """The state of reading one document: what was written, what it expands to, what is faulty."""

    findings: Findings
    variables: Mapping[str, str]
    flat: bool = False
    raw: dict[str, dict[str, Any]] = field(default_factory=lambda: {name: {} for name in SECTIONS})
    expanded: dict[str, dict[str, Any]] = field(default_factory=dict)
    bad: set[tuple[str, str]] = field(default_factory=set)
    layers: list[_Layer] = field(default_factory=list)

    def where(self, *path: str | int) -> str:
        """Spell a place as the file has it: daemon_config's keys stand at the top when flat."""
        return path_text(path[1:] if self.flat and path[0] == "daemon_config" else path)

    # Which keys there are

    def take(self, tree: dict[str, Any], unusable: Sequence[Path]) -> None:
        """Sort the document's keys into sections, in either format; unknown keys are warnings."""
        daemon_keys = set(DaemonConfig.model_fields)
        self.flat = "daemon_config" not in tree and bool(daemon_keys & tree.keys())
        for key, value in tree.items():
            if key in SECTIONS:
                if isinstance(value, dict):
                    self.raw[key] = dict(value)
                elif value is not None:
                    self.findings.fault(key, value_text(value), "an object")
                    self.bad.update((key, name) for name in SECTIONS[key].model_fields)
            elif self.flat and key in daemon_keys:
                self.raw["daemon_config"][key] = value
            elif key not in _SILENT_TOP_LEVEL:
                here = [*SECTIONS, *(daemon_keys if self.flat else ())]
                self.findings.warn(path_text((key,)), f"is not a known key{_nearest(key, here)}")
        for path in unusable:
            top, *rest = (*path, "")
            place = (str(top), str(rest[0])) if top in SECTIONS else ("daemon_config", str(top))
            self.bad.add(place)
        self._same_key_twice(self.raw["strategy_config"])
        for name, model in SECTIONS.items():
            known = set(model.model_fields)
            allowed = known | COMMAND_KEYS if name == "strategy_config" else known
            self._drop_unknown(self.raw[name], known, allowed, (name,))
        paper = self.raw["exchange_config"].get("paper")
        if isinstance(paper, dict):
            paper = dict(paper)
            self.raw["exchange_config"]["paper"] = paper
            known = set(PaperConfig.model_fields)
            self._drop_unknown(paper, known, known, ("exchange_config", "paper"))

    def _drop_unknown(
        self, section: dict[str, Any], known: set[str], allowed: set[str], path: Path
    ) -> None:
        for key in [key for key in section if key not in known]:
            where = self.where(*path, key)
            del section[key]
            if key in allowed:
                self.findings.warn(where, f"has no effect here: {FLAG_OF_KEY[key]} is a command")
            else:
                names = [*known, *(KEY_ALIASES if path == ("strategy_config",) else ())]
                self.findings.warn(where, f"is not a known key{_nearest(key, names)}")

    def _same_key_twice(self, strategy: dict[str, Any]) -> None:
        """Fold grid_lower into grid_lower_price, and so on."""
        for alias, key in KEY_ALIASES.items():
            if alias not in strategy:
                continue
            value = strategy.pop(alias)
            if strategy.get(key) is None:
                strategy[key] = value
            elif strategy[key] != value:
                self.findings.fault(
                    self.where("strategy_config", alias),
                    value_text(value),
                    f"the same as {key}, which is {value_text(strategy[key])}",
                )

    # What they hold

    def expand(self, *, is_bot: bool) -> None:
        """Expand variables in every section that matters; a program's own bot_args stay as is."""

        def on_fault(path: Path, text: str, name: str | None) -> None:
            section, key = str(path[0]), str(path[1])
            self.bad.add((section, key))
            if name is None:
                self.findings.fault(
                    self.where(*path), value_text(text), "${NAME} or ${NAME:-default}"
                )
            elif section == "exchange_config" and key in KEY_NAMES:
                self.bad.discard((section, key))  # a fault only where keys are needed: check_keys
            else:
                self.findings.fault(
                    self.where(*path),
                    f"{value_text(text)}, and {name} is not set",
                    f"{name} in the environment, .env or env_file, or ${{{name}:-default}}",
                )

        tree = {name: dict(section) for name, section in self.raw.items()}
        if not is_bot:
            tree["exchange_config"], tree["strategy_config"] = {}, {}
            tree["daemon_config"].pop("bot_args", None)
        self.expanded = expand_tree(tree, self.variables, on_fault)
        if not is_bot and "bot_args" in self.raw["daemon_config"]:
            self.expanded["daemon_config"]["bot_args"] = self.raw["daemon_config"]["bot_args"]

    def section(self, name: str, model: type[_S], without: Sequence[str] = ()) -> _S:
        """Validate one section; faulty keys are told, then left at their defaults."""
        values = {
            key: value
            for key, value in self.expanded.get(name, {}).items()
            if key not in without and (key == "paper" or (name, key) not in self.bad)
        }

        def fault(path: Path, expected: str) -> None:
            self.bad.add((name, str(path[0])))
            self.findings.fault(
                self.where(name, *path), value_text(_at(self.raw[name], path), path), expected
            )

        return _validated(model, values, fault)

    def strategy(
        self, metadata: Metadata, daemon: DaemonConfig, typed: Sequence[str]
    ) -> StrategyConfig:
        """Merge all voices on the strategy, strongest last; a disagreement is a warning."""
        own = self.section("strategy_config", StrategyConfig)
        weakest = {key: getattr(metadata, key) for key in _TRADING_METADATA}
        weakest = {key: value for key, value in weakest.items() if value is not None}
        self.layers = [
            _Layer("metadata", self.raw["metadata"], weakest),
            _Layer("strategy_config", self.raw["strategy_config"], _given(own)),
            self._arguments("bot_args", _split(daemon, self)),
            self._arguments("", tuple(typed)),
        ]
        merged: dict[str, Any] = {}
        for layer in self.layers:
            for key, value in layer.values.items():
                if layer.name and key in merged and merged[key] != value:
                    self._disagreement(key, layer)
                merged[key] = value
        return StrategyConfig.model_validate(merged)

    def _arguments(self, name: str, args: Sequence[str]) -> _Layer:
        """Read options, from the file (`name` bot_args) or typed (no name)."""
        inside = self.where("daemon_config", "bot_args") + ": " if name else ""
        try:
            written = parse_bot_args(args)
        except BotArgsError as error:
            for word, expected in error.faults:
                found = value_text(self._unexpanded(word)) if word else "not readable"
                self.findings.fault(
                    inside.removesuffix(": ") or "command line", found, self._unexpanded(expected)
                )
            self.bad.update(("strategy_config", key) for key in FLAG_OF_KEY)
            return _Layer(name, {}, {})

        def fault(path: Path, expected: str) -> None:
            key = str(path[0])
            self.bad.add(("strategy_config", key))
            found = value_text(self._unexpanded(str(written[key])), path)
            self.findings.fault(f"{inside}{FLAG_OF_KEY[key]}", found, expected)

        model = _validated(StrategyConfig, dict(written), fault)
        return _Layer(name, written, _given(model))

    def _unexpanded(self, text: str) -> str:
        """Put `${NAME}` back where bot_args had it: a fault shows no variable's value."""
        raw = self.raw["daemon_config"].get("bot_args", "")
        for name in references(raw if isinstance(raw, str) else " ".join(map(str, raw or ()))):
            if value := self.variables.get(name):
                text = text.replace(value, "${" + name + "}")
        return text

    def _disagreement(self, key: str, winner: _Layer) -> None:
        loser = next(
            x for x in reversed(self.layers[: self.layers.index(winner)]) if key in x.values
        )
        where, found = self._said(winner, key)
        _, lost = self._said(loser, key)
        self.findings.warn(where, f"{found} wins over {loser.name}.{key}, which is {lost}")

    def _said(self, layer: _Layer, key: str) -> tuple[str, str]:
        if layer.name in SECTIONS:
            return self.where(layer.name, key), value_text(layer.written[key], (key,))
        found = value_text(layer.written[key]).strip('"')
        inside = self.where("daemon_config", "bot_args") + ": " if layer.name else ""
        return f"{inside}{FLAG_OF_KEY[key]}", self._unexpanded(found)

    # What holds between them

    def subject(
        self, daemon: DaemonConfig, exchange: ExchangeConfig, strategy: StrategyConfig
    ) -> Subject:
        """Hand over to `core.config_checks`."""

        def said_of(key: str) -> tuple[str, str]:
            for layer in reversed(self.layers):
                if key in layer.values:
                    return self._said(layer, key)
            return self.where("strategy_config", key), "not set"

        return Subject(
            daemon=daemon,
            exchange=exchange,
            strategy=strategy,
            raw=self.raw,
            where=self.where,
            said_of=said_of,
            bad=frozenset(self.bad),
            variables=self.variables,
            findings=self.findings,
        )

    def check_secrets_in_arguments(self, exchange: ExchangeConfig) -> None:
        """Refuse a key in bot_args: every user of the machine can read arguments."""
        args = self.expanded["daemon_config"].get("bot_args") or ""
        text = args if isinstance(args, str) else " ".join(map(str, args))
        secrets = [getattr(exchange, key) for key in KEY_NAMES]
        if any(
            secret and len(secret.reveal()) >= 8 and secret.reveal() in text for secret in secrets
        ):
            self.findings.fault(
                self.where("daemon_config", "bot_args"), "***", "no key: others can read arguments"
            )


def _split(daemon: DaemonConfig, reader: _Reader) -> tuple[str, ...]:
    """Split bot_args into words."""
    if not isinstance(daemon.bot_args, str):
        return daemon.bot_args
    try:
        return tuple(shlex.split(daemon.bot_args))
    except ValueError as error:
        where = reader.where("daemon_config", "bot_args")
        reader.findings.fault(where, f"not readable ({error})".lower(), "options, quotes closed")
        reader.bad.update(("strategy_config", key) for key in FLAG_OF_KEY)
        return ()


def _validated(model: type[_S], values: dict[str, Any], fault: Any) -> _S:
    """Validate what can be; `fault(path, expected)` for each value that is then left out."""
    given = {k: v for k, v in values.items() if v is not None or k in _NULL_MEANS_NONE}
    if isinstance(given.get("paper"), dict):
        given["paper"] = {k: v for k, v in given["paper"].items() if v is not None}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            path = detail["loc"]
            words = detail["msg"] if detail["type"] == "expected" else "an object"
            fault(path, words)
            inner = given
            for part in path[:-1]:
                inner = inner[str(part)]
            inner.pop(str(path[-1]), None)
        return model.model_validate(given)


def _given(model: Section) -> dict[str, Any]:
    return {key: getattr(model, key) for key in model.model_fields_set}


def _at(tree: Any, path: Path) -> Any:
    for part in path:
        try:
            tree = tree[part]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def _nearest(key: str, known: Sequence[str]) -> str:
    """Name the nearest known key, or the section that has this very key."""
    if near := difflib.get_close_matches(key.lower(), known, n=1):
        return f"; nearest is {near[0]}"
    for section, model in SECTIONS.items():
        if key in model.model_fields:
            return f" here; it belongs in {section}"
    return ""
