"""A live bot whose machine loses its power behind a send: both exchanges' real clients find it all.

The process is killed and its ledger put back to what it was before the fill: the exchange has the
fill, the order that answered it, and whatever became of that since (docs/decisions/008).
"""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from test_live_bot import Desk, is_equal, needs_simulator, simulator, wait_until

pytestmark = [pytest.mark.slow, needs_simulator]


@pytest.fixture(params=["backpack", "aster"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    with simulator(request.param) as sim:
        yield Desk(sim, tmp_path)


def files_of(database: Path) -> list[Path]:
    """The database and its log; the index of the log is made anew by whoever opens it."""
    return [database, database.with_name(f"{database.name}-wal")]


def kept_ids(database: Path) -> set[str]:
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        return {row[0] for row in connection.execute("SELECT client_order_id FROM reserved")}


def known_ids(database: Path) -> set[str]:
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        return {row[0] for row in connection.execute("SELECT client_order_id FROM orders")}


@pytest.mark.parametrize("fate", ["it rests", "it was filled"])
def test_what_a_power_cut_took_is_asked_for_again(desk: Desk, tmp_path: Path, fate: str) -> None:
    """The answer to the fill is known again by its id, and every fill is booked once."""
    config = desk.config()
    database = desk.root / "database" / "live_01.db"
    disk = tmp_path / "disk"
    disk.mkdir()
    with desk.bot(config) as bot:
        wait_until(lambda: len(desk.resting()) == 20, "the grid rests")
        wait_until(lambda: kept_ids(database), "ids are kept ready")
        for file in files_of(database):
            shutil.copyfile(file, disk / file.name)
        desk.sim.price(148.9)  # 149 fills
        wait_until(lambda: is_equal(bot, desk), "the fill is here")
        wait_until(lambda: len(desk.resting()) == 20, "it is answered")
        bot.end(signal.SIGKILL)
    if fate == "it was filled":
        desk.sim.price(150.1)  # the answer at 150 fills, and nobody hears of it
    sent = {order["client_order_id"] for order in desk.sim.ledger()["orders"]}
    lost = sent - known_ids(disk / database.name)
    assert lost & kept_ids(disk / database.name), "an answer left under an id that was kept"
    for file in database.parent.glob(f"{database.name}*"):
        file.unlink()
    for file in files_of(database):
        shutil.copyfile(disk / file.name, file)
        file.chmod(0o600)
    with desk.bot(config) as bot:
        wait_until(lambda: is_equal(bot, desk), "every fill is here once")
        wait_until(lambda: len(desk.resting()) == 20, "the grid is whole again")
        levels = [(order["side"], order["price"]) for order in desk.resting()]
        assert len(set(levels)) == len(levels)
        status = bot.get("/api/status")
        told = json.dumps(status["alerts"])
        assert "is known again" in told
        assert "mismatch" not in told
        assert "ours by the id" not in told, told
        assert bot.end(signal.SIGTERM) == 0
    assert desk.resting() == []
