"""Listens, says so in one line of JSON, and serves until it is told to stop."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from core.errors import UsageError
from exchanges.price_feed import PriceSource
from exchanges.simulator import feed
from exchanges.simulator.app import PULSE_S, App
from exchanges.simulator.credentials import Credentials
from exchanges.simulator.http import Connections, HttpConnection

BACKLOG = 512


@dataclass(frozen=True, slots=True)
class Plan:
    """What is served."""

    listener: socket.socket
    credentials: Credentials
    make_app: Callable[[], App]
    sources: Sequence[tuple[str, PriceSource]]
    speed: Decimal


def listen(host: str, port: int) -> socket.socket:
    """Take the port. Errors: UsageError."""
    bare = host.strip("[]")
    if not bare:  # it would be every address of the machine
        raise UsageError(f"--host: was {host!r}, expected an address or a name")
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((bare, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = error.strerror if isinstance(error, OSError) else "expected 0 to 65535"
        raise UsageError(f"--host {host} --port {port}: cannot listen there: {reason}") from None
    listener.setblocking(False)
    return listener


async def serve(plan: Plan) -> None:
    """Serve until SIGTERM or SIGINT. Errors: ConfigError when the candle file proves faulty."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    app = plan.make_app()
    connections = Connections()
    server = await loop.create_server(
        lambda: HttpConnection(app.serve, app.connect, connections), sock=plan.listener
    )
    announce(plan.listener, plan.credentials)
    walking = asyncio.create_task(feed.run(plan.sources, plan.speed, app.move))
    pulsing = asyncio.create_task(_pulse(app))
    waiting = asyncio.create_task(stopped.wait())
    try:
        tasks = {walking, pulsing, waiting}
        while not waiting.done():
            done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # a feed that has come to its end is no reason to stop
    finally:
        for task in (walking, pulsing, waiting):
            task.cancel()
        server.close()
        for transport in tuple(connections.open):
            transport.abort()


def announce(listener: socket.socket, credentials: Credentials) -> None:
    """The one line on standard output (CONTRACT 8)."""
    host, port = listener.getsockname()[:2]
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    line = {
        "base_url": f"http://{where}",
        "ws_url": f"ws://{where}",
        "api_key": credentials.api_key,
        "secret_key": credentials.secret_key,
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def _pulse(app: App) -> None:
    while True:
        await asyncio.sleep(PULSE_S)
        app.pulse()
