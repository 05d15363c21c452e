"""A piece of work in a short-lived process of its own: what it imports and holds dies with it.

For a supervisor, or the command that becomes one, which loads neither pydantic nor a `.env`.
Standard library only.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import time
import traceback
from collections.abc import Callable
from typing import Any

from core.errors import GridfleetError

TIMEOUT_S = 60.0
"""A config check takes 0.3 s; a minute allows for a machine that starts fifty at once."""


def run_forked(work: Callable[[], Any], what: str, timeout_s: float = TIMEOUT_S) -> Any:
    """Run `work` in a forked process and return its result, which must be plain JSON.

    The caller must have one thread. Errors: GridfleetError, naming `what`, when the process dies,
    takes longer than the time-out, or `work` raises: it answers with values, not exceptions.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            gc.disable()  # its whole memory goes in a moment
            os.close(reader)
            _forget_signals()
            with os.fdopen(writer, "w") as pipe:
                json.dump(_answer(work), pipe)
        finally:
            os._exit(0)  # nothing may unwind into this copy of the caller's stack
    os.close(writer)
    try:
        answer = _read_all(reader, time.monotonic() + timeout_s)
    finally:
        os.close(reader)
        _end(pid)
    try:
        told: dict[str, Any] = json.loads(answer)
    except ValueError:
        raise GridfleetError(f"{what}: no answer within {timeout_s:g} s") from None
    if "error" in told:
        raise GridfleetError(f"{what} failed: {told['error']}")
    return told["done"]


def _answer(work: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"done": work()}
    except Exception as error:
        # A bug of ours. Its text may hold a value, so only its place is told.
        place = traceback.extract_tb(error.__traceback__)[-1]
        return {"error": f"{type(error).__name__} in {place.name}, line {place.lineno}"}


def _forget_signals() -> None:
    """Drop the caller's handlers: they would act on the caller's behalf."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _read_all(fd: int, deadline: float) -> bytes:
    """Read to the end, or until the deadline; what came until then."""
    chunks: list[bytes] = []
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        if not poller.poll(left * 1000):
            break
        if not (chunk := os.read(fd, 65536)):
            break
        chunks.append(chunk)
    return b"".join(chunks)


def _end(pid: int) -> None:
    """Reap our child; one that hangs is killed first (it isn't reaped, so the PID is its own)."""
    try:
        os.kill(pid, signal.SIGKILL)  # it has answered, or its time is over
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass  # the caller reaps all of its children itself, and was quicker
