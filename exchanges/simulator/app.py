"""From a request to its answer: control routes, faults, the protocol; and what follows from it.

Time enters here: the venue's moment is set before anything is asked of it.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from decimal import Decimal
from typing import Protocol

from exchanges.simulator.control import Control
from exchanges.simulator.faults import Fate, Faults
from exchanges.simulator.http import Reply, Request, Responder, Upgraded
from exchanges.simulator.hub import Hub
from exchanges.simulator.venue import Venue
from exchanges.simulator.websocket import WebSocket

HANG_S = 30.0  # CONTRACT 8: a time-out hangs this long, then closes
REST_S = 2.0  # what was filled in part is filled on after this, if the price does not move
PULSE_S = 0.1  # the finest period of a throttled stream


class Exchange(Protocol):
    """What is Backpack's or Aster's own."""

    def handle(self, request: Request) -> Reply:
        """Answer a request of the protocol; never raises for bad input."""
        ...

    def failure(self, status: int) -> Reply:
        """The body that goes with 500 and 429."""
        ...

    def connect(
        self, transport: asyncio.Transport, request: Request, raw: bytes
    ) -> WebSocket | None:
        """Take a WebSocket; None: refused."""
        ...

    def pulse(self) -> None:
        """Publish what throttled streams have to tell; called every `PULSE_S`."""
        ...


class App:
    """See the module docstring."""

    def __init__(
        self,
        venue: Venue,
        exchange: Exchange,
        hub: Hub,
        faults: Faults,
        api_key: str,
        clock_us: Callable[[], int],
    ) -> None:
        self._venue = venue
        self._exchange = exchange
        self._hub = hub
        self._faults = faults
        self._clock_us = clock_us
        self._control = Control(venue, faults, api_key)
        self._resting: set[str] = set()  # symbols with a timer for what was filled in part

    def serve(self, request: Request, responder: Responder) -> None:
        if request.path.startswith("/_sim/"):
            self._tick()
            reply = self._control.handle(request)
            self._settle()
            self._hub.flush()
            responder.reply(reply)
            return
        fate = self._faults.of_request()
        if self._faults.latency_ms:
            loop = asyncio.get_running_loop()
            loop.call_later(self._faults.latency_ms / 1000, self._meet, fate, request, responder)
        else:
            self._meet(fate, request, responder)

    def connect(
        self, transport: asyncio.Transport, request: Request, raw: bytes
    ) -> Upgraded | None:
        self._tick()
        socket = self._exchange.connect(transport, request, raw)
        self._hub.flush()
        return socket

    def move(self, symbol: str, price: Decimal) -> None:
        """The market moved by itself."""
        self._tick()
        self._venue.move(symbol, price)
        self._settle()
        self._hub.flush()

    def pulse(self) -> None:
        self._tick()
        self._exchange.pulse()
        self._hub.flush()

    def _meet(self, fate: Fate, request: Request, responder: Responder) -> None:
        if fate is Fate.HTTP_500:
            responder.reply(self._exchange.failure(500))
        elif fate is Fate.HTTP_429:
            responder.reply(self._exchange.failure(429))
        elif fate is Fate.TIMEOUT_BEFORE:
            asyncio.get_running_loop().call_later(HANG_S, responder.hang_up)
        else:
            self._tick()
            try:
                reply = self._exchange.handle(request)
            except Exception:  # a bug of ours: said aloud, and no client is left waiting
                traceback.print_exc()
                reply = self._exchange.failure(500)
            self._settle()
            if fate is Fate.TIMEOUT_AFTER:
                self._hub.flush()
                asyncio.get_running_loop().call_later(HANG_S, responder.hang_up)
            elif self._faults.tells_first():
                self._hub.flush()
                responder.reply(reply)
            else:
                responder.reply(reply)
                self._hub.flush()

    def _tick(self) -> None:
        self._venue.now_us = max(self._venue.now_us, self._clock_us())

    def _settle(self) -> None:
        """Set a timer for what was filled in part."""
        for symbol in self._venue.markets:
            if symbol not in self._resting and self._venue.waiting(symbol):
                self._resting.add(symbol)
                asyncio.get_running_loop().call_later(REST_S, self._fill_on, symbol)

    def _fill_on(self, symbol: str) -> None:
        self._resting.discard(symbol)
        self._tick()
        self._venue.fill_on(symbol)
        self._hub.flush()
