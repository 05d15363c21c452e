"""A live bot as a real process on the simulator, both exchanges: from its first order to its last.

The client is the real one; only `base_url` and `ws_url` lead to this machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port

from core.health import read_beat
from core.instance_manager import InstanceRegistry
from core.supervision import beat_limit_s

sys.path.insert(0, str(Path(__file__).parents[1] / "exchanges"))
from simulated import ROOT, Simulator, needs_simulator, order_request, simulator, wait_until

from core.model import Order, Side

pytestmark = [pytest.mark.slow, needs_simulator]

OPEN = ("NEW", "PARTIALLY_FILLED")


class Desk:
    """A root with one live config and its keys in `.env`."""

    def __init__(self, sim: Simulator, root: Path) -> None:
        self.sim = sim
        self.root = root
        for folder in ("config/active", "logs", "database"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        env = root / ".env"
        env.write_text(f"LIVE_KEY={sim.api_key}\nLIVE_SECRET={sim.secret_key}\n")
        env.chmod(0o600)

    def config(self, instance_id: str = "live_01", **changes: Any) -> Path:
        document = self.sim.document(instance_id, {"interval": 2, **changes})
        document["exchange_config"] |= {"api_key": "${LIVE_KEY}", "secret_key": "${LIVE_SECRET}"}
        document["daemon_config"] = {"web_port": free_port()}
        path = self.root / "config" / "active" / f"{instance_id}.json"
        path.write_text(json.dumps(document))
        return path

    def command(self, config: Path, *options: str) -> list[str]:
        return [sys.executable, str(ROOT / "run.py"), "--config", str(config), *options]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "GRID_ROOT": str(self.root), "PYTHONPATH": str(ROOT)}

    def run(self, config: Path, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(config, *options),
            env=self.environment,
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def command_line(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `daemon_manager` or `instance_cli` of this checkout in this root."""
        module = {"daemon_manager": "core.daemon_manager", "instance_cli": "cli.instance_cli"}
        return subprocess.run(
            [sys.executable, "-m", module[program], "--root", str(self.root), *words],
            env=self.environment,
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def on_terminal(self, answer: str, *words: str) -> tuple[str, int]:
        """Run `daemon_manager` on a terminal, type one answer; gives what it showed, its code."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "core.daemon_manager", "--root", str(self.root), *words],
            env=self.environment,
            cwd=self.root,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        os.write(ours, answer.encode())
        shown = b""
        with contextlib.suppress(OSError):  # the other end is closed: it has ended
            while chunk := os.read(ours, 65536):
                shown += chunk
        os.close(ours)
        return shown.decode(), process.wait(timeout=90)

    def status(self, instance_id: str) -> dict[str, Any]:
        told = self.command_line("daemon_manager", "status", instance_id, "--json").stdout
        return dict(json.loads(told))

    @contextmanager
    def bot(self, config: Path) -> Iterator[Bot]:
        log = self.root / f"out{len(list(self.root.glob('out*.log')))}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                self.command(config), env=self.environment, cwd=self.root, stdout=out, stderr=out
            )
        try:
            yield Bot(process, log)
        finally:
            process.kill()
            process.wait()

    def resting(self) -> list[dict[str, Any]]:
        return [order for order in self.sim.ledger()["orders"] if order["status"] in OPEN]


class Bot:
    """A running bot and its page."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log
        wait_until(self._address, "it says where its page is")

    def _address(self) -> bool:
        text = self._log.read_text()
        assert self.process.poll() is None, text
        told = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        pages = [line["web"] for line in told if line["event"] == "started"]
        self.url = pages[-1] if pages else ""
        return bool(pages)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=20) as answer:
            return json.load(answer)

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(timeout=60)


