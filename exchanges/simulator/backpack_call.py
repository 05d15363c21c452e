"""A Backpack request taken apart, what answers it, and pages of histories."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exchanges.simulator.backpack_auth import BackpackError, bad_request
from exchanges.simulator.text import decimal_or_none

MARKET_TYPES = ("SPOT", "PERP", "IPERP", "DATED", "PREDICTION", "RFQ")
NOT_FOUND = BackpackError(404, "RESOURCE_NOT_FOUND", "Not Found")


class JsonNumber(str):
    """A JSON number with a point, as its text: what is signed are its characters."""


@dataclass(slots=True)
class Call:
    """A request, taken apart. `query` has the last value of each name, `pairs` every one."""

    query: Mapping[str, str]
    body: Any
    pairs: Sequence[tuple[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """`instruction` "": public."""

    instruction: str
    answer: Callable[[Call], Any]


class Raw(str):
    """An answer that is plain text."""


@dataclass(slots=True)
class Page:
    """Rows of a history with their place in the whole."""

    rows: Sequence[Any]
    total: int
    limit: int
    offset: int


Routes = dict[tuple[str, str], Route]
"""By method and path."""


def parse_json(body: bytes) -> Any:
    if not body:
        return None
    try:
        return json.loads(body, parse_float=JsonNumber)
    except (ValueError, RecursionError):
        raise bad_request("parse request payload error: parse error") from None


def object_of(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, dict):
        raise bad_request("parse request payload error: expected an object")
    return body


def whole(call: Call, name: str, default: int | None) -> int | None:
    text = call.query.get(name)
    if text is None or text == "":
        return default
    value = decimal_or_none(text)
    if value is None or value != int(value) or not 0 <= value < 10**16:
        raise bad_request(f"failed to parse parameter `{name}`: invalid digit found in string")
    return int(value)


def is_perp(call: Call) -> bool:
    """Whether a market type, if some are asked for, is ours. Errors: BackpackError.

    An array is sent as `marketType=PERP&marketType=SPOT`; with commas it is taken as well.
    """
    texts = [str(text) for name, text in call.pairs if name in ("marketType", "marketType[]")]
    kinds = [kind for text in texts for kind in text.split(",") if kind]
    if any(kind not in MARKET_TYPES for kind in kinds):
        raise bad_request('failed to parse parameter `marketType`: failed to parse "MarketType"')
    return not kinds or "PERP" in kinds


def choice(call: Call, name: str, kind: str, known: Sequence[str]) -> str | None:
    """One of the known words; None when there is none. Errors: BackpackError."""
    word = call.query.get(name) or None
    if word is not None and word not in known:
        raise bad_request(f'failed to parse parameter `{name}`: failed to parse "{kind}"')
    return word


def limits(call: Call) -> tuple[int, int]:
    limit, offset = whole(call, "limit", 100), whole(call, "offset", 0)
    assert limit is not None
    assert offset is not None
    if not 1 <= limit <= 1_000:
        raise bad_request("failed to parse parameter `limit`: expected 1 to 1000")
    return limit, offset


def page(call: Call, oldest_first: Sequence[Any], row: Callable[[Any], Any] | None = None) -> Page:
    """The rows asked for; newest first unless told otherwise."""
    limit, offset = limits(call)
    rows = list(oldest_first)
    if choice(call, "sortDirection", "SortDirection", ("Asc", "Desc")) != "Asc":
        rows.reverse()
    shown = rows[offset : offset + limit]
    return Page([x if row is None else row(x) for x in shown], len(rows), limit, offset)


def page_headers(page: Page) -> tuple[tuple[str, str], ...]:
    return (
        ("x-page-count", str(-(-page.total // page.limit))),
        ("x-current-page", str(page.offset // page.limit)),
        ("x-page-size", str(page.limit)),
        ("x-total", str(page.total)),
    )
