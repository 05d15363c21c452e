"""SECURITY.md's checklist for HTTP, item by item, over real sockets to the real server."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from fakes_web import Answer, FakeBot, Served, secret, serving, wait_until

from core.errors import UsageError
from core.model import AdjustGrid
from web.server import WebServer, create_app
from web.settings import WebSettings

pytestmark = pytest.mark.slow  # hundreds of real connections

ADJUST = "/api/grid/adjust"
BODY = b'{"grid_lower_price": 141, "grid_upper_price": "161.5"}'
JSON = "application/json"


def adjust(served: Served, headers: Mapping[str, str | None]) -> Answer:
    """POST the adjust as curl would, with these headers; `{port}` is ours, None leaves one out."""
    given: dict[str, str | None] = {"Content-Type": JSON, **headers}
    sent = {
        name: value.replace("{port}", str(served.port))
        for name, value in given.items()
        if value is not None
    }
    return served.request("POST", ADJUST, BODY, sent)


ACCEPTED: list[tuple[str, dict[str, str | None]]] = [
    ("1 plain curl by 127.0.0.1", {}),
    ("1 plain curl by localhost", {"Host": "localhost:{port}"}),
    ("1 by the IPv6 name", {"Host": "[::1]:{port}"}),
    ("1 a host in capitals", {"Host": "LocalHost:{port}"}),
    ("2 JSON with charset", {"Content-Type": "application/json; charset=utf-8"}),
    ("9 our own origin", {"Origin": "http://127.0.0.1:{port}"}),
    (
        "9 our own origin by localhost",
        {"Host": "localhost:{port}", "Origin": "http://localhost:{port}"},
    ),
    ("10 Sec-Fetch-Site same-origin", {"Sec-Fetch-Site": "same-origin"}),
    ("10 Sec-Fetch-Site none", {"Sec-Fetch-Site": "none"}),
]

REFUSED: list[tuple[str, dict[str, str | None], int]] = [
    ("3 foreign host", {"Host": "evil.example:{port}"}, 421),
    ("4 localhost as a label", {"Host": "localhost.evil.example:{port}"}, 421),
    ("5 the wildcard address", {"Host": "0.0.0.0:{port}"}, 421),
    ("6 wrong port", {"Host": "localhost:1"}, 421),
    ("6 no port", {"Host": "localhost"}, 421),
    ("6 trailing dot", {"Host": "localhost.:{port}"}, 421),
    ("6 empty host", {"Host": ""}, 421),
    ("6 user in the host", {"Host": "evil@localhost:{port}"}, 421),
    (
        "8 X-Forwarded-Host does not help",
        {"Host": "evil.example", "X-Forwarded-Host": "localhost:{port}"},
        421,
    ),
    ("9 foreign origin", {"Origin": "http://evil.example"}, 403),
    ("9 null origin", {"Origin": "null"}, 403),
    ("9 https origin", {"Origin": "https://127.0.0.1:{port}"}, 403),
    ("9 another local port", {"Origin": "http://127.0.0.1:1"}, 403),
    ("9 another name of this host", {"Origin": "http://localhost:{port}"}, 403),
    ("9 an empty origin", {"Origin": ""}, 403),
    ("10 cross-site", {"Sec-Fetch-Site": "cross-site"}, 403),
    ("10 same-site", {"Sec-Fetch-Site": "same-site"}, 403),
    ("11 text", {"Content-Type": "text/plain"}, 415),
    ("11 form", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ("11 multipart", {"Content-Type": "multipart/form-data; boundary=x"}, 415),
    ("11 no type", {"Content-Type": None}, 415),
    ("11 a type that only begins so", {"Content-Type": "application/jsonp"}, 415),
]


@pytest.mark.parametrize(("name", "headers"), ACCEPTED, ids=[case[0] for case in ACCEPTED])
def test_honest_requests_move_the_grid(
    served: Served, name: str, headers: dict[str, str | None]
) -> None:
    """What the user's own curl and page send is carried out."""
    answer = adjust(served, headers)
    assert answer.status == 200, answer.body
    assert answer.json["success"] is True
    assert served.app.instance.status()["grid"]["lower"] == "141"


