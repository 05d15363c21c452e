"""Aster's streams: their names, and events in its words. Source: the exchange's V1 document.

Market streams are named by the symbol in lower case; a user stream is named by its listenKey.
Times are milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from core.model import Side
from exchanges.simulator import aster_market_views as market_views
from exchanges.simulator import aster_views as views
from exchanges.simulator.aster_names import Stream, parse
from exchanges.simulator.books import Books
from exchanges.simulator.hub import Hub
from exchanges.simulator.listen_key import ListenKey
from exchanges.simulator.portfolio import unrealized
from exchanges.simulator.records import (
    LIQUIDATION,
    BookEvent,
    Event,
    FundingEvent,
    LeverageEvent,
    OrderChange,
    OrderEvent,
    PositionEvent,
    TradeEvent,
    TransferEvent,
)
from exchanges.simulator.tape import Candle
from exchanges.simulator.text import plain, rounded
from exchanges.simulator.venue import Venue

_EXECUTION = {
    OrderChange.WAITING: "NEW",
    OrderChange.ACCEPTED: "NEW",
    OrderChange.FILLED: "TRADE",
    OrderChange.SHRUNK: "AMENDMENT",  # not with Aster's rules
    OrderChange.CANCELED: "CANCELED",
    OrderChange.EXPIRED: "EXPIRED",
}


class AsterStreams:
    """Turns events into messages."""

    def __init__(self, venue: Venue, books: Books, hub: Hub, key: ListenKey) -> None:
        self._venue = venue
        self._books = books
        self._hub = hub
        self._key = key
        self._due_ms: dict[str, int] = {}
        self._bars: dict[str, tuple[int, Any]] = {}  # what each kline stream told last

    def subscribed(self, name: str) -> None:
        """A stream has a listener: begin its chain."""
        stream = parse(name, self._venue.listings)
        if stream is not None and stream.kind == "depth":
            self._books.publish(name, stream.symbol, stream.period_ms)

    def on_event(self, event: Event) -> None:
        if isinstance(event, OrderEvent):
            self._to_user(lambda: self._order(event))
            if event.order.origin == LIQUIDATION and event.fill is not None:
                self._force_order(event)
        elif isinstance(event, PositionEvent):
            self._to_user(lambda: self._account_update("ORDER", event.symbol, Decimal(0)))
        elif isinstance(event, FundingEvent):
            amount = event.payment.amount
            self._to_user(lambda: self._account_update("FUNDING_FEE", None, amount))
        elif isinstance(event, TransferEvent):
            reason = "DEPOSIT" if event.amount > 0 else "WITHDRAW"
            self._to_user(lambda: self._account_update(reason, None, event.amount))
        elif isinstance(event, LeverageEvent):
            self._to_user(lambda: self._config({"s": event.symbol, "l": event.leverage}, "ac"))
        elif isinstance(event, TradeEvent):
            self._trade(event)
        elif isinstance(event, BookEvent):
            self._books.changed(event.symbol, self._now_ms)
            self._book(event)

    def modes_changed(self, modes: dict[str, Any]) -> None:
        self._to_user(lambda: self._config(modes, "ai"))

    def _config(self, change: dict[str, Any], kind: str) -> dict[str, Any]:
        return {"e": "ACCOUNT_CONFIG_UPDATE", "E": self._now_ms, "T": self._now_ms, kind: change}

    def pulse(self) -> None:
        """Publish what is due by time, and end a listenKey that nobody kept alive."""
        expired = self._key.expire(self._now_ms)
        if expired is not None:
            self._hub.publish(expired, {"e": "listenKeyExpired", "E": self._now_ms})
        for symbol in self._books.quiet(self._now_ms):
            self.on_event(BookEvent(symbol, is_price=False))
        for name, symbol, step in self._books.steps(None, self._now_ms):
            if not self._hub.hears(name):
                self._books.forget(name)
                continue
            stream = parse(name, self._venue.listings)
            assert stream is not None
            bids, asks = step.bids, step.asks
            if stream.levels:
                seen = self._books.view(symbol)
                bids = dict(list(seen.bids.items())[: stream.levels])
                asks = dict(list(seen.asks.items())[: stream.levels])
            self._hub.publish(
                name,
                {
                    "e": "depthUpdate",
                    "E": self._now_ms,
                    "T": self._now_ms,
                    "s": symbol,
                    "U": step.first,
                    "u": step.last,
                    "pu": step.previous,
                    "b": [[plain(p), plain(q)] for p, q in bids.items()],
                    "a": [[plain(p), plain(q)] for p, q in asks.items()],
                },
            )
        for name in self._hub.streams:
            stream = parse(name, self._venue.listings)
            if stream is not None and self._now_ms >= self._due_ms.get(name, 0):
                self._due_ms[name] = self._now_ms + stream.period_ms
                self._periodic(name, stream)

    # Helpers --------------------------------------------------------------------------------

    @property
    def _now_ms(self) -> int:
        return self._venue.now_us // 1000

    def _to_user(self, make: Callable[[], dict[str, Any]]) -> None:
        key = self._key.current(self._now_ms)
        if key is not None and self._hub.hears(key):
            self._hub.publish(key, make())

    def _periodic(self, name: str, stream: Stream) -> None:
        symbols = [stream.symbol] if stream.symbol else list(self._venue.listings)
        if stream.kind == "kline":
            self._kline(name, stream)
        elif stream.kind in ("markPrice", "ticker", "miniTicker"):
            make = {"markPrice": self._mark, "ticker": self._ticker, "miniTicker": self._mini}
            docs = [make[stream.kind](symbol) for symbol in symbols]
            self._hub.publish(name, docs[0] if stream.symbol else docs)

    def _book(self, event: BookEvent) -> None:
        symbol = event.symbol
        names = (f"{symbol.lower()}@bookTicker", "!bookTicker")
        if any(map(self._hub.hears, names)) and (top := self._books.new_top(symbol)) is not None:
            doc = {
                "e": "bookTicker",
                "u": self._books.number(symbol),
                "E": self._now_ms,
                "T": self._now_ms,
                "s": symbol,
                "b": plain(top[0]),
                "B": plain(top[1]),
                "a": plain(top[2]),
                "A": plain(top[3]),
            }
            for name in names:
                self._hub.publish(name, doc)
        if event.is_price:
            for name in (f"{symbol.lower()}@markPrice", f"{symbol.lower()}@markPrice@1s"):
                if self._hub.hears(name):
                    self._hub.publish(name, self._mark(symbol))

    def _trade(self, event: TradeEvent) -> None:
        symbol, trade = event.symbol, event.trade
        head = {"E": self._now_ms, "s": symbol}
        aggregated = {"e": "aggTrade", **head, **market_views.agg_trade(trade)}
        self._hub.publish(f"{symbol.lower()}@aggTrade", aggregated)
        single = {
            "e": "trade",
            **head,
            "t": trade.number,
            "p": plain(trade.price),
            "q": plain(trade.quantity),
            "T": trade.time_us // 1000,
            "m": trade.buyer_is_maker,
        }
        self._hub.publish(f"{symbol.lower()}@trade", single)

    def _mark(self, symbol: str) -> dict[str, Any]:
        price = plain(self._venue.markets[symbol].last)
        return {
            "e": "markPriceUpdate",
            "E": self._now_ms,
            "s": symbol,
            "p": price,
            "i": price,
            "P": price,
            "r": plain(market_views.FUNDING_RATE),
            "T": market_views.next_funding_ms(self._now_ms),
        }

    def _ticker(self, symbol: str) -> dict[str, Any]:
        day = market_views.ticker_24h(
            symbol, self._venue.tapes[symbol].day(self._now_ms), self._now_ms
        )
        return {
            "e": "24hrTicker",
            "E": self._now_ms,
            "s": symbol,
            "p": day["priceChange"],
            "P": day["priceChangePercent"],
            "w": day["weightedAvgPrice"],
            "c": day["lastPrice"],
            "Q": day["lastQty"],
            "o": day["openPrice"],
            "h": day["highPrice"],
            "l": day["lowPrice"],
            "v": day["volume"],
            "q": day["quoteVolume"],
            "O": day["openTime"],
            "C": day["closeTime"],
            "F": day["firstId"],
            "L": day["lastId"],
            "n": day["count"],
        }

    def _mini(self, symbol: str) -> dict[str, Any]:
        full = self._ticker(symbol)
        return {"e": "24hrMiniTicker", **{name: full[name] for name in "Escohlvq"}}

    def _kline(self, name: str, stream: Stream) -> None:
        """The candle that is drawn, when it changed; the one before it once more when it closed."""
        tape = self._venue.tapes[stream.symbol]
        now = tape.candle_at(stream.interval, self._now_ms)
        told = self._bars.get(name)
        if told is not None and told[0] != now.start_ms:
            for closed in tape.candles(stream.interval, told[0], told[0], 1):
                self._hub.publish(name, self._candle(stream, closed, is_closed=True))
        doc = self._candle(stream, now, is_closed=False)
        figures = (now.start_ms, {key: doc["k"][key] for key in "ohlcvn"})
        if told != figures:
            self._bars[name] = figures
            self._hub.publish(name, doc)

    def _candle(self, stream: Stream, candle: Candle, *, is_closed: bool) -> dict[str, Any]:
        row = market_views.kline(candle)
        return {
            "e": "kline",
            "E": self._now_ms,
            "s": stream.symbol,
            "k": {
                "t": row[0],
                "T": row[6],
                "s": stream.symbol,
                "i": stream.interval,
                "f": 0,
                "L": 0,
                "o": row[1],
                "c": row[4],
                "h": row[2],
                "l": row[3],
                "v": row[5],
                "n": row[8],
                "x": is_closed,
                "q": row[7],
                "V": row[9],
                "Q": row[10],
                "B": "0",
            },
        }

    def _order(self, event: OrderEvent) -> dict[str, Any]:
        order, known = event.order, event.fill
        book = self._venue.markets[order.symbol].book
        kind, trigger = views.kind(order), order.trigger
        inner: dict[str, Any] = {
            "s": order.symbol,
            "c": views.client_id(order),
            "S": order.side.value,
            "o": "LIQUIDATION" if order.origin == LIQUIDATION else kind,
            "f": order.extra.get("tif", "GTC"),
            "q": plain(order.quantity),
            "p": "0" if order.price is None else plain(order.price),
            "ap": rounded(order.average),
            "sp": "0" if trigger is None else plain(trigger.price),
            "x": _EXECUTION[event.change],
            "X": order.status.value,
            "i": order.number,
            "l": "0",
            "z": plain(order.filled),
            "L": "0",
            "T": self._now_ms,
            "t": 0,
            "b": plain(book.notional(Side.BUY)),
            "a": plain(book.notional(Side.SELL)),
            "m": False,
            "R": order.reduce_only,
            "wt": order.extra.get("working_type", "CONTRACT_PRICE"),
            "ot": order.extra.get("type", kind),
            "ps": "BOTH",
            "cp": trigger is not None and trigger.share is not None,
            "rp": "0",
        }
        if trigger is not None and trigger.callback is not None:
            inner |= {
                "sp": "0",
                "AP": plain(trigger.price),
                "cr": plain(trigger.callback * 100),
            }
        if known is not None:
            fill = known.fill
            inner |= {
                "l": plain(fill.quantity),
                "L": plain(fill.price),
                "t": known.number,
                "m": fill.is_maker,
                "rp": rounded(known.realized),
                "N": fill.fee_asset,
                "n": plain(fill.fee),
            }
        return {"e": "ORDER_TRADE_UPDATE", "E": self._now_ms, "T": self._now_ms, "o": inner}

    def _account_update(self, reason: str, symbol: str | None, change: Decimal) -> dict[str, Any]:
        wallet = plain(self._venue.portfolio.wallet)
        asset = next(iter(self._venue.listings.values())).instrument.quote_asset
        told: dict[str, Any] = {
            "m": reason,
            "B": [{"a": asset, "wb": wallet, "cw": wallet, "bc": plain(change)}],
        }
        if symbol is not None:
            held = self._venue.markets[symbol]
            told["P"] = [
                {
                    "s": symbol,
                    "pa": plain(held.account.position),
                    "ep": rounded(held.account.entry_price),
                    "cr": plain(held.account.realized),
                    "up": plain(unrealized(held)),
                    "mt": "cross",
                    "iw": "0",
                    "ps": "BOTH",
                    "ma": asset,
                }
            ]
        return {"e": "ACCOUNT_UPDATE", "E": self._now_ms, "T": self._now_ms, "a": told}

    def _force_order(self, event: OrderEvent) -> None:
        assert event.fill is not None
        order, fill = event.order, event.fill.fill
        doc = {
            "e": "forceOrder",
            "E": self._now_ms,
            "o": {
                "s": order.symbol,
                "S": order.side.value,
                "o": "LIMIT",
                "f": "IOC",
                "q": plain(order.quantity),
                "p": plain(fill.price),
                "ap": plain(fill.price),
                "X": "FILLED",
                "l": plain(fill.quantity),
                "z": plain(order.filled),
                "T": self._now_ms,
            },
        }
        for name in (f"{order.symbol.lower()}@forceOrder", "!forceOrder@arr"):
            self._hub.publish(name, doc)
