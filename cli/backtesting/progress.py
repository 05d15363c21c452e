"""A progress bar on standard error: only on a terminal, and gone when the work is done.

A small one of our own: two callers know their total and need nothing but a line that fills and the
time left, and a dependency of every bot is a high price for that.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

WIDTH = 30
REDRAW_S = 0.1
ERASE = "\r\x1b[K"


class Bar:
    """A line `name [####----] done of total, time left`; silent where nobody would see it."""

    def __init__(
        self,
        name: str,
        *,
        is_shown: bool,
        stream: TextIO | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._stream = sys.stderr if stream is None else stream
        self.is_shown = is_shown and self._stream.isatty()
        self._now = now
        self._began = now()
        self._drawn_at = float("-inf")

    def show(self, done: int, total: int) -> None:
        """Redraw, ten times a second at most. `total` 0: not known yet."""
        now = self._now()
        if not self.is_shown or now - self._drawn_at < REDRAW_S:
            return
        self._drawn_at = now
        self._write(ERASE + self.line(done, total, now - self._began))

    def line(self, done: int, total: int, seconds: float) -> str:
        """What the bar looks like after so many seconds."""
        if total <= 0:
            return f"{self._name} ..."
        share = min(1.0, done / total)
        filled = int(WIDTH * share)
        left = ""
        if 0 < done < total:
            left = f", {_duration(seconds / done * (total - done))} left"
        bar = "#" * filled + "-" * (WIDTH - filled)
        return f"{self._name} [{bar}] {share:4.0%} {done:,} of {total:,}{left}"

    def clear(self) -> None:
        """Take the line away, so that what is printed next begins on a clean one."""
        if self.is_shown and self._drawn_at >= 0:
            self._write(ERASE)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self.is_shown = False  # the terminal went away; the work goes on


@contextmanager
def watching(bar: Bar, look: Callable[[], tuple[int, int]]) -> Iterator[None]:
    """Show what `look` sees (done, total) until the work inside is done.

    A thread looks from outside ten times a second, so that the work itself does not slow down.
    """
    if not bar.is_shown:
        yield
        return
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(REDRAW_S):
            bar.show(*look())

    thread = threading.Thread(target=watch, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        bar.clear()


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return (
        f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
    )
