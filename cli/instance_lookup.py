"""Finding an instance by the id that was typed, for the verbs that want one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.errors import StoreError
from core.instance_manager import InstanceRegistry
from core.paths import check_name

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
