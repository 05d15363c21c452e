"""Both protocols' sockets: what is told of orders, positions and the market, and to whom."""

from __future__ import annotations

import base64
import json
import os
import socket
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import websocket
from sim_world import (
    SOL,
    SOLUSDT,
    SPECS,
    AsterSim,
    BackpackSim,
    Ears,
    data_of,
    running,
    spec,
    wait_until,
)

pytestmark = pytest.mark.slow  # each starts a process


@pytest.fixture
def backpack() -> Iterator[BackpackSim]:
    with running("backpack") as sim:
        yield sim


@pytest.fixture
def aster() -> Iterator[AsterSim]:
    with running("aster") as sim:
        yield sim


def shape(doc: Any, *, of: str) -> None:
    """Has the keys and kinds of values of a reference payload."""
    if not (SPECS / "fixtures").exists():
        pytest.skip(f"no fixtures in {SPECS}; set GRID_DATA")
    frame = spec(f"fixtures/{of}.json")["frame"]
    same(doc, frame.get("data", frame), of)


def same(doc: Any, reference: Any, where: str) -> None:
    if isinstance(reference, dict):
        assert set(doc) == set(reference), where
        for name, value in reference.items():
            same(doc[name], value, f"{where}.{name}")
    elif isinstance(reference, list) and reference and doc:
        same(doc[0], reference[0], f"{where}[0]")
    elif reference is not None:
        assert type(doc) is type(reference), f"{where}: {doc!r} against {reference!r}"


def test_backpack_tells_an_order_from_acceptance_to_fill(backpack: BackpackSim) -> None:
    """In order, cumulative, with the fee; the same stream for all symbols or one."""
    every = backpack.listen("account.orderUpdate", "account.positionUpdate")
    one = backpack.listen(f"account.orderUpdate.{SOL}")
    backpack.place("Bid", "149", "1.2", clientId=5)
    backpack.price("149", SOL)
    for ears in (every, one):
        told = ears.events("orderFill", lambda doc: doc["X"] == "Filled")
        assert [(doc["z"], doc["m"], doc["n"]) for doc in told] == [("1.2", True, "0.03576")]
        accepted = next(f for f in ears.heard if data_of(f).get("e") == "orderAccepted")
        assert accepted["data"]["c"] == 5
        assert accepted["stream"].startswith("account.orderUpdate")
    shape(data_of(accepted), of="backpack/ws_orderUpdate_accepted")
    shape(told[0], of="backpack/ws_orderUpdate_fill_full")
    opened = every.until(lambda frame: data_of(frame).get("e") == "positionOpened")
    assert data_of(opened)["q"] == "1.2"
    shape(data_of(opened), of="backpack/ws_positionUpdate_opened")
    backpack.place("Ask", None, "0.2")
    backpack.place("Ask", None, "1", reduceOnly=True)
    closed = every.until(lambda frame: data_of(frame).get("e") == "positionClosed")
    assert data_of(closed)["q"] == "0"
    market = [data_of(f) for f in every.heard if data_of(f).get("o") == "MARKET"]
    assert all("p" not in doc and "c" not in doc for doc in market)
    every.close()
    one.close()


def test_backpack_tells_the_end_of_an_order(backpack: BackpackSim) -> None:
    ears = backpack.listen("account.orderUpdate")
    backpack.place("Bid", "140", clientId=1)
    backpack.call("DELETE", "/api/v1/order", "orderCancel", {"symbol": SOL, "clientId": 1})
    told = ears.events("orderCancelled", lambda doc: doc["c"] == 1)
    shape(told[0], of="backpack/ws_orderUpdate_cancelled")
    backpack.place("Bid", "140", clientId=2, timeInForce="IOC")
    told = ears.events("orderExpired", lambda doc: doc["c"] == 2)
    assert told[0]["R"] == "ImmediateOrCancel"
    ears.close()


def test_backpack_shrinks_a_reduce_only_order_and_says_so(backpack: BackpackSim) -> None:
    """It is told as modified, with the quantity that the position still covers."""
    backpack.place("Bid", None, "2")
    ears = backpack.listen("account.orderUpdate")
    sent = {"clientId": 4, "reduceOnly": True, "postOnly": True}
    assert backpack.place("Ask", "160", "2", **sent)[0] == 200
    backpack.place("Ask", None, "0.8")
    modified = ears.events("orderModified", until=lambda doc: doc["c"] == 4)[0]
    shape(modified, of="backpack/ws_orderUpdate_modified")
    assert (modified["q"], modified["Q"], modified["X"]) == ("1.2", "192", "New")
    resting = backpack.call("GET", "/api/v1/orders", "orderQueryAll")[1]
    assert [order["quantity"] for order in resting] == ["1.2"]


