"""The waiting of a single-threaded process: descriptors and signals in one selector, no polling.

A signal handler does nothing; the kernel's wake-up descriptor carries the number into the selector
(a handler that acts would act in the middle of anything). Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
from collections.abc import Callable, Iterable

Callback = Callable[[int], None]
READ = selectors.EVENT_READ


class Loop:
    """Calls back when a descriptor is ready or a signal has come."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wakeup: tuple[int, int] | None = None

    def register(self, fd: int, events: int, callback: Callback) -> None:
        """Watch a descriptor, or change how it is watched; `callback(ready events)`."""
        try:
            self._selector.modify(fd, events, callback)
        except KeyError:
            self._selector.register(fd, events, callback)
        except OSError:
            # The number was closed behind our back and names something else now.
            self.unregister(fd)
            self._selector.register(fd, events, callback)

    def unregister(self, fd: int) -> None:
        """Stop watching; nothing happens when it was not watched."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(fd)

    def catch_signals(
        self, signums: Iterable[signal.Signals], callback: Callable[[set[int]], None]
    ) -> None:
        """Call back with the numbers of the signals that have come since the last time."""
        read_end, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wakeup = (read_end, write_end)
        # A full pipe means that it will wake anyway: nothing is lost by not warning.
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for signum in signums:
            signal.signal(signum, lambda *_: None)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

        def come(_: int) -> None:
            with contextlib.suppress(BlockingIOError):
                callback(set(os.read(read_end, 4096)))

        self.register(read_end, READ, come)

    def turn(self, timeout_s: float | None) -> None:
        """Wait once, and call back for everything that is ready."""
        for key, mask in self._selector.select(timeout_s):
            if self._selector.get_map().get(key.fd) is key:  # not closed by an earlier callback
                key.data(mask)

    def close(self) -> None:
        if self._wakeup is not None:
            signal.set_wakeup_fd(-1)
            for fd in self._wakeup:
                os.close(fd)
        self._selector.close()
