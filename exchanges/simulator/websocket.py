"""One WebSocket, the server's end, over wsproto: frames in and out, pings, limits.

It pings every `ping_s` and closes when nothing came back for `pong_s`, as the exchange does. More
than `inputs_per_s` text frames in a second close it, too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

WS_TEXT_LIMIT = 1 << 20
POLICY_VIOLATION = 1008


@dataclass(frozen=True, slots=True)
class WsLimits:
    """What the exchange documents for its sockets."""

    ping_s: float
    pong_s: float
    inputs_per_s: int | None = None


class WebSocket:
    """Sends texts; calls `on_text` for each one that arrives and `on_close` once at the end."""

    def __init__(self, transport: asyncio.Transport, limits: WsLimits) -> None:
        self._transport = transport
        self._limits = limits
        self._ws = WSConnection(ConnectionType.SERVER)
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._texts: list[str] = []
        self._text_size = 0
        self._inputs: deque[float] = deque()
        self._is_open = False
        self._timer: asyncio.TimerHandle | None = None
        self.on_text: Callable[[str], None] = lambda _text: None
        self.on_close: Callable[[], None] = lambda: None

    def open(self, raw_request: bytes) -> bool:
        """Answer the handshake. False: it was none, and the connection is closed."""
        try:
            self._ws.receive_data(raw_request)
            event = next(iter(self._ws.events()), None)
            if not isinstance(event, Request):
                raise RemoteProtocolError("no handshake")
            chosen = event.subprotocols[0] if event.subprotocols else None
            self._transport.write(self._ws.send(AcceptConnection(subprotocol=chosen)))
        except (RemoteProtocolError, LocalProtocolError):
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            self._transport.close()
            return False
        self._is_open = True
        self._timer = self._loop.call_later(self._limits.ping_s, self._ping)
        return True

    @property
    def is_open(self) -> bool:
        return self._is_open and not self._transport.is_closing()

    def send(self, text: str) -> None:
        if self.is_open:
            self._transport.write(self._ws.send(TextMessage(data=text)))

    def close(self, code: int, reason: str) -> None:
        if self.is_open:
            self._transport.write(self._ws.send(CloseConnection(code=code, reason=reason)))
        self._end()
        self._transport.close()

    def drop(self) -> None:
        """Cut the line without a close frame."""
        self._end()
        self._transport.abort()

    def receive(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        try:
            self._ws.receive_data(data)
            for event in self._ws.events():
                self._take(event)
        except (RemoteProtocolError, LocalProtocolError):
            self.drop()

    def lost(self) -> None:
        self._end()

    def _take(self, event: object) -> None:
        if isinstance(event, TextMessage):
            self._texts.append(event.data)
            self._text_size += len(event.data)
            if self._text_size > WS_TEXT_LIMIT:
                self.close(1009, "message too big")
            elif event.message_finished:
                text = "".join(self._texts)
                self._texts.clear()
                self._text_size = 0
                if self._may_speak():
                    self.on_text(text)
        elif isinstance(event, BytesMessage):
            self.close(1003, "text only")
        elif isinstance(event, Ping):
            if self.is_open:
                self._transport.write(self._ws.send(event.response()))
        elif isinstance(event, CloseConnection):
            if self.is_open:
                self._transport.write(self._ws.send(event.response()))
            self._end()
            self._transport.close()
        # A Pong has done its work by arriving.

    def _may_speak(self) -> bool:
        limit = self._limits.inputs_per_s
        if limit is None:
            return self.is_open
        now = self._loop.time()
        self._inputs.append(now)
        while self._inputs[0] < now - 1:
            self._inputs.popleft()
        if len(self._inputs) > limit:
            self.close(POLICY_VIOLATION, "Too many requests")
        return self.is_open

    def _ping(self) -> None:
        if not self.is_open:
            return
        if self._loop.time() - self._heard_at > self._limits.pong_s:
            self.drop()
            return
        self._transport.write(self._ws.send(Ping(payload=b"")))
        self._timer = self._loop.call_later(self._limits.ping_s, self._ping)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_open:
            self._is_open = False
            self.on_close()
