"""The heartbeat that a bot leaves for its supervisor."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cli.bot_process import BEAT_SIZE, BotProcess
from core.health import read_beat


def test_a_beat_may_announce_a_wait_and_takes_it_back(tmp_path: Path) -> None:
    """As long as the wait lasts; the next beat says that it is over."""
    process = BotProcess(tmp_path / "a", {})
    path = tmp_path / "a" / "heartbeat"
    for allowance in (0.0, 48.0, 0.0):
        process.beat(3, True, allowance)
        beat = read_beat(path)
        assert beat is not None
        assert (beat.pid, beat.loops, beat.ready) == (os.getpid(), 3, True)
        assert beat.until - beat.mono == pytest.approx(allowance, abs=0.01)


def test_the_largest_beat_fits_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is rewritten in place: a longer line would leave the end of an older one behind."""
    process = BotProcess(tmp_path / "a", {})
    monkeypatch.setattr(os, "getpid", lambda: 4_194_304)
    monkeypatch.setattr(time, "monotonic", lambda: 99_999_999.1234)  # up for three years
    process._start = 10**10
    process.beat(10**10, False, 1200.0)
    assert (tmp_path / "a" / "heartbeat").stat().st_size == BEAT_SIZE
    assert read_beat(tmp_path / "a" / "heartbeat") is not None
