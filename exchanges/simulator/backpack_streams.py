"""Backpack's streams: who may subscribe to what, and events in its words.

Source: the tag `Streams` of the exchange's OpenAPI document, and captured payloads. Times `E` and
`T` are microseconds. Names: `account.orderUpdate[.S]`, `account.positionUpdate[.S]`,
`bookTicker.S`, `depth[.200ms|.600ms|.1000ms].S`, `trade.S`, `markPrice.S`, `kline.I.S`,
`ticker.S`, `openInterest.S`, `liquidation`.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from exchanges.simulator import backpack_market_views as market_views
from exchanges.simulator import backpack_views as views
from exchanges.simulator.books import Books
from exchanges.simulator.hub import Hub
from exchanges.simulator.past import INTERVALS
from exchanges.simulator.records import (
    LIQUIDATION,
    USER,
    BookEvent,
    Event,
    OrderChange,
    OrderEvent,
    PositionEvent,
    SimOrder,
    TradeEvent,
)
from exchanges.simulator.text import iso, plain
from exchanges.simulator.venue import Venue

ORDERS, POSITIONS = "account.orderUpdate", "account.positionUpdate"
_SPEEDS = {"200ms": 200, "600ms": 600, "1000ms": 1_000}
_CHANGES = {
    OrderChange.WAITING: "triggerPlaced",
    OrderChange.ACCEPTED: "orderAccepted",
    OrderChange.FILLED: "orderFill",
    OrderChange.SHRUNK: "orderModified",
    OrderChange.CANCELED: "orderCancelled",
    OrderChange.EXPIRED: "orderExpired",
}
_POSITIONS = {
    "opened": "positionOpened",
    "adjusted": "positionAdjusted",
    "closed": "positionClosed",
}
_EXIT_KEYS = {
    "takeProfitTriggerPrice": "a",
    "stopLossTriggerPrice": "b",
    "takeProfitLimitPrice": "j",
    "stopLossLimitPrice": "k",
    "takeProfitTriggerBy": "d",
    "stopLossTriggerBy": "g",
}
_EVERY_S_MS = 1_000
_OPEN_INTEREST_MS = 60_000


def interval_of(name: str) -> str | None:
    """Our word for a Backpack interval: it calls the month `1month`."""
    if name == "1month":
        return "1M"
    return name if name in INTERVALS and name != "1M" else None


def parts_of(stream: str, symbols: Any) -> tuple[str, str, str] | None:
    """Kind, detail (interval or speed, may be empty) and symbol of a stream; None: no such one."""
    words = stream.split(".")
    if stream == "liquidation":
        return stream, "", ""
    if stream in (ORDERS, POSITIONS):
        return stream, "", ""
    kind = ".".join(words[:2]) if words[0] == "account" else words[0]
    rest = words[2:] if words[0] == "account" else words[1:]
    if not rest or rest[-1] not in symbols:
        return None
    detail = ".".join(rest[:-1])
    allowed: dict[str, Callable[[str], bool]] = {
        ORDERS: lambda text: text == "",
        POSITIONS: lambda text: text == "",
        "bookTicker": lambda text: text == "",
        "depth": lambda text: text == "" or text in _SPEEDS,
        "trade": lambda text: text == "",
        "markPrice": lambda text: text == "",
        "ticker": lambda text: text == "",
        "openInterest": lambda text: text == "",
        "kline": lambda text: interval_of(text) is not None,
    }
    is_known = kind in allowed and allowed[kind](detail)
    return (kind, detail, rest[-1]) if is_known else None


class BackpackStreams:
    """Turns events into messages. `number_of`: the id of a symbol's position."""

    def __init__(
        self, venue: Venue, books: Books, hub: Hub, number_of: Callable[[str], int]
    ) -> None:
        self._venue = venue
        self._books = books
        self._hub = hub
        self._number_of = number_of
        self._second_ms = 0
        self._minute_ms = 0
        self._bars: dict[str, tuple[int, Any]] = {}  # what each kline stream told last

    def subscribed(self, stream: str) -> None:
        """A stream has a listener: begin its chain."""
        parts = parts_of(stream, self._venue.listings)
        if parts is not None and parts[0] == "depth":
            self._books.publish(stream, parts[2], _SPEEDS.get(parts[1], 0))

    def snapshot(self, stream: str) -> list[dict[str, Any]]:
        """What a new listener is told first: the open positions, without `e`."""
        if not stream.startswith(POSITIONS):
            return []
        parts = parts_of(stream, self._venue.listings)
        assert parts is not None
        return [
            self._position(symbol, None)
            for symbol, market in self._venue.markets.items()
            if market.account.position and parts[2] in ("", symbol)
        ]

    def on_event(self, event: Event) -> None:
        if isinstance(event, OrderEvent):
            self._on_order(event)
        elif isinstance(event, PositionEvent):
            self._to_account(
                POSITIONS, event.symbol, lambda: self._position(event.symbol, event.change)
            )
        elif isinstance(event, TradeEvent):
            self._on_trade(event)
        elif isinstance(event, BookEvent):
            self._books.changed(event.symbol, self._venue.now_us // 1000)
            self._on_book(event)

    def pulse(self) -> None:
        """Publish what is due by time."""
        now_us = self._venue.now_us
        now_ms = now_us // 1000
        for symbol in self._books.quiet(now_ms):
            self.on_event(BookEvent(symbol, is_price=False))
        for stream, symbol, step in self._books.steps(None, now_ms):
            if self._hub.hears(stream):
                self._hub.publish(stream, _depth(symbol, step, now_us))
            else:
                self._books.forget(stream)
        if now_ms - self._second_ms < _EVERY_S_MS:
            return
        self._second_ms = now_ms
        is_minute = now_ms - self._minute_ms >= _OPEN_INTEREST_MS
        for stream in self._hub.streams:
            parts = parts_of(stream, self._venue.listings)
            if parts is None:
                continue
            kind, detail, symbol = parts
            if kind == "ticker":
                self._hub.publish(stream, self._ticker(symbol))
            elif kind == "markPrice":
                self._hub.publish(stream, self._mark(symbol))
            elif kind == "kline":
                self._kline(stream, detail, symbol)
            elif kind == "openInterest" and is_minute:
                doc = {"e": "openInterest", "E": now_us, "s": symbol, "o": "812233.41"}
                self._hub.publish(stream, doc)
        if is_minute:
            self._minute_ms = now_ms

    # Helpers --------------------------------------------------------------------------------

    def _to_account(self, kind: str, symbol: str, make: Callable[[], dict[str, Any]]) -> None:
        for stream in (kind, f"{kind}.{symbol}"):
            if self._hub.hears(stream):
                self._hub.publish(stream, make())

    def _on_order(self, event: OrderEvent) -> None:
        order = event.order
        self._to_account(ORDERS, order.symbol, lambda: _order(event, self._venue.now_us))
        if order.origin == LIQUIDATION and event.fill is not None:
            fill = event.fill.fill
            self._hub.publish(
                "liquidation",
                {
                    "e": "liquidation",
                    "E": self._venue.now_us,
                    "q": plain(fill.quantity),
                    "p": plain(fill.price),
                    "S": views.SIDE[fill.side],
                    "s": fill.symbol,
                    "T": self._venue.now_us,
                },
            )

    def _on_trade(self, event: TradeEvent) -> None:
        stream = f"trade.{event.symbol}"
        if not self._hub.hears(stream):
            return
        trade = event.trade
        self._hub.publish(
            stream,
            {
                "e": "trade",
                "E": self._venue.now_us,
                "s": event.symbol,
                "p": plain(trade.price),
                "q": plain(trade.quantity),
                "b": str(trade.buyer),
                "a": str(trade.seller),
                "t": trade.number,
                "T": trade.time_us,
                "m": trade.buyer_is_maker,
            },
        )

    def _on_book(self, event: BookEvent) -> None:
        symbol, now_us = event.symbol, self._venue.now_us
        stream = f"bookTicker.{symbol}"
        if self._hub.hears(stream) and (top := self._books.new_top(symbol)) is not None:
            self._hub.publish(
                stream,
                {
                    "e": "bookTicker",
                    "E": now_us,
                    "s": symbol,
                    "a": plain(top[2]),
                    "A": plain(top[3]),
                    "b": plain(top[0]),
                    "B": plain(top[1]),
                    "u": self._books.number(symbol),
                    "T": now_us,
                },
            )
        for stream, _symbol, step in self._books.steps(symbol, now_us // 1000):
            if self._hub.hears(stream):
                self._hub.publish(stream, _depth(symbol, step, now_us))
            else:
                self._books.forget(stream)
        if event.is_price and self._hub.hears(f"markPrice.{symbol}"):
            self._hub.publish(f"markPrice.{symbol}", self._mark(symbol))

    def _mark(self, symbol: str) -> dict[str, Any]:
        now_us = self._venue.now_us
        price = plain(self._venue.markets[symbol].last)
        return {
            "e": "markPrice",
            "E": now_us,
            "s": symbol,
            "p": price,
            "f": plain(market_views.FUNDING_RATE),
            "i": price,
            "n": market_views.next_funding_ms(now_us),
            "T": now_us,
        }

    def _ticker(self, symbol: str) -> dict[str, Any]:
        day = self._venue.tapes[symbol].day(self._venue.now_us // 1000)
        return {
            "e": "ticker",
            "E": self._venue.now_us,
            "s": symbol,
            "o": plain(day.open),
            "c": plain(day.close),
            "h": plain(day.high),
            "l": plain(day.low),
            "v": plain(day.volume),
            "V": plain(day.quote_volume),
            "n": day.trades,
        }

    def _kline(self, stream: str, detail: str, symbol: str) -> None:
        """The candle that is drawn, when it changed; the one before it once more when it closed."""
        interval = interval_of(detail)
        assert interval is not None
        tape = self._venue.tapes[symbol]
        now = tape.candle_at(interval, self._venue.now_us // 1000)
        told = self._bars.get(stream)
        if told is not None and told[0] != now.start_ms:
            closed = tape.candles(interval, told[0], told[0], 1)
            if closed:
                self._hub.publish(stream, self._candle(symbol, closed[0], is_closed=True))
        doc = self._candle(symbol, now, is_closed=False)
        figures = {name: doc[name] for name in "ohlcvn"}
        if told != (now.start_ms, figures):
            self._bars[stream] = (now.start_ms, figures)
            self._hub.publish(stream, doc)

    def _candle(self, symbol: str, candle: Any, *, is_closed: bool) -> dict[str, Any]:
        bar = candle.bar
        return {
            "e": "kline",
            "E": self._venue.now_us,
            "s": symbol,
            "t": iso(candle.start_ms * 1000)[:-4],
            "T": iso(candle.end_ms * 1000)[:-4],
            "o": plain(bar.open),
            "c": plain(bar.close),
            "h": plain(bar.high),
            "l": plain(bar.low),
            "v": plain(bar.volume),
            "n": bar.trades,
            "X": is_closed,
        }

    def _position(self, symbol: str, change: str | None) -> dict[str, Any]:
        row = views.position(self._venue.markets[symbol], self._number_of(symbol))
        now_us = self._venue.now_us
        doc = {
            "s": symbol,
            "E": now_us,
            "T": now_us,
            "i": int(row["positionId"]),
            "q": row["netQuantity"],
            "Q": row["netExposureQuantity"],
            "n": row["netExposureNotional"],
            "B": row["entryPrice"],
            "b": row["breakEvenPrice"],
            "M": row["markPrice"],
            "f": row["imf"],
            "m": row["mmf"],
            "p": row["pnlRealized"],
            "P": row["pnlUnrealized"],
            "l": "0",
        }
        return doc if change is None else {"e": _POSITIONS[change], **doc}


def _order(event: OrderEvent, now_us: int) -> dict[str, Any]:
    order, known = event.order, event.fill
    doc: dict[str, Any] = {
        "e": _CHANGES[event.change],
        "E": now_us,
        "O": USER if order.origin == USER else "LIQUIDATION_AUTOCLOSE",
        "S": views.SIDE[order.side],
        "T": now_us,
        "V": order.extra.get("stp", "RejectTaker"),
        "X": views.status(order),
        "Z": plain(order.filled_quote),
        "f": order.tif,
        "i": str(order.number),
        "o": "MARKET" if order.price is None else "LIMIT",
        "q": plain(order.quantity),
        "r": order.reduce_only,
        "s": order.symbol,
        "t": None,
        "z": plain(order.filled),
    }
    _describe(order, doc)
    if event.change is OrderChange.EXPIRED:
        doc["R"] = order.reason or "Unknown"
    if known is not None:
        fill = known.fill
        doc |= {
            "t": known.number,
            "l": plain(fill.quantity),
            "L": plain(fill.price),
            "m": fill.is_maker,
            "n": plain(fill.fee),
            "N": fill.fee_asset,
        }
    return doc


def _describe(order: SimOrder, doc: dict[str, Any]) -> None:
    if order.client_id is not None:
        doc["c"] = int(order.client_id)
    if order.trigger is not None:
        doc["P"] = plain(order.trigger.price)
        doc["Y"] = str(order.extra.get("trigger_quantity"))
        if order.extra.get("trigger_by") is not None:
            doc["B"] = order.extra["trigger_by"]
    if order.related is not None:
        doc["I"] = str(order.related)
    given = order.extra.get("exits", {})
    doc |= {key: given[name] for name, key in _EXIT_KEYS.items() if given.get(name) is not None}
    if order.price is not None:
        doc["p"] = plain(order.price)
        doc["Q"] = plain(order.price * order.quantity)
        doc["y"] = order.post_only


def _depth(symbol: str, step: Any, now_us: int) -> dict[str, Any]:
    def side(changes: dict[Decimal, Decimal]) -> list[list[str]]:
        return [[plain(p), plain(q) if q else "0.00"] for p, q in sorted(changes.items())]

    return {
        "e": "depth",
        "E": now_us,
        "s": symbol,
        "a": side(step.asks),
        "b": side(step.bids),
        "U": step.first,
        "u": step.last,
        "T": now_us,
    }
