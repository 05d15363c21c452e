"""`instance_cli doctor`: it cleans what is stale, says why, and never touches what lives."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from registry_world import Holder

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "core"))

from toy_fleet import ToyFleet, is_alive, wait_for

from cli.instance_cli import main
from core.desired import Desired, Wanted


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[ToyFleet]:
    (tmp_path / "config" / "active").mkdir(parents=True)
    fleet = ToyFleet(tmp_path)
    yield fleet
    fleet.clean_up()


class Doctor:
    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str]:
        code = main(["--root", str(self.root), "doctor", *words])
        return code, self._capsys.readouterr().out

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json")[1])


@pytest.fixture
def doctor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Doctor:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    return Doctor(tmp_path, capsys)


def gone_pid() -> int:
    """A PID that nobody has any more."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def state_of(root: Path) -> dict[str, bytes | None]:
    """Every file's content (None: no regular file), except logs, which grow, and the heartbeat."""
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
        if path.name != "heartbeat" and path.suffix != ".log"
    }


def test_nothing_stale_in_an_empty_root(doctor: Doctor) -> None:
    assert doctor() == (0, "nothing is stale\n")
    assert list(doctor.root.rglob("*.lock")) == []


@pytest.mark.slow
def test_a_crash_of_both_is_cleaned_up_and_the_orders_are_not_forgotten(
    fleet: ToyFleet, doctor: Doctor
) -> None:
    """PID files, socket and record; what bot.pid told (orders may rest) stays in the record."""
    spec = fleet.spec()
    (fleet.root / "toy.json").write_text("{}")
    fleet.start(spec)
    bot, supervisor = fleet.bot_pid(), fleet.supervisor_pid()
    os.kill(supervisor, signal.SIGKILL)
    os.kill(bot, signal.SIGKILL)
    wait_for(lambda: not is_alive(bot) and not is_alive(supervisor))
    before = state_of(fleet.root)
    planned = doctor.json("--dry-run")
    assert state_of(fleet.root) == before, "a dry run changes nothing"
    done = doctor.json()
    assert done["problems"] == []
    assert planned["cleaned"] == done["cleaned"]
    assert sorted(Path(found["path"]).name for found in done["cleaned"]) == [
        "bot.pid",
        "control.sock",
        "daemon.pid",
        "instances.json",
    ]
    assert f"process {bot} does not run" in json.dumps(done)
    assert not (fleet.folder() / "bot.pid").exists()
    record = fleet.record()
    assert (record["status"], record["orders_unsettled"]) == ("STOPPED", True)
    assert doctor() == (0, "nothing is stale\n")
    assert fleet.start(spec).outcome == "ready"


@pytest.mark.slow
def test_a_living_instance_is_not_touched(fleet: ToyFleet, doctor: Doctor) -> None:
    """Running, and orphaned: the orphan is named with the command that heals it."""
    fleet.start(fleet.spec())
    before = state_of(fleet.root)
    assert doctor() == (0, "nothing is stale\n")
    assert state_of(fleet.root) == before
    supervisor, bot = fleet.supervisor_pid(), fleet.bot_pid()
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: not is_alive(supervisor))
    code, words = doctor()
    assert code == 1
    assert f"the bot (pid {bot}) has no supervisor" in words
    assert "daemon_manager start --config" in words
    assert is_alive(bot)
    assert (fleet.folder() / "bot.pid").exists()
    assert fleet.start(fleet.spec()).last["bot_pid"] == bot


def test_half_written_files_of_dead_writers_go(doctor: Doctor) -> None:
    """Those of a living writer stay, and so does every other name."""
    folder = doctor.root / "logs" / "a"
    folder.mkdir(parents=True)
    (folder / "daemon.pid").write_text(f"{gone_pid()}\n")
    dead = folder / f".record.json.{gone_pid()}.0123abcd.tmp"
    mine = folder / f".record.json.{os.getpid()}.0123abcd.tmp"
    other = folder / "notes.tmp"
    active = doctor.root / "config" / "active"
    active.mkdir(parents=True)
    draft = active / f".a.json.{gone_pid()}.89abcdef.tmp"
    for path in (dead, mine, other, draft):
        path.write_text("x")
    found = doctor.json()["cleaned"]
    kinds = sorted(
        (item["kind"], Path(item["path"]).name) for item in found if item["kind"] != "record"
    )
    assert kinds == [
        ("pid_file", "daemon.pid"),
        ("temp_file", draft.name),
        ("temp_file", dead.name),
    ]
    assert [path.exists() for path in (dead, mine, other, draft)] == [False, True, True, False]


