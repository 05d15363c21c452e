"""Socket.IO: what the page is told without asking, and how many pages may listen.

One thread sends. It sleeps on a condition until the engine says that there is something new *and*
somebody listens; then it sends what changed and rests for MIN_INTERVAL_S, so a fast market costs a
page four messages a second and no more. With no client connected nothing wakes up.

Rules: the engine is never blocked (`notify` sets a flag); clients only read (no event of theirs has
a handler); there are at most `socketio_clients` of them, more are refused before they cost a
thread.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from core.model import Snapshot
from web.documents import (
    Document,
    fill_document,
    grid_document,
    levels_documents,
    stats_document,
)
from web.guard import Environ, Refusal, StartResponse, WSGIApp, refuse
from web.instance import Instance
from web.lean import load_flask_socketio
from web.settings import Log

MIN_INTERVAL_S = 0.25
MAX_MESSAGE_BYTES = 64 * 1024
PING_INTERVAL_S = 20
PING_TIMEOUT_S = 10
MAX_PUSHED_FILLS = 50  # a page that missed more asks /api/fills, which has them all

Event = tuple[str, Document]
Emit = Callable[[str, Document, str | None], None]


def changes(previous: Snapshot, current: Snapshot, status: Callable[[], Document]) -> list[Event]:
    """Tell what a page that has seen `previous` must be told, in the order to tell it."""
    events: list[Event] = []
    known = {fill.trade_id for fill in previous.recent_fills}
    new = [fill for fill in current.recent_fills if fill.trade_id not in known]
    for fill in sorted(new, key=lambda fill: fill.time)[-MAX_PUSHED_FILLS:]:
        events.append(("fill", fill_document(fill)))
    if current.grid is not None and previous.grid != current.grid:
        events.append(
            (
                "grid_adjusted",
                {
                    "seq": current.seq,
                    "grid": grid_document(current.grid),
                    "levels": levels_documents(current),
                },
            )
        )
    if _standing(previous) != _standing(current) or previous.levels != current.levels:
        document = status()
        if previous.levels != current.levels:
            document["levels"] = levels_documents(current)
        events.append(("status_update", document))
    stats = stats_document(current)
    unmoved = {"time": None, "seq": None}
    if {**stats_document(previous), **unmoved} != {**stats, **unmoved}:
        events.append(("stats_update", stats))
    return events


def _standing(snapshot: Snapshot) -> tuple[object, ...]:
    return (
        snapshot.state,
        snapshot.grid,
        snapshot.entries_frozen,
        snapshot.alerts,
        tuple((check.name, check.ok, check.detail) for check in snapshot.checks),
        len(snapshot.open_orders),
    )


class Publisher:
    """Push changes to the listening pages; the engine calls `notify` after each snapshot."""

    def __init__(self, instance: Instance, min_interval_s: float = MIN_INTERVAL_S) -> None:
        self._instance = instance
        self._min_interval_s = min_interval_s
        self._emit: Emit = _emit_nothing
        self._condition = threading.Condition()
        self._listeners: set[str] = set()
        self._is_dirty = False
        self._is_stopping = False
        self._wakeups = 0
        self._thread: threading.Thread | None = None
        self._seen = instance.snapshot()

    def start(self, emit: Emit) -> None:
        """Begin to push through `emit(event, document, listener or None for all)`."""
        self._emit = emit
        self._thread = threading.Thread(target=self._run, name="web-push", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        with self._condition:
            self._is_stopping = True
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=2)

    def notify(self) -> None:
        """Say that there is a new snapshot. Never blocks, costs nothing when nobody listens."""
        self._is_dirty = True
        if self._listeners:
            with self._condition:
                self._condition.notify()

    def add(self, listener: str) -> None:
        """Take a new listener and tell it everything once."""
        snapshot = self._instance.snapshot()
        with self._condition:
            if not self._listeners:
                self._seen = snapshot  # what happened while nobody listened is in the status
            self._listeners.add(listener)
        while True:
            self._emit("status_update", self._instance.status(snapshot, levels=True), listener)
            latest = self._instance.snapshot()
            if latest.seq == snapshot.seq:
                break
            snapshot = latest  # the thread may have told it already: ours must not be the last word
        self.notify()

    def remove(self, listener: str) -> None:
        with self._condition:
            self._listeners.discard(listener)

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    @property
    def wakeups(self) -> int:
        """How often the thread had work; stands still while nobody listens."""
        return self._wakeups

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._is_stopping and not (self._is_dirty and self._listeners):
                    self._condition.wait()
                if self._is_stopping:
                    return
                self._is_dirty = False
                self._wakeups += 1
                seen = self._seen
                current = self._seen = self._instance.snapshot()
            if current.seq != seen.seq:
                for event, document in self._changes(seen, current):
                    self._emit(event, document, None)
            with self._condition:
                self._condition.wait_for(lambda: self._is_stopping, timeout=self._min_interval_s)

    def _changes(self, seen: Snapshot, current: Snapshot) -> list[Event]:
        return changes(seen, current, lambda: self._instance.status(current))


def _emit_nothing(_event: str, _document: Document, _listener: str | None) -> None:
    return None


class SocketGate:
    """Stand before the Socket.IO stack: the cap on clients, and no JSONP."""

    def __init__(self, app: WSGIApp, clients: Callable[[], int], most: int) -> None:
        self._app = app
        self._clients = clients
        self._most = most

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", ""))
        if path.startswith("/socket.io"):
            names = {part.partition("=")[0] for part in environ.get("QUERY_STRING", "").split("&")}
            if "j" in names:
                return refuse(
                    start_response, Refusal(400, "JSONP is not served: it would let any site read")
                )
            if "sid" not in names and self._clients() >= self._most:
                return refuse(
                    start_response,
                    Refusal(
                        503,
                        f"{self._most} pages listen already: close one, or read /api/status",
                        (("Retry-After", "10"),),
                    ),
                )
        return self._app(environ, start_response)


class _EscapingHandler(logging.Handler):
    """Hand what the Socket.IO libraries log to the bot's log, escaped: it quotes the clients."""

    def __init__(self, log: Log) -> None:
        super().__init__(level=logging.ERROR)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.warning("socketio_error", message=ascii(self.format(record)))


