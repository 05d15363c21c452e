"""What a supervisor needs to know of one instance: how to run its child, and the policy around it.

Standard library only: a running supervisor loads neither pydantic nor any trading code. The
spec is made by `core.config_manager` in a short-lived process and travels as JSON. It holds no
secret: the child's secrets are expanded by the child itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

BROWSER_BLOCKED_PORTS = frozenset({5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080})
"""Ports from 5001 up that browsers refuse to open (WHATWG Fetch, "bad port", read 2026-11)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartSettings:
    """CONTRACT 2: at most `max_restart_attempts` in `restart_window`; times in seconds."""

    auto_restart: bool = True
    max_restart_attempts: int = 3
    restart_delay: float = 60.0
    restart_window: float = 3600.0
    restart_delay_max: float = 900.0
    healthy_after: float = 600.0
    fatal_retry_interval: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """`check` is "auto" (HTTP readiness, engine heartbeat) or "none"; times in seconds."""

    check: str = "auto"
    interval: float = 30.0
    timeout: float = 5.0
    failures: int = 3
    startup_timeout: float = 60.0
    stop_timeout: float = 30.0
    finish_after: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """Limits over the child's whole process group; None: no limit."""

    memory_limit_mb: int | None = None
    cpu_limit_percent: int | None = None
    cpu_limit_action: str = "warn"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """`log_dir` is absolute; `max_mb` caps all logs of the instance, None: no cap.

    `level` is the bot's: debug, info, warning, error.
    """

    log_dir: str
    cleanup_interval: float = 86400.0
    retention_days: int = 2
    max_mb: int | None = None
    level: str = "info"


def _fields(one: Any) -> dict[str, Any]:
    """Map the fields of a dataclass of this file."""
    return {name: getattr(one, name) for name in one.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """One instance, resolved: every path absolute, every default filled in.

    `argv[0]` is the program to exec. `web_port` None: choose the first usable one from 5001 under
    the registry's lock. `is_bot` is False for a foreign program (a `script_path` that is not our
    run.py). `environment` is the config's own section, unexpanded (`${...}` as written); the
    supervisor expands it from its environment and `env_files` at the spawn. `account` identifies
    (exchange, key name, symbol) for the guard against two bots on one account; None for paper.
    `mode`, `exchange`, `symbol` and `grid` are for listings. `settings` is every value in force, as
    text by JSON path, to tell what a changed file changes; keys of an exchange are digests.
    """

    instance_id: str
    config_path: str
    config_text: str
    root: str
    argv: tuple[str, ...]
    working_dir: str
    db_path: str
    web_host: str
    web_port: int | None
    is_bot: bool
    restart: RestartSettings
    health: HealthSettings
    limits: LimitSettings
    logs: LogSettings
    environment: dict[str, str]
    env_files: tuple[str, ...] = ()
    start_after: tuple[str, ...] = ()
    account: str | None = None
    mode: str = ""
    exchange: str = ""
    symbol: str = ""
    grid: str = ""
    warnings: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Serialise for the pipe between the validating child and the command."""
        return json.dumps(_fields(self), default=_fields)  # asdict copies deeply, at ten times this

    @classmethod
    def from_json(cls, text: str) -> ChildSpec:
        """Restore what `to_json` wrote. Errors: KeyError or TypeError on another program's text."""
        raw: dict[str, Any] = json.loads(text)
        return cls(
            **{
                **raw,
                "argv": tuple(raw["argv"]),
                "env_files": tuple(raw["env_files"]),
                "warnings": tuple(raw["warnings"]),
                "start_after": tuple(raw.get("start_after", ())),  # not in an earlier version's
                "restart": RestartSettings(**raw["restart"]),
                "health": HealthSettings(**raw["health"]),
                "limits": LimitSettings(**raw["limits"]),
                "logs": LogSettings(**raw["logs"]),
            }
        )
