"""A real simulator process, and small clients that sign for themselves, for the tests.

The signing here shares nothing with the simulator's verification.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import websocket
from nacl.signing import SigningKey

SPECS = Path(
    os.environ.get("GRID_DATA", Path(__file__).parents[4] / "shared/market_data")
).parent / ("specs")
DEADLINE_S = 20.0
SOL = "SOL_USDC_PERP"
SOLUSDT = "SOLUSDT"


def wait_until(what: str, look: Callable[[], Any]) -> Any:
    """The first true answer of `look`."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {DEADLINE_S} s for {what}"
        time.sleep(0.02)


class Sim:
    """A running simulator: its line, its control routes, HTTP on one kept connection."""

    def __init__(self, process: subprocess.Popen[str], line: dict[str, str]) -> None:
        self.process = process
        self.line = line
        self.base_url = line["base_url"]
        self.ws_url = line["ws_url"]
        self.api_key = line["api_key"]
        self.secret_key = line["secret_key"]
        self._host = self.base_url.removeprefix("http://")
        self._kept = self.connect()
        self._ears: list[Ears] = []

    def connect(self, timeout_s: float = DEADLINE_S) -> HTTPConnection:
        return HTTPConnection(self._host, timeout=timeout_s)

    def http(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        connection: HTTPConnection | None = None,
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, body (JSON where it is) and headers in lower case."""
        line = self._kept if connection is None else connection
        line.request(method, target, body, dict(headers or {}))
        answer = line.getresponse()
        text = answer.read()
        kept = {name.lower(): value for name, value in answer.getheaders()}
        if kept.get("content-type", "").startswith("application/json") and text:
            return answer.status, json.loads(text), kept
        return answer.status, text.decode(), kept

    def hear(self, path: str = "") -> Ears:
        """A new socket; it is closed with the simulator at the latest."""
        ears = Ears(self.ws_url + path)
        self._ears.append(ears)
        return ears

    def control(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        method = "GET" if body is None else "POST"
        content = None if body is None else json.dumps(body).encode()
        status, answer, _ = self.http(
            method, f"/_sim/{path}", content, {"Content-Type": "application/json"}
        )
        assert status == 200, answer
        return answer

    def price(self, price: str, symbol: str) -> Any:
        return self.control("price", {"symbol": symbol, "price": price})

    def account(self) -> Any:
        """The one account of the ledger."""
        return self.control("ledger")["accounts"][self.api_key]

    def close(self) -> None:
        self._kept.close()
        for ears in self._ears:
            ears.close()
        self.process.terminate()
        try:
            assert self.process.wait(DEADLINE_S) == 0
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()


class BackpackSim(Sim):
    """Signs as Backpack's document says."""

    def call(
        self,
        method: str,
        path: str,
        instruction: str,
        fields: Any = None,
        *,
        timestamp: int | None = None,
        window: int | None = 5_000,
        change: Mapping[str, str] | None = None,
        connection: HTTPConnection | None = None,
    ) -> tuple[int, Any, dict[str, str]]:
        """`fields` go into the query of a GET, else into the body. `change` replaces headers."""
        given = {} if fields is None else fields
        stamp = int(time.time() * 1000) if timestamp is None else timestamp
        signature = self.sign(instruction, given, stamp, 5_000 if window is None else window)
        headers = {
            "X-API-Key": self.api_key,
            "X-Signature": signature,
            "X-Timestamp": str(stamp),
            "Content-Type": "application/json; charset=utf-8",
        }
        if window is not None:
            headers["X-Window"] = str(window)
        headers |= dict(change or {})
        if method == "GET":
            query = urlencode(given)
            return self.http(
                method, f"{path}?{query}" if query else path, None, headers, connection
            )
        return self.http(method, path, json.dumps(given).encode(), headers, connection)

    def sign(self, instruction: str, given: Any, stamp: int, window: int) -> str:
        parts = given if isinstance(given, list) else [given]
        text = "".join(
            f"instruction={instruction}&"
            + "".join(f"{k}={_text(v)}&" for k, v in sorted(part.items()))
            for part in parts
        )
        key = SigningKey(base64.b64decode(self.secret_key))
        signed = key.sign(f"{text}timestamp={stamp}&window={window}".encode()).signature
        return base64.b64encode(signed).decode()

    def place(
        self, side: str, price: str | None, quantity: str = "1", **more: Any
    ) -> tuple[int, Any]:
        kind = "Market" if price is None else "Limit"
        order = {"symbol": SOL, "side": side, "orderType": kind, "quantity": quantity, **more}
        if price is not None:
            order["price"] = price
        status, answer, _ = self.call("POST", "/api/v1/order", "orderExecute", order)
        return status, answer

    def listen(self, *streams: str) -> Ears:
        ears = self.hear()
        frame: dict[str, Any] = {"method": "SUBSCRIBE", "params": list(streams)}
        if any(stream.startswith("account.") for stream in streams):
            stamp = int(time.time() * 1000)
            signature = self.sign("subscribe", {}, stamp, 5_000)
            frame["signature"] = [self.api_key, signature, str(stamp), "5000"]
        ears.say(frame)
        # No acknowledgement is documented: an unknown stream's error says that all came through.
        ears.say({"method": "SUBSCRIBE", "params": ["no.such.stream"]})
        ears.until(lambda frame: "error" in frame)
        return ears


class AsterSim(Sim):
    """Signs with HMAC."""

    def call(
        self,
        method: str,
        path: str,
        fields: Mapping[str, str] | None = None,
        *,
        timestamp: int | None = None,
        in_query: bool = False,
        change: Mapping[str, str] | None = None,
        signature: str | None = None,
        connection: HTTPConnection | None = None,
    ) -> tuple[int, Any, dict[str, str]]:
        stamp = int(time.time() * 1000) if timestamp is None else timestamp
        text = urlencode({**(fields or {}), "timestamp": stamp})
        signed = hmac.new(self.secret_key.encode(), text.encode(), hashlib.sha256).hexdigest()
        text = f"{text}&signature={signed if signature is None else signature}"
        headers = {"X-MBX-APIKEY": self.api_key, **(change or {})}
        if method == "GET" or in_query:
            return self.http(method, f"{path}?{text}", None, headers, connection)
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        return self.http(method, path, text.encode(), headers, connection)

    def place(
        self, side: str, price: str | None, quantity: str = "1", **more: str
    ) -> tuple[int, Any]:
        order = {"symbol": SOLUSDT, "side": side, "quantity": quantity}
        if price is None:
            order["type"] = "MARKET"
        else:
            order |= {"type": "LIMIT", "timeInForce": "GTC", "price": price}
        status, answer, _ = self.call(
            "POST", "/fapi/v1/order", {**order, "newOrderRespType": "RESULT", **more}
        )
        return status, answer

    def listen_key(self) -> str:
        status, answer, _ = self.http(
            "POST", "/fapi/v1/listenKey", b"", {"X-MBX-APIKEY": self.api_key}
        )
        assert status == 200, answer
        return str(answer["listenKey"])

    def listen(self, path: str) -> Ears:
        """A socket whose handshake, and what its path subscribes to, is done."""
        ears = self.hear(path)
        ears.say({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        ears.until(lambda frame: frame.get("id") == 1)
        return ears


class Ears:
    """A WebSocket that remembers all it heard."""

    def __init__(self, url: str) -> None:
        self.ws = websocket.create_connection(url, timeout=DEADLINE_S)
        self.heard: list[Any] = []

    def say(self, frame: Any) -> None:
        self.ws.send(json.dumps(frame))

    def next(self) -> Any:
        text = self.ws.recv()
        if not text:
            raise websocket.WebSocketConnectionClosedException
        frame = json.loads(text)
        self.heard.append(frame)
        return frame

    def until(self, is_wanted: Callable[[Any], bool]) -> Any:
        """The first frame that is wanted, passing others."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            frame = self.next()
            if is_wanted(frame):
                return frame
        raise AssertionError(f"not heard in {DEADLINE_S} s; heard {self.heard}")

    def events(self, kind: str, until: Callable[[Any], bool]) -> list[Any]:
        """The data of the frames whose `e` is `kind`, up to the one that ends it."""
        self.until(lambda frame: data_of(frame).get("e") == kind and until(data_of(frame)))
        return [data_of(frame) for frame in self.heard if data_of(frame).get("e") == kind]

    def close(self) -> None:
        self.ws.close()


def data_of(frame: Any) -> Any:
    return frame["data"] if isinstance(frame, dict) and "data" in frame else frame


@contextmanager
def running(protocol: str, *more: str, cwd: Path | None = None) -> Iterator[Any]:
    """A simulator whose market stands still unless told otherwise, ended at the end."""
    arguments = ["--protocol", protocol, *more]
    if "--feed" not in more:
        arguments += ["--feed", "none"]
    process = subprocess.Popen(
        [sys.executable, "-m", "exchanges.simulator", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd or "/",
    )
    try:
        sim = (BackpackSim if protocol == "backpack" else AsterSim)(process, first_line(process))
    except BaseException:
        process.kill()
        process.communicate()
        raise
    try:
        yield sim
    finally:
        try:
            sim.close()
        finally:
            rest, errors = process.communicate()
    assert rest == "", "only one line was to be printed"
    assert errors == ""


def first_line(process: subprocess.Popen[str]) -> dict[str, str]:
    assert process.stdout is not None
    assert process.stderr is not None
    ready, _, _ = select.select([process.stdout], [], [], DEADLINE_S)
    text = process.stdout.readline() if ready else ""
    assert text, f"the simulator printed nothing: {process.stderr.read()}"
    line: dict[str, str] = json.loads(text)
    return line


def spec(name: str) -> Any:
    """A file of the reference material."""
    return json.loads((SPECS / name).read_text("utf-8"))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
