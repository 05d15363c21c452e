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

from core.accepted import SPEC_NAME, load_accepted
from core.config_files import ACTIVE, DEFAULT_CONFIG, find
from core.errors import ConfigError, UsageError
from core.instance_manager import InstanceRegistry
from core.paths import check_name, is_safe_name, read_limited, resolve, run_dir
from core.spec import ChildSpec

_MAX_CONFIG = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One instance. `record` is empty and `is_known` False when nothing knows of it.

    A config file that is there makes its instance a known one, which never ran.
    """

    instance_id: str
    folder: Path
    record: dict[str, Any]
    config: str | None = None

    @property
    def is_known(self) -> bool:
        if self.record or (self.folder / SPEC_NAME).exists():
            return True
        return self.config is not None and Path(self.config).is_file()

    @property
    def config_file(self) -> str | None:
        """The config file it was started with, or the one that was typed."""
        return self.config or self.record.get("config_file")

    def spec(self) -> ChildSpec | None:
        """The last accepted spec; None when it was never started."""
        return load_accepted(self.folder)

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
    if instance_id is not None:
        check_name(instance_id)
    names = [check_name(name) for name in ids]
    found = [_target(root, name, records) for name in names]
    if instance_id is not None and not configs and not ids:
        return [_target(root, instance_id, records)]
    if not found and not configs:
        configs = [str(root / DEFAULT_CONFIG)]
    for config in configs:
        path, name = _look_up(config, root, records)
        found.append(_target(root, instance_id or name, records, str(path)))
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


def _look_up(config: str, root: Path, records: dict[str, dict[str, Any]]) -> tuple[Path, str]:
    """Give the file that `--config` means and the id of its instance."""
    try:
        path = find(config, root)
    except ConfigError:
        # Gone: the registry may still know it, by any of the places where it would have been.
        active = resolve(root, ACTIVE / config)
        places = [resolve(Path.cwd(), config), resolve(root, config), active]
        places.append(active.with_name(f"{active.name}.json"))
        for name, record in sorted(records.items()):
            for place in places:
                if record.get("config_file") == str(place):
                    return place, name
        return places[0], check_name(places[0].stem)
    try:
        document = json.loads(read_limited(path, _MAX_CONFIG).decode("utf-8-sig"))
        named = document["metadata"]["instance_id"]
        if isinstance(named, str) and is_safe_name(named):
            return path, named
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    for name, record in sorted(records.items()):
        if record.get("config_file") == str(path):
            return path, name
    return path, check_name(path.stem)
