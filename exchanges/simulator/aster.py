"""Aster's routes under `/fapi`: requests in, replies out. Source: its V1 and V3 documents.

A route answers under every version (v1 to v4): the versions differ in the signature, which is told
from the parameters. Its sockets: `/ws`, `/ws/<stream or listenKey>`, `/stream?streams=a/b`, with
any prefix.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from exchanges.simulator import aster_unserved as unserved
from exchanges.simulator.aster_account import AccountRoutes
from exchanges.simulator.aster_auth import AsterError, Verifier
from exchanges.simulator.aster_market import MarketRoutes
from exchanges.simulator.aster_names import parse
from exchanges.simulator.aster_orders import refusal
from exchanges.simulator.aster_route import Route, Routes
from exchanges.simulator.aster_streams import AsterStreams
from exchanges.simulator.aster_trading import TradingRoutes
from exchanges.simulator.books import Books
from exchanges.simulator.credentials import Credentials
from exchanges.simulator.http import Reply, Request
from exchanges.simulator.hub import Hub, Listener
from exchanges.simulator.listen_key import ListenKey
from exchanges.simulator.records import Refused
from exchanges.simulator.text import dumps
from exchanges.simulator.usage import Usage
from exchanges.simulator.venue import Venue
from exchanges.simulator.websocket import WebSocket, WsLimits

WS_LIMITS = WsLimits(ping_s=300, pong_s=900, inputs_per_s=10)
MAX_STREAMS = 200
_PATH = re.compile(r"/fapi/v[1-4](?P<name>/[A-Za-z0-9/]+?)/?\Z")
_SPOT = re.compile(r"/api/v[13](?P<name>/[A-Za-z/-]+)\Z")


class Aster:
    """The whole protocol over one venue."""

    def __init__(
        self, venue: Venue, hub: Hub, keys: Credentials, listen_key_ms: int = 3_600_000
    ) -> None:
        self._venue = venue
        self._hub = hub
        self._verifier = Verifier(keys)
        self._key = ListenKey(listen_key_ms)
        self._usage = Usage()
        books = Books(
            venue.markets, lambda number: venue.orders[int(number)].extra.get("tif") == "HIDDEN"
        )
        self.streams = AsterStreams(venue, books, hub, self._key)
        venue.tell = self.streams.on_event
        self._account = AccountRoutes(venue, self.streams)
        self.routes: Routes = {
            **MarketRoutes(venue, books).routes(),
            **self._account.routes(),
            **TradingRoutes(venue, self._account).routes(),
            **unserved.routes(venue),
            ("POST", "/listenKey"): Route("key", self._make_key),
            ("PUT", "/listenKey"): Route("key", self._keep_key),
            ("DELETE", "/listenKey"): Route("key", self._close_key),
        }
        self._names = {name for _method, name in self.routes}

    def handle(self, request: Request) -> Reply:
        try:
            reply = self._answer(request)
        except AsterError as error:
            reply = Reply(error.status, dumps(error.body))
        except Refused as refused:
            reply = Reply(400, dumps(refusal(refused).body))
        reply.headers += self._usage.headers(self._venue.now_us)
        return reply

    def failure(self, status: int) -> Reply:
        if status == 429:
            text = "Too many requests; current limit is 2400 requests per minute. "
            text += "Please use the websocket for live updates to avoid polling the API."
            body = {"code": -1003, "msg": text}
            return Reply(429, dumps(body), headers=(("retry-after", "1"),))
        text = "An unknown error occured while processing the request."
        return Reply(status, dumps({"code": -1000, "msg": text}))

    def pulse(self) -> None:
        self.streams.pulse()

    def connect(
        self, transport: asyncio.Transport, request: Request, raw: bytes
    ) -> WebSocket | None:
        words = [unquote(word) for word in request.path.split("/") if word]
        kind = next((word for word in words if word in ("ws", "stream")), "ws")
        names = words[words.index(kind) + 1 :] if kind in words else []
        query = dict(parse_qsl(request.query.decode("latin-1")))
        names += [name for name in query.get("streams", "").split("/") if name]
        ws = WebSocket(transport, WS_LIMITS)
        if not ws.open(raw):
            return None
        listener = Listener(ws, wraps=kind == "stream")
        ws.on_text = lambda text: self._on_text(listener, text)
        ws.on_close = lambda: self._hub.forget(listener)
        for name in names:
            self._subscribe(listener, name)
        return ws

    # Requests ---------------------------------------------------------------------------------

    def _answer(self, request: Request) -> Reply:
        spot = _SPOT.match(request.path)
        if spot is not None and request.method == "GET":
            return Reply(200, dumps(self._spot(spot["name"].removeprefix("/"), request)))
        if spot is not None and spot["name"] in unserved.SPOT_REFUSED:
            unserved.refuse({})
        path = _PATH.match(request.path)
        name = path["name"] if path is not None else ""
        route = self.routes.get((request.method, name))
        if route is None:
            if name in self._names:
                raise AsterError(-1000, "Request method is not supported.", 405)
            raise AsterError(-5000, f"Path {request.path}, Method {request.method} is invalid", 404)
        params = _params(request.body)
        params |= _params(request.query)  # on a clash the query wins
        self._usage.add(self._venue.now_us, route.weight, route.orders)
        if route.security == "key" and "signer" not in params:
            self._verifier.check_key(request.headers)
        elif route.security != "none":
            self._verifier.check_signed(
                request.headers, request.query, request.body, params, self._venue.now_us
            )
        return Reply(200, dumps(route.answer(params)))

    def _spot(self, name: str, request: Request) -> Any:
        """The spot exchange, which ccxt asks as well: it trades nothing and holds nothing."""
        now_ms = self._venue.now_us // 1000
        if name in ("account", "openOrders"):
            params = _params(request.query)
            self._verifier.check_signed(
                request.headers, request.query, b"", params, self._venue.now_us
            )
        answers: dict[str, Any] = {
            "ping": {},
            "time": {"serverTime": now_ms},
            "exchangeInfo": {
                "timezone": "UTC",
                "serverTime": now_ms,
                "rateLimits": [],
                "exchangeFilters": [],
                "assets": [],
                "symbols": [],
            },
            "account": {"canTrade": True, "updateTime": now_ms, "balances": []},
            "openOrders": [],
        }
        if name not in answers:
            raise AsterError(-5000, f"Path {request.path}, Method GET is invalid", 404)
        return answers[name]

    # The user stream --------------------------------------------------------------------------

    def _make_key(self, _params: Mapping[str, str]) -> Any:
        return {"listenKey": self._key.make(self._venue.now_us // 1000)}

    def _keep_key(self, params: Mapping[str, str]) -> Any:
        if not self._key.keep(params.get("listenKey"), self._venue.now_us // 1000):
            raise AsterError(-1125, "This listenKey does not exist.")
        return {}

    def _close_key(self, params: Mapping[str, str]) -> Any:
        if self._key.close(params.get("listenKey"), self._venue.now_us // 1000) is None:
            raise AsterError(-1125, "This listenKey does not exist.")
        return {}

    # The socket -------------------------------------------------------------------------------

    def _subscribe(self, listener: Listener, name: str) -> None:
        self._hub.add(listener, name)
        self.streams.subscribed(name)

    def _on_text(self, listener: Listener, text: str) -> None:
        try:
            frame = json.loads(text)
        except ValueError:
            _say(listener, {"code": 3, "msg": "Invalid JSON"})
            return
        if not isinstance(frame, dict):
            _say(listener, {"code": 2, "msg": "Invalid request: expected an object"})
            return
        number = frame.get("id")
        if number is not None and (not isinstance(number, int) or number < 0):
            text = "Invalid request: request ID must be an unsigned integer"
            _say(listener, {"code": 2, "msg": text})
            return
        params = frame.get("params") or []
        result = self._carry_out(listener, str(frame.get("method")), params)
        if isinstance(result, AsterError):
            _say(listener, {"code": result.code, "msg": result.msg, "id": number})
        else:
            _say(listener, {"result": result, "id": number})

    def _carry_out(self, listener: Listener, method: str, params: Any) -> Any:
        """The result of a command; an AsterError is returned, not raised."""
        if not isinstance(params, list):
            return AsterError(2, "Invalid request: params must be a list")
        if method in ("SUBSCRIBE", "UNSUBSCRIBE"):
            names = [str(name) for name in params]
            if any("@" in x and parse(x, self._venue.listings) is None for x in names):
                return AsterError(2, "Invalid request: unknown stream")
            if method == "UNSUBSCRIBE":
                for name in names:
                    self._hub.remove(listener, name)
            elif len(listener.streams) + len(names) > MAX_STREAMS:
                return AsterError(2, f"Invalid request: at most {MAX_STREAMS} streams")
            else:
                for name in names:
                    self._subscribe(listener, name)
            return None
        if method == "LIST_SUBSCRIPTIONS":
            return list(listener.streams)
        if method == "SET_PROPERTY" and params[:1] == ["combined"] and len(params) == 2:
            listener.wraps = bool(params[1])
            return None
        if method == "GET_PROPERTY" and params[:1] == ["combined"]:
            return listener.wraps
        return AsterError(1, "Invalid value type: unknown method or property")


def _say(listener: Listener, doc: Any) -> None:
    listener.ws.send(json.dumps(doc, separators=(",", ":")))


def _params(text: bytes) -> dict[str, str]:
    if not text:
        return {}
    return dict(parse_qsl(text.decode("latin-1"), keep_blank_values=True, encoding="utf-8"))
