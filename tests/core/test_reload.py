"""A changed config file: what follows from it, and that a supervisor sees it and does it."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_fleet import TOY, ToyFleet, free_port, is_alive, wait_for

from core import reloading
from core.config_manager import prepare
from core.config_watch import ConfigWatch
from core.launch import read_specs
from core.reload_plan import Kind, plan_reload
from core.spec import ChildSpec, RestartSettings

PAPER: dict[str, Any] = {
    "metadata": {"instance_id": "toy", "name": "a"},
    "daemon_config": {"web_port": 5999},
    "exchange_config": {"mode": "paper", "paper": {"seed": 7}},
    "strategy_config": {
        "exchange": "backpack",
        "symbol": "SOL_USDC_PERP",
        "grid_lower_price": 140,
        "grid_upper_price": 160,
        "grid_num": 20,
        "max_position": 10,
    },
}


def changed(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Change one key of a section: `section__key=value`."""
    copy: dict[str, Any] = json.loads(json.dumps(document))
    for name, value in changes.items():
        section, _, key = name.partition("__")
        copy[section][key] = value
    return copy


# The decision -------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("config/active", "logs", "database"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def spec_of(root: Path, document: dict[str, Any]) -> ChildSpec:
    path = root / "config" / "active" / "toy.json"
    path.write_text(json.dumps(document))
    return prepare(path, root).spec


@pytest.mark.parametrize(
    ("changes", "kind", "keys"),
    [
        ({}, Kind.NONE, []),
        ({"strategy_config__grid_lower_price": "140.0"}, Kind.NONE, []),
        ({"metadata__name": "b"}, Kind.LIVE, ["metadata"]),
        ({"daemon_config__memory_limit_mb": 99}, Kind.LIVE, ["daemon_config.memory_limit_mb"]),
        ({"daemon_config__log_level": "debug"}, Kind.LIVE, ["daemon_config.log_level"]),
        ({"daemon_config__restart_delay": 1}, Kind.LIVE, ["daemon_config.restart_delay"]),
        (
            {"strategy_config__grid_lower_price": 141},
            Kind.ADJUST,
            ["strategy_config.grid_lower_price"],
        ),
        (
            {"strategy_config__grid_num": 21, "daemon_config__cpu_limit_percent": 70},
            Kind.ADJUST,
            ["daemon_config.cpu_limit_percent", "strategy_config.grid_num"],
        ),
        (
            {"strategy_config__grid_lower_price": 141, "strategy_config__max_position": 9},
            Kind.RESTART,
            ["strategy_config.grid_lower_price", "strategy_config.max_position"],
        ),
        ({"daemon_config__web_port": 5998}, Kind.RESTART, ["daemon_config.web_port"]),
        ({"daemon_config__log_dir": "logs/x"}, Kind.RESTART, ["daemon_config.log_dir"]),
        ({"daemon_config__health_check": "none"}, Kind.RESTART, ["daemon_config.health_check"]),
        (
            {"daemon_config__environment": {"A": "1"}},
            Kind.RESTART,
            ["daemon_config.environment"],
        ),
        ({"exchange_config__paper": {"seed": 8}}, Kind.RESTART, ["exchange_config.paper"]),
    ],
)
def test_the_mildest_answer_that_covers_every_changed_key(
    root: Path, changes: dict[str, Any], kind: Kind, keys: list[str]
) -> None:
    before = spec_of(root, PAPER)
    plan = plan_reload(before, spec_of(root, changed(PAPER, **changes)))
    assert (plan.kind, list(plan.changed)) == (kind, keys)


def test_an_adjust_carries_only_what_changed(root: Path) -> None:
    before = spec_of(root, PAPER)
    after = spec_of(root, changed(PAPER, strategy_config__grid_upper_price="165.50"))
    assert plan_reload(before, after).adjust == {"grid_upper_price": "165.5"}


def test_a_range_in_bot_args_is_the_same_range(root: Path) -> None:
    """Options win over keys; what counts is the value in force."""
    before = spec_of(root, changed(PAPER, daemon_config__bot_args="--grid-lower 139"))
    after = spec_of(root, changed(PAPER, daemon_config__bot_args="--grid-lower 138"))
    plan = plan_reload(before, after)
    assert (plan.kind, plan.adjust) == (Kind.ADJUST, {"grid_lower_price": "138"})