@pytest.mark.parametrize(("name", "headers", "status"), REFUSED, ids=[case[0] for case in REFUSED])
def test_other_requests_are_refused_before_the_app(
    shared: Served, name: str, headers: dict[str, str | None], status: int
) -> None:
    """A refused request has its status, a message, no CORS header, and reached no command."""
    before = shared.bot()
    answer = adjust(shared, headers)
    assert answer.status == status, answer.body
    assert answer.json["success"] is False
    assert answer.json["message"]
    assert shared.bot.commands == []
    assert shared.bot() == before
    assert not [header for header in answer.headers if header.startswith("access-control-")]


def test_7_a_request_without_host_is_misdirected(shared: Served) -> None:
    """HTTP/1.0 needs no Host by its own rules; here it is 421 all the same."""
    head = f"POST {ADJUST} HTTP/1.0\r\nContent-Type: {JSON}\r\nContent-Length: {len(BODY)}\r\n\r\n"
    assert shared.raw(head.encode() + BODY).startswith(b"HTTP/1.1 421 ")


def test_12_a_get_never_adjusts_and_no_override_makes_it_a_post(shared: Served) -> None:
    """Methods are what they are: GET is 405, an override header changes nothing."""
    assert shared.get(ADJUST).status == 405
    overridden = shared.get(ADJUST, **{"X-HTTP-Method-Override": "POST"})
    assert overridden.status == 405
    assert "POST" in overridden.headers["allow"]
    assert shared.get(f"{ADJUST}?_method=POST").status == 405
    assert shared.bot.commands == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_12_only_get_head_and_post_exist(shared: Served, method: str) -> None:
    """Any other method is 405, with or without a route."""
    assert shared.request(method, "/api/status").status == 405


def test_13_a_preflight_is_refused_without_a_cors_header(shared: Served) -> None:
    """A browser asking for a foreign page's permission gets 403 and nothing to go by."""
    answer = shared.request(
        "OPTIONS",
        ADJUST,
        headers={
            "Origin": "http://evil.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        },
    )
    assert answer.status == 403
    assert not [header for header in answer.headers if header.startswith("access-control-")]


def test_15_a_path_with_two_slashes_is_no_route(shared: Served) -> None:
    """`//api/...` is an authority to some readers; here it is refused."""
    answer = shared.request("POST", f"/{ADJUST}", BODY, {"Content-Type": JSON})
    assert 400 <= answer.status < 500
    assert shared.bot.commands == []


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static/..%2fserver.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/vendor/../../settings.py",
        "/static/vendor",
        "/static/\\..\\server.py",
        "/static/app.css%00.js",
    ],
)
def test_16_static_files_are_a_closed_list(shared: Served, path: str) -> None:
    """No spelling of a path leads out of the static folder."""
    answer = shared.get(path)
    assert answer.status == 404
    assert b"import" not in answer.body


@pytest.mark.parametrize(
    ("name", "head", "status"),
    [
        ("one large header", b"X-Filler: " + b"a" * 100_000 + b"\r\n", b"431"),
        ("many headers", b"".join(b"X-%d: a\r\n" % i for i in range(10_000)), b"431"),
        ("a body said to be large", b"Content-Length: 99999999\r\n", b"413"),
        ("a body of 65 KiB", b"Content-Length: 66560\r\n", b"413"),
    ],
)
def test_17_what_is_too_large_never_reaches_the_app(
    shared: Served, name: str, head: bytes, status: bytes
) -> None:
    """Too large headers are 431 and bodies 413; the answer arrives although input is unread."""
    request = b"POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: %s\r\n%s\r\n" % (
        ADJUST.encode(),
        shared.port,
        JSON.encode(),
        head,
    )
    before = shared.app.guard.answers
    answer = shared.raw(request + b"x" * 66_560)
    assert answer.startswith(b"HTTP/1.1 " + status), answer[:100]
    assert shared.app.guard.answers == before
    assert shared.bot.commands == []


