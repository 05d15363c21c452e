"""The Aster client where the documents leave room: every plausible answer, scripted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from exchanges_values import order, request
from scripted_http import Answer, Scripted, Seen, scripted
from spec_data import needs_specs, wire_text

from core.errors import (
    ConfigError,
    OutcomeUnknown,
    Rejected,
    RejectReason,
    Retryable,
    UnknownSymbol,
)
from core.market_state import NOT_LISTED, MarketState
from core.model import Order, OrderRequest, OrderStatus
from exchanges import aster_wire, transport
from exchanges.aster import AsterClient, open_session
from exchanges.aster_wire import LIMITS, HmacKeys
from exchanges.budget import Budget
from exchanges.rest_client import Terms
from exchanges.wire import from_ms

pytestmark = needs_specs

SYMBOL = "SOLUSDT"
SERVER_MS = 1_750_793_021_519
KEYS = HmacKeys("k" * 64, "s" * 64)
HOUR = 3_600_000


def ask(client_id: str, **more: bool) -> OrderRequest:
    return request(client_id, symbol=SYMBOL, **more)  # type: ignore[arg-type]


class World:
    """A server that answers from the samples, except where a test says otherwise."""

    def __init__(self, server: Scripted, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.answers: dict[tuple[str, str], Answer | Callable[[Seen], Answer]] = {
            ("GET", "/fapi/v1/time"): Answer(text=json.dumps({"serverTime": SERVER_MS})),
            ("GET", "/fapi/v1/exchangeInfo"): Answer(text=wire_text("aster", "exchangeInfo")),
            ("GET", "/fapi/v1/commissionRate"): Answer(text=wire_text("aster", "commissionRate")),
            ("GET", "/fapi/v1/leverageBracket"): Answer(text=wire_text("aster", "leverageBracket")),
            ("GET", "/fapi/v1/positionSide/dual"): Answer(text='{"dualSidePosition": false}'),
            ("GET", "/fapi/v2/positionRisk"): Answer(text=wire_text("aster", "positionRisk_flat")),
            ("GET", "/fapi/v1/order"): Answer(
                status=400, text=wire_text("aster", "order_get_missing")
            ),
            ("GET", "/fapi/v1/openOrders"): Answer(text="[]"),
            ("GET", "/fapi/v1/allOrders"): Answer(text="[]"),
            ("POST", "/fapi/v1/leverage"): Answer(text=wire_text("aster", "leverage_post")),
            ("POST", "/fapi/v1/marginType"): Answer(text=wire_text("aster", "marginType_post")),
            ("POST", "/fapi/v1/positionSide/dual"): Answer(text='{"code": 200, "msg": "success"}'),
        }
        self._open: list[AsterClient] = []

    def script(self, seen: Seen) -> Answer:
        answer = self.answers[(seen.method, seen.path)]
        return answer(seen) if callable(answer) else answer

    def client(self, terms: Terms | None = None) -> AsterClient:
        budget = Budget(self.folder, host="h", account="a", limits=LIMITS)
        session = open_session(budget, self.server.url, KEYS)
        session.sleep = lambda _: None
        made = AsterClient(
            session,
            symbol=SYMBOL,
            terms=terms or Terms(),
            history_from=from_ms(SERVER_MS) - timedelta(days=30),
        )
        self._open.append(made)
        return made

    def writes(self) -> list[Seen]:
        return [seen for seen in self.server.seen if seen.method != "GET"]

    def close(self) -> None:
        for client in self._open:
            client.close()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(transport, "FAIL_FAST_S", 0.0)
    with scripted(lambda _: Answer()) as server:
        made = World(server, tmp_path)
        server.script = made.script
        yield made
        made.close()


def sample(name: str, **changes: Any) -> str:
    document = json.loads(wire_text("aster", name))
    if isinstance(document, list):
        return json.dumps([{**row, **changes} for row in document])
    return json.dumps({**document, **changes})


# Placing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["expired", "-5022", "-2021"])
def test_post_only_is_refused_in_three_ways(world: World, how: str) -> None:
    """An order that comes back EXPIRED, or either of two codes: one refusal."""
    world.answers["POST", "/fapi/v1/order"] = (
        Answer(text=sample("order_post_gtx_expired_result", clientOrderId="a-1"))
        if how == "expired"
        else Answer(status=400, text=json.dumps({"code": int(how), "msg": "no"}))
    )
    (outcome,) = world.client().place_orders([ask("a-1", post_only=True)])
    assert isinstance(outcome, Rejected)
    assert outcome.reason is RejectReason.POST_ONLY


def test_a_batch_keeps_its_places(world: World) -> None:
    """An order and a refusal beside each other; five at most in one request."""
    world.answers["POST", "/fapi/v1/batchOrders"] = Answer(
        text=wire_text("aster", "batchOrders_post_mixed")
    )
    placed, refused = world.client().place_orders([ask("grid-1"), ask("grid-2")])
    assert isinstance(placed, Order)
    assert isinstance(refused, Rejected)
    assert refused.reason is RejectReason.REDUCE_ONLY
    outcomes = world.client().place_orders([ask(f"a-{i}") for i in range(12)])
    assert [type(o) for o in outcomes[:5]] == [OutcomeUnknown] * 5  # two results for five
    assert [type(o) for o in outcomes[5:]] == [Retryable] * 7


def test_a_batch_item_that_failed_inside_is_unknown(world: World) -> None:
    """A code that leaves the order's state open does so in a batch as well."""
    items = [json.loads(wire_text("aster", "order_get")), {"code": -1007, "msg": "Timeout"}]
    world.answers["POST", "/fapi/v1/batchOrders"] = Answer(text=json.dumps(items))
    placed, unknown = world.client().place_orders([ask("grid-1"), ask("grid-2")])
    assert isinstance(placed, Order)
    assert isinstance(unknown, OutcomeUnknown)


