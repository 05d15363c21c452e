"""The command line, as a user types it: words, exit codes, and what is left on the machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from command_shell import SCRIPT, Shell, write_config
from toy_fleet import ToyFleet, free_port, is_alive, wait_for

from core.desired import Desired
from core.instance_manager import InstanceRegistry

pytestmark = pytest.mark.slow  # every test runs the real command as a process


def test_a_life_from_start_to_stop(run: Shell, fleet: ToyFleet) -> None:
    """S24: start, status, list, logs, stop, each again: codes, words, one JSON value."""
    config = write_config(fleet, "toy", startup_timeout=90)
    begun = time.monotonic()
    started = run("start", "--config", "toy", "-d")
    assert started.code == 0, started.err
    assert "toy: RUNNING" in started.out
    assert time.monotonic() - begun < 45, "ready ends the wait, not startup_timeout"
    pid = fleet.supervisor_pid()
    status = run("status", "toy", "--json")
    assert status.code == 0
    entry = status.json()
    assert (entry["state"], entry["is_alive"], entry["pid"]) == ("RUNNING", True, pid)
    assert entry["bot_pid"] == fleet.bot_pid()
    assert entry["web_url"] == f"http://127.0.0.1:{entry['web_port']}"

    again = run("start", "--config", str(config))
    assert again.code == 1
    assert str(pid) in again.err
    assert entry["web_url"] in again.err
    assert fleet.supervisor_pid() == pid
    assert len(fleet.lines("starts")) == 1

    assert [e["instance_id"] for e in run("list", "--json").json()] == ["toy"]
    assert "toy" in run("list").out
    assert "start 1" in run("logs", "toy", "-n", "5").out
    assert "toy stderr line" in run("logs", "toy", "--stream", "stderr").out
    assert "supervisor_started" in run("logs", "toy", "--stream", "daemon", "-n", "100").out

    bot = fleet.bot_pid()
    for _ in range(2):
        stopped = run("stop", "toy")
        assert (stopped.code, stopped.out.strip()) == (0, "toy: STOPPED")
    assert not is_alive(pid)
    assert not is_alive(bot)
    assert run("status", "toy").code == 3
    assert run("list", "--json").json() == []
    assert [e["state"] for e in run("list", "--all", "--json").json()] == ["STOPPED"]
    assert fleet.processes() == []


def test_a_failed_start_shows_the_bot_s_last_lines(run: Shell, fleet: ToyFleet) -> None:
    """Exit 1, the reason, the log's end; it stays supervised; stop ends the BACKOFF."""
    write_config(fleet, "toy", "--exit-code", "3", restart_delay=60)
    answer = run("start", "--config", "toy")
    assert answer.code == 1
    assert "exit code 3" in answer.err
    assert "toy ends with 3" in answer.err
    assert "stays supervised" in answer.err
    assert run("status", "toy").code == 1
    assert [e["state"] for e in run("list", "--json").json()] == ["BACKOFF"]
    assert run("start", "--config", "toy").code == 1
    assert run("stop", "toy").code == 0
    assert run("status", "toy").code == 3


def test_orders_that_may_rest_are_on_show(run: Shell, fleet: ToyFleet) -> None:
    """`status` says why and what to do; `list` says so although the instance has ended."""
    fields = {"status": "STOPPED", "reason": "", "orders_unsettled": True, "mode": "live"}
    InstanceRegistry(fleet.root).register("rests", fields)
    settle = "daemon_manager stop rests"
    entry = run("status", "rests", "--json").json()
    assert settle in entry["hint"]
    assert "not proven gone" in entry["reason"]
    for words in (("status", "rests"), ("list",), ("list", "--all")):
        assert run(*words).out.count(settle) == 1, words
    assert run("list", "--json").json() == []


