"""The FIFOs of a foreign program: all of it arrives, in order, over full disks and deaths."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.output import FifoOutput


@pytest.fixture
def output(tmp_path: Path) -> Iterator[FifoOutput]:
    made = FifoOutput(tmp_path, tmp_path / "logs")
    yield made
    made.close()


def written(tmp_path: Path, name: str = "bot_stdout.log") -> bytes:
    return b"".join(path.read_bytes() for path in sorted(tmp_path.glob(f"logs/*/{name}")))


def drain(output: FifoOutput) -> None:
    for source in output.sources():
        while output.drain(source):
            pass


def say(output: FifoOutput, *texts: bytes) -> None:
    """Write to the program's ends, as it would."""
    ends = output.open()
    for end, text in zip(ends, texts, strict=False):
        os.write(end, text)
    for end in ends:
        os.close(end)


def test_both_streams_arrive_in_their_files(output: FifoOutput, tmp_path: Path) -> None:
    """Appended, also behind what an earlier supervisor wrote."""
    say(output, b"one\n", b"oops\n")
    drain(output)
    say(output, b"two\n")
    drain(output)
    assert written(tmp_path) == b"one\ntwo\n"
    assert written(tmp_path, "bot_stderr.log") == b"oops\n"
    output.close()
    later = FifoOutput(tmp_path, tmp_path / "logs")
    say(later, b"three\n")
    drain(later)
    later.close()
    assert written(tmp_path) == b"one\ntwo\nthree\n"


def test_a_supervisor_never_holds_what_is_in_no_file(
    output: FifoOutput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill at any moment loses nothing: the bytes do not pass through this process."""
    say(output, b"line\n" * 10_000)

    def read(*_: object) -> bytes:
        raise AssertionError("taken out of the FIFO, and in no file yet")

    monkeypatch.setattr(os, "read", read)
    drain(output)
    monkeypatch.undo()
    assert written(tmp_path) == b"line\n" * 10_000


def test_a_full_disk_costs_the_lines_and_counts_them(
    output: FifoOutput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program is not held up; what came when there was room again is there."""

    def splice(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    say(output, b"lost\n")
    monkeypatch.setattr(os, "splice", splice)
    drain(output)
    monkeypatch.undo()
    say(output, b"kept\n")
    drain(output)
    assert written(tmp_path) == b"kept\n"
    assert (output.take_lost(), output.take_lost()) == (5, 0)


def test_a_file_system_that_cannot_splice_is_written_to(
    output: FifoOutput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EINVAL means: in two steps."""

    def splice(*_: object, **__: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "splice", splice)
    say(output, b"one\n")
    drain(output)
    say(output, b"two\n")
    drain(output)
    assert written(tmp_path) == b"one\ntwo\n"
    assert output.take_lost() == 0
