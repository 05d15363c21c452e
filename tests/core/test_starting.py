"""A true supervisor starts a toy child: when it is ready, and what keeps it from that."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_fleet import ToyFleet, is_alive, wait_for

from core.desired import Desired
from core.identity import read_pid_file
from core.process import read_stat

pytestmark = pytest.mark.slow


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[ToyFleet]:
    fleet = ToyFleet(tmp_path)
    yield fleet
    fleet.clean_up()


def test_a_start_waits_until_the_bot_answers(fleet: ToyFleet) -> None:
    """Ready means an answer of 200 from that very process; then files, record and desired stand."""
    spec = fleet.spec()
    one = fleet.start(spec)
    assert one.outcome == "ready"
    folder = fleet.folder()
    bot = read_pid_file(folder / "bot.pid")
    assert bot is not None
    assert (folder / "daemon.pid").read_text() == f"{one.last['pid']}\n"
    assert bot == (one.last["bot_pid"], read_stat(bot[0]).start)  # type: ignore[union-attr]
    record = fleet.record()
    assert record["status"] == "RUNNING"
    assert (record["pid"], record["bot_pid"]) == (one.last["pid"], bot[0])
    assert record["web_port"] == spec.web_port
    assert (folder / "config.json").read_text() == spec.config_text
    assert Desired(fleet.root).load()["toy"].started_at == "2026-01-02T03:04:05+00:00"
    for name in ("config.json", "spec.json", "daemon.pid", "bot.pid", ".bot.lock", "control.sock"):
        assert stat.S_IMODE((folder / name).lstat().st_mode) == 0o600, name
    assert "start 1" in fleet.output("bot_stdout.log")
    assert "toy stderr line" in fleet.output("bot_stderr.log")
    fleet.stop()
    assert fleet.processes() == []


def test_the_bot_gets_its_surroundings_by_environment(fleet: ToyFleet) -> None:
    """The contract's names and ours; nothing of it on the command line."""
    spec = fleet.spec(environment={"TOY_TOKEN": "${TOY_SOURCE:-from the default}"})
    fleet.start(spec)
    raw = Path(f"/proc/{fleet.bot_pid()}/environ").read_bytes().split(b"\0")
    env = dict(item.decode().split("=", 1) for item in raw if item)
    folder = fleet.folder()
    expected = {
        "INSTANCE_ID": "toy",
        "CONFIG_FILE": str(folder / "config.json"),
        "WEB_HOST": "127.0.0.1",
        "WEB_PORT": str(spec.web_port),
        "DB_PATH": spec.db_path,
        "LOG_DIR": spec.logs.log_dir,
        "GRID_ROOT": str(fleet.root),
        "GRID_RUN_DIR": str(folder),
        "GRID_STARTED_AT": "2026-01-02T03:04:05+00:00",
        "GRID_CONFIG_SOURCE": spec.config_path,
        "TOY_TOKEN": "from the default",
    }
    assert {key: env.get(key) for key in expected} == expected
    assert env["GRID_BOT_LOCK_FD"].isdigit()
    assert b"default" not in Path(f"/proc/{fleet.bot_pid()}/cmdline").read_bytes()


def test_the_supervisor_stands_alone(fleet: ToyFleet) -> None:
    """Own session, no terminal, standard streams not the caller's, root as folder, umask 077."""
    one = fleet.start(fleet.spec())
    pid = int(one.last["pid"])
    found = read_stat(pid)
    assert found is not None
    assert found.session != os.getsid(0)
    assert {str(Path(f"/proc/{pid}/fd/{n}").readlink()) for n in range(3)} == {"/dev/null"}
    assert Path(f"/proc/{pid}/cwd").readlink() == fleet.root
    status = Path(f"/proc/{pid}/status").read_text()
    assert "Umask:\t0077" in status
    assert "Threads:\t1" in status


