"""run.py as a real process: its exit codes, its last words, a dead engine, a full disk."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port

ROOT = Path(__file__).parents[2]
CONFIG: dict[str, Any] = {
    "metadata": {"instance_id": "bot_01"},
    "exchange_config": {"mode": "paper", "paper": {"seed": 7, "speed": 600}},
    "strategy_config": {
        "exchange": "backpack",
        "symbol": "SOL_USDC_PERP",
        "grid_lower_price": 140,
        "grid_upper_price": 160,
        "grid_num": 20,
        "max_position": 10,
        "interval": 5,
    },
}


def wait_for(what: str, condition: Callable[[], Any], deadline_s: float = 30.0) -> Any:
    end = time.monotonic() + deadline_s
    while True:
        with contextlib.suppress(OSError, ValueError, KeyError):
            if result := condition():
                return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s:g} s: {what}")
        time.sleep(0.02)


@dataclass(slots=True)
class Runs:
    """A root with one config, and the bots that were started in it."""

    root: Path
    port: int
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def run_dir(self) -> Path:
        return self.root / "logs" / "bot_01"

    def write(self, **changes: Any) -> Path:
        document = json.loads(json.dumps(CONFIG))
        document["daemon_config"] = {"web_port": self.port}
        for path, value in changes.items():
            section, _, key = path.partition("__")
            document.setdefault(section, {})[key] = value
        path = self.root / "bot_01.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    def environment(self, **extra: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("GRID_", "WEB_"))}
        return {**kept, "GRID_ROOT": str(self.root), **extra}

    def start(
        self, *args: str, program: tuple[str, ...] = (), limit: int | None = None, **extra: str
    ) -> subprocess.Popen[str]:
        def confine() -> None:
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        process = subprocess.Popen(
            [sys.executable, *(program or (str(ROOT / "run.py"),)), *args],
            env=self.environment(**extra),
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=confine,
        )
        self.processes.append(process)
        return process

    def finish(self, *args: str, **extra: str) -> tuple[int, str]:
        """Run to the end; the exit code and everything that was printed."""
        process = self.start(*args, **extra)
        out, err = process.communicate(timeout=60)
        return process.returncode, out + err

    def get(self, path: str) -> Any:
        url = f"http://127.0.0.1:{self.port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return json.loads(error.read())

    def exit_note(self) -> dict[str, Any]:
        note: dict[str, Any] = json.loads((self.run_dir / "exit.json").read_text())
        return note

    def resting(self) -> int:
        connection = sqlite3.connect(f"file:{self.root}/database/bot_01.db?mode=ro", uri=True)
        try:
            row = connection.execute(
                "SELECT count(*) FROM paper_orders WHERE status IN ('NEW','PARTIALLY_FILLED')"
            ).fetchone()
        finally:
            connection.close()
        return int(row[0])


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    for folder in ("config", "logs", "database"):
        (tmp_path / folder).mkdir()
    made = Runs(tmp_path, free_port())
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_duration_ends_with_0_and_no_order(runs: Runs) -> None:
    """When the duration is over, every order is cancelled and the exit note says so."""
    path = runs.write()
    code, said = runs.finish("--config", str(path), "--duration", "1")
    assert code == 0, said
    assert runs.resting() == 0
    note = runs.exit_note()
    assert (note["code"], note["orders_left"]) == (0, 0)
    assert note["cause"] == "the duration is over"


@pytest.mark.slow
def test_term_cancels_and_a_note_can_keep_the_orders(runs: Runs) -> None:
    """A bare TERM cancels every order; with `keep_orders` in stop.json they stay."""
    path = runs.write(exchange_config__paper={"seed": 7, "speed": 1})
    bot = runs.start("--config", str(path))
    wait_for("orders", lambda: runs.get("/api/status")["open_orders"] > 10)
    (runs.run_dir / "stop.json").write_text(json.dumps({"v": 1, "keep_orders": True}))
    bot.send_signal(signal.SIGTERM)
    bot.communicate(timeout=30)
    assert bot.returncode == 0
    kept = runs.resting()
    assert kept > 10
    (runs.run_dir / "stop.json").unlink()
    bot = runs.start("--config", str(path))
    wait_for("it goes on", lambda: runs.get("/health")["ready"])
    assert runs.get("/api/status")["open_orders"] == kept
    bot.send_signal(signal.SIGTERM)
    bot.communicate(timeout=30)
    assert runs.resting() == 0


@pytest.mark.slow
def test_a_dead_engine_thread_ends_the_process(runs: Runs) -> None:
    """A bug in the trading loop is a crash with last words, never a page without a bot."""
    path = runs.write()
    program = (
        "import sys\n"
        "from strategies.engine import Engine\n"
        "from cli import bot\n"
        "step, turns = Engine.step, []\n"
        "def broken(self, timeout_s):\n"
        "    turns.append(1)\n"
        "    if len(turns) > 5:\n"
        "        raise RuntimeError('the loop broke')\n"
        "    step(self, timeout_s)\n"
        "Engine.step = broken\n"
        "sys.exit(bot.main(sys.argv[1:]))\n"
    )
    bot = runs.start("--config", str(path), program=("-c", program))
    _, err = bot.communicate(timeout=30)
    assert bot.returncode == 70
    assert "the loop broke" in err
    assert "Traceback" in err
    note = runs.exit_note()
    assert note["code"] == 70
    assert "the loop broke" in note["cause"]


@pytest.mark.slow
def test_a_full_disk_stops_entries_and_says_so(runs: Runs) -> None:
    """A database that takes no writes stops all sending; the page says why, the bot lives."""
    path = runs.write(exchange_config__paper={"seed": 7, "speed": 5000})
    bot = runs.start("--config", str(path), limit=192 * 1024)

    def stuck() -> Any:
        status = runs.get("/api/status")
        return status if status["entries_frozen"] else None

    status = wait_for("entries are frozen", stuck, 60)
    assert "disk" in status["entries_frozen"] or "large" in status["entries_frozen"]
    assert status["alerts"]
    health = runs.get("/health")
    assert (health["live"], health["status"]) != (True, "ok")
    assert health["live"] is True, "a restart would not help, so none is asked for"
    assert bot.poll() is None
    fills = runs.get("/api/fills?limit=100000")["fills"]
    assert len({fill["trade_id"] for fill in fills}) == len(fills)
    bot.kill()
    bot.communicate()
    again = runs.start("--config", str(path))  # the disk has room again
    wait_for("it goes on", lambda: runs.get("/health")["ready"])
    checks = {check["name"]: check["ok"] for check in runs.get("/api/status")["checks"]}
    assert all(checks.values())
    again.send_signal(signal.SIGTERM)
    again.communicate(timeout=30)
    assert runs.resting() == 0


@pytest.mark.slow
def test_a_second_bot_of_one_instance_is_refused(runs: Runs) -> None:
    """The lock, not a PID file, decides: the second one ends with 1 and the first goes on."""
    path = runs.write()
    runs.start("--config", str(path))
    wait_for("the first is ready", lambda: runs.get("/health")["ready"])
    (runs.run_dir / "bot.pid").unlink()
    code, said = runs.finish("--config", str(path))
    assert code == 1
    assert "runs already" in said
    assert runs.get("/health")["ready"]


@pytest.mark.slow
def test_exit_codes(runs: Runs) -> None:
    """2 for what only the operator can mend, 6 for a taken port, and nothing is left behind."""
    path = runs.write(strategy_config__grid_num=1)
    code, said = runs.finish("--config", str(path))
    assert code == 2
    assert "strategy_config.grid_num" in said
    path = runs.write(daemon_config__web_host="0.0.0.0")
    code, said = runs.finish("--config", str(path))
    assert code == 2
    assert "WEB_TOKEN" in said
    path = runs.write()
    code, said = runs.finish("--config", str(path), WEB_DEBUG="1")
    assert code == 2
    assert "WEB_DEBUG" in said
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", runs.port))
        holder.listen()
        code, said = runs.finish("--config", str(path))
    assert code == 6
    assert str(runs.port) in said
    assert not (runs.root / "database" / "bot_01.db").exists()
    path = runs.write(strategy_config__grid_upper_price="140.1", strategy_config__grid_num=11)
    code, said = runs.finish("--config", str(path))
    assert code == 2
    assert "fees" in said


@pytest.mark.parametrize("port", ["abc", "65536"])
def test_a_port_that_is_none_is_refused(runs: Runs, port: str) -> None:
    """WEB_PORT is never read as if it were not there."""
    path = runs.write()
    code, said = runs.finish("--config", str(path), "--check", WEB_PORT=port)
    assert code == 2
    assert f"WEB_PORT: was '{port}', expected a port" in said


@pytest.mark.slow
def test_check_and_cancel_orders(runs: Runs) -> None:
    """`--check` starts nothing and leaves nothing; `--cancel-orders` proves that none rests."""
    path = runs.write(exchange_config__paper={"seed": 7, "speed": 1})
    code, said = runs.finish("--config", str(path), "--check")
    assert code == 0, said
    for word in ("20 levels (19 cells)", "after fees", "leverage"):
        assert word in said
    assert not (runs.root / "database" / "bot_01.db").exists()
    bot = runs.start("--config", str(path))
    wait_for("orders", lambda: runs.get("/api/status")["open_orders"] > 10)
    bot.kill()
    bot.communicate()
    assert runs.resting() > 10
    code, said = runs.finish("--config", str(path), "--cancel-orders")
    assert code == 0, said
    assert "none rests" in said
    assert runs.resting() == 0


@pytest.mark.slow
def test_check_judges_the_page_and_the_folders(runs: Runs) -> None:
    """What a start would refuse of its address and its folders, `--check` refuses too."""
    path = runs.write()
    code, said = runs.finish("--config", str(path), "--check", WEB_HOST="0.0.0.0")
    assert (code, "WEB_TOKEN" in said) == (2, True), said
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", runs.port))
        other.listen()
        code, said = runs.finish("--config", str(path), "--check")
        assert (code, str(runs.port) in said) == (6, True), said
    code, said = runs.finish("--config", str(path), "--check", LOG_DIR=f"{path}/logs")
    assert (code, "daemon_config.log_dir" in said) == (2, True), said
    assert sorted(file.name for file in runs.root.iterdir()) == [
        "bot_01.json", "config", "database", "logs"
    ]  # fmt: skip
    bot = runs.start("--config", str(path))
    wait_for("ready", lambda: runs.get("/health")["ready"])
    code, said = runs.finish("--config", str(path), "--check")
    assert code == 0, said
    assert "where this instance runs now" in said
    bot.terminate()
    assert bot.wait(30) == 0


@pytest.mark.slow
def test_options_alone_make_a_bot(runs: Runs) -> None:
    """run.py needs no file: the grid can be given by options, as the guide shows."""
    arguments = (
        "--exchange paper --symbol SOL_USDC_PERP --strategy perp_grid --grid-lower 140 "
        "--grid-upper 160 --grid-num 20 --max-position 10 --duration 1 --interval 60 --no-web"
    )
    code, said = runs.finish(*arguments.split())
    assert code == 0, said
    code, said = runs.finish(*arguments.replace("paper", "backpack").split())
    assert code == 2
    assert "paper" in said
    assert "BACKPACK_KEY" in said
