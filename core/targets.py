"""Which instances a command is about: ids, `--config FILE`, or `--all`.

`stop`, `status` and `logs` must work when the config file is broken or gone, so a file is only
looked into as far as its id: the record that names the file, else `metadata.instance_id`, else the
file's stem. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config_files import DEFAULT_CONFIG, find
from core.errors import ConfigError, UsageError
from core.instance_manager import InstanceRegistry
from core.paths import check_name, is_safe_name, read_limited, resolve_typed, run_dir
from core.spec import ChildSpec
from core.supervisor import saved_spec

_MAX_CONFIG = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One instance. `record` is empty and `is_known` False when nothing knows of it."""

    instance_id: str
    folder: Path
    record: dict[str, Any]
    config: str | None = None

    @property
    def is_known(self) -> bool:
        return bool(self.record) or (self.folder / "spec.json").exists()

    @property
    def config_file(self) -> str | None:
        """The config file it was started with, or the one that was typed."""
        return self.config or self.record.get("config_file")

    def spec(self) -> ChildSpec | None:
        """The last accepted spec; None when it was never started."""
        return saved_spec(self.folder)

    def log_dir(self) -> Path:
        """Where its logs are, as far as anything tells."""
        spec = self.spec()
        return Path(self.record.get("log_dir") or (spec.logs.log_dir if spec else self.folder))


def resolve_targets(
    root: Path,
    ids: Sequence[str] = (),
    configs: Sequence[str] = (),
    *,
    instance_id: str | None = None,
    all_registered: bool = False,
) -> list[Target]:
    """Name the instances; none given means the default config file.

    Errors: ConfigError for a bad id or a file that nobody knows, UsageError for contradictions.
    """
    if all_registered and (ids or configs):
        raise UsageError("--all goes without an id and without --config")
    records = InstanceRegistry(root).load()
    if all_registered:
        return [_target(root, name, records) for name in sorted(records)]
    names = [check_name(name) for name in ids]
    found = [_target(root, name, records) for name in names]
    if instance_id is not None and not configs and not ids:
        return [_target(root, check_name(instance_id), records)]
    if not found and not configs:
        configs = [str(root / DEFAULT_CONFIG)]
    for config in configs:
        path = _place(config, root)
        name = check_name(instance_id) if instance_id else _id_of(path, records)
        found.append(_target(root, name, records, str(path)))
    unique = {target.instance_id: target for target in found}
    return list(unique.values())


def _target(
    root: Path, name: str, records: dict[str, dict[str, Any]], config: str | None = None
) -> Target:
    return Target(
        instance_id=name,
        folder=run_dir(root, name),
        record=records.get(name, {}),
        config=config,
    )


def _place(config: str, root: Path) -> Path:
    try:
        return find(config, root)
    except ConfigError:
        return resolve_typed(root, config)  # gone: the registry may still know it by its path


def _id_of(path: Path, records: dict[str, dict[str, Any]]) -> str:
    try:
        document = json.loads(read_limited(path, _MAX_CONFIG).decode("utf-8-sig"))
        named = document["metadata"]["instance_id"]
        if isinstance(named, str) and is_safe_name(named):
            return named
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    for name, record in sorted(records.items()):
        if record.get("config_file") == str(path):
            return name
    return check_name(path.stem)
