"""Who lives, told by locks, PIDs and start times, with real processes."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from registry_world import (
    bot_of,
    start_claimed,
    supervisor_of,
)

from core.identity import LockTable, process_start_ticks, take_lock
from core.instance_manager import InstanceRegistry


def test_a_supervisor_lives_while_lock_and_identity_agree(
    registry: InstanceRegistry, tmp_path: Path
) -> None:
    """Alive with its PID, dead without, once the process is gone."""
    with start_claimed(tmp_path, "a", web_port=1) as supervisor:
        (record,) = registry.list_instances()
        assert (record["is_alive"], record["pid"]) == (True, supervisor.pid)

    (record,) = registry.list_instances()
    assert (record["is_alive"], record["pid"]) == (False, None)


def test_a_pid_without_the_lock_is_not_alive(registry: InstanceRegistry) -> None:
    """The right process without the lock is no supervisor."""
    registry.register("a", {"pid": os.getpid(), "pid_start": process_start_ticks(os.getpid())})

    assert registry.liveness("a").pid is None


def test_a_recycled_pid_is_not_alive(registry: InstanceRegistry, tmp_path: Path) -> None:
    """A PID that names another process now is not believed."""
    with supervisor_of(tmp_path, "other") as stranger:
        registry.register("a", {"bot_pid": stranger.pid, "bot_start": 1})

        assert registry.liveness("a").bot_pid is None


def test_another_boot_is_not_alive(registry: InstanceRegistry, tmp_path: Path) -> None:
    """A record from before the reboot names nobody, even where PID and ticks happen to agree."""
    with bot_of(tmp_path, "a") as bot:
        start = process_start_ticks(bot.pid)
        registry.register("a", {"pid": bot.pid, "pid_start": start, "boot_id": "another"})

        assert registry.liveness("a").pid is None


@pytest.mark.parametrize("lost", ["daemon.pid", "record", "both"])
def test_a_lost_pid_file_or_record_hides_no_supervisor(
    registry: InstanceRegistry, tmp_path: Path, lost: str
) -> None:
    """PID files only inform: the lock's holder is found without them."""
    with start_claimed(tmp_path, "a", web_port=1) as supervisor:
        pid_file = tmp_path / "logs" / "a" / "daemon.pid"
        pid_file.write_text(f"{supervisor.pid}\n{process_start_ticks(supervisor.pid)}\n")
        if lost in ("daemon.pid", "both"):
            pid_file.unlink()
        if lost in ("record", "both"):
            registry.register("a", {"status": "RUNNING"})

        assert registry.liveness("a").pid == supervisor.pid


def test_looking_at_a_free_lock_does_not_even_try_it(
    registry: InstanceRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that took a free lock, however briefly, could make a starting supervisor fail."""
    registry.register("a", {"pid": 999_999, "pid_start": 1, "status": "RUNNING"})
    (tmp_path / "logs" / "a" / ".supervisor.lock").touch()
    (tmp_path / "logs" / "a" / ".bot.lock").touch()

    def taken(*_: object) -> None:
        raise AssertionError("a reader tried the lock")

    monkeypatch.setattr(fcntl, "flock", taken)

    assert registry.list_instances()[0]["is_alive"] is False


def test_looking_at_a_held_lock_leaves_it_held(registry: InstanceRegistry, tmp_path: Path) -> None:
    """After any number of looks the holder holds it, and a second taker is still refused."""
    with start_claimed(tmp_path, "a", web_port=1):
        for _ in range(20):
            assert registry.list_instances()[0]["is_alive"] is True
        with (tmp_path / "logs" / "a" / ".supervisor.lock").open("a") as lock:
            assert take_lock(lock.fileno(), patience_s=0) is False


def test_without_proc_locks_the_lock_is_tried(tmp_path: Path) -> None:
    """Where /proc/locks can't be read the answer is the same, by trying."""
    table = LockTable(tmp_path / "missing")
    lock = tmp_path / "logs" / "a" / ".supervisor.lock"
    with supervisor_of(tmp_path, "a"):
        assert table.is_held(lock) is True
    assert table.is_held(lock) is False
    assert table.is_held(tmp_path / "none") is False
