"""SECURITY.md's checklist for Socket.IO: who may listen, that nobody may speak, and that no
descriptor is lost over it. By websocket-client and by raw polling, against the real server.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import websocket
from fakes_web import Answer, Served, make_fill, secret, serving, wait_until

pytestmark = pytest.mark.slow  # hundreds of real connections

HANDSHAKE = "/socket.io/?EIO=4&transport=polling"
UPGRADE_HEADERS = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


class Listener:
    """A Socket.IO client over a bare WebSocket: connects, answers pings, collects events."""

    def __init__(self, served: Served, **options: Any) -> None:
        url = f"ws://127.0.0.1:{served.port}/socket.io/?EIO=4&transport=websocket"
        options.setdefault("suppress_origin", True)
        self.socket = websocket.create_connection(url, timeout=10, **options)
        self._sock = self.socket.sock
        assert self.socket.recv().startswith("0{")
        self.socket.send("40")
        self.events: list[tuple[str, Any]] = []
        while not self.socket.recv().startswith("40"):
            pass

    def read(self, event: str) -> Any:
        """Read until this event arrives; returns its document."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            text = self.socket.recv()
            if text == "2":
                self.socket.send("3")
            if text.startswith("42"):
                name, document = json.loads(text[2:])
                self.events.append((name, document))
                if name == event:
                    return document
        raise AssertionError(f"no {event} within 10 s; there were {self.events}")

    def is_ended(self) -> bool:
        """Read what is left until the server's end of it."""
        try:
            while self.socket.recv():
                pass
        except (websocket.WebSocketConnectionClosedException, ConnectionError):
            return True
        return not self.socket.connected

    def close(self) -> None:
        try:
            self.socket.close()
        finally:
            self._sock.close()  # websocket-client forgets it when the server ends first

    def reset(self) -> None:
        """Break the connection off with a RST, as a crash of the client's machine does."""
        sock = self.socket.sock
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()


@contextmanager
def listening(served: Served, **options: Any) -> Iterator[Listener]:
    listener = Listener(served, **options)
    try:
        yield listener
    finally:
        with contextlib.suppress(OSError, websocket.WebSocketException):
            listener.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a count, no paths


def clients(served: Served) -> int:
    return len(served.app.socketio.server.eio.sockets)


