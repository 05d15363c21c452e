"""The Backpack client where the document leaves room: every plausible answer, scripted."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from exchanges_values import order, request
from nacl.signing import SigningKey
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
from core.market_state import NOT_LISTED
from core.model import Order, OrderStatus
from exchanges import backpack_wire, transport
from exchanges.backpack import BackpackClient, open_session
from exchanges.backpack_wire import LIMITS, BackpackKeys
from exchanges.budget import Budget
from exchanges.rest_client import Terms

pytestmark = needs_specs

SYMBOL = "SOL_USDC_PERP"
SERVER_MS = 1_750_793_021_519
SEED = bytes(range(32))
KEYS = BackpackKeys(
    base64.b64encode(bytes(SigningKey(SEED).verify_key)).decode(), base64.b64encode(SEED).decode()
)


class World:
    """A server that answers from the samples, except where a test says otherwise."""

    def __init__(self, server: Scripted, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.answers: dict[tuple[str, str], Answer | Callable[[Seen], Answer]] = {
            ("GET", "/api/v1/time"): Answer(text=str(SERVER_MS)),
            ("GET", "/api/v1/market"): Answer(text=wire_text("backpack", "market")),
            ("GET", "/api/v1/account"): Answer(text=wire_text("backpack", "account")),
            ("GET", "/api/v1/orders"): Answer(text="[]"),
            ("GET", "/wapi/v1/history/orders"): Answer(text="[]"),
            ("GET", "/wapi/v1/history/fills"): Answer(text="[]"),
            ("PATCH", "/api/v1/account"): Answer(text=""),
        }
        self._open: list[BackpackClient] = []

    def script(self, seen: Seen) -> Answer:
        answer = self.answers[(seen.method, seen.path)]
        return answer(seen) if callable(answer) else answer

    def client(self, terms: Terms | None = None) -> BackpackClient:
        budget = Budget(self.folder, host="h", account="a", limits=LIMITS)
        session = open_session(budget, self.server.url, KEYS)
        session.sleep = lambda _: None
        made = BackpackClient(
            session,
            symbol=SYMBOL,
            terms=terms or Terms(),
            history_from=datetime(2025, 1, 1, tzinfo=UTC),
        )
        self._open.append(made)
        return made

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
    return json.dumps({**json.loads(wire_text("backpack", name)), **changes})


# Placing --------------------------------------------------------------------------------------


def test_post_only_may_come_back_expired(world: World) -> None:
    """200 with status Expired and nothing filled is the same refusal as the 400."""
    world.answers["POST", "/api/v1/order"] = Answer(
        text=sample("order_post_limit_new", status="Expired", clientId=7)
    )
    (outcome,) = world.client().place_orders([request("7", post_only=True)])
    assert isinstance(outcome, Rejected)
    assert outcome.reason is RejectReason.POST_ONLY


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("PostOnlyMode", RejectReason.MARKET),
        ("AccountTradingSuspended", RejectReason.MARKET),
        ("InsufficientMargin", RejectReason.MARGIN),
        ("PriceOutOfBounds", RejectReason.OTHER),
        ("", RejectReason.OTHER),
    ],
)
def test_an_order_that_ended_at_once_is_a_refusal(
    world: World, reason: str, expected: RejectReason
) -> None:
    """Taken for an order that was canceled it would be sent again in the next moment, for ever."""
    world.answers["POST", "/api/v1/order"] = Answer(
        text=sample(
            "order_post_limit_new", status="Expired", clientId=7, expiryReason=reason or None
        )
    )
    (outcome,) = world.client().place_orders([request("7", post_only=False)])
    assert isinstance(outcome, Rejected)
    assert outcome.reason is expected


def test_an_ioc_that_expired_is_an_answer(world: World) -> None:
    """An immediate order that found nobody has ended; that is no refusal."""
    world.answers["POST", "/api/v1/order"] = Answer(
        text=sample("order_post_ioc_expired", clientId=7)
    )
    (outcome,) = world.client().place_orders([request("7", ioc=True)])
    assert isinstance(outcome, Order)
    assert outcome.status is OrderStatus.EXPIRED


@pytest.mark.parametrize(
    "text",
    ["", "<html>", "[]", "{}", "another order"],
)
def test_an_answer_that_tells_nothing_is_unknown(world: World, text: str) -> None:
    """200 without an order, or about another one: the order may rest there."""
    if text == "another order":
        text = sample("order_post_limit_new", clientId=8)
    world.answers["POST", "/api/v1/order"] = Answer(text=text)
    (outcome,) = world.client().place_orders([request("7")])
    assert isinstance(outcome, OutcomeUnknown)


def test_an_answer_may_leave_the_client_id_out(world: World) -> None:
    """A null client id in the answer is ours all the same; the order keeps its name."""
    world.answers["POST", "/api/v1/order"] = Answer(
        text=sample("order_post_limit_new", clientId=None)
    )
    client = world.client()
    (outcome,) = client.place_orders([request("7")])
    assert isinstance(outcome, Order)
    assert outcome.client_order_id == "7"
    assert client.name_of("28563667732") == "7"


def test_a_batch_keeps_its_places(world: World) -> None:
    """One refused, one placed; an id that Backpack cannot take is not sent."""
    world.answers["POST", "/api/v1/orders"] = Answer(
        text=wire_text("backpack", "orders_post_batch_mixed")
    )
    outcomes = world.client().place_orders(
        [request("123456789"), request("not-a-number"), request("8", post_only=True)]
    )
    placed, local, refused = outcomes
    assert isinstance(placed, Order)
    assert isinstance(local, Rejected)
    assert isinstance(refused, Rejected)
    assert refused.reason is RejectReason.POST_ONLY
    (sent,) = [s for s in world.server.seen if s.path == "/api/v1/orders"]
    assert [o["clientId"] for o in json.loads(sent.body)] == [123456789, 8]


def test_a_list_stops_at_the_first_silence(world: World) -> None:
    """Batches after one of unknown outcome are not sent."""
    world.answers["POST", "/api/v1/orders"] = Answer(status=503, text="")
    outcomes = world.client().place_orders([request(str(i)) for i in range(1, 51)])
    assert [type(o) for o in outcomes[:20]] == [OutcomeUnknown] * 20
    assert [type(o) for o in outcomes[20:]] == [Retryable] * 30
    assert world.server.count("/api/v1/orders") == 1


# Cancelling -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "name", "expected"),
    [
        (202, "", OutcomeUnknown),
        (200, "", OutcomeUnknown),
        (200, "order_get", OutcomeUnknown),  # it still rests
        (404, "order_get_404", Rejected),
        (400, "order_delete_not_found", Rejected),
        (500, "", OutcomeUnknown),
        (200, "order_delete", Order),
    ],
)
def test_cancels_take_every_answer(world: World, status: int, name: str, expected: type) -> None:
    """Accepted is not carried out; gone is gone in both spellings."""
    text = wire_text("backpack", name) if name else ""
    world.answers["DELETE", "/api/v1/order"] = Answer(status=status, text=text)
    (outcome,) = world.client().cancel_orders([order("123456789", venue_id="28563667732")])
    assert isinstance(outcome, expected)
    if isinstance(outcome, Rejected):
        assert outcome.reason is RejectReason.NOT_FOUND


# Looking up -----------------------------------------------------------------------------------


def test_an_ended_order_is_found_deep_in_the_history(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page by page, newest first, until it is there."""
    monkeypatch.setattr(backpack_wire, "PAGE", 10)
    row = json.loads(wire_text("backpack", "order_history"))[0]
    rows = [{**row, "clientId": 1000 + i, "id": str(5000 + i)} for i in range(35)]

    def page(seen: Seen) -> Answer:
        start = int(seen.params["offset"])
        return Answer(text=json.dumps(rows[start : start + 10]))

    world.answers["GET", "/wapi/v1/history/orders"] = page
    found = world.client().fetch_order(SYMBOL, "1033")
    assert found is not None
    assert (found.venue_order_id, found.status) == ("5033", OrderStatus.CANCELED)


