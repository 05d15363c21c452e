"""Starting supervisors: fork one per instance from the command's process, wait for all of them.

The fork happens with one thread and no open lock, database, socket or log; each supervisor opens
its own. It reports every change of its state over a pipe, so the command waits without polling and
learns of a death by the pipe's end. All are forked before any is waited for. Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias

from core.claims import Claimed
from core.control import Message
from core.errors import AlreadyRunning, ConfigError, ExitCode, GridfleetError
from core.instance_manager import InstanceRegistry
from core.masking import json_line, mask_text
from core.paths import shown
from core.registry_file import Record
from core.spawning import close_inherited_on_exec
from core.spec import ChildSpec
from core.supervision_types import Event, State
from core.supervisor import Supervisor

_FAILED = frozenset({State.BACKOFF, State.FINISHING, State.FATAL, State.STOPPING})
_READY = frozenset({State.RUNNING, State.EXITED, State.STOPPED})
_LOCKED_S = 5.0  # for all to take their locks; each then claims for itself, the lock being free


@dataclass(slots=True, kw_only=True)
class Launched:
    """One supervisor on its way up (or, `to_stop`, on its way down)."""

    spec: ChildSpec
    fd: int
    deadline: float
    to_stop: bool = False
    last: Message = field(default_factory=dict)
    outcome: str = ""  # "ready", "failed", "refused", "invalid", "late", "gone"; "" is undecided
    error: str = ""
    await_start: bool = False  # a restart: what the old child still does is no outcome
    restarts_before: int | None = None
    buffer: bytes = b""

    def feed(self, data: bytes) -> None:
        """Take what the pipe gave; an empty chunk is its end."""
        if not data:
            if not self.outcome:
                self.outcome = "ready" if self.to_stop else "gone"
                self.error = "" if self.to_stop else "its supervisor ended without an answer"
            return
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            self._judge(json.loads(line))

    def refuse(self, kind: str, error: str, **more: Any) -> None:
        """Note that it never came to supervising."""
        self.outcome = kind
        self.error = error
        self.last = {**self.last, "event": "refused", "kind": kind, "error": error, **more}

    def _judge(self, message: Message) -> None:
        if message.get("event") == "refused":
            more = {"pid": message["pid"]} if "pid" in message else {}
            self.refuse(str(message.get("kind", "failed")), str(message.get("error", "")), **more)
            return
        if "state" not in message:
            return
        self.last = message
        if self.outcome or self.to_stop:
            return
        state = State(message["state"])
        if self.await_start and state not in (State.STARTING, State.FATAL):
            return
        self.await_start = False
        if self.restarts_before is None:
            self.restarts_before = int(message.get("restarts", 0))
        if state in _READY:
            self.outcome = "ready"
        elif state in _FAILED or int(message["restarts"]) > self.restarts_before:
            self.outcome = "failed"
            self.error = str(message.get("reason", ""))


def read_specs(config: str, root: Path, instance_id: str | None) -> ChildSpec:
    """Check one config in a short-lived process. Errors: ConfigError with every fault."""
    from core.config_manager import load_specs_in_child

    return load_specs_in_child([config], root, instance_id)[0].spec_or_raise()


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One supervisor to be started; the fields are those of `supervise`. `wait_s`: patience."""

    spec: ChildSpec
    started_at: str
    wait_s: float
    first: Event | None = None
    to_stop: bool = False
    keep_desired: bool = True


def launch(*launches: Launch) -> list[Launched]:
    """Fork supervisors into the background: own sessions, no terminal, streams of their own.

    All are forked from one process that has everything loaded, so that they share its pages; it
    is nobody's child any more when they begin, and neither are they. What they claim is claimed
    here, for all at once: the registry's lock is held until each has the lock by which it lives.
    """
    _warm_up()
    roots = {one.spec.root for one in launches}
    # Opened before the lock, so closed before it at our death, and by each of the forked: while
    # somebody can hear a word, the lock is held.
    ear, mouth = os.pipe2(os.O_CLOEXEC)
    claims: list[_Claim] = [None] * len(launches)  # each claims for itself, and says what is wrong
    with contextlib.ExitStack() as held:
        if len(roots) == 1:
            registry = InstanceRegistry(Path(roots.pop()))
            with contextlib.suppress(GridfleetError, OSError):
                held.enter_context(registry.locked())
                claims = _claim_all(registry, launches)
        return _fork_all(launches, claims, ear, mouth)


_Claim: TypeAlias = tuple[int, Record] | ConfigError | None


def _claim_all(registry: InstanceRegistry, launches: Sequence[Launch]) -> list[_Claim]:
    """Claim for all that are to start; None where the supervisor has to do it itself.

    Errors: GridfleetError, OSError; nothing is claimed then.
    """
    starting = [one for one in launches if not one.to_stop]
    wanted = [(one.spec, {"started_at": one.started_at, "config_fault": None}) for one in starting]
    claims = registry.claim_all(wanted) if wanted else []
    by_id = dict(zip((one.spec.instance_id for one in starting), claims, strict=True))
    return [None if one.to_stop else by_id[one.spec.instance_id] for one in launches]