def test_another_key_is_a_restart_and_no_key_is_kept(root: Path) -> None:
    """The settings travel in a file: no secret stands in them."""
    first, second = "firstkey-not-real-aaaaaaaa", "secondkey-not-real-bbbbbbb"
    document = changed(PAPER, exchange_config__api_key=first)
    before = spec_of(root, document)
    after = spec_of(root, changed(document, exchange_config__api_key=second))
    plan = plan_reload(before, after)
    assert (plan.kind, plan.changed) == (Kind.RESTART, ("exchange_config.api_key",))
    assert first not in json.dumps(before.settings)


def test_a_spec_of_an_earlier_version_is_compared_by_its_fields(root: Path) -> None:
    after = spec_of(root, PAPER)
    before = replace(after, settings={})
    assert plan_reload(before, after).kind is Kind.NONE
    assert plan_reload(None, after).kind is Kind.RESTART
    slower = replace(before, restart=RestartSettings(restart_delay=9))
    assert plan_reload(slower, after).kind is Kind.RESTART


# The watch ----------------------------------------------------------------------------------------


def test_a_watch_tells_of_its_own_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "toy.json"
    path.write_text("{}")
    watch = ConfigWatch(path)
    try:
        if watch.fd is None:
            pytest.skip("this machine has no inotify watch left")
        assert not watch.take_events()
        (tmp_path / "other.json").write_text("{}")
        assert not watch.take_events()
        for change in (
            lambda: path.write_text("{ }"),
            lambda: (tmp_path / "new").write_text("x") and (tmp_path / "new").replace(path),
            lambda: path.unlink(),
            lambda: path.touch(),
        ):
            change()
            assert watch.take_events()
            assert watch.has_changed()
            assert not watch.has_changed()
    finally:
        watch.close()


def test_a_link_is_seen_to_lead_elsewhere(tmp_path: Path) -> None:
    """As mounted config maps do it: the folder behind the link is replaced."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "toy.json").write_text(name)
    link = tmp_path / "current"
    link.symlink_to("one")
    watch = ConfigWatch(link / "toy.json")
    assert not watch.has_changed()
    link.unlink()
    link.symlink_to("two")
    assert watch.has_changed()
    watch.close()


# A real supervisor --------------------------------------------------------------------------------


@pytest.fixture
def fleet(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ToyFleet]:
    monkeypatch.setattr(reloading, "QUIET_S", 0.3)
    shutil.copy(TOY, root / "toy.py")
    fleet = ToyFleet(root)
    yield fleet
    fleet.clean_up()


def document(*options: str, **daemon: Any) -> dict[str, Any]:
    return {
        "metadata": {"instance_id": "toy"},
        "daemon_config": {
            "script_path": "toy.py",
            "python_path": sys.executable,
            "bot_args": ["--bot", *options],
            "web_port": free_port(),
            "health_check_interval": 0.5,
            "restart_delay": 0.2,
            "stop_timeout": 5,
            **daemon,
        },
    }


class Edited:
    """A supervised toy and its config file."""

    def __init__(self, fleet: ToyFleet, content: dict[str, Any]) -> None:
        self.fleet = fleet
        self.path = fleet.root / "config" / "active" / "toy.json"
        self.write(content)
        fleet.start(read_specs("toy", fleet.root, None))
        fleet.wait_status("RUNNING")
        self.bot = fleet.bot_pid()

    def write(self, content: dict[str, Any]) -> None:
        self.path.write_text(json.dumps(content))

    def events(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.fleet.events() if event["event"] == name]

    def wait_event(self, name: str, count: int = 1) -> list[dict[str, Any]]:
        wait_for(lambda: len(self.events(name)) >= count, f"{count} x {name}")
        return self.events(name)

    def replace(self, content: dict[str, Any]) -> None:
        temp = self.path.with_suffix(".new")
        temp.write_text(json.dumps(content))
        temp.replace(self.path)

    def write_in_two_steps(self, content: dict[str, Any]) -> None:
        text = json.dumps(content)
        with self.path.open("w") as file:  # truncates
            file.flush()
            file.write(text[:20])
            file.flush()
            time.sleep(0.05)
            file.write(text[20:])


@pytest.mark.slow
@pytest.mark.parametrize("how", ["write", "replace", "write_in_two_steps"])
def test_one_edit_is_one_restart_however_an_editor_writes(fleet: ToyFleet, how: str) -> None:
    content = document()
    edited = Edited(fleet, content)
    getattr(edited, how)(changed(content, daemon_config__bot_args=["--bot", "--finish-code", "0"]))
    wait_for(lambda: fleet.bot_pid() not in (0, edited.bot), "a new bot")
    fleet.wait_status("RUNNING")
    (stopping,) = edited.events("child_stopping")
    assert stopping["cause"] == "restart"
    (plan,) = edited.events("reload_planned")
    assert (plan["action"], plan["changed"]) == ("restart", ["daemon_config.bot_args"])
    wait_for(lambda: len(fleet.lines("starts")) == 2, "its first words")
    assert json.loads((fleet.folder() / "config.json").read_text()) == json.loads(
        edited.path.read_text()
    )


@pytest.mark.slow
def test_a_limit_is_applied_to_the_running_bot(
    fleet: ToyFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No new process; the next samples go by the new limit."""
    monkeypatch.setattr("core.monitor.SAMPLE_INTERVAL_S", 0.1)
    content = document(memory_limit_mb=4096, max_restart_attempts=0)
    edited = Edited(fleet, content)
    edited.write(changed(content, daemon_config__memory_limit_mb=4095))
    edited.wait_event("reload_planned")
    wait_for(lambda: '"memory_limit_mb": 4095' in (fleet.folder() / "spec.json").read_text())
    assert fleet.bot_pid() == edited.bot
    edited.write(changed(content, daemon_config__memory_limit_mb=1))
    wait_for(lambda: edited.events("child_stopping"), "the limit's effect")
    assert edited.events("child_stopping")[0]["cause"] == "memory"


