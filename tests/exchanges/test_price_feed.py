"""The csv price path: how candles are walked, what is refused, how it is taken up again."""

from __future__ import annotations

from pathlib import Path

import pytest
from paper_world import D, write_candles, write_path

from core.errors import ConfigError
from exchanges.candle_file import read_candles, read_funding
from exchanges.price_feed import CandleSource, Vertex

HEADER = "timestamp_ms,open,high,low,close,volume"
GOOD = "60000,10,12,9,11,5"


def everything(source: CandleSource) -> list[Vertex]:
    vertices = []
    while (vertex := source.next()) is not None:
        vertices.append(vertex)
    return vertices


def opened(path: Path, funding: tuple[tuple[int, object], ...] = ()) -> CandleSource:
    source = CandleSource(path, tuple((stamp, D(str(rate))) for stamp, rate in funding))
    source.open(None, 0)
    return source


def test_candles_are_walked_toward_their_close(tmp_path: Path) -> None:
    """O-L-H-C when close >= open, else O-H-L-C; stamps evenly over the candle."""
    path = write_candles(
        tmp_path / "c.csv", [(10, 12, 9, 11), (11, 13, 8, 9), (9, 9, 9, 9)], start_ms=600_000
    )
    vertices = everything(opened(path))
    assert [int(v.price) for v in vertices] == [10, 9, 12, 11, 11, 13, 8, 9, 9, 9, 9, 9]
    assert [v.time_ms - 600_000 for v in vertices[:5]] == [0, 15_000, 30_000, 45_000, 60_000]
    assert [v.pace_ms for v in vertices] == [v.time_ms - 600_000 for v in vertices]


