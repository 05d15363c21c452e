"""The alerter's look at the fleet: what lives, what is wanted; what it finds goes into the spools.

An alarm is appended to the instance's own spool and synced before it is noted as told: a kill
between the two repeats it, never loses it. What can't be written is tried at the next look.

A look asks nobody: locks, PID files and two state files, as `daemon_manager list` does. It takes
6 to 8 ms of CPU for 50 instances, every `LOOK_S`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from cli.alerting.episodes import DOWN, LOOK_S, ORPHANED, Alarm, Case, Seen, decide
from core.alert_files import SPOOL_NAME
from core.alert_spool import AlertSpool
from core.desired import Desired, Wanted
from core.errors import GridfleetError
from core.files import make_private_dir, sync_file
from core.identity import LockTable
from core.instance_manager import InstanceRegistry
from core.paths import is_safe_name, run_dir


class FleetWatch:
    """Looks every `LOOK_S`, and remembers what it told."""

    def __init__(self, root: Path, told: Mapping[str, str], *, tell: Callable[..., None]) -> None:
        """Go on from what the last alerter told: `{instance: "orphaned" or "down"}`."""
        self._root = root
        self._tell = tell
        self._registry = InstanceRegistry(root)
        self._desired = Desired(root)
        self._cases = {
            name: Case(told=kind) for name, kind in told.items() if kind in (ORPHANED, DOWN)
        }
        self._fault = ""
        self.next_at = 0.0  # monotonic

    @property
    def told(self) -> dict[str, str]:
        """Say which alarms stand: what the next alerter is to go on from."""
        return {name: case.told for name, case in self._cases.items() if case.told}

    def look(self, now: float) -> bool:
        """Look, and raise what is due; True when `told` has changed."""
        self.next_at = now + LOOK_S
        before = self.told
        try:
            fleet = self._look()
        except Exception as error:  # whatever it is, what is spooled goes on being delivered
            self._complain(f"{type(error).__name__}: {error}")
            return False
        alarms, self._cases = decide(fleet, self._cases)
        for alarm in alarms:
            if not self._raise(alarm):
                continue
            if alarm.after == Case():
                self._cases.pop(alarm.instance_id, None)
            else:
                self._cases[alarm.instance_id] = alarm.after
        return self.told != before

    def _look(self) -> dict[str, Seen]:
        """Errors: ConfigError, OSError when the registry can't be read."""
        wanted: Mapping[str, Wanted] | None
        fault = ""
        try:
            wanted = self._desired.load()
        except (GridfleetError, OSError, RecursionError) as error:
            wanted, fault = None, str(error)
        records = self._registry.load()
        locks = LockTable()
        fleet = {}
        for name in {*records, *(wanted or {})}:
            if not is_safe_name(name):
                continue
            record = records.get(name, {})
            alive = self._registry.liveness(name, record, locks)
            config_file = record.get("config_file")
            if config_file is None and wanted and name in wanted:
                config_file = wanted[name].config_path
            fleet[name] = Seen(
                has_supervisor=alive.pid is not None,
                has_bot=alive.bot_pid is not None,
                status=str(record.get("status")),
                is_wanted=None if wanted is None else name in wanted,
                config_file=config_file,
                is_paper=record.get("mode") in ("paper", ""),
            )
        self._complain(fault)
        return fleet

    def _raise(self, alarm: Alarm) -> bool:
        """Write an alarm where it stays; False: it is to be raised again at the next look."""
        folder = run_dir(self._root, alarm.instance_id)
        # A new one for each: an episode is told once anyway, and a count in memory could be lost.
        spool = AlertSpool(folder, alarm.instance_id, "alerter", on_drop=self._dropped)
        try:
            make_private_dir(folder)
            if not spool.add(alarm.level, alarm.kind, alarm.message):
                return False
            sync_file(folder / SPOOL_NAME)
        except OSError as error:
            self._dropped(str(error.strerror), 1)
            return False
        return True

    def _dropped(self, why: str, _: int) -> None:
        self._tell("an alert could not be written: {error}; again soon", error=why)

    def _complain(self, fault: str) -> None:
        """Say once what keeps it from seeing the whole fleet."""
        if fault and fault != self._fault:
            self._tell("the fleet could not be looked at: {error}", error=fault)
        self._fault = fault