def test_status_tells_how_the_last_process_ended(run: Shell, fleet: ToyFleet) -> None:
    """In words with its last lines, and as JSON with all that is kept; also after the stop."""
    write_config(fleet, "toy", "--exit-code", "3", restart_delay=30)
    run("start", "--config", "toy")
    words = run("status", "toy")
    assert "last exit" in words.out
    assert "exit: exit code 3" in words.out
    assert "toy ends with 3" in words.out
    death = run("status", "toy", "--json").json()["last_death"]
    assert (death["cause"], death["code"]) == ("exit", 3)
    assert death["log"]["bot_stderr.log"][-1] == "toy ends with 3"
    assert run("stop", "toy").code == 0
    stopped = run("status", "toy")
    assert (stopped.code, "exit code 3" in stopped.out) == (3, True)


@pytest.mark.parametrize("code", ["2", "4"])
def test_a_permanent_failure_is_fatal_and_can_be_stopped(
    run: Shell, fleet: ToyFleet, code: str
) -> None:
    """Exit 1, FATAL, nobody supervises it; stop makes it STOPPED."""
    write_config(fleet, "toy", "--exit-code", code)
    answer = run("start", "--config", "toy", "--json")
    assert answer.code == 1
    assert answer.json()["state"] == "FATAL"
    assert any(f"toy ends with {code}" in line for line in answer.json()["log"])
    wait_for(lambda: run("status", "toy", "--json").json()["is_alive"] is False)
    assert run("status", "toy").code == 1
    assert [e["state"] for e in run("list", "--json").json()] == ["FATAL"]
    assert list(Desired(fleet.root).load()) == ["toy"]  # a mended key: `resurrect` brings it up
    assert run("stop", "toy").code == 0
    assert run("status", "toy").code == 3


def test_start_all_skips_the_running_and_reports_the_faulty(run: Shell, fleet: ToyFleet) -> None:
    """Running ones are left, faulty ones told, examples never started, the others start: exit 2."""
    write_config(fleet, "one")
    write_config(fleet, "two")
    write_config(fleet, "bad", web_port="none")
    write_config(fleet, "sample", metadata={"example": True})
    assert run("start", "--config", "one").code == 0
    first = fleet.supervisor_pid("one")
    answer = run("start", "--all")
    assert answer.code == 2
    assert "bad.json" in answer.err
    assert fleet.supervisor_pid("one") == first
    assert fleet.status("two") == "RUNNING"
    assert not (fleet.root / "logs" / "sample").exists()
    assert run("stop", "--all").code == 0
    assert fleet.processes() == []


def test_stop_needs_only_the_id(run: Shell, fleet: ToyFleet) -> None:
    """A broken or missing file is no obstacle to status, logs and stop, by id or by file."""
    for spoil in ("break", "remove"):
        config = write_config(fleet, "toy", metadata={"instance_id": "named"})
        assert run("start", "--config", "toy").code == 0
        if spoil == "break":
            config.write_text("{ nonsense")
        else:
            config.unlink()
        assert run("status", "named").code == 0
        assert run("status", "--config", "config/active/toy.json").code == 0
        assert run("logs", "named").code == 0
        assert run("restart", "named").code == 2
        assert fleet.status("named") == "RUNNING"
        assert run("stop", "--config", "config/active/toy.json").code == 0
        assert fleet.status("named") == "STOPPED"


def test_restart_replaces_the_bot_and_validates_first(run: Shell, fleet: ToyFleet) -> None:
    """A bad file stops nothing; a good one gives a new bot under the same supervisor."""
    config = write_config(fleet, "toy")
    run("start", "--config", "toy")
    supervisor, bot = fleet.supervisor_pid(), fleet.bot_pid()
    good = config.read_text()
    config.write_text(good.replace('"stop_timeout": 5', '"stop_timeout": "soon"'))
    assert run("restart", "toy").code == 2
    assert fleet.bot_pid() == bot
    config.write_text(good)
    answer = run("restart", "toy", "--json")
    assert answer.code == 0, answer.err
    assert answer.json()["bot_pid"] == fleet.bot_pid() != bot
    assert fleet.supervisor_pid() == supervisor

    new_bot = fleet.bot_pid()
    only = run("restart", "toy", "--supervisor-only")
    assert only.code == 0, only.err
    assert fleet.bot_pid() == new_bot
    assert fleet.supervisor_pid() != supervisor
    assert not is_alive(supervisor)
    run("stop", "toy")
    assert run("restart", "toy").code == 0
    assert fleet.status() == "RUNNING"


