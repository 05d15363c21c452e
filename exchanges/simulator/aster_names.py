"""The names of Aster's market streams: the symbol in lower case, what, and how often. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from exchanges.simulator.past import INTERVALS

_NAME = re.compile(r"(?P<symbol>[a-z0-9]+)@(?P<kind>[A-Za-z]+)(?P<detail>[0-9a-zA-Z_@]*)\Z")
_DEPTH = re.compile(r"(?P<levels>5|10|20)?(?:@(?P<speed>100|250|500)ms)?\Z")
_ALL = {
    "!bookTicker": "bookTicker",
    "!markPrice@arr": "markPrice",
    "!markPrice@arr@1s": "markPrice",
    "!ticker@arr": "ticker",
    "!miniTicker@arr": "miniTicker",
    "!forceOrder@arr": "forceOrder",
}
DEPTH_MS = 250
_SECOND_MS = 1_000
_KLINE_MS = 250
_MARK_MS = 3_000  # without @1s


@dataclass(frozen=True, slots=True)
class Stream:
    """A market stream. `symbol` "": all symbols; `period_ms` and `levels` of depth."""

    kind: str
    symbol: str = ""
    period_ms: int = 0
    levels: int = 0  # 0: changes
    interval: str = ""


def parse(name: str, symbols: Any) -> Stream | None:
    """None: no market stream (it may be a listenKey)."""
    if name in _ALL:
        is_slow = name == "!markPrice@arr"
        return Stream(_ALL[name], period_ms=_MARK_MS if is_slow else _SECOND_MS)
    found = _NAME.match(name)
    if found is None or found["symbol"].upper() not in symbols:
        return None
    symbol, kind, detail = found["symbol"].upper(), found["kind"], found["detail"]
    if kind == "kline":
        interval = detail.removeprefix("_")
        is_known = interval in INTERVALS and detail.startswith("_")
        return Stream(kind, symbol, _KLINE_MS, interval=interval) if is_known else None
    if kind == "depth":
        form = _DEPTH.match(detail)
        if form is None:
            return None
        period = int(form["speed"] or DEPTH_MS)
        return Stream(kind, symbol, period, int(form["levels"] or 0))
    if kind == "markPrice":
        every = {"": _MARK_MS, "@1s": _SECOND_MS}.get(detail)
        return None if every is None else Stream(kind, symbol, every)
    is_plain = kind in ("bookTicker", "aggTrade", "trade", "ticker", "miniTicker", "forceOrder")
    return Stream(kind, symbol, _SECOND_MS) if is_plain and detail == "" else None
