"""Who listens to which stream, and what the faults do to what they hear.

Messages wait in an outbox until `flush`: a request's effects are told before or after its answer,
as the faults draw it.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict

from exchanges.simulator.faults import Delivery, Faults
from exchanges.simulator.websocket import WebSocket

HELD_S = 0.25  # a held message leaves at the latest after this


class Listener:
    """One socket and its streams. `wraps`: each message says of which stream it is."""

    def __init__(self, ws: WebSocket, *, wraps: bool) -> None:
        self.ws = ws
        self.wraps = wraps
        self.streams: dict[str, None] = {}
        self.held: list[str] = []


class Hub:
    """The streams that somebody listens to."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._listeners: defaultdict[str, dict[Listener, None]] = defaultdict(dict)
        self._outbox: list[tuple[str, str]] = []

    def add(self, listener: Listener, stream: str) -> None:
        listener.streams[stream] = None
        self._listeners[stream][listener] = None

    def remove(self, listener: Listener, stream: str) -> None:
        listener.streams.pop(stream, None)
        listeners = self._listeners.get(stream)
        if listeners is not None:
            listeners.pop(listener, None)
            if not listeners:
                del self._listeners[stream]

    def forget(self, listener: Listener) -> None:
        for stream in tuple(listener.streams):
            self.remove(listener, stream)

    def hears(self, stream: str) -> bool:
        return stream in self._listeners

    @property
    def streams(self) -> list[str]:
        """Every stream that somebody listens to."""
        return list(self._listeners)

    def publish(self, stream: str, data: object) -> None:
        """Queue a message, if somebody listens."""
        if stream in self._listeners:
            self._outbox.append((stream, json.dumps(data, separators=(",", ":"))))

    def flush(self) -> None:
        """Send what is queued."""
        if not self._outbox:
            return
        outbox, self._outbox = self._outbox, []
        for stream, data in outbox:
            for listener in tuple(self._listeners.get(stream, ())):
                self.deliver(listener, stream, data)

    def deliver(self, listener: Listener, stream: str, data: str) -> None:
        """Send one message to one listener, as the faults have it."""
        text = f'{{"stream":"{stream}","data":{data}}}' if listener.wraps else data
        delivery = self._faults.of_message()
        if delivery is Delivery.DROP:
            listener.ws.drop()
            return
        if delivery is Delivery.LATER:
            listener.held.append(text)
            asyncio.get_running_loop().call_later(HELD_S, _release, listener)
            return
        listener.ws.send(text)
        if delivery is Delivery.TWICE:
            listener.ws.send(text)
        _release(listener)


def _release(listener: Listener) -> None:
    held, listener.held = listener.held, []
    for text in held:
        listener.ws.send(text)
