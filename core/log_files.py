"""Writing an instance's log files: dated folders, rotation, retention, one JSON object per line.

Files are `{log_dir}/YYYY-MM-DD/{name}`, by the host's local date, opened O_APPEND (a write is never
torn by another), 0600 and never through a link. At midnight and at a size limit the writer
renames and opens anew, so no line is lost or cut (copy-and-truncate loses both). Full
disks end no process: lines that could not be written are counted, and the count is said as soon as
one can be.

Who rotates what: the supervisor its daemon.log (`JsonLineLog`), run.py its own descriptors 1 and 2
(`OutputRepointer`), a foreign program's output its supervisor. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from core.files import make_private_dir, open_private
from core.log_reading import dated_folders, follow, parts, tail
from core.masking import json_line

__all__ = [
    "BACKUPS",
    "MAX_BYTES",
    "CleanUp",
    "JsonLineLog",
    "OutputRepointer",
    "append_line",
    "clean_up",
    "dated_dir",
    "follow",
    "has_old_days",
    "open_output",
    "parts",
    "rotate",
    "seconds_to_midnight",
    "tail",
    "today",
]

MAX_BYTES = 20 * 1024 * 1024  # of one file, before it becomes `.1`
BACKUPS = 5  # numbered files of one log and day; the oldest goes beyond that


def today() -> date:
    """Give the host's local date."""
    return datetime.now().astimezone().date()


def seconds_to_midnight() -> float:
    """Give the time until the local date changes, for a timer; at least a second."""
    now = datetime.now().astimezone()
    midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time()).astimezone()
    return max(1.0, (midnight - now).total_seconds())


def dated_dir(log_dir: Path, day: date | None = None) -> Path:
    """Name the folder of a day (None: today); it is not created."""
    return log_dir / (day or today()).isoformat()


