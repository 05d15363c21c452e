"""SQLite's errors in words for the operator: the file, what was being done, and the fix.

Reads nothing but the names beside a database, to point at its newest backup.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path


def explain(path: str, doing: str, error: Exception, busy_timeout_s: float) -> str:
    """One line for the operator: the file, what was being done, what SQLite said, the fix."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without SQLite's extended part
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        fix = corrupt_advice(path)
    else:
        fix = _FIXES.get(code, "").format(seconds=busy_timeout_s)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    text = f"{path}: could not {doing}: {error} ({name}); nothing was written"
    return f"{text}. {fix}" if fix else text


def corrupt_advice(path: str) -> str:
    """What to do with a damaged file, naming the newest backup."""
    backups = list_backups(Path(path))
    if backups:
        return (
            f"The file is damaged and was left as it is. Stop the instance, keep a copy of it, and "
            f"restore the newest backup, {backups[-1]}, or what `sqlite3 {path} .recover` saves"
        )
    return (
        f"The file is damaged and was left as it is; there is no backup beside it. Stop the "
        f"instance, keep a copy of it, and restore a backup of your own or what "
        f"`sqlite3 {path} .recover` saves"
    )


def list_backups(path: Path) -> list[Path]:
    """The backups beside a database, oldest first; names end in their time, which sorts."""
    pattern = f"{path.name}.backup-v"
    if not path.parent.is_dir():
        return []
    found = [
        each
        for each in path.parent.iterdir()
        if each.name.startswith(pattern) and each.name.endswith("Z")
    ]
    return sorted(found, key=lambda each: each.name.rpartition("-")[2])


_FIXES = {
    sqlite3.SQLITE_FULL: "The disk is full: free space on it; the next write succeeds by itself",
    sqlite3.SQLITE_IOERR: (
        "The disk refused: look for a full disk (`df -h`, `df -i`), a quota or a file size limit "
        "(`ulimit -f`), then at the kernel's log for a failing one"
    ),
    sqlite3.SQLITE_BUSY: (
        "Another connection has held the write lock for over {seconds:g} s: close sqlite3 shells, "
        "copies and backup tools on this file (`fuser -v` names them)"
    ),
    sqlite3.SQLITE_LOCKED: "Another statement of this process holds the table: a bug of ours",
    sqlite3.SQLITE_READONLY: (
        "It is read-only: give this user write permission on the file and its folder"
    ),
    sqlite3.SQLITE_PERM: "Give this user permission on the file and its folder",
    sqlite3.SQLITE_CANTOPEN: (
        "It cannot be opened: check that the folder exists, that this user may write in it, and "
        "the limit of open files (`ulimit -n`)"
    ),
    sqlite3.SQLITE_CONSTRAINT: (
        "The ledger's own rules refuse it: a bug of ours, never a reason to go on"
    ),
}
