"""The routes of CONTRACT 7: their documents, their statuses, exact figures, pages of rows."""

from __future__ import annotations

import json
import os
import re
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from fakes_web import FakeBot, FakeHistory, Served, make_snapshot, serving, wait_until

from core.model import (
    AdjustGrid,
    Check,
    CommandResult,
    LotsPolicy,
    Outcome,
    Pause,
    PnL,
    Resume,
    RunState,
    StopBot,
)

DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def test_status_has_what_the_contract_names(shared: Served) -> None:
    """Each field is there; money, prices and quantities are strings with exact decimals."""
    status = shared.get("/api/status").json
    assert status["instance_id"] == "bp_sol_01"
    assert status["mode"] == "paper"
    assert status["symbol"] == "SOL_USDC_PERP"
    assert status["price"] == "150.07"
    assert status["position"] == "1.500"
    assert status["entry_price"] == "149.123456789"
    assert status["open_orders"] == 18
    assert status["fills"] == 200
    assert status["closed_cells"] == 96
    assert status["pid"] == os.getpid()
    assert status["uptime_s"] >= 0
    assert status["state"] == "running"
    grid = status["grid"]
    assert (grid["lower"], grid["upper"], grid["num"], grid["cells"]) == ("140", "160", 21, 20)
    assert (grid["mode"], grid["type"]) == ("arithmetic", "neutral")
    for part in ("grid", "trend", "unrealized", "fees", "open_fees", "funding", "total"):
        assert DECIMAL.fullmatch(status["pnl"][part]), part


def test_the_parts_of_the_profit_add_up_to_the_last_digit(shared: Served) -> None:
    """total = grid + trend + unrealized - open_fees + funding, as printed."""
    pnl = {name: Decimal(text) for name, text in shared.get("/api/status").json["pnl"].items()}
    parts = pnl["grid"] + pnl["trend"] + pnl["unrealized"] - pnl["open_fees"] + pnl["funding"]
    assert pnl["total"] == parts == Decimal("126.0361273165")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0.00000001", "0.00000001"),
        ("1E-8", "0.00000001"),
        ("1E+3", "1000"),
        ("-0", "0"),
        ("-0.00", "0.00"),
        ("100996.257866000000000000", "100996.25786600"),
        ("0.1234567891000", "0.1234567891"),
        ("123456789012345678901234567890.123456789", "123456789012345678901234567890.123456789"),
    ],
)
def test_a_figure_is_never_rounded_and_has_no_exponent(value: str, text: str) -> None:
    """What the engine knows is what the API says."""
    with serving(bot=FakeBot(make_snapshot(position=Decimal(value)))) as served:
        assert served.get("/api/status").json["position"] == text


def test_what_is_not_known_is_null(served: Served) -> None:
    """Before the first quote there is no price, no entry, no equity, and none is made up."""
    served.bot.publish(
        quote=None, grid=None, levels=(), entry_price=None, liquidation_price=None, balance=None
    )
    status = served.get("/api/status").json
    for name in ("price", "entry_price", "liquidation_price", "equity", "grid", "balance"):
        assert status[name] is None, name
    assert served.get("/api/grid").json["levels"] == []
    assert served.get("/metrics").status == 200


@pytest.mark.parametrize(
    ("changes", "live", "code", "status", "ready"),
    [
        ({}, True, 200, "ok", True),
        ({"state": RunState.PAUSED}, True, 200, "ok", True),
        ({"state": RunState.STARTING, "checks": ()}, True, 200, "starting", False),
        ({}, False, 503, "stalled", False),
        ({"state": RunState.STOPPING}, True, 503, "stopping", False),
        ({"state": RunState.STOPPED}, True, 503, "stopping", False),
        ({"checks": (Check(name="data", ok=False, age_s=41.0),)}, True, 503, "unhealthy", True),
    ],
)
def test_health_tells_how_it_is(
    changes: dict[str, Any], live: bool, code: int, status: str, ready: bool
) -> None:
    """200 while healthy; 503 when stalled, unhealthy or stopping; only a stall is not live."""
    bot = FakeBot(make_snapshot(**changes))
    with serving(bot=bot, liveness=lambda: live) as served:
        for path in ("/health", "/health/detailed"):
            answer = served.get(path)
            assert answer.status == code
            document = answer.json
            assert document["status"] == status
            assert document["live"] is live
            assert document["ready"] is ready
            assert document["instance_id"] == "bp_sol_01"
            assert document["pid"] == os.getpid()


def test_detailed_health_has_each_check_with_its_age(shared: Served) -> None:
    """The age of a check grows with the age of the snapshot that carries it."""
    checks = shared.get("/health/detailed").json["checks"]
    assert checks["exchange"]["ok"] is True
    assert checks["exchange"]["verdict"] == "ok"
    assert checks["feed"]["age_s"] >= 1.2
    assert checks["feed"]["detail"] == "price is fresh"


