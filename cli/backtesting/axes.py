"""What `--sweep` says: one key and its values, read exactly. Pure.

`grid_num=10:100:10` counts from 10 by 10 up to 100, the end included when it is hit;
`grid_type=long,short` names the values. A key is an option of run.py that shapes the trading.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import product
from math import prod

from core.bot_options import FLAG_OF_KEY, KEY_ALIASES, OPTIONS, Kind
from core.errors import ConfigError
from strategies.grid_math import plain

MOST_COMBINATIONS = 100_000
"""Above that a sweep is a mistake in a step far more often than a wish."""

_NOT_TRADING = {"exchange", "symbol", "strategy", "market_type", "duration", "interval"}
_SWITCHES = {option.key for option in OPTIONS if option.kind is Kind.SWITCH}
KEYS = tuple(
    option.key
    for option in OPTIONS
    if option.kind in (Kind.VALUE, Kind.SWITCH) and option.key not in _NOT_TRADING
)
_SHAPE = "KEY=START:STOP:STEP, such as grid_num=10:100:10, or KEY=A,B,C"
_DIGITS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One key and the values it takes, as text, in the order in which they were asked for."""

    key: str
    values: tuple[str, ...]

    @property
    def numbers(self) -> tuple[Decimal, ...] | None:
        """The values as numbers; None when one of them is a word."""
        try:
            return tuple(Decimal(value) for value in self.values)
        except InvalidOperation:
            return None


def parse_axes(texts: Sequence[str]) -> tuple[Axis, ...]:
    """Read all `--sweep`s together. Errors: ConfigError names the text and what is wrong in it."""
    axes = tuple(parse_axis(text) for text in texts)
    for number, axis in enumerate(axes):
        if any(axis.key == other.key for other in axes[:number]):
            raise ConfigError(
                f"--sweep: was {texts[number]!r}, but {axis.key} is swept already: give all its "
                "values in one --sweep"
            )
    count = prod(len(axis.values) for axis in axes)
    if count > MOST_COMBINATIONS:
        sizes = " x ".join(f"{axis.key} {len(axis.values):,}" for axis in axes)
        raise ConfigError(
            f"--sweep: was {count:,} combinations ({sizes}), expected at most "
            f"{MOST_COMBINATIONS:,}: take larger steps or fewer keys"
        )
    return axes


def parse_axis(text: str) -> Axis:
    """Read one `--sweep`. Errors: ConfigError."""
    key, equals, values = text.partition("=")
    key = key.strip().replace("-", "_")
    key = KEY_ALIASES.get(key, key)
    if not equals or not key:
        raise ConfigError(f"--sweep: was {text!r}, expected {_SHAPE}")
    if key not in KEYS:
        near = difflib.get_close_matches(key, KEYS, 1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(KEYS)}"
        raise ConfigError(f"--sweep: was {text!r}: {key!r} cannot be swept; {hint}")
    found = _steps(text, values) if ":" in values else _listed(text, values)
    return Axis(key=key, values=found)


def combinations(axes: Sequence[Axis]) -> list[tuple[str, ...]]:
    """Every combination of values, the last key moving fastest."""
    return list(product(*(axis.values for axis in axes)))


def bot_args(axes: Sequence[Axis], values: Sequence[str]) -> list[str]:
    """Write one combination as options of run.py, which win over the file's own keys.

    `price_range` brings `auto_price` with it: without that it would have no effect.
    """
    found = []
    for axis, value in zip(axes, values, strict=True):
        flag = FLAG_OF_KEY[axis.key]
        if axis.key in _SWITCHES:
            found.append(flag if value == "true" else f"--no-{flag[2:]}")
        else:
            found.append(f"{flag}={value}")
        if axis.key == "price_range":
            found.append(FLAG_OF_KEY["auto_price"])
    return found


def _listed(text: str, values: str) -> tuple[str, ...]:
    found = tuple(value.strip() for value in values.split(","))
    key = text.partition("=")[0].strip().replace("-", "_")
    if not all(found):
        raise ConfigError(f"--sweep: was {text!r}: a value is empty, expected {_SHAPE}")
    if key in _SWITCHES and not {*found} <= {"true", "false"}:
        raise ConfigError(f"--sweep: was {text!r}: expected {key}=true,false")
    if len({*found}) < len(found):
        raise ConfigError(f"--sweep: was {text!r}: a value is there twice, expected each once")
    return found


def _steps(text: str, values: str) -> tuple[str, ...]:
    parts = values.split(":")
    numbers = [_number(part) for part in parts]
    if len(parts) != 3 or any(number is None for number in numbers):
        raise ConfigError(f"--sweep: was {text!r}: expected START:STOP:STEP, three numbers")
    start, stop, step = (number for number in numbers if number is not None)
    if step == 0:
        raise ConfigError(f"--sweep: was {text!r}: the step is 0, expected one that leads to STOP")
    if (stop - start) * step < 0:
        raise ConfigError(
            f"--sweep: was {text!r}: a step of {plain(step)} leads away from {plain(stop)}: "
            f"{'swap START and STOP' if step > 0 else 'take a positive STEP'}"
        )
    count = int((stop - start) / step) + 1
    if count > MOST_COMBINATIONS:
        raise ConfigError(
            f"--sweep: was {text!r}: {count:,} values, expected at most {MOST_COMBINATIONS:,}: "
            "take a larger step"
        )
    return tuple(plain(start + i * step) for i in range(count))


def _number(text: str) -> Decimal | None:
    """A plain number of few digits, so that stepping through it is exact."""
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        return None
    is_plain = text.isascii() and "_" not in text and number.is_finite()
    return number if is_plain and len(text) <= _DIGITS and abs(number.adjusted()) < 15 else None
