"""Read what a client sent: a strict JSON body, query numbers, and the commands made from them.

Values in, values out. A fault is a `BadRequest` whose message names the thing, the value and the
fix. Decimals are built from their text, so 0.1 is 0.1; what JSON does not have (NaN, Infinity),
what is out of any market's range (1e400), a key given twice and a field nobody knows are refused:
with money at stake, a request that may mean two things is not carried out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from core.json_depth import is_deeper
from core.model import AdjustGrid, LotsPolicy, StopBot

MAX_LIMIT = 100_000
DEFAULT_LIMIT = 100
MAX_DEPTH = 16  # a body is one flat object
MAX_GRID_NUM = 1000  # as in a config file

_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")
_MAX_ADJUSTED = 24  # |exponent| of a price: 1e24 of any currency is beyond every market
_SHOWN = 60  # how much of a wrong value a message repeats


class BadRequest(Exception):
    """A request that is refused with 400 and this message; nothing was done."""


class _OutOfRange(Exception):
    """A JSON number that no field may have."""


def parse_json_object(body: bytes) -> dict[str, Any]:
    """Parse a body as one JSON object; numbers become int or Decimal. Errors: BadRequest."""
    if not body.strip():
        raise BadRequest("the request has no body: send one JSON object")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(
            f"the body is not UTF-8 (byte {error.start}): send JSON in UTF-8"
        ) from None
    if is_deeper(text, MAX_DEPTH):
        raise BadRequest("the body is nested too deeply: send one flat JSON object")
    try:
        value = json.loads(
            text,
            parse_float=_decimal,
            parse_int=_integer,
            parse_constant=_refuse_constant,
            object_pairs_hook=_object_without_repeats,
        )
    except _OutOfRange as error:
        raise BadRequest(str(error)) from None
    except json.JSONDecodeError as error:
        raise BadRequest(
            f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}: "
            "send one JSON object"
        ) from None
    if not isinstance(value, dict):
        raise BadRequest(f"the body was {_kind(value)}, expected a JSON object such as {{}}")
    return value


def parse_adjust(body: Mapping[str, Any]) -> AdjustGrid:
    """Read the fields of `/api/grid/adjust`. Errors: BadRequest."""
    _refuse_unknown(body, tuple(_ADJUST_FIELDS))
    read = {name: reader(body, name) for name, reader in _ADJUST_FIELDS.items()}
    lower, upper, num = read["grid_lower_price"], read["grid_upper_price"], read["grid_num"]
    if lower is None and upper is None and num is None:
        raise BadRequest(
            "nothing to adjust: give at least one of grid_lower_price, grid_upper_price, grid_num"
        )
    if lower is not None and upper is not None and lower >= upper:
        raise BadRequest(
            f"grid_lower_price: was {lower:f}, expected less than grid_upper_price {upper:f}"
        )
    return AdjustGrid(
        lower=lower,
        upper=upper,
        grid_num=num,
        lots=read["lots"] or LotsPolicy.CARRY,
        dry_run=bool(read["dry_run"]),
    )


def parse_stop(body: Mapping[str, Any]) -> StopBot:
    """Read the fields of `/api/stop`. Errors: BadRequest."""
    _refuse_unknown(body, ("keep_orders", "close_positions"))
    return StopBot(
        keep_orders=bool(_boolean(body, "keep_orders")),
        close_positions=bool(_boolean(body, "close_positions")),
        reason="http",
    )


def parse_nothing(body: Mapping[str, Any]) -> None:
    """Read the fields of a command that has none. Errors: BadRequest."""
    _refuse_unknown(body, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Which rows of a list are wanted: at most `limit`, older than the cursor `before`."""

    limit: int
    before: int | None


def parse_page(query: Mapping[str, list[str]]) -> Page:
    """Read `limit` and `before`. Errors: BadRequest."""
    limit = _query_integer(query, "limit", 1, MAX_LIMIT)
    before = _query_integer(query, "before", 1, 2**62)
    return Page(limit=DEFAULT_LIMIT if limit is None else limit, before=before)


