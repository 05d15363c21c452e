"""What the faults do, and that a seed makes them the same again."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from http.client import HTTPException
from typing import Any

import pytest
import websocket
from sim_world import SOL, SOLUSDT, AsterSim, BackpackSim, data_of, running, wait_until

pytestmark = pytest.mark.slow  # each starts a process

LIMIT = {"symbol": SOL, "side": "Bid", "orderType": "Limit", "price": "140", "quantity": "1"}


@pytest.fixture
def sim() -> Iterator[BackpackSim]:
    with running("backpack") as sim:
        yield sim


def test_faults_merge_into_what_is_set(sim: BackpackSim) -> None:
    first = sim.control("faults", {"http_500": 0.25, "seed": 3})
    assert (first["http_500"], first["seed"]) == (0.25, 3)
    second = sim.control("faults", {"latency_ms": 5})
    assert (second["http_500"], second["latency_ms"]) == (0.25, 5)
    assert sim.control("faults", {})["http_500"] == 0.25


@pytest.mark.parametrize(("fault", "status"), [("http_500", 500), ("http_429", 429)])
def test_refusing_faults_accept_nothing(sim: BackpackSim, fault: str, status: int) -> None:
    """Every request of the protocol is answered with the fault; the control routes are not."""
    sim.control("faults", {fault: 1})
    got, answer, headers = sim.call("POST", "/api/v1/order", "orderExecute", LIMIT)
    assert got == status
    assert set(answer) == {"code", "message"}
    assert status == 500 or int(headers["retry-after"]) >= 1
    assert sim.http("GET", "/api/v1/ping")[0] == status
    assert sim.account()["orders"] == []
    sim.control("faults", {fault: 0})
    assert sim.call("POST", "/api/v1/order", "orderExecute", LIMIT)[0] == 200


def test_aster_has_its_own_bodies() -> None:
    with running("aster") as sim:
        sim.control("faults", {"http_429": 1})
        status, answer, headers = sim.http("GET", "/fapi/v1/ping")
        assert (status, answer["code"], "retry-after" in headers) == (429, -1003, True)
        sim.control("faults", {"http_429": 0, "http_500": 1})
        status, answer, _ = sim.http("GET", "/fapi/v1/ping")
        assert (status, answer["code"]) == (500, -1000)


@pytest.mark.parametrize(("fault", "accepted"), [("timeout_before", 0), ("timeout_after", 1)])
def test_timeouts_hang_and_only_one_accepts(sim: BackpackSim, fault: str, accepted: int) -> None:
    """The reply never comes; after `timeout_after` the order rests all the same."""
    sim.control("faults", {fault: 1})
    impatient = sim.connect(timeout_s=1)
    with pytest.raises(TimeoutError):
        sim.call("POST", "/api/v1/order", "orderExecute", LIMIT, connection=impatient)
    impatient.close()
    orders = sim.account()["orders"]
    assert [order["status"] for order in orders] == ["NEW"] * accepted
    sim.control("faults", {fault: 0})
    assert len(sim.call("GET", "/api/v1/orders", "orderQueryAll")[1]) == accepted


def test_timeouts_close_after_half_a_minute(sim: BackpackSim) -> None:
    """A patient client finds the connection closed; others were served meanwhile."""
    sim.control("faults", {"timeout_after": 1})
    ended: list[float] = []

    def wait() -> None:
        patient = sim.connect(timeout_s=120)
        began = time.monotonic()
        try:
            sim.call("POST", "/api/v1/order", "orderExecute", LIMIT, connection=patient)
        except (HTTPException, OSError):
            ended.append(time.monotonic() - began)
        finally:
            patient.close()

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until("the order", lambda: sim.account()["orders"])
    sim.control("faults", {"timeout_after": 0})
    assert sim.http("GET", "/api/v1/ping")[1] == "pong"
    thread.join(120)
    assert len(ended) == 1
    assert ended[0] >= 29


def test_latency_delays_the_protocol_only(sim: BackpackSim) -> None:
    sim.control("faults", {"latency_ms": 400})
    began = time.monotonic()
    sim.http("GET", "/api/v1/ping")
    assert time.monotonic() - began >= 0.4
    sim.control("faults", {"latency_ms": 60_000})
    impatient = sim.connect(timeout_s=1)
    with pytest.raises(TimeoutError):
        sim.http("GET", "/api/v1/ping", connection=impatient)
    impatient.close()
    assert sim.control("faults")["latency_ms"] == 60_000


def test_partial_fills_in_part_and_completes(sim: BackpackSim) -> None:
    """A crossed order fills in more than one trade, whose sum is the order; none is lost."""
    sim.control("faults", {"partial_fill": 1, "seed": 4})
    ears = sim.listen("account.orderUpdate")
    sim.place("Bid", "149", "5", clientId=1)
    sim.price("149", SOL)
    assert sim.account()["orders"][0]["status"] == "PARTIALLY_FILLED"
    told = ears.events("orderFill", lambda doc: doc["X"] == "Filled")
    assert len(told) >= 2
    assert [doc["X"] for doc in told] == ["PartiallyFilled"] * (len(told) - 1) + ["Filled"]
    assert sum(Decimal(doc["l"]) for doc in told) == 5
    assert [Decimal(doc["z"]) for doc in told] == sorted(Decimal(doc["z"]) for doc in told)
    assert len({doc["t"] for doc in told}) == len(told)
    assert sim.account()["positions"][0]["quantity"] == "5"
    ears.close()


def test_partly_filled_order_can_be_cancelled(sim: BackpackSim) -> None:
    sim.control("faults", {"partial_fill": 1})
    sim.place("Bid", "149", "5", clientId=1)
    sim.price("149", SOL)
    sim.price("151", SOL)  # the price left it: the rest waits
    name = {"symbol": SOL, "clientId": 1}
    _, gone, _ = sim.call("DELETE", "/api/v1/order", "orderCancel", name)
    assert gone["status"] == "Cancelled"
    assert 0 < Decimal(gone["executedQuantity"]) < 5
    sim.price("148", SOL)
    assert sim.account()["positions"][0]["quantity"] == gone["executedQuantity"]


@pytest.mark.parametrize(("tif", "status"), [("IOC", "Expired"), ("GTC", "PartiallyFilled")])
def test_partly_filled_takers(sim: BackpackSim, tif: str, status: str) -> None:
    """What an IOC does not get expires; a GTC's rest waits in the book."""
    sim.control("faults", {"partial_fill": 1})
    _, answer = sim.place("Bid", "150", "5", timeInForce=tif)
    assert answer["status"] == status
    assert 0 < Decimal(answer["executedQuantity"]) < 5
    wait_until(
        "the rest",
        lambda: tif == "IOC" or sim.account()["orders"][0]["status"] == "FILLED",
    )
    done = "5" if tif == "GTC" else answer["executedQuantity"]
    assert sim.account()["positions"][0]["quantity"] == done


