"""`run.py --check` in this process: what it says of a live account, and every fault at once."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cli import bot_check
from cli.bot_wiring import SystemClock, client_ids
from core.check_report import REPORT_MARK, REPORT_VARIABLE
from core.config_load import LoadedConfig, load
from core.errors import AuthError, Retryable, UnknownSymbol
from core.model import OrderRequest, Side
from database.db import Database
from exchanges.factory import create_exchange
from exchanges.paper_memory import MemoryPaperStore

KEY = "k3y" * 14
CONFIG: dict[str, Any] = {
    "metadata": {"instance_id": "live_01"},
    "exchange_config": {"mode": "paper", "api_key": KEY, "secret_key": "s3cr3t" * 8},
    "strategy_config": {
        "exchange": "backpack",
        "symbol": "SOL_USDC_PERP",
        "grid_lower_price": 140,
        "grid_upper_price": 160,
        "grid_num": 20,
        "quantity": 1,
        "no_web": True,
    },
}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRID_ROOT", str(tmp_path))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv(REPORT_VARIABLE, "1")
    for name in ("LOG_DIR", "DB_PATH", "WEB_HOST", "WEB_PORT", "GRID_RUN_DIR", "WEB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def loaded(root: Path, mode: str = "paper", **strategy: Any) -> LoadedConfig:
    document = json.loads(json.dumps(CONFIG))
    document["exchange_config"]["mode"] = mode
    document["strategy_config"].update(strategy)
    path = root / "live_01.json"
    path.write_text(json.dumps(document))
    return load(path, root)


def request(client_order_id: str, price: int) -> OrderRequest:
    return OrderRequest(
        client_order_id=client_order_id,
        symbol="SOL_USDC_PERP",
        side=Side.BUY,
        price=Decimal(price),
        quantity=Decimal(1),
        post_only=True,
        reduce_only=False,
    )


def report_of(out: str) -> dict[str, Any]:
    """The last line, which is for a program."""
    *_, last = out.rstrip("\n").split("\n")
    assert last.startswith(REPORT_MARK)
    report: dict[str, Any] = json.loads(last[1:])
    return report


def test_a_live_account_is_shown_without_its_key(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Own and foreign orders, and what names the account; the key itself nowhere."""
    client, _ = create_exchange(loaded(root).config, MemoryPaperStore(), SystemClock(), root=root)
    ids = client_ids(loaded(root, "live").config)
    client.place_orders([request(ids.make(1), 141), request("hand-1", 142), request("x-1", 143)])
    monkeypatch.setattr(bot_check, "_open", lambda *_: (client, None))
    assert bot_check.check(loaded(root, "live")) == 0
    out = capsys.readouterr().out
    assert "1 open orders of this instance, 2 of others" in out
    assert "account      backpack:" in out
    assert KEY not in out
    assert report_of(out)["preflight"]["quantity"] == "1"


@pytest.mark.parametrize(
    ("error", "code"), [(AuthError("invalid signature"), 4), (Retryable("timed out"), 1)]
)
def test_an_exchange_that_refuses_is_told_and_the_rest_is_checked(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
) -> None:
    """4 for the credentials, 1 for what may pass; the folders are looked at all the same."""
    client, _ = create_exchange(loaded(root).config, MemoryPaperStore(), SystemClock(), root=root)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(client, "fetch_balance", fail)
    monkeypatch.setattr(bot_check, "_open", lambda *_: (client, None))
    assert bot_check.check(loaded(root, "live")) == code
    said = capsys.readouterr()
    assert report_of(said.out)["faults"] == [str(error)]
    assert "live_01.db will be created" in said.out
    assert str(error) in said.err


class Words:
    """What a live account says of itself; `closed`: of its symbol."""

    def __init__(self, closed: bool) -> None:
        self.closed = closed

    def credentials(self) -> list[tuple[str, str]]:
        return [("credentials", "accepted")]

    def is_closed(self) -> bool:
        return self.closed


@pytest.mark.parametrize(
    ("closed", "has_grid", "code"), [(True, True, 0), (False, True, 2), (True, False, 2)]
)
def test_a_grid_whose_symbol_was_delisted_may_start(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    closed: bool,
    has_grid: bool,
    code: int,
) -> None:
    """Its bot comes up and waits: a warning. Without a ledger, or an open one: a wrong symbol."""
    client, _ = create_exchange(loaded(root).config, MemoryPaperStore(), SystemClock(), root=root)

    def gone(_symbol: str) -> None:
        raise UnknownSymbol("strategy_config.symbol: was 'SOL_USDC_PERP', expected another")

    monkeypatch.setattr(client, "fetch_instrument", gone)
    monkeypatch.setattr(bot_check, "_open", lambda *_: (client, Words(closed)))
    if has_grid:
        path = root / "database" / "live_01.db"
        path.parent.mkdir()
        database = Database(path)
        database.bind_instance("live_01")
        database.append_event("pause", {}, SystemClock().now())
        database.close()
    assert bot_check.check(loaded(root, "live")) == code
    out = capsys.readouterr().out
    assert ("the grid in the ledger waits" in out) is (code == 0)


def test_a_fault_of_the_grid_and_one_of_the_folders_come_together(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The trader mends both at once; exit 2."""
    monkeypatch.setenv("LOG_DIR", str(root / "live_01.json" / "logs"))
    config = loaded(root, grid_upper_price="140.1", grid_num=11)
    assert bot_check.check(config) == 2
    faults = report_of(capsys.readouterr().out)["faults"]
    assert any("does not earn its fees" in fault for fault in faults)
    assert "daemon_config.log_dir" in faults[-1]
    assert len(faults) >= 2


def test_a_refused_check_does_not_say_ok(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line that the grid is refused for says so and what to do; the others are well."""
    assert bot_check.check(loaded(root, quantity=1000)) == 2
    rows = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    verdicts = {row[1]: row[0] for row in rows if row and row[0] in ("ok", "warning", "refused")}
    assert verdicts["margin"] == "refused"
    assert {name for name, verdict in verdicts.items() if verdict == "refused"} == {"margin"}
    margin = next(row[2] for row in rows if row[1:2] == ["margin"])
    assert margin.startswith("a full side takes 155263 USDC at leverage 10, 100000 is available")
    assert margin.endswith("lower quantity or max_position")
