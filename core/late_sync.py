"""What a start has written comes to the disk when nobody waits for it any more.

Not before the start of the bot: until it is done, the user's own file and `desired.json`, which the
command has written through, are enough to start it again. Standard library only.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

from core.accepted import sync_accepted
from core.instance_manager import InstanceRegistry
from core.log_files import JsonLineLog

_SYNC_S = 0.5  # after its start, to twice of it: fifty do not ask for the disk at once


class LateSync:
    """One instance's accepted config and record."""

    def __init__(
        self, run_dir: Path, registry: InstanceRegistry, instance_id: str, log: JsonLineLog
    ) -> None:
        self._run_dir = run_dir
        self._registry = registry
        self._id = instance_id
        self._log = log
        self._due: float | None = None

    def begin(self) -> None:
        """See to it soon."""
        self._due = time.monotonic() + _SYNC_S * (1 + random.random())

    def next_due(self) -> float | None:
        """When `on_timer` has something to do."""
        return self._due

    def on_timer(self, now: float) -> None:
        """Wait for the disk, if it is time."""
        if self._due is None or now < self._due:
            return
        self._due = None
        try:
            sync_accepted(self._run_dir)
            self._registry.sync(self._id)
        except OSError as error:
            self._log.event("not_synced", "error", error=str(error))
