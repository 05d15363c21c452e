"""Which bots count to one account: told by the registry's digest, never by a key."""

from __future__ import annotations

from pathlib import Path

from registry_world import make_spec

from cli.account_bots import records_on
from core.desired import Desired, Wanted
from core.instance_manager import InstanceRegistry

OURS = "backpack:0123456789abcdef:SOL_USDC_PERP"


def test_only_what_runs_or_should_on_the_same_account_counts(tmp_path: Path) -> None:
    """Not another account, another exchange's key, a paper bot, a stopped one, or itself."""
    accounts = {
        "live_01": OURS,
        "same_02": "backpack:0123456789abcdef:BTC_USDC_PERP",
        "stopped_03": "backpack:0123456789abcdef:ETH_USDC_PERP",
        "other_04": "backpack:fedcba9876543210:BTC_USDC_PERP",
        "aster_05": "aster:0123456789abcdef:BTCUSDT",
        "paper_06": None,
    }
    registry, desired = InstanceRegistry(tmp_path), Desired(tmp_path)
    for instance_id, account in accounts.items():
        registry.claim(make_spec(tmp_path, instance_id, account=account))
        if instance_id != "stopped_03":
            wanted = Wanted(config_path="c.json", started_at="2026-01-01T00:00:00+00:00")
            desired.enter(instance_id, wanted)
    found = records_on(OURS, "live_01", tmp_path)
    assert [record["instance_id"] for record in found] == ["same_02"]