def test_cancels_go_ten_at_a_time(world: World) -> None:
    """A list by the exchange's ids; one unknown there is its own outcome."""

    def script(seen: Seen) -> Answer:
        ids = json.loads(seen.params["orderIdList"])
        row = json.loads(wire_text("aster", "order_delete"))
        items = [
            {"code": -2011, "msg": "Unknown order sent."}
            if number == 3
            else {**row, "orderId": number, "clientOrderId": f"a-{number}"}
            for number in ids
        ]
        return Answer(text=json.dumps(items))

    world.answers["DELETE", "/fapi/v1/batchOrders"] = script
    orders = [order(f"a-{i}", symbol=SYMBOL, venue_id=str(i)) for i in range(1, 21)]
    outcomes = world.client().cancel_orders(orders)
    assert [type(o) for o in outcomes] == [Order] * 2 + [Rejected] + [Order] * 17
    assert outcomes[7].client_order_id == "a-8"  # type: ignore[union-attr]
    assert len(world.writes()) == 2


# Looking up -----------------------------------------------------------------------------------


def test_an_order_in_any_list_is_there(world: World) -> None:
    """GET order may not know it yet while a list does."""
    world.answers["GET", "/fapi/v1/allOrders"] = Answer(text=wire_text("aster", "allOrders"))
    found = world.client().fetch_order(SYMBOL, "grid-2")
    assert found is not None
    assert found.status is OrderStatus.CANCELED


def test_absence_is_a_proof_in_time_only(world: World) -> None:
    """Nowhere, and the validity of the request over on the exchange's clock."""
    client = world.client()
    with pytest.raises(Retryable, match="may still arrive"):
        client.fetch_order(SYMBOL, "a-9")
    client.session.server.set(SERVER_MS + 8_000, client.session.clock())
    assert client.fetch_order(SYMBOL, "a-9") is None


# Fills and funding ----------------------------------------------------------------------------


def trades(count: int, *, step_ms: int) -> list[dict[str, Any]]:
    row = json.loads(wire_text("aster", "userTrades"))[0]
    return [
        {**row, "id": i, "orderId": 100 + i % 3, "time": SERVER_MS - 20 * 24 * HOUR + i * step_ms}
        for i in range(count)
    ]


def in_span(rows: list[dict[str, Any]], limit: int, *, newest: bool) -> Callable[[Seen], Answer]:
    """Answer as the exchange may: the oldest or the newest rows of the span, oldest first."""

    def script(seen: Seen) -> Answer:
        start, end = int(seen.params["startTime"]), int(seen.params["endTime"])
        assert end - start < 7 * 24 * HOUR
        found = [row for row in rows if start <= row["time"] <= end]
        return Answer(text=json.dumps(found[-limit:] if newest else found[:limit]))

    return script


