"""What follows from a changed config: nothing, a live change, a moved grid, or one restart.

Pure: two specs in, a plan out. The mildest answer that covers every changed key is taken:

| what changed | kind | what happens |
| --- | --- | --- |
| nothing that means anything (spaces, order, a comment key) | none | the new text is kept |
| the supervisor's own affairs: limits, health, restarts, retention; `log_level` | live | at once |
| these, and the range of the grid or its number of levels | adjust | `POST /api/grid/adjust` |
| anything else | restart | one graceful restart, with its orders kept |
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from core.spec import ChildSpec

_LIVE_DAEMON = frozenset(
    {
        "max_restart_attempts",
        "restart_delay",
        "restart_window",
        "restart_delay_max",
        "healthy_after",
        "fatal_retry_interval",
        "auto_restart",
        "health_check_interval",
        "health_check_timeout",
        "health_check_failures",
        "startup_timeout",
        "stop_timeout",
        "finish_after",
        "memory_limit_mb",
        "cpu_limit_percent",
        "cpu_limit_action",
        "log_cleanup_interval",
        "log_retention_days",
        "log_max_mb",
        "log_level",
        "start_after",
    }
)
_LIVE = frozenset({f"daemon_config.{key}" for key in _LIVE_DAEMON} | {"metadata"})
_LIVE_FIELDS = frozenset({"restart", "limits", "start_after"})  # of a spec that carries no settings
_GRID = {
    "strategy_config.grid_lower_price": "grid_lower_price",
    "strategy_config.grid_upper_price": "grid_upper_price",
    "strategy_config.grid_num": "grid_num",
}
_UNCOMPARED = frozenset({"warnings", "config_text", "web_port", "settings", "grid"})


class Kind(enum.Enum):
    """The mildest way to carry a change out; the value is what `reload --json` says."""

    NONE = "none"
    LIVE = "live"
    ADJUST = "adjust"
    RESTART = "restart"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadPlan:
    """`changed` are JSON paths; `adjust` is the body of the request that moves the grid."""

    kind: Kind
    changed: tuple[str, ...] = ()
    adjust: dict[str, str] = field(default_factory=dict)


def plan_reload(before: ChildSpec | None, after: ChildSpec) -> ReloadPlan:
    """Compare what is accepted with what the file says now; None: nothing was ever accepted."""
    if before is None:
        return ReloadPlan(kind=Kind.RESTART, changed=("everything",))
    if not (before.settings and after.settings):
        return _plan_by_fields(before, after)
    keys = sorted(before.settings.keys() | after.settings.keys())
    changed = [key for key in keys if before.settings.get(key) != after.settings.get(key)]
    if before.environment != after.environment or before.env_files != after.env_files:
        changed.append("daemon_config.environment")
    # Where a path leads may change without its text: another interpreter, another root.
    for name in ("working_dir", "db_path", "is_bot"):
        key = f"daemon_config.{name}"
        if getattr(before, name) != getattr(after, name) and key not in changed:
            changed.append(key)
    programs = [spec.argv[:2] if spec.is_bot else spec.argv for spec in (before, after)]
    if programs[0] != programs[1] and not changed:
        changed.append("daemon_config.script_path")
    beyond = [key for key in changed if key not in _LIVE]
    if not beyond:
        return ReloadPlan(kind=Kind.LIVE if changed else Kind.NONE, changed=tuple(changed))
    body = {_GRID[key]: after.settings.get(key, "") for key in beyond if key in _GRID}
    is_fixed = after.settings.get("strategy_config.auto_price", "false") == "false"
    has_values = all(value not in ("", "null") for value in body.values())
    if len(body) == len(beyond) and is_fixed and has_values and after.is_bot:
        return ReloadPlan(kind=Kind.ADJUST, changed=tuple(changed), adjust=body)
    return ReloadPlan(kind=Kind.RESTART, changed=tuple(changed))


def _plan_by_fields(before: ChildSpec, after: ChildSpec) -> ReloadPlan:
    """Compare two specs of which one was accepted by an earlier version of this program."""
    changed = [
        name
        for name in ChildSpec.__slots__
        if name not in _UNCOMPARED and getattr(before, name) != getattr(after, name)
    ]
    if after.web_port is not None and before.web_port != after.web_port:
        changed.append("web_port")
    if not changed and before.config_text == after.config_text:
        return ReloadPlan(kind=Kind.NONE)
    if changed and set(changed) <= _LIVE_FIELDS and not after.is_bot:
        return ReloadPlan(kind=Kind.LIVE, changed=tuple(changed))
    return ReloadPlan(kind=Kind.RESTART, changed=tuple(changed or ["config"]))
