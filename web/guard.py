"""The guard around the whole WSGI stack: who may speak to this instance at all.

It stands outside Flask *and* outside `/socket.io/` (Flask's own hooks never see that path), and it
decides from the request line and the headers alone:

1. Host is `localhost`, `127.0.0.1` or `[::1]` with our port, the address we are bound to, or in
   `allowed_hosts`; else 421. That ends DNS rebinding. X-Forwarded-* is never read.
2. Origin, if there is one, is exactly this page's; else 403, `null` too.
3. Sec-Fetch-Site, if there is one, is `same-origin` or `none` wherever it matters: unsafe methods
   and `/socket.io/`; else 403. Browsers always send one of the two headers and curl neither, which
   is why a plain curl needs no token.
4. GET, HEAD and POST, else 405: no preflight is ever answered, so no CORS header exists.
5. With a token set, every route but `/health` wants it: `Authorization: Bearer`, or the cookie that
   the page got for it. The page's files and its login are what a browser needs to ask for it.
6. POST carries `application/json`, else 415; a body-less POST without Origin and Sec-Fetch-Site (a
   plain `curl -X POST`) passes. Socket.IO's polling transport posts text/plain by its own protocol;
   it has passed 2 and 3 by then and can only read.

Every answer leaves with the security headers. Nothing here has a side effect but counting.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from web.body import shown
from web.settings import WebSettings

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]
Headers = list[tuple[str, str]]

SECURITY_HEADERS: tuple[tuple[str, str], ...] = (
    (
        "Content-Security-Policy",
        (
            "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
            "object-src 'none'"
        ),
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
)
_OWN_HEADERS = frozenset(name.lower() for name, _ in SECURITY_HEADERS) | {"server"}

SAFE_METHODS = frozenset({"GET", "HEAD"})
METHODS = SAFE_METHODS | {"POST"}
SOCKETIO_PATH = "/socket.io"
LOGIN_PATH = "/login"

STATUS_LINES = {
    400: "400 Bad Request",
    401: "401 Unauthorized",
    403: "403 Forbidden",
    405: "405 Method Not Allowed",
    415: "415 Unsupported Media Type",
    421: "421 Misdirected Request",
    503: "503 Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request goes no further."""

    status: int
    message: str
    headers: tuple[tuple[str, str], ...] = ()


class Guard:
    """Wrap a WSGI application; see the module's rules."""

    def __init__(self, app: WSGIApp, settings: WebSettings, login_page: bytes) -> None:
        self._app = app
        self._settings = settings
        self._login_page = login_page
        self._origins = allowed_origins(settings)
        self._cookie_name = cookie_name(settings.instance_id)
        self._lock = threading.Lock()
        self._answers: Counter[int] = Counter()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        def secured(status: str, headers: Headers, exc_info: Any = None) -> Any:
            with self._lock:
                self._answers[int(status[:3])] += 1
            kept = [(name, value) for name, value in headers if _is_kept(name)]
            return start_response(status, kept + list(SECURITY_HEADERS), exc_info)

        refusal = self.judge(environ)
        if refusal is None:
            return self._app(environ, secured)
        if refusal.status == 401 and _is_page_visit(environ):
            headers = [("Content-Type", "text/html; charset=utf-8"), *refusal.headers]
            return _answer(secured, refusal.status, headers, self._login_page)
        return refuse(secured, refusal)

    @property
    def answers(self) -> dict[int, int]:
        """How many answers left, by status."""
        with self._lock:
            return dict(self._answers)

    def judge(self, environ: Environ) -> Refusal | None:
        """Decide about one request; None lets it pass."""
        host = str(environ.get("HTTP_HOST", ""))
        own_origin = self._origins.get(host.lower())
        if own_origin is None:
            return Refusal(
                421,
                f"Host: was {shown(host)}, which is not this server's: use "
                f"http://127.0.0.1:{self._settings.port}, or name the host in "
                "daemon_config.allowed_hosts",
            )
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and origin != own_origin:
            return Refusal(403, f"Origin: was {shown(origin)}, expected {own_origin} or none")

        method = str(environ.get("REQUEST_METHOD", ""))
        path = str(environ.get("PATH_INFO", ""))
        is_socketio = path == SOCKETIO_PATH or path.startswith(SOCKETIO_PATH + "/")
        site = environ.get("HTTP_SEC_FETCH_SITE")
        if (method not in SAFE_METHODS or is_socketio) and site not in {
            None,
            "same-origin",
            "none",
        }:
            return Refusal(
                403, f"Sec-Fetch-Site: was {shown(site)}, expected same-origin, none or no header"
            )
        if method not in METHODS:
            return Refusal(
                405,
                f"method {shown(method)} is not used here: GET reads, POST commands",
                (("Allow", "GET, HEAD, POST"),),
            )
        if self._settings.wants_token and not self._may_enter(environ, path):
            return Refusal(
                401,
                "Authorization: expected 'Bearer' and the instance's WEB_TOKEN",
                (("WWW-Authenticate", 'Bearer realm="gridfleet"'),),
            )
        if method not in SAFE_METHODS:
            return _judge_content(environ, is_socketio)
        return None

    def _may_enter(self, environ: Environ, path: str) -> bool:
        if path in {"/health", LOGIN_PATH} or path.startswith("/static/"):
            return True
        token = self._settings.token
        if token is None:
            return True
        scheme, _, given = str(environ.get("HTTP_AUTHORIZATION", "")).partition(" ")
        if scheme.lower() == "bearer" and is_same(_utf8(given.strip()), token.reveal()):
            return True
        cookie = _cookie(str(environ.get("HTTP_COOKIE", "")), self._cookie_name)
        return cookie is not None and is_same(cookie, cookie_value(self._settings))


