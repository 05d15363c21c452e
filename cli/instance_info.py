"""`instance_cli info ID`: everything that the files tell of one instance.

The record and what lives now, the grid in force, the config last accepted (masked), the engine's
heartbeat, how the bot last ended, and the last lines of the three logs. Works whatever is running,
broken or gone.
"""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from cli.grid_in_force import grid_in_force, grid_words
from cli.instance_lookup import find_records
from core import deaths
from core.console import Console
from core.desired import Desired
from core.errors import ExitCode, StoreError
from core.health import read_beat
from core.i18n import t
from core.listing import describe, limits_words, local_time
from core.log_files import tail
from core.looking import last_words
from core.masking import escape_controls, mask_text, mask_value
from core.paths import read_limited, run_dir

LOGS = ("daemon.log", "bot_stdout.log", "bot_stderr.log")
LINES = 5
SHOWN_DEATHS = 5
_LIMIT = 1 << 20
_ENTRY_ROWS = (
    ("State", "state"),
    ("Supervisor PID", "pid"),
    ("Bot PID", "bot_pid"),
    ("Web page", "web_url"),
    ("Config file", "config_file"),
    ("Log directory", "log_dir"),
    ("Database", "db_path"),
    ("Restarts", "restarts"),
    ("Mode", "mode"),
    ("Exchange", "exchange"),
    ("Symbol", "symbol"),
    ("Reason", "reason"),
)


def info(instance_id: str, root: Path, console: Console) -> int:
    """Print it; 1 for an unknown id."""
    document = collect_info(instance_id, root)
    if console.as_json:
        console.emit(document)
    else:
        console.say("{text}", text=render_info(document))
    return ExitCode.OK


def collect_info(instance_id: str, root: Path) -> dict[str, Any]:
    """Gather the document that `--json` prints. Errors: as `find_records`."""
    record = find_records(root, instance_id)[0]
    folder = run_dir(root, instance_id)
    entry = describe(record, now=datetime.now().astimezone())
    log_dir = Path(record.get("log_dir") or folder)
    return {
        **entry,
        "grid": grid_in_force(entry, root),
        "record": mask_value(record),
        "should_run": _should_run(root, instance_id),
        "heartbeat": _heartbeat(folder, record),
        "last_exit": _read_json(folder / "exit.json"),
        "deaths": deaths.load(folder),
        "config": mask_value(_read_json(folder / "config.json")),
        "logs": {name: [mask_text(line) for line in tail(log_dir, name, LINES)] for name in LOGS},
    }


def render_info(document: dict[str, Any]) -> str:
    """Lay the document out for a person."""
    rows = [(t(title), document[key]) for title, key in _ENTRY_ROWS if document[key] is not None]
    rows += _grids(document["grid"], document["configured_grid"])
    if limits := limits_words(document):
        rows.append((t("Limits"), limits))
    rows.append((t("Started"), local_time(document["started_at"])))
    if document["uptime_s"] is not None:
        rows.append((t("Uptime"), _span(document["uptime_s"])))
    rows.append((t("Should run"), document["should_run"]))
    beat = document["heartbeat"]
    if beat is not None:
        rows.append((t("Last beat"), t("{age} s ago, loop {loops}", **beat)))
    ended = document["last_exit"]
    if isinstance(ended, dict):
        words = {key: ended.get(key) for key in ("code", "cause", "orders_left")}
        rows.append(
            (t("Last exit"), t("code {code}: {cause}; orders left: {orders_left}", **words))
        )
    lines = [escape_controls(document["instance_id"]), *_columns(rows)]
    if document["hint"]:
        lines += ["", _text(document["hint"])]
    config = document["config"]
    if isinstance(config, dict):
        for section in ("strategy_config", "exchange_config"):
            if isinstance(config.get(section), dict) and config[section]:
                lines += ["", section, *_columns(list(config[section].items()))]
    lines += _deaths(document["deaths"])
    for name, last in document["logs"].items():
        if last:
            lines += ["", name, *("  " + escape_controls(line, keep="\t") for line in last)]
    return "\n".join(lines)


def _grids(grid: dict[str, Any] | None, configured: str | None) -> list[tuple[str, Any]]:
    """Show the grid in force, and the config's where it is not known or says something else."""
    rows: list[tuple[str, Any]] = []
    if grid is not None:
        rows.append((t("Grid"), grid_words(grid)))
    if configured and (grid is None or grid_words(grid) != configured):
        rows.append((t("Grid of the config"), configured))
    return rows


def _deaths(records: list[dict[str, Any]]) -> list[str]:
    """List how the last processes ended, newest first, with the newest one's last lines."""
    if not records:
        return []
    lines = ["", t("Earlier processes")]
    lines += [
        f"  {local_time(record.get('at'))}  {_text(record.get('pid'))}  "
        + escape_controls(deaths.summary(record))
        for record in records[:SHOWN_DEATHS]
    ]
    said = last_words(records[0], deaths.LINES)
    return (
        [*lines, "", t("Last lines of process {pid}", pid=_text(records[0].get("pid")))]
        + [f"  {line}" for line in said]
        if said
        else lines
    )


def _columns(rows: list[tuple[str, Any]]) -> list[str]:
    from core.table import display_width

    width = max(display_width(str(name)) for name, _ in rows)
    return [
        f"  {_text(name)}{' ' * (width - display_width(str(name)))}  {_text(value)}"
        for name, value in rows
    ]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return t("yes") if value else t("no")
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False)
    return "-" if value is None else escape_controls("; ".join(str(value).splitlines()))


def _span(seconds: float) -> str:
    """Show a duration as `2d 03:04:05`."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return (f"{days}d " if days else "") + f"{hour:02d}:{minute:02d}:{second:02d}"


def _should_run(root: Path, instance_id: str) -> bool | None:
    """Tell whether `resurrect` would start it; None: the file that says so is damaged."""
    try:
        return instance_id in Desired(root).load()
    except StoreError:
        return None


def _heartbeat(folder: Path, record: dict[str, Any]) -> dict[str, Any] | None:
    """Read the engine's last beat, if it is of the bot that runs now."""
    beat = read_beat(folder / "heartbeat")
    if beat is None or beat.pid != record.get("bot_pid"):
        return None
    age = round(max(0.0, time.monotonic() - beat.mono), 1)
    return {"age": age, "loops": beat.loops, "ready": beat.ready}


def _read_json(path: Path) -> Any:
    try:
        return json.loads(read_limited(path, _LIMIT, follow=False))
    except (OSError, ValueError, RecursionError):
        return None
