"""One config file, from its name to a checked config, and on to what a supervisor runs.

`load` is what a bot does with its file; `prepare` is every check that a start makes. Importing
this module is light: the schema (pydantic) is imported inside the functions.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from core.config_files import Variables, find, read_text, variables_for
from core.lean import importing_without
from core.paths import for_display

if TYPE_CHECKING:
    from core.config import Examined, InstanceConfig
    from core.config_files import EnvFile
    from core.spec import ChildSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedConfig:
    """A valid config and where it came from. `variables`: environment, `.env`, `env_file`."""

    config: InstanceConfig
    warnings: tuple[str, ...]
    path: Path
    raw_text: str
    variables: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A config that may be started: the config, and what a supervisor needs of it."""

    loaded: LoadedConfig
    spec: ChildSpec


def load(
    path: str | Path,
    root: Path,
    instance_id: str | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    bot_args: Sequence[str] = (),
    source: str | None = None,
) -> LoadedConfig:
    """Find, read and check one config, as the bot that will run it.

    `bot_args` are options typed after run.py; they win over the file's own. `source` names the
    file in messages (the user's own, when `path` is the supervisor's copy).
    Errors: ConfigError with every fault.
    """
    reading = Reading.of_file(path, root, instance_id, environ, bot_args, source)
    return reading.finish()


def load_options(
    bot_args: Sequence[str],
    root: Path,
    instance_id: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> LoadedConfig:
    """Check a bot that is given by options alone, without a file. Errors: ConfigError."""
    reading = Reading.of_text("{}", root / "run", root, instance_id, environ, bot_args, "run.py")
    return reading.finish()


def prepare(
    path: str | Path,
    root: Path,
    instance_id: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Prepared:
    """Make every check of a config that a start makes, and resolve what is to be run.

    Errors: ConfigError with every fault, those of programs and folders included.
    """
    from core.config_spec import build_spec, find_program

    reading = Reading.of_file(path, root, instance_id, environ)
    program = find_program(reading.examined, root)
    loaded = reading.finish()
    spec = build_spec(
        loaded.config,
        program,
        root=root,
        config_path=loaded.path,
        config_text=loaded.raw_text,
        environment=reading.examined.environment,
        env_files=[file.path for file in reading.env_files],
        warnings=loaded.warnings,
    )
    return Prepared(loaded=loaded, spec=spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A config on its way from text to LoadedConfig, with all that was found so far."""

    path: Path
    text: str
    examined: Examined
    variables: Variables
    env_files: tuple[EnvFile, ...]  # named by the config; `.env` is always looked at

    @classmethod
    def of_file(
        cls,
        name: str | Path,
        root: Path,
        instance_id: str | None,
        environ: Mapping[str, str] | None,
        bot_args: Sequence[str] = (),
        source: str | None = None,
    ) -> Reading:
        path = find(name, root)
        shown = source or for_display(path, root)
        text = read_text(path, shown)
        return cls.of_text(text, path, root, instance_id, environ, bot_args, shown)

    @classmethod
    def of_text(
        cls,
        text: str,
        path: Path,
        root: Path,
        instance_id: str | None,
        environ: Mapping[str, str] | None,
        bot_args: Sequence[str],
        source: str,
    ) -> Reading:
        _load_schema()
        from core.config import decode, examine
        from core.config_spec import check_price_file, is_bot_script
        from core.config_text import Findings

        findings = Findings(source)
        document = decode(text, findings)
        findings.raise_faults()
        variables, env_file = variables_for(document, root, environ)
        section = document.get("daemon_config", document) if isinstance(document, dict) else {}
        script = section.get("script_path") if isinstance(section, dict) else None
        examined = examine(
            document,
            stem=path.stem,
            findings=findings,
            instance_id=instance_id,
            variables=variables,
            is_bot=is_bot_script(script, root),
            bot_args=bot_args,
        )
        if env_file is not None and not env_file.exists:
            findings.fault(f"{examined.prefix}env_file", f'"{env_file.source}"', "an existing file")
        check_price_file(examined, root)
        _check_env_files(variables.files, examined)
        return cls(
            path=path,
            text=text,
            examined=examined,
            variables=variables,
            env_files=(env_file,) if env_file is not None else (),
        )

    def finish(self) -> LoadedConfig:
        """Return the config. Errors: ConfigError with every fault found by now."""
        self.examined.findings.raise_faults()
        assert self.examined.config is not None  # no fault, so there is a config
        return LoadedConfig(
            config=self.examined.config,
            warnings=tuple(self.examined.findings.warnings),
            path=self.path,
            raw_text=self.text,
            variables=self.variables,
        )


def _load_schema() -> None:
    """Import the schema, with pydantic's search for plugins switched off.

    The search reads the metadata of every installed package: 40 ms.
    """
    if "core.config" not in sys.modules:
        os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
        with importing_without(deferred={"importlib.metadata": ("entry_points",)}):
            import_module("core.config")


def _check_env_files(files: Sequence[EnvFile], examined: Examined) -> None:
    """A `.env` that others can read: live refuses, everything else warns (SECURITY.md)."""
    findings = examined.findings
    for file in files:
        if file.fault:
            findings.fault(file.source, file.fault, "a file of NAME=value lines")
        if file.open_mode is None:
            continue
        if examined.mode == "live":
            findings.fault(
                file.source,
                f"mode {file.open_mode:04o}",
                f"0600, since it holds keys: chmod 600 {file.path}",
            )
        else:
            findings.warn(
                file.source, f"mode {file.open_mode:04o} lets others read it: chmod 600 {file.path}"
            )
