"""Changes of the registry that wait to be written: none is lost, each applies in its order."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from registry_world import make_spec, wait_for

from core.errors import ConfigError
from core.instance_manager import InstanceRegistry
from core.registry_changes import Changes


def waiting(root: Path) -> list[str]:
    folder = root / "logs" / ".changes"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_who_finds_the_lock_taken_posts_and_the_holder_s_successor_writes(
    registry: InstanceRegistry, tmp_path: Path
) -> None:
    """Two wait; the first to get the lock writes both, and nothing is left waiting."""
    other = InstanceRegistry(tmp_path)
    saved: list[int] = []
    threads = [
        threading.Thread(target=InstanceRegistry(tmp_path).update, args=(name,), kwargs={"n": 1})
        for name in ("a", "b")
    ]
    with registry.locked():
        for thread in threads:
            thread.start()
        wait_for(lambda: len(waiting(tmp_path)) == 2, "both have posted")
        saved.append(len(other.load()))
    for thread in threads:
        thread.join()
    assert saved == [0]
    assert registry.load() == {"a": {"n": 1}, "b": {"n": 1}}
    assert waiting(tmp_path) == []


def test_what_a_dead_writer_has_posted_is_taken_by_the_next(
    registry: InstanceRegistry, tmp_path: Path
) -> None:
    """A supervisor that is killed while it waits has said what it has said."""
    registry.register("dead", {"status": "STARTING", "web_port": 5001})
    Changes(tmp_path / "logs").post("dead", {"status": "RUNNING", "bot_pid": 7})
    registry.update("alive", status="RUNNING")
    assert registry.load() == {
        "dead": {"status": "RUNNING", "web_port": 5001, "bot_pid": 7},
        "alive": {"status": "RUNNING"},
    }
    assert waiting(tmp_path) == []


@pytest.mark.parametrize("writer", ["register", "unregister", "cleanup", "claim", "claim_all"])
def test_every_writer_takes_what_was_posted(
    registry: InstanceRegistry, tmp_path: Path, writer: str
) -> None:
    """A change never waits longer than until the next write, whoever makes it."""
    registry.register("gone", {"status": "STOPPED"})
    Changes(tmp_path / "logs").post("posted", {"status": "FATAL", "orders_unsettled": True})
    spec = make_spec(tmp_path, "new")
    match writer:
        case "register":
            registry.register("new", {})
        case "unregister":
            registry.unregister("gone")
        case "cleanup":
            assert registry.cleanup_dead_instances() == 1
        case "claim":
            registry.claim(spec)
        case "claim_all":
            with registry.locked():
                registry.claim_all([(spec, {})])
    record = registry.get("posted")
    assert record is not None
    assert record["orders_unsettled"] is True
    assert waiting(tmp_path) == []


def test_changes_from_before_a_reboot_apply_first(
    registry: InstanceRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their clock may be ahead of ours, which begins anew with each boot."""
    changes = Changes(tmp_path / "logs")
    monkeypatch.setattr("core.registry_changes.boot_id", lambda: "this boot")
    changes.post("a", {"status": "STOPPED"})
    monkeypatch.setattr("core.registry_changes.boot_id", lambda: "an earlier boot")
    changes.post("a", {"status": "RUNNING", "restarts": 3})
    monkeypatch.setattr("core.registry_changes.boot_id", lambda: "this boot")
    registry.update("b", status="RUNNING")
    assert registry.get("a") == {"status": "STOPPED", "restarts": 3}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": "../x", "fields": {}}', '{"id": "a"}'])
def test_a_file_that_is_none_of_ours_goes(
    registry: InstanceRegistry, tmp_path: Path, text: str
) -> None:
    """It neither stops a write nor becomes a record."""
    registry.register("a", {})
    folder = tmp_path / "logs" / ".changes"
    folder.mkdir()
    (folder / "1").write_text(text)
    registry.update("b", status="RUNNING")
    assert registry.load().keys() == {"a", "b"}
    assert waiting(tmp_path) == []


_steps = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["post", "update"]),
        st.sampled_from(["status", "reason", "restarts"]),
        st.integers(0, 3),
    ),
    max_size=25,
)


@pytest.mark.slow
@given(steps=_steps)
def test_posted_or_written_the_end_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str, int]]
) -> None:
    """Any mix of posted and written changes ends as if each had been written at its time."""
    root = tmp_path_factory.mktemp("mix")
    registry, changes = InstanceRegistry(root), Changes(root / "logs")
    expected: dict[str, dict[str, Any]] = {}
    for name, how, key, value in steps:
        if how == "post":
            changes.post(name, {key: value})
        else:
            registry.update(name, **{key: value})
        expected.setdefault(name, {})[key] = value
    registry.update("last", status="RUNNING")
    expected["last"] = {"status": "RUNNING"}
    assert registry.load() == expected


# Claims of several at once ----------------------------------------------------------------------


def test_a_start_of_several_claims_for_all_in_one_write(
    registry: InstanceRegistry, tmp_path: Path
) -> None:
    """Each gets a port of its own, and its record is there before its supervisor is."""
    registry.register("b", {"web_port": 5999, "web_port_auto": True, "restarts": 4})
    specs = [make_spec(tmp_path, name) for name in "abc"]
    with registry.locked():
        claims = registry.claim_all([(spec, {"config_fault": None}) for spec in specs])
    ports, before = zip(*(claim for claim in claims if isinstance(claim, tuple)), strict=True)
    assert len(set(ports)) == 3
    assert ports[1] == 5999
    assert [record.get("restarts") for record in before] == [None, 4, None]
    records = registry.load()
    assert [records[name]["web_port"] for name in "abc"] == list(ports)
    assert {records[name]["status"] for name in "abc"} == {"STARTING"}


def test_two_of_one_start_that_want_the_same_are_told_so(
    registry: InstanceRegistry, tmp_path: Path
) -> None:
    """Nobody holds the first one's lock yet, and still what it has claimed is taken."""
    specs = [
        make_spec(tmp_path, "a", web_port=5070),
        make_spec(tmp_path, "b", web_port=5070),
        make_spec(tmp_path, "c", db_path=str(tmp_path / "x" / ".." / "database" / "a.db")),
    ]
    with registry.locked():
        first, second, third = registry.claim_all([(spec, {}) for spec in specs])
    assert first == (5070, {})
    assert isinstance(second, ConfigError)
    assert "daemon_config.web_port: 5070 is held by instance a" in second.faults[0]
    assert isinstance(third, ConfigError)
    assert "daemon_config.db_path" in third.faults[0]
    assert registry.load().keys() == {"a"}
