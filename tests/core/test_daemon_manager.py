"""The command line, as a user types it: words, exit codes, and what is left on the machine."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from toy_fleet import TOY, ToyFleet, free_port, is_alive, wait_for

from core import control, daemon_manager, pidfile, stopping
from core.desired import Desired
from core.files import make_private_dir
from core.identity import read_pid_file
from core.instance_manager import InstanceRegistry

SCRIPT = TOY.parents[2] / "core" / "daemon_manager.py"

pytestmark = pytest.mark.slow  # every test runs the real command as a process


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How one command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """`python3 core/daemon_manager.py` under one root, from a folder of its own."""

    def __init__(self, root: Path, cwd: Path) -> None:
        self.root = root
        self.cwd = cwd
        self.env = {k: v for k, v in os.environ.items() if k not in ("WEB_TOKEN", "GRID_ROOT")}
        self.env |= {"LC_ALL": "C.UTF-8"}

    def __call__(self, *args: str, timeout: float = 60.0) -> Answer:
        done = subprocess.run(
            [sys.executable, str(SCRIPT), "--root", str(self.root), *args],
            capture_output=True,
            text=True,
            cwd=self.cwd,
            env=self.env,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Answer(code=done.returncode, out=done.stdout, err=done.stderr)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[ToyFleet]:
    root = tmp_path / "root"
    (root / "config" / "active").mkdir(parents=True)
    shutil.copy(TOY, root / "toy.py")
    fleet = ToyFleet(root)
    yield fleet
    fleet.clean_up()


@pytest.fixture
def run(fleet: ToyFleet, tmp_path: Path) -> Shell:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    return Shell(fleet.root, elsewhere)


def write_config(fleet: ToyFleet, name: str, *options: str, **daemon: Any) -> Path:
    """Write config/active/NAME.json for a toy program that answers /health."""
    document = {
        "metadata": {"name": f"toy {name}", **daemon.pop("metadata", {})},
        "daemon_config": {
            "script_path": "toy.py",
            "python_path": sys.executable,
            "bot_args": ["--bot", *options],
            "web_port": free_port(),
            "health_check": "auto",
            "health_check_interval": 0.5,
            "restart_delay": 0.2,
            "stop_timeout": 5,
            "startup_timeout": 20,
            **daemon,
        },
    }
    path = fleet.root / "config" / "active" / f"{name}.json"
    path.write_text(json.dumps(document, indent=2))
    return path


# Without any process ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("explode",),
        ("start", "--config"),
        ("start", "--daemon", "--foreground"),
        ("start", "--all", "--config", "x"),
        ("start", "--all", "--instance-id", "x"),
        ("start", "--wait", "soon"),
        ("start", "--config", "nowhere.json"),
        ("stop", "../x"),
        ("stop", "a\n"),
        ("stop", "x" * 300),
        ("stop", "-rf"),
        ("stop", "--all", "x"),
        ("stop", "x", "--keep-orders", "--close-positions"),
        ("logs",),
        ("logs", "x", "-n", "many"),
        ("logs", "x", "--stream", "everything"),
        ("adjust", "x"),
        ("adjust", "x", "--lower", "NaN"),
        ("adjust", "x", "--upper", "1e5"),
        ("validate", "--config", "nowhere.json"),
        ("restart", "--config", "nowhere.json"),
    ],
)
def test_a_wrong_command_line_is_exit_2(run: Shell, args: tuple[str, ...]) -> None:
    """Usage and invalid names: 2, a message on standard error, nothing on the disk."""
    answer = run(*args)
    assert answer.code == 2
    assert answer.err.strip()
    assert not answer.out.strip()
    assert not list((run.root / "logs").glob("*/*"))


def test_unknown_instances_have_their_exit_codes(run: Shell) -> None:
    """S24: stop 1, status 3, restart 1, logs 1, pause 1; nothing is created for them."""
    codes = {
        verb: run(verb, "nobody").code for verb in ("stop", "status", "restart", "logs", "pause")
    }
    assert codes == {"stop": 1, "status": 3, "restart": 1, "logs": 1, "pause": 1}
    assert run("status", "nobody", "--json").json()["instance_id"] == "nobody"
    assert not (run.root / "logs" / "nobody").exists()


def test_errors_speak_chinese_too(run: Shell) -> None:
    """The sentence and the reason; in JSON both stay as they are."""
    run.env |= {"LC_ALL": "zh_TW.UTF-8", "PYTHONUTF8": "1"}
    assert run("stop", "nobody").err == ("nobody：未知的實例；請見：daemon_manager list --all\n")
    found = run("stop", "nobody", "--json").json()
    assert found["error"] == "unknown instance; see: daemon_manager list --all"


def test_every_fault_of_a_config_is_listed_and_nothing_starts(run: Shell, fleet: ToyFleet) -> None:
    """All faults at once, exit 2, for start, restart and validate alike."""
    good = write_config(fleet, "good")
    bad = write_config(fleet, "bad", web_port=70000, restart_delay=-1)
    for args in (
        ("start", "--config", str(good), "--config", str(bad)),
        ("validate", "--config", "bad"),
        ("restart", "--config", "bad"),
    ):
        answer = run(*args)
        assert answer.code == 2
        assert "web_port" in answer.err
        assert "restart_delay" in answer.err
    assert fleet.processes() == []
    assert not (fleet.root / "logs" / "good").exists()


def test_two_configs_of_one_id_are_refused_by_name(run: Shell, fleet: ToyFleet) -> None:
    """Both files are named; nothing starts."""
    write_config(fleet, "one", metadata={"instance_id": "same"})
    write_config(fleet, "two", metadata={"instance_id": "same"})
    answer = run("start", "--config", "one", "--config", "two")
    assert answer.code == 2
    assert "same" in answer.err
    assert "one.json" in answer.err
    assert "two.json" in answer.err
    assert fleet.processes() == []


def test_list_of_nothing_is_an_empty_json_list(run: Shell) -> None:
    """One JSON value, whatever there is."""
    assert run("list", "--json").json() == []
    assert run("stop", "--all").code == 0
    assert run("resurrect").code == 0


def test_validate_reports_as_json(run: Shell, fleet: ToyFleet) -> None:
    """One value: valid, faults, warnings, exit code."""
    write_config(fleet, "good")
    report = run("validate", "--config", "good", "--json").json()
    assert (report["valid"], report["faults"], report["exit_code"]) == (True, [], 0)
    assert report["instance_id"] == "good"


# With processes -----------------------------------------------------------------------------------


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
    config.write_text(text.replace('"stop_timeout": 5', '"stop_timeout": 6'))
    preview = run("reload", "toy", "--dry-run", "--json").json()
    assert (preview["changed"], preview["action"]) == (["daemon_config.stop_timeout"], "live")
    assert run("reload", "toy").code == 0
    accepted = fleet.folder() / "spec.json"
    assert json.loads(accepted.read_text())["health"]["stop_timeout"] == 6
    assert fleet.bot_pid() == bot
    config.write_text(text.replace('"--bot"', '"--bot", "--finish-code", "0"'))
    preview = run("reload", "toy", "--dry-run", "--json").json()
    assert preview["action"] == "restart"
    assert preview["changed"] == ["daemon_config.bot_args", "daemon_config.stop_timeout"]
    assert fleet.bot_pid() == bot
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


def test_a_supervisor_without_its_channel_is_stopped_by_signal(run: Shell, fleet: ToyFleet) -> None:
    """S5: the control socket is gone, stop still works."""
    write_config(fleet, "toy")
    run("start", "--config", "toy")
    (fleet.folder() / "control.sock").unlink()
    assert run("stop", "toy").code == 0
    assert fleet.status() == "STOPPED"
    assert fleet.processes() == []


def test_a_lost_channel_costs_no_command(run: Shell, fleet: ToyFleet) -> None:
    """S5: restart and the exchange of a supervisor bring the socket back and go through it."""
    write_config(fleet, "toy")
    run("start", "--config", "toy")
    bot = fleet.bot_pid()
    (fleet.folder() / "control.sock").unlink()
    assert run("restart", "toy").code == 0
    assert fleet.bot_pid() not in (0, bot)
    (fleet.folder() / "control.sock").unlink()
    assert run("restart", "toy", "--supervisor-only").code == 0
    assert fleet.ask("status")["ok"]


def test_a_stopped_supervisor_is_woken_and_stops(run: Shell, fleet: ToyFleet) -> None:
    """SIGSTOP (a debugger, Ctrl-Z in its group): stop still ends it and its bot in good order."""
    write_config(fleet, "toy")
    run("start", "--config", "toy")
    bot = fleet.bot_pid()
    os.kill(fleet.supervisor_pid(), signal.SIGSTOP)
    assert run("stop", "toy").code == 0
    assert fleet.status() == "STOPPED"
    assert not is_alive(bot)
    assert any(line.startswith("TERM") for line in fleet.lines("said"))


def test_a_supervisor_that_never_answers_is_killed_and_its_bot_stopped(
    fleet: ToyFleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its time over, another one ends the bot with all that belongs to a stop."""
    one = fleet.start(fleet.spec())
    bot = fleet.bot_pid()
    os.kill(int(one.last["pid"]), signal.SIGKILL)
    wait_for(lambda: not is_alive(int(one.last["pid"])))
    code = (
        "import fcntl, pathlib, signal, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "lock = open(sys.argv[1], 'r+')\n"
        "fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "print(flush=True)\n"
        "signal.pause()\n"
    )
    lock = fleet.folder() / ".supervisor.lock"
    with subprocess.Popen([sys.executable, "-c", code, lock], stdout=subprocess.PIPE) as deaf:
        assert deaf.stdout is not None
        deaf.stdout.readline()
        fleet.registry.update("toy", pid=deaf.pid)
        monkeypatch.setattr(stopping, "patience_s", lambda _: 0.5)
        monkeypatch.setattr(control, "_NUDGE_S", 0.1)
        assert daemon_manager.main(["--root", str(fleet.root), "stop", "toy"]) == 0
        assert deaf.wait(20) == -signal.SIGKILL
    assert "was killed" in capsys.readouterr().err
    assert not is_alive(bot)
    assert fleet.status() == "STOPPED"
    assert any(line.startswith("TERM") for line in fleet.lines("said"))


