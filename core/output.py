"""Where a child's standard output and error go.

Our bot writes straight into today's files, opened O_APPEND here and inherited: they survive the
death of either process, never block, and the bot re-points them itself at midnight. Any other
program can't do that, so it gets two FIFOs, which it holds open read-write itself: while a
supervisor lives it drains them into the dated files; when the supervisor dies nothing is lost and
nothing breaks, the program only waits once a FIFO is full, until a supervisor adopts it. The kernel
moves the bytes (splice): what a killed supervisor had taken out of a FIFO is in the file.

A full disk costs lines, which are counted, never supervision. Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from core.files import write_all
from core.log_files import MAX_BYTES, dated_dir, open_output, rotate

STREAMS = ("bot_stdout.log", "bot_stderr.log")

_CHUNK = 65536  # the size of a pipe's buffer on Linux, pipe(7)


class Output(Protocol):
    """The two descriptors for a spawn, and what must be drained while the child lives."""

    def open(self) -> tuple[int, int]:
        """Give stdout and stderr for one spawn; the caller closes them after the fork."""
        ...

    def sources(self) -> tuple[int, ...]:
        """Descriptors to watch for reading; empty when nothing needs draining."""
        ...

    def drain(self, source: int) -> bool:
        """Move what one source has into its file; False when it had nothing."""
        ...

    def take_lost(self) -> int:
        """Bytes that could not be written since this was last asked."""
        ...

    def close(self) -> None: ...


class FileOutput:
    """Straight into the dated files."""

    def __init__(self, log_dir: Path) -> None:
        self._log_dir = log_dir

    def open(self) -> tuple[int, int]:
        stdout = open_output(self._log_dir, STREAMS[0])
        try:
            return stdout, open_output(self._log_dir, STREAMS[1])
        except BaseException:
            os.close(stdout)
            raise

    def sources(self) -> tuple[int, ...]:
        return ()

    def drain(self, source: int) -> bool:
        raise AssertionError(f"nothing to drain, not even {source}")

    def take_lost(self) -> int:
        return 0  # the bot counts its own

    def close(self) -> None:
        return


@dataclass(slots=True)
class _Stream:
    name: str
    fifo: Path
    reader: int
    file: int | None = None
    day: str = ""
    lost: int = 0


class FifoOutput:
    """FIFOs in the run directory, drained into the dated files."""

    def __init__(self, run_dir: Path, log_dir: Path) -> None:
        self._log_dir = log_dir
        self._streams: dict[int, _Stream] = {}
        for name in STREAMS:
            fifo = run_dir / f".{name}.fifo"
            # Open read-write: a FIFO without a writer would make the selector spin on its end.
            reader = _open_fifo(fifo, os.O_RDWR | os.O_NONBLOCK)
            self._streams[reader] = _Stream(name=name, fifo=fifo, reader=reader)

    def take_lost(self) -> int:
        """Bytes that could not be written, because the disk was full, since the last call."""
        lost = sum(stream.lost for stream in self._streams.values())
        for stream in self._streams.values():
            stream.lost = 0
        return lost

    def open(self) -> tuple[int, int]:
        # Not the reader's descriptor: O_NONBLOCK belongs to an open file and the child must block.
        first, second = (_open_fifo(s.fifo, os.O_RDWR) for s in self._streams.values())
        return first, second

    def sources(self) -> tuple[int, ...]:
        return tuple(self._streams)

    def drain(self, source: int) -> bool:
        stream = self._streams[source]
        try:
            return self._move(stream, self._today(stream))
        except BlockingIOError:
            return False
        except OSError:
            # It can't be written; left where it is it would block the program.
            data = _read_some(source)
            stream.lost += len(data)
            return bool(data)

    def _move(self, stream: _Stream, file: int) -> bool:
        """Move what is there to the end of the file, whose only writer we are. Errors: OSError."""
        end = os.fstat(file).st_size
        try:
            flags = os.SPLICE_F_NONBLOCK
            return os.splice(stream.reader, file, _CHUNK, offset_dst=end, flags=flags) > 0
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
        # A file system that can't: two steps, and a kill between them costs a chunk.
        data = _read_some(stream.reader)
        try:
            os.lseek(file, end, os.SEEK_SET)
            write_all(file, data)
        except OSError:
            stream.lost += len(data)
        return bool(data)

    def close(self) -> None:
        for stream in self._streams.values():
            os.close(stream.reader)
            if stream.file is not None:
                os.close(stream.file)
        self._streams.clear()

    def _today(self, stream: _Stream) -> int:
        """Give the descriptor of today's file, a fresh one at midnight and at the size limit."""
        day = time.strftime("%Y-%m-%d")
        if stream.file is not None:
            info = os.fstat(stream.file)
            is_full = info.st_size >= MAX_BYTES
            if is_full or stream.day != day or info.st_nlink == 0:
                os.close(stream.file)
                stream.file = None
                if is_full and stream.day == day:
                    rotate(dated_dir(self._log_dir) / stream.name)
        if stream.file is None:
            stream.file = open_output(self._log_dir, stream.name)
            stream.day = day
            # splice() refuses O_APPEND.
            flags = fcntl.fcntl(stream.file, fcntl.F_GETFL)
            fcntl.fcntl(stream.file, fcntl.F_SETFL, flags & ~os.O_APPEND)
        return stream.file


def make_output(*, is_bot: bool, run_dir: Path, log_dir: Path) -> Output:
    """Choose by the kind of program."""
    return FileOutput(log_dir) if is_bot else FifoOutput(run_dir, log_dir)


def _read_some(source: int) -> bytes:
    try:
        return os.read(source, _CHUNK)
    except BlockingIOError:
        return b""


def _open_fifo(path: Path, flags: int) -> int:
    """Open a FIFO of ours, made if it is new. Errors: OSError when anything else has its name."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(f"{path}: is not a FIFO; we made no such thing, look at it and remove it")
    return fd
