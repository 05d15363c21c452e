"""The verb `validate`: every check that a start would make, and nothing started.

The config is checked in a short-lived process, what it claims is compared with what lives, and
the bot makes its own checks as `run.py --check`. Standard library only.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.claims import Places, find_clashes
from core.config_files import DEFAULT_CONFIG
from core.config_manager import SpecResult, load_specs_in_child
from core.console import Console
from core.errors import ConfigError, ExitCode
from core.instance_manager import InstanceRegistry
from core.ordered_start import check_order
from core.preflight import run_check
from core.spec import ChildSpec


def validate(args: argparse.Namespace, root: Path, console: Console) -> int:
    """Make every check that a start would make, and start nothing."""
    names = args.config or [str(DEFAULT_CONFIG)]
    results = load_specs_in_child(names, root, args.instance_id)
    specs = [result.spec for result in results if result.spec is not None]
    reports = [_validate_one(result, specs, root, console) for result in results]
    if console.as_json:
        console.emit(reports[0] if len(reports) == 1 else reports)
    codes = [int(report["exit_code"]) for report in reports]
    return ExitCode.USAGE if ExitCode.USAGE in codes else max(codes, default=0)


def _validate_one(
    result: SpecResult, specs: Sequence[ChildSpec], root: Path, console: Console
) -> dict[str, Any]:
    """Check one; `specs` are all that were given together."""
    faults = list(result.faults)
    report: dict[str, Any] = {
        "config_file": result.name,
        "instance_id": None,
        "check": None,
        "preflight": None,
    }
    refused: tuple[str, ...] = ()  # by the bot's own check, whose output has said so already
    warnings = list(result.warnings)
    told: list[str] = []
    code = int(ExitCode.USAGE) if faults else int(ExitCode.OK)
    if result.spec is not None:
        report["instance_id"] = result.spec.instance_id
        report["config_file"] = result.spec.config_path
        faults += claim_faults(InstanceRegistry(root), result.spec)
        mine, told = check_order(result.spec, specs, root)
        faults += mine
        warnings += told
        code = int(ExitCode.USAGE) if faults else int(ExitCode.OK)
        if not faults and result.spec.is_bot:
            check = run_check(result.spec, is_english=console.as_json)
            report["check"] = {"exit_code": check.code, "output": check.output}
            report["preflight"] = check.report.get("preflight")
            warnings += [str(words) for words in check.report.get("warnings", ())]
            refused = check.faults
            if check.output and not console.as_json:
                console.say("{text}", text=check.output.rstrip())
            elif refused:
                for fault in refused:
                    console.complain("{fault}", fault=fault)
            if check.code != 0:
                code = int(ExitCode.USAGE if check.code == ExitCode.USAGE else ExitCode.FAILED)
    for warning in (*result.warnings, *told):
        console.complain("warning: {text}", text=warning)
    for fault in faults:
        console.complain("{fault}", fault=fault)
    if code == 0:
        console.say("{config}: valid", config=report["config_file"])
    return {
        **report,
        "valid": code == 0,
        "exit_code": code,
        "faults": [*faults, *refused],
        "warnings": warnings,
    }


def claim_faults(registry: InstanceRegistry, spec: ChildSpec) -> list[str]:
    """Name what another living instance holds of what the spec wants, without claiming it."""
    try:
        records = registry.load()
    except ConfigError as error:
        return list(error.faults)
    faults = []
    places = Places()
    for name, record in sorted(records.items()):
        if name == spec.instance_id:
            continue
        clashes = find_clashes(spec, record, places)
        if clashes and registry.liveness(name, record).is_any_alive:
            faults += [
                f"{spec.config_path}: {clash} is held by instance {name}" for clash in clashes
            ]
    return faults
