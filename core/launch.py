"""Starting supervisors: fork one per instance from the command's process, wait for all of them.

The fork happens with one thread and no open lock, database, socket or log; each supervisor opens
its own. It reports every change of its state over a pipe, so the command waits without polling and
learns of a death by the pipe's end. All are forked before any is waited for. Standard library only.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.control import Message
from core.errors import AlreadyRunning, ConfigError, ExitCode, GridfleetError
from core.spawning import close_inherited_on_exec
from core.spec import ChildSpec
from core.supervision_types import Event, State
from core.supervisor import Supervisor

_FAILED = frozenset({State.BACKOFF, State.FINISHING, State.FATAL, State.STOPPING})
_READY = frozenset({State.RUNNING, State.EXITED, State.STOPPED})


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

    def _judge(self, message: Message) -> None:
        if message.get("event") == "refused":
            self.outcome = str(message.get("kind", "failed"))
            self.error = str(message.get("error", ""))
            self.last = {**self.last, **message}
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
    is nobody's child any more when they begin, and neither are they.
    """
    pipes = [os.pipe2(os.O_CLOEXEC) for _ in launches]
    gc.freeze()  # what is loaded is never looked at again: the pages stay shared
    sys.stdout.flush()
    sys.stderr.flush()
    middle = os.fork()
    if middle == 0:
        try:
            os.setsid()
            for one, (_, writer) in zip(launches, pipes, strict=True):
                if os.fork() == 0:
                    _become(one, writer)
        finally:
            os._exit(0)
    for _, writer in pipes:
        os.close(writer)
    os.waitpid(middle, 0)
    now = time.monotonic()
    return [
        Launched(spec=one.spec, fd=reader, deadline=now + one.wait_s, to_stop=one.to_stop)
        for one, (reader, _) in zip(launches, pipes, strict=True)
    ]


def _become(one: Launch, writer: int) -> None:
    """Be one of the supervisors; never returns."""
    code = int(ExitCode.CRASH)
    try:
        os.setsid()
        _detach(writer, Path(one.spec.root))
        code = supervise(
            one.spec,
            started_at=one.started_at,
            first=one.first,
            to_stop=one.to_stop,
            keep_desired=one.keep_desired,
            report_fd=writer,
        )
    finally:
        os._exit(code)


def supervise(
    spec: ChildSpec,
    *,
    started_at: str,
    first: Event | None,
    to_stop: bool,
    keep_desired: bool,
    report_fd: int | None = None,
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
        supervisor.open(report_fd, to_stop=to_stop)
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


def wait_all(launched: list[Launched], on_done: Callable[[Launched], None]) -> None:
    """Wait until each has an outcome, or its time is over; tell of each as it is decided."""
    waiting = {one.fd: one for one in launched}
    poller = select.poll()
    for fd in waiting:
        poller.register(fd, select.POLLIN)

    def done(one: Launched) -> None:
        poller.unregister(one.fd)
        os.close(one.fd)
        del waiting[one.fd]
        on_done(one)

    while waiting:
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


def _detach(keep: int, root: Path) -> None:
    """Leave everything of the command behind: descriptors, terminal, folder, signal handling."""
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers, not paths
        fd = int(name)
        if fd > 2 and fd != keep:
            with contextlib.suppress(OSError):
                os.close(fd)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o077)
    os.chdir(root)
