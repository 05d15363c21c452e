"""The simulator as a command: its one line, its control routes, its end (CONTRACT 8)."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
from decimal import Decimal
from http.client import HTTPException
from pathlib import Path

import pytest
from nacl.signing import SigningKey
from sim_world import SOL, SOLUSDT, running, wait_until

pytestmark = pytest.mark.slow  # each starts a process


@pytest.mark.parametrize("protocol", ["backpack", "aster"])
def test_line_names_addresses_and_keys(protocol: str, tmp_path: Path) -> None:
    """One JSON line, no path in the addresses, from any directory; the ports are the kernel's."""
    with running(protocol, cwd=tmp_path) as sim:
        assert set(sim.line) == {"base_url", "ws_url", "api_key", "secret_key"}
        port = re.fullmatch(r"http://127\.0\.0\.1:(\d+)", sim.base_url)
        assert port is not None
        assert sim.ws_url == f"ws://127.0.0.1:{port[1]}"
        assert all(sim.line.values())
    assert list(tmp_path.iterdir()) == []


def test_symbols_have_the_promised_limits() -> None:
    """Tick 0.01, lot 0.001, one account of 100,000 at leverage 10, the price asked for."""
    with running("backpack", "--symbol", SOL, "ETH_USDC_PERP", "--price", "3000.5") as sim:
        _, markets, _ = sim.http("GET", "/api/v1/markets")
        assert [market["symbol"] for market in markets] == [SOL, "ETH_USDC_PERP"]
        for market in markets:
            assert market["filters"]["price"]["tickSize"] == "0.01"
            assert market["filters"]["quantity"]["stepSize"] == "0.001"
        assert sim.account()["balances"][0]["balance"] == "100000"
        _, account, _ = sim.call("GET", "/api/v1/account", "accountQuery")
        assert account["leverageLimit"] == "10"
        _, ticker, _ = sim.http("GET", "/api/v1/ticker?symbol=ETH_USDC_PERP")
        assert ticker["lastPrice"] == "3000.5"


