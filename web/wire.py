"""HTTP on the wire: cheroot, made strict, bounded and able to carry a WebSocket.

What is added to cheroot, and why:

- Headers are read strictly: a token as name, no folding, no repeat of a header that decides
  something; Content-Length with Transfer-Encoding is 400, a chunked body 411. So no two readers of
  one request can disagree about it. Headers too large are 431, bodies 413, before the app.
- A connection costs a worker only once it has sent something, and there is a cap on open
  connections: sockets that say nothing starve neither the page nor the bot's descriptors.
- Answers of the server itself carry the security headers, are JSON, and name no version.
- `simple_websocket` wants the raw socket in the environ (under gunicorn's name): it gets a
  duplicate that reads without a time-out, writes whole and within one, and ends waking its reader.
- No systemd socket activation by inherited LISTEN_PID, and no twice-a-second wake-up.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import threading
import time
import traceback as traceback_module
from collections.abc import Callable
from typing import Any

from cheroot import connections, wsgi
from cheroot.server import HTTPConnection, HTTPRequest

from web.guard import SECURITY_HEADERS, WSGIApp
from web.settings import Log

WORKER_THREADS = 48
MAX_HEADER_BYTES = 32 * 1024
MAX_BODY_BYTES = 64 * 1024
MAX_CONNECTIONS = 512  # half of the usual limit of 1024 descriptors stays the bot's
READ_TIMEOUT_S = 5  # between two reads of one request; what is half-sent holds a worker so long
WRITE_TIMEOUT_S = 10
EXPIRY_CHECK_S = 5.0  # how often idle connections are looked at; cheroot's own 0.5 s is a poll
LINGER_BYTES = 1024 * 1024  # read and dropped after a refusal, so that the client sees the answer

_HEADER_NAME = re.compile(rb"[!#$%&'*+\-.^`|~0-9A-Za-z]+")  # RFC 9110 token, without the underscore
_HEADER_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_ONCE = frozenset(
    {
        b"Host",
        b"Origin",
        b"Content-Length",
        b"Content-Type",
        b"Transfer-Encoding",
        b"Sec-Fetch-Site",
        b"Authorization",
        b"Upgrade",
    }
)
_JOINED = frozenset({b"Accept", b"Accept-Encoding", b"Accept-Language", b"Connection", b"Via"})


class StrictHeaderReader:
    """Read the header block into a dict; a violation is a ValueError, which cheroot answers 400."""

    def __call__(self, rfile: Any, hdict: dict[bytes, bytes] | None = None) -> dict[bytes, bytes]:
        headers: dict[bytes, bytes] = {} if hdict is None else hdict
        while True:
            line = rfile.readline()
            if line == b"\r\n":
                break
            if not line.endswith(b"\r\n"):
                raise ValueError("a header line does not end with CRLF")
            name, colon, value = line[:-2].partition(b":")
            value = value.strip(b" \t")
            if b"_" in name and _HEADER_NAME.fullmatch(name.replace(b"_", b"-")):
                continue  # it would pass for the header with a dash: no client of ours sends one
            if not colon or not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
                raise ValueError("a header line is malformed")
            key = name.title()
            if key in headers:
                if key in _ONCE:
                    raise ValueError(f"{key.decode()} is given twice")
                separator = b"; " if key == b"Cookie" else b", "
                value = headers[key] + separator + value if key in _JOINED | {b"Cookie"} else value
            headers[key] = value
        if b"Content-Length" in headers:
            if b"Transfer-Encoding" in headers:
                raise ValueError("Content-Length and Transfer-Encoding exclude each other")
            if not re.fullmatch(rb"[0-9]{1,18}", headers[b"Content-Length"]):
                raise ValueError("Content-Length is not a number")
        return headers


class StrictRequest(HTTPRequest):
    """One request; see the module's rules."""

    header_reader = StrictHeaderReader()

    def read_request_headers(self) -> bool:
        if not super().read_request_headers():  # type: ignore[no-untyped-call]
            return False
        if b"Transfer-Encoding" in self.inheaders:
            self.simple_response("411 Length Required", "send the body with a Content-Length")
            return False
        return True

    def simple_response(self, status: str, msg: str = "") -> None:
        """Refuse a request by ourselves: JSON, the security headers, and the connection ends."""
        if status.startswith("413") and not self.ready and msg.startswith("The headers"):
            status = "431 Request Header Fields Too Large"
        body = json.dumps({"success": False, "message": msg or status[4:]}).encode() + b"\n"
        lines = [
            f"{self.server.protocol} {status}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in SECURITY_HEADERS),
        ]
        self.close_connection = True
        self.sent_headers = True
        with contextlib.suppress(OSError):
            self.conn.wfile.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
            if not status.startswith("408"):  # after a time-out there is nothing more to read
                self._linger()

    def _linger(self) -> None:
        # Closing with unread input would reset the connection and destroy the answer on its way.
        sock = self.conn.socket
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(1.0)
        deadline = time.monotonic() + 2.0
        left = LINGER_BYTES
        while left > 0 and time.monotonic() < deadline:
            chunk = sock.recv(65536)
            if not chunk:
                return
            left -= len(chunk)


