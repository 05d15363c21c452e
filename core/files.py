"""Files that only we may have written: private, never through a planted link, never half there.

Directories are 0700 and files 0600 whatever the umask says. Nothing is opened through a symbolic
link or into a FIFO that somebody left at the name (a plain open would follow the link and
overwrite its target). A file is published by a temporary one beside it, fsync and rename, so a
reader sees the old text or the new one. Standard library only: a supervisor loads this.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from core.errors import ConfigError

_TEMP_SUFFIX = ".tmp"


def make_private_dir(path: Path) -> Path:
    """Create the directory and its missing parents, each 0700; an existing one is left as it is.

    Errors: OSError; NotADirectoryError when something else stands at the name.
    """
    if path.is_dir():
        return path
    if path.parent != path:
        make_private_dir(path.parent)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "is not a directory", str(path)) from None
    return path


def open_private(path: Path, flags: int) -> int:
    """Open a regular file, 0600 when `flags` create it, and return its descriptor.

    Errors: ConfigError when the name is a link, a FIFO, a device or a directory; OSError else.
    """
    # O_NONBLOCK: a planted FIFO must not hang us before we have looked at it.
    opened = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags | opened, 0o600)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise _refused(path, "is a symbolic link") from None
        if error.errno in (errno.ENXIO, errno.EISDIR):
            raise _refused(path, "is not a regular file") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _refused(path, "is not a regular file")
    os.set_blocking(descriptor, True)
    return descriptor


def read_private(path: Path, limit: int = 16 * 1024 * 1024) -> bytes | None:
    """Read a file whole; None when there is none. Errors: ConfigError (planted, over `limit`)."""
    try:
        descriptor = open_private(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ConfigError(f"{path}: is larger than {limit} bytes, which no file of ours is")
    return data


def write_atomic(path: Path, data: bytes) -> None:
    """Replace the file: after a crash at any moment it holds the old bytes or the new ones.

    Errors: ConfigError when a link or anything but a regular file stands at the name; OSError
    (a full disk) with the old file untouched.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise _refused(path, "is not a regular file (a link?)")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}{_TEMP_SUFFIX}")
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_dir(path.parent)


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte. Errors: OSError, with a part of them written."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_dir(path: Path) -> None:
    """Make a rename in the directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def leftover_temporaries(path: Path) -> Iterator[Path]:
    """Find what a `write_atomic` of `path` left when it was killed; for the holder of its lock."""
    return path.parent.glob(f".{path.name}.*{_TEMP_SUFFIX}")


def _refused(path: Path, why: str) -> ConfigError:
    return ConfigError(f"{path}: {why}; we made no such thing, so look at it and remove it")
