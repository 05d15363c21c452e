"""An alert, and the line of JSON that it is in a spool. Pure, standard library only."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from core.masking import escape_controls

VERSION = 1
LEVELS = ("info", "warning", "critical")

_TEXTS = ("id", "time", "instance_id", "source", "level", "kind", "message")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert. `time` is ISO 8601 with zone; `id` is unique in the fleet.

    `source` is supervisor, bot or alerter, `level` one of LEVELS. `repeats`: how often it came
    unwritten before this line.
    """

    id: str
    time: str
    instance_id: str
    source: str
    level: str
    kind: str
    message: str
    repeats: int = 0

    def to_line(self) -> bytes:
        """Give its line; `v` and `id` stand first, which `core.alert_files.file_id` relies on."""
        return json.dumps({"v": VERSION, **asdict(self)}).encode("ascii") + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of a spool, and the place behind it. `alert` is None for one that can't be read."""

    alert: Alert | None
    instance_id: str
    file: str
    end: int


def parse_alert(line: bytes) -> Alert | None:
    """Read one line; None for anything that is no alert of ours."""
    try:
        raw: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(raw, dict) or raw.get("v") != VERSION:
        return None
    texts = {name: raw.get(name) for name in _TEXTS}
    if not all(isinstance(text, str) for text in texts.values()) or raw["level"] not in LEVELS:
        return None
    repeats = raw.get("repeats")
    clean = {name: escape_controls(str(text), keep="\n") for name, text in texts.items()}
    return Alert(**clean, repeats=repeats if isinstance(repeats, int) else 0)