def _library_logger(name: str, log: Log) -> logging.Logger:
    logger = logging.Logger(f"web.{name}", level=logging.ERROR)  # outside the tree, so not repeated
    logger.addHandler(_EscapingHandler(log))
    return logger


def attach_socketio(flask_app: Any, publisher: Publisher, instance: Instance) -> Any:
    """Put Flask-SocketIO onto a Flask app and join it with the publisher; returns the SocketIO.

    `async_mode` is named: left to itself the library takes whatever happens to be installed.
    """
    settings = instance.settings
    socketio = load_flask_socketio().SocketIO(
        flask_app,
        async_mode="threading",
        always_connect=True,  # the answer to CONNECT goes before the first event
        async_handlers=False,  # no thread for an event that nobody handles
        manage_session=False,
        cors_allowed_origins=[],  # the guard has judged; [] means no CORS header, not "all"
        http_compression=False,
        max_http_buffer_size=MAX_MESSAGE_BYTES,
        ping_interval=PING_INTERVAL_S,
        ping_timeout=PING_TIMEOUT_S,
        logger=_library_logger("socketio", settings.log),
        engineio_logger=_library_logger("engineio", settings.log),
    )
    engine = socketio.server.eio
    engine._async = {**engine._async, "websocket": _open_websocket}
    _cap_clients(engine, settings.socketio_clients)

    from flask import request

    def on_connect(_auth: object = None) -> None:
        publisher.add(request.sid)  # type: ignore[attr-defined]  # set by Flask-SocketIO

    def on_disconnect(_reason: object = None) -> None:
        publisher.remove(request.sid)  # type: ignore[attr-defined]  # set by Flask-SocketIO

    socketio.on_event("connect", on_connect)
    socketio.on_event("disconnect", on_disconnect)
    return socketio