def test_a_second_supervisor_of_one_id_is_refused(fleet: ToyFleet) -> None:
    """The lock decides; the first is untouched and is named."""
    first = fleet.start(fleet.spec())
    second = fleet.start(fleet.spec())
    assert second.outcome == "refused"
    assert second.last["pid"] == first.last["pid"]
    assert fleet.lines("starts") == [str(first.last["bot_pid"])]


def test_a_bot_that_ends_at_once_fails_the_start_and_stays_supervised(fleet: ToyFleet) -> None:
    """A crash is reported with its code; the next try is under way."""
    one = fleet.start(fleet.spec("toy", "--exit-code", "3", restart={"restart_delay": 30.0}))
    assert (one.outcome, one.error) == ("failed", "exit code 3")
    fleet.wait_status("BACKOFF")
    assert is_alive(fleet.supervisor_pid())
    assert "toy ends with 3" in fleet.output("bot_stderr.log")


@pytest.mark.parametrize("code", [2, 4])
def test_a_permanent_exit_is_not_retried(fleet: ToyFleet, code: int) -> None:
    """2 and 4 end in FATAL after one try, and the supervisor ends."""
    one = fleet.start(fleet.spec("toy", "--exit-code", str(code)))
    assert one.outcome == "failed"
    fleet.wait_status("FATAL")
    pid = int(one.last["pid"])
    wait_for(lambda: not is_alive(pid), "the supervisor's end")
    assert len(fleet.lines("starts")) == 1
    assert f"exit code {code}; not retried" in str(fleet.record()["reason"])


def test_a_bot_that_is_never_ready_is_replaced_after_the_startup_timeout(fleet: ToyFleet) -> None:
    """S9: not ready in time is a failure."""
    spec = fleet.spec("toy", "--never-ready", health={"startup_timeout": 0.3})
    one = fleet.start(spec)
    assert one.outcome == "failed"
    assert "not ready within 0.3 s" in one.error


def test_a_program_that_cannot_be_executed_fails_the_start_by_name(fleet: ToyFleet) -> None:
    """The kernel's reason reaches the user; the budget ends it."""
    one = fleet.start(fleet.spec(argv=("/nowhere/prog",), restart={"max_restart_attempts": 0}))
    assert one.outcome == "failed"
    assert "/nowhere/prog" in " ".join(str(e.get("error")) for e in fleet.events())
    fleet.wait_status("FATAL")


def test_a_clash_with_another_instance_is_refused_by_name(fleet: ToyFleet) -> None:
    """Port, database and log directory belong to one living instance."""
    first = fleet.spec("one")
    fleet.start(first)
    second = fleet.start(fleet.spec("two", web_port=first.web_port))
    assert second.outcome == "invalid"
    assert "one" in second.error
    assert fleet.lines("starts", "two") == []


def test_without_health_checks_a_program_runs_once_exec_succeeded(fleet: ToyFleet) -> None:
    """health_check none: nothing is probed and no beat is expected."""
    spec = fleet.spec("toy", is_bot=False, argv=("/bin/sleep", "600"), health={"check": "none"})
    assert fleet.start(spec).outcome == "ready"
    assert fleet.status() == "RUNNING"
    fleet.stop()
    assert fleet.status() == "STOPPED"


def test_a_bot_without_a_page_is_ready_by_its_beat(fleet: ToyFleet) -> None:
    """--no-web: nobody listens, the beat says ready; the same after an adoption."""
    spec = fleet.spec("toy", "--no-web")
    one = fleet.start(spec)
    assert one.outcome == "ready"
    os.kill(int(one.last["pid"]), signal.SIGKILL)
    wait_for(lambda: not is_alive(int(one.last["pid"])))
    bot = fleet.bot_pid()
    fleet.start(spec)
    deadline = time.monotonic() + 1.0
    wait_for(lambda: time.monotonic() > deadline)
    assert (fleet.status(), fleet.bot_pid()) == ("RUNNING", bot)
