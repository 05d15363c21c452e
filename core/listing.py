"""The list of instances: what both commands show, derived from state files and processes alone.

No supervisor is asked, so the list answers at once, also when one hangs. What a record says last
and what lives now give the state:

| record says              | supervisor lives | only the bot lives | neither lives            |
| ------------------------ | ---------------- | ------------------ | ------------------------ |
| STOPPED, EXITED, FATAL   | as it says       | ORPHANED           | as it says               |
| any other                | as it says (1)   | ORPHANED           | STOPPED, with a hint why |

(1) RUNNING or UNHEALTHY without a living bot is an old record: the supervisor could not write
(a full disk), or is just about to. It is shown as BACKOFF: the bot is down and will be started.

An entry of `collect` holds at least what CONTRACT 4 names; paths and times as recorded.
`configured_grid` is the config's, a text; what an adjust or the boundary made of it is the bot's to
tell (its page, `instance_cli info`). `reason` is why it stands where it stands, if that was told.
`limits` are the config's; `kernel` says which of the kernel's stands behind them: "cgroup",
"rlimit" or None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from core.i18n import t
from core.instance_manager import InstanceRegistry, orders_may_rest
from core.liveness import Liveness
from core.masking import escape_controls
from core.paths import for_display
from core.registry_file import start_command, web_url
from core.table import grid

Entry = dict[str, Any]

ORPHANED = "ORPHANED"
REST_STATES = frozenset({"STOPPED", "EXITED", "FATAL"})
STATES = REST_STATES | {
    "STARTING",
    "RUNNING",
    "UNHEALTHY",
    "BACKOFF",
    "FINISHING",
    "STOPPING",
}
_WITH_BOT = frozenset({"RUNNING", "UNHEALTHY"})
_SHOWN_WHEN_DEAD = frozenset({"BACKOFF", "FATAL"})
_GREEN = frozenset({"RUNNING", "STARTING"})


def derive_state(status: object, alive: Liveness) -> str:
    """Tell the state from what the record says last and what lives now (the module's table)."""
    recorded = status if isinstance(status, str) and status in STATES else None
    if alive.pid is not None:
        if alive.bot_pid is None and recorded in _WITH_BOT:
            return "BACKOFF"
        return recorded or ("RUNNING" if alive.bot_pid is not None else "STARTING")
    if alive.bot_pid is not None:
        return ORPHANED
    return recorded if recorded in REST_STATES else "STOPPED"


def collect(root: Path | str, include_all: bool = False) -> list[Entry]:
    """Describe the instances, by id: those of which something lives and BACKOFF and FATAL ones.

    `include_all` adds STOPPED and EXITED ones. Errors: ConfigError when the registry is a planted
    link.
    """
    registry = InstanceRegistry(Path(root))
    return [
        entry
        for entry in (
            describe(record, now=datetime.now().astimezone())
            for record in registry.list_instances()
        )
        if include_all or is_shown(entry)
    ]


def is_shown(entry: Entry) -> bool:
    """Tell whether `list` shows the entry without being asked for all."""
    lives = entry["is_alive"] or entry["bot_pid"] is not None
    return bool(lives or entry["state"] in _SHOWN_WHEN_DEAD)


def describe(record: Mapping[str, Any], now: datetime) -> Entry:
    """Make the entry of one record of `InstanceRegistry.list_instances`.

    `hint` says what to do where the state asks for it, else None; `uptime_s` is None when the
    supervisor and the bot are gone; `orders_unsettled`: it ended, and its orders may rest.
    """
    alive = Liveness(pid=record.get("pid"), bot_pid=record.get("bot_pid"))
    state = derive_state(record.get("status"), alive)
    return {
        "instance_id": record["instance_id"],
        "state": state,
        "is_alive": alive.is_alive,
        "pid": alive.pid,
        "bot_pid": alive.bot_pid,
        "web_port": record.get("web_port"),
        "web_url": web_url(dict(record)),
        "config_file": record.get("config_file"),
        "log_dir": record.get("log_dir"),
        "db_path": record.get("db_path"),
        "started_at": record.get("started_at"),
        "restarts": record.get("restarts") or 0,
        "uptime_s": _uptime(record.get("started_at"), now) if alive.is_any_alive else None,
        "mode": record.get("mode"),
        "exchange": record.get("exchange"),
        "symbol": record.get("symbol"),
        "configured_grid": record.get("grid"),
        "limits": _limits(record.get("limits"), is_up=alive.bot_pid is not None),
        "reason": record.get("reason") or None,
        "orders_unsettled": state in REST_STATES and orders_may_rest(record),
        "hint": _hint(state, record),
    }


def render_table(
    entries: Sequence[Entry], root: Path | str, *, coloured: bool = False, plain: bool = False
) -> str:
    """Draw the guide's table: id, state with a dot, PID, web port, config file, start time.

    `coloured`: green and red dots, for a terminal (not with NO_COLOR). `plain`: ASCII dots, for an
    output that can't encode others. Below it stand the hints, one line each.
    """
    headers = [
        t(name) for name in ("Instance ID", "State", "PID", "Web port", "Config file", "Started")
    ]
    rows = [
        [
            _cell(entry["instance_id"]),
            f"{_dot(entry['state'], coloured=coloured, plain=plain)} {_cell(entry['state'])}",
            _cell(entry["pid"]),
            _cell(entry["web_port"]),
            _cell(_short_path(entry["config_file"], Path(root))),
            _cell(local_time(entry["started_at"])),
        ]
        for entry in entries
    ]
    lines = [grid(rows, headers, right=frozenset({2, 3}))]
    lines += [
        f"{entry['instance_id']}: {_cell(entry['hint'])}" for entry in entries if entry["hint"]
    ]
    return "\n".join(lines)


def local_time(stamp: object) -> str:
    """Show an ISO time as the host's local time; "-" for none, another text as it is."""
    if not isinstance(stamp, str) or not stamp:
        return "-"
    try:
        return datetime.fromisoformat(stamp).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError):
        return stamp


