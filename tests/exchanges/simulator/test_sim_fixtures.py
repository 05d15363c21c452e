"""Each REST answer has the fields of its reference reply, with the same kinds of values.

The tables name how each reply is had; a reply of the reference that no table names fails a test, so
that a new one is compared too. The frames of sockets: `test_sim_frames`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from shapes import differences, reference_names
from sim_world import SOL, SOLUSDT, SPECS, AsterSim, BackpackSim, running, spec

pytestmark = [
    pytest.mark.slow,  # starts a process
    pytest.mark.skipif(
        not (SPECS / "fixtures").exists(), reason=f"no reference replies in {SPECS}; set GRID_DATA"
    ),
]
LIMIT = {"symbol": SOL, "side": "Bid", "orderType": "Limit", "quantity": "1", "price": "140"}
MARKET = {"symbol": SOL, "side": "Bid", "orderType": "Market", "quantity": "1"}
SINCE = str(int(time.time()) - 600)
ORDER = {"symbol": SOLUSDT, "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "140"}

# name: (method, path, instruction ("" is public), fields)
BACKPACK: dict[str, tuple[str, str, str, Any]] = {
    "account": ("GET", "/api/v1/account", "accountQuery", {}),
    "account_limits_order": (
        "GET",
        "/api/v1/account/limits/order",
        "maxOrderQuantity",
        {"symbol": SOL, "side": "Bid", "price": "140", "reduceOnly": "false"},
    ),
    "account_patch": ("PATCH", "/api/v1/account", "accountUpdate", {"leverageLimit": "10"}),
    "assets": ("GET", "/api/v1/assets", "", {}),
    "capital": ("GET", "/api/v1/capital", "balanceQuery", {}),
    "capital_collateral": ("GET", "/api/v1/capital/collateral", "collateralQuery", {}),
    "collateral_parameters": ("GET", "/api/v1/collateral", "", {}),
    "depth": ("GET", "/api/v1/depth", "", {"symbol": SOL}),
    "fills": ("GET", "/wapi/v1/history/fills", "fillHistoryQueryAll", {"symbol": SOL}),
    "fundingRates": ("GET", "/api/v1/fundingRates", "", {"symbol": SOL, "limit": "2"}),
    "funding_history": ("GET", "/wapi/v1/history/funding", "fundingHistoryQueryAll", {}),
    "klines": ("GET", "/api/v1/klines", "", {"symbol": SOL, "interval": "1m", "startTime": SINCE}),
    "markPrices": ("GET", "/api/v1/markPrices", "", {"symbol": SOL}),
    "market": ("GET", "/api/v1/market", "", {"symbol": SOL}),
    "markets": ("GET", "/api/v1/markets", "", {}),
    "openInterest": ("GET", "/api/v1/openInterest", "", {"symbol": SOL}),
    "order_delete": ("DELETE", "/api/v1/order", "orderCancel", {"symbol": SOL, "clientId": 2}),
    "order_delete_not_found": (
        "DELETE",
        "/api/v1/order",
        "orderCancel",
        {"symbol": SOL, "orderId": "1"},
    ),
    "order_get": ("GET", "/api/v1/order", "orderQuery", {"symbol": SOL, "clientId": "1"}),
    "order_get_404": ("GET", "/api/v1/order", "orderQuery", {"symbol": SOL, "orderId": "1"}),
    "order_history": ("GET", "/wapi/v1/history/orders", "orderHistoryQueryAll", {}),
    "order_post_ioc_expired": (
        "POST",
        "/api/v1/order",
        "orderExecute",
        {**LIMIT, "timeInForce": "IOC"},
    ),
    "order_post_limit_new": ("POST", "/api/v1/order", "orderExecute", {**LIMIT, "clientId": 5}),
    "order_post_market_filled": ("POST", "/api/v1/order", "orderExecute", MARKET),
    "orders_delete": ("DELETE", "/api/v1/orders", "orderCancelAll", {"symbol": SOL}),
    "orders_get": ("GET", "/api/v1/orders", "orderQueryAll", {"symbol": SOL}),
    "orders_post_batch_mixed": (
        "POST",
        "/api/v1/orders",
        "orderExecute",
        [LIMIT, {**LIMIT, "price": "1"}],
    ),
    "ping": ("GET", "/api/v1/ping", "", {}),
    "position_long": ("GET", "/api/v1/position", "positionQuery", {"symbol": SOL}),
    "status": ("GET", "/api/v1/status", "", {}),
    "ticker": ("GET", "/api/v1/ticker", "", {"symbol": SOL}),
    "tickers": ("GET", "/api/v1/tickers", "", {}),
    "time": ("GET", "/api/v1/time", "", {}),
    "trades": ("GET", "/api/v1/trades", "", {"symbol": SOL, "limit": "2"}),
}
# name: (method, path, whether it is signed, fields)
ASTER: dict[str, tuple[str, str, bool, Mapping[str, str]]] = {
    "account_v4": ("GET", "/fapi/v4/account", True, {}),
    "allOpenOrders_delete": ("DELETE", "/fapi/v1/allOpenOrders", True, {"symbol": SOLUSDT}),
    "allOrders": ("GET", "/fapi/v1/allOrders", True, {"symbol": SOLUSDT}),
    "balance_v2": ("GET", "/fapi/v2/balance", True, {}),
    "batchOrders_delete_mixed": (
        "DELETE",
        "/fapi/v1/batchOrders",
        True,
        {"symbol": SOLUSDT, "origClientOrderIdList": '["b","none"]'},
    ),
    "batchOrders_post_mixed": (
        "POST",
        "/fapi/v1/batchOrders",
        True,
        {
            "batchOrders": json.dumps(
                [{**ORDER, "timeInForce": "GTC"}, {**ORDER, "timeInForce": "GTC", "price": "1.001"}]
            )
        },
    ),
    "commissionRate": ("GET", "/fapi/v1/commissionRate", True, {"symbol": SOLUSDT}),
    "countdownCancelAll": (
        "POST",
        "/fapi/v1/countdownCancelAll",
        True,
        {"symbol": SOLUSDT, "countdownTime": "100000"},
    ),
    "depth": ("GET", "/fapi/v1/depth", False, {"symbol": SOLUSDT, "limit": "5"}),
    "exchangeInfo": ("GET", "/fapi/v1/exchangeInfo", False, {}),
    "fundingInfo": ("GET", "/fapi/v1/fundingInfo", False, {}),
    "fundingRate": ("GET", "/fapi/v1/fundingRate", False, {"symbol": SOLUSDT, "limit": "2"}),
    "income": ("GET", "/fapi/v1/income", True, {}),
    "klines": ("GET", "/fapi/v1/klines", False, {"symbol": SOLUSDT, "interval": "1m"}),
    "leverageBracket": ("GET", "/fapi/v1/leverageBracket", True, {}),
    "leverage_post": ("POST", "/fapi/v1/leverage", True, {"symbol": SOLUSDT, "leverage": "9"}),
    "listenKey_post": ("POST", "/fapi/v1/listenKey", True, {}),
    "listenKey_put": ("PUT", "/fapi/v1/listenKey", True, {}),
    "listenKey_put_missing": ("PUT", "/fapi/v1/listenKey", True, {"listenKey": "none"}),
    "marginType_post": (
        "POST",
        "/fapi/v1/marginType",
        True,
        {"symbol": "ETHUSDT", "marginType": "ISOLATED"},
    ),
    "marginType_post_no_change": (
        "POST",
        "/fapi/v1/marginType",
        True,
        {"symbol": SOLUSDT, "marginType": "CROSSED"},
    ),
    "multiAssetsMargin_get": ("GET", "/fapi/v1/multiAssetsMargin", True, {}),
    "openOrder": (
        "GET",
        "/fapi/v1/openOrder",
        True,
        {"symbol": SOLUSDT, "origClientOrderId": "a"},
    ),
    "openOrders": ("GET", "/fapi/v1/openOrders", True, {"symbol": SOLUSDT}),
    "order_delete": (
        "DELETE",
        "/fapi/v1/order",
        True,
        {"symbol": SOLUSDT, "origClientOrderId": "c"},
    ),
    "order_delete_unknown": ("DELETE", "/fapi/v1/order", True, {"symbol": SOLUSDT, "orderId": "1"}),
    "order_get": ("GET", "/fapi/v1/order", True, {"symbol": SOLUSDT, "origClientOrderId": "a"}),
    "order_get_missing": ("GET", "/fapi/v1/order", True, {"symbol": SOLUSDT, "orderId": "1"}),
    "order_post_gtx_expired_result": (
        "POST",
        "/fapi/v1/order",
        True,
        {**ORDER, "price": "151", "timeInForce": "GTX", "newOrderRespType": "RESULT"},
    ),
    "order_post_limit_ack": ("POST", "/fapi/v1/order", True, {**ORDER, "timeInForce": "GTX"}),
    "order_post_market_result": (
        "POST",
        "/fapi/v1/order",
        True,
        {
            "symbol": SOLUSDT,
            "side": "BUY",
            "type": "MARKET",
            "quantity": "1",
            "newOrderRespType": "RESULT",
        },
    ),
    "ping": ("GET", "/fapi/v1/ping", False, {}),
    "positionRisk_flat": ("GET", "/fapi/v2/positionRisk", True, {"symbol": "ETHUSDT"}),
    "positionRisk_oneway": ("GET", "/fapi/v2/positionRisk", True, {"symbol": SOLUSDT}),
    "positionSide_dual_get": ("GET", "/fapi/v1/positionSide/dual", True, {}),
    "positionSide_dual_post_no_change": (
        "POST",
        "/fapi/v1/positionSide/dual",
        True,
        {"dualSidePosition": "false"},
    ),
    "premiumIndex": ("GET", "/fapi/v1/premiumIndex", False, {"symbol": SOLUSDT}),
    "sapi_exchangeInfo_empty": ("GET", "/api/v3/exchangeInfo", False, {}),
    "ticker_24hr": ("GET", "/fapi/v1/ticker/24hr", False, {"symbol": SOLUSDT}),
    "ticker_bookTicker": ("GET", "/fapi/v1/ticker/bookTicker", False, {"symbol": SOLUSDT}),
    "ticker_price": ("GET", "/fapi/v1/ticker/price", False, {"symbol": SOLUSDT}),
    "time": ("GET", "/fapi/v1/time", False, {}),
    "trades": ("GET", "/fapi/v1/trades", False, {"symbol": SOLUSDT}),
    "userTrades": ("GET", "/fapi/v1/userTrades", True, {"symbol": SOLUSDT}),
    "listenKey_delete": ("DELETE", "/fapi/v1/listenKey", True, {}),
}
ELSEWHERE = {  # name: where it is tested, or why it is none of the simulator's answers
    "backpack/errors": "test_sim_backpack: each code with its request",
    "backpack/order_delete_202": "the engine here is never behind: a cancel is carried out at once",
    "backpack/order_post_limit_partially_filled": "test_sim_faults: with `partial_fill`",
    "backpack/orders_get_empty": "an empty list has no fields",
    "backpack/position_404": "the other documented answer, an empty list, is given",
    "backpack/position_empty": "an empty list has no fields",
    "backpack/position_short": "the fields of position_long",
    "aster/errors": "test_sim_aster: each code with its request",
    "aster/openOrders_empty": "an empty list has no fields",
    "aster/positionRisk_hedge": "hedge mode is not simulated",
    "aster/positionSide_dual_post": "test_sim_aster: it wants a flat account",
}


@pytest.fixture(scope="module")
def backpack() -> Iterator[BackpackSim]:
    with running("backpack", "--symbol", SOL, "ETH_USDC_PERP") as sim:
        sim.place("Bid", None, "2", clientId=7)
        sim.control("funding", {"symbol": SOL, "rate": "0.0001"})
        yield sim


@pytest.fixture(scope="module")
def aster() -> Iterator[AsterSim]:
    with running("aster", "--symbol", SOLUSDT, "ETHUSDT") as sim:
        sim.place("BUY", None, "2")
        sim.place("SELL", None, "1")
        sim.control("funding", {"symbol": SOLUSDT, "rate": "0.0001"})
        yield sim


@pytest.mark.parametrize("name", sorted(BACKPACK))
def test_backpack_replies_have_the_fields_of_the_reference(
    backpack: BackpackSim, name: str
) -> None:
    method, path, instruction, fields = BACKPACK[name]
    backpack.call("DELETE", "/api/v1/orders", "orderCancelAll", {"symbol": SOL})
    for number in (1, 2):  # what rests before each
        assert backpack.place("Bid", "139", "1", clientId=number)[0] == 200
    if instruction:
        status, answer, _ = backpack.call(method, path, instruction, fields)
    else:
        query = "&".join(f"{key}={value}" for key, value in fields.items())
        status, answer, _ = backpack.http(method, f"{path}?{query}")
    compare(f"backpack/{name}", status, answer)


@pytest.mark.parametrize("name", sorted(ASTER))
def test_aster_replies_have_the_fields_of_the_reference(aster: AsterSim, name: str) -> None:
    method, path, is_signed, fields = ASTER[name]
    aster.call("DELETE", "/fapi/v1/allOpenOrders", {"symbol": SOLUSDT})
    if "listenKey" in name:
        aster.listen_key()
    for client_id in "abc":
        assert aster.place("BUY", "139", "1", newClientOrderId=client_id)[0] == 200
    if is_signed:
        status, answer, _ = aster.call(method, path, fields)
    else:
        query = "&".join(f"{key}={value}" for key, value in fields.items())
        status, answer, _ = aster.http(method, f"{path}?{query}")
    compare(f"aster/{name}", status, answer)


def test_every_reference_reply_is_compared() -> None:
    known = {f"backpack/{name}" for name in BACKPACK} | {f"aster/{name}" for name in ASTER}
    assert not known & set(ELSEWHERE)
    assert reference_names(is_frame=False) == known | set(ELSEWHERE)


def compare(name: str, status: int, answer: Any) -> None:
    reference = spec(f"fixtures/{name}.json")
    assert status == reference["meta"]["http_status"], answer
    assert not list(differences(answer, reference["body"], name))
