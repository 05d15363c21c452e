"""A true supervisor over a toy child: true signals, and what /proc says afterwards."""

from __future__ import annotations

import itertools
import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from toy_fleet import TOY, ToyFleet, is_alive, wait_for

from core import pidfile, process
from core.desired import Desired
from core.identity import read_pid_file
from core.process import read_stat
from core.spec import LogSettings
from core.supervision_types import Restart, Stop

pytestmark = pytest.mark.slow


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[ToyFleet]:
    fleet = ToyFleet(tmp_path)
    yield fleet
    fleet.clean_up()


# Starting -----------------------------------------------------------------------------------------


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


# Living -------------------------------------------------------------------------------------------


def test_a_killed_bot_comes_back_and_the_other_never_notices(fleet: ToyFleet) -> None:
    """SIGKILL of one bot: a successor, one restart counted; its neighbour is the same process."""
    fleet.start(fleet.spec("one"))
    fleet.start(fleet.spec("two"))
    other, victim = fleet.bot_pid("two"), fleet.bot_pid("one")
    os.kill(victim, signal.SIGKILL)
    successor = wait_for(lambda: fleet.bot_pid("one") not in (0, victim) and fleet.bot_pid("one"))
    fleet.wait_status("RUNNING", instance_id="one")
    assert successor == fleet.bot_pid("one")
    assert fleet.record("one")["restarts"] == 1
    assert fleet.bot_pid("two") == other
    assert read_stat(victim) is None  # reaped: not even a zombie