def test_a_start_on_the_way_down_is_not_dropped(run: Shell, fleet: ToyFleet) -> None:
    """S30, DESIGN: start in STOPPING means want up; the successor follows at once."""
    write_config(fleet, "toy", "--ignore-term", stop_timeout=2)
    run("start", "--config", "toy")
    supervisor, bot = fleet.supervisor_pid(), fleet.bot_pid()
    os.kill(supervisor, signal.SIGTERM)
    fleet.wait_status("STOPPING")
    answer = run("start", "--config", "toy")
    assert answer.code == 0, answer.err
    assert fleet.status() == "RUNNING"
    assert fleet.supervisor_pid() == supervisor
    assert fleet.bot_pid() not in (0, bot)


def test_a_start_that_another_command_stops_says_so(run: Shell, fleet: ToyFleet) -> None:
    """Not "still starting", and not "stays supervised"."""
    write_config(fleet, "toy", "--never-ready")
    command = [sys.executable, str(SCRIPT), "--root", str(fleet.root), "start", "--config", "toy"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=run.env, text=True) as waiting:
        fleet.wait_status("STARTING")
        wait_for(lambda: fleet.lines("starts"))
        assert run("stop", "toy").code == 0
        _, err = waiting.communicate(timeout=20)
    assert waiting.returncode == 1
    assert "another command stops it" in err
    assert "supervised" not in err


