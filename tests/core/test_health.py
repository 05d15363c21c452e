"""The probe and the beat: whose answer it is, whether it is whole, how old it is."""

from __future__ import annotations

import json
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.health import Probe, Verdict, judge_answer, probe_address, read_beat

BODY = {"status": "ok", "live": True, "ready": True, "instance_id": "toy", "pid": 7}


def answer(status: int, body: object, extra: str = "") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} x\r\nContent-Length: {len(data)}\r\n{extra}\r\n"
    return head.encode() + data


@pytest.mark.parametrize(
    ("reply", "pid", "verdict"),
    [
        (answer(200, BODY), 7, Verdict.READY),
        (answer(200, {**BODY, "pid": 8}), 7, Verdict.STRANGER),
        (answer(200, {**BODY, "instance_id": "other"}), 7, Verdict.STRANGER),
        (answer(200, {**BODY, "instance_id": "other"}), None, Verdict.STRANGER),
        (answer(503, BODY), 7, Verdict.DEGRADED),
        (answer(503, {**BODY, "live": False}), 7, Verdict.DEAD_LOOP),
        (answer(503, {**BODY, "live": False, "pid": 8}), 7, Verdict.STRANGER),
        (answer(200, b"fine"), None, Verdict.READY),
        (answer(200, b"fine"), 7, Verdict.STRANGER),
        (answer(404, b"{}"), None, Verdict.DEGRADED),
        (answer(200, b"[1]"), None, Verdict.READY),
        (b"SSH-2.0-OpenSSH\r\n", None, Verdict.STRANGER),
        (b"", 7, Verdict.NO_ANSWER),
        (
            b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            None,
            Verdict.READY,
        ),
        (b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", None, Verdict.READY),
    ],
)
def test_an_answer_is_judged_by_whose_it_is_and_what_it_says(
    reply: bytes, pid: int | None, verdict: Verdict
) -> None:
    """Ready is 200 from our own process; only `live: false` says that a restart helps."""
    assert judge_answer(reply, "toy", pid).verdict is verdict


@pytest.mark.parametrize(
    ("host", "address", "header"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1:5001"),
        ("0.0.0.0", "127.0.0.1", "127.0.0.1:5001"),
        ("localhost", "127.0.0.1", "127.0.0.1:5001"),
        ("192.168.7.7", "192.168.7.7", "127.0.0.1:5001"),
        ("::", "::1", "[::1]:5001"),
        ("::1", "::1", "[::1]:5001"),
        ("some.host", "127.0.0.1", "127.0.0.1:5001"),
    ],
)
def test_a_probe_asks_this_machine_with_a_host_that_the_guard_accepts(
    host: str, address: str, header: str
) -> None:
    """A wildcard bind is asked over loopback, and no name is ever resolved."""
    _, (target, port), sent = probe_address(host, 5001)
    assert (target, port, sent) == (address, 5001, header)


Serve = Callable[[Callable[[socket.socket], None]], int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A server whose every connection is handled by the given function."""
    listeners, threads = [], []

    def start(handle: Callable[[socket.socket], None]) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def loop() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    handle(connection)

        thread = threading.Thread(target=loop)
        thread.start()
        threads.append(thread)
        return int(listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join()


def run_probe(port: int, timeout_s: float = 5.0) -> Verdict:
    """Drive a probe as the supervisor's selector does."""
    probe = Probe("127.0.0.1", port, "toy", 7)
    try:
        with selectors.DefaultSelector() as selector:
            while probe.result is None:
                key = selector.register(probe.sock, probe.events)
                ready = selector.select(timeout_s)
                selector.unregister(key.fileobj)
                if not ready:
                    probe.time_out(timeout_s)
                probe.advance()
        assert probe.result is not None
        return probe.result.verdict
    finally:
        probe.close()


def test_a_probe_reads_an_answer_that_comes_in_pieces(serve: Serve) -> None:
    """Head and body may arrive byte by byte, and keep-alive is not waited for."""
    seen: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        seen.append(connection.recv(4096))
        for byte in answer(200, BODY, "Connection: keep-alive\r\n"):
            connection.sendall(bytes([byte]))
        connection.recv(1)  # until the probe hangs up

    assert run_probe(serve(handle)) is Verdict.READY
    assert seen[0].startswith(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1:")


def test_silence_a_hangup_and_a_flood_end_a_probe(serve: Serve) -> None:
    """None of them holds the supervisor or fills its memory."""

    def flood(connection: socket.socket) -> None:
        connection.recv(4096)
        try:
            while True:
                connection.sendall(b"x" * 65536)
        except OSError:
            return

    def silent(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.recv(1)

    assert run_probe(serve(silent), timeout_s=0.2) is Verdict.NO_ANSWER
    assert run_probe(serve(lambda _: None)) is Verdict.NO_ANSWER
    assert run_probe(serve(flood)) is Verdict.STRANGER


def test_a_refused_connection_is_no_answer() -> None:
    """Nobody listens: known at once."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert run_probe(taken.getsockname()[1]) is Verdict.NO_ANSWER


def test_a_beat_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    """Space-padded JSON of fixed size; anything else, a link too, is no beat."""
    path = tmp_path / "heartbeat"
    assert read_beat(path) is None
    record = {"v": 1, "pid": 7, "start": 9, "mono": 12.5, "loops": 3, "ready": True}
    path.write_text(json.dumps(record).ljust(127) + "\n")
    beat = read_beat(path)
    assert beat is not None
    assert (beat.pid, beat.start, beat.mono, beat.loops, beat.ready) == (7, 9, 12.5, 3, True)
    assert beat.until == beat.mono, "no wait is announced"
    path.write_text(json.dumps(record | {"until": 60.5}).ljust(127) + "\n")
    beat = read_beat(path)
    assert beat is not None
    assert (beat.mono, beat.until) == (12.5, 60.5)
    for text in ("", "{", "[]", '{"pid": "x"}', '{"pid": 1, "start": 2, "mono": "z"}'):
        path.write_text(text)
        assert read_beat(path) is None, text
    link = tmp_path / "link"
    link.symlink_to(path)
    assert read_beat(link) is None
