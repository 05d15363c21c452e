"""The list of instances: states derived, entries as the contract has them, the table."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from registry_world import bot_of, start_claimed, supervisor_of
from tabulate import tabulate

from core.instance_manager import InstanceRegistry
from core.listing import STATES, collect, derive_state, describe, local_time, render_table
from core.liveness import Liveness
from core.table import display_width, grid

CONTRACT_FIELDS = {
    "instance_id", "state", "is_alive", "pid", "bot_pid", "web_port", "web_url", "config_file",
    "log_dir", "db_path", "started_at", "restarts",
}  # fmt: skip

BOTH = Liveness(pid=1, bot_pid=2)
SUPERVISOR = Liveness(pid=1, bot_pid=None)
BOT = Liveness(pid=None, bot_pid=2)
NEITHER = Liveness(pid=None, bot_pid=None)


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("TZ", "UTC")


# States ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", sorted(STATES))
def test_a_living_supervisor_is_believed(status: str) -> None:
    """What it said last is so; but a bot that runs lives: such a record is old (a full disk)."""
    assert derive_state(status, BOTH) == status
    expected = "BACKOFF" if status in ("RUNNING", "UNHEALTHY") else status
    assert derive_state(status, SUPERVISOR) == expected


@pytest.mark.parametrize("status", sorted(STATES))
def test_a_bot_without_its_supervisor_is_orphaned(status: str) -> None:
    """Whatever the record says."""
    assert derive_state(status, BOT) == "ORPHANED"


@pytest.mark.parametrize("status", sorted(STATES))
def test_where_nothing_lives_only_an_end_is_believed(status: str) -> None:
    """A record that says RUNNING after a reboot is STOPPED: nothing runs, nothing will restart."""
    expected = status if status in ("STOPPED", "EXITED", "FATAL") else "STOPPED"
    assert derive_state(status, NEITHER) == expected


@pytest.mark.parametrize(
    ("config", "command"),
    [
        ("/r/o.json", "daemon_manager start --config /r/o.json"),
        ("/r/b.json", "daemon_manager start --config /r/b.json --instance-id o"),
        ("/my r/o.json", "daemon_manager start --config '/my r/o.json'"),
        ("/it's/$(x)/o.json", "daemon_manager start --config '/it'\"'\"'s/$(x)/o.json'"),
        (None, "daemon_manager start --config o"),
    ],
)
def test_the_healing_command_starts_this_instance(config: str | None, command: str) -> None:
    """Not the one that its file names by itself, and whole in a shell."""
    record = {"instance_id": "o", "status": "RUNNING", "bot_pid": 2, "config_file": config}
    hint = describe(record, datetime.now().astimezone())["hint"]
    assert hint.endswith(f": {command}")


@pytest.mark.parametrize(
    ("status", "changes", "is_told"),
    [
        ("STOPPED", {}, True),
        ("EXITED", {}, True),
        ("FATAL", {}, True),
        ("RUNNING", {}, True),  # it died with its supervisor
        ("STOPPED", {"mode": None}, True),
        ("STOPPED", {"mode": "paper"}, False),
        ("STOPPED", {"mode": ""}, False),  # another program
        ("STOPPED", {"orders_unsettled": False}, False),
        ("STOPPED", {"orders_unsettled": None}, False),
        ("BACKOFF", {"pid": 2}, False),  # its supervisor lives and looks after them
        ("RUNNING", {"bot_pid": 2}, False),
    ],
)
def test_orders_that_may_rest_are_told(
    status: str, changes: dict[str, object], is_told: bool
) -> None:
    """Of what has ended, with the command that settles them."""
    record = {"instance_id": "o", "status": status, "orders_unsettled": True, "mode": "live"}
    entry = describe(record | changes, datetime.now().astimezone())
    assert entry["orders_unsettled"] is is_told
    assert str(entry["hint"]).endswith("daemon_manager stop o") is is_told


@pytest.mark.parametrize("status", [None, 7, "", "WHATEVER", ["RUNNING"], {"a": 1}])
def test_an_unknown_status_is_one_of_the_contracts_all_the_same(status: object) -> None:
    """A record of another version, or a damaged one, gives a state that scripts know."""
    found = [derive_state(status, alive) for alive in (BOTH, SUPERVISOR, BOT, NEITHER)]
    assert found == ["RUNNING", "STARTING", "ORPHANED", "STOPPED"]


# Entries --------------------------------------------------------------------------------------


def test_a_running_instance_has_the_contracts_entry(tmp_path: Path) -> None:
    """All of CONTRACT 4's fields, PIDs as numbers, the address without a slash."""
    with start_claimed(tmp_path, "a") as supervisor, bot_of(tmp_path, "a") as bot:
        InstanceRegistry(tmp_path).update("a", bot_pid=bot.pid)

        (entry,) = collect(tmp_path)

    assert set(entry) >= CONTRACT_FIELDS
    assert (entry["state"], entry["is_alive"]) == ("RUNNING", True)
    assert (entry["pid"], entry["bot_pid"]) == (supervisor.pid, bot.pid)
    assert entry["web_url"] == f"http://127.0.0.1:{entry['web_port']}"
    assert datetime.fromisoformat(entry["started_at"]).tzinfo is not None
    assert (entry["mode"], entry["symbol"], entry["restarts"]) == ("paper", "SOL_USDC_PERP", 0)
    assert 0 <= entry["uptime_s"] < 60
    json.dumps(entry)


