"""The line to an exchange over real sockets: what is sent, what is trusted, what is kept."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from scripted_http import Answer, Seen, scripted

from exchanges.http_line import HttpLine, NoAnswer, NotSent
from exchanges.wire import HttpRequest

GET = HttpRequest(method="GET", target="/a%2Fb?x=1&y=%40", headers={"X-Key": "k"})
POST = HttpRequest(method="POST", target="/order?s=%2B", headers={}, body=b'{"q": "1"}')
DELETE = HttpRequest(method="DELETE", target="/order", headers={})


def test_a_request_leaves_as_it_was_signed() -> None:
    """Target, headers and body byte for byte; a length for every method that may have a body."""
    seen: list[Seen] = []

    def answer(request: Seen) -> Answer:
        seen.append(request)
        return Answer(text="é")

    with scripted(answer) as server:
        line = HttpLine(server.url, time.monotonic)
        for request in (GET, POST, DELETE):
            status, text, _ = line.exchange(request, 5.0)
            assert (status, text) == (200, "é")
        line.close()
    assert [one.method for one in seen] == ["GET", "POST", "DELETE"]
    assert [f"{one.path}?{one.query}".rstrip("?") for one in seen] == [
        GET.target,
        POST.target,
        DELETE.target,
    ]
    assert seen[0].headers["X-Key"] == "k"
    assert seen[1].body == '{"q": "1"}'
    assert [one.headers.get("Content-Length") for one in seen] == [None, "10", "0"]


@contextmanager
def tls_server(folder: Path) -> Iterator[tuple[int, list[int]]]:
    """A server with a certificate that nobody has signed; gives its port and the bytes it heard."""
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))
    heard: list[int] = []

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with plain:
                try:
                    with context.wrap_socket(plain, server_side=True) as secure:
                        while data := secure.recv(65536):
                            heard.append(len(data))
                            secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], heard
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_only_a_trusted_certificate_hears_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that nobody has signed hears nothing, at each attempt anew; a trusted one does."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    with tls_server(tmp_path) as (port, heard):
        line = HttpLine(f"https://localhost:{port}", time.monotonic)
        for _ in range(3):
            with pytest.raises((NotSent, NoAnswer)):
                line.exchange(GET, 5.0)
        line.close()
        assert heard == []
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "cert.pem"))
        line = HttpLine(f"https://localhost:{port}", time.monotonic)
        for _ in range(3):
            assert line.exchange(GET, 5.0)[:2] == (200, "ok")
        line.close()
        assert len(heard) == 3


def test_a_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given the whole address."""
    seen: list[Seen] = []

    def answer(request: Seen) -> Answer:
        seen.append(request)
        return Answer(text="through")

    with scripted(answer) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        line = HttpLine("http://exchange.invalid", time.monotonic)
        assert line.exchange(GET, 5.0)[1] == "through"
        assert line.exchange(DELETE, 5.0)[1] == "through"
        line.close()
    asked = [(one.headers["Host"], one.path, one.query) for one in seen]
    assert asked == [
        ("exchange.invalid", "/a%2Fb", "x=1&y=%40"),
        ("exchange.invalid", "/order", ""),
    ]
