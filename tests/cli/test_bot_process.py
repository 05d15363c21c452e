"""What a bot leaves for its supervisor: the heartbeat, and an exit note that can be read."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.bot_process import BEAT_SIZE, BotProcess, shorten
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


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("and 995 more cells", 18, "and 995 more cells"),
        ("and 995 more cells", 17, "and 995 more …"),
        ("and 995 more cells", 14, "and 995 more …"),
        ("and 995 more cells", 13, "and 995 …"),
        ("one\ntwo three", 9, "one\ntwo …"),
        ("unbreakable", 8, "unbrea …"),
        ("", 8, ""),
    ],
)
def test_a_long_text_is_cut_between_two_words(text: str, limit: int, expected: str) -> None:
    """Never inside of a word, unless there is only one."""
    assert shorten(text, limit) == expected


@given(st.text(alphabet="ab \n", max_size=60), st.integers(3, 70))
def test_what_is_cut_fits_and_is_a_beginning(text: str, limit: int) -> None:
    """At most `limit` characters, each of them from the beginning of the text."""
    short = shorten(text, limit)
    assert len(short) <= limit
    assert short == text or (short.endswith(" …") and text.startswith(short[:-2]))
