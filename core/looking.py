"""The verbs that only look: status, list, logs. They change nothing.

They read state files and processes, so they answer at once even when a supervisor hangs, and also
when a config file is broken or gone. Standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from core.console import Console
from core.errors import ExitCode
from core.instance_manager import InstanceRegistry
from core.listing import collect, local_time, render_table
from core.log_files import follow, tail
from core.targets import resolve_targets

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
        entry = {**entry, "reason": record.get("reason") or None}
        shown.append(entry)
        codes.append(_status_code(entry["state"]))
        if not console.as_json:
            _show(entry, console)
    if console.as_json:
        console.emit(shown[0] if len(shown) == 1 else shown)
    return max(codes, key=(int(ExitCode.OK), int(ExitCode.NOT_RUNNING), 1).index, default=0)


def list_instances(args: argparse.Namespace, root: Path, console: Console) -> int:
    """Print the table of instances, the same as `instance_cli list`."""
    entries = collect(root, include_all=args.all)
    if console.as_json:
        console.emit(entries)
    elif not entries:
        console.say("no instance runs")
    else:
        encoding = (sys.stdout.encoding or "ascii").lower()
        plain = not encoding.startswith("utf")
        coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        console.say("{table}", table=render_table(entries, root, coloured=coloured, plain=plain))
    return ExitCode.OK


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
        ("reason", entry["reason"]),
        ("hint", entry["hint"]),
    )
    for name, value in rows:
        if value not in (None, ""):
            console.say("  {name} {value}", name=f"{name:<11}", value=str(value))
