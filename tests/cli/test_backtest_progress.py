"""The progress bar: on a terminal only, right in its figures, gone at the end."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from backtest_world import run_cli, wave, write_candles, write_config

from cli.backtesting.progress import ERASE, Bar, watching

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SWEEP = ("--sweep", "grid_num=3:11:2")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Ticking:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.mark.parametrize(
    ("done", "total", "seconds", "line"),
    [
        (0, 0, 0, "b ..."),
        (0, 10, 1, f"b [{'-' * 30}]   0% 0 of 10"),
        (5, 10, 7, f"b [{'#' * 15}{'-' * 15}]  50% 5 of 10, 7 s left"),
        (1, 1201, 0.5, f"b [{'-' * 30}]   0% 1 of 1,201, 10 min 00 s left"),
        (1, 10001, 1, f"b [{'-' * 30}]   0% 1 of 10,001, 2 h 46 min left"),
        (10, 10, 7, f"b [{'#' * 30}] 100% 10 of 10"),
        (11, 10, 7, f"b [{'#' * 30}] 100% 11 of 10"),
    ],
)
def test_the_line(done: int, total: int, seconds: float, line: str) -> None:
    """Share, counts and the time left at this pace."""
    assert Bar("b", is_shown=True, stream=Terminal()).line(done, total, seconds) == line


def test_it_is_drawn_ten_times_a_second_and_taken_away() -> None:
    """However often it is told; and nothing is left where the next line is printed."""
    stream, clock = Terminal(), Ticking()
    bar = Bar("b", is_shown=True, stream=stream, now=clock)
    for i in range(100):
        clock.time += 0.01
        bar.show(i, 100)
    assert 8 <= stream.getvalue().count(ERASE) <= 11
    bar.clear()
    assert stream.getvalue().endswith(ERASE)


@pytest.mark.parametrize(("shown", "stream"), [(True, io.StringIO()), (False, Terminal())])
def test_it_is_silent_where_nobody_looks(shown: bool, stream: io.StringIO) -> None:
    """No terminal, or not wanted: not a byte, and no thread looks."""
    bar = Bar("b", is_shown=shown, stream=stream)
    with watching(bar, lambda: pytest.fail("nobody may look")):
        bar.show(1, 2)
    bar.clear()
    assert stream.getvalue() == ""


@pytest.mark.parametrize("more", [(), SWEEP, (*SWEEP, "--walk-forward", "2")])
def test_no_bar_without_a_terminal(tmp_path: Path, capsys: Any, more: tuple[str, ...]) -> None:
    """Standard error stays empty, and standard output holds no control character."""
    config = write_config(tmp_path)
    data = write_candles(tmp_path / "c.csv", wave(40))
    for json_too in ((), ("--json",)):
        words = ("--config", config, "--data", str(data), *more, *json_too)
        code, out, err = run_cli(tmp_path, capsys, *words)
        assert (code, err) == (0, "")
        assert "\x1b" not in out
        assert "\r" not in out


@pytest.mark.slow
@pytest.mark.parametrize(("more", "is_seen"), [((), True), (("--json",), False)])
def test_a_terminal_sees_it(tmp_path: Path, more: tuple[str, ...], is_seen: bool) -> None:
    """A real one: the bar is drawn on standard error and erased; with --json it is not there."""
    config = write_config(tmp_path)
    data = write_candles(tmp_path / "c.csv", wave(400))
    words = ["--config", config, "--data", str(data), *SWEEP, "--jobs", "2", *more]
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.instance_cli", "--root", str(tmp_path), "backtest", *words],
        stdout=subprocess.DEVNULL,
        stderr=follower,
        cwd=ROOT,
    )
    os.close(follower)
    seen = b""
    try:
        while part := os.read(leader, 4096):
            seen += part
    except OSError:  # the terminal's other side is closed: the process has ended
        pass
    finally:
        os.close(leader)
    assert process.wait(60) == 0
    assert (b"of 5" in seen) is is_seen
    assert seen.endswith(ERASE.encode()) if is_seen else seen == b""
