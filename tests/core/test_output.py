"""The FIFOs of a foreign program: all of it arrives, in order, over full disks and deaths."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import output as module
from core.log_reading import parts
from core.output import FifoOutput, Lost


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
    assert (output.take_lost(), output.take_lost()) == (Lost(bytes=5, lines=1), None)


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
    assert output.take_lost() is None


CHUNKS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 30), max_size=4),  # lines of these lengths
        st.integers(0, 40),  # how much of the last line waits for the next chunk
        st.booleans(),  # is the disk full?
        st.booleans(),  # does midnight come?
    ),
    max_size=12,
)


@pytest.mark.slow
@given(CHUNKS)
def test_no_line_is_torn_and_every_lost_one_is_counted(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[tuple[list[int], int, bool, bool]]
) -> None:
    """Whatever the size limit, the midnights and the full disks: whole lines, in order."""
    tmp_path = tmp_path_factory.mktemp("output")
    real_splice, real_write = os.splice, module.write_all
    full, day = False, 1

    def splice(*args: object, **options: object) -> int:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return int(real_splice(*args, **options))  # type: ignore[arg-type]

    def write(fd: int, data: bytes) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        real_write(fd, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "splice", splice)
        patch.setattr(module, "write_all", write)
        patch.setattr(module, "MAX_BYTES", 60)
        patch.setattr("time.strftime", lambda _: f"2026-01-{day:02}")
        patch.setattr(module, "rotate", lambda path: module_rotate(path, 99))
        patch.setattr(module, "dated_dir", lambda log_dir: log_dir / f"2026-01-{day:02}")
        patch.setattr(
            module,
            "open_output",
            lambda log_dir, name: open_of(log_dir / f"2026-01-{day:02}", name),
        )
        output = FifoOutput(tmp_path, tmp_path / "logs")
        sent, rest, number = [], b"", 0
        for lengths, held, is_full, is_midnight in chunks:
            full = is_full
            text = rest
            for length in lengths:
                number += 1
                line = f"{number}:{'x' * length}".encode()
                sent.append(line)
                text += line + b"\n"
            cut = max(0, len(text) - held)
            rest = text[cut:]
            say(output, text[:cut])
            drain(output)
            day += is_midnight
        full = False
        say(output, rest + b"end:\n")
        drain(output)
        lost = output.take_lost(at_end=True)
        output.close()
        found = [
            line
            for path in parts(tmp_path / "logs", "bot_stdout.log")
            for line in path.read_bytes().split(b"\n")[:-1]
        ]
    kept = [line for line in found if line != b"end:"]
    assert found[-1] == b"end:" or (lost is not None and lost.lines)
    assert [line for line in sent if line in set(kept)] == kept, "whole lines, in order"
    missing = len(sent) + 1 - len(found)
    assert missing == (lost.lines if lost is not None else 0)


def module_rotate(path: Path, backups: int) -> None:
    from core.log_files import rotate

    rotate(path, backups)


def open_of(folder: Path, name: str) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    return os.open(folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