def test_a_clock_that_jumps_changes_nothing(
    fleet: ToyFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S17: the wall clock steps by decades at every look; probes, beats and back-off go on."""
    steps = itertools.cycle((0.0, 4e9, 1e9))
    monkeypatch.setattr(time, "time", lambda: next(steps))
    one = fleet.start(fleet.spec(restart={"restart_delay": 0.3}))
    assert one.outcome == "ready"
    bot = fleet.kill_bot()
    wait_for(lambda: len(fleet.lines("starts")) == 2, "a new bot")
    wait_for(lambda: fleet.bot_pid() not in (0, bot) and fleet.status() == "RUNNING")
    (fleet.folder() / "hang").touch()
    wait_for(lambda: len(fleet.lines("starts")) == 3, "a bot in place of the hung one")
    (fleet.folder() / "hang").unlink()
    fleet.wait_status("RUNNING")
    assert is_alive(int(one.last["pid"]))


def test_a_frozen_bot_is_found_and_replaced(fleet: ToyFleet) -> None:
    """S8: SIGSTOP: it can't even take the TERM; it is KILLed after stop_timeout."""
    fleet.start(fleet.spec(health={"stop_timeout": 0.5}))
    frozen = fleet.kill_bot(signum=signal.SIGSTOP)
    wait_for(lambda: fleet.bot_pid() not in (0, frozen), "a new bot")
    wait_for(lambda: not is_alive(frozen), "the end of the frozen one")
    wait_for(lambda: len(fleet.lines("starts")) == 2, "its first words")
    assert "child_killed" in fleet.event_names()


def test_too_many_crashes_end_in_fatal_after_the_finish_step(fleet: ToyFleet) -> None:
    """The budget is spent, the orders are finished once, the supervisor ends."""
    spec = fleet.spec("toy", "--exit-code", "1", restart={"restart_delay": 0.0})
    fleet.start(spec)
    fleet.wait_status("FATAL")
    assert len(fleet.lines("starts")) == 4
    assert len(fleet.lines("finishes")) == 1
    assert fleet.record()["orders_unsettled"] is False
    assert "3 restarts within" in fleet.record()["reason"]
    assert "toy" in Desired(fleet.root).load()


def test_exit_zero_is_exited_and_no_longer_wanted(fleet: ToyFleet) -> None:
    """A bot that has finished is not resurrected."""
    spec = fleet.spec("toy", "--exit-code", "0")
    one = fleet.start(spec)
    assert one.outcome == "ready"
    fleet.wait_status("EXITED")
    wait_for(lambda: not is_alive(int(one.last["pid"])))
    assert Desired(fleet.root).load() == {}
    assert fleet.lines("finishes") == []


def test_a_taken_port_is_retried(fleet: ToyFleet) -> None:
    """S4, S7: exit 6 goes through the backoff until the port is free; no finish step."""
    spec = fleet.spec(restart={"restart_delay": 0.2, "max_restart_attempts": 50})
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", spec.web_port or 0))
        taken.listen()
        one = fleet.start(spec)
        assert (one.outcome, one.error) == ("failed", "exit code 6")
    fleet.wait_status("RUNNING")
    assert fleet.lines("finishes") == []


def test_a_stale_beat_restarts_the_bot(fleet: ToyFleet) -> None:
    """S8: the process lives and even answers, but its engine does not turn."""
    fleet.start(fleet.spec())
    hung = fleet.bot_pid()
    (fleet.folder() / "hang").touch()
    wait_for(lambda: fleet.bot_pid() != hung, "a new bot")
    (fleet.folder() / "hang").unlink()
    stopping = [e for e in fleet.events() if e["event"] == "child_stopping"]
    assert stopping[0]["cause"] == "heartbeat"
    states = [e["reason"] for e in fleet.events() if e.get("to") == "STOPPING"]
    assert "heartbeat is" in states[0]
    fleet.wait_status("RUNNING")
    assert '"keep_orders": true' in "".join(fleet.lines("said"))


def test_a_sick_answer_is_unhealthy_and_never_a_restart(fleet: ToyFleet) -> None:
    """503 with live true, then no HTTP at all: UNHEALTHY; then healthy again, the same process."""
    fleet.start(fleet.spec())
    bot, override = fleet.bot_pid(), fleet.folder() / "health"
    override.write_text('[503, {"status": "exchange unreachable"}]')
    fleet.wait_status("UNHEALTHY")
    assert "exchange unreachable" in fleet.record()["reason"]
    override.write_text('[200, {"pid": 1}]')  # as good as no answer: another process speaks
    wait_for(lambda: "another process" in fleet.record()["reason"])
    override.unlink()
    fleet.wait_status("RUNNING")
    assert fleet.bot_pid() == bot


def test_a_page_that_never_answers_is_unhealthy_and_never_a_restart(fleet: ToyFleet) -> None:
    """Probes that time out one after another cost nothing but their own sockets."""
    fleet.start(fleet.spec(health={"timeout": 0.1, "interval": 0.1}))
    bot, supervisor = fleet.bot_pid(), fleet.supervisor_pid()
    (fleet.folder() / "silent").touch()
    fleet.wait_status("UNHEALTHY")
    assert "no answer within 0.1 s" in fleet.record()["reason"]
    before = len(list(Path(f"/proc/{supervisor}/fd").iterdir()))
    deadline = time.monotonic() + 3.0
    wait_for(lambda: time.monotonic() > deadline)
    assert len(list(Path(f"/proc/{supervisor}/fd").iterdir())) <= before + 1
    (fleet.folder() / "silent").unlink()
    fleet.wait_status("RUNNING")
    assert (fleet.bot_pid(), fleet.supervisor_pid()) == (bot, supervisor)


def test_a_program_that_says_it_is_stuck_is_restarted(fleet: ToyFleet) -> None:
    """`live: false`, as often in a row as the config says."""
    fleet.start(fleet.spec(health={"failures": 2}))
    bot, override = fleet.bot_pid(), fleet.folder() / "health"
    override.write_text('[503, {"live": false}]')
    wait_for(lambda: fleet.bot_pid() != bot, "a new bot")
    override.unlink()
    fleet.wait_status("RUNNING")


@pytest.mark.parametrize("options", [(), ("--by-grandchild",)])
def test_a_leaking_bot_is_restarted_gracefully(
    fleet: ToyFleet, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """S28: what the whole group holds, for several samples; TERM with its orders kept."""
    monkeypatch.setattr("core.monitor.SAMPLE_INTERVAL_S", 0.1)
    fleet.start(
        fleet.spec("toy", "--leak", "80", "--once", *options, limits={"memory_limit_mb": 64})
    )
    leaking = fleet.bot_pid()
    wait_for(lambda: fleet.bot_pid() not in (0, leaking), "a new bot")
    fleet.wait_status("RUNNING")
    stopping = next(e for e in fleet.events() if e["event"] == "child_stopping")
    assert stopping["cause"] == "memory"
    assert "is over memory_limit_mb 64, " in json.dumps(fleet.events())
    assert '"keep_orders": true' in "".join(fleet.lines("said"))
    assert "child_killed" not in fleet.event_names()


@pytest.mark.parametrize("options", [(), ("--by-grandchild",)])
def test_a_spinning_bot_is_restarted_if_the_config_says_so(
    fleet: ToyFleet, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """A loop without an end, in the bot or in a process of its own."""
    monkeypatch.setattr("core.monitor.SAMPLE_INTERVAL_S", 0.2)
    limits = {"cpu_limit_percent": 5, "cpu_limit_action": "restart"}
    fleet.start(fleet.spec("toy", "--spin", "--once", *options, limits=limits))
    spinning = fleet.bot_pid()
    wait_for(lambda: fleet.bot_pid() not in (0, spinning), "a new bot")
    fleet.wait_status("RUNNING")
    stopping = next(e for e in fleet.events() if e["event"] == "child_stopping")
    assert stopping["cause"] == "cpu"
    assert "is over cpu_limit_percent 5, " in json.dumps(fleet.events())


def test_a_spinning_bot_only_warns_by_default(
    fleet: ToyFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fast market is no reason to stop trading: the log says it, nothing else happens."""
    monkeypatch.setattr("core.monitor.SAMPLE_INTERVAL_S", 0.2)
    fleet.start(fleet.spec("toy", "--spin", limits={"cpu_limit_percent": 5}))
    bot = fleet.bot_pid()
    wait_for(lambda: fleet.event_names().count("cpu_over_limit") >= 2, "two warnings")
    assert fleet.bot_pid() == bot
    assert "child_stopping" not in fleet.event_names()


def test_a_foreign_program_writes_into_a_fifo_and_loses_nothing(fleet: ToyFleet) -> None:
    """S20: the last words before an exit are in the dated file, however fast it went."""
    code = "import sys; sys.stdout.write('line\\n' * 20000); sys.stderr.write('last word')"
    spec = fleet.spec(is_bot=False, argv=(sys.executable, "-c", code), health={"check": "none"})
    fleet.start(spec)
    fleet.wait_status("EXITED")
    assert fleet.output("bot_stdout.log") == "line\n" * 20000
    assert fleet.output("bot_stderr.log") == "last word"


# Stopping -----------------------------------------------------------------------------------------


def test_a_full_disk_under_a_foreign_program_costs_counted_lines_only(
    fleet: ToyFleet, tmp_path: Path
) -> None:
    """S18, S19: a small disk fills up; the program runs on, no line is torn, the loss is told."""
    disk = tmp_path / "small"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)], capture_output=True
    )
    if made.returncode != 0:
        pytest.skip("no small file system can be mounted here (needs root)")
    try:
        logs = disk / "logs"
        spec = fleet.spec(
            "toy", "--chatter", "0.0005", is_bot=False, logs=LogSettings(log_dir=str(logs))
        )
        fleet.start(spec)
        bot = fleet.bot_pid()

        sizes = [-1]

        def told() -> list[dict[str, object]]:
            for path in logs.glob("*/bot_stdout.log"):
                sizes.append(path.stat().st_size)
                if len(set(sizes[-10:])) == 1:  # nothing more goes in: somebody makes room
                    os.truncate(path, 0)
            text = "".join(path.read_text() for path in logs.glob("*/daemon.log"))
            events = [json.loads(line) for line in text.splitlines()]
            return [event for event in events if event["event"] == "output_lost"]

        wait_for(told, "the loss in the log")
        assert (fleet.bot_pid(), is_alive(bot)) == (bot, True)
        assert int(str(told()[0]["lines"])) > 0
        fleet.stop()
        text = "".join(path.read_text() for path in sorted(logs.glob("*/bot_stdout.log")))
        lines = [line for line in text.strip("\0\n").splitlines() if "." * 40 in line]
        assert lines
        assert all(line.startswith("line ") and line.endswith(" end") for line in lines)
    finally:
        fleet.clean_up()
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_one_sigterm_stops_bot_and_supervisor(fleet: ToyFleet) -> None:
    """The bot is told first and cancels its orders; what should run stays as it was."""
    one = fleet.start(fleet.spec())
    os.kill(int(one.last["pid"]), signal.SIGTERM)
    wait_for(lambda: not is_alive(int(one.last["pid"])))
    assert fleet.status() == "STOPPED"
    assert '"keep_orders": false, "reason": "stop"' in "".join(fleet.lines("said"))
    assert not (fleet.folder() / "daemon.pid").exists()
    assert not (fleet.folder() / "bot.pid").exists()
    assert not (fleet.folder() / "control.sock").exists()
    assert "toy" in Desired(fleet.root).load()


def test_a_bot_that_ignores_term_is_killed_and_finished(fleet: ToyFleet) -> None:
    """S14: the escalation is timed, the orders are cancelled by the finish step."""
    fleet.start(fleet.spec("toy", "--ignore-term", health={"stop_timeout": 0.3}))
    fleet.stop()
    assert fleet.status() == "STOPPED"
    assert "child_killed" in fleet.event_names()
    assert len(fleet.lines("finishes")) == 1
    assert fleet.processes() == []


def test_no_grandchild_survives_a_stop(fleet: ToyFleet) -> None:
    """S6, none left: one that ignores TERM, in the group or in its own session, is gone."""
    for name, options in (("in", ()), ("out", ("--own-session",))):
        fleet.start(fleet.spec(name, "--grandchild", *options))
        grandchild = int((fleet.folder(name) / "grandchild").read_text())
        assert is_alive(grandchild)
        fleet.stop(name)
        assert not is_alive(grandchild), name
    assert fleet.processes() == []


def test_a_crashed_bot_s_grandchild_is_gone_before_the_successor(fleet: ToyFleet) -> None:
    """S7: the successor never meets what its predecessor left."""
    fleet.start(fleet.spec("toy", "--grandchild"))
    grandchild, bot = int((fleet.folder() / "grandchild").read_text()), fleet.bot_pid()
    (fleet.folder() / "grandchild").unlink()
    os.kill(bot, signal.SIGKILL)
    wait_for(lambda: len(fleet.lines("starts")) == 2)
    assert not is_alive(grandchild)


def test_a_hanging_finish_step_is_killed_and_told(
    fleet: ToyFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stop ends; the record says that orders may rest."""
    monkeypatch.setattr("core.supervision_types.FINISH_FLOOR_S", 0.5)
    options = ("--ignore-term", "--finish-hangs")
    fleet.start(fleet.spec("toy", *options, health={"stop_timeout": 0.3}))
    fleet.stop()
    assert fleet.status() == "STOPPED"
    assert fleet.record()["orders_unsettled"] is True
    assert fleet.processes() == []


def test_stop_without_keeping_orders_tells_the_bot_its_options(fleet: ToyFleet) -> None:
    """close_positions travels in stop.json."""
    fleet.start(fleet.spec())
    fleet.stop(close_positions=True)
    assert '"close_positions": true' in "".join(fleet.lines("said"))


def test_a_restart_keeps_the_orders_and_costs_no_budget(fleet: ToyFleet) -> None:
    """The same supervisor, a new bot, no delay even with a long one configured."""
    spec = fleet.spec(restart={"restart_delay": 600.0, "max_restart_attempts": 0})
    fleet.start(spec)
    supervisor, bot = fleet.supervisor_pid(), fleet.bot_pid()
    assert fleet.ask("restart", spec=spec.to_json())["ok"]
    wait_for(lambda: fleet.bot_pid() not in (0, bot))
    fleet.wait_status("RUNNING")
    assert fleet.supervisor_pid() == supervisor
    assert '"keep_orders": true, "reason": "restart"' in "".join(fleet.lines("said"))
    assert fleet.lines("finishes") == []


# Adoption -----------------------------------------------------------------------------------------


def test_a_bot_outlives_its_supervisor_and_is_adopted(fleet: ToyFleet) -> None:
    """S1: one copy, the same process, watched again; its later death is noticed."""
    spec = fleet.spec()
    one = fleet.start(spec)
    bot = fleet.bot_pid()
    os.kill(int(one.last["pid"]), signal.SIGKILL)
    wait_for(lambda: not is_alive(int(one.last["pid"])))
    assert is_alive(bot)
    again = fleet.start(spec)
    assert (again.outcome, again.last["bot_pid"]) == ("ready", bot)
    assert again.last["pid"] != one.last["pid"]
    os.kill(bot, signal.SIGKILL)
    wait_for(lambda: fleet.bot_pid() not in (0, bot))
    fleet.wait_status("RUNNING")
    assert len(fleet.lines("starts")) == 2


def test_an_adopted_bot_s_exit_code_is_read_from_its_note(fleet: ToyFleet) -> None:
    """A clean end of a bot that is not our child is EXITED, not a crash."""
    spec = fleet.spec()
    one = fleet.start(spec)
    os.kill(int(one.last["pid"]), signal.SIGKILL)
    wait_for(lambda: not is_alive(int(one.last["pid"])))
    fleet.start(spec)
    fleet.kill_bot(signum=signal.SIGTERM)
    fleet.wait_status("EXITED")
    assert len(fleet.lines("starts")) == 1


def test_a_deleted_pid_file_does_not_cost_the_bot(fleet: ToyFleet) -> None:
    """The heartbeat names it too; it is adopted, not doubled and not ended."""
    spec = fleet.spec()
    one = fleet.start(spec)
    bot = fleet.bot_pid()
    os.kill(int(one.last["pid"]), signal.SIGKILL)
    wait_for(lambda: not is_alive(int(one.last["pid"])))
    (fleet.folder() / "bot.pid").unlink()
    again = fleet.start(spec)
    assert again.last["bot_pid"] == bot
    assert fleet.bot_pid() == bot


def test_a_recycled_pid_in_the_files_is_never_touched(fleet: ToyFleet) -> None:
    """S2, no stranger touched: files that name one's PID neither adopt nor end it."""
    with subprocess.Popen(["/bin/sleep", "600"]) as stranger:
        found = read_stat(stranger.pid)
        assert found is not None
        folder = fleet.folder()
        folder.mkdir(mode=0o700)
        pidfile.write_pid(folder / "bot.pid", stranger.pid, found.start - 1)
        pidfile.write_pid(folder / "daemon.pid", stranger.pid)
        one = fleet.start(fleet.spec())
        assert one.outcome == "ready"
        assert one.last["bot_pid"] != stranger.pid
        fleet.stop()
        assert stranger.poll() is None
        stranger.kill()


def test_a_stranger_that_a_file_names_in_full_is_never_touched(fleet: ToyFleet) -> None:
    """bot.pid has a stranger's PID and start time while the bot lives: the bot is adopted."""
    spec = fleet.spec()
    one = fleet.start(spec)
    bot = fleet.bot_pid()
    os.kill(int(one.last["pid"]), signal.SIGKILL)
    wait_for(lambda: not is_alive(int(one.last["pid"])))
    with subprocess.Popen(["/bin/sleep", "600"]) as stranger:
        found = read_stat(stranger.pid)
        assert found is not None
        pidfile.write_pid(fleet.folder() / "bot.pid", stranger.pid, found.start)
        again = fleet.start(spec)
        assert again.last["bot_pid"] == bot
        fleet.stop()
        assert not is_alive(bot)
        assert stranger.poll() is None
        stranger.kill()


def test_no_grandchild_of_an_adopted_bot_survives_a_stop(fleet: ToyFleet) -> None:
    """S6 after S1, none left: in a session of its own, no descendant of the new supervisor."""
    spec = fleet.spec("toy", "--grandchild", "--own-session")
    one = fleet.start(spec)
    grandchild = int((fleet.folder() / "grandchild").read_text())
    os.kill(int(one.last["pid"]), signal.SIGKILL)
    wait_for(lambda: not is_alive(int(one.last["pid"])))
    fleet.start(spec)
    fleet.stop()
    assert not is_alive(grandchild)
    assert fleet.processes() == []


def test_a_foreign_program_leaves_no_orders_to_prove(fleet: ToyFleet) -> None:
    """Both were killed: a program that we can't finish for is stopped, and that is that."""
    spec = fleet.spec(is_bot=False, argv=("/bin/sleep", "600"), health={"check": "none"})
    one = fleet.start(spec)
    bot = fleet.bot_pid()
    for pid in (int(one.last["pid"]), bot):
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: not is_alive(pid))
    fleet.start(spec, first=Stop(), to_stop=True, keep_desired=False)
    assert fleet.status() == "STOPPED"
    assert fleet.record()["orders_unsettled"] is False


def test_leftovers_that_hold_the_lock_are_ended_before_the_next_start(fleet: ToyFleet) -> None:
    """Supervisor and bot dead, a grandchild holds the bot lock: it goes, then a bot starts."""
    spec = fleet.spec("toy", "--grandchild")
    one = fleet.start(spec)
    grandchild, bot = int((fleet.folder() / "grandchild").read_text()), fleet.bot_pid()
    os.kill(int(one.last["pid"]), signal.SIGKILL)
    wait_for(lambda: not is_alive(int(one.last["pid"])))
    os.kill(bot, signal.SIGKILL)
    wait_for(lambda: not is_alive(bot))
    assert is_alive(grandchild)
    assert pidfile.is_held(fleet.folder() / ".bot.lock")
    (fleet.folder() / "grandchild").unlink()
    again = fleet.start(spec)
    assert again.outcome == "ready"
    assert not is_alive(grandchild)
    assert "leftovers_ended" in fleet.event_names()


def test_a_supervisor_for_stopping_ends_an_orphan(fleet: ToyFleet) -> None:
    """What `stop` forks over an ORPHANED instance: adopt, stop, end."""
    spec = fleet.spec()
    one = fleet.start(spec)
    bot = fleet.bot_pid()
    os.kill(int(one.last["pid"]), signal.SIGKILL)
    wait_for(lambda: not is_alive(int(one.last["pid"])))
    fleet.start(spec, first=Stop(), to_stop=True, keep_desired=False)
    assert not is_alive(bot)
    assert fleet.status() == "STOPPED"
    assert fleet.processes() == []


def test_a_supervisor_for_stopping_finishes_a_dead_bot(fleet: ToyFleet) -> None:
    """Both were killed: the finish step runs, nothing is started."""
    spec = fleet.spec()
    one = fleet.start(spec)
    bot = fleet.bot_pid()
    for pid in (int(one.last["pid"]), bot):
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: not is_alive(pid))
    fleet.start(spec, first=Stop(), to_stop=True, keep_desired=False)
    assert fleet.status() == "STOPPED"
    assert (len(fleet.lines("starts")), len(fleet.lines("finishes"))) == (1, 1)


def test_a_restart_of_an_orphan_replaces_the_bot(fleet: ToyFleet) -> None:
    """Adopted, stopped with its orders kept, started anew."""
    spec = fleet.spec()
    one = fleet.start(spec)
    bot = fleet.bot_pid()
    os.kill(int(one.last["pid"]), signal.SIGKILL)
    wait_for(lambda: not is_alive(int(one.last["pid"])))
    fleet.start(spec, first=Restart())
    wait_for(lambda: fleet.bot_pid() not in (0, bot))
    fleet.wait_status("RUNNING")
    assert not is_alive(bot)


# Sturdiness ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bot.pid", "config.json", ".bot.lock", ".supervisor.lock"])
def test_planted_links_are_refused_and_their_targets_stay_whole(fleet: ToyFleet, name: str) -> None:
    """Whatever is at our names, nothing is written through it."""
    target = fleet.root / "precious"
    target.write_text("whole")
    folder = fleet.folder()
    folder.mkdir(mode=0o700)
    (folder / name).symlink_to(target)
    one = fleet.start(fleet.spec(restart={"max_restart_attempts": 0}))
    assert one.outcome in ("failed", "gone", "refused")
    wait_for(lambda: not is_alive(fleet.supervisor_pid()), "the supervisor's end")
    assert target.read_text() == "whole"
    assert fleet.lines("starts") == []
    assert fleet.processes() == []


def test_a_deep_root_still_has_a_control_channel(tmp_path: Path) -> None:
    """The socket's name may be longer than the kernel's 108 bytes."""
    root = tmp_path / ("deep" * 20) / ("deeper" * 20)
    root.mkdir(parents=True)
    fleet = ToyFleet(root)
    try:
        fleet.start(fleet.spec())
        assert fleet.ask("status")["state"] == "RUNNING"
        fleet.stop()
    finally:
        fleet.clean_up()


def test_a_removed_control_socket_is_made_again(fleet: ToyFleet) -> None:
    """S5: a cleaner took it; the next clean-up brings it back."""
    spec = fleet.spec()
    fleet.start(replace(spec, logs=replace(spec.logs, cleanup_interval=0.2)))
    (fleet.folder() / "control.sock").unlink()
    wait_for((fleet.folder() / "control.sock").exists)
    assert fleet.ask("status")["ok"]


def test_no_descriptor_left_costs_neither_bot_nor_supervisor(fleet: ToyFleet) -> None:
    """What can't be looked at is no fault of the bot's; nothing spins; later all goes on."""
    one = fleet.start(fleet.spec(health={"interval": 0.1, "failures": 2}))
    supervisor, bot = int(one.last["pid"]), fleet.bot_pid()
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (3, 4096))
    with socket.socket(socket.AF_UNIX) as client:
        fd = os.open(fleet.folder(), os.O_PATH)
        client.connect(f"/proc/self/fd/{fd}/control.sock")
        os.close(fd)
        before = read_stat(supervisor)
        deadline = time.monotonic() + 4.0  # a beat may be 3 s old; what must not be has no sign
        wait_for(lambda: time.monotonic() > deadline)
        after = read_stat(supervisor)
    assert before is not None
    assert after is not None
    assert after.cpu_ticks - before.cpu_ticks < 50
    assert is_alive(supervisor)
    assert is_alive(bot)
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (1024, 4096))
    os.kill(supervisor, signal.SIGCHLD)
    wait_for(lambda: fleet.ask("status")["state"] == "RUNNING")
    assert fleet.bot_pid() == bot
    assert len(fleet.lines("starts")) == 1