class CountedConnection(HTTPConnection):
    """A connection that is counted while open and waits for its first byte without a worker."""

    RequestHandlerClass = StrictRequest
    waited = False

    def __init__(self, server: BotServer, sock: socket.socket, makefile: Any) -> None:
        super().__init__(server, sock, makefile)
        server.count_connection(1)
        self._counted = True

    def close(self) -> None:
        if self._counted:
            self._counted = False
            self.server.count_connection(-1)
        super().close()


class WebSocketChannel:
    """The socket as simple_websocket uses it: recv blocks, send is whole or the end, close wakes.

    A peer that stops reading must not hold a worker thread for ever: a write that makes no progress
    for WRITE_TIMEOUT_S ends the connection.
    """

    def __init__(self, sock: socket.socket, on_first_send: Callable[[], None]) -> None:
        self._sock = sock
        self._on_first_send = on_first_send
        self._send_lock = threading.Lock()
        sock.settimeout(None)
        timeout = struct.pack("ll", WRITE_TIMEOUT_S, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)

    def recv(self, size: int) -> bytes:
        return self._sock.recv(size)

    def send(self, data: bytes) -> int:
        view = memoryview(data)
        with self._send_lock:
            self._on_first_send()
            while view:
                try:
                    view = view[self._sock.send(view) :]
                except OSError:
                    self.shutdown()
                    raise
        return len(data)

    def shutdown(self) -> None:
        """End both directions, so that whoever waits in `recv` returns."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._sock.close()


class BotGateway(wsgi.Gateway_10):
    """WSGI, and the hand-over of the socket when the request is a WebSocket's."""

    def respond(self) -> None:
        if self.env.get("HTTP_UPGRADE", "").lower() != "websocket":
            super().respond()
            return
        # Compression on loopback costs CPU and a window per client, and opens decompression bombs.
        self.env.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
        channel = WebSocketChannel(self.req.conn.socket.dup(), self._leave_to_the_channel)
        self.env["gunicorn.socket"] = channel  # the name under which simple_websocket looks
        try:
            super().respond()
        except (StopIteration, ConnectionError):
            self._leave_to_the_channel()  # the normal end of a WebSocket
        finally:
            self.req.close_connection = True
            channel.shutdown()
            channel.close()

    def _leave_to_the_channel(self) -> None:
        # PEP 3333 has no word for "the app has written it all itself".
        self.req.sent_headers = True


class BotServer(wsgi.Server):
    """cheroot over a socket that is bound already; all its threads are daemon threads."""

    ConnectionClass = CountedConnection
    max_request_header_size = MAX_HEADER_BYTES
    max_request_body_size = MAX_BODY_BYTES
    expiration_interval = EXPIRY_CHECK_S
    keep_alive_conn_limit = MAX_CONNECTIONS
    version = "gridfleet"
    software = "gridfleet"

    def __init__(
        self, listener: socket.socket, app: WSGIApp, log: Log, threads: int = WORKER_THREADS
    ) -> None:
        address = listener.getsockname()[:2]
        super().__init__(
            address,
            app,
            numthreads=threads,
            max=threads,
            server_name="gridfleet",
            timeout=READ_TIMEOUT_S,
            shutdown_timeout=2,
            request_queue_size=128,
        )
        self.gateway = BotGateway
        self._listener = listener
        self._log = log
        self._count_lock = threading.Lock()
        self._open_connections = 0

    def prepare(self) -> None:
        """Get ready to serve; the socket is bound and listens, so nothing can be taken any more."""
        self._interrupt = None
        self.socket = self._listener
        self.socket.settimeout(1)
        self._connections = connections.ConnectionManager(self)
        self.requests.start()
        self.ready = True
        self._start_time = time.time()

    def process_conn(self, conn: CountedConnection) -> None:
        """Give a connection to a worker once it has something to say; refuse it above the cap."""
        if conn.waited:
            super().process_conn(conn)
            return
        conn.waited = True
        if self.open_connections > MAX_CONNECTIONS:
            conn.close()
        else:
            self._connections.put(conn)

    def count_connection(self, change: int) -> None:
        with self._count_lock:
            self._open_connections += change

    @property
    def open_connections(self) -> int:
        return self._open_connections

    def stop(self) -> None:
        """End: the selector is woken by a connection to ourselves, not waited for."""
        if self.ready:
            self._connections._stop_requested = True  # type: ignore[attr-defined]
            with contextlib.suppress(OSError):
                host, port = self._listener.getsockname()[:2]
                nearby = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
                socket.create_connection((nearby, port), timeout=1).close()
        super().stop()

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        """Tell the bot's log; what came from outside is escaped by ascii()."""
        text = ascii(msg)
        if traceback:
            self._log.error("web_error", message=text, traceback=traceback_module.format_exc())
        elif level >= 40:
            self._log.error("web_error", message=text)