def test_dropped_sockets_lose_what_was_told(sim: BackpackSim) -> None:
    """The connection is cut at the event; the order is on the exchange all the same."""
    ears = sim.listen("account.orderUpdate")
    sim.control("faults", {"ws_drop": 1})
    sim.place("Bid", "140")
    with pytest.raises((websocket.WebSocketException, OSError)):
        ears.until(lambda frame: data_of(frame).get("e") == "orderAccepted")
    assert len(sim.account()["orders"]) == 1
    sim.control("faults", {"ws_drop": 0})
    again = sim.listen("account.orderUpdate")
    sim.place("Bid", "141", clientId=2)
    again.events("orderAccepted", lambda doc: doc.get("c") == 2)
    again.close()


def test_duplicate_events(sim: BackpackSim) -> None:
    """Each event comes twice, the same."""
    ears = sim.listen("account.orderUpdate")
    sim.control("faults", {"duplicate_event": 1})
    sim.place("Bid", "149", clientId=1)
    sim.price("149", SOL)
    ears.until(lambda frame: data_of(frame).get("e") == "orderFill")
    ears.until(lambda frame: data_of(frame).get("e") == "orderFill")
    told = [data_of(frame) for frame in ears.heard if "data" in frame]
    assert [doc["e"] for doc in told] == ["orderAccepted"] * 2 + ["orderFill"] * 2
    assert told[0] == told[1]
    assert told[2] == told[3]
    ears.close()


def test_reordered_events_are_late_but_never_lost(sim: BackpackSim) -> None:
    """With half of them held back, all arrive, some out of order."""
    ears = sim.listen("account.orderUpdate")
    sim.control("faults", {"reorder_event": 0.5, "seed": 1})
    for client_id in range(1, 41):
        sim.place("Bid", "140", clientId=client_id)
    ears.until(lambda _: sum("data" in frame for frame in ears.heard) == 40)
    order = [data_of(frame)["c"] for frame in ears.heard if "data" in frame]
    assert sorted(order) == list(range(1, 41))
    assert order != sorted(order)
    ears.close()