def open_output(log_dir: Path, name: str, day: date | None = None) -> int:
    """Open today's file of a log for appending and return the descriptor (close-on-exec).

    Errors: OSError; a planted link is refused (ELOOP).
    """
    folder = make_private_dir(dated_dir(log_dir, day))
    return open_private(folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def rotate(path: Path, backups: int = BACKUPS) -> None:
    """Rename `name` to `name.1`, `.1` to `.2` and so on; the one beyond `backups` is deleted."""
    with contextlib.suppress(FileNotFoundError):
        path.with_name(f"{path.name}.{backups}").unlink()
    for number in range(backups - 1, 0, -1):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(f"{path.name}.{number}").rename(
                path.with_name(f"{path.name}.{number + 1}")
            )
    with contextlib.suppress(FileNotFoundError):
        path.rename(path.with_name(f"{path.name}.1"))


def append_line(descriptor: int, line: bytes) -> None:
    """Write a line whole, or, when the disk is full, nothing of it (so that every line parses).

    For the one process that writes the file. Errors: OSError.
    """
    written = os.write(descriptor, line)
    rest = memoryview(line)[written:]
    try:
        while rest:
            count = os.write(descriptor, rest)
            rest, written = rest[count:], written + count
    except OSError:
        with contextlib.suppress(OSError):  # a pipe has no offset: its torn line stays
            end = os.lseek(descriptor, 0, os.SEEK_CUR)  # O_APPEND: behind our last byte
            if end == os.fstat(descriptor).st_size:
                os.ftruncate(descriptor, end - written)
        raise


class JsonLineLog:
    """One log of JSON lines with a single writing process; threads may share it. Nothing raises.

    Every line has `timestamp` (ISO 8601 with zone), `level`, `event`, and the static fields.
    """

    def __init__(
        self,
        log_dir: Path | str,
        name: str = "daemon.log",
        static: Mapping[str, object] | None = None,
        *,
        max_bytes: int = MAX_BYTES,
        backups: int = BACKUPS,
    ) -> None:
        self.log_dir = Path(log_dir)
        self.name = name
        self.dropped = 0
        self._static = dict(static or {})
        self._max_bytes = max_bytes
        self._backups = backups
        self._descriptor: int | None = None
        self._day: date | None = None
        self._lock = threading.Lock()

    def event(self, name: str, level: str = "info", **fields: object) -> bool:
        """Write one event; False when it was dropped (it is counted)."""
        try:
            line = self._line(name, level, fields)
            with self._lock:
                if self.dropped:
                    self._append(self._line("log_lines_dropped", "error", {"count": self.dropped}))
                    self.dropped = 0
                self._append(line)
        except Exception:  # a log must never end the one who logs; the count tells
            self.dropped += 1
            return False
        return True

    def close(self) -> None:
        """Close the file; the next event opens it again."""
        with self._lock:
            self._close()

    def _line(self, name: str, level: str, fields: Mapping[str, object]) -> bytes:
        stamp = datetime.now().astimezone().isoformat(timespec="milliseconds")
        head = {"timestamp": stamp, "level": level, "event": name}
        return json_line({**head, **self._static, **fields})

    def _append(self, line: bytes) -> None:
        append_line(self._current(len(line)), line)

    def _current(self, size: int) -> int:
        """Give the descriptor to write to: of today, below the size limit, not deleted."""
        day = today()
        if self._descriptor is not None:
            info = os.fstat(self._descriptor)
            if day != self._day or info.st_nlink == 0:
                self._close()
            elif info.st_size and info.st_size + size > self._max_bytes:
                self._close()
                rotate(dated_dir(self.log_dir, day) / self.name, self._backups)
        if self._descriptor is None:
            self._descriptor = open_output(self.log_dir, self.name, day)
            self._day = day
        return self._descriptor

    def _close(self) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None


class OutputRepointer:
    """Moves run.py's own descriptors 1 and 2 to a new file at midnight and at a size limit.

    The supervisor opened the first files. Only a descriptor that is one of this log's files is
    touched: not a terminal, not somebody's pipe. Call `check` from a timer, at most
    `seconds_to_midnight` apart and often enough for the size.
    """

    OUTPUTS = ((1, "bot_stdout.log"), (2, "bot_stderr.log"))

    def __init__(
        self,
        log_dir: Path | str,
        *,
        max_bytes: int = MAX_BYTES,
        backups: int = BACKUPS,
        outputs: tuple[tuple[int, str], ...] = OUTPUTS,
    ) -> None:
        self._log_dir = Path(log_dir)
        self._max_bytes = max_bytes
        self._backups = backups
        self._outputs = [item for item in outputs if self._is_ours(*item)]

    def check(self) -> bool:
        """Re-point what is due; True when something was. A full disk leaves all as it is."""
        moved = False
        for descriptor, name in self._outputs:
            with contextlib.suppress(OSError):
                moved = self._check_one(descriptor, name) or moved
        return moved

    def _check_one(self, descriptor: int, name: str) -> bool:
        path = dated_dir(self._log_dir) / name
        here = os.fstat(descriptor)
        try:
            there = path.lstat()
        except FileNotFoundError:  # a new day, or somebody deleted it
            there = None
        is_current = there is not None and (there.st_dev, there.st_ino) == (
            here.st_dev,
            here.st_ino,
        )
        if is_current and here.st_size < self._max_bytes:
            return False
        if is_current:
            rotate(path, self._backups)
        replacement = open_output(self._log_dir, name)
        try:
            stream = {1: sys.stdout, 2: sys.stderr}.get(descriptor)
            if stream is not None:
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()  # what was printed before belongs to the old file
            os.dup2(replacement, descriptor, inheritable=True)
        finally:
            os.close(replacement)
        return True

    def _is_ours(self, descriptor: int, name: str) -> bool:
        try:
            info = os.fstat(descriptor)
        except OSError:
            return False
        if not stat.S_ISREG(info.st_mode):
            return False
        for path in parts(self._log_dir, name):
            with contextlib.suppress(OSError):
                there = path.lstat()
                if (there.st_dev, there.st_ino) == (info.st_dev, info.st_ino):
                    return True
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanUp:
    """What a clean-up removed: the days' names, oldest first, and how many bytes that freed."""

    days: tuple[str, ...] = ()
    freed: int = 0


def clean_up(
    log_dir: Path | str,
    retention_days: int,
    max_mb: int | None = None,
    day: date | None = None,
) -> CleanUp:
    """Delete day folders older than `retention_days`, then the oldest until `max_mb` is kept.

    Today's folder and any later one always stay, and so does every name that is not a date.
    `day` is today (None: the clock's). What can't be deleted is left for the next time.
    """
    now = day or today()
    removed: list[str] = []
    freed = 0
    past = [(found, path) for found, path in dated_folders(Path(log_dir)) if found < now]
    kept = []
    for found, path in past:
        if (now - found).days > retention_days:
            freed += _remove_tree(path)
            removed.append(path.name)
        else:
            kept.append(path)
    if max_mb is not None:
        total = sum(_size(path) for _, path in dated_folders(Path(log_dir)))
        for path in kept:
            if total <= max_mb * 1024 * 1024:
                break
            size = _remove_tree(path)
            total -= size
            freed += size
            removed.append(path.name)
    return CleanUp(days=tuple(removed), freed=freed)


def has_old_days(log_dir: Path, day: date | None = None) -> bool:
    """Tell whether there is a day before yesterday with something to compress."""
    now = day or today()
    return any(
        (now - found).days >= 2 and any(not name.endswith(".gz") for name in os.listdir(path))  # noqa: PTH208 - names alone
        for found, path in dated_folders(log_dir)
    )


def _size(folder: Path) -> int:
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(base) / name).lstat().st_size
    return total


def _remove_tree(folder: Path) -> int:
    """Delete a folder without following any link (shutil would cost a supervisor a megabyte)."""
    freed = _size(folder)
    for base, folders, names in os.walk(folder, topdown=False):
        for name in (*names, *folders):
            path = Path(base) / name
            with contextlib.suppress(OSError):
                path.unlink() if path.is_symlink() or not path.is_dir() else path.rmdir()
    with contextlib.suppress(OSError):
        folder.rmdir()
    return freed