def test_reload_applies_only_what_changed(run: Shell, fleet: ToyFleet) -> None:
    """S25: nothing for nothing, a preview on demand, a refusal for a bad file, live or restart."""
    config = write_config(fleet, "toy", log_retention_days=2)
    run("start", "--config", "toy")
    bot = fleet.bot_pid()
    assert "nothing has changed" in run("reload", "toy").out
    text = config.read_text()
    config.write_text("{")
    assert run("reload", "toy").code == 2
    os.kill(fleet.supervisor_pid(), signal.SIGHUP)
    wait_for(lambda: "reload_refused" in fleet.event_names())
    os.kill(fleet.supervisor_pid(), signal.SIGSTOP)  # it would see the file, and apply it, itself
    config.write_text(text.replace('"stop_timeout": 5', '"stop_timeout": 6'))
    preview = run("reload", "toy", "--dry-run", "--json").json()
    os.kill(fleet.supervisor_pid(), signal.SIGCONT)
    assert (preview["changed"], preview["action"]) == (["daemon_config.stop_timeout"], "live")
    assert run("reload", "toy").code == 0
    accepted = fleet.folder() / "spec.json"
    assert json.loads(accepted.read_text())["health"]["stop_timeout"] == 6
    assert fleet.bot_pid() == bot
    os.kill(fleet.supervisor_pid(), signal.SIGSTOP)
    config.write_text(text.replace('"--bot"', '"--bot", "--finish-code", "0"'))
    preview = run("reload", "toy", "--dry-run", "--json").json()
    assert preview["action"] == "restart"
    assert preview["changed"] == ["daemon_config.bot_args", "daemon_config.stop_timeout"]
    assert fleet.bot_pid() == bot
    os.kill(fleet.supervisor_pid(), signal.SIGCONT)
    assert run("reload", "toy").code == 0
    assert fleet.bot_pid() != bot
    assert len(fleet.lines("starts")) == 2


def test_a_stop_for_a_reboot_forgets_nothing(run: Shell, fleet: ToyFleet) -> None:
    """`--keep-wanted` stops in order; `resurrect` brings back all of them, one after another."""
    for name in ("one", "two"):
        write_config(fleet, name)
    assert run("start", "--config", "one", "--config", "two").code == 0
    wanted = (fleet.root / "logs" / "desired.json").read_text()
    assert run("stop", "--all", "--keep-wanted").code == 0
    assert {fleet.status("one"), fleet.status("two")} == {"STOPPED"}
    assert (fleet.root / "logs" / "desired.json").read_text() == wanted
    assert run("resurrect", "--stagger", "0.1").code == 0
    assert {fleet.status("one"), fleet.status("two")} == {"RUNNING"}
    assert (fleet.root / "logs" / "desired.json").read_text() == wanted
    assert run("stop", "--all").code == 0
    assert json.loads((fleet.root / "logs" / "desired.json").read_text()) == {}


def test_an_orphan_is_shown_adopted_and_stopped(run: Shell, fleet: ToyFleet) -> None:
    """ORPHANED is exit 1; start adopts the same bot; stop works over an orphan too."""
    write_config(fleet, "toy")
    run("start", "--config", "toy")
    bot = fleet.bot_pid()
    for round_ in ("adopt", "stop"):
        supervisor = fleet.supervisor_pid()
        os.kill(supervisor, signal.SIGKILL)
        wait_for(lambda pid=supervisor: not is_alive(pid))
        status = run("status", "toy", "--json")
        assert (status.code, status.json()["state"]) == (1, "ORPHANED")
        if round_ == "adopt":
            answer = run("start", "--config", "toy", "--json")
            assert answer.code == 0
            assert answer.json()["bot_pid"] == bot
        else:
            assert run("stop", "toy").code == 0
            assert not is_alive(bot)
    assert fleet.processes() == []


