"""What both wires share: calls, requests, budgets, and the careful reading of replies. Pure.

A **call** says what is wanted of an exchange, in the exchange's own words; a wire turns it into an
**HTTP request**, signed for one moment. Replies are read field by field: unknown fields are
ignored, a required one that is missing or malformed is a `WireError` that names it. Numbers become
`Decimal` from their text; a float never exists on the way.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from core.errors import ExchangeError, Retryable
from core.json_depth import is_deeper
from core.model import Fill, Order, PositionTold

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WINDOW_MS = 5000
"""How long a signed request is valid: the default of both exchanges."""

MAX_DEPTH = 64
"""How deep a reply may be nested; the documented ones end at 6."""

Item = TypeVar("Item")


class WireError(ExchangeError):
    """A reply that is no JSON, or lacks what every reply of its kind has."""


class TimestampRefused(Retryable):
    """The exchange refused the request's timestamp or nonce: nothing happened there."""


class Signing(enum.Enum):
    """What a call has to carry."""

    NONE = "none"
    KEY = "key"  # the key header alone
    SIGNED = "signed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A bucket that an exchange counts requests in: `count` in `period_s`.

    `per_account` buckets are counted for each key, the others for the address we come from.
    """

    name: str
    count: int
    period_s: float
    per_account: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One thing asked of an exchange.

    `params` is a list for a batch whose body is an array. `charges` is what it costs, by bucket.
    `is_write`: it changes something there, so it is never sent again blind and goes before polls.
    """

    method: str
    path: str
    params: Mapping[str, object] | Sequence[Mapping[str, object]] = field(default_factory=dict)
    signing: Signing = Signing.SIGNED
    instruction: str = ""
    charges: Mapping[str, int] = field(default_factory=dict)
    is_write: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A request as it leaves: the query is part of `target`, the body is bytes."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None = None


# What a stream tells -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BookTop:
    """The best bid and ask."""

    symbol: str
    bid: Decimal
    ask: Decimal
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkPrice:
    """The mark price, by which positions are valued."""

    symbol: str
    price: Decimal
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRefused:
    """The stream told of an error, in words."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamExpired:
    """The stream will stay silent from now on: connect anew."""

    reason: str


StreamEvent = BookTop | MarkPrice | Order | Fill | PositionTold | StreamRefused | StreamExpired


# Reading replies -----------------------------------------------------------------------------


def load_json(text: str, what: str) -> Any:
    """Parse a reply; numbers with a point become Decimal. Errors: WireError."""
    if is_deeper(text, MAX_DEPTH):
        raise WireError(f"{what}: the answer is nested deeper than {MAX_DEPTH}")
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, RecursionError, InvalidOperation):
        raise WireError(f"{what}: the answer is no JSON ({len(text)} characters)") from None


def _refuse_constant(name: str) -> Decimal:
    raise ValueError(name)


class Fields:
    """One object of a reply. Errors of every method: WireError naming the object and the field."""

    __slots__ = ("_data", "what")

    def __init__(self, what: str, data: object) -> None:
        if not isinstance(data, dict):
            raise WireError(f"{what}: was {_kind(data)}, expected an object")
        self.what = what
        self._data: dict[str, Any] = data

    def has(self, name: str) -> bool:
        """Tell whether the field is there and not null."""
        return self._data.get(name) is not None

    def raw(self, name: str) -> Any:
        value = self._data.get(name)
        if value is None:
            raise WireError(f"{self.what}: {name} is missing")
        return value

    def text(self, name: str) -> str:
        """Give a text; a number's own text will do, since ids come as either."""
        value = self.raw(name)
        if isinstance(value, (dict, list, bool)):
            raise WireError(f"{self.what}: {name}: was {_kind(value)}, expected a text")
        return str(value)

    def optional_text(self, name: str, default: str = "") -> str:
        return self.text(name) if self.has(name) else default

    def decimal(self, name: str) -> Decimal:
        return to_decimal(self.raw(name), f"{self.what}: {name}")

    def optional_decimal(self, name: str) -> Decimal | None:
        """Give a number; None when it is absent, null or an empty text."""
        return self.decimal(name) if self.has(name) and self._data[name] != "" else None

    def integer(self, name: str) -> int:
        value = self.decimal(name)
        if value != value.to_integral_value():
            raise WireError(f"{self.what}: {name}: was {value}, expected a whole number")
        return int(value)

    def flag(self, name: str, default: bool = False) -> bool:
        value = self._data.get(name)
        if value is None:
            return default
        if isinstance(value, bool):
            return value
        return str(value).lower() == "true"

    def object(self, name: str) -> Fields:
        return Fields(f"{self.what}: {name}", self.raw(name))

    def objects(self, name: str) -> Iterator[Fields]:
        return objects(f"{self.what}: {name}", self.raw(name))


def objects(what: str, data: object) -> Iterator[Fields]:
    """Read a list of objects. Errors: WireError when it is none."""
    if not isinstance(data, list):
        raise WireError(f"{what}: was {_kind(data)}, expected a list")
    for index, item in enumerate(data):
        yield Fields(f"{what}[{index}]", item)


def to_decimal(value: object, what: str) -> Decimal:
    """Give a finite number from its text. Errors: WireError."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        try:
            number = Decimal(value)
        except InvalidOperation:
            number = Decimal("NaN")
        if number.is_finite():
            return number
    raise WireError(f"{what}: was {str(value)[:40]!r}, expected a number")


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__


# Times and texts -----------------------------------------------------------------------------


def from_ms(ms: int) -> datetime:
    """Read Unix milliseconds. Errors: WireError for a moment that no calendar has."""
    return from_us(ms * 1000)


def from_us(us: int) -> datetime:
    """Read Unix microseconds. Errors: WireError for a moment that no calendar has."""
    try:
        return EPOCH + timedelta(microseconds=us)
    except OverflowError:
        raise WireError(f"a time: was {us} us, expected one of this age") from None


def to_ms(moment: datetime) -> int:
    """Give Unix milliseconds, rounded down."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def from_iso(text: str, what: str) -> datetime:
    """Read ISO text; without a zone it is UTC. Errors: WireError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise WireError(f"{what}: was {text[:40]!r}, expected a time") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def plain(value: Decimal) -> str:
    """Write a number without exponent and trailing zeros, as the exchanges count decimals."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Cut a sequence into pieces of at most `size`, in order."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
