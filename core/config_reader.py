"""Reading one config document: sections out of either format, variables, values, precedence.

Pure. `core.config` drives it; it collects faults and goes on, so that one pass finds them all.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from core.bot_options import COMMAND_KEYS, FLAG_OF_KEY, KEY_ALIASES, BotArgsError, parse_bot_args
from core.config_checks import KEY_NAMES, Subject
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
    JsonPath,
    expand_tree,
    looks_secret,
    path_text,
    references,
    value_text,
)

SECTIONS: dict[str, type[Section]] = {
    "metadata": Metadata,
    "daemon_config": DaemonConfig,
    "exchange_config": ExchangeConfig,
    "strategy_config": StrategyConfig,
}
TRADING_METADATA = ("exchange", "symbol", "market_type", "strategy")
_NULL_MEANS_NONE = frozenset({"memory_limit_mb", "cpu_limit_percent", "log_max_mb"})
_SILENT_TOP_LEVEL = frozenset({"$schema"})

_S = TypeVar("_S", bound=Section)
_Fault = Callable[[JsonPath, str], None]


@dataclass(slots=True)
class _Layer:
    """One voice on the strategy: its values as written, and those that could be read."""

    name: str
    written: Mapping[str, Any]
    values: dict[str, Any]


@dataclass(slots=True)
class Reader:
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

    def take(self, tree: dict[str, Any], unusable: Sequence[JsonPath]) -> None:
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
        self, section: dict[str, Any], known: set[str], allowed: set[str], path: JsonPath
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

        def on_fault(path: JsonPath, text: str, name: str | None) -> None:
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

        def fault(path: JsonPath, expected: str) -> None:
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
        for key in TRADING_METADATA:  # told already, so its absence is not told again
            if ("metadata", key) in self.bad:
                self.bad.add(("strategy_config", key))
        weakest = {key: getattr(metadata, key) for key in TRADING_METADATA}
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

        def fault(path: JsonPath, expected: str) -> None:
            key = str(path[0])
            self.bad.add(("strategy_config", key))
            found = value_text(self._unexpanded(str(written[key])), path)
            self.findings.fault(f"{inside}{FLAG_OF_KEY[key]}", found, expected)

        model = _validated(StrategyConfig, dict(written), fault)
        return _Layer(name, written, _given(model))

    def _unexpanded(self, text: str) -> str:
        """Put `${NAME}` back where bot_args had it: a fault shows no variable's value."""
        for name in references(_joined(self.raw["daemon_config"])):
            value = self.variables.get(name, "")
            if len(value) >= 4:  # a shorter one is no secret, and may be part of any word
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
        text, written = (_joined(x["daemon_config"]) for x in (self.expanded, self.raw))
        keys = [getattr(exchange, key) for key in KEY_NAMES]
        if any(key and len(key.reveal()) >= 8 and key.reveal() in text for key in keys) or any(
            looks_secret(name) for name in references(written)
        ):
            self.findings.fault(
                self.where("daemon_config", "bot_args"),
                "***",
                "no key or token: every user of the machine can read arguments",
            )


def _joined(daemon: Mapping[str, Any]) -> str:
    args = daemon.get("bot_args") or ""
    return " ".join(map(str, args)) if isinstance(args, list) else str(args)


def _split(daemon: DaemonConfig, reader: Reader) -> tuple[str, ...]:
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


def _validated(
    model: type[_S], values: dict[str, Any], fault: Callable[[JsonPath, str], None]
) -> _S:
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


def _at(tree: Any, path: JsonPath) -> Any:
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
