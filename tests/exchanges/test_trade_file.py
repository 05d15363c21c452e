"""The trade price path: what is refused, how it is walked, skipped and taken up again."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import ConfigError
from exchanges.price_feed import CandleSource, Vertex
from exchanges.price_files import file_source, read_history, source_of
from exchanges.trade_file import (
    Trade,
    Trades,
    TradeSource,
    is_trade_file,
    read_trades,
)

D = Decimal
HEADER = "timestamp_ms,id,side,price,amount"
CANDLES = "timestamp_ms,open,high,low,close,volume\n60000,10,12,9,11,5\n"
in_place = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path: Path, *rows: str) -> Path:
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def everything(source: TradeSource) -> list[Vertex]:
    vertices = []
    while (vertex := source.next()) is not None:
        vertices.append(vertex)
    return vertices


def opened_and_walked(source: TradeSource) -> list[Vertex]:
    source.open(None, 0)
    return everything(source)


ROWS = ("1000,1,buy,10.0,1", "1500,2,sell,9.50,0.3", "1500,3,sell,9.0,2", "4000,4,buy,11,1")


@pytest.mark.parametrize("preload", [False, True])
def test_each_trade_is_a_price_at_its_stamp(tmp_path: Path, *, preload: bool) -> None:
    """In the order of the file; pace is the time since the first."""
    rates = ((500, D("0.1")), (1500, D("0.2")), (2000, D("0.3")), (4000, D("0.4")), (9000, D(1)))
    source = TradeSource(write(tmp_path / "t.csv", *ROWS), rates, preload=preload)
    assert source.open(None, 0) is None
    assert source.beginning.price == 10
    vertices = everything(source)
    assert [(str(v.price), v.time_ms, v.pace_ms) for v in vertices] == [
        ("10.0", 1000, 0), ("9.50", 1500, 500), ("9.0", 1500, 500), ("11", 4000, 3000),
    ]  # fmt: skip
    assert [v.place for v in vertices] == [(0, 1000), (1, 1500), (2, 1500), (3, 4000)]
    assert [[rate for _, rate in v.funding] for v in vertices] == [
        [], [D("0.2")], [], [D("0.3"), D("0.4")],
    ]  # fmt: skip
    assert source.next() is None


@pytest.mark.parametrize("preload", [False, True])
def test_it_is_taken_up_behind_any_trade(tmp_path: Path, *, preload: bool) -> None:
    """From each place the rest is the same, funding too."""
    rates = ((1500, D("0.2")), (4000, D("0.4")))
    path = write(tmp_path / "t.csv", *ROWS)
    whole = TradeSource(path, rates, preload=preload)
    whole.open(None, 0)
    vertices = everything(whole)
    for i, vertex in enumerate(vertices):
        again = TradeSource(path, rates, preload=preload)
        assert again.open(whole.save(vertex.place), 0) == vertex.place
        assert everything(again) == vertices[i + 1 :]


def test_another_file_is_not_taken_up(tmp_path: Path) -> None:
    """The trade at which the account stands must be there."""
    path = write(tmp_path / "t.csv", *ROWS)
    for place, found in (((2, 1501), "timestamp_ms 1500"), ((9, 1000), "the end of the file")):
        with pytest.raises(ConfigError, match=f"row {place[0] + 1}: found {found}"):
            TradeSource(path).open({"kind": "csv", "place": list(place)}, 0)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("x,1,buy,10,1", "line 3: timestamp_ms: was 'x', expected Unix milliseconds"),
        ("-5,1,buy,10,1", "timestamp_ms: was '-5'"),
        ("999,1,buy,10,1", "timestamp_ms: was 999, expected no less than in the row before, 1000"),
        ("1000,1,bid,10,1", "side: was 'bid', expected buy or sell"),
        ("1000,1,buy,0,1", "price: was '0', expected a finite number above 0"),
        ("1000,1,buy,NaN,1", "price: was 'NaN'"),
        ("1000,1,buy,1_0,1", "price: was '1_0'"),
        ("1000,1,buy,1e30,1", "price: was '1e30'"),
        ("1000,1,buy,10,-1", "amount: was '-1'"),
        ("1000,1,buy,10,", "amount: was ''"),
        ("1000,1,buy,10", "expected 5 columns"),
    ],
)
@pytest.mark.parametrize("preload", [False, True])
def test_bad_rows_are_refused(tmp_path: Path, row: str, words: str, *, preload: bool) -> None:
    """With the line, the value and what was expected; at once when the file is read whole."""
    path = write(tmp_path / "t.csv", "1000,1,buy,10,1", row)
    source = TradeSource(path, preload=preload)
    with pytest.raises(ConfigError, match=words):
        opened_and_walked(source)


def test_the_header_decides(tmp_path: Path) -> None:
    """Candles or trades; what is neither is refused as no candle file."""
    candles = tmp_path / "c.csv"
    candles.write_text(CANDLES)
    trades = write(tmp_path / "t.csv", *ROWS)
    assert isinstance(file_source(candles), CandleSource)
    assert isinstance(file_source(trades), TradeSource)
    assert is_trade_file(trades)
    assert isinstance(source_of(read_history(candles)), CandleSource)
    assert isinstance(source_of(read_history(trades)[1:3]), TradeSource)
    assert list(read_history(trades)[1:3]) == [Trade(1500, D("9.5")), Trade(1500, D(9))]
    with pytest.raises(ConfigError, match="cannot be read"):
        file_source(tmp_path / "none.csv")


prices = st.sampled_from(["10", "10.5", "11.00", "0.125", "10.50", "9"])
rows = st.lists(
    st.tuples(st.integers(0, 3), prices, st.sampled_from(["buy", "sell", "BUY"])),
    min_size=1,
    max_size=30,
)


@in_place
@given(rows=rows, low=st.integers(8, 10), high=st.integers(10, 12), data=st.data())
def test_both_ways_of_reading_and_skipping_are_one(
    rows: list[tuple[int, str, str]], low: int, high: int, data: st.DataObject, tmp_path: Path
) -> None:
    """Streamed or read whole: the same trades, and skips pass the same ones, to the same place."""
    stamp, lines = 0, []
    for step, price, side in rows:
        stamp += step * 500
        lines.append(f"{stamp},7,{side},{price},1.5")
    path = write(tmp_path / "t.csv", *lines)
    stream = list(read_trades(path))
    whole = Trades.read(path)
    assert repr([whole[i] for i in range(len(whole))]) == repr(stream)
    assert all(isinstance(trade, Trade) for trade in stream)
    rates = ((1000, D("0.1")), (5000, D("0.1")))
    sources = TradeSource(path, rates), TradeSource(whole, rates)
    for source in sources:
        source.open(None, 0)
    for _ in range(12):
        limit, until = data.draw(st.integers(1, 5)), data.draw(st.sampled_from([700, 10**9]))
        a, b = (source.skip(D(low), D(high), until, limit) for source in sources)
        assert a == b
        assert sources[0].next() == sources[1].next()