def test_a_refused_start_is_told_without_a_supervisor(run: Shell, fleet: ToyFleet) -> None:
    """A link at the lock's name: the fault, and nothing about a supervisor that is not there."""
    write_config(fleet, "toy")
    fleet.folder().mkdir(mode=0o700)
    (fleet.folder() / ".supervisor.lock").symlink_to(fleet.root / "precious")
    answer = run("start", "--config", "toy")
    assert answer.code == 1
    assert ".supervisor.lock" in answer.err
    assert "supervised" not in answer.err


def test_stop_of_a_config_that_never_ran_is_done(run: Shell, fleet: ToyFleet) -> None:
    """Nothing ran: exit 0; a name that is no file and no instance is unknown: exit 1."""
    write_config(fleet, "toy")
    assert run("stop", "--config", "toy").code == 0
    assert run("stop", "--config", "nobody").code == 1
    assert run("status", "--config", "toy").code == 3


def test_a_stop_whose_orders_are_not_proven_gone_fails(run: Shell, fleet: ToyFleet) -> None:
    """Exit 1 and the words; a repeated stop tries the finish step again."""
    spec = fleet.spec("toy", "--ignore-term", "--finish-code", "1", health={"stop_timeout": 0.2})
    fleet.start(spec)
    for attempt in (1, 2):
        answer = run("stop", "toy")
        assert answer.code == 1
        assert "orders" in answer.err
        assert len(fleet.lines("finishes")) == attempt
    assert fleet.status() == "STOPPED"


