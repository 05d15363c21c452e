"""From text to plain values: JSON, `${NAME}` references, numbers; and the words of a fault.

Pure, standard library only. Rules: a number becomes a Decimal from its own text; a key that stands
twice and a number that is not finite are faults; a value is shown as it stands in the file, so what
a variable held never reaches a message, and what looks like a secret is shown as `***`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from core.errors import ConfigError

JsonPath = tuple[str | int, ...]

MAX_DIGITS = 28  # beyond any venue's, and two of them multiply exactly within core.model.PRECISION
MAX_EXPONENT = 18  # 1e18 and 1e-18: far beyond any price, and cheap to calculate with
MAX_DEPTH = 32

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?")
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SECRET_KEY = re.compile(r"(?i)key|secret|token|passw|credential|private|mnemonic|webhook")
_REFERENCE = re.compile(
    r"(?P<escaped>\$\$\{)"
    r"|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}"
    r"|(?P<broken>\$\{)"
)


# Faults ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class Findings:
    """What is wrong (`faults`) and what is odd (`warnings`) in one source, one line each."""

    source: str
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def fault(self, where: str, found: str, expected: str) -> None:
        """Add `source: where: was FOUND, expected ...`; the same line is not said twice."""
        line = f"{self.source}: {where}: was {found}, expected {expected}"
        if line not in self.faults:
            self.faults.append(line)

    def warn(self, where: str, words: str) -> None:
        """Add `source: where: words`."""
        line = f"{self.source}: {where}: {words}"
        if line not in self.warnings:
            self.warnings.append(line)

    def raise_faults(self) -> None:
        """Errors: ConfigError with every fault, if there is one."""
        if self.faults:
            count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
            raise ConfigError(f"{self.source}: {count}", tuple(self.faults))


def path_text(path: JsonPath) -> str:
    """Spell a JSON path: `daemon_config.allowed_hosts[1]`; odd keys are quoted and escaped."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{_cut(json.dumps(part))}]"
    return text or "$"


def value_text(value: Any, path: JsonPath = ()) -> str:
    """Show a value as it stands in the file, cut short; what looks like a secret is `***`."""
    if isinstance(value, str):
        named = str(path[-1]) if path else ""
        if value and looks_secret(named) and not _REFERENCE.search(value):
            return "***"
        if "://" in value and "@" in value:
            return "*** (an address with a user in it)"
        return _cut(json.dumps(value))
    if isinstance(value, Decimal):
        return _cut(str(value))
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    return _cut(json.dumps(value, default=str))


def looks_secret(name: str) -> bool:
    """Tell whether a key or variable of this name probably holds a secret."""
    return _SECRET_KEY.search(name) is not None


def _cut(text: str, limit: int = 72) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


# JSON -----------------------------------------------------------------------------------------


class _Object(dict[str, Any]):
    """A JSON object that remembers which of its keys stood there twice."""

    repeated: tuple[str, ...] = ()


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    if len(made) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        made.repeated = tuple(key for key, count in counts.items() if count > 1)
    return made


def decode(text: str, findings: Findings) -> Any:
    """Read JSON text: every number with a point a Decimal, others an int; None after a fault."""
    try:
        document = json.loads(
            text,
            parse_float=Decimal,
            parse_int=lambda digits: int(digits) if len(digits) < 40 else Decimal(digits),
            parse_constant=Decimal,
            object_pairs_hook=_object,
        )
    except json.JSONDecodeError as error:
        findings.fault(f"line {error.lineno}, column {error.colno}", error.msg.lower(), "JSON")
    except (RecursionError, InvalidOperation) as error:
        findings.fault("$", f"unreadable ({type(error).__name__})", "JSON of usual depth and size")
    else:
        return document
    return None


