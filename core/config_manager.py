"""Config files: find, read, check, resolve, list and keep their versions.

`load` is what a bot does with its file; `prepare` is every check that a start makes, and ends in a
ChildSpec; `load_specs_in_child` is `prepare` in a short-lived process, so that a supervisor, or the
command that becomes one, never loads pydantic. Importing this module is light for the same reason:
the schema is imported inside the functions that need it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.config_files import (
    ACTIVE,
    ARCHIVED,
    DEFAULT_CONFIG,
    TEMPLATES,
    active_configs,
    find,
    is_example,
    json_files,
    read_text,
)
from core.config_load import LoadedConfig, Prepared, Reading, load, load_options, prepare
from core.errors import ConfigError
from core.forked import run_forked
from core.paths import check_name, for_display
from core.spec import ChildSpec

__all__ = [
    "DEFAULT_CONFIG",
    "ConfigManager",
    "LoadedConfig",
    "Prepared",
    "SpecResult",
    "Version",
    "active_configs",
    "find",
    "is_example",
    "load",
    "load_options",
    "load_specs_in_child",
    "prepare",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecResult:
    """One file's outcome: a spec, or faults. `name` is what was asked for."""

    name: str
    spec: ChildSpec | None
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def spec_or_raise(self) -> ChildSpec:
        """Return the spec. Errors: ConfigError with every fault."""
        if self.spec is None:
            raise ConfigError(f"{self.name} cannot be started", self.faults)
        return self.spec


def load_specs_in_child(
    names: Sequence[str | Path],
    root: Path,
    instance_id: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> list[SpecResult]:
    """Prepare configs in a short-lived forked process; one result for each name, in order.

    The caller must have one thread. A file that is not found or is broken is a result with
    faults, never an exception. Errors: GridfleetError when the process itself fails.
    """

    def work() -> list[dict[str, Any]]:
        return [_outcome(name, root, instance_id, environ) for name in names]

    return [
        SpecResult(
            name=outcome["name"],
            spec=ChildSpec.from_json(outcome["spec"]) if outcome["spec"] else None,
            faults=tuple(outcome["faults"]),
            warnings=tuple(outcome["warnings"]),
        )
        for outcome in run_forked(work, "the config check")
    ]


def _outcome(
    name: str | Path, root: Path, instance_id: str | None, environ: Mapping[str, str] | None
) -> dict[str, Any]:
    try:
        spec = prepare(name, root, instance_id, environ).spec
    except ConfigError as error:
        return {"name": str(name), "spec": None, "faults": error.faults, "warnings": ()}
    return {"name": str(name), "spec": spec.to_json(), "faults": (), "warnings": spec.warnings}


# Versions -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """An earlier content of a config file; `id` is its UTC time and the digest of its text."""

    id: str
    path: Path
    saved_at: datetime


class ConfigManager:
    """The configs under one root: `config/templates`, `config/active`, `config/archived`.

    `config/archived/{name}/` holds what `config/active/{name}.json` was before each change.
    """

    def __init__(self, root: Path, environ: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.templates_dir = root / TEMPLATES
        self.active_dir = root / ACTIVE
        self.archived_dir = root / ARCHIVED
        self._environ = environ

    def find(self, name: str | Path) -> Path:
        """Errors: ConfigError names every place that was looked at."""
        return find(name, self.root)

    def load(self, name: str | Path, instance_id: str | None = None) -> LoadedConfig:
        """Errors: ConfigError with every fault."""
        return load(name, self.root, instance_id, self._environ)

    def validate(self, name: str | Path, instance_id: str | None = None) -> tuple[str, ...]:
        """Make every check of a start and return the warnings. Errors: ConfigError."""
        return prepare(name, self.root, instance_id, self._environ).loaded.warnings

    def list_active(self) -> list[Path]:
        """All active configs, the examples too (`active_configs` leaves those out)."""
        return json_files(self.active_dir)

    def list_templates(self) -> list[Path]:
        return json_files(self.templates_dir)

    def list_archived(self) -> list[str]:
        """The names that have earlier versions."""
        folders = self.archived_dir.iterdir() if self.archived_dir.is_dir() else ()
        return sorted(folder.name for folder in folders if folder.is_dir())

    def save(self, name: str, text: str) -> LoadedConfig:
        """Check a new content, keep the present one as a version, and put the new one in place.

        Errors: ConfigError with every fault, OSError; the present content then stands.
        """
        from core.files import make_private_dir, publish

        path = self._active(name)
        reading = Reading.of_text(
            text, path, self.root, None, self._environ, (), for_display(path, self.root)
        )
        loaded = reading.finish()
        if path.exists():
            self.save_version(name)
        make_private_dir(path.parent)
        publish(path, text)
        return loaded

    def save_version(self, name: str) -> Version:
        """Keep the present content; the same content as the newest version is not kept twice.

        Errors: ConfigError when there is no such config; OSError.
        """
        from hashlib import sha256

        from core.files import make_private_dir, publish

        path = self._active(name)
        text = read_text(path, for_display(path, self.root))
        digest = sha256(text.encode()).hexdigest()[:8]
        newest = next(iter(self.versions(name)), None)
        if newest is not None and newest.id.endswith(f"-{digest}"):
            return newest
        saved_at = datetime.now(UTC)
        version = f"{saved_at:%Y%m%dT%H%M%S.%fZ}-{digest}"
        kept = make_private_dir(self.archived_dir / name) / f"{version}.json"
        publish(kept, text)
        return Version(id=version, path=kept, saved_at=saved_at)

    def versions(self, name: str) -> list[Version]:
        """Return the earlier contents, newest first."""
        found = []
        for path in json_files(self.archived_dir / check_name(name, "config")):
            stamp = path.stem.partition("-")[0]
            try:
                saved_at = datetime.strptime(stamp, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
            except ValueError:
                continue  # a file that somebody put there
            found.append(Version(id=path.stem, path=path, saved_at=saved_at))
        return sorted(found, key=lambda version: version.id, reverse=True)

    def rollback(self, name: str, version_id: str) -> LoadedConfig:
        """Put an earlier content back in place; the present one is kept as a version.

        Errors: ConfigError for an unknown version, and when the earlier content is valid no more.
        """
        for version in self.versions(name):
            if version.id == version_id:
                return self.save(name, read_text(version.path, version.id))
        raise ConfigError(f"{name}: was version {version_id}, expected one of `config history`")

    def _active(self, name: str) -> Path:
        return self.active_dir / f"{check_name(name, 'config')}.json"
