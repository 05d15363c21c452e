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

_LONGEST_LINE = 4096  # bytes by which a file may pass its limit to end a line
_CHUNK = 65536  # the size of a pipe's buffer on Linux, pipe(7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Output that found no room: a full disk. `lines` are those that ended in it."""

    bytes: int
    lines: int


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

    def take_lost(self, *, at_end: bool = False) -> Lost | None:
        """What could not be written, once writing works again (`at_end`: whatever was lost)."""
        ...

    def files_in_use(self) -> set[tuple[int, int]]:
        """The files held open for writing, as (device, inode)."""
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

    def take_lost(self, *, at_end: bool = False) -> Lost | None:
        del at_end
        return None  # the bot counts its own

    def files_in_use(self) -> set[tuple[int, int]]:
        return set()  # they are the bot's

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
    lost_lines: int = 0
    is_losing: bool = False  # the last write failed; the next one begins a line of its own
    is_mid_line: bool = False  # what was lost ended inside a line, whose rest goes too


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

    def take_lost(self, *, at_end: bool = False) -> Lost | None:
        """What could not be written because the disk was full, once that is over."""
        told = [s for s in self._streams.values() if s.lost and (at_end or not s.is_losing)]
        if not told:
            return None
        lost = Lost(bytes=sum(s.lost for s in told), lines=sum(s.lost_lines for s in told))
        for stream in told:
            stream.lost = stream.lost_lines = 0
        return lost

    def files_in_use(self) -> set[tuple[int, int]]:
        infos = [os.fstat(s.file) for s in self._streams.values() if s.file is not None]
        return {(info.st_dev, info.st_ino) for info in infos}

    def open(self) -> tuple[int, int]:
        # Not the reader's descriptor: O_NONBLOCK belongs to an open file and the child must block.
        first, second = (_open_fifo(s.fifo, os.O_RDWR) for s in self._streams.values())
        return first, second

    def sources(self) -> tuple[int, ...]:
        return tuple(self._streams)

    def drain(self, source: int) -> bool:
        stream = self._streams[source]
        try:
            file = self._today(stream)
            return self._copy(stream, file) if stream.is_losing else self._move(stream, file)
        except BlockingIOError:
            return False
        except OSError:
            # It can't be written; left where it is it would block the program.
            data = _read_some(source)
            if data:
                self._lose(stream, data)
            return bool(data)

    def _move(self, stream: _Stream, file: int, count: int = _CHUNK) -> bool:
        """Move what is there to the end of the file, whose only writer we are. Errors: OSError."""
        end = os.fstat(file).st_size
        try:
            flags = os.SPLICE_F_NONBLOCK
            return os.splice(stream.reader, file, count, offset_dst=end, flags=flags) > 0
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
        # A file system that can't: two steps, and a kill between them costs a chunk.
        return self._copy(stream, file)

    def _copy(self, stream: _Stream, file: int) -> bool:
        """Read and write: where splice can't, and after a loss, to go on with a whole line."""
        data = _read_some(stream.reader)
        if not data:
            return False
        kept = data
        if stream.is_mid_line:
            rest, newline, kept = data.partition(b"\n")
            self._lose(stream, rest + newline)
        if not kept:
            return True
        end = os.fstat(file).st_size
        begin = b"\n" if stream.is_losing and not _is_at_line_end(file) else b""
        try:
            os.lseek(file, end, os.SEEK_SET)
            write_all(file, begin + kept)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file, end)  # no half line
            self._lose(stream, kept)
        else:
            stream.is_losing = False
        return True

    def _lose(self, stream: _Stream, data: bytes) -> None:
        if not stream.is_losing and stream.file is not None:
            with contextlib.suppress(OSError):  # no half line stays
                stream.lost += _cut_fragment(stream.file)
        stream.is_losing = True
        stream.lost += len(data)
        stream.lost_lines += data.count(b"\n")
        stream.is_mid_line = not data.endswith(b"\n")

    def close(self) -> None:
        for stream in self._streams.values():
            os.close(stream.reader)
            if stream.file is not None:
                os.close(stream.file)
        self._streams.clear()

    def _today(self, stream: _Stream) -> int:
        """Give the descriptor of today's file, a fresh one at midnight and at the size limit.

        A line that has begun is ended in the file where it began.
        """
        day = time.strftime("%Y-%m-%d")
        if stream.file is not None:
            info = os.fstat(stream.file)
            is_full = info.st_size >= MAX_BYTES
            is_due = is_full or stream.day != day
            if info.st_nlink == 0 or (is_due and self._end_line(stream, stream.file)):
                os.close(stream.file)
                stream.file = None
                if is_full and stream.day == day and info.st_nlink:
                    rotate(dated_dir(self._log_dir) / stream.name)
        if stream.file is None:
            stream.file = open_output(self._log_dir, stream.name)
            stream.day = day
            # splice() refuses O_APPEND.
            flags = fcntl.fcntl(stream.file, fcntl.F_GETFL)
            fcntl.fcntl(stream.file, fcntl.F_SETFL, flags & ~os.O_APPEND)
        return stream.file

    def _end_line(self, stream: _Stream, file: int) -> bool:
        """Move the rest of a line that has begun; False: it isn't written yet. Errors: OSError."""
        for _ in range(_LONGEST_LINE):
            if _is_at_line_end(file):
                return True
            try:
                if not self._move(stream, file, 1):
                    return False
            except BlockingIOError:
                return False
        return True  # no text


def make_output(*, is_bot: bool, run_dir: Path, log_dir: Path) -> Output:
    """Choose by the kind of program."""
    return FileOutput(log_dir) if is_bot else FifoOutput(run_dir, log_dir)


def _is_at_line_end(file: int) -> bool:
    """Whether the next byte begins a line. The descriptor itself may be for writing only."""
    size = os.fstat(file).st_size
    if size == 0:
        return True
    reader = os.open(f"/proc/self/fd/{file}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(reader, 1, size - 1) == b"\n"
    finally:
        os.close(reader)


def _cut_fragment(file: int) -> int:
    """Cut off a line that has begun at the file's end; the bytes that went."""
    size = os.fstat(file).st_size
    reader = os.open(f"/proc/self/fd/{file}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        begin = max(0, size - _LONGEST_LINE)
        place = os.pread(reader, size - begin, begin).rfind(b"\n") + 1
    finally:
        os.close(reader)
    if place == 0 and begin > 0:
        return 0
    os.ftruncate(file, begin + place)
    return size - begin - place


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
