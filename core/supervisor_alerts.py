"""What of a supervisor's log is an alert: its log, which passes such events on to the spool.

| event of daemon.log | alert |
| --- | --- |
| FATAL | critical: given up |
| the child's end, unless asked for or with 0 | warning: how it ended, from the death record |
| UNHEALTHY for `UNHEALTHY_S` | warning; and info when that is over |
| the finish step failed | critical: orders may rest |
| a config refused at reload, a grid not moved | warning |
| a bot adopted | warning: it was without a supervisor |
| CPU over its limit (with `warn`) | warning |
| the supervisor itself failed | critical |
| EXITED | info |

Rules it keeps: an event only puts a value on a list; the loop writes it at its next turn, so that
nothing stands between a bot's death and its successor, and the death record is there by then. What
can't be written costs a line in the log, never supervision. Standard library only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from core import deaths
from core.alert_spool import AlertSpool
from core.log_files import JsonLineLog
from core.supervision_types import State

UNHEALTHY_S = 120.0  # four probes of the usual interval: an exchange's short maintenance passes

_SETTLE = "orders may rest on the exchange; settle them: daemon_manager stop {id}"
_ASKED = ("stop", "restart")
_ENDS = ("child_exited", "child_ended_unwatched", "spawn_failed")
_PLAIN: Mapping[str, tuple[str, str, str, str]] = {
    # event: (level, kind, words, the field that says more)
    "finish_failed": ("critical", "finish_failed", f"the finish step failed: {_SETTLE}", "error"),
    "finish_ended": ("critical", "finish_failed", f"the finish step failed: {_SETTLE}", ""),
    "reload_refused": ("warning", "config_refused", "the changed config was refused", "error"),
    "spec_refused": ("warning", "config_refused", "the changed config was refused", "error"),
    "adjust_refused": ("warning", "config_refused", "the changed config was refused", "error"),
    "child_adopted": (
        "warning",
        "adopted",
        "the bot traded on without a supervisor and is watched again",
        "",
    ),
    "cpu_over_limit": ("warning", "cpu", "the bot takes too much CPU", "detail"),
    "supervisor_failed": (
        "critical",
        "supervisor_failed",
        "the supervisor failed; its bot is on its own: daemon_manager start --config FILE",
        "",
    ),
}


class AlertingLog(JsonLineLog):
    """A supervisor's daemon.log that raises alerts; `next_due` and `on_timer` are for its loop."""

    def __init__(
        self,
        log_dir: Path,
        run_dir: Path,
        instance_id: str,
        *,
        static: Mapping[str, object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(log_dir, static=static)
        self._run_dir = run_dir
        self._id = instance_id
        self._clock = clock
        self._spool = AlertSpool(
            run_dir, instance_id, "supervisor", on_drop=self._tell_drop, clock=clock
        )
        self._pending: list[tuple[str, str, str]] = []
        self._ended: list[Mapping[str, object]] = []  # children whose death is to be told
        self._state = ""
        self._unhealthy_at: float | None = None  # when it will have lasted too long
        self._unhealthy_for = ""
        self._was_told = False  # that it is unhealthy

    def event(self, name: str, level: str = "info", **fields: object) -> bool:
        """Write one event; what is an alert waits for the loop's next turn."""
        written = super().event(name, level, **fields)
        try:
            self._notice(name, level, fields)
        except Exception as error:  # as for a log line: never the end of the one who logs
            self._tell_drop(type(error).__name__, 1)
        return written

    def next_due(self) -> float | None:
        """When `on_timer` has something to do."""
        if self._pending or self._ended:
            return self._clock()
        dues = (self._unhealthy_at, self._spool.next_due())
        return min((due for due in dues if due is not None), default=None)

    def on_timer(self, now: float) -> None:
        """Write what waits."""
        if self._unhealthy_at is not None and now >= self._unhealthy_at:
            self._unhealthy_at, self._was_told = None, True
            words = f"unhealthy for {UNHEALTHY_S:.0f} s: {self._unhealthy_for}"
            self._pending.append(("warning", "unhealthy", words))
        ended, self._ended = self._ended, []
        pending, self._pending = self._pending, []
        for fields in ended:
            alert = self._death(fields)
            if alert is not None:
                self._spool.add(*alert)
        for alert in pending:
            self._spool.add(*alert)
        due = self._spool.next_due()
        if due is not None and now >= due:
            self._spool.tell_repeats()

    def close(self) -> None:
        """Write what waits and close the file; the next event opens it again."""
        self.on_timer(self._clock())
        self._spool.tell_repeats(at_end=True)
        super().close()

    def _notice(self, name: str, level: str, fields: Mapping[str, object]) -> None:
        if name == "state_changed":
            self._follow(str(fields.get("to")), str(fields.get("reason") or ""))
        elif name in _ENDS:
            self._ended.append(fields)
        elif name in _PLAIN and not (name == "finish_ended" and level == "info"):
            alert_level, kind, words, more = _PLAIN[name]
            text = words.format(id=self._id)
            if fields.get(more):
                text += f": {fields[more]}"
            self._pending.append((alert_level, kind, text))

    def _follow(self, state: str, reason: str) -> None:
        """Take a change of state."""
        self._state = state
        if state == State.UNHEALTHY.value:
            self._unhealthy_at, self._unhealthy_for = self._clock() + UNHEALTHY_S, reason
            return
        self._unhealthy_at = None
        if state == State.RUNNING.value and self._was_told:
            self._pending.append(("info", "recovered", "healthy again"))
        self._was_told = False
        if state == State.FATAL.value:
            words = f"given up: {reason}; see: daemon_manager logs {self._id}"
            self._pending.append(("critical", "fatal", words))
        elif state == State.EXITED.value:
            self._pending.append(("info", "exited", f"ended by itself: {reason or 'finished'}"))

    def _death(self, fields: Mapping[str, object]) -> tuple[str, str, str] | None:
        """Say how a child ended; None where that was asked for, or was its ordinary end."""
        pid = fields.get("child", 0)
        record = next((one for one in deaths.load(self._run_dir) if one.get("pid") == pid), None)
        if record is None:  # it could not be kept: the event says less
            why = fields.get("error") or fields.get("cause") or ""
            record = {"cause": "exit", "code": fields.get("code"), "reason": why}
        cause = str(record.get("cause"))
        if cause in _ASKED or (cause, record.get("code")) == ("exit", 0):
            return None
        then = {
            State.FATAL.value: "it stays down",
            State.STOPPED.value: "it stays down",
            State.BACKOFF.value: "it will be started again",
            State.FINISHING.value: "its orders are being cancelled",
        }.get(self._state, "it was started again")
        return "warning", cause, f"the bot ended ({deaths.summary(record)}); {then}"

    def _tell_drop(self, why: str, count: int) -> None:
        super().event("alert_dropped", "error", error=why, dropped=count)
