"""What `instance_cli alerts list` shows: the spooled alerts, and how the channels stand."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cli.alerting.plan import in_order, is_wanted
from cli.alerting.state import LOCK_NAME
from core import pidfile
from core.alert_files import load_state, place_in
from core.alert_lines import LEVELS
from core.alert_reading import read_spool, spools
from core.identity import read_pid_file


def overview(root: Path, count: int) -> dict[str, Any]:
    """Give the latest `count` alerts, oldest first; each channel with what waits; the alerter."""
    state = load_state(root)
    known = state.get("channels")
    channels = known if isinstance(known, dict) else {}
    active = state.get("active")
    level = state.get("level")
    if level not in LEVELS:
        level = "warning"
    folders = [run_dir for run_dir, _ in spools(root)]
    every = []
    for run_dir in folders:
        with contextlib.suppress(OSError):
            every.append(read_spool(run_dir))
    latest = [entry.alert for entry in in_order(every) if entry.alert is not None][-count:]
    told = []
    for channel_id in active if isinstance(active, list) else []:
        channel = channels.get(channel_id)
        if not isinstance(channel, dict):
            continue
        pending = 0
        for run_dir in folders:
            with contextlib.suppress(OSError):
                place = place_in(state, channel_id, run_dir.name)
                pending += sum(is_wanted(e, level) for e in read_spool(run_dir, place))
        told.append(
            {
                "name": str(channel.get("name")),
                "pending": pending,
                "failures": channel.get("failures") or 0,
                "last_sent": channel.get("last_sent"),
                "last_error": channel.get("last_error") or "",
                "last_error_at": channel.get("last_error_at"),
            }
        )
    lock = root / "logs" / LOCK_NAME
    running = pidfile.is_held(lock)
    holder = read_pid_file(lock) if running else None
    return {
        "alerts": [asdict(alert) for alert in latest],
        "channels": told,
        "alerter": {"running": running, "pid": holder[0] if holder else None, "level": level},
    }
