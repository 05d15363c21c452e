"""What a supervisor tells the world: its daemon.log, its record in the registry, its watchers.

Nothing here raises: a full disk or a busy registry costs a line, never supervision. A record is
written only when it changes. Standard library only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.chores import Chores
from core.control import ControlServer, Message
from core.desired import Desired, Wanted
from core.errors import GridfleetError
from core.instance_manager import InstanceRegistry
from core.log_files import clean_up, has_old_days
from core.paths import run_dir
from core.spec import ChildSpec
from core.supervision_types import State, SupervisorState
from core.supervisor_alerts import AlertingLog

_COMPRESSING_S = 600.0  # a gigabyte takes half a minute, on a busy disk several times that


class Teller:
    """One instance's voice."""

    def __init__(
        self,
        spec: ChildSpec,
        registry: InstanceRegistry,
        control: ControlServer,
        observe: Callable[[Message], None] | None,
    ) -> None:
        self._id = spec.instance_id
        self._registry = registry
        self._control = control
        self._observe = observe
        self._written: dict[str, Any] = {}
        self.log = AlertingLog(
            Path(spec.logs.log_dir),
            run_dir(Path(spec.root), spec.instance_id),
            spec.instance_id,
            static={"instance": spec.instance_id, "pid": os.getpid()},
        )

    def use_log_dir(self, log_dir: Path) -> None:
        """Write the next line of daemon.log there."""
        if log_dir != self.log.log_dir:
            self.log.close()
            self.log.log_dir = log_dir

    def changed(
        self, told: list[tuple[SupervisorState, SupervisorState, Message]], **more: Any
    ) -> None:
        """Log each change, write the last state to the registry, then tell whoever watches.

        In this order: who hears of a state finds it in the record.
        """
        for before, s, _ in told:
            if s.state is not before.state:
                level = "error" if s.state is State.FATAL else "info"
                fields = {"from": before.state.value, "to": s.state.value, "reason": s.reason}
                self.log.event("state_changed", level, **fields)
        _, now, message = told[-1]
        self.record(
            status=now.state.value,
            bot_pid=message["bot_pid"],
            restarts=now.total_restarts,
            reason=now.reason,
            exit_code=now.exit_code,
            orders_unsettled=message["orders_unsettled"],
            **more,
        )
        for before, s, message in told:
            if (s.state, s.total_restarts) != (before.state, before.total_restarts):
                event = {"event": "state", **message}
                self._control.broadcast(event)
                if self._observe is not None:
                    self._observe(event)

    def record(self, **fields: Any) -> None:
        """Change the record, if these fields are not in it already."""
        missing = object()
        if all(self._written.get(key, missing) == value for key, value in fields.items()):
            return
        try:
            self._registry.update(self._id, **fields)
        except (GridfleetError, OSError) as error:
            self.log.event("registry_failed", "error", error=str(error))
        else:
            self._written.update(fields)

    def forget_record(self) -> None:
        """Somebody else wrote the record: write it whole the next time."""
        self._written.clear()

    def enter_desired(self, root: Path, wanted: Wanted) -> None:
        """Note that it should run."""
        try:
            Desired(root).enter(self._id, wanted)
        except (GridfleetError, OSError) as error:
            self.log.event("desired_failed", "error", error=str(error))

    def drop_desired(self, root: Path) -> None:
        """Note that it should not run any more."""
        try:
            Desired(root).remove(self._id)
        except (GridfleetError, OSError) as error:
            self.log.event("desired_failed", "error", error=str(error))

    def clean(self, spec: ChildSpec, chores: Chores, in_use: frozenset[tuple[int, int]]) -> None:
        """Delete old logs, and compress old days in a process of their own."""
        logs, log_dir = spec.logs, Path(spec.logs.log_dir)
        try:
            done = clean_up(log_dir, logs.retention_days, logs.max_mb)
            is_due = has_old_days(log_dir)
        except OSError as error:
            self.log.event("cleaning_failed", "error", error=str(error))
            return
        if done.days:
            self.log.event("logs_cleaned", days=list(done.days), freed=done.freed)

        def compress() -> Message:
            from core.log_archive import compress_old

            return compress_old(log_dir, in_use=in_use)

        if is_due:
            chores.start("compressing", compress, self._compressed, _COMPRESSING_S)

    def _compressed(self, answer: Message) -> None:
        """Note what the compressing of old days brought."""
        if "error" in answer:
            self.log.event("compressing_failed", "error", error=str(answer["error"]))
        elif answer["files"]:
            self.log.event("logs_compressed", files=answer["files"], freed=answer["freed"])


def describe(
    spec: ChildSpec, s: SupervisorState, *, bot_pid: int | None, web_port: int, started_at: str
) -> Message:
    """Say where an instance stands, for the control channel and its watchers."""
    waits = s.state in (State.BACKOFF, State.FATAL) and s.deadline is not None
    return {
        "instance_id": spec.instance_id,
        "state": s.state.value,
        "want_up": s.want_up,
        "pid": os.getpid(),
        "bot_pid": bot_pid,
        "web_host": spec.web_host,
        "web_port": web_port,
        "started_at": started_at,
        "restarts": s.total_restarts,
        "reason": s.reason,
        "exit_code": s.exit_code,
        "orders_unsettled": s.unsettled and not s.state.has_child,
        "permanent": s.permanent,
        "next_try_s": (
            max(0.0, round(s.deadline - time.monotonic(), 1))
            if waits and s.deadline is not None
            else None
        ),
    }