def test_a_stalled_engine_shows_growing_ages() -> None:
    """A snapshot that is not replaced gets older, and so does what its checks saw."""
    now = [100.0]
    with serving(monotonic=lambda: now[0]) as served:
        served.get("/health")
        now[0] = 160.0
        document = served.get("/health/detailed").json
        assert document["snapshot_age_s"] == 60.0
        assert document["checks"]["exchange"]["age_s"] == 60.4
        served.bot.publish()
        assert served.get("/health/detailed").json["snapshot_age_s"] == 0.0


def test_fills_have_the_fields_of_the_contract(shared: Served) -> None:
    """Newest first, each with its fields, the time in ISO 8601 UTC."""
    answer = shared.get("/api/fills").json
    assert len(answer["fills"]) == 100
    fill = answer["fills"][0]
    assert fill == {
        "trade_id": "t199",
        "order_id": "v199",
        "client_order_id": "c199",
        "symbol": "SOL_USDC_PERP",
        "side": "SELL",
        "price": "159.00",
        "quantity": "0.500",
        "fee": "0.01400",
        "fee_asset": "USDC",
        "is_maker": True,
        "time": "2026-11-23T13:39:30Z",
    }
    assert datetime.fromisoformat(fill["time"]).utcoffset() is not None


@pytest.mark.parametrize("name", ["fills", "pnl", "orders"])
def test_pages_follow_one_another_without_a_gap(shared: Served, name: str) -> None:
    """`next_before` leads through all rows once, and is null at the end."""
    path = f"/api/{name}?limit=7" + ("&status=all" if name == "orders" else "")
    rows: list[Any] = []
    before: int | None = None
    for _ in range(40):
        answer = shared.get(path + (f"&before={before}" if before else "")).json
        rows += answer[name]
        before = answer["next_before"]
        if before is None:
            break
    everything = shared.get(path.replace("limit=7", "limit=100000")).json
    assert rows == everything[name]
    assert everything["next_before"] is None
    assert len(rows) == {"fills": 200, "pnl": 200, "orders": 25}[name]


def test_orders_are_the_open_ones_unless_all_are_asked_for(shared: Served) -> None:
    """`?status=all` adds the finished ones; every order has its status."""
    assert len(shared.get("/api/orders").json["orders"]) == 18
    assert len(shared.get("/api/orders?status=open").json["orders"]) == 18
    everything = shared.get("/api/orders?status=all").json["orders"]
    assert {order["status"] for order in everything} == {"NEW", "FILLED"}
    assert everything[0]["client_order_id"] == "c24"


def test_a_long_list_is_written_in_pieces() -> None:
    """5000 fills are fetched a thousand at a time, so they never stand in memory together."""
    history = FakeHistory(fills=6000)
    with serving(history=history) as served:
        answer = served.get("/api/fills?limit=5000")
        rows = json.loads(answer.body)
        assert [row["trade_id"] for row in rows["fills"]] == [
            f"t{index}" for index in range(5999, 999, -1)
        ]
        assert rows["next_before"] == 1001
        assert history.largest_fetch == 1000


def test_adjust_is_the_guides_curl(served: Served) -> None:
    """Two prices as numbers: 200, with the range as exact strings, and the grid has moved."""
    answer = served.post("/api/grid/adjust", b'{"grid_lower_price":135,"grid_upper_price":165.50}')
    assert answer.status == 200
    document = answer.json
    assert document["success"] is True
    assert document["message"]
    assert document["grid_lower_price"] == "135"
    assert document["grid_upper_price"] == "165.50"
    assert document["grid_num"] == 21
    assert served.bot.commands == [
        AdjustGrid(lower=Decimal("135"), upper=Decimal("165.50"), grid_num=None)
    ]
    grid = served.get("/api/status").json["grid"]
    assert (grid["lower"], grid["upper"], grid["version"]) == ("135", "165.50", 2)


def test_adjust_takes_exact_text_and_every_option(served: Served) -> None:
    """Decimals come from their text: 0.1 is 0.1, from a number as from a string."""
    body = (
        b'{"grid_lower_price":"0.1","grid_upper_price":0.3,"grid_num":12,'
        b'"lots":"redistribute","dry_run":true}'
    )
    answer = served.post("/api/grid/adjust", body)
    assert answer.status == 200
    assert answer.json["dry_run"] is True
    assert served.bot.commands == [
        AdjustGrid(
            lower=Decimal("0.1"),
            upper=Decimal("0.3"),
            grid_num=12,
            lots=LotsPolicy.REDISTRIBUTE,
            dry_run=True,
        )
    ]
    assert served.get("/api/status").json["grid"]["lower"] == "140"