def parse_order_status(query: Mapping[str, list[str]]) -> bool:
    """Read `status`; True when open orders alone are wanted. Errors: BadRequest."""
    text = _query_single(query, "status")
    if text not in {None, "open", "all"}:
        raise BadRequest(f"status: was {shown(text)}, expected open or all")
    return text != "all"


def shown(value: object) -> str:
    """Repeat a value in a message: printable, on one line and not long."""
    if isinstance(value, Decimal):
        return f"{value:f}" if abs(value.adjusted()) <= _SHOWN else str(value)
    text = ascii(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _query_single(query: Mapping[str, list[str]], name: str) -> str | None:
    values = query.get(name, [])
    if len(values) > 1:
        raise BadRequest(f"{name}: was given {len(values)} times, expected once")
    return values[0] if values else None


def _query_integer(query: Mapping[str, list[str]], name: str, least: int, most: int) -> int | None:
    text = _query_single(query, name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,19}", text) or not least <= int(text) <= most:
        raise BadRequest(f"{name}: was {shown(text)}, expected an integer {least} to {most}")
    return int(text)


def _price(body: Mapping[str, Any], name: str) -> Decimal | None:
    value = body.get(name)
    if name not in body:
        return None
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value):
            raise BadRequest(f'{name}: was {shown(value)}, expected a price such as "140.5"')
        number = Decimal(value)
    elif isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        number = Decimal(value)
    else:
        raise BadRequest(
            f'{name}: was {_kind(value)} {shown(value)}, expected a price such as 140.5 or "140.5"'
        )
    if number <= 0:
        raise BadRequest(f"{name}: was {shown(value)}, expected a price above 0")
    if abs(number.adjusted()) > _MAX_ADJUSTED:
        raise BadRequest(f"{name}: was {shown(value)}, expected a price between 1e-24 and 1e24")
    return number


def _grid_num(body: Mapping[str, Any], name: str) -> int | None:
    if name not in body:
        return None
    value = body[name]
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadRequest(
            f"{name}: was {_kind(value)} {shown(value)}, expected an integer number of levels >= 2"
        )
    if not 2 <= value <= MAX_GRID_NUM:
        raise BadRequest(f"{name}: was {value}, expected 2 to {MAX_GRID_NUM} levels")
    return value


def _lots(body: Mapping[str, Any], name: str) -> LotsPolicy | None:
    if name not in body:
        return None
    value = body[name]
    choices = [policy.value for policy in LotsPolicy]
    if not isinstance(value, str) or value not in choices:
        raise BadRequest(f"{name}: was {shown(value)}, expected one of {', '.join(choices)}")
    return LotsPolicy(value)


def _boolean(body: Mapping[str, Any], name: str) -> bool | None:
    if name not in body:
        return None
    value = body[name]
    if not isinstance(value, bool):
        raise BadRequest(f"{name}: was {_kind(value)} {shown(value)}, expected true or false")
    return value


_ADJUST_FIELDS: dict[str, Callable[[Mapping[str, Any], str], Any]] = {
    "grid_lower_price": _price,
    "grid_upper_price": _price,
    "grid_num": _grid_num,
    "lots": _lots,
    "dry_run": _boolean,
}


def _refuse_unknown(body: Mapping[str, Any], known: tuple[str, ...]) -> None:
    unknown = [name for name in body if name not in known]
    if unknown:
        names = ", ".join(shown(name) for name in unknown[:5])
        raise BadRequest(f"unknown field {names}: known are {', '.join(known) or 'none'}")


def _decimal(text: str) -> Decimal:
    if not _NUMBER.fullmatch(text):
        raise _OutOfRange(f"number {shown(text)} is out of range: send an ordinary price")
    return Decimal(text)


def _integer(text: str) -> int:
    if len(text) > 40:
        raise _OutOfRange(f"number {shown(text)} is out of range: send an ordinary number")
    return int(text)


def _refuse_constant(text: str) -> Any:
    raise _OutOfRange(f"{text} is not JSON: send a finite number")


def _object_without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise _OutOfRange(f"field {shown(name)} is given twice: give it once")
        fields[name] = value
    return fields


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | Decimal():
            return "number"
        case str():
            return "text"
        case list():
            return "array"
        case _:
            return "object"
