"""The supervisor's loop: wait, turn what happened into an event, decide, perform.

What lives here: one process's life as supervisor of one instance. It holds `.supervisor.lock`,
keeps the registry's record and the control channel. What follows from an event is
`core.supervision.decide`'s; how a child is kept is `core.keeper`'s.

Rules it keeps:
- one thread, one selector, no polling: it sleeps until a descriptor or the next timer is ready;
- a full disk or a busy registry costs a line in a log, never supervision.
Standard library only.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from core import pidfile, process
from core.accepted import save_accepted
from core.chores import Chores
from core.claims import Claimed
from core.control import ControlServer, Message, Peer
from core.desired import Wanted
from core.errors import AlreadyRunning, GridfleetError
from core.files import make_private_dir
from core.identity import identify, read_pid_file
from core.instance_manager import InstanceRegistry
from core.keeper import Keeper, may_have_left_orders
from core.late_sync import LateSync
from core.loop import Loop
from core.masking import mask_text
from core.paths import run_dir
from core.registry_file import Record
from core.reloading import Reloader, Validator
from core.request import read_request
from core.spec import ChildSpec
from core.supervision import decide, exit_code
from core.supervision_types import (
    Action,
    Adopt,
    Deadline,
    Event,
    Restart,
    RestartPolicy,
    Spawn,
    Start,
    State,
    Stop,
    SupervisorState,
)
from core.teller import Teller, describe


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
        self._keeper = Keeper(self.run_dir, self._loop, self._log, self._feed, self._why)
        self._chores = Chores(self._loop, self._keeper.spare)
        self._reloader = Reloader(self, self._loop, self._chores, self._log, validate)
        self._late_sync = LateSync(self.run_dir, self.registry, spec.instance_id, self._log)
        self._timed = (self._keeper, self._reloader, self._chores, self._log, self._late_sync)
        self._next_spec: ChildSpec | None = None
        self._close_positions = False
        self._lock: int | None = None
        self._cleaned_at = -math.inf
        self._detached = False
        self._before: Record = {}
        self.web_port = spec.web_port or 0

    # Life -----------------------------------------------------------------------------------------

    def open(
        self,
        report_fd: int | None = None,
        *,
        to_stop: bool = False,
        claimed: Claimed | None = None,
    ) -> None:
        """Take the lock, the claims and the files. Errors: AlreadyRunning, ConfigError, OSError.

        `report_fd` is a pipe that hears every change of state, as a control client would.
        `to_stop`: it only ends what another supervisor left, so it claims and accepts nothing.
        `claimed`: what the command that forked us has claimed for us.
        """
        make_private_dir(self.run_dir)
        self._lock = pidfile.acquire(self.run_dir / pidfile.SUPERVISOR_LOCK)
        if self._lock is None:
            holder = read_pid_file(self.run_dir / pidfile.SUPERVISOR_LOCK)
            raise AlreadyRunning(self.spec.instance_id, holder[0] if holder else None)
        me = identify(os.getpid())
        if me is not None:
            pidfile.note_holder(self._lock, me)
        if claimed is not None and claimed.hold():
            self.web_port, self._before = claimed.port, claimed.before
        else:
            self._before = self.registry.get(self.spec.instance_id) or {}
            self.web_port = int(self._before.get("web_port") or 0)
            if not to_stop:
                self.web_port = self.registry.claim(
                    self.spec, started_at=self.started_at, config_fault=None
                )
        if to_stop:
            self.registry.update(self.spec.instance_id, pid=os.getpid())
            self._use(self.spec)
        else:
            save_accepted(self.run_dir, self.spec, durable=False)
            self._late_sync.begin()
            self._use(self.spec)
            self._reloader.open()
            if self._keep_desired:
                self._want()
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
        try:
            if self._keeper.find():
                restarts = int(self._before.get("restarts") or 0)
                self._state = replace(self._state, total_restarts=restarts)
                self._feed(Adopt())
            else:
                self._keeper.note_unwatched()
                self._keeper.end_leftovers()
                # Only our bot's orders can be finished; another program's are its own affair.
                unsettled = self.spec.is_bot and may_have_left_orders(self.run_dir, self._before)
                self._state = replace(self._state, unsettled=unsettled)
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
        return exit_code(self._state, is_detached=self._detached)

    def _is_done(self) -> bool:
        if self._detached:
            return True
        return self._state.state.is_rest and self._state.deadline is None

    def _close(self) -> None:
        """Give everything back; what a detached supervisor leaves running keeps its files."""
        lives = self._keeper.child_pid is not None
        with contextlib.suppress(OSError):
            pidfile.remove_pid(self.run_dir / pidfile.DAEMON_PID)
            if not lives:
                pidfile.remove_pid(self.run_dir / pidfile.BOT_PID)
        self._teller.record(pid=None, **({} if lives else {"bot_pid": None}))
        self._log.event("supervisor_ended", state=self._state.state.value)
        self._reloader.close()
        self._chores.close()
        self._keeper.close()
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
        dues = [self._state.deadline, self._clean_at, *(part.next_due() for part in self._timed)]
        due = min((d for d in dues if d is not None), default=None)
        return None if due is None else max(0.0, due - time.monotonic())

    def _fire_timers(self) -> None:
        now = time.monotonic()
        if self._state.deadline is not None and now >= self._state.deadline:
            self._feed(Deadline())
        for part in self._timed:
            part.on_timer(now)
        if now >= self._clean_at:
            self._cleaned_at = now
            self._clean()

    @property
    def _clean_at(self) -> float:
        return self._cleaned_at + self.spec.logs.cleanup_interval

    def _on_signals(self, numbers: set[int]) -> None:
        for signum in numbers - {signal.SIGCHLD}:
            self._log.event("signal", signal=signal.Signals(signum).name)
        if numbers & {signal.SIGTERM, signal.SIGINT}:
            self._feed(Stop())
        if signal.SIGHUP in numbers:
            self._reloader.reload_now()
        self._keeper.reap()
        self._keep_control()

    # Deciding and performing ----------------------------------------------------------------------

    def _feed(self, event: Event) -> None:
        """Decide one event and everything that follows from it at once."""
        self._events.append(event)
        if len(self._events) > 1:
            return  # we are inside an action; the outer call goes on with it
        told: list[tuple[SupervisorState, SupervisorState, Message]] = []
        while self._events:
            before = self._state
            self._state, actions = decide(before, self._events[0], time.monotonic(), self._policy)
            for action in actions:
                self._perform(action)
            told.append((before, self._state, self.describe()))
            self._events.popleft()
        self._publish(told)

    def _why(self) -> tuple[str, str]:
        """For which cause and reason the child is being ended; empty when it is not."""
        s = self._state
        if s.state is not State.STOPPING or s.cause is None:
            return "", ""
        return s.cause.value, "" if s.cause.is_asked else s.reason

    def _perform(self, action: Action) -> None:
        if isinstance(action, Spawn) and self._next_spec is not None:
            self._take_spec(self._next_spec)
        self._keeper.perform(action, close_positions=self._close_positions)

    # Telling --------------------------------------------------------------------------------------

    def describe(self) -> Message:
        """Say where the instance stands."""
        return describe(
            self.spec,
            self._state,
            bot_pid=self._keeper.child_pid,
            web_port=self.web_port,
            started_at=self.started_at,
        )

    def _publish(self, told: list[tuple[SupervisorState, SupervisorState, Message]]) -> None:
        """Tell what has changed; the record is written once, as it is at the end of it."""
        states = {now.state for _, now, _ in told} - {told[0][0].state}
        if State.EXITED in states and self._keep_desired:
            self._teller.drop_desired(self.root)
        # At the end one write tells both; a start that comes in this very moment writes it again.
        self._teller.changed(
            told, pid=None if self._is_done() else os.getpid(), limits=self._keeper.limits
        )

    def _clean(self) -> None:
        """Old logs go, or are compressed."""
        self._teller.clean(self.spec, self._chores, self._keeper.files_in_use())
        self._keep_control()

    def _keep_control(self) -> None:
        """A control socket that somebody removed comes back."""
        with contextlib.suppress(OSError):
            if self._control.reopen_if_lost():
                self._log.event("control_reopened", "warning")

    # Being told -----------------------------------------------------------------------------------

    def _on_request(self, peer: Peer, raw: Message) -> None:
        if raw.get("op") != "status":
            self._log.event("command", op=str(raw.get("op"))[:40])
        try:
            request = read_request(raw, self.spec)
        except ValueError as error:
            peer.send({"ok": False, "error": str(error)})
            return
        if request.op == "start" and not self._state.state.is_rest and self._state.want_up:
            words = f"already running ({self._state.state.value})"
            peer.send({"ok": False, "error": words, **self.describe()})
            return
        if request.spec is not None and request.op != "reload":
            self._next_spec = request.spec
        # The answer first: what follows from the command reaches a watcher after it.
        peer.send({"ok": True, **self.describe()})
        match request.op:
            case "start":
                self.started_at = request.started_at or self.started_at
                self._close_positions = False  # that was the stop before it
                self._want()
                self._feed(Start())
            case "stop":
                self._close_positions = request.close_positions
                self._feed(Stop(keep_orders=request.keep_orders))
            case "restart":
                self._feed(Restart())
            case "reload" if request.spec is not None:
                self._reloader.apply(request.spec)
            case "reload":
                self._reloader.reload_now()
            case "detach":
                self._detached = True

    # What a reload needs (core.reloading.Host) ----------------------------------------------------

    @property
    def is_page_up(self) -> bool:
        return self._state.state in (State.RUNNING, State.UNHEALTHY)

    def next_spec(self) -> ChildSpec:
        return self._next_spec or self.spec

    def accept_live(self, spec: ChildSpec) -> None:
        if self._next_spec is not None:
            self._next_spec = spec
            return
        save_accepted(self.run_dir, spec)
        self._keeper.change(spec)
        self.spec = spec
        self._policy = RestartPolicy.of(spec)
        self._teller.record(grid=spec.grid, limits=self._keeper.limits)

    def restart_with(self, spec: ChildSpec) -> None:
        self._next_spec = spec
        if self._state.want_up:
            self._feed(Restart())

    def tell_reload(self, fault: str | None, result: Message) -> None:
        self._teller.record(config_fault=mask_text(fault)[:2000] if fault else None)
        self._control.broadcast({"event": "reloaded", **result})

    # Specs ----------------------------------------------------------------------------------------

    def _take_spec(self, spec: ChildSpec) -> None:
        """Switch to a new spec, between two children."""
        self._next_spec = None
        port = self.web_port
        try:
            self.web_port = self.registry.claim(spec, started_at=self.started_at)
            self._accept_spec(spec)
        except (GridfleetError, OSError) as error:
            # The bot goes on as it was last accepted.
            self.web_port = port
            self._log.event("spec_refused", "error", error=str(error))
            self.tell_reload(str(error), {"ok": False, "action": "restart", "error": str(error)})
        self._teller.forget_record()

    def _accept_spec(self, spec: ChildSpec) -> None:
        """Keep the accepted config, private, as what the bot and the next supervisor read."""
        save_accepted(self.run_dir, spec)
        self._use(spec)

    def _use(self, spec: ChildSpec) -> None:
        self._keeper.use(spec, web_port=self.web_port, started_at=self.started_at)
        self._teller.use_log_dir(Path(spec.logs.log_dir))
        self.spec = spec
        self._policy = RestartPolicy.of(spec)

    def _want(self) -> None:
        wanted = Wanted(config_path=self.spec.config_path, started_at=self.started_at)
        self._teller.enter_desired(self.root, wanted)
