"""One HTTP/1.1 connection, kept alive, over h11; an upgrade hands the socket to a WebSocket.

A request is answered by calling its `Responder` once, now or later: `reply` sends, `hang_up` closes
without a word (what a time-out looks like). The next request of the connection is read after that.
Header lines and bodies above the limits are refused by h11 or here, before anything is parsed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

import h11

MAX_BODY = 1 << 20  # a batch of 50 orders is 15 kB
MAX_HEAD = 1 << 15  # Aster's connectors send batches in the query
_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}


@dataclass(slots=True)
class Request:
    """What arrived. `path` and `query` as sent, not decoded; header names in lower case."""

    method: str
    path: str
    query: bytes
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Reply:
    """What is answered."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


class Responder(Protocol):
    """Where the one answer to a request goes."""

    def reply(self, reply: Reply) -> None: ...

    def hang_up(self) -> None: ...


class Upgraded(Protocol):
    """What takes over the socket of an upgraded connection."""

    def receive(self, data: bytes) -> None: ...

    def lost(self) -> None: ...


Serve = Callable[[Request, Responder], None]
Upgrade = Callable[[asyncio.Transport, Request, bytes], Upgraded | None]


@dataclass(slots=True)
class Connections:
    """Every open connection, so that a stop can close them."""

    open: set[asyncio.Transport] = field(default_factory=set)


class HttpConnection(asyncio.Protocol):
    """The server's end of one connection."""

    def __init__(self, serve: Serve, upgrade: Upgrade, connections: Connections) -> None:
        self._serve = serve
        self._upgrade = upgrade
        self._connections = connections
        self._h11 = h11.Connection(h11.SERVER)
        self._transport: asyncio.Transport
        self._request: h11.Request | None = None
        self._is_head = False  # its answer has the length of a body and no body
        self._body = bytearray()
        self._is_busy = False  # a request waits for its answer
        self._is_reading = False  # inside `_read`: an answer that comes at once does not nest
        self._raw = b""  # the bytes of an upgrade request, for the WebSocket's handshake
        self._upgraded: Upgraded | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.open.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._connections.open.discard(self._transport)
        if self._upgraded is not None:
            self._upgraded.lost()

    def data_received(self, data: bytes) -> None:
        if self._upgraded is not None:
            self._upgraded.receive(data)
            return
        self._raw = data if self._request is None and not self._is_busy else self._raw + data
        try:
            self._h11.receive_data(data)
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint)
            return
        if not self._is_busy:
            self._read()

    # The responder ----------------------------------------------------------------------------

    def reply(self, reply: Reply) -> None:
        if self._transport.is_closing():
            return
        self._send(reply)
        if self._h11.our_state is h11.MUST_CLOSE or self._h11.their_state is h11.ERROR:
            self._transport.close()
            return
        self._h11.start_next_cycle()
        self._is_busy = False
        if not self._is_reading:
            self._read()

    def hang_up(self) -> None:
        self._transport.close()

    # Helpers ----------------------------------------------------------------------------------

    def _read(self) -> None:
        self._is_reading = True
        try:
            while not self._is_busy and self._next_event():
                pass
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint)
        finally:
            self._is_reading = False

    def _next_event(self) -> bool:
        """Take one event; False: more bytes are needed."""
        event = self._h11.next_event()
        if isinstance(event, h11.Request):
            if _size(event) > MAX_HEAD:
                self._refuse(431)
                return False
            self._request = event
            self._body.clear()
            if (b"expect", b"100-continue") in event.headers:
                self._write(h11.InformationalResponse(status_code=100, headers=[]))
        elif isinstance(event, h11.Data):
            self._body += event.data
            if len(self._body) > MAX_BODY:
                self._refuse(413)
                return False
        elif isinstance(event, h11.EndOfMessage):
            self._is_busy = True
            self._answer()
        elif isinstance(event, h11.ConnectionClosed):
            self._transport.close()
            return False
        else:  # NEED_DATA or PAUSED
            return False
        return True

    def _answer(self) -> None:
        event = self._request
        assert event is not None
        self._request = None
        self._is_head = event.method == b"HEAD"
        target = event.target
        if target.startswith(b"http://"):  # the absolute form that proxies send
            target = b"/" + target[7:].partition(b"/")[2]
        path, _, query = target.partition(b"?")
        request = Request(
            "GET" if self._is_head else event.method.decode("ascii"),
            path.decode("latin-1"),
            query,
            {name.decode("ascii"): value.decode("latin-1") for name, value in event.headers},
            bytes(self._body),
        )
        if "websocket" in request.headers.get("upgrade", "").lower():
            self._upgraded = self._upgrade(self._transport, request, self._raw)
            return
        self._serve(request, self)

    def _send(self, reply: Reply) -> None:
        headers = [
            (b"content-type", reply.content_type.encode()),
            (b"content-length", str(len(reply.body)).encode()),
        ]
        for name, value in reply.headers:
            headers.append((name.encode(), value.encode()))
        head = h11.Response(
            status_code=reply.status, headers=headers, reason=_PHRASES.get(reply.status, b"")
        )
        out = self._h11.send(head) or b""
        if reply.body and not self._is_head:
            out += self._h11.send(h11.Data(data=reply.body)) or b""
        out += self._h11.send(h11.EndOfMessage()) or b""
        self._transport.write(out)

    def _write(self, event: h11.InformationalResponse) -> None:
        self._transport.write(self._h11.send(event) or b"")

    def _refuse(self, status: int) -> None:
        """Answer what is no HTTP, or too much of it, and close."""
        self._is_head = False
        if self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE) and not self._is_busy:
            self._send(Reply(status, b'{"code":"INVALID_CLIENT_REQUEST","message":"bad request"}'))
        self._transport.close()


def _size(event: h11.Request) -> int:
    return len(event.target) + sum(len(name) + len(value) for name, value in event.headers)
