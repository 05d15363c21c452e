"""Changes of the registry that wait to be written: `logs/.changes`, a small file each.

A writer that finds the registry's lock taken posts its change here and goes on waiting. Whoever has
the lock next applies everything that was posted, saves once, and removes what it has taken: a
change whose file is gone is in the registry, as soon as the lock is free. So fifty supervisors
that tell of themselves at once cost a few writes, and a change whose poster died is taken by the
next writer.

Rules it keeps: `post` needs no lock, everything else the registry's; a file appears whole; changes
apply in the order of their posting, those from before a reboot first. Standard library only.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from core.files import make_private_dir, publish
from core.identity import boot_id
from core.paths import is_safe_name, read_limited

_LIMIT = 1 << 20
_numbers = itertools.count()


class Change(NamedTuple):
    """Fields of one instance's record, as they shall be."""

    path: Path
    instance_id: str
    fields: dict[str, Any]


class Changes:
    """The folder under one root."""

    def __init__(self, logs: Path) -> None:
        self._folder = logs / ".changes"

    def post(self, instance_id: str, fields: dict[str, Any]) -> Path:
        """Leave a change for whoever has the lock next; its file. Errors: OSError."""
        make_private_dir(self._folder)
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        path = self._folder / f"{now:020d}-{os.getpid()}-{next(_numbers)}"
        told = {"id": instance_id, "fields": fields, "boot": boot_id()}
        publish(path, json.dumps(told, default=str), durable=False)
        return path

    def posted(self) -> list[Change]:
        """What waits, in the order in which it applies; the lock must be held."""
        try:
            names = sorted(os.listdir(self._folder))  # noqa: PTH208 - names alone
        except OSError:
            return []
        found: list[tuple[bool, Change]] = []
        for name in names:
            if name.startswith("."):
                continue  # is being written
            path = self._folder / name
            try:
                raw = json.loads(read_limited(path, _LIMIT, follow=False))
                change = Change(path, str(raw["id"]), dict(raw["fields"]))
            except FileNotFoundError:
                continue  # was withdrawn
            except (OSError, ValueError, TypeError, KeyError, RecursionError):
                self.drop([path])  # nobody of ours wrote this
                continue
            if is_safe_name(change.instance_id):
                found.append((raw.get("boot") == boot_id(), change))
            else:
                self.drop([path])
        return [change for _, change in sorted(found, key=lambda item: item[0])]

    def drop(self, paths: list[Path]) -> None:
        """Remove what has been written, or is withdrawn."""
        for path in paths:
            with contextlib.suppress(OSError):
                path.unlink()
