"""The column reader gives what the row reader gives, or leaves the file to it."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import exchanges.candle_columns as module
from core.errors import ConfigError
from exchanges.candle_columns import read_columns
from exchanges.candle_file import Candle, read_candles
from exchanges.candles import Candles
from exchanges.lanes import NARROW, WIDE, Lanes

pytestmark = pytest.mark.slow

HEADER = "timestamp_ms,open,high,low,close,volume"
in_place = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rows_of(path: Path) -> list[Candle] | str:
    try:
        return list(read_candles(path))
    except ConfigError as error:
        return str(error)


def loaded(path: Path) -> list[Candle] | str:
    try:
        candles = Candles.read(path)
    except ConfigError as error:
        return str(error)
    rows = [candles[i] for i in range(len(candles))]
    for i, row in enumerate(rows):
        units = (candles.opens[i], candles.highs[i], candles.lows[i], candles.closes[i])
        assert [Decimal(unit).scaleb(-candles.digits) for unit in units] == list(row[1:])
        assert candles.times[i] == row.time_ms
    return rows


def same(path: Path) -> None:
    """Both readers give the same candles, written alike, or the same words."""
    assert repr(loaded(path)) == repr(rows_of(path))


@st.composite
def texts(draw: st.DrawFn) -> list[str]:
    """Rows of a file, mostly written alike: prices with some decimals around some height."""
    decimals = draw(st.integers(0, 3))
    middle = draw(st.sampled_from([7, 99, 100, 46_319, 1_234_567_890_123]))
    odd = draw(st.sampled_from([0, 0, 1, 5, 10]))  # of ten rows written otherwise
    rows, stamp = [], draw(st.sampled_from([0, 60_000, 1_640_995_200_000]))
    for _ in range(draw(st.integers(1, 40))):
        places = draw(st.integers(0, 4)) if draw(st.integers(1, 10)) <= odd else decimals
        steps = sorted(draw(st.lists(st.integers(0, 30), min_size=4, max_size=4)))
        low, a, b, high = (Decimal(middle * 10**places + step) / 10**places for step in steps)
        opened, close = draw(st.sampled_from([(a, b), (b, a)]))
        prices = [f"{price:.{places}f}" for price in (opened, high, low, close)]
        volume = draw(st.sampled_from(["0", "1", "2.5", "0.0", "1234.567", ".5", "5."]))
        rows.append(",".join([str(stamp), *prices, volume]))
        stamp += draw(st.sampled_from([60_000, 60_000, 1, 10**9]))
    return rows


@in_place
@given(rows=texts(), block=st.sampled_from([1, 100, 300, 1 << 18]), end=st.sampled_from(["", "\n"]))
def test_good_files(
    rows: list[str], block: int, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any mix of widths and decimals, in blocks of any size."""
    with monkeypatch.context() as patched:
        patched.setattr(module, "BLOCK_BYTES", block)
        path = tmp_path / "c.csv"
        path.write_text("\n".join([HEADER, *rows]) + end)
        same(path)


@in_place
@given(
    rows=texts(),
    where=st.floats(0, 1, exclude_max=True),
    what=st.sampled_from(["", "0", "9", ".", ",", "-", "e", " ", "\n", "x", '"', "\r", "_", "١"]),
    insert=st.booleans(),
)
def test_damaged_files(
    rows: list[str], where: float, what: str, tmp_path: Path, *, insert: bool
) -> None:
    """One character anywhere below the header replaced, inserted or taken away."""
    text = "\n".join([HEADER, *rows, ""])
    at = len(HEADER) + 1 + int(where * (len(text) - len(HEADER) - 1))
    path = tmp_path / "c.csv"
    path.write_bytes((text[:at] + what + text[at + (not insert) :]).encode())
    same(path)


GOOD = "60000,10.5,12.5,9.5,11.5,5.0"
NEXT = "120000,10.5,12.5,9.5,11.5,5.0"


