"""`daemon_manager validate`: the preflight in words and as JSON, and a start that judges alike."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fleet import BIN, Fleet

pytestmark = pytest.mark.slow


def validate(fleet: Fleet, name: str) -> tuple[int, dict[str, Any], str]:
    done = fleet.manage("validate", "--config", name, "--json")
    document: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, document, done.stderr


def test_the_preflight_in_words_and_as_json(fleet: Fleet) -> None:
    """140 to 160, 20 levels, 1 SOL: 1552.63 of SELLs above 150, a tenth of it in margin."""
    fleet.write("good_01", quantity="1", stop_loss=100, boundary_action="stop_only")
    code, document, _ = validate(fleet, "good_01")
    assert code == 0
    assert document["valid"]
    assert document["faults"] == document["warnings"] == []
    preflight = document["preflight"]
    assert (preflight["levels"], preflight["cells"], preflight["orders_at_most"]) == (20, 19, 19)
    assert preflight["worst_case"]["short"]["cost"] == "1552.63"
    assert preflight["margin_worst_case"] == "155.263"
    assert preflight["available"] == "100000"
    assert "\x1e" not in document["check"]["output"]
    done = fleet.manage("validate", "--config", "good_01")
    assert done.returncode == 0
    for words in (
        "20 levels (19 cells), arithmetic, neutral, 1 SOL an order",
        "140 to 160, 20 wide (14.29 %); levels 1.05 to 1.06 apart",
        "a full side takes 155.26 USDC at leverage 10, 100000 is available",
        "below 139.86 or above 160.16 for 10 s: entries are cancelled",
        "stop_loss 100 USDC: beyond the range",
    ):
        assert words in done.stdout
    assert "\x1e" not in done.stdout
    assert not (fleet.root / "database" / "good_01.db").exists()


def test_a_refusal_by_the_bots_own_check_is_a_fault(fleet: Fleet) -> None:
    """Every reason stands in `faults`, the start refuses for the same, and nothing is left."""
    fleet.write("poor_01", feed={"seed": 7, "balance": 50}, quantity="1")
    code, document, err = validate(fleet, "poor_01")
    assert (code, document["valid"], document["check"]["exit_code"]) == (2, False, 2)
    faults = document["faults"]
    assert "155.26 of margin at leverage 10, 50 is available" in faults[0]
    assert all(fault in err for fault in faults)
    assert document["preflight"]["margin_worst_case"] == "155.263"
    started = fleet.manage("start", "--config", "poor_01")
    assert started.returncode == 2
    assert "it is not retried" in started.stderr
    wanted = fleet.root / "logs" / "desired.json"
    assert "poor_01" not in wanted.read_text()
    assert faults[0] in started.stderr
    assert not (fleet.root / "database" / "poor_01.db").exists()
    fleet.write("poor_01", feed={"seed": 7, "balance": 50_000}, quantity="1")
    fleet.start("poor_01")  # the account is opened with what the file says now
    logs = "".join(
        path.read_text() for path in (fleet.root / "logs" / "poor_01").glob("*/bot_stdout.log")
    )
    assert "a full side takes 155.26 USDC at leverage 10, 50000 is available" in logs


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"grid_upper_price": "140.1", "grid_num": 11}, {}, "does not earn its fees"),
    ({"max_position": "0.005"}, {}, "the quantity of one order is"),
    ({"max_position": "0.3"}, {}, "is worth"),
    ({"leverage": 1}, {"balance": 1200}, "available; lower quantity or max_position"),
    ({"max_position": 500, "leverage": 100}, {"balance": 1000}, "rising price liquidates"),
]


@pytest.mark.parametrize(("changes", "feed", "said"), REFUSED, ids=[case[2] for case in REFUSED])
def test_what_validate_refuses(
    fleet: Fleet, changes: dict[str, Any], feed: dict[str, Any], said: str
) -> None:
    """Each with its reason in `faults`, beginning with the place, exit 2."""
    fleet.write("bad_01", feed={"seed": 7, **feed}, **changes)
    code, document, _ = validate(fleet, "bad_01")
    assert (code, document["valid"]) == (2, False)
    assert any(said in fault for fault in document["faults"]), document["faults"]
    assert all(fault.startswith("strategy_config") for fault in document["faults"])


def test_a_check_that_dies_is_a_fault_with_its_last_words(fleet: Fleet) -> None:
    """A bot that cannot even be imported has said why in its last line."""
    fleet.write("dead_01", environment={"PYTHONHOME": "/nonexistent"})
    code, document, _ = validate(fleet, "dead_01")
    assert code == 1
    (fault,) = document["faults"]
    assert fault.startswith("the bot's own check ended with ")
    assert document["preflight"] is None


def test_words_in_chinese_and_json_in_english(fleet: Fleet) -> None:
    """The language of the caller for a person, one JSON for all programs."""
    fleet.write("good_02", quantity="1")

    def run(*words: str) -> str:
        return subprocess.run(
            [str(BIN / "daemon_manager"), "validate", "--config", "good_02", *words],
            env={**os.environ, "GRID_ROOT": str(fleet.root), "LC_ALL": "zh_TW.UTF-8"},
            cwd=Path("/"),
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=True,
            timeout=60,
        ).stdout

    assert "20 條價位（19 格），等差，中性，每單 1 SOL" in run()
    document = json.loads(run("--json"))
    assert "20 levels (19 cells)" in document["check"]["output"]
    assert document["preflight"]["mode"] == "arithmetic"