@pytest.mark.parametrize(
    ("name", "head", "status"),
    [
        ("18 length with encoding", b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"400"),
        ("18 encoding with length", b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", b"400"),
        ("chunked alone", b"Transfer-Encoding: chunked\r\n", b"411"),
        ("two lengths", b"Content-Length: 4\r\nContent-Length: 5\r\n", b"400"),
        ("a negative length", b"Content-Length: -1\r\n", b"400"),
        ("a length with a sign", b"Content-Length: +4\r\n", b"400"),
        ("a length with an underscore", b"Content-Length: 1_0\r\n", b"400"),
        ("two hosts", b"Host: evil.example\r\n", b"400"),
        ("two origins", b"Origin: http://a\r\nOrigin: http://b\r\n", b"400"),
        ("a folded header", b"X-A: 1\r\n 2\r\n", b"400"),
        ("a space before the colon", b"Content-Length : 4\r\n", b"400"),
        ("a bare line feed", b"X-A: 1\nX-B: 2\r\n", b"400"),
        ("a header without a colon", b"nonsense\r\n", b"400"),
        ("a NUL in a header", b"X-A: \x00\r\n", b"400"),
    ],
)
def test_18_a_request_that_may_mean_two_things_is_refused(
    shared: Served, name: str, head: bytes, status: bytes
) -> None:
    """No two readers can disagree about where such a request ends: nobody reads it."""
    request = b"POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: %s\r\n%s\r\n{}{}" % (
        ADJUST.encode(),
        shared.port,
        JSON.encode(),
        head,
    )
    answer = shared.raw(request)
    assert answer.startswith(b"HTTP/1.1 " + status), answer[:100]
    assert answer.count(b"HTTP/1.1 ") == 1
    assert shared.bot.commands == []


def test_a_header_with_an_underscore_does_not_pass_for_one_with_a_dash(shared: Served) -> None:
    """`Content_Type` and `Content-Type` share an environ key; only the real one counts."""
    head = f"POST {ADJUST} HTTP/1.1\r\nHost: 127.0.0.1:{shared.port}\r\nContent_Type: {JSON}\r\n"
    tail = f"Content-Length: {len(BODY)}\r\nConnection: close\r\n\r\n"
    assert shared.raw((head + tail).encode() + BODY).startswith(b"HTTP/1.1 415 ")


def test_20_half_open_sockets_starve_neither_the_page_nor_the_process(served: Served) -> None:
    """200 connections that say nothing cost no worker: health answers at once beside them."""
    sockets = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(200)]
    try:
        wait_until(lambda: served.server.open_connections >= 200, "200 connections are counted")
        assert served.get("/health").status == 200
        assert served.server.open_connections >= 200, "beside them, not after them"
    finally:
        for sock in sockets:
            sock.close()
    wait_until(lambda: served.server.open_connections == 0, "all connections are closed")


def test_20_connections_above_the_cap_are_closed_at_once(served: Served) -> None:
    """540 connections leave the bot its descriptors, and none is logged as a fault."""
    sockets = []
    try:
        for _ in range(540):
            sockets.append(socket.create_connection(("127.0.0.1", served.port)))
        wait_until(lambda: served.server.open_connections <= 514, "the cap holds")
    finally:
        for sock in sockets:
            sock.close()
    wait_until(lambda: served.server.open_connections == 0, "all connections are closed")
    assert served.get("/health").status == 200
    assert [line for line in served.log.lines if line[0] == "error"] == []


def test_20_half_sent_requests_cost_the_page_seconds_and_the_engine_nothing(
    served: Served,
) -> None:
    """60 requests without an end hold all workers; snapshots go on, and the page comes back."""
    sockets = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(60)]
    try:
        for sock in sockets:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: ")
        began = time.monotonic()
        for _ in range(1000):
            served.bot.publish()
        assert time.monotonic() - began < 10
        assert served.get("/health").status == 200
        assert served.bot().seq == 1001
    finally:
        for sock in sockets:
            sock.close()
    wait_until(lambda: served.server.open_connections == 0, "all connections are closed")