def test_stream_comes_before_or_after_the_answer() -> None:
    """Nothing is promised: over many orders both happen, and the order is right in each."""
    with running("aster") as sim:
        ears = sim.listen(f"/ws/{sim.listen_key()}")
        for index in range(8):
            sim.place("BUY", "140", newClientOrderId=f"n-{index}")
        ears.until(lambda f: f.get("o", {}).get("c") == "n-7")
        assert [f["o"]["c"] for f in ears.heard if "o" in f] == [f"n-{i}" for i in range(8)]
        ears.close()


STORM = {
    "http_500": 0.1,
    "http_429": 0.1,
    "partial_fill": 0.5,
    "duplicate_event": 0.2,
    "reorder_event": 0.2,
}


def story(seed: int) -> list[Any]:
    """The same requests in the same order, and what became of them."""
    with running("aster", "--seed", str(seed)) as sim:
        sim.control("faults", {**STORM, "seed": seed})
        answers: list[Any] = []
        for index in range(60):
            side, price = (("BUY", "149"), ("SELL", "151"))[index % 2]
            status, answer = sim.place(side, price, "1.5", newClientOrderId=f"s-{index}")
            answers.append((status, answer.get("status"), answer.get("executedQty")))
            if index % 5 == 4:
                sim.price(("149", "151", "150")[index % 3], SOLUSDT)
        account = sim.account()
        fills = [(f["side"], f["price"], f["quantity"], f["fee"]) for f in account["fills"]]
        orders = [(o["client_order_id"], o["status"], o["filled"]) for o in account["orders"]]
        return [answers, fills, orders, account["balances"]]


def test_a_seed_tells_the_same_story_again() -> None:
    first = story(7)
    assert any(status in (500, 429) for status, _, _ in first[0])
    assert any(quantity != "1.5" for _, _, quantity, _ in first[1])
    assert story(7) == first
    assert story(8) != first


def test_the_ledger_adds_up_after_a_storm() -> None:
    """Faults of every kind, two connections at once: fills, position and balance still agree."""
    with running("aster") as sim:
        sim.control("faults", {**STORM, "seed": 11})
        threads = [threading.Thread(target=trade, args=(sim, n)) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        sim.control("faults", dict.fromkeys(STORM, 0))
        check_ledger(sim)


def trade(sim: AsterSim, number: int) -> None:
    connection = sim.connect()
    for index in range(40):
        side, price = (("BUY", "149.5"), ("SELL", "150.5"))[(index + number) % 2]
        order = {
            "symbol": SOLUSDT,
            "side": side,
            "type": "LIMIT",
            "timeInForce": "GTC",
            "price": price,
            "quantity": "0.7",
            "newClientOrderId": f"t-{number}-{index}",
        }
        sim.call("POST", "/fapi/v1/order", order, connection=connection)
        if index % 4 == 3:
            body = json.dumps(
                {"symbol": SOLUSDT, "price": ("149.4", "150.6")[index // 4 % 2]}
            ).encode()
            sim.http("POST", "/_sim/price", body, connection=connection)
    connection.close()


def check_ledger(sim: AsterSim) -> None:
    account = sim.account()
    fills, orders = account["fills"], {o["order_id"]: o for o in account["orders"]}
    assert fills
    assert len({fill["trade_id"] for fill in fills}) == len(fills)
    held, cash, fees = Decimal(0), Decimal(0), Decimal(0)
    filled: dict[str, Decimal] = {}
    for fill in fills:
        sign = 1 if fill["side"] == "BUY" else -1
        quantity, price = Decimal(fill["quantity"]), Decimal(fill["price"])
        held += sign * quantity
        cash -= sign * quantity * price
        fees += Decimal(fill["fee"])
        filled[fill["order_id"]] = filled.get(fill["order_id"], Decimal(0)) + quantity
    for order_id, order in orders.items():
        assert Decimal(order["filled"]) == filled.get(order_id, Decimal(0))
        assert Decimal(order["filled"]) <= Decimal(order["quantity"])
        is_full = Decimal(order["filled"]) == Decimal(order["quantity"])
        assert (order["status"] == "FILLED") == is_full
    assert Decimal(account["positions"][0]["quantity"]) == held
    price = Decimal(sim.control("ledger")["prices"][SOLUSDT])
    equity = 100_000 + cash + held * price - fees
    assert Decimal(account["balances"][0]["equity"]) == equity