@pytest.fixture(params=["backpack", "aster"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    with simulator(request.param) as sim:
        yield Desk(sim, tmp_path)


def key_of(fill: dict[str, Any]) -> tuple[object, ...]:
    return (
        fill["trade_id"],
        fill["client_order_id"],
        fill["side"],
        Decimal(fill["price"]),
        Decimal(fill["quantity"]),
        Decimal(fill["fee"]),
    )


def is_equal(bot: Bot, desk: Desk) -> bool:
    """Tell whether every fill and the position are the exchange's own."""
    ours = {key_of(fill) for fill in bot.get("/api/fills?limit=100000")["fills"]}
    ledger = desk.sim.ledger()
    held = sum(Decimal(p["quantity"]) for p in ledger["positions"])
    return ours == {key_of(fill) for fill in ledger["fills"]} and (
        Decimal(bot.get("/api/status")["position"]) == held
    )


def test_from_the_first_order_to_the_last(desk: Desk) -> None:
    """It seeds, fills, re-quotes and stops: every fill once, position exact, nothing rests."""
    with desk.bot(desk.config()) as bot:
        wait_until(lambda: len(desk.resting()) == 20, "the grid rests")
        for price in (148.5, 147, 149, 151, 153.5, 152, 150):
            desk.sim.price(price)
            wait_until(lambda: is_equal(bot, desk), f"the ledgers agree at {price}")
        desk.sim.control("funding", symbol=desk.sim.symbol, rate="0.0001")
        wait_until(lambda: len(desk.resting()) == 20, "every level is quoted again")
        levels = [(o["side"], o["price"]) for o in desk.resting()]
        assert len(set(levels)) == len(levels)
        assert bot.get("/health")["ready"]
        bucket = "requests" if desk.sim.protocol == "backpack" else "weight"
        assert " of 2" in bot.get("/api/status")["extra"][f"budget_{bucket}"]
        assert len(bot.get("/api/fills?limit=1000")["fills"]) >= 8
        assert bot.end(signal.SIGTERM) == 0
    assert desk.resting() == []


def test_a_killed_bot_takes_up_where_it_was(desk: Desk) -> None:
    """Filled while it was dead: read by REST at the next start; then the finish step clears all."""
    config = desk.config()
    with desk.bot(config) as bot:
        wait_until(lambda: len(desk.resting()) == 20, "the grid rests")
        bot.end(signal.SIGKILL)
    desk.sim.price(147.5)
    with desk.bot(config) as bot:
        wait_until(lambda: is_equal(bot, desk), "what was filled meanwhile is here")
        wait_until(lambda: len(desk.resting()) >= 19, "it goes on")
        bot.end(signal.SIGKILL)
    assert desk.resting()
    finished = desk.run(config, "--cancel-orders")
    assert finished.returncode == 0, finished.stderr
    assert desk.resting() == []


def test_rest_alone_keeps_the_grid_right(desk: Desk) -> None:
    """No stream ever stands: fills are found, levels quoted again, and the stop leaves nothing."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, and nobody listens
        path = desk.config()
        document = json.loads(path.read_text())
        document["exchange_config"]["ws_url"] = f"ws://127.0.0.1:{nobody.getsockname()[1]}"
        path.write_text(json.dumps(document))
        with desk.bot(path) as bot:
            wait_until(lambda: len(desk.resting()) == 20, "the grid rests")
            for price in (147.5, 150):
                desk.sim.price(price)
                wait_until(lambda: is_equal(bot, desk), f"the ledgers agree at {price}")
                wait_until(lambda: len(desk.resting()) == 20, "every level is quoted again")
            assert len(bot.get("/api/fills?limit=1000")["fills"]) >= 4
            assert bot.end(signal.SIGTERM) == 0
    assert desk.resting() == []


def test_under_its_supervisor(desk: Desk) -> None:
    """Validate, start, trade, audit while it runs and afterwards, stop: nothing rests."""
    sim = desk.sim
    desk.config()
    valid = desk.command_line("daemon_manager", "validate", "--config", "live_01")
    assert valid.returncode == 0, valid.stdout + valid.stderr
    started = desk.command_line("daemon_manager", "start", "--config", "live_01", "--yes")
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        wait_until(lambda: len(desk.resting()) == 20, "the grid rests")
        for price in (148.5, 151.5, 150):
            sim.price(price)
        sim.control("funding", symbol=sim.symbol, rate="0.0001")
        wait_until(
            lambda: desk.command_line("instance_cli", "audit", "live_01").returncode == 0,
            "the ledger equals the exchange",
        )
        stats = json.loads(desk.command_line("instance_cli", "stats", "--json").stdout)
        assert stats[0]["budget"]
    finally:
        stopped = desk.command_line("daemon_manager", "stop", "live_01")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert desk.resting() == []
    audit = desk.command_line("instance_cli", "audit", "live_01")
    assert audit.returncode == 0, audit.stdout + audit.stderr


def test_a_second_bot_on_the_account_and_symbol_is_refused(desk: Desk, tmp_path: Path) -> None:
    """FAILURES 36, S32: whatever its root: exit 2, the holder named, the first one untouched."""
    with desk.bot(desk.config()):
        wait_until(lambda: len(desk.resting()) == 20, "the grid rests")
        other = Desk(desk.sim, tmp_path / "other")
        second = other.run(other.config("live_02"))
        assert second.returncode == 2
        assert "live_01" in second.stdout + second.stderr
        assert len(desk.resting()) == 20


def test_the_check_has_a_line_for_everything(desk: Desk) -> None:
    """Keys, credentials, account, limits, orders, position; and nothing is placed or set."""
    result = desk.run(desk.config(leverage=3), "--check")
    assert result.returncode == 0, result.stderr
    for name in (
        "keys",
        "credentials",
        "exchange",
        "account",
        "market",
        "modes",
        "limits",
        "position",
    ):
        assert f"ok       {name}" in result.stdout
    assert desk.sim.api_key not in result.stdout + result.stderr
    assert desk.sim.ledger()["orders"] == []
    assert {str(p["leverage"]) for p in desk.sim.ledger()["positions"]} <= {"10"}


def test_refused_credentials_end_for_good(desk: Desk) -> None:
    """Exit 4, which the supervisor does not retry; the key is in no line of it."""
    if desk.sim.protocol == "backpack":
        import base64

        from nacl.signing import SigningKey

        pair = (bytes(SigningKey(bytes(32)).verify_key), bytes(32))
        key, secret = (base64.b64encode(part).decode() for part in pair)
    else:
        key, secret = "a" * 64, "b" * 64
    (desk.root / ".env").write_text(f"LIVE_KEY={key}\nLIVE_SECRET={secret}\n")
    for options in ((), ("--check",), ("--cancel-orders",)):
        result = desk.run(desk.config(), *options)
        assert result.returncode == 4, result.stdout + result.stderr
        assert key not in result.stdout + result.stderr
        assert secret not in result.stdout + result.stderr


def test_a_wide_env_file_is_refused(desk: Desk) -> None:
    """Others could read the keys: exit 2, with the command that mends it."""
    (desk.root / ".env").chmod(0o644)
    result = desk.run(desk.config())
    assert result.returncode == 2
    assert "chmod 600" in result.stderr


def test_no_byte_of_a_key_is_left_behind(desk: Desk) -> None:
    """Not in logs, database, arguments, environment of nobody else, pages, budget or crash."""
    sim = desk.sim
    with desk.bot(desk.config()) as bot:
        wait_until(lambda: len(desk.resting()) == 20, "the grid rests")
        sim.control("faults", http_500=0.5, seed=1)
        sim.price(147.5)
        wait_until(lambda: bot.get("/api/status")["fills"], "it goes on through errors")
        sim.control("faults", http_500=0)
        pages = [str(bot.get(p)) for p in ("/api/status", "/health/detailed", "/api/orders")]
        arguments = Path(f"/proc/{bot.process.pid}/cmdline").read_text()
        bot.end(signal.SIGTERM)
    texts = [arguments, *pages]
    for path in desk.root.rglob("*"):
        if path.is_file() and path.name != ".env":
            texts.append(path.read_bytes().decode("utf-8", "replace"))
            texts.append(path.name)
    for secret in (sim.secret_key, sim.api_key):
        assert not [text[:80] for text in texts if secret in text]


FAULTS = {
    "http_500": 0.05,
    "http_429": 0.01,
    "timeout_before": 0.01,
    "timeout_after": 0.02,
    "ws_drop": 0.02,
    "duplicate_event": 0.1,
    "reorder_event": 0.1,
    "partial_fill": 0.5,
}
CALM = dict.fromkeys(FAULTS, 0)


@contextmanager
def supervised(desk: Desk, **daemon: object) -> Iterator[None]:
    """Have the daemon run a live bot with its grid resting; nothing of it outlives the block."""
    path = desk.config()
    document = json.loads(path.read_text())
    daemon["web_port"] = free_port()
    document["daemon_config"] = {**document.get("daemon_config", {}), **daemon}
    path.write_text(json.dumps(document))
    try:
        started = desk.command_line("daemon_manager", "start", "--config", "live_01", "--yes")
        assert started.returncode == 0, started.stderr
        wait_until(lambda: len(desk.resting()) == 20, "the grid rests")
        yield
    finally:
        desk.command_line("daemon_manager", "stop", "live_01")


def test_an_exchange_that_hangs_restarts_nobody(tmp_path: Path) -> None:
    """CONTRACT 7: its silence is longer than the beat's limit, and the bot is the same after it."""
    with simulator("aster") as sim:
        desk = Desk(sim, tmp_path)
        with supervised(desk, health_check_interval=1):
            before = desk.status("live_01")
            limit, oldest = beat_limit_s(1, 3), [0.0]

            def outlasted() -> bool:
                beat = read_beat(tmp_path / "logs" / "live_01" / "heartbeat")
                if beat is not None and beat.pid == before["bot_pid"]:
                    oldest[0] = max(oldest[0], time.monotonic() - beat.mono)
                return (
                    oldest[0] > limit + 1
                    or InstanceRegistry(tmp_path).load()["live_01"]["bot_pid"] != before["bot_pid"]
                )

            os.kill(sim.pid, signal.SIGSTOP)
            try:
                wait_until(outlasted, "a request hangs for longer than a beat may be old")
            finally:
                os.kill(sim.pid, signal.SIGCONT)
            wait_until(lambda: desk.status("live_01")["state"] == "RUNNING", "it is well again")
            after = desk.status("live_01")
    assert (after["restarts"], after["bot_pid"]) == (0, before["bot_pid"])


def test_orders_that_may_rest_are_not_forgotten(tmp_path: Path) -> None:
    """A stop that cannot prove their end leaves a record that cleanup keeps and status explains."""
    with simulator("aster") as sim:
        desk = Desk(sim, tmp_path)
        with supervised(desk, stop_timeout=3):
            os.kill(sim.pid, signal.SIGKILL)
            assert desk.command_line("daemon_manager", "stop", "live_01").returncode == 1
            cleaned = desk.command_line("instance_cli", "cleanup").stdout
            settle = "daemon_manager stop live_01"
            assert "removed 0 dead instances" in cleaned
            assert settle in cleaned
            status = desk.status("live_01")
            assert (status["state"], settle in status["hint"]) == ("STOPPED", True)


def storm(desk: Desk, seed: int, lives: int, moves: int) -> None:
    """Errors, time-outs on both sides, dropped streams, events twice and out of order, SIGKILLs.

    Afterwards every fill is there once, the position is exact, one order a level, none above.
    """
    sim, config, chance = desk.sim, desk.config(), random.Random(seed)
    sim.control("faults", **FAULTS, seed=seed)
    price = Decimal(150)
    for life in range(lives):
        with desk.bot(config) as bot:
            if life == 0:  # it begins at 150, so that at 150 every cell has an order of its own
                wait_until(lambda: len(desk.resting()) >= 15, "the grid rests")
            for _ in range(moves):
                price += Decimal(chance.choice(["-2", "-1", "-0.5", "0.5", "1", "2"]))
                price = min(Decimal(157), max(Decimal(143), price))
                sim.price(price)
                wait_until(lambda: bot.get("/api/status"), "it answers")
            if life < lives - 1:
                bot.end(signal.SIGKILL)
                continue
            sim.control("faults", **CALM)
            sim.price(150)
            wait_until(lambda: is_equal(bot, desk), "every fill once, position exact")
            wait_until(lambda: len(desk.resting()) >= 18, "the grid is whole")
            levels = [(o["side"], Decimal(o["price"])) for o in desk.resting()]
            assert len(set(levels)) == len(levels)
            held = sum(Decimal(p["quantity"]) for p in sim.ledger()["positions"])
            assert abs(held) <= 6
            assert bot.end(signal.SIGTERM) == 0
    assert desk.resting() == []


def test_a_storm(desk: Desk) -> None:
    """A short one, with one SIGKILL."""
    storm(desk, seed=11, lives=2, moves=5)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
def test_a_long_storm(desk: Desk, seed: int) -> None:
    """Many lives in bad weather."""
    storm(desk, seed=seed, lives=5, moves=40)


@pytest.fixture
def aster_desk(tmp_path: Path) -> Iterator[Desk]:
    with simulator("aster") as sim:
        yield Desk(sim, tmp_path)


def test_a_dead_bots_orders_end_by_its_switch(aster_desk: Desk) -> None:
    """Aster's countdown: wound up while it lives, run out once it is killed, off after a stop."""
    config = aster_desk.config(dead_mans_switch=10)
    with aster_desk.bot(config) as bot:
        wait_until(lambda: len(aster_desk.resting()) == 20, "the grid rests")
        wait_until(
            lambda: (
                "orders are cancelled in"
                in bot.get("/api/status")["extra"].get("dead_mans_switch", "")
            ),
            "it is wound up",
        )
        bot.end(signal.SIGKILL)
    wait_until(lambda: aster_desk.resting() == [], "the exchange has cancelled them")
    with aster_desk.bot(config) as bot:
        wait_until(lambda: len(aster_desk.resting()) == 20, "it goes on")
        assert bot.end(signal.SIGTERM) == 0
    assert aster_desk.resting() == []


def test_a_closed_book_stops_entries_and_is_told(desk: Desk) -> None:
    """A fill's answer is refused: entries wait, the status says why, and it goes on by itself."""
    with desk.bot(desk.config()) as bot:
        wait_until(lambda: len(desk.resting()) == 20, "the grid rests")
        desk.sim.control("market", symbol=desk.sim.symbol, state="closed")
        desk.sim.price(148.5)
        told = wait_until(lambda: bot.get("/api/status")["entries_frozen"], "it stands in words")
        assert "market: " in told
        wait_until(lambda: is_equal(bot, desk), "the fill is booked all the same")
        assert bot.get("/health")["live"]
        desk.sim.control("market", symbol=desk.sim.symbol, state="open")
        wait_until(lambda: not bot.get("/api/status")["entries_frozen"], "entries resume")
        wait_until(lambda: len(desk.resting()) == 20, "every level is quoted again")
        assert bot.end(signal.SIGTERM) == 0
    assert desk.resting() == []


def test_a_liquidation_is_booked_as_closed_from_outside(desk: Desk) -> None:
    """The exchange closes the position: the ledger has its fill, the position is the exchange's."""
    config = desk.config(quantity="600", max_position="6000", allow_liquidation_in_range=True)
    with desk.bot(config) as bot:
        wait_until(lambda: len(desk.resting()) == 20, "the grid rests")
        for price in range(149, 139, -1):
            desk.sim.price(price)
        wait_until(lambda: is_equal(bot, desk), "the lots are held")
        desk.sim.price(120)
        wait_until(
            lambda: any(
                "closed from outside" in alert for alert in bot.get("/api/status")["alerts"]
            ),
            "the liquidation is told",
        )
        wait_until(lambda: is_equal_but_names(bot, desk), "the ledgers agree")
        assert bot.end(signal.SIGTERM) == 0
    assert desk.resting() == []


def is_equal_but_names(bot: Bot, desk: Desk) -> bool:
    """As `is_equal`; the order of a liquidation has no client id on the exchange."""

    def nameless(fills: list[dict[str, Any]]) -> set[tuple[object, ...]]:
        return {(*key_of(fill)[:1], *key_of(fill)[2:]) for fill in fills}

    ledger = desk.sim.ledger()
    held = sum(Decimal(p["quantity"]) for p in ledger["positions"])
    ours = nameless(bot.get("/api/fills?limit=100000")["fills"])
    position = Decimal(bot.get("/api/status")["position"])
    return ours == nameless(ledger["fills"]) and position == held


def test_what_was_there_before_is_shown_and_asked_for(desk: Desk) -> None:
    """A position, an order of others: told before the first live start, which waits for a yes."""
    sim, config = desk.sim, desk.config()
    live = sim.open(desk.root / "hand")
    hand, other = (
        replace(order_request(sim, n, Side.BUY, price, "0.7", post_only=False), client_order_id=i)
        for n, price, i in ((1, "150", "77"), (2, "130", "78"))
    )
    assert all(isinstance(o, Order) for o in live.client.place_orders([hand, other]))
    live.client.close()
    seen, code = desk.on_terminal("n\n", "start", "--config", str(config))
    assert code == 1, seen
    assert "the account holds 0.7 now" in seen
    assert "0 open orders of this instance, 1 of others" in seen
    assert "start trading live with this?" in seen
    assert len(desk.resting()) == 1
    seen, code = desk.on_terminal("y\n", "start", "--config", str(config))
    try:
        assert code == 0, seen
        wait_until(lambda: len(desk.resting()) == 21, "the grid rests beside it")
    finally:
        desk.command_line("daemon_manager", "stop", "live_01")
    assert [o["client_order_id"] for o in desk.resting()] == ["78"]
