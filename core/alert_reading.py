"""The spooled alerts as a reader finds them: in order, from a place on, while others write.

How two files are read as one, without a lock, against a writer that renames:
- a look is taken again when the newer file's name came to mean another file within it;
- the newer file's size is taken before the older file is read, and no more than that is read of
  it: what a late writer has appended to the older one then comes before that writer's next alert.

A line that is not whole yet is left for the next time; one that can't be read as an alert (a full
disk cut it) is skipped. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from core.alert_files import OLD_NAME, SPOOL_NAME, file_id, start_in
from core.alert_lines import Entry, parse_alert
from core.files import open_private
from core.paths import is_safe_name

_LOOKS = 5


def read_spool(run_dir: Path, place: Mapping[str, int] | None = None) -> list[Entry]:
    """Give what is in an instance's spool behind `place`, oldest first. Errors: OSError."""
    for attempt in range(_LOOKS):
        newer = _open(run_dir / SPOOL_NAME)
        try:
            size = 0 if newer is None else os.fstat(newer).st_size
            older = _open(run_dir / OLD_NAME)
            try:
                if _is_at(newer, run_dir / SPOOL_NAME) or attempt == _LOOKS - 1:
                    entries: list[Entry] = []
                    if older is not None:
                        entries += _entries(run_dir.name, older, os.fstat(older).st_size, place)
                    if newer is not None:
                        entries += _entries(run_dir.name, newer, size, place)
                    return entries
            finally:
                if older is not None:
                    os.close(older)
        finally:
            if newer is not None:
                os.close(newer)
    return []


def spools(root: Path) -> Iterator[tuple[Path, tuple[int, ...]]]:
    """Give each run directory that holds a spool, by name, with what changes when it grows."""
    with contextlib.suppress(OSError):
        names = sorted(entry.name for entry in os.scandir(root / "logs"))
        for name in filter(is_safe_name, names):
            mark: list[int] = []
            for file in (SPOOL_NAME, OLD_NAME):
                with contextlib.suppress(OSError):
                    info = (root / "logs" / name / file).lstat()
                    mark += [info.st_ino, info.st_size, info.st_mtime_ns]
            if mark:
                yield root / "logs" / name, tuple(mark)


def files_of(run_dir: Path) -> set[str]:
    """Name the files that are there now: places in others mean nothing any more."""
    found = set()
    for name in (SPOOL_NAME, OLD_NAME):
        with contextlib.suppress(OSError):
            descriptor = _open(run_dir / name)
            if descriptor is not None:
                found.add(file_id(descriptor))
                os.close(descriptor)
    return found - {""}


def _open(path: Path) -> int | None:
    try:
        return open_private(path, os.O_RDONLY)
    except FileNotFoundError:
        return None


def _is_at(descriptor: int | None, path: Path) -> bool:
    """Whether the name still means what it meant when it was opened (None: nothing)."""
    try:
        there = path.lstat()
    except FileNotFoundError:
        return descriptor is None
    if descriptor is None:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _entries(
    instance_id: str, descriptor: int, size: int, place: Mapping[str, int] | None
) -> list[Entry]:
    file = file_id(descriptor)
    start = start_in(descriptor, size, place or {})
    data = os.pread(descriptor, size - start, start) if file and start < size else b""
    entries, end = [], start
    for line in data.split(b"\n")[:-1]:  # the last one is not whole yet, or empty
        end += len(line) + 1
        if line:
            alert = parse_alert(line)
            entries.append(Entry(alert=alert, instance_id=instance_id, file=file, end=end))
    return entries
