"""Seeing that a config file has changed, without polling.

inotify on its folder tells at once; a look at the file itself (`has_changed`), made whenever the
supervisor is awake anyway, finds what inotify can't see: a link that leads elsewhere, a network
file system, a machine that has no watch left. What changed is decided by content, later.
Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from pathlib import Path

# <sys/inotify.h>
_IN_CLOEXEC = 0o2000000
_IN_NONBLOCK = 0o4000
_MASK = 0x2 | 0x8 | 0x40 | 0x80 | 0x100 | 0x200  # MODIFY CLOSE_WRITE MOVED CREATE DELETE
_ONLYDIR = 0x01000000
_Q_OVERFLOW = 0x4000
_EVENT = struct.Struct("iIII")

Signature = tuple[int, int, int, int] | None


class ConfigWatch:
    """One file. `fileno` is ready when something happened in its folder; None: inotify won't."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd: int | None = None
        self._names = {os.fsencode(path.name)}
        self._signature = self._look()
        folders = {path.parent}
        with contextlib.suppress(OSError, RuntimeError):
            real = path.resolve()
            folders.add(real.parent)
            self._names.add(os.fsencode(real.name))
        with contextlib.suppress(OSError):
            self.fd = _watch(folders)

    def take_events(self) -> bool:
        """Read what inotify has; True when the file itself may have changed."""
        if self.fd is None:
            return False
        touched = False
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.fd, 65536):
                touched = self._concerns_us(data) or touched
        return touched

    def has_changed(self) -> bool:
        """Look at the file; True when it is not what it was at the last look."""
        before, self._signature = self._signature, self._look()
        return before != self._signature

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def _look(self) -> Signature:
        try:
            info = self.path.stat()
        except OSError:
            return None
        return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns

    def _concerns_us(self, data: bytes) -> bool:
        place = 0
        while place + _EVENT.size <= len(data):
            _, mask, _, length = _EVENT.unpack_from(data, place)
            place += _EVENT.size
            name = data[place : place + length].rstrip(b"\0")
            place += length
            if mask & _Q_OVERFLOW or name in self._names:
                return True
        return False


def _watch(folders: set[Path]) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(_IN_CLOEXEC | _IN_NONBLOCK)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1")
    watched = [
        libc.inotify_add_watch(fd, os.fsencode(folder), _MASK | _ONLYDIR) for folder in folders
    ]
    if max(watched) < 0:
        os.close(fd)
        raise OSError(ctypes.get_errno(), "inotify_add_watch")
    return int(fd)