def test_folders_of_others_are_left_alone(doctor: Doctor) -> None:
    folder = doctor.root / "logs" / "nginx"
    folder.mkdir(parents=True)
    (folder / "access.log").write_text("GET /\n")
    assert doctor()[0] == 0
    assert [path.name for path in folder.iterdir()] == ["access.log"]


def test_a_lock_held_by_a_stranger_is_named(fleet: ToyFleet, doctor: Doctor) -> None:
    """A leftover of a dead bot still holds its lock: nothing is removed, its PID is told."""
    holder = Holder(fleet.folder() / ".bot.lock")
    try:
        (fleet.folder() / "bot.pid").write_text(f"{gone_pid()}\n1\n")
        (fleet.folder() / ".supervisor.lock").touch()
        code, words = doctor()
        assert code == 1
        assert str(holder.pid) in words
        assert (fleet.folder() / "bot.pid").exists()
        assert is_alive(holder.pid)
    finally:
        holder.end()


def test_records_of_what_is_gone(fleet: ToyFleet, doctor: Doctor) -> None:
    """Without a config file and unwanted: removed; unless orders may rest, or it is needed."""
    for name, fields in {
        "unwanted": {"status": "STOPPED"},
        "wanted": {"status": "STOPPED"},
        "unsettled": {"status": "STOPPED", "orders_unsettled": True},
        "rebooted": {"status": "RUNNING"},
    }.items():
        fleet.registry.register(name, {"config_file": "/nowhere/x.json", **fields})
    kept = fleet.root / "config" / "active" / "rebooted.json"
    kept.write_text("{}")
    fleet.registry.update("rebooted", config_file=str(kept))
    Desired(fleet.root).enter("wanted", Wanted(config_path="/nowhere/x.json", started_at="x"))
    found = doctor.json()
    assert [item["instance_id"] for item in found["cleaned"]] == ["rebooted", "unwanted"]
    assert [item["instance_id"] for item in found["problems"]] == ["unsettled"]
    assert sorted(fleet.registry.load()) == ["rebooted", "unsettled", "wanted"]
    assert fleet.record("rebooted")["status"] == "STOPPED"


def test_damaged_files_are_named_and_nothing_wanted_is_lost(
    fleet: ToyFleet, doctor: Doctor
) -> None:
    fleet.registry.register("a", {"status": "STOPPED", "config_file": "/nowhere/a.json"})
    (fleet.root / "logs" / "desired.json").write_text("{")
    (fleet.root / "logs" / "instances.json.damaged-1").write_text("{")
    code, words = doctor()
    assert code == 1
    assert "desired.json" in words
    assert "instances.json.damaged-1" in words
    assert list(fleet.registry.load()) == ["a"], "who knows whether it is wanted"


def test_a_socket_with_a_listener_stays(fleet: ToyFleet, doctor: Doctor) -> None:
    fleet.folder().mkdir()
    (fleet.folder() / ".supervisor.lock").touch()
    listener = socket.socket(socket.AF_UNIX)
    with listener:
        folder = os.open(fleet.folder(), os.O_PATH | os.O_DIRECTORY)
        listener.bind(f"/proc/self/fd/{folder}/control.sock")  # a deep root passes 108 bytes so
        os.close(folder)
        listener.listen(1)
        assert doctor()[0] == 0
        assert (fleet.folder() / "control.sock").exists()
    assert [Path(item["path"]).name for item in doctor.json()["cleaned"]] == ["control.sock"]