@pytest.mark.parametrize("streams", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_change_nothing(run: Shell, fleet: ToyFleet, streams: str) -> None:
    """Started by something that gives no streams: the same work, the same exit codes."""
    write_config(fleet, "toy")
    command = f"{sys.executable} {SCRIPT} --root {fleet.root}"
    for verb, code in (
        ("start --config toy", 0),
        ("list --json", 0),
        ("restart toy", 0),
        ("status toy", 0),
        ("stop toy", 0),
        ("status toy", 3),
    ):
        line = f"{command} {verb} {streams}"
        done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), (verb, done.stderr)
    assert fleet.processes() == []


def test_a_full_disk_under_standard_output_stops_no_work(run: Shell, fleet: ToyFleet) -> None:
    """All three are stopped, and the exit code tells that nobody could be told."""
    names = ("a", "b", "c")
    for name in names:
        write_config(fleet, name)
    run("start", "--all")
    for verb in (("list", "--json"), ("stop", "--all", "--json"), ("stop", "--all")):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, str(SCRIPT), "--root", str(fleet.root), *verb],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert (done.returncode, "Traceback" in done.stderr) == (1, False)
        assert "standard output: No space left on device" in done.stderr
    assert {fleet.status(name) for name in names} == {"STOPPED"}
    assert fleet.processes() == []


def test_files_of_a_started_instance_are_private(run: Shell, fleet: ToyFleet) -> None:
    """Umask 000 in the shell: directories 0700, files 0600."""
    write_config(fleet, "toy")
    before = os.umask(0)
    try:
        run("start", "--config", "toy")
    finally:
        os.umask(before)
    for path in fleet.folder().rglob("*"):
        if path.name in ("said", "starts", "heartbeat"):
            continue  # the toy's own
        mode = path.lstat().st_mode & 0o777
        assert mode == (0o700 if path.is_dir() else 0o600), path
    found = read_pid_file(fleet.folder() / "daemon.pid")
    assert found is not None
    assert (fleet.folder() / "daemon.pid").read_text() == f"{found[0]}\n"


# The page's verbs ---------------------------------------------------------------------------------