def _uptime(stamp: object, now: datetime) -> float | None:
    try:
        started = datetime.fromisoformat(str(stamp))
    except ValueError:
        return None
    if started.tzinfo is None:
        return None
    return max(0.0, round((now - started).total_seconds(), 1))


def limits_words(entry: Mapping[str, Any]) -> str | None:
    """Say in one line what is in force, e.g. `memory 2048 MB (cgroup 3072 MB), CPU 80 %`."""
    limits = entry["limits"]
    if limits is None:
        return None
    words = []
    if limits["memory_mb"] is not None:
        kernel = f" ({limits['kernel']} {limits['kernel_mb']} MB)" if limits["kernel"] else ""
        words.append(t("memory {mb} MB{kernel}", mb=limits["memory_mb"], kernel=kernel))
    if limits["cpu_percent"] is not None:
        words.append(f"CPU {limits['cpu_percent']} %")
    return escape_controls(", ".join(words)) or None


def _limits(raw: object, *, is_up: bool) -> dict[str, Any] | None:
    """Take the limits out of a record; without a living bot the kernel has none."""
    if not isinstance(raw, Mapping):
        return None
    limits = {key: raw.get(key) for key in ("memory_mb", "cpu_percent", "kernel", "kernel_mb")}
    return limits if is_up else {**limits, "kernel": None, "kernel_mb": None}


def _hint(state: str, record: Mapping[str, Any]) -> str | None:
    hint = _state_hint(state, record)
    if state not in REST_STATES or not orders_may_rest(record):
        return hint
    words = "its orders are not proven gone and may rest on the exchange; settle them: {command}"
    orders = t(words, command=f"daemon_manager stop {record['instance_id']}")
    return f"{hint}; {orders}" if state == "FATAL" else orders


def _state_hint(state: str, record: Mapping[str, Any]) -> str | None:
    instance_id = record["instance_id"]
    start = start_command(instance_id, record.get("config_file"))
    if state == ORPHANED:
        return t("its supervisor is gone, the bot trades on; adopt it: {command}", command=start)
    if state == "FATAL":
        logs = f"daemon_manager logs {instance_id}"
        return t("given up; see {logs}, then: {command}", logs=logs, command=start)
    if state == "UNHEALTHY":
        return t("see why: {command}", command=f"instance_cli info {instance_id}")
    if state == "STOPPED" and record.get("status") not in REST_STATES:
        return t("ended without a stop (a kill, a reboot?); start it: {command}", command=start)
    return None


def _dot(state: str, *, coloured: bool, plain: bool) -> str:
    good = state in _GREEN
    if plain:
        return "*" if good else "-"
    if coloured:
        return "🟢" if good else "🔴"
    return "●" if good else "○"


def _cell(value: object) -> str:
    """Show a value from a file: nothing in it may move the cursor or forge a row."""
    return "-" if value is None or value == "" else escape_controls(str(value))


def _short_path(text: object, root: Path) -> str | None:
    return for_display(Path(text), root) if isinstance(text, str) and text else None