def test_backpack_positions_begin_with_a_snapshot(backpack: BackpackSim) -> None:
    backpack.place("Ask", None, "2")
    ears = backpack.listen("account.positionUpdate")
    snapshot = next(f for f in ears.heard if f.get("stream") == "account.positionUpdate")
    assert snapshot["data"]["q"] == "-2"
    shape(snapshot["data"], of="backpack/ws_positionUpdate_snapshot")
    ears.close()


@pytest.mark.parametrize(
    "signature",
    [None, ["a", "b"], ["key", "c2ln", "1", "5000"]],
)
def test_backpack_private_streams_want_a_signature(
    backpack: BackpackSim, signature: list[str] | None
) -> None:
    """Refused with an error frame; nothing private is told."""
    ears = backpack.hear()
    frame: dict[str, Any] = {"method": "SUBSCRIBE", "params": ["account.orderUpdate"]}
    if signature is not None:
        frame["signature"] = signature
    ears.say(frame)
    assert "error" in ears.next()
    backpack.place("Bid", "140")
    ears.say({"method": "SUBSCRIBE", "params": ["depth.NO"]})
    assert ears.next() == {"id": None, "error": {"code": 4006, "message": "Invalid stream"}}
    ears.close()


def test_backpack_market_streams(backpack: BackpackSim) -> None:
    names = [f"{kind}.{SOL}" for kind in ("bookTicker", "trade", "markPrice", "ticker", "kline.1m")]
    ears = backpack.listen(*names)
    backpack.price("151", SOL)
    backpack.place("Bid", None, "1", clientId=3)
    wanted = {"bookTicker", "trade", "markPrice", "ticker", "kline"}
    ears.until(lambda _: {data_of(f).get("e") for f in ears.heard} >= wanted)
    for kind in wanted:
        doc = next(data_of(f) for f in ears.heard if data_of(f).get("e") == kind)
        shape(doc, of=f"backpack/ws_{kind}")
    book = [data_of(f) for f in ears.heard if data_of(f).get("e") == "bookTicker"]
    assert (book[0]["b"], book[0]["a"]) == ("150.99", "151.01")
    ears.say({"method": "UNSUBSCRIBE", "params": names})
    ears.close()


@pytest.mark.parametrize("speed", ["", "200ms."])
def test_backpack_depth_steps_join_with_rest(backpack: BackpackSim, speed: str) -> None:
    """Snapshot and steps give the book of REST; no step is missing."""
    ears = backpack.listen(f"depth.{speed}{SOL}")
    _, start, _ = backpack.http("GET", f"/api/v1/depth?symbol={SOL}")
    backpack.place("Bid", "140", "7")
    for price in ("150.5", "149", "151.25"):
        backpack.price(price, SOL)
    _, end, _ = backpack.http("GET", f"/api/v1/depth?symbol={SOL}")
    ears.until(lambda frame: data_of(frame).get("u", 0) >= int(end["lastUpdateId"]))
    steps = [data_of(f) for f in ears.heard if data_of(f).get("e") == "depth"]
    last = int(start["lastUpdateId"])
    sides = {
        "bids": {Decimal(p): q for p, q in start["bids"]},
        "asks": {Decimal(p): q for p, q in start["asks"]},
    }
    for step in steps:
        assert step["U"] == last + 1
        last = step["u"]
        for side, key in (("bids", "b"), ("asks", "a")):
            for price, quantity in step[key]:
                if Decimal(quantity) == 0:
                    sides[side].pop(Decimal(price))
                else:
                    sides[side][Decimal(price)] = quantity
    for side, book in sides.items():
        assert book == {Decimal(p): q for p, q in end[side]}
    ears.close()


