"""The verbs that only look closely: status, logs. They change nothing.

They read state files and processes, so they answer at once even when a supervisor hangs, and also
when a config file is broken or gone. Standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import Any

from core import deaths
from core.console import Console
from core.errors import ExitCode
from core.i18n import t
from core.instance_manager import InstanceRegistry
from core.listing import collect, limits_words, local_time
from core.log_files import follow, tail
from core.masking import escape_controls
from core.targets import resolve_targets

_WELL = frozenset({"RUNNING", "STOPPED", "EXITED"})
"""States in which nobody asks what the last child said when it died."""

STREAMS = {"daemon": "daemon.log", "stdout": "bot_stdout.log", "stderr": "bot_stderr.log"}


def status(args: argparse.Namespace, root: Path, console: Console) -> int:
    """Show where instances stand; 0 RUNNING, 3 STOPPED, EXITED or unknown, 1 any other."""
    targets = resolve_targets(root, args.ids, args.config, instance_id=args.instance_id)
    entries = {entry["instance_id"]: entry for entry in collect(root, include_all=True)}
    records = InstanceRegistry(root).load()
    codes, shown = [], []
    for target in targets:
        name = target.instance_id
        entry = entries.get(name)
        if entry is None:
            console.complain("{id}: unknown instance", id=name)
            shown.append({"instance_id": name, "state": None, "is_alive": False})
            codes.append(int(ExitCode.NOT_RUNNING))
            continue
        record = records.get(name, {})
        last = next(iter(deaths.load(target.folder)), None)
        reason = entry["reason"]
        if reason is None and entry["orders_unsettled"]:
            reason = t("its orders are not proven gone")
        entry = {**entry, "reason": reason, "last_death": last}
        entry["config_fault"] = record.get("config_fault") or None
        shown.append(entry)
        codes.append(_status_code(entry["state"]))
        if not console.as_json:
            _show(entry, console)
    if console.as_json:
        console.emit(shown[0] if len(shown) == 1 else shown)
    return max(codes, key=(int(ExitCode.OK), int(ExitCode.NOT_RUNNING), 1).index, default=0)


def logs(args: argparse.Namespace, root: Path, console: Console) -> int:
    """Print the last lines of one log, and with -f every new one."""
    target = resolve_targets(root, [args.id])[0]
    if not target.is_known:
        console.complain("{id}: unknown instance", id=target.instance_id)
        return ExitCode.FAILED
    name = STREAMS[args.stream]
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        lines = (
            follow(target.log_dir(), name, args.lines)
            if args.follow
            else iter(tail(target.log_dir(), name, args.lines))
        )
        for line in lines:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    return ExitCode.OK


def _status_code(state: str) -> int:
    if state == "RUNNING":
        return int(ExitCode.OK)
    return int(ExitCode.NOT_RUNNING if state in ("STOPPED", "EXITED") else ExitCode.FAILED)


def _show(entry: dict[str, Any], console: Console) -> None:
    console.say("{id}: {state}", id=entry["instance_id"], state=entry["state"])
    rows = (
        ("supervisor", entry["pid"]),
        ("bot", entry["bot_pid"]),
        ("page", entry["web_url"]),
        ("config", entry["config_file"]),
        ("started", local_time(entry["started_at"])),
        ("restarts", entry["restarts"]),
        ("limits", limits_words(entry)),
        ("reason", entry["reason"]),
        ("config", _unapplied(entry["config_fault"])),
        ("last exit", _ended(entry["last_death"])),
        ("hint", entry["hint"]),
    )
    for name, value in rows:
        if value not in (None, ""):
            console.say("  {name} {value}", name=f"{name:<11}", value=str(value))
    if entry["last_death"] is not None and entry["state"] not in _WELL:
        for line in last_words(entry["last_death"]):
            console.say("    {line}", line=line)


def _unapplied(fault: str | None) -> str | None:
    return None if fault is None else t("the file's last change is not in force: ") + fault


def _ended(record: dict[str, Any] | None) -> str | None:
    if record is None:
        return None
    return escape_controls(f"{local_time(record.get('at'))} {deaths.summary(record)}")


def last_words(record: dict[str, Any], count: int = 10) -> list[str]:
    """Take the last lines of a dead child: of its errors, else of its output."""
    log = record.get("log")
    for name in ("bot_stderr.log", "bot_stdout.log"):
        lines = log.get(name) if isinstance(log, dict) else None
        if isinstance(lines, list) and any(str(line).strip() for line in lines):
            return [escape_controls(str(line), keep="\t") for line in lines[-count:]]
    return []
