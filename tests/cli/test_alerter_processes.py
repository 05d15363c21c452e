"""S1, S23 with real processes: a crashing toy, its supervisor, the alerter, a loopback receiver.

Alerters are killed with SIGKILL, receivers are away, refuse or hang; supervision goes on.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alert_receiver import Receiver

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "core"))
from toy_fleet import ToyFleet, wait_for

from core.alert_files import SPOOL_NAME, load_state
from core.alert_spool import AlertSpool

pytest.importorskip("apprise", reason="the extra [alerts] is not installed")
pytestmark = pytest.mark.slow

CLI = [sys.executable, "-m", "cli.instance_cli"]
ROOT = Path(__file__).resolve().parents[2]


class Alerters:
    """Alerter processes of one root; what still lives at the end is killed."""

    def __init__(self, root: Path, *receivers: Receiver) -> None:
        self.root = root
        urls = "\n".join(receiver.url for receiver in receivers)
        self.env = {**os.environ, "ALERT_URLS": urls, "PYTHONPATH": str(ROOT), "LC_ALL": "C"}
        self.env.pop("ALERT_LEVEL", None)
        self.all: list[subprocess.Popen[str]] = []

    def start(self, *options: str) -> subprocess.Popen[str]:
        words = [*CLI, "--root", str(self.root), "alerts", "run", *options]
        one = subprocess.Popen(
            words, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.all.append(one)
        return one

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*CLI, "--root", str(self.root), "alerts", *words],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def clean_up(self) -> None:
        for one in self.all:
            if one.poll() is None:
                one.kill()
            one.communicate()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.close()


@pytest.fixture
def second() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "logs" / "bp").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def alerters(root: Path, receiver: Receiver) -> Iterator[Alerters]:
    found = Alerters(root, receiver)
    yield found
    found.clean_up()


def raise_alerts(root: Path, start: int, count: int) -> None:
    spool = AlertSpool(root / "logs" / "bp", "bp", "bot")
    for number in range(start, start + count):
        spool.add("warning", f"kind {number}", f"alert number {number}.")


def test_a_given_up_bot_is_told_through_kills_of_the_alerter(tmp_path: Path) -> None:
    """From the toy's crash over FATAL to the receiver; the alerter dies in between."""
    receiver, fleet = Receiver(), ToyFleet(tmp_path)
    alerters = Alerters(tmp_path, receiver)
    try:
        receiver.answer = (503, b"away")
        first = alerters.start()
        fleet.start(fleet.spec("toy", "--exit-code", "3", restart={"restart_delay": 0.05}))
        fleet.wait_status("FATAL")
        wait_for(lambda: receiver.tries > 0, "a try", 60)
        first.kill()  # what it tried was not delivered
        first.wait()
        receiver.answer = (200, b"{}")
        alerters.start()
        wait_for(lambda: "given up: exit code 3" in receiver.bodies, "the alert", 60)
        wait_for(lambda: "the bot ended (exit: exit code 3" in receiver.bodies, "the crash", 60)
        assert "gridfleet critical: toy fatal" in receiver.bodies or "1 critical" in receiver.bodies
    finally:
        alerters.clean_up()
        fleet.clean_up()
        receiver.close()


def test_no_alert_is_lost_over_kills_at_any_moment(
    root: Path, receiver: Receiver, alerters: Alerters
) -> None:
    """SIGKILL after each few arrivals, with more alerts coming all the while."""
    count = 0
    for _ in range(4):
        raise_alerts(root, count, 13)
        count += 13
        one, before = alerters.start(), receiver.tries
        wait_for(lambda before=before: receiver.tries > before, "a delivery", 60)
        raise_alerts(root, count, 2)
        count += 2
        os.kill(one.pid, signal.SIGKILL)
        one.wait()
    done = alerters.run("run", "--once")
    assert done.returncode == 0, done.stdout + done.stderr
    for number in range(count):
        assert f"alert number {number}." in receiver.bodies


