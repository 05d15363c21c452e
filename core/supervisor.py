"""The supervisor's loop: wait, turn what happened into an event, decide, perform.

What lives here: one process's life as supervisor of one instance. It holds `.supervisor.lock`,
keeps the registry's record and daemon.log, and owns the only `wait()` of the process. What follows
from an event is `core.supervision.decide`'s; how a child is run is `core.child`'s.

Rules it keeps:
- one thread, one selector, no polling: it sleeps until a descriptor or the next timer is ready;
- an exit becomes an event only after the group is empty and the child is reaped, so a successor
  never meets its predecessor;
- a full disk or a busy registry costs a line in a log, never supervision.
Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import assert_never

from core import pidfile, process
from core.child import ChildRunner, LeftoversError
from core.control import ControlServer, Message, Peer
from core.desired import Desired, Wanted
from core.errors import PERMANENT_EXIT_CODES, ExitCode, GridfleetError
from core.files import make_private_dir, publish
from core.identity import identify, read_pid_file
from core.instance_manager import InstanceRegistry
from core.loop import READ, Callback, Loop
from core.monitor import Monitor, Notice
from core.paths import run_dir
from core.process import Child, SpawnError
from core.spec import ChildSpec
from core.supervision import decide
from core.supervision_types import (
    Action,
    Adopt,
    Deadline,
    Event,
    Exited,
    Finished,
    Healthy,
    Kill,
    KillFinish,
    OrdersLeft,
    Restart,
    RestartPolicy,
    Spawn,
    Start,
    StartFinish,
    State,
    Stop,
    SupervisorState,
    Terminate,
    Watch,
)
from core.teller import Teller, describe


class AlreadyRunning(GridfleetError):
    """Another supervisor holds this instance."""

    def __init__(self, instance_id: str, pid: int | None) -> None:
        super().__init__(f"{instance_id}: already running (pid {pid or 'unknown'})")
        self.pid = pid


class Supervisor:
    """Supervises one instance until it rests. Make it, `open()` it, `run()` it, in one process."""

    def __init__(
        self,
        spec: ChildSpec,
        *,
        started_at: str,
        keep_desired: bool,
        validate: Validator,
        observe: Callable[[Message], None] | None = None,
    ) -> None:
        """Take the spec. `keep_desired`: a background start, which `resurrect` should bring back.

        `validate` reads a config again in a short-lived process (for reload); `observe` hears
        every change of state (for `--foreground`).
        """
        self.spec = spec
        self.root = Path(spec.root)
        self.run_dir = run_dir(self.root, spec.instance_id)
        self.registry = InstanceRegistry(self.root)
        self.started_at = started_at
        self._keep_desired = keep_desired
        self._validate = validate
        self._policy = RestartPolicy.of(spec)
        self._state = SupervisorState()
        self._events: deque[Event] = deque()
        self._loop = Loop()
        self._control = ControlServer(
            self.run_dir,
            register=self._loop.register,
            unregister=self._loop.unregister,
            handle=self._on_request,
        )
        self._teller = Teller(spec, self.registry, self._control, observe)
        self._log = self._teller.log
        self._runner: ChildRunner | None = None
        self._child: Child | None = None
        self._finish: Child | None = None
        self._monitor: Monitor | None = None
        self._next_spec: ChildSpec | None = None
        self._close_positions = False
        self._lock: int | None = None
        self._clean_at = time.monotonic()
        self._detached = False
        self._restarts_before = 0
        self.web_port = spec.web_port or 0

    # Life -----------------------------------------------------------------------------------------

    def open(self, report_fd: int | None = None, *, to_stop: bool = False) -> None:
        """Take the lock, the claims and the files. Errors: AlreadyRunning, ConfigError, OSError.

        `report_fd` is a pipe that hears every change of state, as a control client would.
        `to_stop`: it only ends what another supervisor left, so it claims and accepts nothing.
        """
        make_private_dir(self.run_dir)
        self._lock = pidfile.acquire(self.run_dir / pidfile.SUPERVISOR_LOCK)
        if self._lock is None:
            holder = read_pid_file(self.run_dir / pidfile.SUPERVISOR_LOCK)
            raise AlreadyRunning(self.spec.instance_id, holder[0] if holder else None)
        me = identify(os.getpid())
        if me is not None:
            pidfile.note_holder(self._lock, me)
        before = self.registry.get(self.spec.instance_id) or {}
        if to_stop:
            self.web_port = int(before.get("web_port") or 0)
            self.registry.update(self.spec.instance_id, pid=os.getpid())
            self._make_runner()
        else:
            self.web_port = self.registry.claim(self.spec, started_at=self.started_at)
            self._accept_spec(self.spec)
            if self._keep_desired:
                self._want()
        self._restarts_before = int(before.get("restarts") or 0)
        pidfile.write_pid(self.run_dir / pidfile.DAEMON_PID, os.getpid())
        self._control.open()
        if report_fd is not None:
            self._control.add_pipe(report_fd)
        process.become_subreaper()
        signums = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
        self._loop.catch_signals(signums, self._on_signals)
        self._log.event(
            "supervisor_started",
            version=1,
            config=self.spec.config_path,
            web_port=self.web_port,
            warnings=list(self.spec.warnings),
        )

    def run(self, first: Event | None = None) -> int:
        """Supervise until nothing is left to do; returns the exit code for `--foreground`.

        A live bot is adopted. `first` is what the user asked: Start, or Stop for an instance
        whose supervisor died.
        """
        assert self._runner is not None
        try:
            live = self._runner.find_live()
            if live is not None:
                self._child = live
                self._state = replace(self._state, total_restarts=self._restarts_before)
                self._feed(Adopt())
            else:
                self._note_leftovers(self._runner)
            self._feed(first or Start())
            while not self._is_done():
                self._loop.turn(self._timeout())
                self._fire_timers()
        except Exception:
            # The bot lives on and the next supervisor adopts it; see the log for what to mend.
            self._log.event("supervisor_failed", "error", traceback=traceback.format_exc())
            raise
        finally:
            self._close()
        return self._exit_code()

    def _is_done(self) -> bool:
        if self._detached:
            return True
        return self._state.state.is_rest and self._state.deadline is None

    def _exit_code(self) -> int:
        match self._state.state:
            case State.STOPPED | State.EXITED:
                return ExitCode.OK
            case State.FATAL if self._state.exit_code in PERMANENT_EXIT_CODES:
                return int(self._state.exit_code or 0)
            case State.FATAL:
                return ExitCode.FATAL_LIMIT
            case _:
                return ExitCode.OK if self._detached else ExitCode.FAILED

    def _close(self) -> None:
        """Give everything back; what a detached supervisor leaves running keeps its files."""
        lives = self._child is not None
        if self._monitor is not None:
            self._monitor.close()
        with contextlib.suppress(OSError):
            pidfile.remove_pid(self.run_dir / pidfile.DAEMON_PID)
            if not lives:
                pidfile.remove_pid(self.run_dir / pidfile.BOT_PID)
        self._teller.record(pid=None, **({} if lives else {"bot_pid": None}))
        self._log.event("supervisor_ended", state=self._state.state.value)
        if self._runner is not None:
            self._runner.close()
        if self._child is not None:
            self._child.close()
        self._log.close()
        if self._lock is not None:
            self._control.unbind()  # while the lock is ours: the next one binds the same name
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
        # Last: whoever waits for the end of the stream finds everything done.
        self._control.close()
        self._loop.close()

    # Waiting --------------------------------------------------------------------------------------

    def _timeout(self) -> float | None:
        dues = [self._state.deadline, self._clean_at]
        if self._monitor is not None:
            dues.append(self._monitor.next_due())
        due = min((d for d in dues if d is not None), default=None)
        return None if due is None else max(0.0, due - time.monotonic())

    def _fire_timers(self) -> None:
        now = time.monotonic()
        if self._state.deadline is not None and now >= self._state.deadline:
            self._feed(Deadline())
        monitor = self._monitor
        due = monitor.next_due() if monitor is not None else None
        if monitor is not None and due is not None and now >= due:
            probe = monitor.probe
            fd = probe.sock.fileno() if probe is not None else -1
            found = monitor.on_timer(now)
            if monitor.probe is not probe:
                self._loop.unregister(fd)  # it timed out and is closed
            self._heed(monitor, found)
        if now >= self._clean_at:
            self._clean_at = now + self.spec.logs.cleanup_interval
            self._clean()

    def _on_signals(self, numbers: set[int]) -> None:
        for signum in numbers - {signal.SIGCHLD}:
            self._log.event("signal", signal=signal.Signals(signum).name)
        if numbers & {signal.SIGTERM, signal.SIGINT}:
            self._feed(Stop())
        if signal.SIGHUP in numbers:
            self._reload()
        self._reap()

    # Children -------------------------------------------------------------------------------------

    def _reap(self) -> None:
        """Reap every child that has ended; the only wait() of this process."""
        while (pid := process.peek_exited()) is not None:
            if self._child is not None and self._child.ours and pid == self._child.pid:
                self._end_child()
            elif self._finish is not None and pid == self._finish.pid:
                self._end_finish()
            else:
                process.reap(pid)  # an orphan that was reparented to us

    def _end_child(self) -> None:
        """Empty the ended child's group, reap it, and only then say that it exited."""
        child, runner = self._child, self._runner
        assert child is not None
        assert runner is not None
        left = runner.sweep(child)  # before the reaping: until then nobody can reuse the number
        if left:
            self._log.event("group_not_empty", "error", pids=[member.pid for member in left])
        code = process.reap(child.pid) if child.ours else None
        self._drain()
        for source in runner.output.sources():
            self._loop.unregister(source)
        self._loop.unregister(child.pidfd)
        child.close()
        if self._monitor is not None:
            self._drop_probe(self._monitor)
            self._monitor.close()
            self._monitor = None
        self._child = None
        code, orders, cause = runner.judge_exit(child, code)
        with contextlib.suppress(OSError):
            pidfile.remove_pid(self.run_dir / pidfile.BOT_PID)
        level = "info" if code == 0 else "error"
        self._log.event("child_exited", level, child=child.pid, code=code, cause=cause)
        self._feed(Exited(code, orders, random.random(), cause if code else ""))

    def _end_finish(self) -> None:
        finish, runner = self._finish, self._runner
        assert finish is not None
        assert runner is not None
        left = runner.sweep(finish)
        code = process.reap(finish.pid)
        self._loop.unregister(finish.pidfd)
        finish.close()
        self._finish = None
        ok = code == 0 and not left
        self._log.event("finish_ended", "info" if ok else "error", code=code)
        self._feed(Finished(ok))

    def _watch(self, child: Child, *, is_ready: bool) -> None:
        runner = self._runner
        assert runner is not None
        if not child.ours:
            self._loop.register(child.pidfd, READ, lambda _: self._end_child())
        for source in runner.output.sources():
            self._loop.register(source, READ, self._drainer(source))

        def members() -> list[process.ProcStat]:
            if not self.spec.is_bot:
                return runner.members(child)
            stat = process.read_stat(child.pid)  # our bot has no children: one file instead of all
            return [] if stat is None else [stat]

        self._monitor = Monitor(
            self.spec, self.run_dir, self.web_port, child, is_ready=is_ready, members=members
        )

    def _drainer(self, source: int) -> Callback:
        runner = self._runner
        assert runner is not None
        return lambda _: void(runner.output.drain(source))

    def _drain(self) -> None:
        """Take the last lines out of the FIFOs; bounded, for who knows who else writes."""
        if self._runner is not None:
            for source in self._runner.output.sources():
                for _ in range(64):
                    if not self._runner.output.drain(source):
                        break

    def _note_leftovers(self, runner: ChildRunner) -> None:
        """End what a dead bot left running, and remember that it may have left orders."""
        found = runner.clear_leftovers()
        if found:
            self._log.event("leftovers_ended", "warning", pids=found)
        record = self.registry.get(self.spec.instance_id) or {}
        # bot.pid goes when a supervisor sees the bot end: still there, nobody saw it.
        if (self.run_dir / pidfile.BOT_PID).exists() or record.get("orders_unsettled"):
            self._state = replace(self._state, unsettled=True)

    # Health ---------------------------------------------------------------------------------------

    def _heed(self, monitor: Monitor, found: list[Event | Notice]) -> None:
        for item in found:
            if isinstance(item, Notice):
                self._log.event(item.event, "warning", detail=item.detail)
            elif self._monitor is monitor:
                self._feed(item)
        if self._monitor is monitor:
            self._arm_probe(monitor)

    def _arm_probe(self, monitor: Monitor) -> None:
        probe = monitor.probe
        if probe is None:
            return
        self._loop.register(
            probe.sock.fileno(),
            probe.events,
            lambda _: self._on_probe(monitor, probe.sock.fileno()),
        )

    def _on_probe(self, monitor: Monitor, fd: int) -> None:
        found = monitor.on_probe_ready(time.monotonic())
        if monitor.probe is None:
            self._loop.unregister(fd)
        self._heed(monitor, found)

    def _drop_probe(self, monitor: Monitor) -> None:
        if monitor.probe is not None:
            self._loop.unregister(monitor.probe.sock.fileno())

    # Deciding and performing ----------------------------------------------------------------------

    def _feed(self, event: Event) -> None:
        """Decide one event and everything that follows from it at once."""
        self._events.append(event)
        if len(self._events) > 1:
            return  # we are inside an action; the outer call goes on with it
        while self._events:
            before = self._state
            self._state, actions = decide(before, self._events[0], time.monotonic(), self._policy)
            for action in actions:
                self._perform(action)
            self._publish(before)
            self._events.popleft()

    def _perform(self, action: Action) -> None:
        match action:
            case Spawn():
                self._spawn()
            case Watch():
                assert self._child is not None
                self._log.event("child_adopted", child=self._child.pid)
                self._watch(self._child, is_ready=True)
            case Terminate():
                self._terminate(action)
            case Kill():
                if self._child is not None and self._runner is not None:
                    self._log.event("child_killed", "warning", child=self._child.pid)
                    self._runner.kill(self._child)
            case StartFinish():
                self._start_finish()
            case KillFinish():
                if self._finish is not None and self._runner is not None:
                    self._log.event("finish_killed", "error", child=self._finish.pid)
                    self._runner.kill(self._finish)
            case _:
                assert_never(action)

    def _spawn(self) -> None:
        if self._next_spec is not None:
            self._take_spec(self._next_spec)
        assert self._runner is not None
        try:
            child = self._runner.spawn()
        except (SpawnError, LeftoversError, OSError) as error:
            self._log.event("spawn_failed", "error", error=str(error))
            self._events.append(Exited(process.EXEC_FAILED, OrdersLeft.UNTOUCHED, random.random()))
            return
        self._child = child
        self._log.event("child_started", child=child.pid, program=self.spec.argv[0])
        self._watch(child, is_ready=False)
        if self.spec.health.check == "none":
            self._events.append(Healthy())

    def _terminate(self, action: Terminate) -> None:
        assert self._child is not None
        assert self._runner is not None
        self._log.event("child_stopping", child=self._child.pid, cause=action.cause.value)
        try:
            self._runner.terminate(
                self._child,
                action.cause,
                keep_orders=action.keep_orders,
                close_positions=self._close_positions,
            )
        except OSError as error:
            self._log.event("stop_note_failed", "error", error=str(error))

    def _start_finish(self) -> None:
        assert self._runner is not None
        try:
            self._finish = self._runner.start_finish()
        except (SpawnError, LeftoversError, OSError) as error:
            self._log.event("finish_failed", "error", error=str(error))
            self._events.append(Finished(ok=False))
            return
        self._log.event("finish_started", child=self._finish.pid)

    # Telling --------------------------------------------------------------------------------------

    def describe(self) -> Message:
        """Say where the instance stands."""
        return describe(
            self.spec,
            self._state,
            bot_pid=self._child.pid if self._child is not None else None,
            web_port=self.web_port,
            started_at=self.started_at,
        )

    def _publish(self, before: SupervisorState) -> None:
        now = self._state
        if now.state is State.EXITED and before.state is not State.EXITED and self._keep_desired:
            self._teller.drop_desired(self.root)
        self._teller.changed(before, now, self.describe())

    def _clean(self) -> None:
        """Old logs go; a control socket that somebody removed comes back."""
        self._teller.clean(self.spec)
        with contextlib.suppress(OSError):
            if self._control.reopen_if_lost():
                self._log.event("control_reopened", "warning")

    # Being told -----------------------------------------------------------------------------------

    def _on_request(self, peer: Peer, request: Message) -> None:
        op = request.get("op")
        if op != "status":
            self._log.event("command", op=str(op)[:40])
        if op == "start" and not self._state.state.is_rest:
            error = f"already running ({self._state.state.value})"
            peer.send({"ok": False, "error": error, **self.describe()})
            return
        if op not in ("status", "start", "stop", "restart", "reload", "detach"):
            peer.send({"ok": False, "error": f"unknown op {str(op)[:40]!r}"})
            return
        # The answer first: what follows from the command reaches a watcher after it.
        peer.send({"ok": True, **self.describe()})
        match op:
            case "start":
                self._offer_spec(request)
                self.started_at = str(request.get("started_at") or self.started_at)
                self._want()
                self._feed(Start())
            case "stop":
                self._close_positions = request.get("close_positions") is True
                self._feed(Stop(keep_orders=request.get("keep_orders") is True))
            case "restart":
                self._offer_spec(request)
                self._feed(Restart())
            case "reload":
                self._reload()
            case "detach":
                self._detached = True

    def _offer_spec(self, request: Message) -> None:
        if isinstance(request.get("spec"), str):
            self._next_spec = ChildSpec.from_json(request["spec"])

    def _reload(self) -> None:
        """Read the config file again; a changed one restarts the bot, a bad one changes nothing."""
        try:
            spec = self._validate(self.spec.config_path, self.root, self.spec.instance_id)
        except (GridfleetError, OSError) as error:
            self._log.event("reload_refused", "error", error=str(error))
            return
        if replace(spec, web_port=spec.web_port or self.spec.web_port) == self.spec:
            self._log.event("reload_unchanged")
            return
        self._log.event("reload_accepted")
        self._next_spec = spec
        if self._state.want_up:
            self._feed(Restart())

    def _take_spec(self, spec: ChildSpec) -> None:
        """Switch to a new spec, between two children."""
        self._next_spec = None
        try:
            self.web_port = self.registry.claim(spec, started_at=self.started_at)
        except (GridfleetError, OSError) as error:
            self._log.event("spec_refused", "error", error=str(error))
            return
        self._teller.forget_record()
        self._accept_spec(spec)

    def _accept_spec(self, spec: ChildSpec) -> None:
        """Keep the accepted config, private, as what the bot and the next supervisor read."""
        publish(self.run_dir / "config.json", spec.config_text)
        publish(self.run_dir / "spec.json", spec.to_json())
        self._teller.use_log_dir(Path(spec.logs.log_dir))
        self.spec = spec
        self._policy = RestartPolicy.of(spec)
        self._make_runner()

    def _make_runner(self) -> None:
        if self._runner is not None:
            self._runner.close()
        self._runner = ChildRunner(
            self.spec, self.run_dir, web_port=self.web_port, started_at=self.started_at
        )

    def _want(self) -> None:
        wanted = Wanted(config_path=self.spec.config_path, started_at=self.started_at)
        Desired(self.root).enter(self.spec.instance_id, wanted)


Validator = Callable[[str, Path, str], ChildSpec]
"""`(config path, root, instance id) -> spec`; raises ConfigError; see `core.launch`."""


def void(_: object) -> None:
    """Drop a result."""


def saved_spec(folder: Path) -> ChildSpec | None:
    """Load the spec that the last supervisor accepted; None when there is none that is whole."""
    try:
        return ChildSpec.from_json((folder / "spec.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return None
