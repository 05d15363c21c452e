"""A true supervisor under what may befall it: links, depth, descriptors, nonsense, many lives."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from toy_fleet import TOY, ToyFleet, is_alive, wait_for

from core import process
from core.process import read_stat

pytestmark = pytest.mark.slow


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[ToyFleet]:
    fleet = ToyFleet(tmp_path)
    yield fleet
    fleet.clean_up()


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