def cleaned(value: Any, findings: Findings, unusable: list[JsonPath], path: JsonPath = ()) -> Any:
    """Return plain dicts and lists; what can be no value is a fault, None, and in `unusable`.

    Repeated keys, numbers that are not finite, nesting deeper than MAX_DEPTH.
    """
    if len(path) > MAX_DEPTH:
        findings.fault(path_text(path[:2]), "nested too deep", f"at most {MAX_DEPTH} levels")
        unusable.append(path)
        return None
    match value:
        case Mapping():
            for key in getattr(value, "repeated", ()):
                findings.fault(path_text((*path, key)), "there twice", "each key once")
            return {
                str(key): cleaned(inner, findings, unusable, (*path, str(key)))
                for key, inner in value.items()
            }
        case list() | tuple():
            return [
                cleaned(item, findings, unusable, (*path, index))
                for index, item in enumerate(value)
            ]
        case float():
            value = Decimal(repr(value))
    if isinstance(value, Decimal) and not value.is_finite():
        findings.fault(path_text(path), str(value), "a finite number")
        unusable.append(path)
        return None
    return value


# Variables ------------------------------------------------------------------------------------


class BrokenReference(ValueError):
    """A `${` that begins no reference."""


class MissingVariable(LookupError):
    """A reference without a default to a variable that is nowhere set."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def expand_text(text: str, variables: Mapping[str, str]) -> str:
    """Replace `${NAME}`, and `${NAME:-default}` (the default when NAME is unset or empty).

    `$${` is a plain `${`. What a variable holds is not expanded again.
    Errors: BrokenReference, MissingVariable.
    """

    def replace(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "${"
        if match["broken"]:
            raise BrokenReference(text)
        value = variables.get(match["name"])
        if match["default"] is not None:
            return value or match["default"]
        if value is None:
            raise MissingVariable(match["name"])
        return value

    return _REFERENCE.sub(replace, text)


def references(text: str) -> tuple[str, ...]:
    """Return the names of the variables that a text refers to, in order."""
    return tuple(m["name"] for m in _REFERENCE.finditer(text) if m["name"])


def expand_tree(
    value: Any,
    variables: Mapping[str, str],
    on_fault: Callable[[JsonPath, str, str | None], None],
    path: JsonPath = (),
) -> Any:
    """Expand every text in a tree; one that cannot be is None, and told to `on_fault`.

    `on_fault(path, text as written, missing name or None when the reference is broken)`.
    """
    match value:
        case dict():
            return {k: expand_tree(v, variables, on_fault, (*path, k)) for k, v in value.items()}
        case list():
            return [expand_tree(v, variables, on_fault, (*path, i)) for i, v in enumerate(value)]
        case str() if "${" in value:
            try:
                return expand_text(value, variables)
            except MissingVariable as error:
                on_fault(path, value, error.name)
            except BrokenReference:
                on_fault(path, value, None)
            return None
    return value


# Scalars: each returns the value or raises ValueError --------------------------------------------


def parse_decimal(value: object) -> Decimal:
    """Read a JSON number or a string of one, exactly. Errors: ValueError says what is allowed.

    Range: finite, at most 28 significant digits, 1e-18 to 1e18 in size, or 0.
    """
    match value:
        case bool():
            raise ValueError("a number")
        case int() | Decimal():
            number = Decimal(value)
        case str() if _NUMBER.fullmatch(value.strip(" ")):
            number = Decimal(value.strip(" "))
        case _:
            raise ValueError("a number")
    if not number.is_finite():
        raise ValueError("a finite number")
    if number and abs(number.adjusted()) > MAX_EXPONENT:
        raise ValueError(f"a number between 1e-{MAX_EXPONENT} and 1e{MAX_EXPONENT}")
    if len(number.as_tuple().digits) > MAX_DIGITS:
        raise ValueError(f"a number of at most {MAX_DIGITS} digits")
    return number if number else Decimal(0)


def parse_integer(value: object) -> int:
    """Read a whole number (20, 20.0 or "20"). Errors: ValueError says what is allowed."""
    number = parse_decimal(value)
    if number != number.to_integral_value():
        raise ValueError("a whole number")
    return int(number)


def parse_boolean(value: object) -> bool:
    """Read true or false, also as text, which is what a variable holds. Errors: ValueError."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError("true or false")


def is_truthy(text: str) -> bool:
    """Tell whether a switch in the environment is on: anything but empty, 0, false, no, off."""
    return text.strip().lower() not in ("", "0", "false", "no", "off")