def test_given_credentials_are_printed_and_used(tmp_path: Path) -> None:
    """`--credentials` takes the place of the throwaway pair."""
    key = SigningKey(b"\7" * 32)
    pair = {
        "api_key": base64.b64encode(bytes(key.verify_key)).decode(),
        "secret_key": base64.b64encode(bytes(key)).decode(),
    }
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(pair))
    with running("backpack", "--credentials", str(path)) as sim:
        assert {name: sim.line[name] for name in pair} == pair
        assert sim.call("GET", "/api/v1/account", "accountQuery")[0] == 200


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--protocol", "binance"], "--protocol"),
        (["--protocol", "aster", "--symbol", "sol"], "--symbol"),
        (["--protocol", "backpack", "--symbol", "SOLUSDT"], "--symbol"),
        (["--protocol", "backpack", "--symbol", SOL, "SOL_USDT_PERP"], "quote asset"),
        (["--protocol", "aster", "--price", "free"], "--price"),
        (["--protocol", "aster", "--price", "0"], "--price"),
        (["--protocol", "aster", "--speed", "-1"], "--speed"),
        (["--protocol", "aster", "--seed", "-1"], "--seed"),
        (["--protocol", "aster", "--feed", "/no/such.csv"], "/no/such.csv"),
        (["--protocol", "aster", "--credentials", "/no/such.json"], "/no/such.json"),
        (["--protocol", "aster", "--host", "203.0.113.7"], "--host"),
        (["--protocol", "aster", "--host", ""], "--host"),
        (["--protocol", "aster", "--port", "70000"], "--port"),
    ],
)
def test_bad_arguments_end_with_2(arguments: list[str], named: str) -> None:
    """Nothing on standard output, what is wrong on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "exchanges.simulator", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_bad_credentials_are_not_printed(tmp_path: Path) -> None:
    """A pair that does not fit is refused without a word of it."""
    path = tmp_path / "keys.json"
    secret = base64.b64encode(b"\1" * 32).decode()
    path.write_text(json.dumps({"api_key": "A" * 43 + "=", "secret_key": secret}))
    arguments = ["--protocol", "backpack", "--credentials", str(path)]
    done = subprocess.run(
        [sys.executable, "-m", "exchanges.simulator", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "api_key" in done.stderr
    assert secret not in done.stderr


def test_taken_port_is_refused() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "exchanges.simulator", "--protocol", "aster", "--port", port],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    assert port in done.stderr


def test_price_fills_what_it_crosses() -> None:
    """An order at exactly the price fills, whole and in one trade, at its own price."""
    with running("backpack") as sim:
        assert sim.place("Bid", "149", "2")[0] == 200
        assert sim.place("Ask", "151", "1")[0] == 200
        assert sim.price("149.01", SOL)["fills"] == 0
        assert sim.price("149", SOL) == {"symbol": SOL, "price": "149", "fills": 1}
        fills = sim.account()["fills"]
        assert [(f["side"], f["price"], f["quantity"]) for f in fills] == [("BUY", "149", "2")]
        assert fills[0]["is_maker"] is True
        assert Decimal(fills[0]["fee"]) == Decimal("0.0596")
        assert sim.price("200", SOL)["fills"] == 1
        assert sim.account()["positions"][0]["quantity"] == "1"


def test_ledger_has_the_promised_fields() -> None:
    with running("aster") as sim:
        sim.place("BUY", "140", newClientOrderId="a-1")
        sim.place("BUY", None, "2", newClientOrderId="a-2")
        sim.control("funding", {"symbol": SOLUSDT, "rate": "0.0001"})
        account = sim.account()
        orders = {order["client_order_id"]: order for order in account["orders"]}
        kept = ("symbol", "side", "price", "quantity", "filled", "status")
        assert [orders["a-1"][name] for name in kept] == ["SOLUSDT", "BUY", "140", "1", "0", "NEW"]
        assert orders["a-2"]["status"] == "FILLED"
        fill = account["fills"][0]
        assert set(fill) == {
            "trade_id",
            "order_id",
            "client_order_id",
            "symbol",
            "side",
            "price",
            "quantity",
            "fee",
            "fee_asset",
            "is_maker",
            "time",
        }
        assert fill["order_id"] == orders["a-2"]["order_id"]
        assert fill["time"].endswith("+00:00")
        assert account["positions"][0]["symbol"] == SOLUSDT
        assert account["positions"][0]["quantity"] == "2"
        assert account["funding"][0]["amount"] == "-0.03"
        assert account["balances"][0] == {
            "asset": "USDT",
            "initial": "100000",
            "balance": "99999.82",
            "equity": "99999.82",
            "available": "99955.82",
        }


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("price", {"symbol": SOL}, "price"),
        ("price", {"symbol": SOL, "price": "-1"}, "price"),
        ("price", {"symbol": SOL, "price": "NaN"}, "price"),
        ("price", {"symbol": "X", "price": "1"}, "symbol"),
        ("price", {"price": "1"}, "symbol"),
        ("faults", {"http_500": 2}, "http_500"),
        ("faults", {"http_500": "often"}, "http_500"),
        ("faults", {"http_418": 1}, "http_418"),
        ("faults", {"latency_ms": -1}, "latency_ms"),
        ("faults", {"seed": 1.5}, "seed"),
        ("funding", {"symbol": SOL, "rate": "2"}, "rate"),
        ("funding", {"symbol": SOL}, "rate"),
        ("transfer", {}, "amount"),
        ("transfer", {"amount": "0"}, "amount"),
        ("transfer", {"amount": "-100001"}, "amount"),
        ("transfer", {"amount": "much"}, "amount"),
    ],
)
def test_bad_control_requests_change_nothing(path: str, body: object, named: str) -> None:
    with running("backpack") as sim:
        before = sim.control("ledger"), sim.control("faults")
        status, answer, _ = sim.http("POST", f"/_sim/{path}", json.dumps(body).encode())
        assert status == 400
        assert named in answer["error"]
        assert (sim.control("ledger"), sim.control("faults")) == before


def test_http_is_kept_alive_and_pipelined() -> None:
    """One connection serves request after request, also when several were sent at once."""
    with running("backpack") as sim:
        host, port = sim.base_url.removeprefix("http://").split(":")
        request = b"GET /api/v1/ping HTTP/1.1\r\nHost: x\r\n\r\n"
        with socket.create_connection((host, int(port)), timeout=20) as sock:
            for count in (1, 3):
                sock.sendall(request * count)
                heard = b""
                while heard.count(b"pong") < count:
                    heard += sock.recv(65_536)
                assert heard.count(b"HTTP/1.1 200") == count
            sock.sendall(b"GET /api/v1/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            heard = b""
            while chunk := sock.recv(65_536):
                heard += chunk
            assert heard.endswith(b"pong")


def test_head_is_a_get_without_its_body() -> None:
    """It broke the connection; the next request of the same one is answered."""
    with running("backpack") as sim:
        status, text, headers = sim.http("HEAD", "/api/v1/ping")
        assert (status, text, headers["content-length"]) == (200, "", "4")
        assert sim.http("GET", "/api/v1/ping")[1] == "pong"
        assert sim.http("HEAD", "/api/v1/order")[0] == 401


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_requests_and_sockets_open(number: signal.Signals) -> None:
    """A hanging request and fifty sockets do not keep it."""
    with running("backpack") as sim, running("backpack") as other:
        ears = [sim.listen(f"bookTicker.{SOL}") for _ in range(50)]
        sim.price("151", SOL)
        for ear in ears:
            ear.until(lambda frame: frame.get("data", {}).get("a") == "151.01")
        sim.control("faults", {"timeout_before": 1})
        hanging = sim.connect()
        hanging.request("GET", "/api/v1/time")
        sim.process.send_signal(number)
        assert sim.process.wait(20) == 0
        with pytest.raises((ConnectionError, HTTPException)):
            hanging.getresponse()
        assert other.http("GET", f"/api/v1/ticker?symbol={SOL}")[1]["lastPrice"] == "150"


def test_an_ipv6_address_is_printed_in_brackets() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with running("aster", "--host", "::1") as sim:
        assert re.fullmatch(r"http://\[::1\]:\d+", sim.base_url)
        assert sim.http("GET", "/fapi/v1/ping")[1] == {}
        ears = sim.listen("/fstream/ws/solusdt@bookTicker")
        assert ears.heard[-1]["result"] == ["solusdt@bookTicker"]
        ears.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", b"431"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n" + b"a" * 2_000_000,
            b"413",
        ),
    ],
)
def test_bad_http_is_refused_and_harms_nobody(sent: bytes, status: bytes) -> None:
    with running("backpack") as sim:
        host, port = sim.base_url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as sock:
            try:
                sock.sendall(sent)
                heard = sock.recv(65_536)
            except (BrokenPipeError, ConnectionResetError):
                heard = b"HTTP/1.1 " + status  # it closed before all was sent
            assert heard.split(b" ")[1][:3] == status
        assert sim.http("GET", "/api/v1/ping")[1] == "pong"


def test_synthetic_feed_moves_the_price_by_seed() -> None:
    """The same seed walks the same way; another walks another."""
    walks = []
    for seed in ("5", "5", "6"):
        with running("backpack", "--feed", "synthetic", "--seed", seed, "--speed", "50") as sim:
            ears = sim.listen(f"trade.{SOL}")
            wait_until("20 trades", lambda ears=ears: len(ears.heard) > 20 or not ears.next())
            _, trades, _ = sim.http("GET", f"/api/v1/trades?symbol={SOL}&limit=1000")
            walks.append([trade["price"] for trade in reversed(trades)][:15])
            ears.close()
    assert walks[0] == walks[1] != walks[2]


def test_candle_feed_walks_the_file(tmp_path: Path) -> None:
    """A CSV is walked from its first open; at its end the price stays."""
    rows = "timestamp_ms,open,high,low,close,volume\n"
    rows += "1640995200000,100,105,99,101,1\n1640995260000,101,120,100,118,1\n"
    path = tmp_path / "candles.csv"
    path.write_text(rows)
    relative = os.path.relpath(path, tmp_path)
    with running("backpack", "--feed", relative, "--speed", "0", cwd=tmp_path) as sim:
        wait_until("the end", lambda: sim.control("ledger")["prices"][SOL] == "118")
        _, ticker, _ = sim.http("GET", f"/api/v1/ticker?symbol={SOL}")
        assert ticker["lastPrice"] == "118"
        assert sim.place("Bid", "117")[0] == 200
