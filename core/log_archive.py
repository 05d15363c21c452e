"""Old days of an instance's logs, compressed: `bot_stdout.log` becomes `bot_stdout.log.gz`.

Only days before yesterday: nobody writes into them any more. Should somebody all the same (a
program that holds its file over two midnights), the caller names what is in use and it is left
alone. A file is replaced only after its copy has been written, read back and compared in length
and checksum. Runs in a short-lived process of its own: a supervisor never loads gzip. Standard
library only.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import zlib
from collections.abc import Collection
from datetime import date
from pathlib import Path

from core.files import open_private
from core.log_files import today
from core.log_reading import dated_folders

_LOG = re.compile(r"[A-Za-z0-9_-]+\.log(\.[0-9]+)?")
_TEMP = ".gz.tmp"
_BLOCK = 1 << 20
_LEVEL = 6  # zlib's own default: twice as fast as 9, for two per cent more

FileId = tuple[int, int]


def compress_old(
    log_dir: Path, *, in_use: Collection[FileId] = (), day: date | None = None
) -> dict[str, int]:
    """Compress what is older than yesterday; how many files, how many bytes that freed.

    `in_use` are (device, inode) pairs. What can't be compressed stays as it is. `day` is today.
    """
    now = day or today()
    files = freed = 0
    for found, folder in dated_folders(log_dir):
        if (now - found).days < 2:
            continue
        for entry in sorted(folder.iterdir()):
            if entry.name.endswith(_TEMP):
                with contextlib.suppress(OSError):
                    entry.unlink()  # of a run that was killed
            elif _LOG.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    saved = _compress(entry, in_use)
                    files, freed = files + (saved is not None), freed + (saved or 0)
    return {"files": files, "freed": freed}


def _compress(path: Path, in_use: Collection[FileId]) -> int | None:
    """Replace one file; the bytes saved. None: it is in use, or no regular file."""
    source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(source, "rb") as plain:
        before = os.fstat(source)
        if (before.st_dev, before.st_ino) in in_use or not path.is_file():
            return None
        target, temp = path.with_name(f"{path.name}.gz"), path.with_name(f"{path.name}{_TEMP}")
        out = open_private(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            length = checksum = 0
            with os.fdopen(out, "wb") as raw:
                with gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as packed:
                    while block := plain.read(_BLOCK):
                        packed.write(block)
                        length, checksum = length + len(block), zlib.crc32(block, checksum)
                raw.flush()
                os.fsync(raw.fileno())
            if _read_back(temp) != (length, checksum) or os.fstat(source).st_size != length:
                raise OSError(f"{path}: was written to meanwhile")
            os.utime(temp, ns=(before.st_atime_ns, before.st_mtime_ns))
            size = temp.stat().st_size
            temp.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                temp.unlink()
            raise
    path.unlink()
    return max(0, length - size)


def _read_back(path: Path) -> tuple[int, int]:
    length = checksum = 0
    with gzip.open(path, "rb") as packed:
        while block := packed.read(_BLOCK):
            length, checksum = length + len(block), zlib.crc32(block, checksum)
    return length, checksum