@pytest.mark.parametrize(
    ("name", "headers", "status"),
    [
        ("foreign origin", {"Origin": "http://evil.example"}, 403),
        ("null origin", {"Origin": "null"}, 403),
        ("another local port", {"Origin": "http://127.0.0.1:1"}, 403),
        ("rebound host", {"Host": "evil.example:{port}"}, 421),
        (
            "rebound host with its own origin",
            {"Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"},
            421,
        ),
        ("cross-site script", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("same-site page", {"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_22_a_foreign_page_is_refused(
    shared: Served, name: str, headers: dict[str, str], status: int, transport: str
) -> None:
    """The same rules as for the routes stand before Socket.IO, for both transports."""
    sent = {key: value.replace("{port}", str(shared.port)) for key, value in headers.items()}
    if transport == "websocket":
        sent.update(UPGRADE_HEADERS)
    answer = shared.request("GET", f"/socket.io/?EIO=4&transport={transport}", headers=sent)
    assert answer.status == status, answer.body
    assert answer.json["success"] is False
    wait_until(lambda: clients(shared) == 0, "nobody listens")


def test_22_our_own_page_is_let_in(shared: Served) -> None:
    """The page's own Origin, as a browser sends it, connects and is told everything at once."""
    with listening(shared, suppress_origin=False, origin=shared.url) as listener:
        status = listener.read("status_update")
        assert status["instance_id"] == "bp_sol_01"
        assert status["pnl"]["total"] == "126.0361273165"
        assert len(status["levels"]) == 21


def test_23_without_an_origin_a_client_may_read(served: Served) -> None:
    """A program of the user's own (no Origin) reads the events."""
    with listening(served) as listener:
        assert listener.read("status_update")["state"] == "running"
        served.bot.publish(fill_count=201, recent_fills=(make_fill(200),))
        assert listener.read("fill")["trade_id"] == "t200"


def test_24_what_a_client_sends_is_ignored(served: Served) -> None:
    """Events and acknowledgements that look like commands reach no command and end nothing."""
    before = served.bot()
    with listening(served) as listener:
        for event in ("adjust", "stop", "grid_adjusted", "pause", "command", "connect", "fill"):
            listener.socket.send("42" + json.dumps([event, {"grid_lower_price": 1}]))
            listener.socket.send("421" + json.dumps([event, {}]))
        listener.socket.send('451-["stop",{"_placeholder":true,"num":0}]')
        listener.socket.send_binary(b"\x00\x01")
        served.bot.publish(closed_cells=97)
        assert listener.read("stats_update")["closed_cells"] == 97
    assert served.bot.commands == []
    assert served.bot().grid == before.grid


def test_24_no_jsonp(shared: Served) -> None:
    """JSONP would let any site read through a script tag of a browser without Sec-Fetch-Site."""
    assert shared.get(f"{HANDSHAKE}&j=0").status == 400


def test_25_above_the_cap_a_client_is_refused_and_health_stays_quick(served: Served) -> None:
    """24 listen; the 25th is refused by both transports; /health answers beside them."""
    with contextlib.ExitStack() as stack:
        for _ in range(24):
            stack.enter_context(listening(served))
        refused = served.get(HANDSHAKE)
        assert refused.status == 503
        assert "24 pages listen already" in refused.json["message"]
        upgrade = served.request(
            "GET", "/socket.io/?EIO=4&transport=websocket", headers=UPGRADE_HEADERS
        )
        assert upgrade.status == 503
        for _ in range(20):  # each has a time limit; those that listen would hold a worker longer
            assert served.get("/health").status == 200
    wait_until(lambda: clients(served) == 0, "the closed ones are forgotten")
    with listening(served) as listener:
        assert listener.read("status_update")["state"] == "running"


def test_25_the_cap_holds_when_many_come_at_once(served: Served) -> None:
    """40 handshakes in parallel never leave more than 24 open."""
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda: answers.append(served.get(HANDSHAKE))) for _ in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(answers) == 40
    assert clients(served) <= 24
    assert sum(answer.status == 200 for answer in answers) == clients(served)
    assert {answer.status for answer in answers} <= {200, 401, 503}


def test_26_no_descriptor_and_no_thread_is_lost(served: Served) -> None:
    """60 connects and 30 resets later there are as many descriptors and threads as before."""
    with listening(served) as first:
        first.read("status_update")
    wait_until(lambda: clients(served) == 0, "the first has left")
    wait_until(lambda: served.server.open_connections == 0, "no connection is open")
    files, threads = descriptors(), threading.active_count()
    for index in range(60):
        listener = Listener(served)
        if index % 2:
            listener.reset()
        else:
            listener.close()
        wait_until(lambda: clients(served) == 0, "it has left")
    wait_until(lambda: descriptors() <= files, f"descriptors back to {files}")
    # engineio's ping timers sleep one interval each; they are daemons and end by themselves.
    alive = [t for t in threading.enumerate() if "_send_ping" not in t.name]
    assert len(alive) <= threads, [t.name for t in alive]
    assert [line for line in served.log.lines if line[0] == "error"] == []


def test_a_broken_handshake_is_a_400_and_not_a_fault(served: Served) -> None:
    """An Upgrade without a key is answered, and nothing of it stays."""
    headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
    answer = served.request("GET", "/socket.io/?EIO=4&transport=websocket", headers=headers)
    assert answer.status == 400
    wait_until(lambda: clients(served) == 0, "no client is left over")
    wait_until(lambda: served.server.open_connections == 0, "no connection is open")
    assert [line for line in served.log.lines if line[0] == "error"] == []


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("garbage", random.Random(7).randbytes(64)),
        ("unmasked text", b"\x81\x02hi"),
        ("reserved bits", b"\xf1\x80\x00\x00\x00\x00"),
        ("a message above the limit", b"\x81\xff" + struct.pack(">Q", 80_000) + b"\0" * 80_004),
    ],
)
def test_garbage_on_a_websocket_ends_that_connection_alone(
    served: Served, name: str, frame: bytes
) -> None:
    """What breaks the protocol is cut off; the next client finds all as it should be."""
    listener = Listener(served)
    with contextlib.suppress(OSError):
        listener.socket.sock.sendall(frame)
        listener.socket.sock.shutdown(socket.SHUT_WR)
    wait_until(lambda: clients(served) == 0, "it was cut off")
    listener.reset()
    wait_until(lambda: served.server.open_connections == 0, "no connection is open")
    with listening(served) as next_one:
        assert next_one.read("status_update")["state"] == "running"


def test_with_a_token_socketio_wants_it_too() -> None:
    """Bearer or the page's cookie opens Socket.IO; without either it is 401."""
    with serving(token=secret("right-token")) as served:
        assert served.get(HANDSHAKE).status == 401
        assert served.get(HANDSHAKE + "&token=right-token").status == 401
        with listening(served, header=["Authorization: Bearer right-token"]) as listener:
            assert listener.read("status_update")["state"] == "running"
        login = served.post("/login", {"token": "right-token"})
        cookie = login.headers["set-cookie"].partition(";")[0]
        with listening(served, cookie=cookie) as listener:
            assert listener.read("status_update")["state"] == "running"


def test_polling_works_for_programs_without_websockets(served: Served) -> None:
    """The other transport of the protocol: handshake, connect by POST, events by GET."""
    opened = served.get(HANDSHAKE)
    sid = json.loads(opened.body[1:])["sid"]
    session = f"{HANDSHAKE}&sid={sid}"
    headers = {"Content-Type": "text/plain;charset=UTF-8"}
    assert served.request("POST", session, b"40", headers).status == 200
    received = b""
    while b"status_update" not in received:
        answer = served.get(session)
        assert answer.status == 200
        received += answer.body
    foreign = {**headers, "Origin": "http://evil.example"}
    assert served.request("POST", session, b"41", foreign).status == 403
    assert served.request("POST", session, b"41", headers).status == 200


def test_stop_says_goodbye_and_returns_soon() -> None:
    """With pages listening the server still stops quickly, and they are told."""
    with serving() as served, listening(served) as listener:
        listener.read("status_update")
        began = time.monotonic()
        served.server.stop(timeout_s=60)
        assert time.monotonic() - began < 30, "not as long as it might have waited"
        assert listener.is_ended()