@pytest.mark.parametrize(
    ("path", "wraps"),
    [
        ("/ws/{key}", False),
        ("/fstream/ws/{key}", False),
        ("/any/prefix/ws/{key}", False),
        ("/stream?streams={key}", True),
        ("/fstream/stream?streams={key}/solusdt@bookTicker", True),
    ],
)
def test_aster_user_stream_has_any_prefix(aster: AsterSim, path: str, wraps: bool) -> None:
    """An order's life on the user stream, wrapped only under `/stream`."""
    key = aster.listen_key()
    ears = aster.listen(path.format(key=key))
    aster.place("BUY", "149", "1.2", newClientOrderId="g-1", timeInForce="GTX")
    aster.price("149", SOLUSDT)
    frame = ears.until(lambda f: data_of(f).get("o", {}).get("X") == "FILLED")
    assert ("stream" in frame) is wraps
    filled = data_of(frame)
    assert (filled["o"]["c"], filled["o"]["z"], filled["o"]["n"]) == ("g-1", "1.2", "0.03576")
    shape(filled, of="aster/ws_ORDER_TRADE_UPDATE_filled")
    new = next(data_of(f) for f in ears.heard if data_of(f).get("o", {}).get("x") == "NEW")
    shape(new, of="aster/ws_ORDER_TRADE_UPDATE_new")
    update = data_of(ears.until(lambda f: data_of(f).get("e") == "ACCOUNT_UPDATE"))
    assert update["a"]["P"][0]["pa"] == "1.2"
    shape(update, of="aster/ws_ACCOUNT_UPDATE_order")
    ears.close()


def test_aster_tells_cancels_expiry_funding_and_leverage(aster: AsterSim) -> None:
    ears = aster.listen(f"/ws/{aster.listen_key()}")
    aster.place("BUY", "140", newClientOrderId="c")
    aster.call("DELETE", "/fapi/v1/order", {"symbol": SOLUSDT, "origClientOrderId": "c"})
    canceled = ears.until(lambda f: f.get("o", {}).get("x") == "CANCELED")
    shape(canceled, of="aster/ws_ORDER_TRADE_UPDATE_canceled")
    aster.place("BUY", "151", timeInForce="GTX")
    expired = ears.until(lambda f: f.get("o", {}).get("x") == "EXPIRED")
    shape(expired, of="aster/ws_ORDER_TRADE_UPDATE_expired_gtx")
    aster.call("POST", "/fapi/v1/leverage", {"symbol": SOLUSDT, "leverage": "5"})
    config = ears.until(lambda f: f.get("e") == "ACCOUNT_CONFIG_UPDATE")
    shape(config, of="aster/ws_ACCOUNT_CONFIG_UPDATE_leverage")
    aster.place("BUY", None, "1")
    aster.control("funding", {"symbol": SOLUSDT, "rate": "0.001"})
    funded = ears.until(lambda f: f.get("a", {}).get("m") == "FUNDING_FEE")
    assert funded["a"]["B"][0]["bc"] == "-0.15"
    shape(funded, of="aster/ws_ACCOUNT_UPDATE_funding")
    ears.close()


def test_aster_market_streams_and_commands(aster: AsterSim) -> None:
    ears = aster.listen("/ws")
    names = ["solusdt@bookTicker", "solusdt@aggTrade", "solusdt@markPrice@1s"]
    names += ["solusdt@kline_1m", "solusdt@ticker", "solusdt@depth@100ms"]
    ears.say({"method": "SUBSCRIBE", "params": names, "id": 7})
    assert ears.until(lambda f: f.get("id") == 7) == {"result": None, "id": 7}
    aster.price("151", SOLUSDT)
    wanted = {"bookTicker", "aggTrade", "markPriceUpdate", "kline", "24hrTicker", "depthUpdate"}
    ears.until(lambda _: {f.get("e") for f in ears.heard} >= wanted)
    for kind in wanted:
        doc = next(f for f in ears.heard if f.get("e") == kind)
        shape(doc, of=f"aster/ws_{kind}")
    ears.say({"method": "LIST_SUBSCRIPTIONS", "id": 8})
    assert ears.until(lambda f: f.get("id") == 8)["result"] == names
    ears.say({"method": "SET_PROPERTY", "params": ["combined", True], "id": 9})
    ears.until(lambda f: f.get("id") == 9)
    aster.price("150", SOLUSDT)
    ears.until(lambda f: f.get("stream") == "solusdt@bookTicker")
    ears.say({"method": "UNSUBSCRIBE", "params": names})  # without an id, as some clients do
    ears.until(lambda f: "result" in f and f["id"] is None)
    for bad in ({"method": "SUBSCRIBE", "params": [], "id": -1}, {"method": "NO", "id": 1}, []):
        ears.say(bad)
        assert "code" in ears.until(lambda f: "code" in f)
    ears.close()