def test_list_shows_what_lives_and_what_gave_up(tmp_path: Path) -> None:
    """Without `--all`: live ones, orphans and FATAL ones; with it the ended ones too."""
    registry = InstanceRegistry(tmp_path)
    for name, status in (("f", "FATAL"), ("s", "STOPPED"), ("e", "EXITED"), ("r", "RUNNING")):
        registry.register(name, {"status": status})
    with (
        start_claimed(tmp_path, "live", web_port=1),
        bot_of(tmp_path, "o") as orphan,
        supervisor_of(tmp_path, "b") as waiting,
    ):
        registry.update("o", bot_pid=orphan.pid, status="RUNNING", config_file="/x/o.json")
        registry.update("b", pid=waiting.pid, status="BACKOFF")
        registry.update("live", status="STARTING")
        shown = {entry["instance_id"]: entry["state"] for entry in collect(tmp_path)}
        everything = {entry["instance_id"]: entry for entry in collect(tmp_path, True)}

    assert shown == {"b": "BACKOFF", "f": "FATAL", "live": "STARTING", "o": "ORPHANED"}
    assert list(everything) == ["b", "e", "f", "live", "o", "r", "s"]
    assert everything["o"]["pid"] is None
    assert "daemon_manager start --config /x/o.json" in everything["o"]["hint"]
    assert everything["r"]["state"] == "STOPPED"
    assert "kill" in everything["r"]["hint"]
    assert everything["s"]["hint"] is None


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"status": None, "web_port": "x", "restarts": None, "started_at": "yesterday"},
        {"web_port": 5001, "web_host": None, "pid": "12", "bot_pid": [1], "started_at": 7},
        {"log_dir": 1, "config_file": 2, "started_at": "2026-11-23T12:00:00"},
    ],
)
def test_a_poor_record_costs_no_list(tmp_path: Path, record: dict[str, Any]) -> None:
    """Records of other versions are shown as far as they go."""
    InstanceRegistry(tmp_path).register("a", record)

    (entry,) = collect(tmp_path, include_all=True)

    assert set(entry) >= CONTRACT_FIELDS
    assert entry["state"] == "STOPPED"
    assert "a " in render_table([entry], tmp_path)


# Tables ---------------------------------------------------------------------------------------


def entries() -> list[dict[str, Any]]:
    now = datetime.fromisoformat("2026-11-23T12:00:00+00:00")
    good = {"config_file": "/r/config/active/bp_sol_01.json", "web_port": 5001, "pid": 4242}
    good |= {"status": "RUNNING", "bot_pid": 4243, "started_at": "2026-11-23T18:30:00+08:00"}
    bad = {"config_file": "/elsewhere/x.json", "web_port": 5002, "status": "FATAL"}
    return [
        describe({"instance_id": "bp_sol_01", **good}, now),
        describe({"instance_id": "bp_eth_02", **bad}, now),
    ]