@pytest.mark.parametrize(
    ("rows", "is_plain"),
    [
        ([GOOD, NEXT], True),
        ([GOOD, "120000,100.5,112.5,99.5,111.5,5"], True),
        ([GOOD, "120000,10.5,12.5,9.5,11.5,"], False),
        ([GOOD, "120000,10.5,12.5,9.5,11.5,."], False),
        ([GOOD, "120000,10.5,12.5,9.5,.,5"], False),
        ([GOOD, "60000,10.5,12.5,9.5,11.5,5.0"], False),
        ([GOOD, "120000,10.5,9.5,12.5,11.5,5.0"], False),
        ([GOOD, "120000,13.5,12.5,9.5,11.5,5.0"], False),
        ([GOOD, "120000,10.5,12.5,9.5,12.6,5.0"], False),
        ([GOOD, "120000,00.0,12.5,00.0,11.5,5.0"], False),
        ([GOOD, "12.000,10.5,12.5,9.5,11.5,5.0"], False),
        ([GOOD, "", NEXT], False),
        (["60000,1005,1205,9505,1105,5", "120000,10.5,12.5,9.55,11.5,5"], False),
        (["60000,1005,1205,1005,1105,5", "120000,10.5,12.5,9.55,11.5,5"], True),
        (["60000,1e1,12.5,9.5,11.5,5.0"], False),
    ],
)
def test_what_it_reads_itself(rows: list[str], tmp_path: Path, *, is_plain: bool) -> None:
    """Plain rows that are right; every other file is the row reader's."""
    path = tmp_path / "c.csv"
    path.write_text("\n".join([HEADER, *rows]))
    assert (read_columns(path) is not None) is is_plain
    same(path)


def test_other_line_ends_and_a_mark_at_the_beginning(tmp_path: Path) -> None:
    """As spreadsheets write them."""
    path = tmp_path / "c.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([HEADER, GOOD, NEXT, ""]).encode())
    assert read_columns(path) is not None
    same(path)


def test_prices_of_too_many_decimals_are_refused(tmp_path: Path) -> None:
    """Sixty are enough for any exchange; columns of more would be endless."""
    path = tmp_path / "c.csv"
    path.write_text(f"{HEADER}\n60000,1.{'0' * 61},2,1,1,5\n")
    with pytest.raises(ConfigError, match="61 decimals, expected at most 60"):
        Candles.read(path)


@given(
    numbers=st.lists(st.integers(0, 999_999_999), min_size=1, max_size=50),
    others=st.lists(st.integers(0, 999_999_999), min_size=50, max_size=50),
    width=st.sampled_from([NARROW, WIDE]),
)
def test_lanes(numbers: list[int], others: list[int], width: int) -> None:
    """What a column says is what its numbers say one by one."""
    text = "".join(f"{a:09d}x{b:09d}" for a, b in zip(numbers, others, strict=False)).encode()
    lanes = Lanes(text, 19, width)
    column = lanes.number(range(9))
    other = lanes.number(range(10, 19))
    assert lanes.to_array(column).tolist() == numbers
    assert lanes.none_above(column, other) is all(
        a <= b for a, b in zip(numbers, others, strict=False)
    )
    assert lanes.ascends(column) is all(a < b for a, b in pairwise(numbers))
    small = lanes.number(range(5), decimals=3)
    assert lanes.to_array(small).tolist() == [number // 10_000 * 1000 for number in numbers]


@in_place
@given(rows=texts(), data=st.data())
def test_a_part_is_as_if_a_file_had_those_rows(
    rows: list[str], data: st.DataObject, tmp_path: Path
) -> None:
    """Windows of a history, as walk-forward cuts them."""
    path = tmp_path / "c.csv"
    path.write_text("\n".join([HEADER, *rows]))
    whole = Candles.read(path)
    first = data.draw(st.integers(0, len(rows) - 1))
    end = data.draw(st.integers(first + 1, len(rows)))
    part = whole[first:end]
    path.write_text("\n".join([HEADER, *rows[first:end]]))
    alone = Candles.read(path)
    assert repr(list(part)) == repr(list(alone)) == repr(list(whole)[first:end])
    assert part.interval_ms == alone.interval_ms
    assert [part.time_ms(i, 3) for i in range(len(part))] == [
        alone.time_ms(i, 3) for i in range(len(alone))
    ]
    assert whole[-1] == list(whole)[-1]
    with pytest.raises(IndexError):
        whole[len(rows)]
