"""Files that only we may have written: private, never through a planted link, never half there.

Directories are made 0700 and files 0600 whatever the umask says. Nothing is opened through a
symbolic link or into a FIFO that somebody left at the name (a plain open would follow the link
and overwrite its target). A file is published by a temporary one beside it, fsync and rename, so a
reader sees the old text or the new one. Standard library only: a supervisor loads this.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

DIR_MODE = 0o700
FILE_MODE = 0o600


def make_private_dir(path: Path) -> Path:
    """Make the folder and whatever is missing above it, 0700; an existing one is left as it is.

    Errors: OSError (ELOOP) when a link stands at the name, NotADirectoryError for a file.
    """
    missing: list[Path] = []
    for folder in (path, *path.parents):
        if os.path.lexists(folder):
            break
        missing.append(folder)
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another process was quicker: looked at below
            folder.mkdir(mode=DIR_MODE)
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, "is a link, expected a folder of its own", str(path))
    if not stat.S_ISDIR(mode):
        raise NotADirectoryError(errno.ENOTDIR, "is not a folder", str(path))
    return path


def open_private(path: Path, flags: int) -> int:
    """Open a regular file, made 0600 if it is new; returns the descriptor, close-on-exec.

    An existing file of ours that others may read is narrowed to 0600.
    Errors: OSError (ELOOP) for a link, (EINVAL) for anything that is no regular file.
    """
    # O_NONBLOCK so that a planted FIFO cannot hold us; a regular file does not know it.
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, FILE_MODE)
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
        if stat.S_IMODE(info.st_mode) & 0o077 and info.st_uid == os.geteuid():
            os.fchmod(fd, stat.S_IMODE(info.st_mode) & ~0o077)
        os.set_blocking(fd, True)
    except BaseException:
        os.close(fd)
        raise
    return fd


def publish(
    path: Path, data: bytes | str, *, durable: bool = True, sync_folder: bool = True
) -> None:
    """Write a whole file atomically, 0600: a reader sees the old one or the new one, never half.

    Not `durable`: for what only informs and means nothing after a power cut; it saves the waiting
    for the disk. Not `sync_folder`: the caller does that, once for several files.
    The folder must exist. Errors: OSError; the old file is then still there, whole, and nothing
    is left beside it. A link at `path` is refused (ELOOP).
    """
    if path.is_symlink():
        raise OSError(errno.ELOOP, "is a link, expected a file of its own", str(path))
    temp = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    fd = open_private(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        try:
            write_all(fd, data.encode() if isinstance(data, str) else data)
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        temp.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temp.unlink()
        raise
    if durable and sync_folder:
        sync_dir(path.parent)


def remove_leftovers(path: Path) -> None:
    """Remove what a killed `publish` of `path` left beside it; for the holder of its lock only."""
    begin = f".{path.name}."
    with contextlib.suppress(OSError):
        for name in os.listdir(path.parent):  # noqa: PTH208 - a glob compiles, and costs ten times
            if name.startswith(begin) and name.endswith(".tmp"):
                with contextlib.suppress(OSError):
                    (path.parent / name).unlink()


def write_all(fd: int, data: bytes) -> None:
    """Write every byte. Errors: OSError, with a part of them written."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_file(path: Path) -> None:
    """Wait until the file's content is on the disk. Errors: OSError; a link is refused (ELOOP)."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_dir(path: Path) -> None:
    """Make a rename in this folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
