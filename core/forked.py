"""A piece of work in a short-lived process of its own: what it imports and holds dies with it.

For a supervisor, or the command that becomes one, which loads neither pydantic nor a `.env`.
Standard library only.
"""

from __future__ import annotations

import contextlib
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
    reader, pid = _fork(work)
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


class Work:
    """A piece of work that nobody waits for: its pipe `fd` is in somebody's selector.

    `read` at each readiness until it says True, then `finish`, then `done(answer)`. The answer is
    the work's own mapping, or `{"error": ...}`.
    """

    def __init__(
        self,
        work: Callable[[], dict[str, Any]],
        what: str,
        done: Callable[[dict[str, Any]], None],
        timeout_s: float | None = None,
    ) -> None:
        """Fork it. Errors: OSError."""
        self.done = done
        self.deadline = time.monotonic() + (timeout_s or TIMEOUT_S)
        self._what = what
        self._chunks: list[bytes] = []
        self.fd, self.pid = _fork(work, alone=True)
        os.set_blocking(self.fd, False)
        # Its caller's loop may reap it before we end it; the descriptor then names nobody else.
        self._pidfd = os.pidfd_open(self.pid)

    def read(self) -> bool:
        """Take what is there; True at the end."""
        try:
            chunk = os.read(self.fd, 65536)
        except BlockingIOError:
            return False
        self._chunks.append(chunk)
        return not chunk

    def finish(self) -> dict[str, Any]:
        """End and reap it, and give its answer."""
        self.kill()
        try:
            told: dict[str, Any] = json.loads(b"".join(self._chunks))
        except ValueError:
            return {"error": f"{self._what}: no answer in time"}
        done = told.get("done")
        return done if isinstance(done, dict) else {"error": str(told.get("error"))}

    def kill(self) -> None:
        """End and reap it, without an answer."""
        os.close(self.fd)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        os.close(self._pidfd)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _fork(work: Callable[[], Any], *, alone: bool = False) -> tuple[int, int]:
    """Fork; the reading end of the pipe that brings the answer, and the PID.

    `alone`: no other descriptor of ours goes along, so that no lock outlives us in it.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            gc.disable()  # its whole memory goes in a moment
            os.close(reader)
            _forget_signals()
            if alone:
                os.closerange(3, writer)
                os.closerange(writer + 1, 1 << 16)
            with os.fdopen(writer, "w") as pipe:
                json.dump(_answer(work), pipe)
        finally:
            os._exit(0)  # nothing may unwind into this copy of the caller's stack
    os.close(writer)
    return reader, pid


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
