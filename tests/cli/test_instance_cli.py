"""`instance_cli` as its users call it: verbs, exit codes, JSON, messages."""

from __future__ import annotations

import http.server
import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pytest
from registry_world import bot_of, start_claimed

from cli import instance_cli
from core.desired import Desired, Wanted
from core.instance_manager import InstanceRegistry

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FAKE = "fk3S9aQ0zz8LwPq"


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "WEB_TOKEN", "GRID_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


class Cli:
    """Runs the command in this process."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._root = root
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        code = instance_cli.main([*words, "--root", str(self._root)])
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err

    def json(self, *words: str) -> Any:
        """The one JSON value, with nothing beside it."""
        code, out, err = self(*words, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(tmp_path, capsys)


@pytest.fixture
def registry(tmp_path: Path) -> InstanceRegistry:
    return InstanceRegistry(tmp_path)


# list -----------------------------------------------------------------------------------------


def test_list_of_nothing(cli: Cli) -> None:
    """A new root: a sentence for a person, an empty list for a program, exit 0."""
    code, out, _ = cli("list")
    assert (code, "no instance runs" in out) == (0, True)
    assert cli.json("list") == []


def test_list_and_list_all(cli: Cli, registry: InstanceRegistry, tmp_path: Path) -> None:
    """The table has what lives; how many more there are is said; `--all` shows them."""
    registry.register("ended", {"status": "EXITED"})
    with start_claimed(tmp_path, "live", web_port=1) as supervisor:
        registry.update("live", status="STARTING")
        code, out, err = cli("list")
        assert (code, err) == (0, "")
        assert f"| live          | ● STARTING | {supervisor.pid:>5} |" in out
        assert "ended " not in out
        assert "1 more have ended" in out

        assert [entry["instance_id"] for entry in cli.json("list")] == ["live"]
        assert [entry["instance_id"] for entry in cli.json("list", "--all")] == ["ended", "live"]


def test_messages_in_chinese(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a person; JSON stays as it is."""
    monkeypatch.setenv("LC_ALL", "zh_TW.UTF-8")
    assert "沒有執行中的實例" in cli("list")[1]
    assert cli.json("list") == []


def run(
    *words: str, environ: dict[str, str] | None = None, script: str = "cli/instance_cli.py"
) -> subprocess.CompletedProcess[str]:
    """Run it from the checkout, as a file, from another directory."""
    return subprocess.run(
        [sys.executable, str(ROOT / script), *words],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={**os.environ, **(environ or {})},
        encoding="utf-8",
    )


def test_it_runs_as_a_file_from_anywhere(registry: InstanceRegistry, tmp_path: Path) -> None:
    """`python3 cli/instance_cli.py` needs no installation; `--root` may stand before the verb."""
    registry.register("a", {"status": "FATAL"})
    done = run("--root", str(tmp_path), "list", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)[0]["instance_id"] == "a"
    assert run("list", environ={"GRID_ROOT": str(tmp_path)}).stdout.count("FATAL") == 1


