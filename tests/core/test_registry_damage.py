"""The registry damaged, emptied or with something planted at its name: nothing is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from registry_world import (
    bot_of,
    registry_text,
    start_claimed,
)

from core.errors import ConfigError
from core.identity import process_start_ticks
from core.instance_manager import InstanceRegistry

DAMAGE = {
    "empty": b"",
    "half": b'{"a": {"status": "RUNN',
    "not json": b"hello\n",
    "zeros": b"\0" * 512,
    "not utf-8": b"\xff\xfe{}",
    "a list": b"[]",
    "null": b"null",
    "a number": b"7",
    "deep": b"[" * 100_000,
    "record is text": b'{"a": "RUNNING", "b": {"status": "FATAL"}}',
    "record is a list": b'{"a": []}',
    "bad id": b'{"../../x": {"status": "RUNNING"}}',
}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_is_kept_aside_and_rebuilt(
    registry: InstanceRegistry, tmp_path: Path, content: bytes
) -> None:
    """Both records come back from their copies; the damaged file stays to be looked at."""
    registry.register("a", {"status": "RUNNING", "web_port": 5001})
    registry.register("b", {"status": "FATAL"})
    registry.path.write_bytes(content)

    loaded = registry.load()

    assert loaded == {"a": {"status": "RUNNING", "web_port": 5001}, "b": {"status": "FATAL"}}
    assert registry_text(tmp_path) == loaded
    (aside,) = (tmp_path / "logs").glob("instances.json.damaged-*")
    assert aside.read_bytes() == content


@pytest.mark.parametrize("content", ["{}", '{"b": {"status": "FATAL"}}'])
def test_an_emptied_file_hides_no_instance(
    registry: InstanceRegistry, tmp_path: Path, content: str
) -> None:
    """Valid JSON that lacks what runs is completed from the copies."""
    with start_claimed(tmp_path, "a", web_port=1):
        registry.register("b", {"status": "FATAL"})
        before = registry.load()
        registry.path.write_text(content)

        assert [record["instance_id"] for record in registry.list_instances()] == ["a", "b"]
        assert registry_text(tmp_path) == before


def test_a_saved_removal_stays_one(registry: InstanceRegistry) -> None:
    """`save` without a record removes it for good, copy and all."""
    registry.register("a", {"status": "STOPPED"})
    registry.register("b", {"status": "STOPPED"})
    registry.save({"b": {"status": "STOPPED"}})

    assert set(registry.load()) == {"b"}


def test_a_writer_repairs_before_it_writes(registry: InstanceRegistry, tmp_path: Path) -> None:
    """An update over a damaged file loses no record of another instance."""
    registry.register("a", {"status": "RUNNING"})
    registry.path.write_text("{")

    registry.update("b", status="STARTING")

    assert registry_text(tmp_path) == {"a": {"status": "RUNNING"}, "b": {"status": "STARTING"}}


def test_good_records_of_a_damaged_file_win_over_copies(registry: InstanceRegistry) -> None:
    """Only what can't be read is taken from a copy."""
    registry.register("a", {"status": "RUNNING"})
    registry.path.write_text(json.dumps({"a": {"status": "FATAL"}, "b": 1}))

    assert registry.load() == {"a": {"status": "FATAL"}}


def test_damage_with_nothing_to_rebuild_is_never_overwritten_with_nothing(
    registry: InstanceRegistry, tmp_path: Path
) -> None:
    """The damaged file is put aside; no `{}` takes its place."""
    (tmp_path / "logs").mkdir()
    registry.path.write_text("hello")

    assert registry.load() == {}

    assert not registry.path.exists()
    (aside,) = (tmp_path / "logs").glob("instances.json.damaged-*")
    assert aside.read_text() == "hello"


def test_a_missing_file_is_rebuilt(registry: InstanceRegistry, tmp_path: Path) -> None:
    """Deleting the registry under running instances loses none of them."""
    registry.register("a", {"status": "RUNNING"})
    registry.path.unlink()

    assert registry.load() == {"a": {"status": "RUNNING"}}
    assert registry_text(tmp_path) == {"a": {"status": "RUNNING"}}


def test_a_run_directory_without_a_copy_is_found_by_its_pid_files(
    registry: InstanceRegistry, tmp_path: Path
) -> None:
    """Where only PID files are left, a record is made of what is known."""
    with bot_of(tmp_path, "a") as bot:
        folder = tmp_path / "logs" / "a"
        (folder / "bot.pid").write_text(f"{bot.pid}\n{process_start_ticks(bot.pid)}\n")
        registry.path.write_text("{")

        (record,) = registry.list_instances()

        assert record["instance_id"] == "a"
        assert record["bot_pid"] == bot.pid
        assert record["db_path"] == str(tmp_path / "database" / "a.db")


def test_what_was_removed_does_not_come_back(registry: InstanceRegistry) -> None:
    """A rebuild after an unregister brings back only the others."""
    registry.register("a", {"status": "STOPPED"})
    registry.register("b", {"status": "STOPPED"})
    registry.unregister("a")
    registry.path.write_text("")

    assert set(registry.load()) == {"b"}


@pytest.mark.parametrize("name", ["instances.json", ".instances.lock"])
def test_a_planted_link_is_refused(registry: InstanceRegistry, tmp_path: Path, name: str) -> None:
    """A link at the registry's or the lock's name stops the write; its target stays whole."""
    target = tmp_path / "precious"
    target.write_text("precious")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / name).symlink_to(target)

    with pytest.raises(ConfigError, match="is a link"):
        registry.register("a", {"status": "STOPPED"})

    assert target.read_text() == "precious"
    assert (tmp_path / "logs" / name).is_symlink()


def test_a_planted_fifo_does_not_hang(registry: InstanceRegistry, tmp_path: Path) -> None:
    """A FIFO at the registry's name is refused at once."""
    (tmp_path / "logs").mkdir()
    os.mkfifo(registry.path)

    with pytest.raises(ConfigError, match="regular file"):
        registry.load()


def test_leftovers_of_a_killed_writer_are_removed(
    registry: InstanceRegistry, tmp_path: Path
) -> None:
    """The next write clears temporary files away."""
    registry.register("a", {"status": "STOPPED"})
    leftover = tmp_path / "logs" / ".instances.json.99999.abcdef01.tmp"
    leftover.write_text("{")

    registry.update("a", status="FATAL")

    assert not leftover.exists()