ENGLISH = """\
+---------------+-----------+-------+------------+------------------------------+---------------------+
| Instance ID   | State     |   PID |   Web port | Config file                  | Started             |
+===============+===========+=======+============+==============================+=====================+
| bp_sol_01     | ● RUNNING |  4242 |       5001 | config/active/bp_sol_01.json | 2026-11-23 10:30:00 |
+---------------+-----------+-------+------------+------------------------------+---------------------+
| bp_eth_02     | ○ FATAL   |     - |       5002 | /elsewhere/x.json            | -                   |
+---------------+-----------+-------+------------+------------------------------+---------------------+
bp_eth_02: given up; see daemon_manager logs bp_eth_02, then: daemon_manager start --config /elsewhere/x.json --instance-id bp_eth_02"""  # noqa: E501 - a table is as wide as it is

CHINESE = """\
+-----------+------------+-------+---------+------------------------------+---------------------+
| 實例ID    | 狀態       |   PID |   Web埠 | 設定檔                       | 啟動時間            |
+===========+============+=======+=========+==============================+=====================+
| bp_sol_01 | 🟢 RUNNING |  4242 |    5001 | config/active/bp_sol_01.json | 2026-11-23 10:30:00 |
+-----------+------------+-------+---------+------------------------------+---------------------+
| bp_eth_02 | 🔴 FATAL   |     - |    5002 | /elsewhere/x.json            | -                   |
+-----------+------------+-------+---------+------------------------------+---------------------+"""


def test_the_table_in_english(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guide's columns, plain dots, local time, paths from the root, the hint below."""
    assert render_table(entries(), "/r") == ENGLISH


def test_the_table_in_chinese_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide characters line up; the dots are green and red."""
    monkeypatch.setenv("LC_ALL", "zh_TW.UTF-8")
    table, _, hint = render_table(entries(), "/r", coloured=True).rpartition("\n")

    assert table == CHINESE
    assert hint.startswith("bp_eth_02: 已放棄重啟")


def test_the_table_in_ascii() -> None:
    """For an output that can't show dots."""
    assert render_table(entries(), "/r", plain=True).isascii()


def test_nothing_from_a_file_forges_the_table() -> None:
    """Escape sequences and newlines in a record stand in their cell as text."""
    entry = entries()[0] | {"config_file": "/r/\x1b[2J\nx\u202e", "hint": "a\nb"}

    table = render_table([entry], "/r")

    assert "\\x1b[2J\\x0ax\\u202e" in table
    assert len(table.splitlines()) == 6


SAMPLES = [
    "",
    "a",
    "-",
    "bp_sol_01",
    "實例ID",
    "🟢 RUNNING",
    "● x",
    "e\u0301",
    "ｗｉｄｅ",
    "x" * 40,
]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_grid_is_what_tabulate_draws(count: int) -> None:
    """Equal to tabulate with wcwidth, cell for cell, also with wide characters."""
    cells = itertools.cycle(SAMPLES[1:])
    rows = [[next(cells) for _ in range(4)] for _ in range(count)]
    headers = ["Instance ID", "實例ID", "PID", "狀態"]

    expected = tabulate(
        rows,
        headers,
        "grid",
        disable_numparse=True,
        colalign=("left", "left", "right", "right"),
    )

    assert grid(rows, headers, right=frozenset({2, 3})) == expected


def test_display_width() -> None:
    """Columns of a terminal, not characters."""
    assert [display_width(text) for text in SAMPLES] == [0, 1, 1, 9, 6, 10, 3, 1, 8, 40]


@pytest.mark.parametrize(
    ("stamp", "shown"),
    [
        ("2026-11-23T18:30:00+08:00", "2026-11-23 10:30:00"),
        ("yesterday", "yesterday"),
        (None, "-"),
        (7, "-"),
        ("0001-01-01T00:00:00+23:59", "0001-01-01T00:00:00+23:59"),
    ],
)
def test_local_time(stamp: object, shown: str) -> None:
    """As the host's clock shows it; what is no time stays as it is."""
    assert local_time(stamp) == shown


def test_a_list_loads_nothing_heavy(tmp_path: Path) -> None:
    """What `list` imports decides how long it takes: no trading, no web, no dataclasses."""
    heavy = (
        "tabulate wcwidth structlog pydantic flask psutil inspect dataclasses socket ssl asyncio"
    )
    code = (
        "import sys; from core.listing import collect, render_table; "
        f"render_table(collect({str(tmp_path)!r}), '/'); "
        f"print(*sorted(set({heavy.split()!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