def test_resurrect_brings_back_what_should_run(run: Shell, fleet: ToyFleet) -> None:
    """S22: everything was killed: what was started runs again, what was stopped does not."""
    for name in ("one", "two", "three"):
        write_config(fleet, name)
    assert run("start", "--all").code == 0
    run("stop", "two")
    started_at = fleet.record("one")["started_at"]
    for name in ("one", "three"):
        for pid in (fleet.supervisor_pid(name), fleet.bot_pid(name)):
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda pid=pid: not is_alive(pid))
    (fleet.root / "config" / "active" / "three.json").write_text("{ a bad save")
    answer = run("resurrect")
    assert answer.code == 0, answer.err
    assert fleet.status("one") == "RUNNING"
    assert fleet.status("three") == "RUNNING"  # as it was last accepted
    assert fleet.status("two") == "STOPPED"
    assert fleet.record("one")["started_at"] == started_at
    before = fleet.supervisor_pid("one")
    assert run("resurrect").code == 0
    assert fleet.supervisor_pid("one") == before


@pytest.mark.parametrize(
    ("options", "expected", "state"),
    [
        (("--exit-code", "0"), 0, "EXITED"),
        (("--exit-code", "2"), 2, "FATAL"),
        (("--exit-code", "4"), 4, "FATAL"),
        (("--exit-code", "1"), 5, "FATAL"),
    ],
)
def test_foreground_ends_with_the_bot_s_verdict(
    run: Shell, fleet: ToyFleet, options: tuple[str, ...], expected: int, state: str
) -> None:
    """0 EXITED, 2 and 4 as the bot, 5 when the limit is reached."""
    write_config(fleet, "toy", *options, restart_delay=0, max_restart_attempts=1)
    answer = run("start", "--config", "toy", "--foreground")
    assert answer.code == expected
    assert state in answer.out
    assert fleet.status() == state


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_foreground_stops_at_one_signal(run: Shell, fleet: ToyFleet, signum: int) -> None:
    """As systemd and a terminal end it: bot first, exit 0; it is not what resurrect brings back."""
    write_config(fleet, "toy")
    command = [sys.executable, str(SCRIPT), "--root", str(fleet.root), "start", "-c", "toy"]
    with subprocess.Popen([*command, "--foreground"], stdout=subprocess.DEVNULL) as attached:
        fleet.wait_status("RUNNING")
        assert fleet.supervisor_pid() == attached.pid
        bot = fleet.bot_pid()
        second = run("start", "--config", "toy", "--foreground")
        assert second.code == 1
        assert str(attached.pid) in second.err
        attached.send_signal(signum)
        assert attached.wait(20) == 0
    assert not is_alive(bot)
    assert fleet.status() == "STOPPED"
    desired = fleet.root / "logs" / "desired.json"
    assert not desired.exists() or "toy" not in desired.read_text()


def test_the_default_config_is_the_older_single_file(run: Shell, fleet: ToyFleet) -> None:
    """Without --config every verb means config/daemon_config.json, flat format included."""
    flat = {
        "script_path": "toy.py",
        "python_path": sys.executable,
        "bot_args": ["--bot"],
        "web_port": free_port(),
        "health_check": "auto",
    }
    (fleet.root / "config" / "daemon_config.json").write_text(json.dumps(flat))
    assert run("start").code == 0
    assert run("status").code == 0
    assert fleet.status("daemon_config") == "RUNNING"
    assert run("stop").code == 0
    assert run("status").code == 3


def test_logs_follow_what_comes(run: Shell, fleet: ToyFleet) -> None:
    """-f goes on with new lines until it is interrupted, which is no error."""
    write_config(fleet, "toy")
    run("start", "--config", "toy")
    command = [sys.executable, str(SCRIPT), "--root", str(fleet.root), "logs", "toy", "-f"]
    with subprocess.Popen(
        [*command, "--stream", "daemon", "-n", "1"],
        stdout=subprocess.PIPE,
        text=True,
        # Tests that run in a shell's background have SIGINT ignored, and would pass that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as follower:
        assert follower.stdout is not None
        try:
            follower.stdout.readline()
            run("restart", "toy")
            line = ""
            while "child_exited" not in line:
                line = follower.stdout.readline()
                assert line
            follower.send_signal(signal.SIGINT)
            assert follower.wait(20) == 0
        finally:
            follower.kill()
