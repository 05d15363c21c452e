"""`instance_cli candles` against a scripted exchange: complete, resumable, a backtest's food."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "exchanges"))
from scripted_http import Answer, Scripted, Seen, scripted

from cli.instance_cli import main
from exchanges import backpack_wire, klines
from exchanges.candle_file import read_candles

pytestmark = pytest.mark.slow

START = 1_767_225_600_000  # 2026-01-01T00:00:00Z
NOW = START + 400 * 60_000 + 12_345
STEP = 60_000
EMPTY = 7  # the minute in which nobody traded


def prices_of(stamp: int) -> list[str]:
    base = Decimal(150) + Decimal(stamp // STEP % 97) / 100
    return [str(base), str(base + 1), str(base - 1), str(base + Decimal("0.5")), "12.5"]


class Exchange:
    """Candles from the first of January on, and what goes wrong on the way."""

    def __init__(self, name: str, server: Scripted) -> None:
        self.name = name
        self.server = server
        self.most = 1000
        self.fault: Callable[[Seen], Answer | None] = lambda _: None

    @property
    def symbol(self) -> str:
        return "SOL_USDC_PERP" if self.name == "backpack" else "SOLUSDT"

    def script(self, seen: Seen) -> Answer:
        if seen.path == "/api/v1/time":
            return Answer(text=str(NOW))
        if seen.path == "/fapi/v1/time":
            return Answer(text=json.dumps({"serverTime": NOW}))
        fault = self.fault(seen)
        if fault is not None:
            return fault
        scale = 1000 if self.name == "backpack" else 1
        start = int(seen.params["startTime"]) * scale
        end = int(seen.params["endTime"]) * scale
        stamps = list(range(-(-start // STEP) * STEP, min(end, NOW) + 1, STEP))[: self.most]
        return Answer(text=json.dumps([self.row(stamp) for stamp in stamps]))

    def row(self, stamp: int) -> Any:
        prices = prices_of(stamp)
        if self.name == "aster":
            return [stamp, *prices, stamp + STEP - 1, "0", 1, "0", "0", "0"]
        text = f"{datetime.fromtimestamp(stamp / 1000, UTC):%Y-%m-%d %H:%M:%S}"
        named = dict(zip(("open", "high", "low", "close", "volume"), prices, strict=True))
        if (stamp - START) // STEP == EMPTY:
            named = {**dict.fromkeys(named), "volume": "0"}
        return {"start": text, "end": text, **named, "quoteVolume": "0", "trades": "1"}

    def run(self, root: Path, *more: str, start: str = "2026-01-01", end: str = "") -> int:
        return main(
            [
                "--root", str(root), "candles", "--exchange", self.name, "--symbol", self.symbol,
                "--from", start, "--to", end or "2026-01-01T06:00", "--base-url", self.server.url,
                *more,
            ]
        )  # fmt: skip

    def expected(self, count: int) -> list[int]:
        stamps = [START + i * STEP for i in range(count)]
        if self.name == "backpack":
            stamps.remove(START + EMPTY * STEP)
        return stamps


@pytest.fixture(params=["backpack", "aster"])
def exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exchange]:
    monkeypatch.setattr(klines, "ASTER_PAGE", 50)
    monkeypatch.setattr(klines, "BACKPACK_PAGE", 50)
    monkeypatch.setattr(klines.time, "sleep", lambda _: None)
    roomy = tuple(replace(limit, count=100_000) for limit in backpack_wire.LIMITS)
    monkeypatch.setattr(backpack_wire, "LIMITS", roomy)
    with scripted(lambda _: Answer()) as server:
        made = Exchange(request.param, server)
        server.script = made.script
        yield made


def stamps_in(path: Path) -> list[int]:
    return [candle.time_ms for candle in read_candles(path)]


def test_candles_are_what_a_backtest_reads(
    exchange: Exchange, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every minute once, digits as the exchange wrote them; the minute without a trade left out."""
    path = tmp_path / "data" / "sol.csv"
    assert exchange.run(tmp_path, "--out", str(path), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert stamps_in(path) == exchange.expected(360)
    assert told["rows"] == told["new_rows"] == len(exchange.expected(360))
    rows = path.read_text().splitlines()
    assert rows[1] == f"{START},{','.join(prices_of(START))}"


def test_a_second_run_asks_for_nothing_it_has(exchange: Exchange, tmp_path: Path) -> None:
    """What is there is not fetched again; a later end is added to it."""
    path = tmp_path / "sol.csv"
    assert exchange.run(tmp_path, "--out", str(path), end="2026-01-01T02:00") == 0
    before = len(exchange.server.seen)
    assert exchange.run(tmp_path, "--out", str(path), end="2026-01-01T02:00") == 0
    assert not [s for s in exchange.server.seen[before:] if "lines" in s.path]
    assert exchange.run(tmp_path, "--out", str(path), end="2026-01-01T03:00") == 0
    assert stamps_in(path) == exchange.expected(180)


def test_a_broken_run_goes_on_where_it_ended(exchange: Exchange, tmp_path: Path) -> None:
    """The exchange fails in the middle, a row is torn: the next run completes the file."""
    path = tmp_path / "sol.csv"
    served = iter(range(3))

    def fail_later(seen: Seen) -> Answer | None:
        return None if next(served, None) is not None else Answer(status=500)

    exchange.fault = fail_later
    assert exchange.run(tmp_path, "--out", str(path)) == 1
    assert 0 < len(stamps_in(path)) < 360
    with path.open("a") as file:
        file.write("17672")
    exchange.fault = lambda _: None
    assert exchange.run(tmp_path, "--out", str(path)) == 0
    assert stamps_in(path) == exchange.expected(360)


def test_the_minute_of_now_is_left_out(exchange: Exchange, tmp_path: Path) -> None:
    """An unfinished candle would be wrong for ever."""
    path = tmp_path / "sol.csv"
    assert exchange.run(tmp_path, "--out", str(path), end="2027-01-01") == 0
    assert stamps_in(path) == exchange.expected(400)


def test_short_pages_are_no_end(exchange: Exchange, tmp_path: Path) -> None:
    """An exchange that gives fewer rows than asked for has more."""
    exchange.most = 17
    path = tmp_path / "sol.csv"
    assert exchange.run(tmp_path, "--out", str(path)) == 0
    assert stamps_in(path) == exchange.expected(360)


def test_a_429_is_waited_out(exchange: Exchange, tmp_path: Path) -> None:
    """The limit of candles is low: it takes its time, and it gets there."""
    refused = iter(range(1))

    def throttle(seen: Seen) -> Answer | None:
        if next(refused, None) is None:
            return None
        return Answer(status=429, text="{}", headers={"Retry-After": "0"})

    exchange.fault = throttle
    path = tmp_path / "sol.csv"
    assert exchange.run(tmp_path, "--out", str(path), end="2026-01-01T00:30") == 0
    assert len(stamps_in(path)) >= 29


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("time,price\n1,2\n", "no candle file"),
        ("timestamp_ms,open,high,low,close,volume\nx,1,1,1,1,1\n", "no candles"),
        ("timestamp_ms,open,high,low,close,volume\n1767225600001,1,1,1,1,1\n", "another interval"),
        ("timestamp_ms,open,high,low,close,volume\n1767229200000,1,1,1,1,1\n", "after --from"),
    ],
)
def test_a_file_of_something_else_is_left_alone(
    exchange: Exchange,
    tmp_path: Path,
    content: str,
    word: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit 2, the reason named, the file as it was."""
    path = tmp_path / "sol.csv"
    path.write_text(content)
    assert exchange.run(tmp_path, "--out", str(path)) == 2
    assert word in capsys.readouterr().err
    assert path.read_text() == content


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (["--interval", "7m"], "--interval"),
        (["--from", "yesterday"], "--from"),
        (["--to", "2020-01-01"], "--to"),
        (["--base-url", "http://example.com"], "--base-url"),
        (["--base-url", "file:///etc/passwd"], "--base-url"),
    ],
)
def test_wrong_options_are_named(
    exchange: Exchange,
    tmp_path: Path,
    more: list[str],
    word: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit 2 and nothing written."""
    path = tmp_path / "sol.csv"
    assert exchange.run(tmp_path, "--out", str(path), *more) == 2
    assert word in capsys.readouterr().err
    assert not path.exists()


def test_an_unknown_symbol_is_named(
    exchange: Exchange, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exchange's refusal becomes words on the option."""
    text = '{"code": -1121, "msg": "Invalid symbol."}'
    exchange.fault = lambda _: Answer(status=400, text=text)
    assert exchange.run(tmp_path, "--out", str(tmp_path / "x.csv")) == 2
    assert "symbol: was" in capsys.readouterr().err
