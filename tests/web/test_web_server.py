"""The port, the threads and the weight of the web room."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fakes_web import FakeBot, FakeHistory, Served, secret, serving, wait_until
from free_ports import free_port

from core.errors import ExitCode, UsageError
from web.guard import allowed_origins
from web.server import (
    PortTaken,
    WebServer,
    create_app,
    find_available_port,
    is_port_available,
    run_server,
)
from web.settings import WebSettings, is_loopback

ROOT = Path(__file__).resolve().parents[2]


def test_a_port_is_available_until_somebody_listens() -> None:
    """The guide's two helpers see what a server would meet."""
    server = WebServer("127.0.0.1", free_port())
    port = server.bind()
    try:
        assert not is_port_available(port)
        assert find_available_port(port) > port
        with pytest.raises(PortTaken) as caught:
            WebServer("127.0.0.1", port).bind()
        assert caught.value.exit_code == ExitCode.PORT_TAKEN
        assert "web_port" in str(caught.value)
    finally:
        server.stop()
    assert is_port_available(port)


def test_the_search_leaves_out_what_others_hold() -> None:
    """Ports of registered instances are skipped although nobody listens there now."""
    port = free_port()
    assert find_available_port(port, taken={port}) != port


@pytest.mark.parametrize(("host", "port"), [("203.0.113.1", 0), ("127.0.0.1", 70_000)])
def test_an_address_that_cannot_be_is_the_operators_mistake(host: str, port: int) -> None:
    """Not ours or not a port: a usage error, which no restart can cure."""
    with pytest.raises(UsageError, match="web_"):
        WebServer(host, port).bind()


def test_run_server_serves_in_the_background() -> None:
    """The guide's `run_server(host, port, debug)`: returns at once, and the page answers."""
    bot, port = FakeBot(), free_port()
    settings = WebSettings(instance_id="bp_sol_01", host="127.0.0.1", port=port)
    app = create_app(bot, bot, FakeHistory(), settings)
    with pytest.raises(UsageError, match="WEB_DEBUG"):
        run_server(app, "127.0.0.1", port, debug=True)
    server = run_server(app, "127.0.0.1", port)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.sendall(f"GET /health HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode())
            assert sock.recv(100).startswith(b"HTTP/1.1 200")
    finally:
        server.stop()
    server.stop()


def test_stop_ends_all_threads_and_frees_the_port() -> None:
    """After stop there is no thread of ours, and the port can be taken again."""
    before = threading.active_count()
    with serving() as served:
        assert threading.active_count() >= before + 48
        assert all(thread.daemon for thread in threading.enumerate()[before:])
        port = served.port
    assert is_port_available(port)
    wait_until(lambda: threading.active_count() <= before, "no thread is left")


def test_stop_does_not_wait_for_a_command_that_hangs() -> None:
    """A command stuck in the engine keeps neither the server nor the process from ending."""
    leave, left = threading.Event(), threading.Event()
    with serving() as served:
        entered = threading.Event()

        def hang() -> None:
            entered.set()
            leave.wait(30)
            left.set()

        served.bot.before_answer = hang
        threading.Thread(target=try_post, args=(served,), daemon=True).start()
        assert entered.wait(10)
        served.server.stop(timeout_s=1.0)
        assert not left.is_set(), "the command hangs still"
        leave.set()


def try_post(served: Served) -> None:
    try:
        served.post("/api/pause", {})
    except OSError:
        return  # the server went away under it, which is the point


def test_the_answer_to_stop_arrives_although_the_server_ends() -> None:
    """`curl -X POST .../api/stop` is answered before the bot's end takes the server down."""
    with serving() as served:
        stopper = threading.Thread(target=served.server.stop)
        served.bot.before_answer = stopper.start
        assert served.post("/api/stop", {}).status == 200
        stopper.join(10)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("10.0.0.1", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
    ],
)
def test_only_loopback_needs_no_token(host: str, loopback: bool) -> None:
    """A name that merely begins like a loopback address is not one."""
    assert is_loopback(host) is loopback


def test_hosts_of_a_wide_bind() -> None:
    """The wildcard is nobody's address; a bound address is ours; allowed names are added."""
    wide = WebSettings(instance_id="x", host="0.0.0.0", port=5001, token=secret())
    assert set(allowed_origins(wide)) == {"localhost:5001", "127.0.0.1:5001", "[::1]:5001"}
    bound = WebSettings(instance_id="x", host="10.0.0.5", port=80, allowed_hosts=("a.b",))
    origins = allowed_origins(bound)
    assert origins["10.0.0.5:80"] == "http://10.0.0.5:80"
    assert origins["10.0.0.5"] == "http://10.0.0.5"
    assert origins["a.b"] == "http://a.b"


def test_a_bot_with_its_page_does_not_load_what_it_never_uses() -> None:
    """No HTTP client, no debugger: they cost memory and time in every bot."""
    code = (
        "import json, sys\n"
        "from fakes_web import Served\n"
        "served = Served()\n"
        "assert served.get('/health').status == 200\n"
        "served.stop()\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "import requests, werkzeug.debug\n"
        "whole = werkzeug.debug.DebuggedApplication is not None and requests.get is not None\n"
        "print(json.dumps([sorted(loaded), whole]))\n"
    )
    paths = (ROOT, Path(__file__).parent, Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    loaded, whole = json.loads(done.stdout)
    unwanted = {"requests", "urllib3", "websocket", "aiohttp", "prometheus_client", "wsproto"}
    assert not unwanted & set(loaded)
    assert whole, "what was kept out can be imported afterwards"
