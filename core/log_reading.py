"""Reading an instance's logs: the last lines, and following along, over rotations and midnights.

A log `name` lives at `{log_dir}/YYYY-MM-DD/name`; when it reaches its size it is renamed to
`name.1` (older ones move to `.2` and on) and a new `name` begins. Oldest to newest is
therefore: earlier days first, and within a day the highest number first and the bare name last.
Old days may be compressed, each of these names with `.gz` behind it.
A reader takes no lock and never writes. Standard library only.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

_DATED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_BLOCK = 65_536
_MAX_LINE = 1_048_576  # a longer one is cut by `tail`, so that a file without newlines can't hurt
FOLLOW_PERIOD_S = 0.2


def dated_folders(log_dir: Path) -> list[tuple[date, Path]]:
    """Find the day folders, oldest first: real directories whose whole name is a calendar date."""
    found = []
    try:
        entries = list(os.scandir(log_dir))
    except OSError:
        return []
    for entry in entries:
        if _DATED.fullmatch(entry.name) is None or not entry.is_dir(follow_symlinks=False):
            continue
        try:
            day = date.fromisoformat(entry.name)
        except ValueError:  # 2026-02-31
            continue
        found.append((day, Path(entry.path)))
    return sorted(found)


def parts(log_dir: Path, name: str) -> list[Path]:
    """List every file of one log, oldest first."""
    found: list[Path] = []
    for _, folder in dated_folders(log_dir):
        numbered: dict[int, Path] = {}
        for path in folder.glob(f"{name}*"):
            suffix = path.name[len(name) :].removesuffix(".gz")
            number = suffix[1:] if suffix else "0"
            if suffix[:1] not in ("", ".") or not (number.isascii() and number.isdigit()):
                continue
            # Both are there when a compression was interrupted: the plain one is the whole one.
            if path.is_file() and (path.suffix != ".gz" or int(number) not in numbered):
                numbered[int(number)] = path
        found += [path for _, path in sorted(numbered.items(), reverse=True)]
    return found


def tail(log_dir: Path, name: str, count: int) -> list[str]:
    """Return the last `count` lines, oldest first, reaching back over days as far as needed."""
    return lines_of(parts(log_dir, name), count)


def tail_of(log_dir: Path, name: str, count: int, *, before: tuple[int, int] | None) -> list[str]:
    """Return the last `count` lines of the files older than one (device, inode).

    None: those of earlier days.
    """
    today, older = time.strftime("%Y-%m-%d"), []
    for path in parts(log_dir, name):
        info = path.stat()
        if (info.st_dev, info.st_ino) == before or (before is None and path.parent.name == today):
            break
        older.append(path)
    return lines_of(older, count)


def follow(
    log_dir: Path,
    name: str,
    lines: int = 0,
    wait: Callable[[float], object] = time.sleep,
) -> Iterator[str]:
    """Yield the last `lines` lines, then every new one as it is written, for ever.

    `wait(seconds)` is called when there is nothing new; the iteration ends when it returns True
    (so `threading.Event().wait` serves). Rotation, midnight and a log that does not exist yet
    lose nothing.
    """
    existing = parts(log_dir, name)
    current = _open(existing[-1]) if existing else None
    try:
        if current is not None:
            # One end for both: what stands before it is the tail, what comes after is followed.
            end = _end_of_lines(current)
            os.lseek(current, end, os.SEEK_SET)
            last = lines_before(current, end, lines)
            yield from lines_of(existing[:-1], lines - len(last))
            yield from last
        rest = b""
        while True:
            if current is not None:
                rest += _read_on(current)
                *whole, rest = rest.split(b"\n")
                yield from (line.decode("utf-8", "replace") for line in whole)
            successor = _successor(log_dir, name, current)
            if successor is not None:
                if current is not None:
                    rest += _read_on(current)  # written between our read and the rotation
                    *whole, rest = rest.split(b"\n")
                    yield from (line.decode("utf-8", "replace") for line in whole)
                    os.close(current)
                current = successor
            elif wait(FOLLOW_PERIOD_S) is True:
                return
    finally:
        if current is not None:
            os.close(current)


def _successor(log_dir: Path, name: str, current: int | None) -> int | None:
    """Open the file that comes after `current`; None: there is none yet."""
    found = parts(log_dir, name)
    if current is None:
        return _open(found[0]) if found else None
    here = os.fstat(current)
    place = -1
    for index, path in enumerate(found):
        try:
            there = path.lstat()
        except OSError:
            continue
        if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
            place = index
    if place + 1 >= len(found):
        return None
    # A file of ours that has been deleted meanwhile: go on with the newest.
    return _open(found[place + 1] if place >= 0 else found[-1])


def _open(path: Path) -> int | None:
    """Open a file for reading; of a compressed one its content, in memory."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    return _unpacked(fd) if path.suffix == ".gz" else fd


def _unpacked(fd: int) -> int | None:
    import gzip  # only a reader that reaches back for days needs it

    memory = os.memfd_create("log", os.MFD_CLOEXEC)
    try:
        with os.fdopen(fd, "rb") as packed, gzip.GzipFile(fileobj=packed) as plain:
            while block := plain.read(_BLOCK):
                os.write(memory, block)
    except (OSError, EOFError):  # damaged: what came until there
        pass
    os.lseek(memory, 0, os.SEEK_SET)
    return memory


def _read_on(descriptor: int) -> bytes:
    pieces = []
    while piece := os.read(descriptor, _BLOCK):
        pieces.append(piece)
        if len(pieces) >= 256:  # 16 MB at a time: the caller comes back for more
            break
    return b"".join(pieces)


def _end_of_lines(descriptor: int) -> int:
    """Find where the last whole line ends, so that following never begins inside a line."""
    end = os.fstat(descriptor).st_size
    start = max(0, end - _MAX_LINE)
    newline = os.pread(descriptor, end - start, start).rfind(b"\n")
    return start + newline + 1


def lines_of(files: list[Path], count: int) -> list[str]:
    """Return the last `count` lines of these files, oldest file first."""
    lines: list[str] = []
    for path in reversed(files):
        if len(lines) >= count:
            break
        descriptor = _open(path)
        if descriptor is None:
            continue
        try:
            end = os.fstat(descriptor).st_size
            lines = lines_before(descriptor, end, count - len(lines)) + lines
        finally:
            os.close(descriptor)
    return lines


def lines_before(descriptor: int, end: int, count: int) -> list[str]:
    """Read backwards from `end` in blocks until `count` lines are there."""
    if count <= 0:
        return []
    data = b""
    while end > 0 and data.count(b"\n") <= count and len(data) < count * _MAX_LINE:
        step = min(_BLOCK, end)
        end -= step
        data = os.pread(descriptor, step, end) + data
    found = data.split(b"\n")
    if not found[-1]:
        found.pop()
    return [line[:_MAX_LINE].decode("utf-8", "replace") for line in found[-count:]]