def test_aster_depth_joins_with_rest(aster: AsterSim) -> None:
    """Each `pu` is the `u` before; partial depth tells whole levels."""
    ears = aster.listen("/stream?streams=solusdt@depth@100ms/solusdt@depth5@100ms")
    _, start, _ = aster.http("GET", f"/fapi/v1/depth?symbol={SOLUSDT}&limit=1000")
    last = start["lastUpdateId"]
    for price in ("150.5", "149", "151.25"):
        aster.price(price, SOLUSDT)
        _, now, _ = aster.http("GET", f"/fapi/v1/depth?symbol={SOLUSDT}")
        ears.until(
            lambda f, end=now: (
                f.get("stream") == "solusdt@depth@100ms" and f["data"]["u"] >= end["lastUpdateId"]
            )
        )
    steps = [f["data"] for f in ears.heard if f.get("stream") == "solusdt@depth@100ms"]
    for step in steps:
        assert step["pu"] == last
        assert step["U"] <= step["u"]
        last = step["u"]
    partial = ears.until(lambda f: f.get("stream") == "solusdt@depth5@100ms")["data"]
    assert len(partial["b"]) == len(partial["a"]) == 5
    ears.close()


@pytest.mark.parametrize("protocol", ["backpack", "aster"])
def test_a_market_that_stands_still_is_told_of(protocol: str) -> None:
    """Book, depth and mark price come within their time though nothing happens."""
    with running(protocol) as sim:
        if protocol == "backpack":
            ears = sim.listen(*(f"{kind}.{SOL}" for kind in ("bookTicker", "depth", "markPrice")))
            wanted = {"bookTicker", "depth", "markPrice"}
        else:
            names = ("bookTicker", "depth@100ms", "markPrice@1s")
            ears = sim.listen("/stream?streams=" + "/".join(f"solusdt@{name}" for name in names))
            wanted = {"bookTicker", "depthUpdate", "markPriceUpdate"}
        ears.until(lambda _: {data_of(f).get("e") for f in ears.heard} >= wanted)
        step = next(f for f in ears.heard if data_of(f).get("e", "").startswith("depth"))
        assert data_of(step)["b"][0][0] == "149.99"


def test_aster_drops_a_client_that_talks_too_much(aster: AsterSim) -> None:
    """More than ten messages in a second end the connection."""
    ears = aster.listen("/ws")
    with pytest.raises((websocket.WebSocketException, OSError)):
        chatter(ears)
    assert aster.http("GET", "/fapi/v1/ping")[0] == 200


def chatter(ears: Ears) -> None:
    """Talk without a pause until it is cut off."""
    for number in range(100):
        ears.say({"method": "LIST_SUBSCRIPTIONS", "id": number})
    for _ in range(100):
        ears.next()


@pytest.mark.parametrize("protocol", ["backpack", "aster"])
def test_broken_sockets_harm_nobody(protocol: str) -> None:
    """No handshake, a reset in the middle, broken frames: the next client is served."""
    with running(protocol) as sim:
        host, port = sim.base_url.removeprefix("http://").split(":")
        key = base64.b64encode(os.urandom(16)).decode()
        handshake = (
            "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        ).encode()
        for sent in (
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n",
            handshake[:40],
            handshake,
            handshake + b"\xff\xff\xff\xff",
            handshake + b"\x81\x05hello",  # a client must mask
        ):
            with socket.create_connection((host, int(port)), timeout=20) as sock:
                sock.sendall(sent)
                sock.settimeout(0.2)
                try:
                    sock.recv(65_536)
                except TimeoutError:
                    continue
        ears = sim.hear("/ws")
        ears.ws.ping("x")
        opcode, _ = ears.ws.recv_data(control_frame=True)
        assert opcode == websocket.ABNF.OPCODE_PONG
        ears.ws.send(json.dumps("text, no object"))
        assert ears.next()
        ears.close()
        wait_until("an answer", lambda: sim.control("ledger"))


def test_stamps_are_in_each_exchanges_units(backpack: BackpackSim) -> None:
    """Backpack's streams count microseconds, its orders milliseconds."""
    ears = backpack.listen("account.orderUpdate")
    _, placed = backpack.place("Bid", "140", clientId=1)
    told = ears.events("orderAccepted", lambda doc: doc["c"] == 1)
    assert abs(told[0]["T"] / 1e6 - time.time()) < 60
    assert abs(placed["createdAt"] / 1e3 - time.time()) < 60
    ears.close()