def test_gap_takes_no_time_and_overlap_shortens_a_candle(tmp_path: Path) -> None:
    """Stamps jump over a gap, the pace goes on; stamps never run backwards or past the next row."""
    path = tmp_path / "c.csv"
    stamps = [0, 60_000, 7_200_000, 7_220_000]
    path.write_text("\n".join([HEADER, *(f"{t},10,12,9,11,5" for t in stamps)]))
    vertices = everything(opened(path))
    assert [v.time_ms for v in vertices[::4]] == stamps
    assert [v.pace_ms for v in vertices[::4]] == [0, 60_000, 120_000, 180_000]
    assert [v.time_ms for v in vertices[8:12]] == [7_200_000, 7_205_000, 7_210_000, 7_215_000]
    times = [v.time_ms for v in vertices]
    assert times == sorted(set(times))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: was '', expected the header timestamp_ms"),
        ("\n", "line 1"),
        ("time,open,high,low,close,volume\n" + GOOD, "expected the header"),
        (GOOD, "expected the header"),
        (HEADER, "has no rows"),
        (HEADER + "\n\n\n", "has no rows"),
        (f"{HEADER}\n60000,10,12,9,11", "line 2: was '60000,10,12,9,11', expected 6 columns"),
        (f"{HEADER}\nx,10,12,9,11,5", "line 2: timestamp_ms: was 'x'"),
        (f"{HEADER}\n1.5,10,12,9,11,5", "timestamp_ms: was '1.5'"),
        (f"{HEADER}\n-60000,10,12,9,11,5", "timestamp_ms: was '-60000'"),
        (f"{HEADER}\n60000,ten,12,9,11,5", "line 2: open: was 'ten', expected a number"),
        (f"{HEADER}\n60000,,12,9,11,5", "open: was ''"),
        (f"{HEADER}\n60000,1_0,12,9,11,5", "open: was '1_0', expected a number"),
        (f"{HEADER}\n60_000,10,12,9,11,5", "timestamp_ms: was '60_000'"),
        (f"{HEADER}\n60000,１０,12,9,11,5", "open: was '１０', expected a number"),
        (f"{HEADER}\n60000,10,NaN,9,11,5", "high: was 'NaN', expected a finite number above 0"),
        (f"{HEADER}\n60000,10,12,-9,11,5", "low: was '-9'"),
        (f"{HEADER}\n60000,10,12,0,11,5", "low: was '0'"),
        (f"{HEADER}\n60000,10,Infinity,9,11,5", "high: was 'Infinity'"),
        (f"{HEADER}\n60000,10,12,9,11,much", "volume: was 'much'"),
        (f"{HEADER}\n60000,10,12,9,11,-1", "volume: was '-1', expected a finite number 0 or more"),
        (f"{HEADER}\n60000,10,9,12,11,5", "high: was 9, expected at least the low, 12"),
        (f"{HEADER}\n60000,13,12,9,11,5", "open: was 13, expected between the low, 9"),
        (f"{HEADER}\n60000,10,12,9,8,5", "close: was 8, expected between"),
        (f"{HEADER}\n{GOOD}\n60000,10,12,9,11,5", "line 3: timestamp_ms: was 60000"),
        (f"{HEADER}\n{GOOD}\n59999,10,12,9,11,5", "above the row before, 60000"),
        (f"{HEADER}\n{GOOD}\n\n120000,10,12,9,eleven,5", "line 4: close: was 'eleven'"),
    ],
)
def test_bad_candle_files_are_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    """The message names file, line and value; nothing is guessed."""
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        list(read_candles(path))
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """Absent, a folder, or no text at all."""
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00\x01" * 50)
    for path, words in (
        (tmp_path / "absent.csv", "No such file"),
        (tmp_path, "Is a directory"),
        (binary, "UTF-8"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            list(read_candles(path))
        assert str(path) in str(caught.value)


def test_what_spreadsheets_write_is_accepted(tmp_path: Path) -> None:
    """A byte order mark, CRLF, quotes, blank lines, upper case and more columns do no harm."""
    path = tmp_path / "c.csv"
    path.write_bytes(
        b"\xef\xbb\xbfTIMESTAMP_MS, open,high,low,close,volume,trades\r\n"
        b'"60000","10","12","9","11","0","7"\r\n\r\n120000,10,12,9,11,1e2,7'
    )
    assert [c.time_ms for c in read_candles(path)] == [60_000, 120_000]


def test_a_fault_is_met_where_it_stands_and_stays(tmp_path: Path) -> None:
    """What comes before a bad row is walked, then every call says it; it is never the end."""
    path = tmp_path / "c.csv"
    path.write_text(f"{HEADER}\n{GOOD}\n120000,10,12,9,11,5\nx\n")
    source = opened(path)
    for _ in range(8):
        assert source.next() is not None
    for _ in range(3):
        with pytest.raises(ConfigError, match="line 4"):
            source.next()


def test_preload_finds_faults_at_once_and_counts(tmp_path: Path) -> None:
    """A backtest learns of a bad row before it trades, and how many candles there are."""
    path = tmp_path / "c.csv"
    path.write_text(f"{HEADER}\n{GOOD}\n120000,10,12,9,11,5\nx\n")
    with pytest.raises(ConfigError, match="line 4"):
        CandleSource(path, preload=True).open(None, 0)
    write_path(path, range(1, 8))
    source = CandleSource(path, preload=True)
    source.open(None, 0)
    assert source.candle_count == 7
    assert everything(source) == everything(opened(path))


@pytest.mark.parametrize("candles", [1, 2, 3, 7])
def test_path_continues_behind_any_vertex(tmp_path: Path, candles: int) -> None:
    """Opened at any place, it gives just the rest, funding included; at the end, nothing."""
    path = write_candles(
        tmp_path / "c.csv", [(10 + i, 20 + i, 5 + i, 12 + i) for i in range(candles)]
    )
    rates = tuple((i * 90_000, f"0.000{i + 1}") for i in range(candles))
    whole = everything(opened(path, rates))
    assert len(whole) == 4 * candles
    for index, vertex in enumerate(whole):
        source = opened(path, rates)
        kept = source.save(vertex.place)
        again = opened(path, rates)
        assert again.open(kept, 0) == vertex.place
        assert everything(again) == whole[index + 1 :]
        assert again.next() is None
        assert again.beginning == whole[0]


def test_another_file_is_noticed(tmp_path: Path) -> None:
    """A place belongs to its candle: a file without it is refused, a longer one is welcome."""
    path = write_path(tmp_path / "c.csv", [10, 11, 12])
    source = opened(path)
    kept = source.save(everything(source)[-1].place)
    longer = write_path(tmp_path / "longer.csv", [10, 11, 12, 13])
    source = CandleSource(longer)
    source.open(kept, 0)
    assert [str(v.price) for v in everything(source)] == ["13"] * 4
    for other, words in (
        (write_path(tmp_path / "short.csv", [10, 11]), "row 3: found the end of the file"),
        (write_candles(tmp_path / "o.csv", [(1, 1, 1, 1)] * 4, 5), "found timestamp_ms 120005"),
    ):
        with pytest.raises(ConfigError, match=words):
            CandleSource(other).open(kept, 0)


def test_skip_passes_what_lies_strictly_inside(tmp_path: Path) -> None:
    """It stops before a candle that touches a bound, that is not due, or that has funding."""
    path = write_path(tmp_path / "c.csv", [10, 11, 12, 13, 12, 11, 10])
    low, high, never = D(1), D(99), 1 << 60

    def passed(source: CandleSource, *, low=low, high=high, until=never, limit=10_000):  # type: ignore[no-untyped-def]
        vertex, count = source.skip(low, high, until, limit)
        following = source.next()
        return count, vertex and vertex.place[0], following and following.place[0]

    assert passed(opened(path)) == (28, 27, None)
    assert passed(opened(path), high=D(13)) == (12, 11, 12)
    assert passed(opened(path), low=D(10)) == (0, None, 0)
    assert passed(opened(path), until=120_000) == (8, 7, 8)
    assert passed(opened(path), limit=8) == (8, 7, 8)
    assert passed(opened(path, ((130_000, "0.1"),))) == (8, 7, 8)
    middle = opened(path)
    middle.next()
    assert passed(middle) == (0, None, 1)  # only whole candles
    whole = everything(opened(path))
    vertex, _ = opened(path).skip(low, D(13), never, 10_000)
    assert vertex == whole[11]


def test_funding_is_due_at_the_close_of_its_candle(tmp_path: Path) -> None:
    """The candle stamped at or last before it; none before the first or after the last one."""
    path = tmp_path / "c.csv"
    rows = [60_000, 120_000, 600_000, 660_000]
    path.write_text("\n".join([HEADER, *(f"{t},10,12,9,11,5" for t in rows)]))
    stamps = [0, 59_999, 60_000, 119_999, 300_000, 600_000, 719_999, 720_000]
    vertices = everything(opened(path, tuple((stamp, "0.0001") for stamp in stamps)))
    due = {v.place[0]: [stamp for stamp, _ in v.funding] for v in vertices if v.funding}
    assert due == {3: [60_000, 119_999], 7: [300_000], 11: [600_000], 15: [719_999]}


def test_funding_file_is_read_for_the_symbol(tmp_path: Path) -> None:
    """Rows of the symbol, or all rows of a file about one; anything else is refused in words."""
    path = tmp_path / "f.csv"
    header = "timestamp_ms,symbol,funding_rate\n"
    path.write_text(header + "1,BTCUSDT,0.0001\n2,BTCUSDT,-3.102e-05\n")
    assert read_funding(path, "BTC_USDC_PERP") == ((1, D("0.0001")), (2, D("-0.00003102")))
    path.write_text(header + "1,A,0.1\n1,B,0.2\n2,A,0.3\n")
    assert read_funding(path, "A") == ((1, D("0.1")), (2, D("0.3")))
    with pytest.raises(ConfigError, match="symbol: was A, B, expected rows of C"):
        read_funding(path, "C")
    for text, words in (
        (header + "x,A,0.1", "line 2: was 'x,A,0.1'"),
        (header + "1,A,NaN", "line 2"),
        (header + "1,A,lots", "funding_rate"),
        (header + "2,A,0.1\n2,A,0.1", "line 3: timestamp_ms"),
        (header, "has no rows"),
        ("a,b\n1,2", "expected the header"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=words):
            read_funding(path, "A")