def test_what_was_delivered_is_not_delivered_again(
    root: Path, receiver: Receiver, alerters: Alerters
) -> None:
    """A restart of the alerter goes on where it was; a burst is one message."""
    raise_alerts(root, 0, 20)
    assert alerters.run("run", "--once").returncode == 0
    assert [message["title"] for message in receiver.got] == ["gridfleet: 20 alerts"]
    raise_alerts(root, 20, 1)
    assert alerters.run("run", "--once").returncode == 0
    titles = [message["title"] for message in receiver.got]
    assert titles[1:] == ["gridfleet warning: bp kind 20"]


def test_a_receiver_that_was_down_gets_everything_when_it_is_back(root: Path) -> None:
    """Nobody listens, then somebody does, at the same address."""
    gone = Receiver()
    gone.close()
    alerters = Alerters(root, gone)
    back = None
    try:
        raise_alerts(root, 0, 3)
        alerters.start()

        def has_failed() -> bool:
            channels = load_state(root).get("channels") or {}
            return any(one.get("failures") for one in channels.values())

        wait_for(has_failed, "a failure", 60)
        back = Receiver(gone.port)
        wait_for(lambda: "alert number 2." in back.bodies, "the alerts", 60)
        assert all(f"alert number {number}." in back.bodies for number in range(3))
    finally:
        alerters.clean_up()
        if back is not None:
            back.close()


def test_a_channel_that_hangs_holds_up_no_other(
    root: Path, receiver: Receiver, second: Receiver
) -> None:
    """The first takes the connection and never answers; the second has everything meanwhile."""
    receiver.answer = None
    alerters = Alerters(root, receiver, second)
    try:
        raise_alerts(root, 0, 2)
        alerters.start()
        wait_for(lambda: receiver.tries, "a try at the one that hangs", 60)
        raise_alerts(root, 2, 2)
        wait_for(lambda: "alert number 3." in second.bodies, "all of them at the other", 60)
        assert receiver.got == []
    finally:
        receiver.free.set()
        alerters.clean_up()


def test_an_answer_of_200_that_refuses_is_no_delivery(
    root: Path, receiver: Receiver, alerters: Alerters
) -> None:
    """As DingTalk does when the keyword is missing; the reason is told."""
    receiver.answer = (200, b'{"errcode": 310000, "errmsg": "keywords not in content"}')
    raise_alerts(root, 0, 1)
    done = alerters.run("run", "--once")
    assert done.returncode == 1
    assert "errcode 310000: keywords not in content" in done.stdout
    done = alerters.run("test")
    assert done.returncode == 1
    assert "errcode 310000" in done.stderr
    receiver.answer = (200, b'{"errcode": 0, "errmsg": "ok"}')
    assert alerters.run("run", "--once").returncode == 0
    assert alerters.run("test").returncode == 0


def test_a_second_alerter_is_refused_and_a_stop_is_clean(
    root: Path, receiver: Receiver, alerters: Alerters
) -> None:
    """One for the fleet, by a lock; SIGTERM ends it with 0."""
    raise_alerts(root, 0, 1)
    first = alerters.start()
    wait_for(lambda: receiver.got, "a delivery", 60)
    second = alerters.run("run")
    assert second.returncode == 1
    assert f"an alerter runs already (pid {first.pid})" in second.stderr
    listed = json.loads(alerters.run("list", "--json").stdout)
    assert listed["alerter"] == {"running": True, "pid": first.pid, "level": "warning"}
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=60) == 0


def test_no_secret_is_said_or_kept(root: Path, alerters: Alerters, receiver: Receiver) -> None:
    """SECURITY 36: neither in what the alerter says, nor in its files, nor in its arguments."""
    raise_alerts(root, 0, 1)
    receiver.answer = (403, b"no")
    one = alerters.start()
    wait_for(lambda: receiver.tries, "a try", 60)
    arguments = Path(f"/proc/{one.pid}/cmdline").read_bytes()
    wait_for(lambda: "last_error_at" in str(load_state(root)), "a failure", 60)
    one.terminate()
    said, _ = one.communicate(timeout=60)
    kept = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
    assert "not delivered" in said
    for text in (said.encode(), kept, arguments):
        assert b"a-secret-token" not in text


