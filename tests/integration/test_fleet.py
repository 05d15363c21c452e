"""MISSION's integration checks, with real supervisors, real bots, real signals and real HTTP."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fleet import Fleet, wait_for

pytestmark = pytest.mark.slow


def total_of(pnl: dict[str, str]) -> Decimal:
    parts = {key: Decimal(value) for key, value in pnl.items()}
    return (
        parts["grid"] + parts["trend"] + parts["unrealized"] - parts["open_fees"] + parts["funding"]
    )


def fills_in(path: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.execute("SELECT side, quantity, trade_id FROM fills").fetchall()
    finally:
        connection.close()


def position_of(fills: list[tuple[Any, ...]]) -> Decimal:
    return sum((Decimal(q) if side == "BUY" else -Decimal(q) for side, q, _ in fills), Decimal(0))


def test_two_instances_at_once_share_nothing(fleet: Fleet) -> None:
    """Two bots run side by side, each with its own PID files, logs, database and page."""
    fleet.write("sol_01")
    fleet.write("sol_02")
    fleet.start("sol_01", "sol_02")
    one, two = fleet.record("sol_01"), fleet.record("sol_02")
    for entry in (one, two):
        name = entry["instance_id"]
        assert entry["state"] == "RUNNING"
        assert entry["is_alive"] is True
        run_dir = fleet.root / "logs" / name
        assert int((run_dir / "daemon.pid").read_text().split()[0]) == entry["pid"]
        assert int((run_dir / "bot.pid").read_text().split()[0]) == entry["bot_pid"]
        assert Path(entry["db_path"]) == fleet.root / "database" / f"{name}.db"
        assert entry["web_url"] == f"http://127.0.0.1:{fleet.ports[name]}"
        assert fleet.get(name, "/health")["instance_id"] == name
        day = next(p for p in Path(entry["log_dir"]).iterdir() if p.is_dir())
        assert {p.name for p in day.iterdir()} >= {
            "daemon.log",
            "bot_stdout.log",
            "bot_stderr.log",
        }
    keys = ("pid", "bot_pid", "web_port", "log_dir", "db_path")
    assert not {one[key] for key in keys} & {two[key] for key in keys}


def test_a_sigkilled_bot_comes_back_and_the_others_never_notice(fleet: Fleet) -> None:
    """SIGKILL of one bot: a new process, the same ledger, no order doubled or missing."""
    names = ("a_01", "a_02", "a_03")
    for name in names:
        fleet.write(name)
    fleet.start(*names)
    wait_for("the first fill", lambda: fleet.get("a_01", "/api/status")["fills"] > 0)
    before = {name: fleet.record(name) for name in names}
    known = {f["trade_id"] for f in fleet.get("a_01", "/api/fills?limit=1000")["fills"]}
    victim = before["a_01"]["bot_pid"]
    os.kill(victim, signal.SIGKILL)
    fleet.wait_ready("a_01", but_not_pid=victim)
    after = {name: fleet.record(name) for name in names}
    assert after["a_01"]["bot_pid"] != victim
    assert after["a_01"]["pid"] == before["a_01"]["pid"]
    assert after["a_01"]["restarts"] == before["a_01"]["restarts"] + 1
    for other in ("a_02", "a_03"):
        assert after[other]["bot_pid"] == before[other]["bot_pid"]
        assert after[other]["restarts"] == 0
    status = fleet.get("a_01", "/api/status")
    fills = fills_in(before["a_01"]["db_path"])
    assert known <= {trade_id for _, _, trade_id in fills}
    assert len({trade_id for _, _, trade_id in fills}) == len(fills)
    checks = {check["name"]: check["ok"] for check in status["checks"]}
    assert checks["position"]
    orders = fleet.get("a_01", "/api/orders?limit=1000")["orders"]
    prices = [(order["side"], Decimal(order["price"])) for order in orders]
    assert len(set(prices)) == len(prices)
    assert Decimal(status["pnl"]["total"]) == total_of(status["pnl"])


def test_stop_leaves_no_order_and_a_start_goes_on_with_the_position(fleet: Fleet) -> None:
    """`stop` cancels everything and returns when both processes are gone; `start` goes on."""
    fleet.write("s_01")
    fleet.start("s_01")
    wait_for("a position", lambda: fleet.get("s_01", "/api/status")["fills"] > 0)
    entry = fleet.record("s_01")
    stopped = fleet.manage("stop", "s_01")
    assert stopped.returncode == 0, stopped.stderr
    for pid in (entry["pid"], entry["bot_pid"]):
        assert not Path(f"/proc/{pid}").exists()
    assert fleet.record("s_01")["state"] == "STOPPED"
    assert fleet.manage("status", "s_01").returncode == 3
    connection = sqlite3.connect(f"file:{entry['db_path']}?mode=ro", uri=True)
    resting = connection.execute(
        "SELECT count(*) FROM orders WHERE status IN ('NEW','PENDING','PARTIALLY_FILLED')"
    ).fetchone()
    on_exchange = connection.execute(
        "SELECT count(*) FROM paper_orders WHERE status IN ('NEW','PARTIALLY_FILLED')"
    ).fetchone()
    connection.close()
    assert resting == (0,)
    assert on_exchange == (0,)
    fills = fills_in(entry["db_path"])
    assert fleet.manage("stop", "s_01").returncode == 0, "a repeat has no second effect"
    fleet.start("s_01")
    assert fills_in(entry["db_path"])[: len(fills)] == fills, "the ledger goes on where it was"
    assert fleet.manage("pause", "s_01").returncode == 0

    def agrees() -> bool:
        status = fleet.get("s_01", "/api/status")
        return Decimal(status["position"]) == position_of(fills_in(entry["db_path"]))

    wait_for("page and ledger show one position", agrees)


def test_a_hot_adjust_keeps_position_and_cost_and_outlives_a_restart(fleet: Fleet) -> None:
    """The grid moves while the bot runs; its lots keep their cost; a restart keeps the range."""
    fleet.write("h_01")
    fleet.start("h_01")
    wait_for("a position", lambda: Decimal(fleet.get("h_01", "/api/status")["position"]) != 0)
    pid = fleet.get("h_01", "/health")["pid"]
    fills_before = fleet.get("h_01", "/api/status")["fills"]
    code, body = fleet.post(
        "h_01", "/api/grid/adjust", {"grid_lower_price": 138, "grid_upper_price": "162"}
    )
    assert (code, body["success"]) == (200, True), body
    assert (body["grid_lower_price"], body["grid_upper_price"]) == ("138", "162")
    status = fleet.get("h_01", "/api/status")
    assert status["grid"]["lower"] == "138"
    assert fleet.get("h_01", "/health")["pid"] == pid
    assert status["fills"] >= fills_before
    assert {c["name"]: c["ok"] for c in status["checks"]}["position"]
    assert fleet.manage("restart", "h_01").returncode == 0
    fleet.wait_ready("h_01", but_not_pid=pid)
    again = fleet.get("h_01", "/api/status")
    assert (again["grid"]["lower"], again["grid"]["upper"]) == ("138", "162")
    assert Decimal(again["pnl"]["total"]) == total_of(again["pnl"])


def test_a_changed_file_moves_the_grid_of_the_running_bot(fleet: Fleet) -> None:
    """A new range in the file is a hot adjust, a log level reaches the bot, both without a restart.

    A later restart reads the file and finds the grid already there.
    """
    path = fleet.write("r_01", feed={"seed": 7, "speed": 1})
    fleet.start("r_01")
    pid = fleet.wait_ready("r_01")["pid"]
    document = json.loads(path.read_text())
    document["strategy_config"]["grid_lower_price"] = 138
    path.write_text(json.dumps(document))
    wait_for("the new range", lambda: fleet.get("r_01", "/api/status")["grid"]["lower"] == "138")
    assert fleet.get("r_01", "/health")["pid"] == pid
    accepted = fleet.root / "logs" / "r_01" / "config.json"
    wait_for("the accepted file", lambda: json.loads(accepted.read_text()) == document)
    document["daemon_config"]["log_level"] = "debug"
    path.write_text(json.dumps(document))
    logs = fleet.root / "logs" / "r_01"
    wait_for(
        "the bot's word on its level",
        lambda: any(
            '"event": "log_level"' in file.read_text() for file in logs.glob("*/bot_stdout.log")
        ),
    )
    assert fleet.get("r_01", "/health")["pid"] == pid
    assert fleet.manage("restart", "r_01").returncode == 0
    fleet.wait_ready("r_01", but_not_pid=pid)
    grid = fleet.get("r_01", "/api/status")["grid"]
    assert (grid["lower"], grid["upper"], grid["num"]) == ("138", "160", 20)


def test_an_adjust_that_is_wrong_changes_nothing(fleet: Fleet) -> None:
    """Bad values are refused with the reason, and the orders stay as they were."""
    fleet.write("w_01", feed={"seed": 7, "speed": 1})
    fleet.start("w_01")
    before = {o["client_order_id"] for o in fleet.get("w_01", "/api/orders")["orders"]}
    for body, words in (
        ({"grid_lower_price": 170}, "lower"),
        ({"grid_num": 1}, "grid_num"),
        ({"grid_lower_price": 149.99, "grid_upper_price": 150.01, "grid_num": 50}, "tick"),
        ({"grid_lower": 140}, "grid_lower"),
    ):
        code, answer = fleet.post("w_01", "/api/grid/adjust", body)
        assert code == 400, (body, answer)
        assert answer["success"] is False
        assert words in answer["message"]
    after = {o["client_order_id"] for o in fleet.get("w_01", "/api/orders")["orders"]}
    assert after == before


def test_five_instances_run_and_stop_together(fleet: Fleet) -> None:
    """The stress run: five bots start, trade and stop; nothing is left over."""
    names = [f"five_{i:02}" for i in range(5)]
    for name in names:
        fleet.write(name)
    done = fleet.manage("start", "--all")
    assert done.returncode == 0, done.stdout + done.stderr
    entries = [fleet.record(name) for name in names]
    assert all(entry["state"] == "RUNNING" for entry in entries)
    assert len({entry["bot_pid"] for entry in entries}) == 5
    for name in names:
        wait_for("a fill", lambda name=name: fleet.get(name, "/api/status")["fills"] > 0)
    assert fleet.manage("stop", "--all").returncode == 0
    for entry in entries:
        assert not Path(f"/proc/{entry['bot_pid']}").exists()
        assert not Path(f"/proc/{entry['pid']}").exists()
    assert {fleet.record(name)["state"] for name in names} == {"STOPPED"}


def test_a_bot_that_never_came_to_trading_has_no_orders_to_prove(fleet: Fleet) -> None:
    """Its database is no database: the start fails, the stop succeeds, nothing was ever sent."""
    fleet.write("d_01", max_restart_attempts=0)
    (fleet.root / "database" / "d_01.db").write_text(
        "this is no database, and never was one\n" * 99
    )
    assert fleet.manage("start", "--config", "d_01").returncode == 1
    done = fleet.manage("stop", "d_01")
    assert (done.returncode, done.stderr) == (0, "")
    assert fleet.record("d_01")["state"] == "STOPPED"


def test_starting_twice_changes_nothing(fleet: Fleet) -> None:
    """A second start says which PID runs and where its page is, and leaves it alone."""
    fleet.write("t_01")
    fleet.start("t_01")
    entry = fleet.record("t_01")
    again = fleet.manage("start", "--config", "t_01")
    assert again.returncode == 1
    assert str(entry["pid"]) in again.stdout + again.stderr
    assert entry["web_url"] in again.stdout + again.stderr
    assert fleet.record("t_01")["bot_pid"] == entry["bot_pid"]


def test_a_duration_ends_the_bot_for_good(fleet: Fleet) -> None:
    """When the duration is over the bot cancels its orders and is EXITED, not restarted."""
    fleet.write("d_01", duration=3)
    fleet.start("d_01")
    wait_for("EXITED", lambda: fleet.record("d_01")["state"] == "EXITED")
    entry = fleet.record("d_01")
    connection = sqlite3.connect(f"file:{entry['db_path']}?mode=ro", uri=True)
    resting = connection.execute(
        "SELECT count(*) FROM paper_orders WHERE status IN ('NEW','PARTIALLY_FILLED')"
    ).fetchone()
    connection.close()
    assert resting == (0,)
    assert fleet.manage("status", "d_01").returncode == 3


def test_pause_takes_entries_away_and_resume_brings_them_back(fleet: Fleet) -> None:
    """`pause` leaves exits alone; `resume` restores the grid."""
    fleet.write("p_01", feed={"seed": 7, "speed": 1})
    fleet.start("p_01")
    full = fleet.get("p_01", "/api/status")["open_orders"]
    assert full > 5
    assert fleet.manage("pause", "p_01").returncode == 0
    wait_for("entries gone", lambda: fleet.get("p_01", "/api/status")["open_orders"] <= 1)
    assert fleet.manage("resume", "p_01").returncode == 0
    wait_for("entries back", lambda: fleet.get("p_01", "/api/status")["open_orders"] >= full - 1)


def test_info_shows_the_grid_in_force_and_a_stop_loss_its_reason(fleet: Fleet) -> None:
    """While the bot runs, from its page; after its end, from its ledger; and why it ended."""
    fleet.write("i_01")
    fleet.start("i_01")
    wait_for("orders", lambda: fleet.get("i_01", "/api/status")["open_orders"] > 10)
    body = {"grid_lower_price": 130, "grid_upper_price": 170, "grid_num": 12}
    code, answer = fleet.post("i_01", "/api/grid/adjust", body)
    assert (code, answer["success"]) == (200, True), answer

    def info() -> dict[str, Any]:
        document: dict[str, Any] = json.loads(
            fleet.run("instance_cli", "info", "i_01", "--json").stdout
        )
        return document

    grid = {"lower": "130", "upper": "170", "num": 12, "mode": "arithmetic", "type": "neutral"}
    assert info()["grid"] == {**grid, "source": "page"}
    assert info()["configured_grid"] == "140-160 x20 arithmetic neutral"
    assert fleet.manage("stop", "i_01").returncode == 0
    assert info()["grid"] == {**grid, "source": "database"}
    # An exit so dear that whatever position comes first is a loss, however much was gained before.
    dear = {"seed": 7, "speed": 600, "taker_fee": "0.1"}
    fleet.write("i_01", feed=dear, stop_loss="0.01")
    started = fleet.manage("start", "--config", "i_01")
    assert started.returncode == 0, started.stderr
    wait_for("the end", lambda: fleet.record("i_01")["state"] == "EXITED")
    wait_for("its supervisor's end", lambda: not fleet.record("i_01")["is_alive"])
    status = fleet.manage("status", "i_01")
    assert status.returncode == 3
    assert "reason      stop_loss: the total after the exit would be" in status.stdout
    document = info()
    assert document["reason"].startswith("stop_loss: ")
    assert document["last_exit"]["cause"] == document["reason"]
    assert document["deaths"][0]["reason"] == document["reason"]
    text = fleet.run("instance_cli", "info", "i_01").stdout
    assert "code 0: stop_loss: the total" in text