@pytest.mark.parametrize(
    ("outcome", "code", "success"),
    [
        (Outcome.DONE, 200, True),
        (Outcome.PENDING, 202, True),
        (Outcome.INVALID, 400, False),
        (Outcome.NOT_RUNNING, 409, False),
        (Outcome.REFUSED, 502, False),
    ],
)
@pytest.mark.parametrize("path", ["/api/grid/adjust", "/api/pause", "/api/resume", "/api/stop"])
def test_every_outcome_has_its_status(
    shared: Served, path: str, outcome: Outcome, code: int, success: bool
) -> None:
    """The engine's result decides; its words are the message, and 202 says what is pending."""
    shared.bot.answer = CommandResult(outcome=outcome, message="these words", data={"x": 1})
    try:
        answer = shared.post(path, {"grid_num": 20} if path.endswith("adjust") else {})
    finally:
        shared.bot.answer = None
    assert answer.status == code
    assert answer.json["success"] is success
    assert answer.json["message"] == "these words"
    assert answer.json["x"] == 1
    assert ("pending" in answer.json) is (outcome is Outcome.PENDING)
    if path.endswith("adjust") and success:
        assert answer.json["grid_lower_price"] == "140"
        assert answer.json["grid_num"] == 20


def test_pause_resume_and_stop_reach_the_engine(served: Served) -> None:
    """Each POST is one command; stop takes its two options, and says over HTTP who asked."""
    assert served.post("/api/pause", {}).status == 200
    assert served.get("/api/status").json["state"] == "paused"
    assert served.post("/api/resume", {}).status == 200
    assert served.get("/api/status").json["state"] == "running"
    assert served.post("/api/stop", {"keep_orders": True}).status == 200
    assert served.bot.commands == [
        Pause(),
        Resume(),
        StopBot(keep_orders=True, close_positions=False, reason="http"),
    ]
    assert served.get("/health").status == 503
    logged = [fields["command"] for _, event, fields in served.log.lines if event == "web_command"]
    assert logged == ["pause", "resume", "stop"]


def test_metrics_are_prometheus_text(shared: Served) -> None:
    """The figures are there under our own names, with nothing of another registry."""
    answer = shared.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.body.decode().splitlines()
    assert 'gridfleet_price{instance_id="bp_sol_01"} 150.07' in lines
    assert 'gridfleet_position{instance_id="bp_sol_01"} 1.5' in lines
    assert 'gridfleet_fills_total{instance_id="bp_sol_01"} 200.0' in lines
    assert 'gridfleet_pnl{instance_id="bp_sol_01",part="grid"} 128.4730125' in lines
    assert 'gridfleet_state{instance_id="bp_sol_01",state="running"} 1.0' in lines
    assert 'gridfleet_check_ok{check="exchange",instance_id="bp_sol_01"} 1.0' in lines
    names = {line.split("{")[0].split()[0] for line in lines if line and line[0] != "#"}
    assert all(name.startswith("gridfleet_") for name in names), names


def test_answers_are_counted_by_status(served: Served) -> None:
    """/metrics tells how many answers left, refusals of the guard included."""
    served.get("/health")
    served.get("/nowhere")
    served.get("/health", Host="evil.example")
    text = served.get("/metrics").body.decode()
    for status in ("200", "404", "421"):
        assert (
            f'gridfleet_http_responses_total{{instance_id="bp_sol_01",status="{status}"}} 1.0'
            in (text)
        )


def test_the_page_and_its_files_are_ours(shared: Served) -> None:
    """Every file that the page names is shared with its type; the licences lie beside them."""
    page = shared.get("/")
    assert page.status == 200
    text = page.body.decode()
    assert "<script>" not in text
    assert "style=" not in text
    named = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert len(named) == 6
    types = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    for path in named:
        assert path.startswith("/static/")
        answer = shared.get(path)
        assert answer.status == 200, path
        assert answer.headers["content-type"].startswith(types[path.rpartition(".")[2]]), path
    for name in ("socket.io-client", "uPlot", "htm", "preact", "pico"):
        assert shared.get(f"/static/vendor/{name}.LICENSE").status == 200, name


def test_an_identity_of_many_digits_is_kept(served: Served) -> None:
    """Sums of decimals wider than the default context are not cut on the way out."""
    served.bot.publish(pnl=PnL(grid=Decimal("0.1"), trend=Decimal("0.2")))
    assert served.get("/api/status").json["pnl"]["total"] == "0.3"


def test_a_slow_command_does_not_hold_the_others(served: Served) -> None:
    """While an adjust waits for the exchange, reads and health answer."""
    import threading

    entered, leave = threading.Event(), threading.Event()

    def wait() -> None:
        entered.set()
        assert leave.wait(10)

    served.bot.before_answer = wait
    answers: list[int] = []
    thread = threading.Thread(
        target=lambda: answers.append(served.post("/api/grid/adjust", {"grid_num": 22}).status)
    )
    thread.start()
    try:
        assert entered.wait(10)
        assert served.get("/health").status == 200
        assert served.get("/api/status").status == 200
    finally:
        leave.set()
        thread.join(10)
    wait_until(lambda: answers == [200], "the adjust is answered")
