"""Each frame of a socket has the fields of its reference frame, with the same kinds of values.

One story for each protocol, in which everything happens; the tables name how each frame is known. A
frame of the reference that no table names fails a test, so that a new one is compared too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from shapes import differences, reference_names
from sim_world import SOL, SOLUSDT, SPECS, data_of, running, spec

pytestmark = [
    pytest.mark.slow,  # starts a process
    pytest.mark.skipif(
        not (SPECS / "fixtures").exists(), reason=f"no reference frames in {SPECS}; set GRID_DATA"
    ),
]
LIMIT = {"symbol": SOL, "side": "Bid", "orderType": "Limit", "quantity": "1", "price": "140"}

# name: the keys and values by which the frame's data is known among all that was heard
BACKPACK_FRAMES: dict[str, dict[str, Any]] = {
    "bookTicker": {"e": "bookTicker"},
    "depth": {"e": "depth"},
    "error_invalid_stream": {"error.code": 4006},
    "kline": {"e": "kline"},
    "liquidation": {"e": "liquidation"},
    "markPrice": {"e": "markPrice"},
    "openInterest": {"e": "openInterest"},
    "orderUpdate_accepted": {"e": "orderAccepted", "c": 1},
    "orderUpdate_cancelled": {"e": "orderCancelled", "c": 9},
    "orderUpdate_expired": {"e": "orderExpired", "c": 4},
    "orderUpdate_fill_full": {"e": "orderFill", "X": "Filled", "c": 1},
    "orderUpdate_fill_partial": {"e": "orderFill", "X": "PartiallyFilled", "c": 1},
    "orderUpdate_market_taker_fill": {"e": "orderFill", "o": "MARKET"},
    "orderUpdate_modified": {"e": "orderModified", "c": 3},
    "orderUpdate_triggerPlaced": {"e": "triggerPlaced"},
    "positionUpdate_adjusted": {"e": "positionAdjusted"},
    "positionUpdate_closed": {"e": "positionClosed"},
    "positionUpdate_opened": {"e": "positionOpened"},
    "positionUpdate_snapshot": {"e": None, "M": "150"},
    "ticker": {"e": "ticker"},
    "trade": {"e": "trade"},
}
ASTER_FRAMES: dict[str, dict[str, Any]] = {
    "24hrTicker": {"e": "24hrTicker"},
    "ACCOUNT_CONFIG_UPDATE_leverage": {"e": "ACCOUNT_CONFIG_UPDATE", "ai": None},
    "ACCOUNT_CONFIG_UPDATE_mode": {"e": "ACCOUNT_CONFIG_UPDATE", "ac": None},
    "ACCOUNT_UPDATE_funding": {"e": "ACCOUNT_UPDATE", "a.m": "FUNDING_FEE"},
    "ACCOUNT_UPDATE_order": {"e": "ACCOUNT_UPDATE", "a.m": "ORDER"},
    "ORDER_TRADE_UPDATE_canceled": {"e": "ORDER_TRADE_UPDATE", "o.X": "CANCELED"},
    "ORDER_TRADE_UPDATE_expired_gtx": {"e": "ORDER_TRADE_UPDATE", "o.X": "EXPIRED"},
    "ORDER_TRADE_UPDATE_filled": {"e": "ORDER_TRADE_UPDATE", "o.X": "FILLED"},
    "ORDER_TRADE_UPDATE_new": {"e": "ORDER_TRADE_UPDATE", "o.X": "NEW"},
    "ORDER_TRADE_UPDATE_partial": {"e": "ORDER_TRADE_UPDATE", "o.X": "PARTIALLY_FILLED"},
    "aggTrade": {"e": "aggTrade"},
    "bookTicker": {"e": "bookTicker"},
    "depthUpdate": {"e": "depthUpdate"},
    "error": {"id": 7},
    "kline": {"e": "kline"},
    "list_subscriptions_ack": {"id": 1},
    "listenKeyExpired": {"e": "listenKeyExpired"},
    "markPriceUpdate": {"e": "markPriceUpdate"},
    "subscribe_ack": {"id": 6},
}
NO_FRAMES = {
    "backpack/ws_client_subscribe_private": "a client's: sim_world sends it",
    "backpack/ws_client_subscribe_public": "a client's",
    "backpack/ws_client_unsubscribe": "a client's",
    "aster/ws_client_subscribe": "a client's",
    "aster/ws_MARGIN_CALL": "not sent: what is too low is liquidated at once",
}


@pytest.fixture(scope="module")
def backpack_frames() -> list[Any]:
    """All that is told of a day in which everything happens."""
    kinds = ("bookTicker", "depth", "trade", "markPrice", "kline.1m", "ticker", "openInterest")
    account = ("account.orderUpdate", "account.positionUpdate")
    with running("backpack") as sim:
        ears = sim.listen(*(f"{kind}.{SOL}" for kind in kinds), "liquidation", *account)
        sim.control("faults", {"partial_fill": 1})
        sim.place("Bid", "149", "2", clientId=1, postOnly=True)
        sim.price("149", SOL)
        sim.control("faults", {"partial_fill": 0})
        sim.price("150", SOL)
        sim.price("149", SOL)
        sim.price("150", SOL)
        sim.place("Ask", "160", "2", clientId=3, reduceOnly=True, postOnly=True)
        sim.place("Ask", None, "0.5", reduceOnly=True)
        sim.place("Bid", "140", "1", clientId=4, timeInForce="IOC")
        sim.place("Ask", None, "1.5")
        sim.place("Bid", "140", "1", clientId=9, postOnly=True)
        stop = {**LIMIT, "triggerPrice": "160", "triggerQuantity": "1", "triggerBy": "LastPrice"}
        assert sim.call("POST", "/api/v1/order", "orderExecute", stop)[0] == 200
        sim.call("DELETE", "/api/v1/orders", "orderCancelAll", {"symbol": SOL})
        sim.place("Bid", None, "6000")
        snapshot = sim.listen("account.positionUpdate")
        sim.price("130", SOL)
        kinds_told = {"ticker", "kline", "openInterest", "liquidation", "positionClosed"}
        ears.until(lambda _: kinds_told <= {data_of(frame).get("e") for frame in ears.heard})
        return [*ears.heard, *snapshot.heard]


@pytest.fixture(scope="module")
def aster_frames() -> list[Any]:
    names = ("ticker", "aggTrade", "bookTicker", "depth@100ms", "kline_1m", "markPrice@1s")
    with running("aster", "--listen-key-life", "1") as sim:
        expiring = sim.listen(f"/ws/{sim.listen_key()}")
        expiring.until(lambda frame: frame.get("e") == "listenKeyExpired")
    with running("aster") as sim:
        ears = sim.listen("/stream?streams=" + "/".join(f"solusdt@{name}" for name in names))
        private = sim.listen(f"/ws/{sim.listen_key()}")
        private.say({"method": "SUBSCRIBE", "params": ["solusdt@trade"], "id": 6})
        private.say({"method": "SUBSCRIBE", "params": ["no@such"], "id": 7})
        for mode in ("true", "false"):
            sim.call("POST", "/fapi/v1/positionSide/dual", {"dualSidePosition": mode})
        sim.call("POST", "/fapi/v1/leverage", {"symbol": SOLUSDT, "leverage": "9"})
        sim.control("faults", {"partial_fill": 1})
        sim.place("BUY", "149", "2")
        sim.price("149", SOLUSDT)
        sim.control("faults", {"partial_fill": 0})
        sim.place("BUY", "151", "1", timeInForce="GTX")
        sim.place("BUY", "140", "1")
        sim.place("BUY", None, "1")
        sim.call("DELETE", "/fapi/v1/allOpenOrders", {"symbol": SOLUSDT})
        sim.control("funding", {"symbol": SOLUSDT, "rate": "0.001"})
        private.until(lambda frame: frame.get("a", {}).get("m") == "FUNDING_FEE")
        told = {"24hrTicker", "kline", "markPriceUpdate", "depthUpdate", "aggTrade", "bookTicker"}
        ears.until(lambda _: told <= {data_of(frame).get("e") for frame in ears.heard})
        return [*ears.heard, *private.heard, *expiring.heard]


def test_every_reference_frame_is_compared() -> None:
    known = {f"backpack/ws_{name}" for name in BACKPACK_FRAMES}
    known |= {f"aster/ws_{name}" for name in ASTER_FRAMES}
    assert reference_names(is_frame=True) == known | set(NO_FRAMES)


@pytest.mark.parametrize("name", sorted(BACKPACK_FRAMES))
def test_backpack_frames_have_the_fields_of_the_reference(
    backpack_frames: list[Any], name: str
) -> None:
    compare_frame(f"backpack/ws_{name}", backpack_frames, BACKPACK_FRAMES[name])


@pytest.mark.parametrize("name", sorted(ASTER_FRAMES))
def test_aster_frames_have_the_fields_of_the_reference(aster_frames: list[Any], name: str) -> None:
    compare_frame(f"aster/ws_{name}", aster_frames, ASTER_FRAMES[name])


def compare_frame(name: str, heard: list[Any], wanted: Mapping[str, Any]) -> None:
    def value(data: Any, path: str) -> Any:
        for key in path.split("."):
            data = data.get(key) if isinstance(data, dict) else None
        return data

    reference = data_of(spec(f"fixtures/{name}.json")["frame"])
    found = [
        data
        for data in map(data_of, heard)
        if all(value(data, path) == known for path, known in wanted.items())
    ]
    assert found, f"not heard: {wanted}"
    for data in found:  # one side of a step of the book may be empty
        lacks = [text for text in differences(data, reference, name) if "is empty" not in text]
        assert not lacks, data