@pytest.mark.parametrize("newest", [False, True])
def test_fills_are_complete_whichever_end_a_page_shows(
    world: World, newest: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty days of trades in spans below seven days, full pages cut in two; each trade once."""
    monkeypatch.setattr(aster_wire, "PAGE", 50)
    rows = trades(400, step_ms=HOUR)
    world.answers["GET", "/fapi/v1/userTrades"] = in_span(rows, 50, newest=newest)
    orders = [
        json.loads(sample("order_get", orderId=100 + i, clientOrderId=f"a-{i}")) for i in range(3)
    ]

    def by_id(seen: Seen) -> Answer:
        wanted = seen.params.get("orderId")
        return Answer(text=json.dumps(next(o for o in orders if str(o["orderId"]) == wanted)))

    world.answers["GET", "/fapi/v1/order"] = by_id
    fills = world.client().fetch_fills(SYMBOL, None)
    assert [int(f.trade_id) for f in fills] == list(range(400))
    assert {f.client_order_id for f in fills} == {"a-0", "a-1", "a-2"}
    assert world.server.count("/fapi/v1/order") == 3  # each order's name is asked for once


def test_an_order_that_is_forgotten_leaves_a_nameless_fill(world: World) -> None:
    """Its trade is told all the same; it can be nobody's of ours."""
    world.answers["GET", "/fapi/v1/userTrades"] = in_span(trades(1, step_ms=1), 9, newest=False)
    (fill,) = world.client().fetch_fills(SYMBOL, None)
    assert fill.client_order_id == "venue:100"


def test_a_liquidation_says_so(world: World) -> None:
    """The exchange's own orders carry its own ids."""
    world.answers["GET", "/fapi/v1/userTrades"] = in_span(trades(1, step_ms=1), 9, newest=False)
    world.answers["GET", "/fapi/v1/order"] = Answer(
        text=sample("order_get", orderId=100, clientOrderId="autoclose-1750793")
    )
    (fill,) = world.client().fetch_fills(SYMBOL, None)
    assert fill.client_order_id.startswith("liquidation")


def test_funding_has_its_rates(world: World) -> None:
    """Payments of our symbol alone, with the rate in force; without rates, none."""
    paid_at = SERVER_MS - 5 * HOUR
    row = json.loads(wire_text("aster", "income"))[0]
    rows = [{**row, "time": paid_at + 40}, {**row, "time": paid_at, "symbol": "BTCUSDT"}]
    world.answers["GET", "/fapi/v1/income"] = in_span(rows, 1000, newest=False)
    rates = [
        {"symbol": SYMBOL, "fundingRate": "0.0001", "fundingTime": paid_at - 8 * HOUR},
        {"symbol": SYMBOL, "fundingRate": "-0.0000375", "fundingTime": paid_at},
    ]
    world.answers["GET", "/fapi/v1/fundingRate"] = Answer(text=json.dumps(rates))
    since = from_ms(SERVER_MS) - timedelta(days=1)
    (payment,) = world.client().fetch_funding(SYMBOL, since)
    assert (payment.amount, payment.rate) == (Decimal("-0.01692719"), Decimal("-0.0000375"))
    world.answers["GET", "/fapi/v1/fundingRate"] = Answer(status=400, text="{}")
    (payment,) = world.client().fetch_funding(SYMBOL, since)
    assert payment.rate is None


# Account --------------------------------------------------------------------------------------


def test_hedge_mode_is_refused_unless_it_may_be_changed(world: World) -> None:
    """FAILURES 33: the whole account's: named, set only with leave; 'already so' is success."""
    world.answers["GET", "/fapi/v1/positionSide/dual"] = Answer(text='{"dualSidePosition": true}')
    with pytest.raises(ConfigError, match="hedge mode"):
        world.client().fetch_instrument(SYMBOL)
    assert world.writes() == []
    world.client(Terms(allow_account_changes=True, may_change=False)).fetch_instrument(SYMBOL)
    assert world.writes() == []
    world.client(Terms(allow_account_changes=True)).fetch_instrument(SYMBOL)
    assert [w.params["dualSidePosition"] for w in world.writes()] == ["false"]
    world.answers["POST", "/fapi/v1/positionSide/dual"] = Answer(
        status=400, text=wire_text("aster", "positionSide_dual_post_no_change")
    )
    world.client(Terms(allow_account_changes=True)).fetch_instrument(SYMBOL)
    world.answers["POST", "/fapi/v1/positionSide/dual"] = Answer(
        status=400, text='{"code": -4068, "msg": "Position side cannot be changed"}'
    )
    with pytest.raises(ConfigError, match="could not be set: -4068"):
        world.client(Terms(allow_account_changes=True)).fetch_instrument(SYMBOL)


def test_leverage_and_margin_of_the_symbol_are_set(world: World) -> None:
    """FAILURES 33: what is our symbol's alone is made as the config wants it, if it is not."""
    world.answers["GET", "/fapi/v2/positionRisk"] = Answer(
        text=sample("positionRisk_flat", marginType="isolated", leverage="5")
    )
    world.client(Terms(leverage=Decimal(5))).fetch_instrument(SYMBOL)
    assert [(w.path, w.params.get("marginType")) for w in world.writes()] == [
        ("/fapi/v1/marginType", "CROSSED")
    ]
    world.answers["GET", "/fapi/v2/positionRisk"] = Answer(
        text=sample("positionRisk_flat", leverage="20")
    )
    world.client(Terms(leverage=None)).fetch_instrument(SYMBOL)
    world.client(Terms(leverage=Decimal(5), may_change=False)).fetch_instrument(SYMBOL)
    assert len(world.writes()) == 1
    world.client(Terms(leverage=Decimal(5))).fetch_instrument(SYMBOL)
    assert world.writes()[-1].params["leverage"] == "5"


def test_a_symbol_near_it_is_named(world: World) -> None:
    """The other exchange's spelling leads to this one's."""
    with pytest.raises(ConfigError, match=r"near it: .*SOLUSDT"):
        world.client().fetch_instrument("SOL_USDT")


def test_a_settling_symbol_has_its_limits_and_nothing_is_set(world: World) -> None:
    """It takes no order now: the account is looked at when it opens again; delisted is closed."""
    info = json.loads(wire_text("aster", "exchangeInfo"))
    for row in info["symbols"]:
        row["status"] = "SETTLING"
    world.answers["GET", "/fapi/v1/exchangeInfo"] = Answer(text=json.dumps(info))
    client = world.client(Terms(leverage=Decimal(5)))
    assert client.fetch_instrument(SYMBOL).tick_size == Decimal("0.01")
    assert world.writes() == []
    assert client.fetch_market_state(SYMBOL).state is MarketState.CLOSED
    info["symbols"] = [row for row in info["symbols"] if row["symbol"] != SYMBOL]
    world.answers["GET", "/fapi/v1/exchangeInfo"] = Answer(text=json.dumps(info))
    assert client.fetch_market_state(SYMBOL) == NOT_LISTED
    with pytest.raises(UnknownSymbol):
        client.fetch_instrument(SYMBOL)


@pytest.mark.parametrize("cost", [1, -1])
def test_a_rebate_is_a_rebate_whatever_its_sign(world: World, cost: int) -> None:
    """A new process, as an audit is, asks for the rates once and reads both conventions alike."""
    row = json.loads(wire_text("aster", "userTrades"))[0]
    now = SERVER_MS - 1000
    rows = [
        {**row, "id": 1, "time": now, "maker": True, "commission": str(Decimal("-0.1") * cost)},
        {**row, "id": 2, "time": now, "maker": False, "commission": str(Decimal("0.5") * cost)},
    ]
    world.answers["GET", "/fapi/v1/userTrades"] = in_span(rows, 1000, newest=False)
    world.answers["GET", "/fapi/v1/order"] = Answer(text=wire_text("aster", "order_get"))
    world.answers["GET", "/fapi/v1/commissionRate"] = Answer(
        text=sample("commissionRate", makerCommissionRate="-0.0001")
    )
    client = world.client()
    for _ in range(2):
        fills = client.fetch_fills(SYMBOL, from_ms(SERVER_MS) - timedelta(days=1))
        assert [str(fill.fee) for fill in fills] == ["-0.1", "0.5"]
    asked = [seen for seen in world.server.seen if seen.path == "/fapi/v1/commissionRate"]
    assert len(asked) == 1


def test_no_row_is_no_flat_position(world: World) -> None:
    """A flat symbol has a row; an empty list tells nothing (I11)."""
    world.answers["GET", "/fapi/v2/positionRisk"] = Answer(text="[]")
    with pytest.raises(Exception, match="none of SOLUSDT"):
        world.client().fetch_position(SYMBOL)
    assert datetime.now(UTC).tzinfo is UTC
