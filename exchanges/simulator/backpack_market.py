"""Backpack's market data routes: open to all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exchanges.simulator import backpack_market_views as views
from exchanges.simulator.backpack_auth import bad_request
from exchanges.simulator.backpack_call import (
    Call,
    Page,
    Raw,
    Route,
    Routes,
    choice,
    is_perp,
    limits,
    whole,
)
from exchanges.simulator.backpack_orders import symbol_of
from exchanges.simulator.backpack_streams import interval_of
from exchanges.simulator.books import Books
from exchanges.simulator.past import LISTED_MS
from exchanges.simulator.venue import Venue

MAX_KLINES = 1_000


class MarketRoutes:
    """Reads the venue."""

    def __init__(self, venue: Venue, books: Books) -> None:
        self._venue = venue
        self._books = books

    def routes(self) -> Routes:
        venue = self._venue

        def by_symbol(call: Call, row: Callable[[str], Any]) -> list[Any]:
            if call.query.get("symbol"):
                return [row(symbol_of(call.query, venue.listings))]
            return [row(symbol) for symbol in venue.listings] if is_perp(call) else []

        public: dict[str, Callable[[Call], Any]] = {
            "/api/v1/status": lambda _: {"status": "Ok", "message": None},
            "/api/v1/ping": lambda _: Raw("pong"),
            "/api/v1/time": lambda _: Raw(str(venue.now_us // 1000)),
            "/api/v1/assets": lambda _: views.assets(list(venue.listings.values())),
            "/api/v1/collateral": lambda _: views.collateral_parameters(
                next(iter(venue.listings.values())).instrument.quote_asset
            ),
            "/api/v1/markets": lambda call: [
                views.market(listing) for listing in venue.listings.values() if is_perp(call)
            ],
            "/api/v1/market": lambda call: views.market(
                venue.listings[symbol_of(call.query, venue.listings)]
            ),
            "/api/v1/ticker": lambda call: self._ticker(
                symbol_of(call.query, venue.listings), call
            ),
            "/api/v1/tickers": lambda call: [
                self._ticker(symbol, call) for symbol in venue.listings
            ],
            "/api/v1/depth": self._depth,
            "/api/v1/klines": self._klines,
            "/api/v1/markPrices": lambda call: by_symbol(
                call,
                lambda symbol: views.mark_price(symbol, venue.markets[symbol].last, venue.now_us),
            ),
            "/api/v1/openInterest": lambda call: by_symbol(
                call,
                lambda symbol: {
                    "symbol": symbol,
                    "openInterest": "812233.41",
                    "timestamp": venue.now_us // 1000,
                },
            ),
            "/api/v1/fundingRates": self._funding_rates,
            "/api/v1/trades": self._trades,
            "/api/v1/trades/history": self._trades,
        }
        return {("GET", path): Route("", answer) for path, answer in public.items()}

    def _ticker(self, symbol: str, call: Call) -> dict[str, Any]:
        days = 7 if choice(call, "interval", "TickerInterval", ("1d", "1w")) == "1w" else 1
        now_ms = self._venue.now_us // 1000
        return views.ticker(symbol, self._venue.tapes[symbol].day(now_ms, days))

    def _depth(self, call: Call) -> Any:
        symbol = symbol_of(call.query, self._venue.listings)
        limit = call.query.get("limit", "1000")
        if limit not in ("5", "10", "20", "50", "100", "500", "1000"):
            raise bad_request('failed to parse parameter "limit"')
        seen, number = self._books.view(symbol), self._books.number(symbol)
        return views.depth(seen, number, int(limit), self._venue.now_us)

    def _klines(self, call: Call) -> Any:
        symbol = symbol_of(call.query, self._venue.listings)
        interval = interval_of(call.query.get("interval", ""))
        if interval is None:
            raise bad_request(
                'failed to parse parameter `interval`: failed to parse "KlineInterval"'
            )
        choice(call, "priceType", "KlinePriceType", ("Last", "Index", "Mark"))  # one price here
        start = whole(call, "startTime", None)
        if start is None:
            raise bad_request("failed to parse parameter `startTime`: missing")
        now_ms = self._venue.now_us // 1000
        end = whole(call, "endTime", None)
        end_ms = now_ms if end is None else min(end * 1000 - 1, now_ms)
        candles = self._venue.tapes[symbol].candles(interval, start * 1000, end_ms, MAX_KLINES)
        return [views.kline(candle) for candle in candles]

    def _funding_rates(self, call: Call) -> Any:
        symbol = symbol_of(call.query, self._venue.listings)
        step = views.FUNDING_INTERVAL_MS
        latest = self._venue.now_us // 1000 // step
        total = latest - LISTED_MS // step
        limit, offset = limits(call)
        rows = [
            views.funding_rate(symbol, (latest - index) * step)
            for index in range(offset, min(offset + limit, total))
        ]
        return Page(rows, total, limit, offset)

    def _trades(self, call: Call) -> Any:
        symbol = symbol_of(call.query, self._venue.listings)
        limit, offset = limits(call)
        newest_first = list(reversed(self._venue.tapes[symbol].trades))
        return [views.trade(known) for known in newest_first[offset : offset + limit]]