def test_the_history_is_left_where_it_is_too_old(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is older than our ledger cannot be ours: the search ends there, and then it proves."""
    monkeypatch.setattr(backpack_wire, "PAGE", 10)
    row = json.loads(wire_text("backpack", "order_history"))[0]
    old = [{**row, "createdAt": "2020-01-01T00:00:00", "clientId": i} for i in range(10)]
    world.answers["GET", "/wapi/v1/history/orders"] = Answer(text=json.dumps(old))
    client = world.client()
    with pytest.raises(Retryable, match="may still arrive"):
        client.fetch_order(SYMBOL, "77")
    assert world.server.count("/wapi/v1/history/orders") == 2
    client.session.server.set(SERVER_MS + 20_000, client.session.clock())
    assert client.fetch_order(SYMBOL, "77") is None


def test_fills_without_an_order_prove_that_it_came(world: World) -> None:
    """The history may lag behind the fills: then nothing is given up."""
    fill = {**json.loads(wire_text("backpack", "fills"))[0], "clientId": "77"}
    world.answers["GET", "/wapi/v1/history/fills"] = Answer(text=json.dumps([fill]))
    client = world.client()
    with pytest.raises(Retryable, match="has fills"):
        client.fetch_order(SYMBOL, "77")
    client.session.server.set(SERVER_MS + 3_600_000, client.session.clock())
    with pytest.raises(Retryable, match="has fills"):
        client.fetch_order(SYMBOL, "77")


def test_twenty_look_ups_cost_three_requests(world: World) -> None:
    """A lost batch is looked for once, not order by order: the budget is for trading."""
    world.answers["POST", "/api/v1/orders"] = Answer(status=503, text="")
    client = world.client()
    client.place_orders([request(str(i)) for i in range(1, 21)])
    before = len(world.server.seen)
    for i in range(1, 21):
        with pytest.raises(Retryable, match="may still arrive"):
            client.fetch_order(SYMBOL, str(i))
    assert len(world.server.seen) - before == 3
    resting = [
        {**json.loads(wire_text("backpack", "order_get")), "clientId": i, "id": str(i)}
        for i in range(1, 21)
    ]
    world.answers["GET", "/api/v1/orders"] = Answer(text=json.dumps(resting))
    client.session.server.set(SERVER_MS + 1_000, client.session.clock())
    found = [client.fetch_order(SYMBOL, str(i)) for i in range(1, 21)]
    assert [order.venue_order_id for order in found if order] == [str(i) for i in range(1, 21)]


def test_a_look_up_after_a_cancel_looks_anew(world: World) -> None:
    """What was seen before our own request says nothing about it."""
    resting = sample("order_get", clientId=7)
    world.answers["GET", "/api/v1/orders"] = Answer(text=f"[{resting}]")
    world.answers["DELETE", "/api/v1/order"] = Answer(status=404, text="{}")
    client = world.client()
    assert client.fetch_order(SYMBOL, "7") is not None
    world.answers["GET", "/api/v1/orders"] = Answer(text="[]")
    row = {**json.loads(wire_text("backpack", "order_history"))[0], "clientId": 7}
    world.answers["GET", "/wapi/v1/history/orders"] = Answer(text=json.dumps([row]))
    client.cancel_orders([order("7")])
    found = client.fetch_order(SYMBOL, "7")
    assert found is not None
    assert found.status is OrderStatus.CANCELED


def test_a_failed_look_up_is_no_absence(world: World) -> None:
    """An error of any step leaves everything open (I11)."""
    client = world.client()
    for path in ("/api/v1/orders", "/wapi/v1/history/orders", "/wapi/v1/history/fills"):
        before = world.answers["GET", path]
        world.answers["GET", path] = Answer(status=500, text="")
        with pytest.raises(Retryable):
            client.fetch_order(SYMBOL, "77")
        world.answers["GET", path] = before


# Account --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        Answer(text="[]"),
        Answer(status=404, text='{"code":"RESOURCE_NOT_FOUND","message":"Not Found"}'),
    ],
)
def test_flat_has_two_spellings_and_an_error_is_neither(world: World, answer: Answer) -> None:
    """An empty list or a 404; anything else is no position at all."""
    client = world.client()
    world.answers["GET", "/api/v1/position"] = answer
    assert client.fetch_position(SYMBOL).quantity == 0
    world.answers["GET", "/api/v1/position"] = Answer(status=500, text="")
    with pytest.raises(Retryable):
        client.fetch_position(SYMBOL)


def test_leverage_is_the_accounts_and_never_raised_unasked(world: World) -> None:
    """Above the account's limit is refused in words; with leave it is set; a check sets nothing."""
    with pytest.raises(ConfigError, match="leverage: was 20, expected at most 10"):
        world.client(Terms(leverage=Decimal(20))).fetch_instrument(SYMBOL)
    world.client(Terms(leverage=Decimal(10))).fetch_instrument(SYMBOL)
    world.client(Terms(leverage=None)).fetch_instrument(SYMBOL)
    allowed = Terms(leverage=Decimal(20), allow_account_changes=True, may_change=False)
    world.client(allowed).fetch_instrument(SYMBOL)
    assert not [s for s in world.server.seen if s.method == "PATCH"]
    world.client(Terms(leverage=Decimal(20), allow_account_changes=True)).fetch_instrument(SYMBOL)
    (patch,) = [s for s in world.server.seen if s.method == "PATCH"]
    assert json.loads(patch.body) == {"leverageLimit": "20"}


@pytest.mark.parametrize("state", ["CancelOnly", "Closed"])
def test_a_closed_book_has_its_limits_and_nothing_is_set(world: World, state: str) -> None:
    """It takes no order now: the account is looked at when it opens again."""
    world.answers["GET", "/api/v1/market"] = Answer(text=sample("market", orderBookState=state))
    terms = Terms(leverage=Decimal(20), allow_account_changes=True)
    assert world.client(terms).fetch_instrument(SYMBOL).tick_size == Decimal("0.01")
    assert not [s for s in world.server.seen if s.method == "PATCH"]


def test_a_market_that_is_gone_is_closed_for_who_trades_it(world: World) -> None:
    """And unknown to who does not."""
    world.answers["GET", "/api/v1/status"] = Answer(text='{"status": "Ok"}')
    world.answers["GET", "/api/v1/market"] = Answer(
        status=400, text='{"code": "INVALID_SYMBOL", "message": "no such market"}'
    )
    assert world.client().fetch_market_state(SYMBOL) == NOT_LISTED
    with pytest.raises(UnknownSymbol):
        world.client().fetch_instrument(SYMBOL)


def test_a_spot_market_is_no_perpetual(world: World) -> None:
    """The operator's to change."""
    world.answers["GET", "/api/v1/market"] = Answer(text=sample("market", marketType="SPOT"))
    with pytest.raises(ConfigError, match="perpetual"):
        world.client().fetch_instrument(SYMBOL)


def test_fills_in_any_order_are_sorted_and_single(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newest first, with rows repeated over pages as new ones push in: each once, oldest first."""
    monkeypatch.setattr(backpack_wire, "PAGE", 4)
    row = json.loads(wire_text("backpack", "fills"))[0]
    began = datetime(2025, 6, 24, 19, 0, 0)  # noqa: DTZ001 - as the exchange writes it
    rows = [
        {**row, "tradeId": i, "timestamp": (began + timedelta(seconds=i)).isoformat()}
        for i in range(11)
    ][::-1]

    def page(seen: Seen) -> Answer:
        start = max(0, int(seen.params["offset"]) - (1 if seen.params["offset"] != "0" else 0))
        return Answer(text=json.dumps(rows[start : start + 4]))

    world.answers["GET", "/wapi/v1/history/fills"] = page
    fills = world.client().fetch_fills(SYMBOL, began.replace(tzinfo=UTC))
    assert [int(f.trade_id) for f in fills] == list(range(11))


def test_funding_ends_where_it_was_asked_from(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours of payments, newest first: read back to the moment asked for, oldest first."""
    monkeypatch.setattr(backpack_wire, "PAGE", 5)
    row = json.loads(wire_text("backpack", "funding_history"))[0]
    began = datetime(2026, 1, 1)  # noqa: DTZ001 - as the exchange writes it
    rows = [
        {
            **row,
            "intervalEndTimestamp": (began + timedelta(hours=i)).isoformat(),
            "quantity": str(i),
        }
        for i in range(40)
    ][::-1]

    def page(seen: Seen) -> Answer:
        start = int(seen.params["offset"])
        return Answer(text=json.dumps(rows[start : start + 5]))

    world.answers["GET", "/wapi/v1/history/funding"] = page
    since = (began + timedelta(hours=28)).replace(tzinfo=UTC)
    paid = world.client().fetch_funding(SYMBOL, since)
    assert [int(p.amount) for p in paid] == list(range(28, 40))
    assert world.server.count("/wapi/v1/history/funding") == 3