def _fork_all(
    launches: Sequence[Launch], claims: Sequence[_Claim], ear: int, mouth: int
) -> list[Launched]:
    """Fork one for each that may start, and wait until those that were claimed have their locks.

    Both ends of the pipe are closed when it returns.
    """
    now = time.monotonic()
    launched = [
        Launched(spec=one.spec, fd=-1, deadline=now + one.wait_s, to_stop=one.to_stop)
        for one in launches
    ]
    forked: list[tuple[Launch, tuple[int, Record] | None, int]] = []
    for one, claim, told in zip(launches, claims, launched, strict=True):
        if isinstance(claim, ConfigError):
            told.refuse("invalid", str(claim))
            continue
        told.fd, writer = os.pipe2(os.O_CLOEXEC)
        forked.append((one, claim, writer))
    gc.freeze()  # what is loaded is never looked at again: the pages stay shared
    sys.stdout.flush()
    sys.stderr.flush()
    middle = os.fork()
    if middle == 0:
        try:
            os.setsid()
            for one, claim, writer in forked:
                if os.fork() == 0:
                    _become(one, writer, claim, ear, mouth)
        finally:
            os._exit(0)
    os.close(mouth)
    for _, _, writer in forked:
        os.close(writer)
    os.waitpid(middle, 0)
    _hear(ear, sum(claim is not None for _, claim, _ in forked))
    os.close(ear)
    return launched


def _hear(ear: int, count: int) -> None:
    """Wait for that many words, for the end of all who might say one, or for the time-out."""
    deadline = time.monotonic() + _LOCKED_S
    poller = select.poll()
    poller.register(ear, select.POLLIN)
    while count > 0 and (left := deadline - time.monotonic()) > 0:
        if poller.poll(left * 1000):
            heard = os.read(ear, 4096)
            if not heard:
                return
            count -= len(heard)


def _warm_up() -> None:
    """Do once, here, what each of the forked would do for itself: then they share the pages.

    Patterns are compiled, libraries opened and the time zone read at their first use.
    """
    import core.config_watch  # noqa: F401 - imported for those who come after

    json_line({"warm": "://x@", "at": date.today().isoformat()})  # noqa: DTZ011 - any day will do
    mask_text("key=0 token: 0 ://x@")
    time.strftime("%Y-%m-%d", time.localtime())
    ctypes.CDLL(None)
    shown("-", 1)


def _become(
    one: Launch, writer: int, claim: tuple[int, Record] | None, ear: int, mouth: int
) -> None:
    """Be one of the supervisors; never returns."""
    code = int(ExitCode.CRASH)
    try:
        os.setsid()
        os.close(ear)  # before the lock's, see `launch`
        _detach((writer, mouth), Path(one.spec.root))
        claimed = None
        if claim is not None:
            claimed = Claimed(port=claim[0], before=claim[1], hold=lambda: _say(mouth))
        else:
            os.close(mouth)
        code = supervise(
            one.spec,
            started_at=one.started_at,
            first=one.first,
            to_stop=one.to_stop,
            keep_desired=one.keep_desired,
            report_fd=writer,
            claimed=claimed,
        )
    finally:
        os._exit(code)


def _say(mouth: int) -> bool:
    """Say a word to the command that forked us; False when it is not there to hear it."""
    try:
        return os.write(mouth, b".") == 1
    except OSError:
        return False
    finally:
        os.close(mouth)


def supervise(
    spec: ChildSpec,
    *,
    started_at: str,
    first: Event | None,
    to_stop: bool,
    keep_desired: bool,
    report_fd: int | None = None,
    claimed: Claimed | None = None,
    observe: Callable[[Message], None] | None = None,
) -> int:
    """Be the supervisor; returns the exit code. A refusal is told over `report_fd` or raised."""
    close_inherited_on_exec()
    supervisor = Supervisor(
        spec,
        started_at=started_at,
        keep_desired=keep_desired,
        validate=read_specs,
        observe=observe,
    )
    try:
        supervisor.open(report_fd, to_stop=to_stop, claimed=claimed)
    except (GridfleetError, OSError) as error:
        if report_fd is None:
            raise
        kinds: list[tuple[type[BaseException], str]] = [
            (AlreadyRunning, "refused"),
            (ConfigError, "invalid"),
        ]
        kind = next((name for cls, name in kinds if isinstance(error, cls)), "failed")
        told: dict[str, Any] = {"event": "refused", "kind": kind, "error": str(error)}
        if isinstance(error, AlreadyRunning):
            told["pid"] = error.pid
        with contextlib.suppress(OSError):
            os.write(report_fd, json.dumps(told).encode() + b"\n")
        return ExitCode.FAILED
    return supervisor.run(first)


def wait_all(
    launched: list[Launched], on_done: Callable[[Launched], None], *, only_next: bool = False
) -> None:
    """Wait until each has an outcome, or its time is over; tell of each as it is decided.

    `only_next`: until one or more have; the others can be waited for again.
    """
    for one in launched:
        if one.fd < 0:
            on_done(one)  # it was refused before it was forked
    waiting = {one.fd: one for one in launched if one.fd >= 0}
    poller = select.poll()
    for fd in waiting:
        poller.register(fd, select.POLLIN)

    def done(one: Launched) -> None:
        poller.unregister(one.fd)
        os.close(one.fd)
        del waiting[one.fd]
        on_done(one)

    while waiting and not (only_next and len(waiting) < len(launched)):
        left = max(0.0, min(one.deadline for one in waiting.values()) - time.monotonic())
        for fd, _ in poller.poll(left * 1000 + 1):
            one = waiting[fd]
            one.feed(os.read(fd, 65536))
            if one.outcome:
                done(one)
        now = time.monotonic()
        for one in [one for one in waiting.values() if now >= one.deadline]:
            one.outcome = "late"
            done(one)


def _detach(keep: tuple[int, ...], root: Path) -> None:
    """Leave everything of the command behind: descriptors, terminal, folder, signal handling."""
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    for fd in sorted(map(int, os.listdir("/proc/self/fd"))):  # noqa: PTH208 - numbers, not paths
        if fd > 2 and fd not in keep:
            with contextlib.suppress(OSError):
                os.close(fd)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o077)
    os.chdir(root)
