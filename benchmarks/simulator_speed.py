"""How many orders a second the simulator takes over HTTP, beside its floor.

    python benchmarks/simulator_speed.py [--seconds 5]

One process sends signed orders over four kept connections, each the next when the last is answered:
first orders that fill, buys and sells in turn, then orders that rest, each followed by its cancel.
Requests are signed beforehand, so that the figure is the server's. Floor: the same server and the
same bytes, answered with a fixed reply.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from nacl.signing import SigningKey

CONNECTIONS = 4
WINDOW = 60_000

FLOOR = """
import asyncio, json, sys
from exchanges.simulator.http import Connections, HttpConnection, Reply
async def main():
    loop = asyncio.get_running_loop()
    reply = Reply(200, b"x" * 700)
    server = await loop.create_server(
        lambda: HttpConnection(lambda _, to: to.reply(reply), lambda *_: None, Connections()),
        "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(json.dumps({"base_url": f"http://{host}:{port}"}), flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def start(*arguments: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(10)


def backpack(sim: dict[str, Any], *, fills: bool) -> Iterator[bytes]:
    """Signed requests: orders that fill, or order and cancel in turn."""
    key = SigningKey(base64.b64decode(sim["secret_key"]))
    stamp = str(int(time.time() * 1000))
    number = 0
    while True:
        number += 1
        order = {
            "symbol": "SOL_USDC_PERP",
            "side": "Bid" if not fills or number % 2 else "Ask",
            "orderType": "Limit",
            "price": "150" if fills else f"{100 + number % 40}.25",
            "quantity": "0.100",
            "postOnly": not fills,
            "clientId": number,
        }
        name = {"symbol": "SOL_USDC_PERP", "clientId": number}
        for method, instruction, body in (
            ("POST", "orderExecute", order),
            ("DELETE", "orderCancel", name),
        )[: 1 if fills else 2]:
            pairs = "&".join(
                f"{k}={str(v).lower() if isinstance(v, bool) else v}"
                for k, v in sorted(body.items())
            )
            text = f"instruction={instruction}&{pairs}&timestamp={stamp}&window={WINDOW}"
            signature = base64.b64encode(key.sign(text.encode()).signature).decode()
            content = json.dumps(body)
            yield (
                f"{method} /api/v1/order HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                f"X-API-Key: {sim['api_key']}\r\nX-Signature: {signature}\r\n"
                f"X-Timestamp: {stamp}\r\nX-Window: {WINDOW}\r\n"
                "Content-Type: application/json; charset=utf-8\r\n"
                f"Content-Length: {len(content)}\r\n\r\n{content}"
            ).encode()


def aster(sim: dict[str, Any], *, fills: bool) -> Iterator[bytes]:
    stamp = str(int(time.time() * 1000))
    number = 0
    while True:
        number += 1
        order = {
            "symbol": "SOLUSDT",
            "side": "BUY" if not fills or number % 2 else "SELL",
            "type": "LIMIT",
            "timeInForce": "GTC" if fills else "GTX",
            "price": "150" if fills else f"{125 + number % 20}.25",
            "quantity": "0.100",
            "newClientOrderId": f"grid-{number}",
        }
        name = {"symbol": "SOLUSDT", "origClientOrderId": f"grid-{number}"}
        for method, fields in (("POST", order), ("DELETE", name))[: 1 if fills else 2]:
            text = urlencode({**fields, "recvWindow": WINDOW, "timestamp": stamp})
            secret = sim["secret_key"].encode()
            signature = hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
            content = f"{text}&signature={signature}"
            yield (
                f"{method} /fapi/v1/order HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                f"X-MBX-APIKEY: {sim['api_key']}\r\n"
                "Content-Type: application/x-www-form-urlencoded\r\n"
                f"Content-Length: {len(content)}\r\n\r\n{content}"
            ).encode()


@dataclass
class Line:
    """A kept connection and the requests that it sends, in order."""

    sock: socket.socket
    requests: Iterator[bytes]
    buffer: bytearray = field(default_factory=bytearray)


def measure(base_url: str, requests: list[bytes], seconds: float) -> tuple[float, int]:
    """Answers a second, and refusals; an order and its cancel go over one connection."""
    host, port = base_url.removeprefix("http://").rsplit(":", 1)
    lines = {}
    for index in range(CONNECTIONS):
        sock = socket.create_connection((host, int(port)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pairs = [
            request
            for pair in range(index, len(requests) // 2, CONNECTIONS)
            for request in requests[2 * pair : 2 * pair + 2]
        ]
        line = Line(sock, iter(pairs))
        lines[sock] = line
        sock.sendall(next(line.requests))
    answered = refused = 0
    began = time.perf_counter()
    while lines and time.perf_counter() - began < seconds:
        for sock in select.select(list(lines), [], [], 1)[0]:
            line = lines[sock]
            line.buffer += sock.recv(65_536)
            end = line.buffer.find(b"\r\n\r\n")
            head = bytes(line.buffer[:end]).lower()
            if end < 0:
                continue
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            if len(line.buffer) < end + 4 + length:
                continue
            refused += b" 200 " not in head[:16]
            answered += 1
            del line.buffer[: end + 4 + length]
            following = next(line.requests, None)
            if following is None:
                del lines[sock]
            else:
                sock.sendall(following)
    elapsed = time.perf_counter() - began
    for line in lines.values():
        line.sock.close()
    return answered / elapsed, refused


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5.0)
    seconds = parser.parse_args().seconds
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    for protocol, make in (("backpack", backpack), ("aster", aster)):
        for fills, what in ((True, "orders that fill"), (False, "orders and cancels")):
            process, sim = start(
                "-m", "exchanges.simulator", "--protocol", protocol, "--feed", "none"
            )
            try:
                source = make(sim, fills=fills)
                requests = [next(source) for _ in range(int(seconds * 8_000))]
                rate, refused = measure(sim["base_url"], requests, seconds)
            finally:
                stop(process)
            process, bare = start("-c", FLOOR)
            try:
                floor, _ = measure(bare["base_url"], requests, seconds)
            finally:
                stop(process)
            print(
                f"{protocol}: {rate:,.0f} {what} a second ({refused} refused), "
                f"floor {floor:,.0f}, ratio {floor / rate:.1f}"
            )


if __name__ == "__main__":
    main()
