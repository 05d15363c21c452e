"""Several bots on one account, as real processes on the simulator: what they may take together."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "exchanges"))
from simulated import SYMBOLS, needs_simulator, simulator, wait_until
from test_live_bot import Desk

pytestmark = [pytest.mark.slow, needs_simulator]

OTHER = {"backpack": "BTC_USDC_PERP", "aster": "BTCUSDT"}


@pytest.fixture(params=["backpack", "aster", "aster-v3"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    protocol, _, envelope = request.param.partition("-")
    with simulator(protocol, "--symbol", SYMBOLS[protocol], OTHER[protocol]) as sim:
        yield Desk(sim.by_wallet() if envelope else sim, tmp_path)


def config(desk: Desk, instance_id: str, symbol: str, quantity: int) -> None:
    """Write a config of ten cells a side: `quantity` x 1555 / 10 of margin at its worst."""
    path = desk.config(
        instance_id,
        quantity=str(quantity),
        max_position=str(quantity * 10),
        interval=60,  # the looks of several bots share one budget
    )
    document = json.loads(path.read_text())
    document["metadata"]["symbol"] = symbol
    path.write_text(json.dumps(document))


def validate(desk: Desk, instance_id: str) -> tuple[int, dict[str, Any], str]:
    done = desk.command_line("daemon_manager", "validate", "--config", instance_id, "--json")
    report = json.loads(done.stdout)
    return done.returncode, report, done.stdout + done.stderr


def test_the_margin_of_the_others_is_looked_at(desk: Desk) -> None:
    """Each alone fits into 100,000, both do not: refused by name, whoever runs; else all is well.

    400 an order takes 62,200 at its worst, 200 takes 31,100.
    """
    other = OTHER[desk.sim.protocol]
    config(desk, "live_01", desk.sim.symbol, 400)
    config(desk, "live_02", other, 400)
    assert validate(desk, "live_02")[0] == 0  # nobody trades yet: a config alone takes nothing
    started = desk.command_line("daemon_manager", "start", "--config", "live_01", "--yes")
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        wait_until(lambda: len(desk.resting()) == 20, "the first grid rests")

        code, _, told = validate(desk, "live_02")
        assert code == 2, told
        assert "the other bots of this account may still take" in told
        assert "live_01" in told
        refused = desk.command_line("daemon_manager", "start", "--config", "live_02", "--yes")
        assert refused.returncode == 2, refused.stdout + refused.stderr
        alone = desk.run(desk.root / "config" / "active" / "live_02.json")
        assert alone.returncode == 2, alone.stdout + alone.stderr
        assert "live_01" in alone.stdout + alone.stderr
        assert len(desk.resting()) == 20

        code, report, told = validate(desk, "live_01")  # what it holds itself counts once
        assert code == 0, told
        preflight = report["preflight"]
        assert float(preflight["margin_used"]) > 50_000
        assert preflight["others_on_account"] == []

        config(desk, "live_02", other, 200)
        begun = desk.command_line("daemon_manager", "start", "--config", "live_02", "--yes")
        assert begun.returncode == 0, begun.stdout + begun.stderr
        wait_until(lambda: len(desk.resting()) == 40, "both grids rest")
        done = desk.command_line("daemon_manager", "validate", "--config", "live_01")
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"live_02 ({other})" in done.stdout
    finally:
        desk.command_line("daemon_manager", "stop", "--all")
    config(desk, "live_02", other, 400)
    code, _, told = validate(desk, "live_02")  # the other has stopped
    assert code == 0, told
