"""The options of run.py, once: its command line, `bot_args` and strategy_config read this table.

An option is structure only here: which flags exist and which take a value. What a value must be is
said in `core.config_sections`, where the same key of `strategy_config` is checked, so that one rule
and one message serve both. Standard library only.
"""

from __future__ import annotations

import argparse
import difflib
import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn


class Kind(enum.Enum):
    """How an option is written."""

    VALUE = "value"  # --grid-num 20
    SWITCH = "switch"  # --open-initial, --no-open-initial
    FLAG = "flag"  # --no-web
    COMMAND = "command"  # --check: what this run does; no setting of the bot
    COMMAND_VALUE = "command value"  # --config FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class BotOption:
    """One long option; `key` is its key in strategy_config, `shown` its value in the help."""

    flag: str
    key: str
    help: str
    shown: str = ""
    kind: Kind = Kind.VALUE

    @property
    def spelled_key(self) -> str:
        """The flag with underscores; differs from `key` for --grid-lower and --grid-upper."""
        return self.flag[2:].replace("-", "_")


def _option(flag: str, shown: str, help_text: str, key: str = "") -> BotOption:
    return BotOption(flag=flag, key=key or flag[2:].replace("-", "_"), help=help_text, shown=shown)


def _switch(flag: str, help_text: str, kind: Kind = Kind.SWITCH, shown: str = "") -> BotOption:
    return BotOption(
        flag=flag, key=flag[2:].replace("-", "_"), help=help_text, kind=kind, shown=shown
    )


OPTIONS: tuple[BotOption, ...] = (
    _option("--exchange", "backpack|aster|paper", "where to trade"),
    _option("--symbol", "SYMBOL", "the contract, as the exchange spells it, e.g. SOL_USDC_PERP"),
    _option("--strategy", "perp_grid", "the strategy"),
    _option("--market-type", "perp", "the market; perpetual futures are the only one"),
    _option("--grid-lower", "PRICE", "lowest level, quote currency", "grid_lower_price"),
    _option("--grid-upper", "PRICE", "highest level, quote currency", "grid_upper_price"),
    _option("--grid-num", "N", "how many levels, 2 to 1000; one more than cells"),
    _option("--grid-mode", "arithmetic|geometric", "spacing of the levels"),
    _option("--grid-type", "neutral|long|short", "which side the grid may hold"),
    _option("--quantity", "Q", "of one order, base currency; else from --max-position"),
    _option("--max-position", "Q", "never hold more than this, either way, base currency"),
    _option("--leverage", "X", "leverage of the account; else as it is set there"),
    _switch("--open-initial", "open the position that a long or short grid starts with"),
    _option("--stop-loss", "AMOUNT", "end at this loss, quote currency, positive"),
    _option("--take-profit", "AMOUNT", "end at this profit, quote currency, positive"),
    _option(
        "--boundary-action",
        "none|stop_only|emergency_close|adjust_range|trail",
        "what to do when the mark price leaves the range",
    ),
    _option("--boundary-tolerance", "FRACTION", "how far beyond, as a fraction of the bound"),
    _switch("--auto-price", "centre the range on the first price; needs --price-range"),
    _option("--price-range", "PERCENT", "half the width of an --auto-price range, per cent"),
    _option("--duration", "SECONDS", "end this long after the user's start"),
    _option("--interval", "SECONDS", "period of the full reconciliation with the exchange"),
    _switch("--config", "the config file", Kind.COMMAND_VALUE, "FILE"),
    _switch("--no-web", "no web page", Kind.FLAG),
    _switch("--check", "make every check of a start and start nothing", Kind.COMMAND),
    _switch(
        "--cancel-orders",
        "cancel this instance's own orders, prove that none rests, and end",
        Kind.COMMAND,
    ),
)
"""CONTRACT 6, in its order."""

_COMMANDS = frozenset({Kind.COMMAND, Kind.COMMAND_VALUE})
COMMAND_KEYS = frozenset(option.key for option in OPTIONS if option.kind in _COMMANDS)
"""What a run does, not what the bot is: refused in bot_args, without meaning in strategy_config."""

FLAG_OF_KEY = {option.key: option.flag for option in OPTIONS}

KEY_ALIASES = {o.spelled_key: o.key for o in OPTIONS if o.spelled_key != o.key}
"""The second spelling of a strategy_config key: grid_lower is grid_lower_price."""


class BotArgsError(ValueError):
    """Arguments that no run.py would take; `faults` are (option as written, what was expected)."""

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{found}: {expected}" for found, expected in faults))
        self.faults = tuple(faults)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give the parser every option of the table. Values stay text; absent options are absent.

    `core.config` reads the text, so that run.py lists every fault at once, not the first one.
    """
    groups = {
        False: parser.add_argument_group("settings (each is a strategy_config key too)"),
        True: parser.add_argument_group("what to do"),
    }
    for option in OPTIONS:
        group = groups[option.kind in _COMMANDS]
        common: dict[str, Any] = {
            "dest": option.key,
            "default": argparse.SUPPRESS,
            "help": option.help,
        }
        match option.kind:
            case Kind.SWITCH:
                group.add_argument(option.flag, action=argparse.BooleanOptionalAction, **common)
            case Kind.FLAG | Kind.COMMAND:
                group.add_argument(option.flag, action="store_true", **common)
            case Kind.VALUE | Kind.COMMAND_VALUE:
                group.add_argument(option.flag, metavar=option.shown, **common)


def parse_bot_args(args: Sequence[str]) -> dict[str, str | bool]:
    """Read arguments to run.py into strategy_config keys; the last of a repeated option wins.

    Errors: BotArgsError with every unknown option, stray word and command; values are not checked.
    """
    parser = _Parser(prog="run.py", add_help=False, allow_abbrev=False)
    add_options(parser)
    known, unknown = parser.parse_known_args(list(args))
    values: dict[str, str | bool] = vars(known)
    faults = [
        (word, _expected_instead(word))
        for before, word in zip(("", *unknown), unknown, strict=False)
        if word.startswith("--") or not before.startswith("--")  # else an unknown option's value
    ]
    faults += [
        (FLAG_OF_KEY[key], "settings only: this is a command for run.py itself")
        for key in values
        if key in COMMAND_KEYS
    ]
    if faults:
        raise BotArgsError(faults)
    return values


class _Parser(argparse.ArgumentParser):
    """An argparse parser that raises where the original prints and exits."""

    def error(self, message: str) -> NoReturn:
        raise BotArgsError([("", message)])


def _expected_instead(word: str) -> str:
    if not word.startswith("--"):
        return "options of run.py: this word belongs to none"
    flag = word.partition("=")[0]
    near = difflib.get_close_matches(flag, [option.flag for option in OPTIONS], n=1)
    return "an option of run.py" + (f"; nearest is {near[0]}" if near else "")
