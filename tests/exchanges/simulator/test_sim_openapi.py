"""Every answer of every Backpack route validates against the exchange's own OpenAPI documents.

And every operation of the documents is a route: what is not simulated is refused in words.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
import pytest
from sim_world import SOL, SPECS, BackpackSim, running, spec

from exchanges.simulator.backpack import Backpack
from exchanges.simulator.backpack_unserved import NOTHING_THERE, REFUSED
from exchanges.simulator.faults import Faults
from exchanges.simulator.hub import Hub

pytestmark = [
    pytest.mark.slow,  # starts a process
    pytest.mark.skipif(
        not (SPECS / "Backpack_Exchange_API.json").exists(),
        reason=f"no OpenAPI document in {SPECS}; set GRID_DATA",
    ),
]
DOCUMENTS = ["Backpack_Exchange_API.json", "Backpack_Exchange_API_2026-08.json"]
UNDOCUMENTED = {  # clients ask for them; the documents do not have them (any more)
    ("GET", "/wapi/v1/history/pnl"),
}
NO_ROUTE = {  # documented operations that answer 404
    ("GET", "/wapi/v1/history/position/{positionId}/events"): "gone from the newer document",
}

QUERIES: dict[tuple[str, str], dict[str, str]] = {
    ("GET", "/api/v1/market"): {"symbol": SOL},
    ("GET", "/api/v1/ticker"): {"symbol": SOL},
    ("GET", "/api/v1/depth"): {"symbol": SOL},
    ("GET", "/api/v1/klines"): {
        "symbol": SOL,
        "interval": "1h",
        "startTime": str(int(time.time()) - 86_400),
    },
    ("GET", "/api/v1/fundingRates"): {"symbol": SOL, "limit": "3"},
    ("GET", "/api/v1/trades"): {"symbol": SOL},
    ("GET", "/api/v1/trades/history"): {"symbol": SOL},
    ("GET", "/api/v1/borrowLend/markets/history"): {"interval": "1d"},
    ("GET", "/api/v1/account/limits/order"): {"symbol": SOL, "side": "Ask", "reduceOnly": "true"},
    ("GET", "/api/v1/account/limits/borrow"): {"symbol": "USDC"},
    ("GET", "/api/v1/account/limits/withdrawal"): {"symbol": "USDC"},
    ("GET", "/api/v1/order"): {"symbol": SOL, "clientId": "1"},
}
LIMIT = {"symbol": SOL, "side": "Bid", "orderType": "Limit", "price": "140", "quantity": "1"}
BODIES: dict[tuple[str, str], Any] = {
    ("PATCH", "/api/v1/account"): {"leverageLimit": "10"},
    ("POST", "/api/v1/order"): {**LIMIT, "clientId": 77, "postOnly": True},
    ("POST", "/api/v1/orders"): [LIMIT, {**LIMIT, "price": "1"}],
    ("DELETE", "/api/v1/order"): {"symbol": SOL, "clientId": 2},
    ("DELETE", "/api/v1/orders"): {"symbol": SOL},
}


@cache
def every_route() -> dict[tuple[str, str], str]:
    """Method, path and instruction, from the routing table itself: a new route is tested too."""

    class Bare:
        listings: dict[str, Any] = {}  # noqa: RUF012 - the least that a table needs
        markets: dict[str, Any] = {}  # noqa: RUF012

    protocol = Backpack(Bare(), Hub(Faults()), "A" * 43 + "=")  # type: ignore[arg-type]
    return {key: route.instruction for key, route in protocol.routes.items()}


@pytest.fixture(scope="module")
def sim() -> Iterator[BackpackSim]:
    """An account with a history of every kind: fills, funding, orders in each state."""
    with running("backpack", "--symbol", SOL, "ETH_USDC_PERP") as sim:
        sim.place("Bid", None, "6000", clientId=9)
        sim.control("funding", {"symbol": SOL, "rate": "0.0001"})
        sim.price("130", SOL)  # liquidated
        sim.price("150", SOL)
        sim.place("Bid", None, "2")
        sim.place("Bid", "149", "1", timeInForce="IOC")
        stop = {**LIMIT, "triggerPrice": "160", "triggerQuantity": "1", "triggerBy": "LastPrice"}
        assert sim.call("POST", "/api/v1/order", "orderExecute", stop)[0] == 200
        for client_id in (1, 2, 3):
            sim.place("Bid", "140", "1", clientId=client_id)
        sim.call("DELETE", "/api/v1/order", "orderCancel", {"symbol": SOL, "clientId": 3})
        sim.control("funding", {"symbol": SOL, "rate": "0.0001"})
        yield sim


@pytest.mark.parametrize(("method", "path"), sorted(every_route()))
def test_answers_validate(sim: BackpackSim, method: str, path: str) -> None:
    key = (method, path)
    instruction = every_route()[key]
    fields = (QUERIES if method == "GET" else BODIES).get(key, {})
    if path in ("/api/v1/order", "/api/v1/orders"):  # the same two orders rest before each
        sim.call("DELETE", "/api/v1/orders", "orderCancelAll", {"symbol": SOL})
        for client_id in (1, 2):
            sim.place("Bid", "140", "1", clientId=client_id)
    if instruction:
        status, answer, headers = sim.call(method, path, instruction, fields)
    else:
        query = "&".join(f"{name}={value}" for name, value in fields.items())
        status, answer, headers = sim.http(method, f"{path}?{query}")
    wanted = 400 if key in REFUSED else 404 if key in NOTHING_THERE else 200
    assert status == wanted, answer
    assert wanted != 400 or answer["code"] == "NOT_IMPLEMENTED"
    documented = [document for document in DOCUMENTS if operation_of(document, key) is not None]
    assert bool(documented) != (key in UNDOCUMENTED)
    for document in documented:
        if status != 200:
            validate(answer, {"$ref": "#/components/schemas/ApiErrorResponse"}, document)
            continue
        operation = operation_of(document, key)
        content = operation["responses"]["200"].get("content")
        if content is None:
            assert answer == ""
            continue
        kind, described = next(iter(content.items()))
        assert headers["content-type"].split(";")[0] == kind.split(";")[0]
        validate(answer, described["schema"], document)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_documented_operation_is_a_route(document: str) -> None:
    """The test above validates each route, so that each operation is validated or refused."""
    operations = {
        (method.upper(), path)
        for path, item in read(document)["paths"].items()
        for method in item
        if method in ("get", "post", "put", "patch", "delete")
    }
    assert len(operations) > 60
    assert operations - set(every_route()) <= set(NO_ROUTE)


@pytest.mark.parametrize("word", ["marketType=SPOT", "marketType=SPOT&marketType=DATED"])
def test_another_market_type_has_nothing(sim: BackpackSim, word: str) -> None:
    assert sim.http("GET", f"/api/v1/markets?{word}")[1] == []
    assert sim.http("GET", f"/api/v1/markPrices?{word}")[1] == []
    both = sim.http("GET", f"/api/v1/markets?{word}&marketType=PERP")[1]
    assert [market["marketType"] for market in both] == ["PERP", "PERP"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_errors_validate(sim: BackpackSim, document: str) -> None:
    """An error's code is one of the documented ones."""
    for more in ({"price": "1"}, {"quantity": "99999"}, {"side": "x"}, {"symbol": "x"}):
        status, answer, _ = sim.call("POST", "/api/v1/order", "orderExecute", {**LIMIT, **more})
        assert status == 400
        validate(answer, {"$ref": "#/components/schemas/ApiErrorResponse"}, document)


