"""The registry: records, who lives, damage, claims."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import stat
from pathlib import Path

import pytest
from free_ports import own_block
from registry_world import (
    Holder,
    bot_of,
    make_spec,
    registry_text,
    start_claimed,
    supervisor_of,
)

from core.claims import is_port_free
from core.errors import ConfigError
from core.identity import LockTable, process_start_ticks, take_lock
from core.instance_manager import InstanceRegistry
from core.registry_file import web_url


@pytest.fixture
def registry(tmp_path: Path) -> InstanceRegistry:
    return InstanceRegistry(tmp_path)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.lstat().st_mode) for path in folder.iterdir()}


# Records --------------------------------------------------------------------------------------


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


# Damage and planted links -----------------------------------------------------------------------


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


# Who lives ------------------------------------------------------------------------------------


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


# Clean-up -------------------------------------------------------------------------------------


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


# Claims ---------------------------------------------------------------------------------------


def test_a_claim_registers_everything_a_reader_needs(
    registry: InstanceRegistry, tmp_path: Path
) -> None:
    """CONTRACT 5's fields are there, the start has a zone, and no secret can be."""
    with supervisor_of(tmp_path, "a") as supervisor:
        port = registry.claim(make_spec(tmp_path, "a"), pid=supervisor.pid, note="kept")

        record = registry.get("a")

    assert record is not None
    assert (
        record.items()
        >= {
            "config_file": str(tmp_path / "config" / "active" / "a.json"),
            "pid": supervisor.pid,
            "bot_pid": None,
            "log_dir": str(tmp_path / "logs" / "a"),
            "db_path": str(tmp_path / "database" / "a.db"),
            "web_port": port,
            "status": "STARTING",
            "note": "kept",
        }.items()
    )
    assert record["started_at"][-6] in "+-"
    assert port >= 5001


@pytest.fixture
def own_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the search begin where no test beside this one listens: what was free stays free."""
    monkeypatch.setattr("core.claims.FIRST_PORT", own_block().start)


@pytest.mark.usefixtures("own_ports")
def test_ports_are_chosen_apart_and_kept(registry: InstanceRegistry, tmp_path: Path) -> None:
    """Each instance gets its own port, also beside stopped ones, and has it again after a stop."""
    with start_claimed(tmp_path, "a"), start_claimed(tmp_path, "b"):
        pass
    first, second = (registry.load()[name]["web_port"] for name in "ab")

    with start_claimed(tmp_path, "c"), start_claimed(tmp_path, "b"):
        records = registry.load()

    assert len({first, second, records["c"]["web_port"]}) == 3
    assert records["b"]["web_port"] == second


@pytest.mark.usefixtures("own_ports")
def test_a_port_in_use_by_a_stranger_is_passed_over(
    registry: InstanceRegistry, tmp_path: Path
) -> None:
    """The chosen port can be bound now; a kept one that can't be any more is given up."""
    with supervisor_of(tmp_path, "a") as supervisor:
        port = registry.claim(make_spec(tmp_path, "a"), pid=supervisor.pid)
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        assert not is_port_free("127.0.0.1", port)

        with supervisor_of(tmp_path, "a") as supervisor:
            assert registry.claim(make_spec(tmp_path, "a"), pid=supervisor.pid) > port


def test_a_port_that_browsers_refuse_is_never_chosen(
    registry: InstanceRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5060 and 5061 would make a page that no browser opens."""
    monkeypatch.setattr("core.claims.FIRST_PORT", 5060)
    with supervisor_of(tmp_path, "a") as supervisor:
        assert registry.claim(make_spec(tmp_path, "a"), pid=supervisor.pid) >= 5062


@pytest.mark.usefixtures("own_ports")
def test_an_adopted_bot_keeps_its_port(registry: InstanceRegistry, tmp_path: Path) -> None:
    """The port that the orphaned bot itself listens on is no reason to move."""
    start_claimed(tmp_path, "a").end()
    port = registry.load()["a"]["web_port"]
    with socket.socket() as own, bot_of(tmp_path, "a") as bot:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        own.bind(("127.0.0.1", port))
        own.listen()
        registry.update("a", bot_pid=bot.pid)

        with supervisor_of(tmp_path, "a") as supervisor:
            assert registry.claim(make_spec(tmp_path, "a"), pid=supervisor.pid) == port

        assert registry.load()["a"]["bot_pid"] == bot.pid


CLASHES = {
    "port": ({"web_port": 1}, {"web_port": 1}, "daemon_config.web_port: 1 "),
    "database": ({}, {"db_path": "database/../database/a.db"}, "daemon_config.db_path"),
    "database by link": ({}, {"db_path": "link/a.db"}, "daemon_config.db_path"),
    "account": (
        {"account": "backpack:KEY:SOL_USDC_PERP"},
        {"account": "backpack:KEY:SOL_USDC_PERP"},
        "exchange_config.api_key",
    ),
}


@pytest.mark.parametrize(("first", "second", "words"), CLASHES.values(), ids=CLASHES.keys())
def test_what_a_live_instance_holds_is_refused(
    registry: InstanceRegistry,
    tmp_path: Path,
    first: dict[str, object],
    second: dict[str, object],
    words: str,
) -> None:
    """S32: the error names key, value and holder; nothing is registered; the dead hold nothing."""
    (tmp_path / "database").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "database")
    if "db_path" in second:
        second = {"db_path": str(tmp_path / str(second["db_path"]))}
    with start_claimed(tmp_path, "a", **first), supervisor_of(tmp_path, "b") as supervisor:
        with pytest.raises(ConfigError) as caught:
            registry.claim(make_spec(tmp_path, "b", **second), pid=supervisor.pid)

        (fault,) = caught.value.faults
        assert words in fault
        assert "held by instance a (RUNNING" in fault
        assert "b" not in registry.load()

    with supervisor_of(tmp_path, "b") as supervisor:
        registry.claim(make_spec(tmp_path, "b", **second), pid=supervisor.pid)


def test_all_clashes_are_named_at_once(registry: InstanceRegistry, tmp_path: Path) -> None:
    """One error lists everything that is taken."""
    spec = make_spec(tmp_path, "a", web_port=1)
    twin = make_spec(tmp_path, "b", web_port=1, db_path=spec.db_path, logs=spec.logs)
    with start_claimed(tmp_path, "a", web_port=1), supervisor_of(tmp_path, "b") as supervisor:
        with pytest.raises(ConfigError) as caught:
            registry.claim(twin, pid=supervisor.pid)
        assert len(caught.value.faults) == 3


def test_a_second_supervisor_of_one_id_is_refused(
    registry: InstanceRegistry, tmp_path: Path
) -> None:
    """The message has the PID and the address of the one that runs."""
    with (
        start_claimed(tmp_path, "a", web_port=1) as supervisor,
        pytest.raises(ConfigError, match=rf"already runs \(pid {supervisor.pid}, http://127"),
    ):
        registry.claim(make_spec(tmp_path, "a", web_port=1), pid=os.getpid())


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:5001"),
        ("0.0.0.0", "http://127.0.0.1:5001"),
        ("", "http://127.0.0.1:5001"),
        ("::", "http://[::1]:5001"),
        ("[::1]", "http://[::1]:5001"),
        ("trader.lan", "http://trader.lan:5001"),
    ],
)
def test_web_url(host: str, url: str) -> None:
    """The address can be opened from this machine and has no slash at its end."""
    assert web_url({"web_host": host, "web_port": 5001}) == url
    assert web_url({"web_host": host, "web_port": None}) is None
