"""The registry: records, and the clean-up of the dead."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from registry_world import (
    Holder,
    bot_of,
    registry_text,
    start_claimed,
)

from core.errors import ConfigError
from core.identity import process_start_ticks
from core.instance_manager import InstanceRegistry


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.lstat().st_mode) for path in folder.iterdir()}


def test_register_load_unregister(registry: InstanceRegistry, tmp_path: Path) -> None:
    """What is registered is on the disk, and is gone after unregister, its copy too."""
    registry.register("bp_sol_01", {"config_file": "x.json", "status": "STOPPED"})

    assert registry_text(tmp_path) == {"bp_sol_01": {"config_file": "x.json", "status": "STOPPED"}}
    assert registry.unregister("bp_sol_01") is True
    assert registry.unregister("bp_sol_01") is False
    assert registry.load() == {}
    assert not (tmp_path / "logs" / "bp_sol_01" / "record.json").exists()


def test_update_keeps_other_fields_and_other_records(registry: InstanceRegistry) -> None:
    """An update changes the fields it names, in the record it names."""
    registry.register("a", {"status": "STARTING", "web_port": 5001})
    registry.register("b", {"status": "RUNNING"})

    registry.update("a", status="RUNNING", note="x")

    assert registry.load() == {
        "a": {"status": "RUNNING", "web_port": 5001, "note": "x"},
        "b": {"status": "RUNNING"},
    }


def test_update_without_a_change_writes_nothing(registry: InstanceRegistry) -> None:
    """A supervisor that repeats itself costs no disk."""
    registry.register("a", {"status": "RUNNING"})
    before = registry.path.stat().st_ino

    registry.update("a", status="RUNNING")

    assert registry.path.stat().st_ino == before


def test_update_adds_the_start_time_of_a_pid(registry: InstanceRegistry) -> None:
    """A PID in the record names a process, not a number."""
    record = registry.update("a", pid=os.getpid(), bot_pid=None)

    assert record["pid_start"] == process_start_ticks(os.getpid())
    assert record["bot_start"] is None


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a/b", "..", ".h", "-rf", "a\n", "a\0", "a" * 65]
)
def test_a_bad_id_is_refused(registry: InstanceRegistry, tmp_path: Path, name: str) -> None:
    """An id becomes part of a path: nothing but the rule's names gets in."""
    with pytest.raises(ConfigError):
        registry.register(name, {})
    with pytest.raises(ConfigError):
        registry.update(name, status="RUNNING")
    assert not (tmp_path / "logs").exists()


def test_files_are_private_whatever_the_umask(registry: InstanceRegistry, tmp_path: Path) -> None:
    """With umask 000 files are 0600 and folders 0700."""
    before = os.umask(0)
    try:
        registry.register("a", {"status": "STOPPED"})
    finally:
        os.umask(before)

    assert modes(tmp_path / "logs") == {
        "instances.json": 0o600,
        ".instances.lock": 0o600,
        "a": 0o700,
    }
    assert modes(tmp_path / "logs" / "a") == {"record.json": 0o600}


def test_the_lock_may_be_nested(registry: InstanceRegistry) -> None:
    """A change of several steps holds the lock once."""
    with registry.locked(), registry.locked():
        registry.update("a", status="RUNNING")
    assert registry.get("a") == {"status": "RUNNING"}


def test_a_new_root_is_left_untouched_by_a_reader(
    registry: InstanceRegistry, tmp_path: Path
) -> None:
    """Looking creates nothing."""
    assert registry.list_instances() == []
    assert list(tmp_path.iterdir()) == []


def test_cleanup_removes_the_dead_alone(registry: InstanceRegistry, tmp_path: Path) -> None:
    """Live ones, orphans, locked ones, those to keep or with orders stay; the rest is counted."""
    registry.register("dead", {"status": "RUNNING", "pid": 999_999, "pid_start": 1})
    registry.register("fatal", {"status": "FATAL"})
    registry.register("wanted", {"status": "RUNNING"})
    registry.register("rests", {"status": "STOPPED", "orders_unsettled": True, "mode": "live"})
    registry.register("locked", {"status": "RUNNING"})
    for name in ("daemon.pid", "bot.pid", "heartbeat"):
        (tmp_path / "logs" / "dead" / name).write_text("999999\n")
    with (
        start_claimed(tmp_path, "live", web_port=1),
        bot_of(tmp_path, "orphaned") as bot,
        Holder(tmp_path / "logs" / "locked" / ".bot.lock"),
    ):
        registry.update("orphaned", bot_pid=bot.pid, status="RUNNING")

        assert registry.cleanup_dead_instances(keep={"wanted"}) == 2

        assert set(registry.load()) == {"wanted", "rests", "locked", "live", "orphaned"}
    assert [path.name for path in (tmp_path / "logs" / "dead").iterdir()] == ["heartbeat"]
    assert registry.cleanup_dead_instances(keep={"wanted"}) == 3
