"""`instance_cli cleanup`: only the dead go."""

from __future__ import annotations

from pathlib import Path

import pytest
from instance_shell import Cli
from registry_world import start_claimed

from core.desired import Desired, Wanted
from core.instance_manager import InstanceRegistry

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("english")]


def test_cleanup_removes_the_dead_and_says_how_many(
    cli: Cli, registry: InstanceRegistry, tmp_path: Path
) -> None:
    """Not the living, not what `resurrect` needs; a second time there is nothing to do."""
    registry.register("dead", {"status": "RUNNING"})
    registry.register("wanted", {"status": "RUNNING"})
    Desired(tmp_path).enter("wanted", Wanted(config_path="x", started_at="y"))
    with start_claimed(tmp_path, "live", web_port=1):
        code, out, _ = cli("cleanup", "--dry-run")
        assert (code, out.splitlines()[0]) == (0, "would remove 1 dead instances: dead")
        assert "wanted" in out.splitlines()[1]
        assert set(registry.load()) == {"dead", "wanted", "live"}

        assert cli("cleanup")[1].splitlines()[0] == "removed 1 dead instances: dead"
        assert set(registry.load()) == {"wanted", "live"}
        assert cli.json("cleanup") == {
            "removed": 0,
            "instances": [],
            "kept": ["wanted"],
            "unsettled": [],
            "dry_run": False,
        }


def test_cleanup_forgets_no_orders_that_may_rest(cli: Cli, registry: InstanceRegistry) -> None:
    """What is not proven gone on a real exchange stays on record, said with what settles it."""
    registry.register("gone", {"status": "STOPPED", "orders_unsettled": False, "mode": "live"})
    registry.register("paper", {"status": "STOPPED", "orders_unsettled": True, "mode": "paper"})
    registry.register("rests", {"status": "STOPPED", "orders_unsettled": True, "mode": "live"})
    code, out, _ = cli("list")
    assert (code, "rests: " in out, "daemon_manager stop rests" in out) == (0, True, True)
    assert [entry["instance_id"] for entry in cli.json("list")] == []
    for words, verb in ((["--dry-run"], "would remove"), ([], "removed")):
        code, out, _ = cli("cleanup", *words)
        assert (code, out.splitlines()[0]) == (0, f"{verb} 2 dead instances: gone, paper")
        assert "daemon_manager stop rests" in out.splitlines()[1]
    assert set(registry.load()) == {"rests"}
    told = cli.json("cleanup")
    assert (told["removed"], told["unsettled"]) == (0, ["rests"])


def test_cleanup_over_a_damaged_desired_file_removes_nothing(
    cli: Cli, registry: InstanceRegistry, tmp_path: Path
) -> None:
    """Nobody can say then what `resurrect` needs."""
    registry.register("dead", {"status": "RUNNING"})
    (tmp_path / "logs" / "desired.json").write_text("{")
    code, out, err = cli("cleanup")
    assert (code, out) == (1, "")
    assert "desired.json" in err
    assert set(registry.load()) == {"dead"}
