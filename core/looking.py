"""The verbs that only look: status, list, logs, validate. They change nothing.

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

from core.claims import find_clashes
from core.config_files import DEFAULT_CONFIG
from core.config_manager import load_specs_in_child
from core.console import Console
from core.errors import ConfigError, ExitCode
from core.instance_manager import InstanceRegistry
from core.listing import collect, local_time, render_table
from core.log_files import follow, tail
from core.preflight import run_check
from core.spec import ChildSpec
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


def validate(args: argparse.Namespace, root: Path, console: Console) -> int:
    """Make every check that a start would make, and start nothing."""
    reports = []
    for name in args.config or [str(DEFAULT_CONFIG)]:
        reports.append(_validate_one(name, args.instance_id, root, console))
    if console.as_json:
        console.emit(reports[0] if len(reports) == 1 else reports)
    codes = [int(report["exit_code"]) for report in reports]
    return ExitCode.USAGE if ExitCode.USAGE in codes else max(codes, default=0)


def _validate_one(
    name: str, instance_id: str | None, root: Path, console: Console
) -> dict[str, Any]:
    result = load_specs_in_child([name], root, instance_id)[0]
    faults = list(result.faults)
    report: dict[str, Any] = {"config_file": name, "instance_id": None, "check": None}
    code = int(ExitCode.USAGE) if faults else int(ExitCode.OK)
    if result.spec is not None:
        report["instance_id"] = result.spec.instance_id
        report["config_file"] = result.spec.config_path
        faults += claim_faults(InstanceRegistry(root), result.spec)
        code = int(ExitCode.USAGE) if faults else int(ExitCode.OK)
        if not faults and result.spec.is_bot:
            check = run_check(result.spec)
            report["check"] = {"exit_code": check.code, "output": check.output}
            if check.output and not console.as_json:
                console.say("{text}", text=check.output.rstrip())
            if check.code != 0:
                code = int(ExitCode.USAGE if check.code == ExitCode.USAGE else ExitCode.FAILED)
    for warning in result.warnings:
        console.complain("warning: {text}", text=warning)
    for fault in faults:
        console.complain("{fault}", fault=fault)
    if code == 0:
        console.say("{config}: valid", config=report["config_file"])
    return {
        **report,
        "valid": code == 0,
        "exit_code": code,
        "faults": faults,
        "warnings": list(result.warnings),
    }


def claim_faults(registry: InstanceRegistry, spec: ChildSpec) -> list[str]:
    """Name what another living instance holds of what the spec wants, without claiming it."""
    try:
        records = registry.load()
    except ConfigError as error:
        return list(error.faults)
    faults = []
    for name, record in sorted(records.items()):
        if name == spec.instance_id:
            continue
        if registry.liveness(name, record).is_any_alive:
            faults += [
                f"{spec.config_path}: {clash} is held by instance {name}"
                for clash in find_clashes(spec, record)
            ]
    return faults


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
