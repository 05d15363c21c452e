"""Short-lived processes of a supervisor that nobody waits for: their pipes are in its selector.

A chore must not hold up the loop (a check loads pydantic, an old log is compressed), so it runs in
a fork of its own and its answer arrives as an event. Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from core.forked import Work
from core.loop import READ, Loop

Answer = dict[str, Any]


class Chores:
    """What is under way. `spare(pid, ended=)` hears which processes are ours, not the child's."""

    def __init__(self, loop: Loop, spare: Callable[..., None]) -> None:
        self._loop = loop
        self._spare = spare
        self._works: dict[int, Work] = {}

    def start(
        self,
        what: str,
        work: Callable[[], Answer],
        done: Callable[[Answer], None],
        timeout_s: float | None = None,
    ) -> None:
        """Begin; `done` gets the work's answer, or `{"error": ...}`. It is always called."""
        try:
            one = Work(work, what, done, timeout_s)
        except OSError as error:
            done({"error": f"{what} could not be started: {error}"})
            return
        self._works[one.fd] = one
        self._spare(one.pid, ended=False)
        self._loop.register(one.fd, READ, lambda _: self._on_ready(one))

    def next_due(self) -> float | None:
        """When `on_timer` has something to do."""
        return min((work.deadline for work in self._works.values()), default=None)

    def on_timer(self, now: float) -> None:
        """End what takes too long."""
        for work in [work for work in self._works.values() if now >= work.deadline]:
            self._finish(work)

    def close(self) -> None:
        """End everything, without an answer."""
        for work in self._works.values():
            self._loop.unregister(work.fd)
            work.kill()
        self._works.clear()

    def _on_ready(self, work: Work) -> None:
        if work.read():
            self._finish(work)

    def _finish(self, work: Work) -> None:
        del self._works[work.fd]
        self._loop.unregister(work.fd)
        answer = work.finish()
        self._spare(work.pid, ended=True)
        work.done(answer)
