"""What the web room is told once, at the start: who it serves for, and who may come in.

Rules: everything here is frozen; nothing here reads a clock, the environment or a file. The token
is a `Secret`: no rendering of the settings shows it.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from core.errors import UsageError
from core.model import Secret

SOCKETIO_CLIENTS = 24
"""Socket.IO clients at most: half of the worker threads, so that plain HTTP always finds one."""


class Log(Protocol):
    """Where the web room tells what happened: a structlog logger, or anything of its shape."""

    def info(self, event: str, /, **fields: object) -> object: ...

    def warning(self, event: str, /, **fields: object) -> object: ...

    def error(self, event: str, /, **fields: object) -> object: ...


class NullLog:
    """A log that keeps nothing."""

    def info(self, _event: str, /, **_fields: object) -> object:
        return None

    def warning(self, _event: str, /, **_fields: object) -> object:
        return None

    def error(self, _event: str, /, **_fields: object) -> object:
        return None


def always_live() -> bool:
    """Answer for a bot whose strategy loop is not watched (tests, benchmarks)."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """The settings of one instance's page and API.

    `host` and `port` are what the server is bound to (the port is the real one, never 0).
    `allowed_hosts` are further names that the Host header may have: `name` (with our port or none),
    `name:port`, or `https://name[:port]` for a proxy that adds TLS. `liveness` tells whether the
    strategy loop turns; it is asked by every health request and must not block.
    """

    instance_id: str
    host: str
    port: int
    allowed_hosts: tuple[str, ...] = ()
    token: Secret | None = None
    liveness: Callable[[], bool] = always_live
    monotonic: Callable[[], float] = time.monotonic
    log: Log = field(default_factory=NullLog)
    command_timeout_s: float = 10.0
    socketio_clients: int = SOCKETIO_CLIENTS

    @property
    def wants_token(self) -> bool:
        return bool(self.token)


def is_loopback(host: str) -> bool:
    """Tell whether an address to bind to is reachable from this machine alone."""
    name = host.strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def refuse_unsafe(host: str, token: Secret | None, debug: bool) -> None:
    """Refuse a wide bind without a token, and debug mode. Errors: UsageError (exit 2)."""
    if debug:
        raise UsageError(
            "WEB_DEBUG: was on, expected it unset: debug mode hands a Python console to whoever "
            "reaches the page, so a running bot never has it; unset WEB_DEBUG"
        )
    if not is_loopback(host) and not token:
        raise UsageError(
            f"web_host: was {host!r}, which other machines can reach, and WEB_TOKEN is not set: "
            "set WEB_TOKEN to a long random text (python3 -c 'import secrets; "
            "print(secrets.token_urlsafe(32))'), or bind to 127.0.0.1"
        )