def allowed_origins(settings: WebSettings) -> dict[str, str]:
    """Map each Host value that is this server's to the one Origin its page has."""
    port = settings.port
    names = ["localhost", "127.0.0.1", "[::1]"]
    if settings.host not in {"0.0.0.0", "::", ""}:  # the wildcards are no address of a page
        bare = settings.host.strip("[]").lower()
        names.append(f"[{bare}]" if ":" in bare else bare)
    origins = {}
    for name in names:
        origins[f"{name}:{port}"] = f"http://{name}:{port}"
        if port == 80:
            origins[name] = f"http://{name}"
    for entry in settings.allowed_hosts:
        scheme, separator, rest = entry.rpartition("://")
        name = rest.strip("/").lower()
        scheme = scheme.lower() if separator else "http"
        for host in (name,) if _has_port(name) or separator else (name, f"{name}:{port}"):
            origins[host] = f"{scheme}://{host}"
    return origins


def cookie_name(instance_id: str) -> str:
    """Name the cookie by instance: cookies are shared by all ports of a host."""
    return f"gridfleet_{instance_id}"


def cookie_value(settings: WebSettings) -> str:
    """Derive what the cookie holds: it proves the token and does not contain it."""
    token = "" if settings.token is None else settings.token.reveal()
    message = b"gridfleet page " + settings.instance_id.encode()
    return hmac.new(token.encode(), message, hashlib.sha256).hexdigest()


def is_same(given: str, expected: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


def _utf8(header: str) -> str:
    """Read a header as its bytes were sent: WSGI hands them over as Latin-1."""
    return header.encode("latin-1", "replace").decode("utf-8", "surrogateescape")


def refuse(start_response: StartResponse, refusal: Refusal) -> Iterable[bytes]:
    """Answer a refusal as the API answers everything: JSON with `success` and `message`."""
    body = json.dumps({"success": False, "message": refusal.message}).encode() + b"\n"
    headers = [("Content-Type", "application/json"), *refusal.headers]
    return _answer(start_response, refusal.status, headers, body)


def _answer(
    start_response: StartResponse, status: int, headers: Headers, body: bytes
) -> Iterable[bytes]:
    start_response(STATUS_LINES[status], [*headers, ("Content-Length", str(len(body)))])
    return [body]


def _judge_content(environ: Environ, is_socketio: bool) -> Refusal | None:
    length = str(environ.get("CONTENT_LENGTH", "") or "0")
    has_body = length != "0"
    given = environ.get("CONTENT_TYPE")
    kind = str(given or "").partition(";")[0].strip().lower()
    if kind == "application/json" or (is_socketio and kind == "text/plain"):
        return None
    by_browser = "HTTP_ORIGIN" in environ or "HTTP_SEC_FETCH_SITE" in environ
    if not has_body and not kind and not by_browser:
        return None
    return Refusal(
        415, f"Content-Type: was {shown(given) if given else 'none'}, expected application/json"
    )


def _is_page_visit(environ: Environ) -> bool:
    return environ.get("PATH_INFO") == "/" and environ.get("REQUEST_METHOD") in SAFE_METHODS


def _is_kept(name: str) -> bool:
    lowered = name.lower()
    return lowered not in _OWN_HEADERS and not lowered.startswith("access-control-")


def _has_port(name: str) -> bool:
    return name.rpartition(":")[2].isdigit() and not name.endswith("]")


def _cookie(header: str, wanted: str) -> str | None:
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == wanted:
            return value
    return None
