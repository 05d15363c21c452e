"""An instance's alerts on their way to disk: the side of those who raise them.

A supervisor, its bot and the alerter append to one file, each alert as one line by one O_APPEND
write, and hold neither a lock nor a descriptor between two alerts. Nothing here raises and nothing
waits: what can't be written is counted, told to `on_drop` and, when there is room again, in the
spool itself.

How the file stays bounded, without losing what nobody has delivered:
- above `ROTATE_BYTES` the file is renamed over the one before it: one atomic step, in which that
  older file goes. It is done only when every channel has taken all of that older file;
- where none has (no alerter runs, or a channel is down), the file may grow to `CAP_BYTES`. Then
  the older one, which holds the oldest alerts, goes all the same, and an alert says how many of
  them were lost;
- who renames takes a lock for it, without waiting: two who do it at once would drop two files.
- a writer that had opened the file before the rename appends to the older one, where readers look
  for it. Should even that be gone after its write, it writes again.

Not synced to disk: that would let a slow disk hold up a supervisor. A power cut may cost the last
seconds. Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from core.alert_files import (
    OLD_NAME,
    ROTATE_LOCK,
    SPOOL_NAME,
    load_state,
    place_in,
    start_in,
)
from core.alert_lines import LEVELS, Alert, parse_alert
from core.alert_repeats import Note, Repeats
from core.files import open_private
from core.masking import escape_controls, mask_text

ROTATE_BYTES = 1 << 20  # about 3,000 alerts
CAP_BYTES = 4 << 20
MESSAGE_MAX = 2000  # characters; a config with many faults is longer, and stands in daemon.log
DROPPED = "alerts_dropped"

_WRITES = 3


class AlertSpool:
    """One writer of one instance's alerts, in one process; its threads may share it."""

    def __init__(
        self,
        run_dir: Path,
        instance_id: str,
        source: str,
        *,
        on_drop: Callable[[str, int], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        rotate_bytes: int = ROTATE_BYTES,
        cap_bytes: int = CAP_BYTES,
    ) -> None:
        """`source` is "supervisor", "bot" or "alerter".

        `on_drop(why, how many so far)` hears of each loss.
        """
        self._run_dir = run_dir
        self._instance_id = instance_id
        self._source = source
        self._on_drop = on_drop
        self._clock = clock
        self._rotate_bytes = rotate_bytes
        self._cap_bytes = cap_bytes
        self._repeats = Repeats()
        self._token = ""
        self._pid = 0
        self._count = 0
        self._lock = threading.Lock()
        self.dropped = 0  # since the last one that could be written

    def add(self, level: str, kind: str, message: str) -> bool:
        """Raise an alert; False when it could not be written. Never raises, never waits."""
        self.tell_repeats()
        try:
            text = _shortened(mask_text(message))
            with self._lock:
                if not self._repeats.admit(level, kind, text, self._clock()):
                    return True
                return self._write(Note(level=level, kind=kind, message=text))
        except Exception as error:  # whatever it is, the one who raised the alert goes on
            self._drop(error)
            return False

    def tell_repeats(self, *, at_end: bool = False) -> None:
        """Write what was only counted, once its time is over (`at_end`: at once)."""
        try:
            with self._lock:
                for note in self._repeats.take_due(self._clock(), at_end=at_end):
                    self._write(note)
        except Exception as error:
            self._drop(error)

    def next_due(self) -> float | None:
        """When `tell_repeats` has something to write."""
        return self._repeats.next_due()

    def _write(self, note: Note) -> bool:
        """Append one alert, after a word on those that were dropped before it."""
        try:
            if self.dropped:
                words = f"{self.dropped} alerts could not be written here"
                lost = Note(level="warning", kind=DROPPED, message=words, repeats=self.dropped)
                self._append(self._line(lost))
                self.dropped = 0
            self._append(self._line(note))
        except (OSError, ValueError) as error:
            self._repeats.forget(note.kind, note.message)
            self._drop(error)
            return False
        return True

    def _drop(self, error: Exception) -> None:
        self.dropped += 1
        if self._on_drop is not None:
            why = error.strerror if isinstance(error, OSError) else None
            try:
                self._on_drop(why or type(error).__name__, self.dropped)
            except Exception:  # the same full disk
                return

    def _line(self, note: Note) -> bytes:
        alert = Alert(
            id=self._next_id(),
            time=datetime.now().astimezone().isoformat(timespec="milliseconds"),
            instance_id=self._instance_id,
            source=self._source,
            level=note.level if note.level in LEVELS else "warning",
            kind=note.kind,
            message=_shortened(note.message),
            repeats=note.repeats,
        )
        return alert.to_line()

    def _next_id(self) -> str:
        if self._pid != os.getpid():  # a fork goes on with numbers of its own
            self._pid, self._token, self._count = os.getpid(), os.urandom(4).hex(), 0
        self._count += 1
        return f"{self._instance_id}.{self._pid}.{self._token}.{self._count}"

    # The file -------------------------------------------------------------------------------------

    def _append(self, line: bytes) -> None:
        """Errors: OSError; then nothing of it counts as written."""
        path = self._run_dir / SPOOL_NAME
        for _ in range(_WRITES):
            fd = open_private(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
            try:
                size = os.fstat(fd).st_size
                # A line that a full disk cut short must not swallow this one.
                is_cut = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
                data = b"\n" + line if is_cut else line
                if os.write(fd, data) < len(data):
                    raise OSError(errno.ENOSPC, "written in part", str(path))
                info = os.fstat(fd)
            finally:
                os.close(fd)
            if info.st_nlink:
                break  # else it was dropped meanwhile, maybe before our line was in it
        if info.st_size > self._rotate_bytes:
            with contextlib.suppress(OSError):  # the alert itself is written
                self._rotate(path)

    def _rotate(self, path: Path) -> None:
        """Let the older file go and begin a new one, if that may be done. Errors: OSError."""
        lock = open_private(self._run_dir / ROTATE_LOCK, os.O_RDWR | os.O_CREAT)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # the other writer is at it
            size = path.lstat().st_size  # not there: the other writer has just renamed it
            if size <= self._rotate_bytes:
                return  # it was quicker
            old = path.with_name(OLD_NAME)
            start, end = self._undelivered(old)
            if start < end and size <= self._cap_bytes:
                return
            lost = _count(old, start, end) if start < end else 0
            path.rename(old)
        finally:
            os.close(lock)
        if lost:
            words = f"the {lost} oldest alerts were dropped before every channel had them"
            note = Note(level="warning", kind=DROPPED, message=words, repeats=lost)
            self._append(self._line(note))

    def _undelivered(self, old: Path) -> tuple[int, int]:
        """Give the part of the older file that some channel still wants; all, when none runs."""
        try:
            fd = open_private(old, os.O_RDONLY)
        except FileNotFoundError:
            return 0, 0
        try:
            size = os.fstat(fd).st_size
            state = load_state(self._run_dir.parent.parent)
            active = state.get("active")
            channels = active if isinstance(active, list) and active else [""]
            places = [place_in(state, str(one), self._run_dir.name) for one in channels]
            return min(start_in(fd, size, place) for place in places), size
        finally:
            os.close(fd)


def _count(path: Path, start: int, end: int) -> int:
    """Count the alerts in a part of a file; a note of lost ones that goes too counts for them."""
    fd = open_private(path, os.O_RDONLY)
    try:
        lines = os.pread(fd, end - start, start).split(b"\n")
    finally:
        os.close(fd)
    alerts = [alert for line in lines if (alert := parse_alert(line)) is not None]
    return sum(alert.repeats if alert.kind == DROPPED else 1 for alert in alerts)


def _shortened(text: str) -> str:
    text = escape_controls(text, keep="\n")
    return text if len(text) <= MESSAGE_MAX else text[: MESSAGE_MAX - 1] + "…"
