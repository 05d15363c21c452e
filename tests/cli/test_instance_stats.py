"""`instance_cli stats`: figures of the fleet."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from instance_shell import FAKE, STATUS, Cli, Page
from registry_world import bot_of, start_claimed

from core.instance_manager import InstanceRegistry

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("english")]


def test_stats_ask_the_page(cli: Cli, page: int, tmp_path: Path) -> None:
    """Figures from /api/status with the Host that the guard wants; memory and CPU from /proc."""
    Page.answer = STATUS
    with start_claimed(tmp_path, "a", web_port=page) as supervisor, bot_of(tmp_path, "a") as bot:
        InstanceRegistry(tmp_path).update("a", bot_pid=bot.pid)

        (document,) = cli.json("stats")
        one = cli.json("stats", "a")
        table = cli("stats")[1]

    assert (document["source"], document["error"]) == ("page", None)
    assert (document["price"], document["fills"], document["open_orders"]) == ("150.25", 42, 19)
    assert document["pnl"]["total"] == "2.5"
    assert (document["supervisor"]["pid"], document["bot"]["pid"]) == (supervisor.pid, bot.pid)
    assert 1 < document["bot"]["pss_mb"] <= document["bot"]["rss_mb"] < 200
    assert document["bot"]["cpu_percent"] >= 0
    assert one["instance_id"] == "a"
    assert "| 150.25 |" in table.replace("  ", " ")
    assert Page.seen[0] == ("/api/status", f"127.0.0.1:{page}", None)


def test_stats_send_the_token(
    cli: Cli, page: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WEB_TOKEN goes into the header, never into the address."""
    Page.answer = STATUS
    monkeypatch.setenv("WEB_TOKEN", FAKE)
    with start_claimed(tmp_path, "a", web_port=page), bot_of(tmp_path, "a") as bot:
        InstanceRegistry(tmp_path).update("a", bot_pid=bot.pid)
        assert cli.json("stats", "a")["source"] == "page"
    assert Page.seen == [("/api/status", f"127.0.0.1:{page}", f"Bearer {FAKE}")]


def test_a_stranger_on_the_port_is_not_believed(cli: Cli, page: int, tmp_path: Path) -> None:
    """Another instance's figures are not shown as this one's."""
    Page.answer = STATUS | {"instance_id": "other"}
    with start_claimed(tmp_path, "a", web_port=page), bot_of(tmp_path, "a") as bot:
        InstanceRegistry(tmp_path).update("a", bot_pid=bot.pid)
        document = cli.json("stats", "a")
    assert (document["source"], document["price"]) == (None, None)
    assert "another server" in document["error"]


def test_stats_of_a_stopped_bot_come_from_its_database(
    cli: Cli, registry: InstanceRegistry, tmp_path: Path
) -> None:
    """Read-only: the last known figures, marked as such, and not a byte is changed."""
    from datetime import UTC, datetime

    from core.model import EquitySample, PnL
    from database.db import Database

    path = tmp_path / "database" / "a.db"
    path.parent.mkdir()
    database = Database(path)
    database.insert_equity(
        EquitySample(
            time=datetime(2026, 11, 23, tzinfo=UTC),
            price=Decimal("149.50"),
            position=Decimal("2.000"),
            pnl=PnL(grid=Decimal("1.5")),
            equity=Decimal(100001),
        )
    )
    database.close()
    before = path.read_bytes()
    registry.register("a", {"status": "STOPPED", "db_path": str(path)})

    document = cli.json("stats", "a")

    assert (document["source"], document["error"]) == ("database", None)
    assert (document["price"], document["position"]) == ("149.50", "2.000")
    assert (document["pnl"]["total"], document["fills"], document["open_orders"]) == ("1.5", 0, 0)
    assert path.read_bytes() == before


def test_stats_without_page_and_database(
    cli: Cli, registry: InstanceRegistry, tmp_path: Path
) -> None:
    """Nothing is known: null, with the reason; still exit 0, and no file is made."""
    registry.register("a", {"status": "STOPPED", "db_path": str(tmp_path / "none.db")})
    document = cli.json("stats", "a")
    assert (document["source"], document["price"], document["bot"]) == (None, None, None)
    assert "none.db" in document["error"]
    assert not (tmp_path / "none.db").exists()