def test_rows_are_there_to_validate(sim: BackpackSim) -> None:
    """The answers above are of a full account: an empty list would validate as well."""
    for path, instruction in (
        ("/wapi/v1/history/fills", "fillHistoryQueryAll"),
        ("/wapi/v1/history/orders", "orderHistoryQueryAll"),
        ("/wapi/v1/history/funding", "fundingHistoryQueryAll"),
        ("/wapi/v1/history/position", "positionHistoryQueryAll"),
        ("/api/v1/position", "positionQuery"),
    ):
        assert sim.call("GET", path, instruction)[1], path


def operation_of(document: str, key: tuple[str, str]) -> Any:
    method, path = key
    return read(document)["paths"].get(path, {}).get(method.lower())


def validate(answer: Any, schema: dict[str, Any], document: str) -> None:
    """Against the document's schemas; null stands for an absent optional, as captures have it."""
    whole = {**_nullable(schema), "components": components(document)}
    jsonschema.Draft202012Validator(whole).validate(answer)


@cache
def read(document: str) -> Any:
    return spec(document)


@cache
def components(document: str) -> Any:
    return _nullable(read(document)["components"])


def _nullable(node: Any) -> Any:
    """OpenAPI 3.0 in the terms of JSON Schema: optionals may be null, formats are only hints."""
    if isinstance(node, list):
        return [_nullable(item) for item in node]
    if not isinstance(node, dict):
        return node
    changed = {name: _nullable(value) for name, value in node.items() if name != "discriminator"}
    properties = changed.get("properties")
    if isinstance(properties, dict):
        required = changed.get("required", [])
        changed["properties"] = {
            name: value if name in required else {"anyOf": [value, {"type": "null"}]}
            for name, value in properties.items()
        }
    return changed
