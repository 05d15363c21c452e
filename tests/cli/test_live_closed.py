"""A symbol that is closed when its bot starts, as real processes on the simulator."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "exchanges"))
from simulated import needs_simulator, simulator, wait_until
from test_live_bot import Desk, is_equal, supervised

pytestmark = [pytest.mark.slow, needs_simulator]


@pytest.fixture(params=["backpack", "aster"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    with simulator(request.param) as sim:
        yield Desk(sim, tmp_path)


def market(desk: Desk, state: str) -> None:
    desk.sim.control("market", symbol=desk.sim.symbol, state=state)


def test_a_start_on_a_closed_symbol_waits_and_goes_on(desk: Desk) -> None:
    """With a lot of it: /health is 200 and ready, the state is told, and it trades when it opens.

    `urlopen` raises for a 503.
    """
    config = desk.config()
    with desk.bot(config) as bot:
        wait_until(lambda: len(desk.resting()) == 20, "the grid rests")
        desk.sim.price(148.5)
        wait_until(lambda: is_equal(bot, desk), "a lot is held")
        bot.end(signal.SIGKILL)
    market(desk, "closed")
    resting = desk.resting()
    with desk.bot(config) as bot:
        wait_until(lambda: bot.get("/health")["ready"], "it is up")
        assert bot.get("/health")["status"] == "ok"
        status = bot.get("/api/status")
        assert "the market is closed" in status["entries_frozen"]
        assert is_equal(bot, desk)
        assert desk.resting() == resting
        market(desk, "open")
        desk.sim.price(150)
        wait_until(
            lambda: len(desk.resting()) == 20,
            "the grid is whole",
        )
        wait_until(lambda: not bot.get("/api/status")["entries_frozen"], "it says so")
        wait_until(lambda: is_equal(bot, desk), "the ledgers agree")
        assert bot.end(signal.SIGTERM) == 0
    assert desk.resting() == []


def test_its_supervisor_leaves_it_alone(desk: Desk) -> None:
    """Closed for longer than a start may take: RUNNING, and never started anew."""
    with supervised(desk, startup_timeout=5, health_check_interval=1):
        market(desk, "closed")
        try:
            again = desk.command_line("daemon_manager", "restart", "live_01")
            assert again.returncode == 0, again.stdout + again.stderr
            wait_until(lambda: desk.status("live_01")["state"] == "RUNNING", "it is up")
            begun = desk.status("live_01")["bot_pid"]
            wait_until(lambda: desk.status("live_01")["uptime_s"] > 8, "its time to start is over")
            status = desk.status("live_01")
        finally:
            market(desk, "open")
        assert (status["state"], status["bot_pid"]) == ("RUNNING", begun)
