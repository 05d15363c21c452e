"""The file under a database: created 0600 in 0700 folders, and never through a planted link.

Opens no file for reading or writing but a brand-new one. The reason is a trap of POSIX locks:
closing any descriptor of a file drops every lock that the process holds on it, so a plain open and
close beside a live SQLite connection would silently unlock it (sqlite.org/howtocorrupt.html, 2.2).
An O_PATH descriptor holds no lock and drops none.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from core.errors import StoreError

MEMORY = ":memory:"
SIDE_FILES = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database; it gives them the database's own mode."""


def prepare_file(path: Path) -> None:
    """Make sure that `path` and its side files are plain files or absent; create `path` if absent.

    Folders that are missing are created 0700; a folder that exists is left as it is, since it may
    be shared. Errors: StoreError, with every existing file whole.
    """
    try:
        _make_folders(path.parent)
        for each in _side_files(path):
            _is_plain(each)
        if not _is_plain(path):
            create_private(path)
    except OSError as error:
        raise _unusable(path, error) from error


def make_private(path: Path) -> None:
    """Make `path` and its side files 0600 where they are wider. Errors: StoreError."""
    try:
        for each in (path, *_side_files(path)):
            _narrow(each)
    except OSError as error:
        raise _unusable(path, error) from error


def require_file(path: Path) -> None:
    """Refuse a database that is absent or no plain file; for readers, who create nothing."""
    try:
        present = _is_plain(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not present:
        raise StoreError(f"{path}: there is no such database; start the instance once to create it")


def create_private(path: Path) -> None:
    """Create an empty file, 0600 whatever the umask. Errors: OSError when the name is taken."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(path, flags, 0o600))


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folders(folder: Path) -> None:
    # One by one: the mode given to makedirs() reaches only the last folder.
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)


def _is_plain(path: Path) -> bool:
    """False when there is nothing; StoreError when it is anything but a regular file."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(mode):
        kind = "a symbolic link" if stat.S_ISLNK(mode) else "no regular file"
        raise StoreError(
            f"{path}: is {kind}; a database is a plain file of its own: find out who put it there, "
            f"remove it, or set daemon_config.db_path elsewhere"
        )
    return True


def _narrow(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise StoreError(f"{path}: was replaced while it was being opened; find out by whom")
        if stat.S_IMODE(mode) & 0o177:
            # fchmod() refuses an O_PATH descriptor; its /proc name reaches the very same inode.
            Path(f"/proc/self/fd/{descriptor}").chmod(0o600)
    finally:
        os.close(descriptor)


def _side_files(path: Path) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in SIDE_FILES]


def _unusable(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{path}: cannot be prepared: {error.strerror or error}; "
        f"give this user write permission there, or set daemon_config.db_path elsewhere"
    )
