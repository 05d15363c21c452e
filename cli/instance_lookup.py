"""Finding an instance by the id that was typed, and the config that it runs with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import StoreError
from core.instance_manager import InstanceRegistry
from core.paths import check_name, run_dir

if TYPE_CHECKING:
    from core.config import InstanceConfig

Record = dict[str, Any]


def find_records(root: Path, instance_id: str | None) -> list[Record]:
    """Give the record of one instance, or of all (None), with `is_alive` and live PIDs.

    Errors: ConfigError for what is no id, StoreError for one that is not registered.
    """
    if instance_id is not None:
        check_name(instance_id)
    records = InstanceRegistry(root).list_instances()
    if instance_id is None:
        return records
    found = [record for record in records if record["instance_id"] == instance_id]
    if not found:
        known = ", ".join(record["instance_id"] for record in records) or "none"
        raise StoreError(f"no instance {instance_id} is registered here ({root}); known: {known}")
    return found


def config_of(instance_id: str, root: Path, record: Mapping[str, Any]) -> InstanceConfig:
    """Load what the bot runs with: the version last accepted, else the file of the record.

    Errors: ConfigError; StoreError when nothing tells it, or it is no bot of ours.
    """
    from core.accepted import CONFIG_NAME
    from core.config_load import load

    accepted = run_dir(root, instance_id) / CONFIG_NAME
    named = record.get("config_file")
    path = accepted if accepted.is_file() else named
    if path is None:
        raise StoreError(f"{instance_id}: nothing tells which config it runs with")
    loaded = load(path, root, instance_id=instance_id, source=None if named is None else str(named))
    if not loaded.config.is_bot:
        raise StoreError(f"{instance_id}: runs a program of its own, which keeps no ledger of ours")
    return loaded.config