def test_nonsense_on_the_control_channel_is_answered_and_survived(fleet: ToyFleet) -> None:
    """S30, S31: bad requests get an error, a flood is cut off, and supervision goes on."""
    fleet.start(fleet.spec())
    fd = os.open(fleet.folder(), os.O_PATH)
    path = f"/proc/self/fd/{fd}/control.sock"
    for text, expected in (
        (b"nonsense\n", b"expected one JSON object"),
        (b'["x"]\n', b"expected one JSON object"),
        (b'{"op": "explode"}\n', b"unknown op"),
    ):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(text)
            assert expected in client.recv(65536)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        with pytest.raises(OSError, match=r"Broken pipe|reset"):  # noqa: PT012 - until it is cut
            for _ in range(1000):
                client.sendall(b"x" * 65536)
    os.close(fd)
    assert fleet.ask("status")["state"] == "RUNNING"


def test_an_idle_supervisor_sleeps(fleet: ToyFleet) -> None:
    """S16: no polling: within a second of idleness it is hardly ever scheduled."""
    fleet.start(fleet.spec(health={"interval": 60.0}))
    pid = fleet.supervisor_pid()

    def switches() -> int:
        text = Path(f"/proc/{pid}/status").read_text()
        return int(text.split("voluntary_ctxt_switches:")[1].split()[0])

    def in_a_second() -> int:
        before, deadline = switches(), time.monotonic() + 1.0
        wait_for(lambda: time.monotonic() > deadline)
        return switches() - before

    wait_for(lambda: fleet.status() == "RUNNING")
    wait_for(lambda: in_a_second() <= 3, "what a start has left to do is done")
    assert in_a_second() <= 3


