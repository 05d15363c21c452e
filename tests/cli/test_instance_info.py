"""`instance_cli info`: one instance in detail, no secret in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from instance_shell import FAKE, STATUS, Cli, Page
from registry_world import bot_of, start_claimed

from core.instance_manager import InstanceRegistry

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("english")]


def test_info_of_a_dead_instance(cli: Cli, registry: InstanceRegistry, tmp_path: Path) -> None:
    """Record, last config (masked), last exit and last log lines, from files alone."""
    folder = tmp_path / "logs" / "a"
    registry.register("a", {"status": "FATAL", "config_file": "/x/a.json", "symbol": "SOL"})
    config = {
        "exchange_config": {"api_key": FAKE, "mode": "paper"},
        "strategy_config": {"grid_num": 20, "note": "\x1b[2J"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "exit.json").write_text('{"v":1,"pid":1,"start":2,"code":4,"cause":"refused"}')
    day = folder / "2026-11-23"
    day.mkdir()
    (day / "bot_stderr.log").write_text(f"1\n2\n3\n4\n5\nsignature={FAKE} \x1b[2J\n")

    document = cli.json("info", "a")
    code, text, err = cli("info", "a")

    assert document["state"] == "FATAL"
    assert document["last_exit"]["code"] == 4
    assert document["config"]["strategy_config"]["grid_num"] == 20
    assert document["logs"]["bot_stderr.log"][:2] == ["2", "3"]
    assert document["should_run"] is False
    assert (code, err) == (0, "")
    assert "code 4: refused" in text
    assert "grid_num  20" in text
    assert FAKE not in json.dumps(document) + text
    assert "\x1b" not in text


def test_info_tells_how_earlier_processes_ended(
    cli: Cli, registry: InstanceRegistry, tmp_path: Path
) -> None:
    """Newest first, with the newest one's last lines; nothing in them moves the cursor."""
    from core import deaths

    registry.register("a", {"status": "BACKOFF"})
    for code in (3, -9):
        record = deaths.make_record(pid=4000 + code, start=0, code=code, cause="")
        deaths.save(
            tmp_path / "logs" / "a", record, {"bot_stderr.log": [f"last of {code} \x1b[2J"]}
        )

    document = cli.json("info", "a")
    _, text, _ = cli("info", "a")

    assert [death["signal"] or death["code"] for death in document["deaths"]] == ["SIGKILL", 3]
    assert "3991  signal: signal SIGKILL" in text
    assert "4003  exit: exit code 3" in text
    assert "Last lines of process 3991" in text
    assert "last of -9" in text
    assert "\x1b" not in text


def test_info_shows_the_grid_that_the_page_tells(cli: Cli, page: int, tmp_path: Path) -> None:
    """An adjust moved it away from the config, whose own is shown beside it."""
    grid = {"lower": "130", "upper": "170", "num": 12, "mode": "arithmetic", "type": "neutral"}
    Page.answer = STATUS | {"grid": {**grid, "cells": 11, "version": 2}}
    with start_claimed(tmp_path, "a", web_port=page) as _, bot_of(tmp_path, "a") as bot:
        InstanceRegistry(tmp_path).update("a", bot_pid=bot.pid)
        document = cli.json("info", "a")
        text = cli("info", "a")[1]
        (listed,) = cli.json("list")
    assert document["grid"] == {**grid, "source": "page"}
    assert document["configured_grid"] == listed["configured_grid"] == "140 - 160, 20 levels"
    assert "grid" not in listed
    rows = [line.split("  ") for line in text.splitlines()]
    said = {row[1]: row[-1].strip() for row in rows if len(row) > 2}
    assert said["Grid"] == "130-170 x12 arithmetic neutral"
    assert said["Grid of the config"] == "140 - 160, 20 levels"


def test_info_of_a_damaged_database_knows_no_grid(
    cli: Cli, registry: InstanceRegistry, tmp_path: Path
) -> None:
    """It says what the config says, and that it is the config."""
    path = tmp_path / "a.db"
    path.write_bytes(b"no database" * 100)
    registry.register("a", {"status": "STOPPED", "db_path": str(path), "grid": "140-160 x20"})
    assert cli.json("info", "a")["grid"] is None
    assert "Grid of the config  140-160 x20" in cli("info", "a")[1]


def test_info_says_why_a_bot_ended(cli: Cli, registry: InstanceRegistry) -> None:
    """Its reason, on one line."""
    registry.register("a", {"status": "EXITED", "reason": "two\nlines"})
    code, text, _ = cli("info", "a")
    assert code == 0
    assert ["Reason", "two; lines"] in [line.split(maxsplit=1) for line in text.splitlines()]
    assert cli.json("info", "a")["reason"] == "two\nlines"


def test_info_of_a_poor_record(cli: Cli, registry: InstanceRegistry) -> None:
    """Whatever is missing is not shown."""
    registry.register("a", {})
    assert cli("info", "a")[0] == 0
    assert cli.json("info", "a")["config"] is None
