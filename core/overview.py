"""The verb `list`: one table of all instances, the same as `instance_cli list`.

It reads state files and processes alone, so it answers at once also when a supervisor hangs; it
loads no more than that takes, since half of its time is the loading. Standard library only.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from core.console import Console
from core.errors import ExitCode
from core.listing import collect, is_shown, render_table


def list_instances(args: argparse.Namespace, root: Path, console: Console) -> int:
    """Print the table of instances, the same as `instance_cli list`."""
    every = collect(root, include_all=True)
    entries = [entry for entry in every if args.all or is_shown(entry)]
    if console.as_json:
        console.emit(entries)
    elif not entries:
        console.say("no instance runs")
    else:
        encoding = (sys.stdout.encoding or "ascii").lower()
        plain = not encoding.startswith("utf")
        coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        console.say("{table}", table=render_table(entries, root, coloured=coloured, plain=plain))
    for entry in [] if console.as_json else every:
        if entry["orders_unsettled"] and entry not in entries:
            console.say("{id}: {hint}", id=entry["instance_id"], hint=entry["hint"])
    return ExitCode.OK