def test_supervision_goes_on_where_no_alert_can_be_written(tmp_path: Path) -> None:
    """S23: a folder in the spool's place; the bot is restarted, given up and stopped as ever."""
    fleet = ToyFleet(tmp_path)
    try:
        (fleet.folder() / SPOOL_NAME).mkdir(parents=True)
        fleet.start(fleet.spec("toy", restart={"restart_delay": 0.0, "max_restart_attempts": 2}))
        for starts in (2, 3):
            fleet.kill_bot()
            wait_for(lambda n=starts: len(fleet.lines("starts")) == n, "the successor")
            fleet.wait_status("RUNNING")
        fleet.kill_bot()
        fleet.wait_status("FATAL")
        wait_for(lambda: "alert_dropped" in fleet.event_names(), "a word in the log")
        assert len(fleet.lines("starts")) == 3
    finally:
        fleet.clean_up()


def test_a_supervisor_tells_a_kill_and_an_adoption(tmp_path: Path) -> None:
    """A bot killed; then its supervisor killed, and the next one adopts."""
    fleet = ToyFleet(tmp_path)
    try:
        spec = fleet.spec("toy", restart={"restart_delay": 0.0})
        fleet.start(spec)
        fleet.kill_bot()

        def kinds() -> list[str]:
            return [json.loads(line)["kind"] for line in fleet.lines(SPOOL_NAME)]

        wait_for(lambda: kinds() == ["signal"], "the alert")
        (line,) = fleet.lines(SPOOL_NAME)
        assert "signal SIGKILL" in json.loads(line)["message"]
        assert json.loads(line)["message"].endswith("it was started again")
        fleet.wait_status("RUNNING")
        pid = fleet.supervisor_pid()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: fleet.start(spec).outcome == "ready", "the next supervisor")
        wait_for(lambda: kinds() == ["signal", "adopted"], "the adoption")
        fleet.stop()
        assert kinds() == ["signal", "adopted"]  # a stop that was asked for is no alert
    finally:
        fleet.clean_up()


def test_a_killed_supervisor_is_told_and_that_it_lives_again(tmp_path: Path) -> None:
    """S1, S23: SIGKILL of the supervisor alone; over a restart of the alerter; healed by a start.

    Then both die at once, as an OOM killer does it.
    """
    receiver, fleet = Receiver(), ToyFleet(tmp_path)
    alerters = Alerters(tmp_path, receiver)
    alerters.env["ALERT_LEVEL"] = "info"
    try:
        spec = fleet.spec("toy")
        fleet.start(spec)
        bot = fleet.bot_pid()
        first = alerters.start()
        os.kill(fleet.supervisor_pid(), signal.SIGKILL)
        wait_for(lambda: "critical: toy orphaned" in receiver.bodies, "the alarm", 120)
        assert f"heal it with: daemon_manager start --config {spec.config_path}" in receiver.bodies
        wait_for(lambda: "last_sent" in str(load_state(tmp_path)), "the note of it", 60)
        first.kill()
        first.wait()
        alerters.start()
        assert fleet.start(spec).outcome == "ready"
        assert fleet.bot_pid() == bot  # adopted
        wait_for(lambda: "info: toy lives_again" in receiver.bodies, "the end of it", 120)
        os.kill(fleet.supervisor_pid(), signal.SIGKILL)
        fleet.kill_bot()
        wait_for(lambda: "critical: toy down" in receiver.bodies, "the alarm", 120)
        assert "bring it back with: daemon_manager resurrect" in receiver.bodies
        titles = [message["title"] for message in receiver.got]
        assert titles.count("gridfleet critical: toy orphaned") == 1
        kinds = [json.loads(line)["kind"] for line in fleet.lines(SPOOL_NAME)]
        assert kinds == ["orphaned", "adopted", "lives_again", "down"]
    finally:
        alerters.clean_up()
        fleet.clean_up()
        receiver.close()