def test_many_lives_leak_no_descriptor_and_no_process(fleet: ToyFleet) -> None:
    """S15, S16: after twenty restarts the supervisor has the descriptors that it began with."""
    spec = fleet.spec(restart={"restart_delay": 0.0, "max_restart_attempts": 100})
    fleet.start(spec)
    supervisor = fleet.supervisor_pid()

    def descriptors() -> int:
        return len(list(Path(f"/proc/{supervisor}/fd").iterdir()))

    def settled() -> bool:
        return fleet.status() == "RUNNING" and fleet.record()["bot_pid"] == fleet.bot_pid()

    wait_for(settled)
    fleet.kill_bot()
    wait_for(lambda: len(fleet.lines("starts")) == 2 and settled())
    before = descriptors()
    for _ in range(8):
        bot = fleet.bot_pid()
        os.kill(bot, signal.SIGKILL)
        wait_for(lambda bot=bot: fleet.bot_pid() not in (0, bot) and settled())
    wait_for(lambda: descriptors() <= before)
    zombies = [s for s in process.all_processes().values() if s.ppid == supervisor and s.is_zombie]
    assert zombies == []


def test_the_supervisor_imports_little() -> None:
    """Lean: the standard library, psutil at most, and nothing of the bot or the commands."""
    code = (
        f"import sys; sys.path.insert(0, {str(TOY.parents[2])!r})\n"
        "before = set(sys.modules)\n"
        "import core.launch\n"
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    out = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            f"import sys; sys.path.insert(0, {str(TOY.parents[2])!r})\n{code}",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    foreign = {name for name in out if name not in sys.stdlib_module_names} - {"core", "psutil"}
    assert foreign == set()
    assert not {"ssl", "asyncio", "subprocess", "logging", "http"} & set(out)