def test_an_output_that_cannot_encode_dots_gets_ascii(
    registry: InstanceRegistry, tmp_path: Path
) -> None:
    """An ASCII terminal is no reason to fail."""
    registry.register("a", {"status": "FATAL"})
    done = run("list", "--root", str(tmp_path), environ={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "- FATAL" in done.stdout


def on_a_terminal(root: Path, environ: dict[str, str]) -> str:
    """Run `list` with standard output on a terminal; gives what it shows."""
    reader, writer = pty.openpty()
    command = [sys.executable, str(ROOT / "cli/instance_cli.py"), "list", "--root", str(root)]
    with subprocess.Popen(command, stdout=writer, env={**os.environ, **environ}) as process:
        os.close(writer)
        shown = b""
        while True:
            try:
                piece = os.read(reader, 65_536)
            except OSError:  # the terminal's end
                break
            if not piece:
                break
            shown += piece
    os.close(reader)
    assert process.returncode == 0
    return shown.decode()


def test_colour_only_on_a_terminal_and_not_with_no_color(
    registry: InstanceRegistry, tmp_path: Path
) -> None:
    """A red dot on a terminal; a plain one with NO_COLOR, or in a pipe."""
    registry.register("a", {"status": "FATAL"})
    assert "🔴 FATAL" in on_a_terminal(tmp_path, {})
    assert "○ FATAL" in on_a_terminal(tmp_path, {"NO_COLOR": "1"})
    assert "○ FATAL" in run("list", "--root", str(tmp_path)).stdout


def test_a_reader_that_goes_away_is_no_failure(registry: InstanceRegistry, tmp_path: Path) -> None:
    """`list | head -1` ends quietly."""
    registry.register("a", {"status": "FATAL"})
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, str(ROOT / "cli/instance_cli.py"), "list", "--root", str(tmp_path)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_watch_ends_with_an_interrupt(
    cli: Cli, registry: InstanceRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It repeats until Ctrl-C, which is its good end."""
    registry.register("a", {"status": "FATAL"})
    rounds = []

    def sleep(seconds: float) -> None:
        rounds.append(seconds)
        if len(rounds) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(instance_cli.time, "sleep", sleep)
    code, out, _ = cli("list", "--watch")
    assert (code, out.count("FATAL")) == (0, 3)
    assert "\x1b" not in out


def test_watch_ends_when_nobody_reads_it(tmp_path: Path) -> None:
    """`list --watch | head -1` comes to an end, as a good one."""
    reader, writer = os.pipe()
    watch = subprocess.Popen(
        [sys.executable, "-m", "cli.instance_cli", "--root", str(tmp_path), "list", "--watch"],
        stdout=writer,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    os.close(writer)
    assert os.read(reader, 10)
    os.close(reader)
    _, complaints = watch.communicate(timeout=30)
    assert (watch.returncode, complaints) == (0, b"")


def test_words_that_find_no_room_are_a_failure(tmp_path: Path) -> None:
    """A list that could not be written whole is no list: exit 1, with the reason, and no watch."""
    for words in (["list", "--json"], ["list", "--watch"], ["cleanup"]):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "cli.instance_cli", "--root", str(tmp_path), *words],
                stdout=full,
                stderr=subprocess.PIPE,
                cwd=ROOT,
                timeout=30,
                check=False,
            )
        assert done.returncode == 1, words
        assert b"No space left" in done.stderr


# Usage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nonsense"],
        ["list", "--nonsense"],
        ["list", "--al"],
        ["list", "--watch", "--json"],
        ["info"],
        ["info", "../x"],
        ["info", "a\n"],
        ["info", ""],
        ["stats", "-rf"],
        ["audit"],
        ["audit", "../x"],
        ["audit", ""],
        ["stats", "a/b"],
        ["backtest"],
    ],
)
def test_bad_usage_is_2(cli: Cli, words: list[str]) -> None:
    """Nothing on standard output, the reason on standard error."""
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    assert err


@pytest.mark.parametrize("verb", ["info", "stats"])
def test_an_unknown_id_is_1(cli: Cli, registry: InstanceRegistry, verb: str) -> None:
    """The message names what there is."""
    registry.register("a", {"status": "FATAL"})
    code, out, err = cli(verb, "b", "--json")
    assert (code, out) == (1, "")
    assert "no instance b" in err
    assert "known: a" in err


def test_a_root_that_is_none_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    """`--root` names an existing folder."""
    assert instance_cli.main(["list", "--root", "/nonexistent"]) == 2
    assert "--root" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["list", "cleanup", "info", "stats", "audit", "backtest"])
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` of each, and all of them in the overview."""
    assert instance_cli.main([verb, "--help"]) == 0
    assert verb in capsys.readouterr().out
    assert instance_cli.main(["--help"]) == 0
    assert f"    {verb} " in capsys.readouterr().out


# cleanup --------------------------------------------------------------------------------------


def test_cleanup_removes_the_dead_and_says_how_many(
    cli: Cli, registry: InstanceRegistry, tmp_path: Path
) -> None:
    """Not the living, not what `resurrect` needs; a second time there is nothing to do."""
    registry.register("dead", {"status": "RUNNING"})
    registry.register("wanted", {"status": "RUNNING"})
    Desired(tmp_path).enter("wanted", Wanted(config_path="x", started_at="y"))
    with start_claimed(tmp_path, "live", web_port=1):
        code, out, _ = cli("cleanup", "--dry-run")
        assert (code, out.splitlines()[0]) == (0, "would remove 1 dead instances: dead")
        assert "wanted" in out.splitlines()[1]
        assert set(registry.load()) == {"dead", "wanted", "live"}

        assert cli("cleanup")[1].splitlines()[0] == "removed 1 dead instances: dead"
        assert set(registry.load()) == {"wanted", "live"}
        assert cli.json("cleanup") == {
            "removed": 0,
            "instances": [],
            "kept": ["wanted"],
            "unsettled": [],
            "dry_run": False,
        }


def test_cleanup_forgets_no_orders_that_may_rest(cli: Cli, registry: InstanceRegistry) -> None:
    """What is not proven gone on a real exchange stays on record, said with what settles it."""
    registry.register("gone", {"status": "STOPPED", "orders_unsettled": False, "mode": "live"})
    registry.register("paper", {"status": "STOPPED", "orders_unsettled": True, "mode": "paper"})
    registry.register("rests", {"status": "STOPPED", "orders_unsettled": True, "mode": "live"})
    code, out, _ = cli("list")
    assert (code, "rests: " in out, "daemon_manager stop rests" in out) == (0, True, True)
    assert [entry["instance_id"] for entry in cli.json("list")] == []
    for words, verb in ((["--dry-run"], "would remove"), ([], "removed")):
        code, out, _ = cli("cleanup", *words)
        assert (code, out.splitlines()[0]) == (0, f"{verb} 2 dead instances: gone, paper")
        assert "daemon_manager stop rests" in out.splitlines()[1]
    assert set(registry.load()) == {"rests"}
    told = cli.json("cleanup")
    assert (told["removed"], told["unsettled"]) == (0, ["rests"])


def test_cleanup_over_a_damaged_desired_file_removes_nothing(
    cli: Cli, registry: InstanceRegistry, tmp_path: Path
) -> None:
    """Nobody can say then what `resurrect` needs."""
    registry.register("dead", {"status": "RUNNING"})
    (tmp_path / "logs" / "desired.json").write_text("{")
    code, out, err = cli("cleanup")
    assert (code, out) == (1, "")
    assert "desired.json" in err
    assert set(registry.load()) == {"dead"}


# info -----------------------------------------------------------------------------------------


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


# stats ----------------------------------------------------------------------------------------


class Page(http.server.BaseHTTPRequestHandler):
    """An instance's page that knows one route."""

    answer: ClassVar[dict[str, Any]] = {}
    seen: ClassVar[list[tuple[str, str | None, str | None]]] = []

    def do_GET(self) -> None:
        headers = self.headers
        Page.seen.append((self.path, headers.get("Host"), headers.get("Authorization")))
        body = json.dumps(Page.answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def page() -> Iterator[int]:
    """A page on a port of its own; gives the port."""
    Page.seen.clear()
    server = http.server.HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


STATUS = {
    "instance_id": "a",
    "price": "150.25",
    "position": "-1.5",
    "pnl": {"grid": "3", "total": "2.5"},
    "open_orders": 19,
    "fills": 42,
}


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


# backtest -------------------------------------------------------------------------------------


def test_backtest_is_reached(cli: Cli, tmp_path: Path) -> None:
    """The verb hands over to the engine's own command, with its exit code for a bad file."""
    code, out, err = cli("backtest", "--config", "missing.json", "--data", "missing.csv")
    assert (code, out) == (2, "")
    assert "missing" in err


def test_backtest_out_is_judged_before_the_replay(cli: Cli, tmp_path: Path) -> None:
    """A folder that cannot be is refused in words, whatever else is wrong, and at once."""
    (tmp_path / "there").write_text("a file")
    for name in ("there", "there/below"):
        out_dir = str(tmp_path / name)
        code, out, err = cli("backtest", "--config", "x", "--data", "y", "--out", out_dir)
        assert (code, out) == (2, "")
        assert f"--out: was '{out_dir}'" in err
        assert "Errno" not in err
