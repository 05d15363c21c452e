"""Public candles of both exchanges, a page at a time: texts as the exchange wrote them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from core.errors import Rejected
from exchanges import aster_wire, backpack_wire
from exchanges.budget import Budget
from exchanges.rest_client import unknown_symbol
from exchanges.transport import RestSession
from exchanges.wire import Limit, WireError, from_iso, load_json, objects, to_decimal, to_ms

MINUTE_MS = 60_000
INTERVALS_MS = {
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": 60 * MINUTE_MS,
    "2h": 120 * MINUTE_MS,
    "4h": 240 * MINUTE_MS,
    "6h": 360 * MINUTE_MS,
    "8h": 480 * MINUTE_MS,
    "12h": 720 * MINUTE_MS,
    "1d": 1440 * MINUTE_MS,
}
"""Those that both have and whose length never varies."""

ASTER_PAGE = 1000  # weight 5; 1500 would weigh 10
BACKPACK_PAGE = 1000  # not documented: less than asked for is no end, empty spans are passed

PRICES = ("open", "high", "low", "close")

Row = tuple[str, ...]


class KlineSource(Protocol):
    """One symbol's candles of one interval."""

    def now_ms(self) -> int: ...

    def page(self, start_ms: int, end_ms: int) -> tuple[list[Row], int]:
        """Fetch rows from `start_ms` on, below `end_ms`, and where the next page starts.

        Errors: ConfigError for a symbol that is not traded; ExchangeError.
        """
        ...

    def wait(self, seconds: float) -> None: ...

    def close(self) -> None: ...


def open_source(
    exchange: str, base_url: str | None, symbol: str, interval: str, *, root: Path
) -> KlineSource:
    """Open an exchange's candles within the machine's request budget. Errors: ConfigError."""
    from exchanges.live import budget_folder

    limits: Sequence[Limit]
    if exchange == "backpack":
        from exchanges.backpack import backpack_venue

        venue, limits = backpack_venue(base_url, None), backpack_wire.LIMITS
    else:
        from exchanges.aster import aster_venue

        venue, limits = aster_venue(base_url, None), aster_wire.LIMITS
    host = urlsplit(venue.base_url).netloc.lower()
    budget = Budget(budget_folder(root), host=host, account="public", limits=limits)
    kind = BackpackKlines if exchange == "backpack" else AsterKlines
    return kind(RestSession(venue, budget), symbol, interval)


class _Klines:
    """What both have in common."""

    def __init__(self, session: RestSession, symbol: str, interval: str) -> None:
        self._session = session
        self._symbol = symbol
        self._interval = interval
        self._step = INTERVALS_MS[interval]

    def now_ms(self) -> int:
        return self._session.now_ms()

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        self._session.close()

    def _span(self, start_ms: int, end_ms: int, rows: int) -> int:
        return min(end_ms, start_ms + rows * self._step)

    def _goes_on(self, rows: list[Row], latest_ms: int, stop_ms: int) -> int:
        """Say where the next page begins: behind the last row of one that was cut short.

        A page without any candle is passed whole: there was no trading.
        """
        behind = latest_ms + self._step
        return behind if rows and behind < stop_ms else stop_ms


class BackpackKlines(_Klines):
    """Backpack: times in seconds, an empty candle has no prices and is left out."""

    def page(self, start_ms: int, end_ms: int) -> tuple[list[Row], int]:
        stop = self._span(start_ms, end_ms, BACKPACK_PAGE)
        params = {
            "symbol": self._symbol,
            "interval": self._interval,
            "startTime": start_ms // 1000,
            "endTime": stop // 1000,
        }
        call = backpack_wire.public("/api/v1/klines", params, candles=1, requests=1)
        try:
            text = self._session.send(call)
        except Rejected as error:
            raise unknown_symbol("Backpack", self._symbol, f" ({error})") from None
        rows: list[Row] = []
        latest = start_ms - self._step
        for fields in objects("candles", load_json(text, "candles")):
            stamp = to_ms(from_iso(fields.text("start"), "candles: start"))
            if stamp <= latest or stamp >= stop:
                continue
            latest = stamp
            if fields.has("open"):
                prices = [
                    _text(fields.raw(name), name) for name in ("open", "high", "low", "close")
                ]
                rows.append((str(stamp), *prices, fields.optional_text("volume", "0")))
        return rows, self._goes_on(rows, latest, stop)


class AsterKlines(_Klines):
    """Aster: arrays, times in milliseconds."""

    def page(self, start_ms: int, end_ms: int) -> tuple[list[Row], int]:
        stop = self._span(start_ms, end_ms, ASTER_PAGE)
        params = {
            "symbol": self._symbol,
            "interval": self._interval,
            "startTime": start_ms,
            "endTime": stop - 1,
            "limit": ASTER_PAGE,
        }
        try:
            text = self._session.send(aster_wire.public("/fapi/v1/klines", params, weight=5))
        except Rejected as error:
            raise unknown_symbol("Aster", self._symbol, f" ({error})") from None
        data = load_json(text, "candles")
        if not isinstance(data, list):
            raise WireError("candles: expected a list")
        rows: list[Row] = []
        latest = start_ms - self._step
        for item in data:
            if not isinstance(item, list) or len(item) < 6:
                raise WireError("candles: expected rows of six values and more")
            stamp = int(to_decimal(item[0], "candles: time"))
            if stamp <= latest or stamp >= stop:
                continue
            latest = stamp
            rows.append((str(stamp), *(_text(value, "a value") for value in item[1:6])))
        return rows, self._goes_on(rows, latest, stop)


def _text(value: object, name: str) -> str:
    to_decimal(value, f"candles: {name}")
    return str(value)
