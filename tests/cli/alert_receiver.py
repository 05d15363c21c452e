"""A receiver for apprise's json:// on loopback, which can be silent, refuse, or be away."""

from __future__ import annotations

import http.server
import json
import threading
from typing import Any


class Receiver:
    """`titles` and `bodies` of what came. `answer` is (status, body); None: never answers."""

    def __init__(self, port: int = 0) -> None:
        receiver = self
        self.got: list[dict[str, Any]] = []
        self.tries = 0
        self.answer: tuple[int, bytes] | None = (200, b"{}")
        self.free = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.tries += 1
                if receiver.answer is None:
                    receiver.free.wait(120)
                    return
                status, data = receiver.answer
                if status == 200:
                    receiver.got.append(body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.port}/a-secret-token"

    @property
    def bodies(self) -> str:
        return "\n".join(f"{message['title']}\n{message['message']}" for message in self.got)

    def close(self) -> None:
        self.free.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