def emitter(socketio: Any) -> Emit:
    """Make the publisher's `emit` from a SocketIO."""

    def emit(event: str, document: Document, listener: str | None) -> None:
        socketio.server.emit(event, document, to=listener)

    return emit


def client_count(socketio: Any) -> int:
    """How many transports are open."""
    return len(socketio.server.eio.sockets)


def disconnect_all(socketio: Any) -> None:
    """Say goodbye to every client, so that no worker waits for one. Waits for none itself."""
    engine = socketio.server.eio
    for transport in list(engine.sockets.values()):
        # engineio's own `disconnect` waits until the client has fetched what was queued for it,
        # which a polling client that went away never does.
        transport.close(wait=False, reason=engine.reason.SERVER_DISCONNECT)
    if engine.service_task_event is not None:
        engine.service_task_event.set()


def _cap_clients(engine: Any, most: int) -> None:
    accept = engine.handlers["connect"]

    def accept_up_to_the_cap(sid: str, environ: Environ) -> Any:
        # The new one is in the table already. Two at once may both be refused: the safe side.
        if len(engine.sockets) > most:
            return "too many pages listen already"
        return accept(sid, environ)

    engine.handlers["connect"] = accept_up_to_the_cap


def _open_websocket(handler: Any, server: Any) -> Any:
    """Make the WebSocket of one client, as engineio asks for it."""
    return _websocket_class()(handler, server)


@functools.cache
def _websocket_class() -> Callable[[Any, Any], Any]:
    import simple_websocket
    from engineio.async_drivers._websocket_wsgi import SimpleWebSocketWSGI
    from wsproto.utilities import ProtocolError

    class Reader(threading.Thread):
        """The thread that reads a WebSocket: it keeps no process alive, and nobody waiting.

        simple_websocket wakes its waiter *before* it says that the connection is over when a
        message is too large, and not at all after an error it did not foresee; the waiter would
        hold a worker of the server for ever. So the end of this thread says it again.
        """

        def __init__(self, *, target: Callable[[], None]) -> None:
            super().__init__(target=target, daemon=True)
            self._websocket: Any = target.__self__  # type: ignore[attr-defined]  # a bound method

        def run(self) -> None:
            try:
                super().run()
            finally:
                self._websocket.connected = False
                self._websocket.event.set()

    class BoundedWebSocket(SimpleWebSocketWSGI):  # type: ignore[misc]  # engineio has no types
        """engineio's WebSocket with a limit on messages and an end that reaches every waiter."""

        limits: ClassVar[dict[str, Any]] = {
            "max_message_size": MAX_MESSAGE_BYTES,
            "thread_class": Reader,
        }

        def __init__(self, handler: Any, server: Any, **kwargs: Any) -> None:
            super().__init__(handler, server, **{**self.limits, **kwargs})

        def __call__(self, environ: Environ, start_response: StartResponse) -> Any:
            # The library's own version ends by raising StopIteration, which skips engineio's
            # tidying: the client would stay in its table until the next sweep.
            try:
                self.ws = simple_websocket.Server(environ, **self.server_args)
            except (ProtocolError, simple_websocket.ConnectionError):
                transport = self.app.__self__  # the handler is a method of engineio's socket
                transport.close(wait=False, abort=True)
                return tuple(refuse(start_response, Refusal(400, "no WebSocket handshake")))
            self.app(self)
            return ()  # not a list: engineio would take that for packets to answer with

        def close(self) -> None:
            try:
                super().close()
            except OSError:
                pass  # the peer has gone already; what matters is that our reader wakes
            finally:
                self.ws.sock.shutdown()

    return BoundedWebSocket
