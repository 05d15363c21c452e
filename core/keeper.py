"""One instance's processes inside the loop: started, watched, drained, reaped, and told as events.

What lives here: the joint between `core.child` (how a process is run), `core.monitor` (its signs of
life) and the loop's descriptors. It decides nothing; everything that happens goes to `feed`.

Rules it keeps: an exit becomes an event only after the group is empty and the child is reaped, so a
successor never meets its predecessor; the last lines are drained before that; every `wait()` of the
process is here. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, assert_never

from core import deaths, pidfile, process
from core.bounds import Bounds, Witness
from core.child import ChildRunner, LeftoversError
from core.identity import read_pid_file
from core.log_files import JsonLineLog
from core.loop import READ, Loop
from core.monitor import Monitor, Notice
from core.output import Lost
from core.process import Child, ProcStat
from core.spawning import EXEC_FAILED, SpawnError
from core.spec import ChildSpec
from core.supervision_types import (
    Action,
    Event,
    Exited,
    Finished,
    Healthy,
    Kill,
    KillFinish,
    OrdersLeft,
    Spawn,
    StartFinish,
    Terminate,
    Watch,
)

_LAST_CHUNKS = 64  # 4 MB of last words; who writes more after its end has someone else writing


class Keeper:
    """The child and the finish step of one instance; at most one of the two exists."""

    def __init__(
        self,
        run_dir: Path,
        loop: Loop,
        log: JsonLineLog,
        feed: Callable[[Event], None],
        why: Callable[[], tuple[str, str]],
    ) -> None:
        """`why` gives the cause and the reason for which the child is being ended, if it is."""
        self._run_dir = run_dir
        self._loop = loop
        self._log = log
        self._feed = feed
        self._why = why
        self._was_killed = False
        self._bounds = Bounds(log)
        self._spare: set[int] = set()
        self._runner: ChildRunner | None = None
        self._child: Child | None = None
        self._finish: Child | None = None
        self._monitor: Monitor | None = None

    @property
    def child_pid(self) -> int | None:
        """The living child; None when there is none."""
        return self._child.pid if self._child is not None else None

    @property
    def limits(self) -> dict[str, Any]:
        """The limits over the child, and what the kernel has of them."""
        return self._bounds.describe(self.runner.spec)

    @property
    def runner(self) -> ChildRunner:
        assert self._runner is not None  # `use` comes first
        return self._runner

    def use(self, spec: ChildSpec, *, web_port: int, started_at: str) -> None:
        """Run this spec from now on; between two children. Errors: OSError, the old one stays."""
        runner = ChildRunner(spec, self._run_dir, web_port=web_port, started_at=started_at)
        runner.spare = self._spare
        if self._runner is not None:
            self._runner.close()
        self._runner = runner

    def change(self, spec: ChildSpec) -> None:
        """Go by this spec from now on, with the same child; only what needs no new one differs."""
        before, self.runner.spec = self.runner.spec, spec
        if self._monitor is not None:
            self._monitor.change(spec)
        if self._child is not None and before.limits != spec.limits:
            self._bounds.change(spec, self.runner.sample(self._child))
        if self._child is not None and spec.is_bot and before.logs.level != spec.logs.level:
            process.send(self._child.pidfd, signal.SIGHUP)  # it reads the level again

    def files_in_use(self) -> frozenset[tuple[int, int]]:
        """The files that the child writes into, as (device, inode)."""
        found = set()
        for number in (1, 2):
            with contextlib.suppress(OSError):
                info = os.stat(f"/proc/{self.child_pid}/fd/{number}")  # noqa: PTH116 - a descriptor
                found.add((info.st_dev, info.st_ino))
        return frozenset(found | self.runner.output.files_in_use())

    def spare(self, pid: int, *, ended: bool) -> None:
        """A helper process of ours is no member of the child's group, as long as it lives."""
        if ended:
            self._spare.discard(pid)
        else:
            self._spare.add(pid)

    # Acting ---------------------------------------------------------------------------------------

    def perform(self, action: Action, *, close_positions: bool) -> None:
        """Carry out what was decided; `close_positions` is for a Terminate."""
        match action:
            case Spawn():
                self._spawn()
            case Watch():
                self._watch_adopted()
            case Terminate():
                self._terminate(action, close_positions=close_positions)
            case Kill():
                self._kill()
            case StartFinish():
                self._start_finish()
            case KillFinish():
                self._kill_finish()
            case _:
                assert_never(action)

    def find(self) -> bool:
        """Look for a bot that lives already; True when there is one to adopt."""
        self._child = self.runner.find_live()
        return self._child is not None

    def end_leftovers(self) -> None:
        """End what a dead bot left running."""
        found = self.runner.clear_leftovers()
        if found:
            self._log.event("leftovers_ended", "warning", pids=found)

    def _watch_adopted(self) -> None:
        """Watch the bot that was found."""
        assert self._child is not None
        self._log.event("child_adopted", child=self._child.pid)
        self._bounds.find(self._child, self.runner.spec, self.runner.sample(self._child))
        self._watch(self._child, is_ready=True)

    def _spawn(self) -> None:
        """Start a child; a failure is told as its exit."""
        self._bounds.prepare(self.runner.spec)
        try:
            child = self.runner.spawn()
        except (SpawnError, LeftoversError, OSError) as error:
            self._log.event("spawn_failed", "error", error=str(error))
            code, left = EXEC_FAILED, OrdersLeft.UNTOUCHED
            self._note_death(
                deaths.make_record(pid=0, start=0, code=code, cause="spawn", reason=str(error)),
                None,
                None,
            )
            self._feed(Exited(code, left, random.random(), str(error)))
            return
        self._child = child
        self._was_killed = False
        spec = self.runner.spec
        self._bounds.enclose(child, spec)
        self._log.event("child_started", child=child.pid, program=spec.argv[0])
        self._watch(child, is_ready=False)
        if spec.health.check == "none":
            self._feed(Healthy())

    def _terminate(self, action: Terminate, *, close_positions: bool) -> None:
        """Tell the child why, and TERM its group."""
        assert self._child is not None
        self._log.event("child_stopping", child=self._child.pid, cause=action.cause.value)
        try:
            self.runner.terminate(
                self._child,
                action.cause,
                keep_orders=action.keep_orders,
                close_positions=close_positions,
            )
        except OSError as error:
            self._log.event("stop_note_failed", "error", error=str(error))

    def _kill(self) -> None:
        """KILL the child's group."""
        assert self._child is not None
        self._was_killed = True
        self._log.event("child_killed", "warning", child=self._child.pid)
        self.runner.kill(self._child)
        self._bounds.kill()

    def _start_finish(self) -> None:
        """Start the finish step; a failure is told as its end."""
        self._bounds.prepare(self.runner.spec)
        try:
            self._finish = self.runner.start_finish()
        except (SpawnError, LeftoversError, OSError) as error:
            self._log.event("finish_failed", "error", error=str(error))
            self._feed(Finished(ok=False))
            return
        self._bounds.enclose(self._finish, self.runner.spec)
        self._log.event("finish_started", child=self._finish.pid)

    def _kill_finish(self) -> None:
        """KILL the finish step's group."""
        assert self._finish is not None
        self._log.event("finish_killed", "error", child=self._finish.pid)
        self.runner.kill(self._finish)
        self._bounds.kill()

    # Watching -------------------------------------------------------------------------------------

    def next_due(self) -> float | None:
        """When `on_timer` has something to do."""
        return self._monitor.next_due() if self._monitor is not None else None

    def on_timer(self, now: float) -> None:
        """Let the monitor do what is due."""
        monitor = self._monitor
        if monitor is None:
            return
        due = monitor.next_due()
        if due is None or now < due:
            return
        probe = monitor.probe
        fd = probe.sock.fileno() if probe is not None else -1
        found = monitor.on_timer(now)
        if monitor.probe is not probe:
            self._loop.unregister(fd)  # it timed out and is closed
        self._heed(monitor, found)

    def reap(self) -> None:
        """Reap every child that has ended; the only wait() of this process."""
        while (pid := process.peek_exited()) is not None:
            if self._child is not None and self._child.ours and pid == self._child.pid:
                self._end_child(self._child)
            elif self._finish is not None and pid == self._finish.pid:
                self._end_finish(self._finish)
            else:
                process.reap(pid)  # an orphan that was reparented to us

    def close(self) -> None:
        """Let go of everything; a child that lives on stays as it is."""
        if self._monitor is not None:
            self._monitor.close()
        self._bounds.close(lives=self._child is not None)
        if self._child is not None:
            self._child.close()
        if self._runner is not None:
            self._runner.close()

    def _watch(self, child: Child, *, is_ready: bool) -> None:
        runner = self.runner
        spec = runner.spec
        if not child.ours:
            self._loop.register(child.pidfd, READ, lambda _: self._end_child(child))
        for source in runner.output.sources():
            self._loop.register(source, READ, self._drain_once(source))

        self._monitor = Monitor(
            spec,
            self._run_dir,
            runner.web_port,
            child,
            is_ready=is_ready,
            members=lambda: runner.sample(child),
        )

    def _heed(self, monitor: Monitor, found: list[Event | Notice]) -> None:
        for item in found:
            if isinstance(item, Notice):
                self._log.event(item.event, "warning", detail=item.detail)
            elif self._monitor is monitor:
                self._feed(item)
        probe = monitor.probe
        if probe is not None and self._monitor is monitor:
            fd = probe.sock.fileno()
            self._loop.register(fd, probe.events, lambda _: self._on_probe(monitor, fd))

    def _on_probe(self, monitor: Monitor, fd: int) -> None:
        found = monitor.on_probe_ready(time.monotonic())
        if monitor.probe is None:
            self._loop.unregister(fd)
        self._heed(monitor, found)

    def _drain_once(self, source: int) -> Callable[[int], None]:
        def drain(_: int) -> None:
            self.runner.output.drain(source)
            self._tell_lost(self.runner.output.take_lost())

        return drain

    def _tell_lost(self, lost: Lost | None) -> None:
        if lost is not None:
            self._log.event("output_lost", "error", bytes=lost.bytes, lines=lost.lines)

    def _end_child(self, child: Child) -> None:
        """Empty the ended child's group, reap it, and only then say that it exited."""
        runner = self.runner
        left = self._sweep(child)  # before the reaping: until then nobody can reuse the number
        if left:
            self._log.event("group_not_empty", "error", pids=[member.pid for member in left])
        code, peak, cpu_s = process.reap_used(child.pid) if child.ours else (None, 0, None)
        for source in runner.output.sources():
            for _ in range(_LAST_CHUNKS):
                if not runner.output.drain(source):
                    break
            self._loop.unregister(source)
        self._tell_lost(runner.output.take_lost(at_end=True))
        self._loop.unregister(child.pidfd)
        child.close()
        if self._monitor is not None:
            peak = max(peak, self._monitor.peak_bytes)
            if self._monitor.probe is not None:
                self._loop.unregister(self._monitor.probe.sock.fileno())
            self._monitor.close()
            self._monitor = None
        self._child = None
        marked = deaths.LastLines.mark(Path(runner.spec.logs.log_dir))
        code, orders, cause = runner.judge_exit(child, code)
        record = self._describe_death(child, code, cause, peak, cpu_s)
        witness = self._bounds.witness()
        level = "info" if code == 0 else "error"
        self._log.event("child_exited", level, child=child.pid, code=code, cause=cause)
        self._feed(Exited(code, orders, random.random(), cause))
        if self._child is None:  # else the successor's PID is in it already
            with contextlib.suppress(OSError):
                pidfile.remove_pid(self._run_dir / pidfile.BOT_PID)
        witness.explain(record, code)
        self._note_death(record, marked, witness)  # after the successor's start

    def note_unwatched(self) -> None:
        """Keep a record of a bot that ended while no supervisor lived."""
        named = read_pid_file(self._run_dir / pidfile.BOT_PID)
        if named is None:
            return
        gone = Child(pid=named[0], start=named[1] or 0, pidfd=-1, ours=False)
        code, _, words = self.runner.judge_exit(gone, None)
        record = deaths.make_record(
            pid=gone.pid, start=0, code=code, cause="unwatched", reason=words
        )
        self._note_death(record, deaths.LastLines.mark(Path(self.runner.spec.logs.log_dir)), None)
        self._log.event("child_ended_unwatched", "warning", child=gone.pid, code=code)

    def _describe_death(
        self, child: Child, code: int | None, words: str, peak: int, cpu_s: float | None
    ) -> deaths.Record:
        cause, reason = self._why()
        return deaths.make_record(
            pid=child.pid,
            start=child.start,
            code=code,
            cause=cause,
            # Of an end that was asked for, `cause` says it all.
            reason=reason or ("" if cause and not code else words),
            peak_bytes=peak,
            cpu_s=cpu_s,
            was_killed=self._was_killed,
        )

    def _note_death(
        self, record: deaths.Record, marked: deaths.LastLines | None, witness: Witness | None
    ) -> None:
        lines = marked.read() if marked is not None else {}
        if witness is not None:
            witness.explain_words(record, lines)
        try:
            deaths.save(self._run_dir, record, lines)
        except OSError as error:
            self._log.event("death_not_recorded", "error", error=str(error), **record)

    def _sweep(self, child: Child) -> list[ProcStat]:
        try:
            return self.runner.sweep(child) + self._bounds.end_rest()
        except OSError as error:  # no descriptor left to look with; the bot lock still guards
            self._log.event("sweep_failed", "error", error=str(error))
            return []

    def _end_finish(self, finish: Child) -> None:
        left = self._sweep(finish)
        code = process.reap(finish.pid)
        self._loop.unregister(finish.pidfd)
        finish.close()
        self._finish = None
        ok = code == 0 and not left
        self._log.event("finish_ended", "info" if ok else "error", code=code)
        self._feed(Finished(ok))


def may_have_left_orders(run_dir: Path, record: dict[str, object]) -> bool:
    """Tell whether a bot died with nobody watching, or was last known with orders unproven.

    bot.pid goes when a supervisor sees the bot end: still there, nobody saw it.
    """
    return os.path.lexists(run_dir / pidfile.BOT_PID) or record.get("orders_unsettled") is True