def test_21_a_get_changes_nothing(shared: Served) -> None:
    """Every route that can be read is read twice, and all is as it was."""
    before = shared.bot()
    for path in ("/", "/health", "/health/detailed", "/api/status", "/api/grid", "/metrics"):
        assert shared.get(path).status == shared.get(path).status == 200
    for path in ("/api/orders", "/api/fills", "/api/pnl"):
        assert shared.get(path).body == shared.get(path).body
    assert shared.bot() == before
    assert shared.bot.commands == []


def test_27_loopback_alone_listens(shared: Served) -> None:
    """FAILURES 35: the listening socket is bound to 127.0.0.1, not to every address of the host."""
    listening = []
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        address, state = line.split()[1], line.split()[3]
        host, port = address.split(":")
        if state == "0A" and int(port, 16) == shared.port:
            listening.append(host)
    assert listening == ["0100007F"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_28_a_wide_bind_without_a_token_is_refused_by_name(host: str) -> None:
    """The refusal comes before anything is bound, and names WEB_TOKEN."""
    settings = WebSettings(instance_id="x", host=host, port=5001)
    bot = FakeBot()
    with pytest.raises(UsageError, match="WEB_TOKEN"):
        create_app(bot, bot, None, settings)  # type: ignore[arg-type]  # refused before it is used


def test_28_with_a_token_every_route_but_health_wants_it() -> None:
    """FAILURES 35: without it or with a wrong one 401; /health stays open for the supervisor."""
    with serving(token=secret("right-token")) as served:
        for path in ("/api/status", "/health/detailed", "/metrics", "/api/fills", "/nowhere"):
            assert served.get(path).status == 401, path
            assert served.get(path, Authorization="Bearer wrong").status == 401, path
        for header in ("Bearer", "Bearer ", "Basic right-token", "right-token", "Bearer right"):
            assert served.get("/api/status", Authorization=header).status == 401, header
        assert served.get("/api/status", Authorization="Bearer right-token").status == 200
        assert served.get("/health").status == 200
        assert served.get("/api/status?token=right-token").status == 401
        assert adjust(served, {}).status == 401
        assert adjust(served, {"Authorization": "Bearer right-token"}).status == 200
        assert [type(command) for command in served.bot.commands] == [AdjustGrid]
        refused = served.get("/api/status")
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert "WEB_TOKEN" in refused.json["message"]


def test_28_a_token_may_hold_any_letters() -> None:
    """curl sends a header's text as UTF-8; a token that is no text at all is a wrong one."""
    with serving(token=secret("tök-en")) as served:
        right = "Bearer tök-en".encode().decode("latin-1")
        assert served.get("/api/status", Authorization=right).status == 200
        assert served.get("/api/status", Authorization="Bearer t\xf6k-en").status == 401
        login = served.post("/login", b'{"token": "\\ud800"}')
        assert login.status == 401


def test_28_the_page_asks_once_and_gets_a_cookie_that_is_not_the_token() -> None:
    """GET / without a token is a login page; its POST sets a strict cookie named by instance."""
    with serving(token=secret("right-token")) as served:
        page = served.get("/")
        assert page.status == 401
        assert b"login.js" in page.body
        assert served.get("/static/login.js").status == 200
        assert served.post("/login", {"token": "wrong"}).status == 401
        assert served.post("/login", {"token": 7}).status == 401
        granted = served.post("/login", {"token": "right-token"})
        assert granted.status == 200
        cookie = granted.headers["set-cookie"]
        assert cookie.startswith("gridfleet_bp_sol_01=")
        for attribute in ("HttpOnly", "SameSite=Strict", "Path=/"):
            assert attribute in cookie
        assert "right-token" not in cookie
        pair = cookie.partition(";")[0]
        assert b"app.js" in served.get("/", Cookie=pair).body
        assert served.get("/api/status", Cookie=f"a=b; {pair}; c=d").status == 200
        assert adjust(served, {"Cookie": pair}).status == 200
        assert adjust(served, {"Cookie": pair, "Origin": "http://evil.example"}).status == 403
        assert served.get("/api/status", Cookie=f"{pair}x").status == 401
        assert served.get("/api/status", Cookie=pair.replace("sol", "eth")).status == 401
        assert "right-token" not in str(served.log.lines)


def test_29_debug_mode_is_impossible() -> None:
    """WEB_DEBUG is refused with the reason, whatever else is set."""
    bot = FakeBot()
    settings = WebSettings(instance_id="x", host="127.0.0.1", port=5001, token=secret())
    with pytest.raises(UsageError, match="WEB_DEBUG"):
        create_app(bot, bot, None, settings, debug=True)  # type: ignore[arg-type]  # refused before


@pytest.mark.parametrize(
    "path",
    ["/", "/health", "/api/status", "/nowhere", "/static/app.js", "/metrics", "/api/grid/adjust"],
)
def test_30_every_answer_carries_the_security_headers(shared: Served, path: str) -> None:
    """Policy, nosniff, no-referrer, no-store; no version of anything; no CORS."""
    headers = shared.get(path).headers
    check_headers(headers)


def test_30_refusals_carry_them_too(shared: Served) -> None:
    """Answers of the guard and of the server below it are no exception."""
    check_headers(adjust(shared, {"Host": "evil.example"}).headers)
    check_headers(adjust(shared, {"Origin": "null"}).headers)
    for request in (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"nonsense\r\n\r\n"):
        head = shared.raw(request).partition(b"\r\n\r\n")[0].decode()
        lines = [line.partition(": ") for line in head.split("\r\n")[1:]]
        check_headers({name.lower(): value for name, _, value in lines})


def check_headers(headers: Mapping[str, str]) -> None:
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert not any(char.isdigit() for char in headers.get("server", ""))
    assert not [name for name in headers if name.startswith("access-control-")]


def test_hosts_that_the_config_allows_are_ours(tmp_path: object) -> None:
    """`allowed_hosts` takes a name, a name with a port, and a name behind a TLS proxy."""
    names = ("grid.lan", "other.lan:8080", "https://grid.example.org")
    with serving(allowed_hosts=names) as served:
        for host, origin in (
            ("grid.lan", "http://grid.lan"),
            ("grid.lan:{port}", "http://grid.lan:{port}"),
            ("other.lan:8080", "http://other.lan:8080"),
            ("grid.example.org", "https://grid.example.org"),
        ):
            assert adjust(served, {"Host": host, "Origin": origin}).status == 200, host
        for host, origin in (
            ("grid.lan:1", None),
            ("other.lan", None),
            ("grid.example.org:{port}", None),
            ("grid.example.org", "http://grid.example.org"),
        ):
            assert adjust(served, {"Host": host, "Origin": origin}).status in {403, 421}, host


def test_a_post_without_a_body_works_for_curl_and_not_for_a_browser(served: Served) -> None:
    """`curl -X POST .../api/stop` sends no body, no type and neither browser header."""
    assert served.request("POST", "/api/pause").status == 200
    assert served.request("POST", "/api/pause", headers={"Content-Length": "0"}).status == 200
    for name, value in (
        ("Origin", served.url),
        ("Sec-Fetch-Site", "same-origin"),
        ("Content-Type", "text/plain"),
    ):
        assert served.request("POST", "/api/pause", headers={name: value}).status == 415, name
    assert len(served.bot.commands) == 2


def test_the_port_is_taken_before_the_app_exists() -> None:
    """`bind` holds the port: a second server is told who is in the way and what to do."""
    first = WebServer("127.0.0.1", 0)
    port = first.bind()
    second = WebServer("127.0.0.1", port)
    try:
        with pytest.raises(Exception, match=f"{port} on 127.0.0.1 is taken") as caught:
            second.bind()
        assert int(caught.value.exit_code) == 6  # type: ignore[attr-defined]  # PortTaken has it
    finally:
        first.stop()
        second.stop()
