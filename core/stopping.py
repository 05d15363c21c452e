"""The verb that brings instances down, whatever state they are in.

What should run is changed first, before any signal. A living supervisor is told over its control
channel, or by SIGTERM when it does not answer; one that is still there when its time is over is
KILLed. Where then only a bot lives, or a dead one may have left
orders, a supervisor is forked that adopts, stops, finishes and ends. All are told before any is
waited for. Standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

from core import pidfile, process
from core.console import Console
from core.control import ControlClient, ControlError, Message, connect
from core.desired import Desired
from core.errors import ExitCode, GridfleetError, StoreError
from core.i18n import t
from core.identity import LockTable, ProcessId, identify
from core.instance_manager import InstanceRegistry
from core.launch import Launch, Launched, launch, wait_all
from core.spec import ChildSpec, HealthSettings
from core.supervision_types import FINISH_FLOOR_S, Stop
from core.targets import Target, resolve_targets

_UNPROVEN = "stopped, but its orders are not proven gone: look at the exchange, or stop {id} again"
_ANSWER_S = 5.0
_LOOK_S = 0.2
_KILL_S = 5.0
_NOBODY: dict[str, Any] = {"pid": None, "bot_pid": None}
_MARGIN_S = 20.0  # beyond stop_timeout, the finish step and the kills, for a machine under load


def stop(args: argparse.Namespace, root: Path, console: Console) -> int:
    """Stop instances; returns when their processes are gone and their orders are cancelled."""
    targets = resolve_targets(
        root, args.ids, args.config, instance_id=args.instance_id, all_registered=args.all
    )
    work = _Stopping(
        root,
        console,
        close_positions=args.close_positions,
        keep_orders=args.keep_orders,
        keep_wanted=args.keep_wanted,
    )
    work.forget(targets)
    locks = LockTable()
    for target in targets:
        work.begin(target, locks)
    return work.finish()


class _Stopping:
    """Several instances on their way down."""

    def __init__(
        self,
        root: Path,
        console: Console,
        *,
        close_positions: bool,
        keep_orders: bool,
        keep_wanted: bool,
    ) -> None:
        self._root = root
        self._console = console
        self._close_positions = close_positions
        self._keep_orders = keep_orders
        self._keep_wanted = keep_wanted
        self._registry = InstanceRegistry(root)
        self._told: list[tuple[Target, ControlClient]] = []
        self._waiting: list[Launched] = []
        self._targets: list[Target] = []
        self._pidfds: dict[str, int] = {}
        self._supervisors: dict[str, ProcessId] = {}
        self._late: set[str] = set()
        self._staying: set[str] = set()
        self._records: dict[str, dict[str, Any]] = {}
        self._silent: list[Target] = []
        self._results: list[Message] = []
        self._failed = False

    def forget(self, targets: list[Target]) -> None:
        """Note that they should not run any more, before any signal."""
        known = [target.instance_id for target in targets if target.is_known]
        try:
            if known and not self._keep_wanted:
                Desired(self._root).remove(*known)
        except (StoreError, OSError) as error:
            self._console.complain("warning: {text}", text=str(error))

    def begin(self, target: Target, locks: LockTable) -> None:
        """Tell whoever must know; no waiting yet, not even for an answer."""
        if not target.is_known:
            self._fail(target, "unknown instance; see: daemon_manager list --all")
            return
        self._targets.append(target)
        alive = self._registry.liveness(target.instance_id, target.record, locks)
        if alive.pid is not None:
            self._tell(target, alive.pid)
        elif alive.bot_pid is not None or self._may_rest(target):
            self._fork(target)

    def finish(self) -> int:
        """Wait for all, report each, and return the exit code."""
        self._hear_answers()
        wait_all(self._waiting, self._note_late)
        self._waiting = []
        for target in self._silent:
            self._end_silent(target)
        wait_all(self._waiting, self._note_late)
        self._wait_ends()
        self._records = self._registry.load()
        locks = LockTable()
        for target in self._targets:
            self._report(target, locks)
        if self._console.as_json:
            one = len(self._results) == 1
            self._console.emit(self._results[0] if one else self._results)
        return ExitCode.FAILED if self._failed else ExitCode.OK

    def _tell(self, target: Target, pid: int) -> None:
        me = identify(pid)
        pidfd = process.open_pidfd(me.pid, me.start) if me is not None else None
        if me is None or pidfd is None:
            return  # it ended just now
        self._supervisors[target.instance_id] = me
        self._pidfds[target.instance_id] = pidfd
        try:
            client = connect(target.folder, pid)
            client.send(
                "stop",
                watch=True,
                close_positions=self._close_positions,
                keep_orders=self._keep_orders,
            )
        except ControlError:
            self._signal(target)
            return
        self._told.append((target, client))

    def _hear_answers(self) -> None:
        """Take the answers of all who were told; who gives none is told by a signal."""
        deadline = time.monotonic() + _ANSWER_S
        for target, client in self._told:
            spec = target.spec()
            try:
                # Whoever comes after one that is silent has long answered: its words are there.
                client.answer(max(deadline, time.monotonic() + _LOOK_S))
            except ControlError:
                self._signal(target)
                continue
            fd, buffer = client.detach()
            assert spec is not None  # a supervisor that answers has accepted one
            due = time.monotonic() + patience_s(spec)
            one = Launched(spec=spec, fd=fd, deadline=due, to_stop=True)
            if buffer:
                one.feed(buffer)
            self._waiting.append(one)

    def _signal(self, target: Target) -> None:
        """Stop it without the options; one that was stopped itself must go on first."""
        pidfd = self._pidfds[target.instance_id]
        pid = self._supervisors[target.instance_id].pid
        if process.holds_lock(pid, target.folder / pidfile.SUPERVISOR_LOCK):
            process.send(pidfd, signal.SIGTERM)
            process.send(pidfd, signal.SIGCONT)
            self._silent.append(target)

    def _fork(self, target: Target) -> None:
        spec = target.spec()
        if spec is None:
            self._fail(
                target,
                "{path} is gone, so nobody can tell how to stop it",
                path=str(target.folder / "spec.json"),
            )
            return
        self._waiting += launch(
            Launch(
                spec=spec,
                started_at=str(target.record.get("started_at") or ""),
                wait_s=patience_s(spec),
                first=Stop(keep_orders=self._keep_orders),
                to_stop=True,
                keep_desired=False,
            )
        )

    def _end_silent(self, target: Target) -> None:
        """KILL a supervisor that never answered and did not go; another one stops its bot."""
        pidfd = self._pidfds[target.instance_id]
        if process.wait_gone([pidfd], patience_s(target.spec())):
            return
        process.send(pidfd, signal.SIGKILL)
        words = "{id}: its supervisor (pid {pid}) did not answer and was killed"
        pid = self._supervisors[target.instance_id].pid
        self._console.complain(words, id=target.instance_id, pid=pid)
        if process.wait_gone([pidfd], _KILL_S):
            self._fork(target)

    def _may_rest(self, target: Target) -> bool:
        """Whether a dead bot may have left orders, or leftovers hold its lock."""
        return bool(
            target.record.get("orders_unsettled")
            or (target.folder / pidfile.BOT_PID).exists()
            or pidfile.is_held(target.folder / pidfile.BOT_LOCK)
        )

    def _note_late(self, one: Launched) -> None:
        if one.outcome == "late":
            self._late.add(one.spec.instance_id)
        elif one.error:
            self._console.complain("{error}", error=one.error)

    def _wait_ends(self) -> None:
        """Wait until every supervisor that was told is gone, out of the process table too."""
        for target in self._targets:
            pidfd = self._pidfds.get(target.instance_id)
            if pidfd is None:
                continue
            is_late = target.instance_id in self._late
            if not process.wait_gone([pidfd], 0.0 if is_late else patience_s(target.spec())):
                self._staying.add(target.instance_id)
            os.close(pidfd)
        for instance_id in self._pidfds.keys() - self._staying:
            process.wait_reaped(self._supervisors[instance_id])

    def _report(self, target: Target, locks: LockTable) -> None:
        instance_id = target.instance_id
        if any(result["instance_id"] == instance_id for result in self._results):
            return  # its failure is told
        if instance_id in self._staying:
            self._fail(
                target,
                "its supervisor did not end; see: daemon_manager logs {id} --stream daemon",
                id=instance_id,
            )
            return
        record = self._records.get(instance_id, {})
        alive = self._registry.liveness(instance_id, record, locks)
        if alive.is_any_alive:
            words = "still alive: supervisor {pid}, bot {bot}"
            self._fail(target, words, pid=alive.pid, bot=alive.bot_pid)
            return
        if record and record.get("status") != "STOPPED":
            with contextlib.suppress(GridfleetError, OSError):
                self._registry.update(instance_id, status="STOPPED", reason="", **_NOBODY)
        if record.get("orders_unsettled") and not self._keep_orders:
            self._fail(
                target,
                _UNPROVEN,
                id=instance_id,
            )
            return
        self._results.append({"instance_id": instance_id, "ok": True, "state": "STOPPED"})
        self._console.say("{id}: STOPPED", id=instance_id)

    def _fail(self, target: Target, words: str, **values: object) -> None:
        self._failed = True
        error = words.format(**values) if values else words
        self._results.append({"instance_id": target.instance_id, "ok": False, "error": error})
        self._console.complain("{id}: {error}", id=target.instance_id, error=t(words, **values))


def patience_s(spec: ChildSpec | None) -> float:
    """How long a stop may take: TERM and KILL of the bot, then of the finish step."""
    stop_timeout = spec.health.stop_timeout if spec is not None else HealthSettings().stop_timeout
    return stop_timeout + max(stop_timeout, FINISH_FLOOR_S) + _MARGIN_S
