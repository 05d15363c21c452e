"""A small loopback WebSocket server: accepts, keeps what it is sent, says what a test tells it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import simple_websocket


class ScriptedSocket:
    """`connections` are those that stand; `paths` and `heard` are all there ever was."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.heard: list[str] = []
        self.connections: list[simple_websocket.Server] = []
        self.refuses = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept)
        self._workers: list[threading.Thread] = []
        self._thread.start()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._listener.getsockname()[1]}"

    def say(self, text: str) -> None:
        for connection in list(self.connections):
            connection.send(text)

    def drop(self) -> None:
        """Break every connection without a word."""
        for connection in list(self.connections):
            with contextlib.suppress(OSError):  # it went by itself
                connection.sock.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        self.drop()
        for worker in self._workers:
            worker.join()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            worker = threading.Thread(target=self._serve, args=(sock,))
            self._workers.append(worker)
            worker.start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            data = b""
            while b"\r\n\r\n" not in data:
                chunk = sock.recv(4096)
                if not chunk:
                    return
                data += chunk
            first, *lines = data.decode().split("\r\n")
            self.paths.append(first.split()[1])
            if self.refuses:
                sock.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
                return
            environ = {"werkzeug.socket": sock}
            for line in lines:
                name, _, value = line.partition(":")
                if name:
                    environ["HTTP_" + name.strip().upper().replace("-", "_")] = value.strip()
            try:
                connection = simple_websocket.Server(environ)
            except OSError:
                return
            self.connections.append(connection)
            try:
                while True:
                    self.heard.append(connection.receive())
            except (simple_websocket.ConnectionClosed, OSError):
                pass
            finally:
                self.connections.remove(connection)


@contextmanager
def scripted_socket() -> Iterator[ScriptedSocket]:
    server = ScriptedSocket()
    try:
        yield server
    finally:
        server.stop()
