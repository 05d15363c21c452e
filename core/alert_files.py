"""Where alerts are kept, and how a place in them is named.

    logs/{id}/alerts.jsonl      one JSON line an alert; supervisor and bot append to it
    logs/{id}/alerts.1.jsonl    the file before it, whole
    logs/alerter.json           how far each channel has come: the alerter's alone

A place in a spool is `{file id: offset}`, with an entry for each of the two files: a writer that
had opened a file before it was renamed may still append to it. A file's id is that of its first
alert. An inode number would not do: the kernel gives the number of a file that is gone to the next
one, and a place in the old would pass for a place in the new.

Standard library only: a supervisor loads this.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.alert_lines import VERSION
from core.paths import read_limited

SPOOL_NAME = "alerts.jsonl"
OLD_NAME = "alerts.1.jsonl"
ROTATE_LOCK = ".alerts.lock"
STATE_NAME = "alerter.json"

_HEAD = 256  # bytes; an id is at most 100
_STATE_MAX = 16 << 20


def state_path(root: Path) -> Path:
    """Name the file in which the alerter keeps how far it has come."""
    return root / "logs" / STATE_NAME


def load_state(root: Path) -> dict[str, Any]:
    """Read the alerter's state; empty when there is no whole one: then all is undelivered."""
    try:
        raw = json.loads(read_limited(state_path(root), _STATE_MAX, follow=False))
    except (OSError, ValueError, RecursionError):
        return {}
    return raw if isinstance(raw, dict) and raw.get("v") == VERSION else {}


def place_in(state: Mapping[str, Any], channel: str, instance_id: str) -> dict[str, int]:
    """Give a channel's place in one instance's spool; empty: at its beginning."""
    found: Any = state
    for key in ("channels", channel, "spools", instance_id):
        found = found.get(key) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        return {}
    return {str(k): v for k, v in found.items() if isinstance(v, int) and v >= 0}


def file_id(descriptor: int) -> str:
    """Name an open spool file by its first alert's id; "" while it holds no whole line."""
    head = os.pread(descriptor, _HEAD, 0)
    line, newline, _ = head.partition(b"\n")
    if not newline and len(head) < _HEAD:
        return ""
    words = line.split(b'"')  # {"v": 1, "id": "...", ...; or what a full disk left of such a line
    return (words[5] if len(words) > 6 else line).decode("ascii", "replace")


def start_in(descriptor: int, size: int, place: Mapping[str, int]) -> int:
    """Where to read on in an open file: behind what was taken, else at its beginning.

    A place that is beyond the end, or within a line, is not this file's any more (a power cut
    took its last lines back): it is read again as a whole, which repeats and loses nothing.
    """
    offset = place.get(file_id(descriptor), 0)
    if offset == 0:
        return 0
    if offset > size or os.pread(descriptor, 1, offset - 1) != b"\n":
        return 0
    return offset
