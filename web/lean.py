"""Import Flask, Flask-SocketIO and cheroot without the parts that a server never uses.

`flask_socketio` pulls in the *client* and *asyncio* halves of socketio and engineio (asyncio, ssl,
requests, urllib3, websocket-client, aiohttp where it happens to be installed), its test client and
Werkzeug's debugger; Flask pulls in Werkzeug's own server and test client (http.server, the e-mail
package), cheroot ssl and the package metadata. A bot needs none of them: together they are 0.15 s
of CPU and 10 MB. How they are left out is `core.lean`'s.

Rules: from the main thread at start, before other threads import anything. Who imports `web.server`
without this first gets the same server, only fatter.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from core.lean import importing_without

ABSENT = (
    *("requests", "websocket", "aiohttp", "redis", "valkey", "kombu", "kafka", "zmq"),
    *("tornado", "engineio.async_drivers.tornado"),
)
"""Optional in socketio and engineio: their absence is handled there."""

DEFERRED = {
    # Flask's development server, reloader, debugger and test clients.
    "werkzeug.debug": ("DebuggedApplication",),
    "werkzeug._reloader": ("run_with_reloader",),
    "werkzeug.serving": ("run_simple", "is_running_from_reloader"),
    "werkzeug.test": ("Client",),
    "flask_socketio.test_client": ("SocketIOTestClient",),
    # The halves of engineio and socketio that are not a threaded server.
    "engineio.async_server": ("AsyncServer",),
    "engineio.async_client": ("AsyncClient",),
    "engineio.async_drivers.asgi": ("ASGIApp",),
    "socketio.simple_client": ("SimpleClient",),
    "socketio.kombu_manager": ("KombuManager",),
    "socketio.redis_manager": ("RedisManager",),
    "socketio.kafka_manager": ("KafkaManager",),
    "socketio.zmq_manager": ("ZmqManager",),
    "socketio.async_client": ("AsyncClient",),
    "socketio.async_simple_client": ("AsyncSimpleClient",),
    "socketio.async_server": ("AsyncServer",),
    "socketio.async_manager": ("AsyncManager",),
    "socketio.async_namespace": ("AsyncNamespace", "AsyncClientNamespace"),
    "socketio.async_redis_manager": ("AsyncRedisManager",),
    "socketio.async_aiopika_manager": ("AsyncAioPikaManager",),
    "socketio.asgi": ("ASGIApp",),
    # wsproto (40 ms), which `web.push` loads when the first page connects.
    "engineio.async_drivers._websocket_wsgi": ("SimpleWebSocketWSGI",),
    # cheroot asks for OpenSSL's version and for its own; it copes with not being told.
    "ssl": (),
    "importlib.metadata": ("version",),
}
"""Imported without a condition."""


def load_flask_socketio() -> Any:
    """Import the three and return the module `flask_socketio`."""
    if "flask_socketio" in sys.modules:
        return sys.modules["flask_socketio"]
    with importing_without(ABSENT, DEFERRED):
        import_module("cheroot.wsgi")
        import_module("engineio.async_drivers.threading")
        return import_module("flask_socketio")