class Page(http.server.BaseHTTPRequestHandler):
    """Records what it is asked and answers as told."""

    seen: list[tuple[str, dict[str, Any], dict[str, str]]]
    answers: list[tuple[int, dict[str, Any]]]
    health: dict[str, Any]

    def do_GET(self) -> None:
        assert self.path == "/health"
        assert "Authorization" not in self.headers  # until it has said who it is
        self.answer(200, type(self).health)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).seen.append((self.path, body, dict(self.headers.items())))
        self.answer(*type(self).answers.pop(0))

    def answer(self, status: int, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        return


@pytest.fixture
def page(fleet: ToyFleet) -> Iterator[type[Page]]:
    """A bot that lives, as far as the registry and its lock tell, with a page of its own."""
    health = {"instance_id": "toy", "pid": os.getpid(), "status": "ok"}
    handler = type("OnePage", (Page,), {"seen": [], "answers": [], "health": health})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    port = server.server_address[1]
    make_private_dir(fleet.folder())
    lock = pidfile.acquire(fleet.folder() / pidfile.BOT_LOCK)
    assert lock is not None
    fleet.registry.register("toy", {"web_host": "127.0.0.1", "web_port": port, "status": "RUNNING"})
    fleet.registry.update("toy", bot_pid=os.getpid())
    yield handler
    os.close(lock)
    server.shutdown()
    thread.join()
    server.server_close()


def test_adjust_previews_then_does_it(run: Shell, page: type[Page]) -> None:
    """A dry run first, then the same without; prices stay the text that was typed."""
    moved = {"success": True, "message": "moved", "grid_lower_price": "139.50"}
    page.answers += [(200, {**moved, "message": "would move"}), (200, moved)]
    answer = run("adjust", "toy", "--lower", "139.50", "--grid-num", "21")
    assert answer.code == 0
    assert "would move" in answer.err
    assert "moved" in answer.out
    body = {"grid_lower_price": "139.50", "grid_num": 21}
    assert [(path, sent) for path, sent, _ in page.seen] == [
        ("/api/grid/adjust", {**body, "dry_run": True}),
        ("/api/grid/adjust", body),
    ]
    assert page.seen[0][2]["Content-Type"] == "application/json"
    assert page.seen[0][2]["Host"].startswith("127.0.0.1:")


def test_the_page_verbs_tell_json(run: Shell, page: type[Page]) -> None:
    """One value on standard output: the page's own answer, or what went wrong."""
    page.answers += [
        (200, {"success": True, "message": "would move", "grid_num": 21}),
        (400, {"success": False, "message": "lower is not below"}),
        (200, {"success": True, "message": "paused"}),
    ]
    planned = run("adjust", "toy", "--lower", "139", "--lots", "close", "--dry-run", "--json")
    assert planned.code == 0
    assert json.loads(planned.out)["grid_num"] == 21
    assert page.seen[0][1]["lots"] == "close"
    refused = run("adjust", "toy", "--lower", "200", "--json")
    assert refused.code == 1
    assert json.loads(refused.out)["error"] == "lower is not below"
    paused = json.loads(run("pause", "toy", "--json").out)
    assert (paused["instance_id"], paused["ok"], paused["message"]) == ("toy", True, "paused")


def test_adjust_dry_run_and_refusals_change_nothing(run: Shell, page: type[Page]) -> None:
    """--dry-run asks once; a refused preview is exit 1 and is not followed by the deed."""
    page.answers += [(200, {"message": "would move"}), (400, {"message": "lower is not below"})]
    assert run("adjust", "toy", "--lower", "139", "--dry-run").code == 0
    refused = run("adjust", "toy", "--lower", "200")
    assert refused.code == 1
    assert "lower is not below" in refused.err
    assert len(page.seen) == 2


def test_pause_and_resume_carry_the_token(run: Shell, page: type[Page]) -> None:
    """WEB_TOKEN from `.env` goes as the bearer, and a 401 says what to do."""
    (run.root / ".env").write_text("WEB_TOKEN=correct-horse\n")
    (run.root / ".env").chmod(0o600)
    page.answers += [(200, {"success": True, "message": "paused"}), (401, {})]
    assert run("pause", "toy").code == 0
    assert page.seen[0][2]["Authorization"] == "Bearer correct-horse"
    refused = run("resume", "toy")
    assert refused.code == 1
    assert "WEB_TOKEN" in refused.err
    assert "correct-horse" not in refused.err + refused.out


def test_a_page_that_is_not_there_is_a_failure_in_words(
    run: Shell, fleet: ToyFleet, page: type[Page]
) -> None:
    """The bot lives and nobody listens: exit 1 with the address."""
    fleet.registry.update("toy", web_port=free_port())
    answer = run("pause", "toy")
    assert answer.code == 1
    assert "http://127.0.0.1:" in answer.err
    assert page.seen == []


@pytest.mark.parametrize("stranger", [{"instance_id": "other"}, {"pid": 1}, {"instance_id": None}])
def test_another_program_on_the_port_is_told_nothing(
    run: Shell, page: type[Page], stranger: dict[str, Any]
) -> None:
    """FAILURES 35: another bot has the port meanwhile: neither its grid nor our token move."""
    (run.root / ".env").write_text("WEB_TOKEN=correct-horse\n")
    (run.root / ".env").chmod(0o600)
    page.health |= stranger
    for verb in (("adjust", "toy", "--lower", "139", "--yes"), ("pause", "toy")):
        answer = run(*verb)
        assert answer.code == 1
        assert "another program" in answer.err
    assert page.seen == []


def test_a_stopped_instance_has_nothing_to_adjust(
    run: Shell, fleet: ToyFleet, page: type[Page]
) -> None:
    """Whoever has its port meanwhile is not asked; the words say how to start it."""
    fleet.registry.register("gone", {**fleet.record(), "bot_pid": None, "status": "STOPPED"})
    for verb in (("adjust", "gone", "--lower", "139", "--yes"), ("resume", "gone")):
        answer = run(*verb)
        assert answer.code == 1
        assert "start --config" in answer.err
    assert page.seen == []
