"""Build the web room and serve it: `create_app`, `WebServer`, `run_server`.

    server = WebServer(host, port)
    port = server.bind()         # before trading starts; a taken port ends the bot with 6
    app = create_app(view, commands, history, WebSettings(host=host, port=port, ...))
    server.start(app)            # returns at once; the engine calls app.publisher.notify()
    ...
    server.stop()

Rules: served by cheroot in threads of its own, over the guard of `web/guard.py`; Flask's and
Werkzeug's servers and their debug mode are never started. All threads are daemons: a stuck client
cannot keep the bot from ending.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Iterable

from flask import Flask

from core.errors import ExitCode, GridfleetError, UsageError
from core.ports import Commands, History, View
from core.spec import BROWSER_BLOCKED_PORTS
from web.guard import Environ, Guard, StartResponse
from web.instance import Instance
from web.metrics import Metrics
from web.push import (
    Publisher,
    SocketGate,
    attach_socketio,
    client_count,
    disconnect_all,
    emitter,
)
from web.routes import add_routes, read_template
from web.settings import Log, NullLog, WebSettings, refuse_unsafe
from web.wire import WORKER_THREADS, BotServer

FIRST_PORT = 5001
BACKLOG = 128


class PortTaken(GridfleetError):
    """The port is another program's; the supervisor tries again."""

    exit_code = ExitCode.PORT_TAKEN


class WebApp:
    """The whole WSGI stack of one instance: guard, Socket.IO gate, Flask-SocketIO, routes."""

    def __init__(
        self, view: View, commands: Commands, history: History, settings: WebSettings
    ) -> None:
        self.settings = settings
        self.instance = Instance(view, settings)
        self.publisher = Publisher(self.instance)
        self.flask = Flask("web", static_folder=None, template_folder=None)
        self.flask.url_map.merge_slashes = False  # a path is itself or nothing: no redirect
        self.socketio = attach_socketio(self.flask, self.publisher, self.instance)
        gate = SocketGate(
            self.flask.wsgi_app, lambda: client_count(self.socketio), settings.socketio_clients
        )
        self.guard = Guard(gate, settings, read_template("login.html"))
        metrics = Metrics(
            self.instance, lambda: self.guard.answers, lambda: client_count(self.socketio)
        )
        add_routes(self.flask, self.instance, commands, history, metrics)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return self.guard(environ, start_response)

    def start(self) -> None:
        self.publisher.start(emitter(self.socketio))

    def close(self) -> None:
        """Say goodbye to the pages and end the pushing thread."""
        self.publisher.stop()
        disconnect_all(self.socketio)


def create_app(
    view: View,
    commands: Commands,
    history: History,
    settings: WebSettings,
    *,
    debug: bool = False,
) -> WebApp:
    """Build the app. Errors: UsageError for debug mode, or a wide bind without a token."""
    refuse_unsafe(settings.host, settings.token, debug)
    return WebApp(view, commands, history, settings)


class WebServer:
    """A port, taken early, and the threads that serve an app on it."""

    def __init__(
        self, host: str, port: int, log: Log | None = None, threads: int = WORKER_THREADS
    ) -> None:
        self._host = host
        self._port = port
        self._log: Log = NullLog() if log is None else log
        self._threads = threads
        self._listener: socket.socket | None = None
        self._server: BotServer | None = None
        self._thread: threading.Thread | None = None
        self._app: WebApp | None = None

    @property
    def port(self) -> int:
        """The port that is held; the real one after `bind` when 0 was asked for."""
        return self._port

    @property
    def open_connections(self) -> int:
        return 0 if self._server is None else self._server.open_connections

    def bind(self) -> int:
        """Take the port. Errors: PortTaken (exit 6), UsageError for an address that is not ours."""
        self._listener = _listen(self._host, self._port)
        self._port = int(self._listener.getsockname()[1])
        return self._port

    def start(self, app: WebApp) -> None:
        """Serve in the background. Errors: PortTaken, UsageError as `bind`."""
        if self._listener is None:
            self.bind()
        assert self._listener is not None
        if app.settings.port != self._port:
            raise ValueError(f"the app answers for port {app.settings.port}, not {self._port}")
        self._app = app
        self._server = BotServer(self._listener, app, self._log, self._threads)
        app.start()
        is_ready = threading.Event()
        self._thread = threading.Thread(
            target=self._serve, args=(is_ready,), name="web-server", daemon=True
        )
        self._thread.start()
        is_ready.wait()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Stop serving; may be called twice. Returns within the time-out whatever clients do."""
        if self._app is not None:
            self._app.close()
            self._app = None
        if self._server is not None:
            # cheroot's own stop waits for its workers without a limit; ours has one.
            closer = threading.Thread(target=self._server.stop, name="web-stop", daemon=True)
            closer.start()
            closer.join(timeout_s)
            self._server = None
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.close()
            self._listener = None

    def _serve(self, is_ready: threading.Event) -> None:
        # Started from this daemon thread, the workers are daemons too.
        server = self._server
        assert server is not None
        try:
            server.prepare()
        finally:
            is_ready.set()
        server.serve()


def run_server(
    app: WebApp, host: str = "127.0.0.1", port: int = FIRST_PORT, debug: bool = False
) -> WebServer:
    """Bind and serve an app in the background. Errors: PortTaken; UsageError, also for `debug`."""
    refuse_unsafe(host, app.settings.token, debug)
    server = WebServer(host, port, app.settings.log)
    server.bind()
    server.start(app)
    return server


def is_port_available(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether a server could listen there now."""
    try:
        _listen(host, port).close()
    except GridfleetError:
        return False
    return True


def find_available_port(
    start_port: int = FIRST_PORT, host: str = "127.0.0.1", *, taken: Iterable[int] = ()
) -> int:
    """Find the first port from `start_port` that is free and not in `taken`. Errors: PortTaken."""
    held = BROWSER_BLOCKED_PORTS.union(taken)
    for port in range(start_port, 65536):
        if port not in held and is_port_available(port, host):
            return port
    raise PortTaken(f"web_port: no port from {start_port} to 65535 is free on {host}")


def _listen(host: str, port: int) -> socket.socket:
    bare = host.strip("[]")
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # A port in TIME_WAIT after our own restart is free; one where somebody listens is not.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((bare, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"web_port: {port} on {host} is taken by another program: end it, or set "
                "another daemon_config.web_port"
            ) from None
        raise UsageError(
            f"web_host, web_port: cannot listen on {host}:{port}: {error.strerror or error}"
        ) from None
    except OverflowError:
        listener.close()
        raise UsageError(f"web_port: was {port}, expected 1 to 65535") from None
    return listener
