"""What an instance claims for itself alone, and what it may claim of others."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from free_ports import own_block
from registry_world import (
    bot_of,
    make_spec,
    start_claimed,
    supervisor_of,
)

from core.claims import is_port_free
from core.errors import ConfigError
from core.instance_manager import InstanceRegistry
from core.registry_file import web_url


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
