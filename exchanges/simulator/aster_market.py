"""Aster's market data routes: open to all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from exchanges.simulator import aster_market_views as views
from exchanges.simulator.aster_auth import AsterError, missing
from exchanges.simulator.aster_orders import symbol_of, whole
from exchanges.simulator.aster_route import Route, Routes
from exchanges.simulator.books import Books
from exchanges.simulator.past import INTERVALS, LISTED_MS
from exchanges.simulator.text import plain
from exchanges.simulator.venue import Venue

Params = Mapping[str, str]
DEPTHS = (5, 10, 20, 50, 100, 500, 1_000)


class MarketRoutes:
    """Reads the venue."""

    def __init__(self, venue: Venue, books: Books) -> None:
        self._venue = venue
        self._books = books

    def routes(self) -> Routes:
        found = {
            "/ping": Route("none", lambda _: {}),
            "/time": Route("none", lambda _: {"serverTime": self._now_ms}),
            "/exchangeInfo": Route(
                "none", lambda _: views.exchange_info(self._venue.listings, self._now_ms)
            ),
            "/depth": Route("none", self._depth, weight=10),
            "/trades": Route("none", lambda p: self._trades(p, views.trade)),
            "/historicalTrades": Route("none", lambda p: self._trades(p, views.trade), weight=20),
            "/aggTrades": Route("none", lambda p: self._trades(p, views.agg_trade), weight=20),
            "/klines": Route("none", self._klines, weight=5),
            "/markPriceKlines": Route("none", self._klines, weight=5),
            "/indexPriceKlines": Route("none", self._klines, weight=5),
            "/premiumIndex": Route("none", lambda p: self._each(p, self._premium)),
            "/fundingRate": Route("none", self._funding_rates),
            "/fundingInfo": Route("none", lambda p: self._list(p, self._funding_info)),
            "/ticker/24hr": Route("none", lambda p: self._each(p, self._ticker)),
            "/ticker/price": Route("none", lambda p: self._each(p, self._price)),
            "/ticker/bookTicker": Route("none", lambda p: self._each(p, self._book_ticker)),
            "/indexreferences": Route("none", lambda _: []),
        }
        return {("GET", name): route for name, route in found.items()}

    @property
    def _now_ms(self) -> int:
        return self._venue.now_us // 1000

    def _each(self, params: Params, row: Callable[[str], Any]) -> Any:
        """One object with a symbol, a list without."""
        if params.get("symbol"):
            return row(symbol_of(params, self._venue.listings))
        return [row(symbol) for symbol in self._venue.listings]

    def _list(self, params: Params, row: Callable[[str], Any]) -> Any:
        if params.get("symbol"):
            return [row(symbol_of(params, self._venue.listings))]
        return [row(symbol) for symbol in self._venue.listings]

    def _depth(self, params: Params) -> Any:
        symbol = symbol_of(params, self._venue.listings)
        limit = whole(params, "limit")
        if limit is not None and limit not in DEPTHS:
            raise AsterError(-1130, "Data sent for parameter 'limit' is not valid.")
        number = self._books.number(symbol)
        return views.depth(self._books.view(symbol), number, limit or 500, self._now_ms)

    def _trades(self, params: Params, row: Callable[[Any], Any]) -> Any:
        symbol = symbol_of(params, self._venue.listings)
        limit = limit_of(params, 500, 1_000)
        since, start, end = (whole(params, name) for name in ("fromId", "startTime", "endTime"))
        known = [
            trade
            for trade in self._venue.tapes[symbol].trades
            if (since is None or trade.number >= since)
            and (start is None or trade.time_us // 1000 >= start)
            and (end is None or trade.time_us // 1000 <= end)
        ]
        is_forward = since is not None or start is not None
        return [row(trade) for trade in (known[:limit] if is_forward else known[-limit:])]

    def _klines(self, params: Params) -> Any:
        key = "symbol" if params.get("symbol") else "pair"
        symbol = symbol_of({"symbol": params.get(key, "")}, self._venue.listings)
        interval = params.get("interval")
        if not interval:
            raise missing("interval")
        if interval not in INTERVALS:
            raise AsterError(-1120, "Invalid interval.")
        limit = limit_of(params, 500, 1_500)
        start, end = whole(params, "startTime"), whole(params, "endTime")
        end_ms = self._now_ms if end is None else min(end, self._now_ms)
        tape = self._venue.tapes[symbol]
        if start is None:
            length = INTERVALS[interval] or 31 * views.DAY_MS
            start = end_ms - limit * length
            rows = tape.candles(interval, start, end_ms, limit + 1)[-limit:]
        else:
            rows = tape.candles(interval, start, end_ms, limit)
        return [views.kline(candle) for candle in rows]

    def _premium(self, symbol: str) -> Any:
        return views.premium_index(symbol, self._venue.markets[symbol].last, self._now_ms)

    def _ticker(self, symbol: str) -> Any:
        day = self._venue.tapes[symbol].day(self._now_ms)
        return views.ticker_24h(symbol, day, self._now_ms)

    def _price(self, symbol: str) -> Any:
        price = self._venue.markets[symbol].last
        return {"symbol": symbol, "price": plain(price), "time": self._now_ms}

    def _book_ticker(self, symbol: str) -> Any:
        return views.book_ticker(symbol, self._books.top(symbol), self._now_ms)

    def _funding_info(self, symbol: str) -> Any:
        return {
            "symbol": symbol,
            "interestRate": "0.00010000",
            "time": self._now_ms,
            "fundingIntervalHours": 8,
            "fundingFeeCap": 0.03,
            "fundingFeeFloor": -0.03,
        }

    def _funding_rates(self, params: Params) -> Any:
        symbols = [params["symbol"]] if params.get("symbol") else list(self._venue.listings)
        if params.get("symbol"):
            symbol_of(params, self._venue.listings)
        limit = limit_of(params, 100, 1_000)
        start, end = whole(params, "startTime"), whole(params, "endTime")
        step = views.FUNDING_INTERVAL_MS
        last = min(self._now_ms, self._now_ms if end is None else end) // step
        first = -(-max(start, LISTED_MS) // step) if start is not None else last - limit + 1
        stamps = islice(range(first, last + 1), limit)
        return [
            {
                "symbol": symbol,
                "fundingRate": plain(views.FUNDING_RATE),
                "fundingTime": stamp * step,
            }
            for stamp in stamps
            for symbol in symbols
        ]


def limit_of(params: Params, default: int, most: int) -> int:
    """Errors: AsterError."""
    limit = whole(params, "limit")
    if limit is None:
        return default
    if limit < 1:
        raise AsterError(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(limit, most)
