"""Backpack's routes: requests in, replies out. Source: the exchange's OpenAPI document."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qsl

from exchanges.simulator import backpack_unserved as unserved
from exchanges.simulator.backpack_account import AccountRoutes
from exchanges.simulator.backpack_auth import BackpackError, Pairs, Verifier
from exchanges.simulator.backpack_call import (
    NOT_FOUND,
    Call,
    Page,
    Raw,
    Routes,
    page_headers,
    parse_json,
)
from exchanges.simulator.backpack_market import MarketRoutes
from exchanges.simulator.backpack_orders import refusal
from exchanges.simulator.backpack_streams import ORDERS, POSITIONS, BackpackStreams, parts_of
from exchanges.simulator.backpack_trading import TradingRoutes
from exchanges.simulator.books import Books
from exchanges.simulator.http import Reply, Request
from exchanges.simulator.hub import Hub, Listener
from exchanges.simulator.records import Refused
from exchanges.simulator.text import dumps
from exchanges.simulator.venue import Venue
from exchanges.simulator.websocket import WebSocket, WsLimits

FIRST_POSITION = 900_001
WS_LIMITS = WsLimits(ping_s=60, pong_s=120)
INVALID_STREAM = {"id": None, "error": {"code": 4006, "message": "Invalid stream"}}


class Backpack:
    """The whole protocol over one venue."""

    def __init__(self, venue: Venue, hub: Hub, api_key: str) -> None:
        self._venue = venue
        self._hub = hub
        self._verifier = Verifier(api_key)
        books = Books(venue.markets)
        numbers = {symbol: FIRST_POSITION + i for i, symbol in enumerate(venue.listings)}
        self.streams = BackpackStreams(venue, books, hub, numbers.__getitem__)
        venue.tell = self.streams.on_event
        self.routes: Routes = {
            **MarketRoutes(venue, books).routes(),
            **AccountRoutes(venue, numbers).routes(),
            **TradingRoutes(venue).routes(),
            **unserved.routes(),
        }
        self._paths = {path for _method, path in self.routes}

    def handle(self, request: Request) -> Reply:
        try:
            return self._answer(request)
        except BackpackError as error:
            return _error(error)
        except Refused as refused:
            return _error(refusal(refused))

    def failure(self, status: int) -> Reply:
        if status == 429:
            error = BackpackError(429, "TOO_MANY_REQUESTS", "Too many requests")
            reply = _error(error)
            reply.headers = (("retry-after", "1"),)
            return reply
        return _error(BackpackError(status, "SERVER_ERROR", "Internal server error"))

    def pulse(self) -> None:
        self.streams.pulse()

    def connect(
        self, transport: asyncio.Transport, request: Request, raw: bytes
    ) -> WebSocket | None:
        del request  # any path serves
        ws = WebSocket(transport, WS_LIMITS)
        if not ws.open(raw):
            return None
        listener = Listener(ws, wraps=True)
        ws.on_text = lambda text: self._on_text(listener, text)
        ws.on_close = lambda: self._hub.forget(listener)
        return ws

    # Requests ---------------------------------------------------------------------------------

    def _answer(self, request: Request) -> Reply:
        route = self.routes.get((request.method, request.path))
        if route is None:
            if request.path in self._paths:
                raise BackpackError(405, "INVALID_CLIENT_REQUEST", "Method Not Allowed")
            raise NOT_FOUND
        pairs: Pairs = parse_qsl(request.query.decode("latin-1"), keep_blank_values=True)
        body = parse_json(request.body)
        if route.instruction:
            parts: list[Pairs] = [pairs]
            if isinstance(body, dict):
                parts = [pairs + list(body.items())]
            elif isinstance(body, list):
                parts = [list(item.items()) if isinstance(item, dict) else [] for item in body]
            self._verifier.check(
                request.headers, route.instruction, parts, self._venue.now_us // 1000
            )
        answer = route.answer(Call(dict(pairs), body, pairs))
        if isinstance(answer, Raw):
            return Reply(200, answer.encode(), "text/plain; charset=utf-8")
        if isinstance(answer, Page):
            return Reply(200, dumps(list(answer.rows)), headers=page_headers(answer))
        return Reply(200, b"" if answer is None else dumps(answer))

    # The socket -------------------------------------------------------------------------------

    def _on_text(self, listener: Listener, text: str) -> None:
        try:
            frame = json.loads(text)
        except ValueError:
            frame = None
        if not isinstance(frame, dict) or not isinstance(frame.get("params"), list):
            if not isinstance(frame, dict) or str(frame.get("method")).upper() != "PING":
                _say(listener, {"id": None, "error": {"code": 4002, "message": "Invalid request"}})
            return
        streams = [str(stream) for stream in frame["params"]]
        method = str(frame.get("method")).upper()
        if method == "UNSUBSCRIBE":
            for stream in streams:
                self._hub.remove(listener, stream)
        elif method == "SUBSCRIBE":
            self._subscribe(listener, streams, frame.get("signature"))
        else:
            _say(listener, {"id": None, "error": {"code": 4001, "message": "Invalid method"}})

    def _subscribe(self, listener: Listener, streams: list[str], signature: Any) -> None:
        if any(parts_of(stream, self._venue.listings) is None for stream in streams):
            _say(listener, INVALID_STREAM)
            return
        if any(stream.startswith((ORDERS, POSITIONS)) for stream in streams):
            try:
                self._verifier.check_subscribe(signature, self._venue.now_us // 1000)
            except BackpackError as error:
                _say(listener, {"id": None, "error": {"code": 4005, "message": error.message}})
                return
        for stream in streams:
            self._hub.add(listener, stream)
            self.streams.subscribed(stream)
            for doc in self.streams.snapshot(stream):
                _say(listener, {"stream": stream, "data": doc})


def _say(listener: Listener, doc: Any) -> None:
    listener.ws.send(json.dumps(doc, separators=(",", ":")))


def _error(error: BackpackError) -> Reply:
    return Reply(error.status, dumps({"code": error.code, "message": error.message}))