@pytest.mark.slow
def test_an_invalid_file_changes_nothing_and_is_told(fleet: ToyFleet) -> None:
    """Broken, gone, and put back: the record carries the fault as long as there is one."""
    content = document()
    edited = Edited(fleet, content)
    edited.write(changed(content, daemon_config__stop_timeout="soon"))
    wait_for(lambda: fleet.record().get("config_fault"), "the fault in the record")
    assert "daemon_config.stop_timeout" in fleet.record()["config_fault"]
    edited.path.unlink()
    wait_for(lambda: "stop_timeout" not in fleet.record()["config_fault"], "the file's absence")
    assert fleet.bot_pid() == edited.bot
    edited.write(content)
    wait_for(lambda: fleet.record()["config_fault"] is None, "no fault any more")
    assert (fleet.bot_pid(), len(fleet.lines("starts"))) == (edited.bot, 1)
    assert is_alive(edited.bot)


@pytest.mark.slow
def test_touching_and_reformatting_do_nothing(fleet: ToyFleet) -> None:
    """Content decides, and then what it means."""
    content = document()
    edited = Edited(fleet, content)
    edited.path.touch()
    edited.path.write_text(json.dumps(content, indent=4))
    (plan,) = edited.wait_event("reload_planned")
    assert (plan["action"], plan["changed"]) == ("none", [])
    wait_for(
        lambda: (fleet.folder() / "config.json").read_text() == edited.path.read_text(),
        "the new text to be kept",
    )
    assert fleet.bot_pid() == edited.bot


@pytest.mark.slow
def test_a_check_is_no_member_of_the_child_s_group(fleet: ToyFleet) -> None:
    """A bot that dies while the file is checked costs the check nothing."""
    content = document(max_restart_attempts=50)
    edited = Edited(fleet, content)
    for number in range(3):
        edited.write(changed(content, daemon_config__finish_after=20 + number))
        edited.wait_event("config_changed", number + 1)
        fleet.kill_bot()
        edited.wait_event("reload_planned", number + 1)
    assert not edited.events("reload_refused")
    fleet.wait_status("RUNNING")


@pytest.mark.slow
def test_a_stopped_instance_is_not_woken_by_its_file(fleet: ToyFleet) -> None:
    """In FATAL with a slow retry the supervisor lives on; after a stop nobody watches."""
    content = document()
    edited = Edited(fleet, content)
    fleet.stop()
    edited.write(changed(content, daemon_config__bot_args=["--bot", "--no-web"]))
    assert fleet.processes() == []
    assert fleet.status() == "STOPPED"
