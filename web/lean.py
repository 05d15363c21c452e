"""Import Flask-SocketIO without the parts that a server never uses.

`flask_socketio` pulls in the *client* halves of socketio and engineio (requests, urllib3,
charset_normalizer, websocket-client, aiohttp where it happens to be installed) and Werkzeug's
debugger. A paper bot needs none of them: together they are some 7 MB and 0.1 s of CPU. The clients'
imports are optional in the library, so it is enough that they cannot be found while it is imported;
what is imported without a condition is stood in for.

Rules: only while the import runs, only from the main thread at start, before other threads import
anything; afterwards `sys.modules` is as it was, and whoever needs `requests` imports it as usual.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ABSENT = ("requests", "websocket", "aiohttp", "tornado", "redis", "valkey", "kombu", "kafka", "zmq")
"""Optional in socketio and engineio: their absence is handled there."""

HOLLOW = {
    "werkzeug.debug": ("DebuggedApplication",),
    "werkzeug._reloader": ("run_with_reloader",),
    "engineio.async_drivers._websocket_wsgi": ("SimpleWebSocketWSGI",),
}
"""Imported without a condition: the first two are debug mode's, which a running bot does not have;
the third pulls in wsproto (40 ms), which `web.push` loads when the first page connects."""


@contextmanager
def _without_unused_parts() -> Iterator[None]:
    planted: dict[str, types.ModuleType | None] = {}
    for name in ABSENT:
        if name not in sys.modules:
            planted[name] = None
    for name, attributes in HOLLOW.items():
        if name not in sys.modules:
            hollow = types.ModuleType(name)
            for attribute in attributes:
                setattr(hollow, attribute, None)
            planted[name] = hollow
    sys.modules.update(planted)  # type: ignore[arg-type]  # None marks a module as not importable
    try:
        yield
    finally:
        for name, module in planted.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def load_flask_socketio() -> Any:
    """Import `flask_socketio` and return the module."""
    import flask  # first, and whole: only the Socket.IO side is pruned

    del flask
    with _without_unused_parts():
        import engineio.async_drivers.threading
        import flask_socketio

        del engineio
    return flask_socketio
