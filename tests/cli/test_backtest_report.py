"""A run's report folder: what is in it, that it adds up, that it stands alone, the same twice."""

from __future__ import annotations

import csv
import json
import re
import struct
import sys
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from backtest_world import (
    MINUTE_MS,
    START_MS,
    D,
    run_cli,
    wave,
    write_candles,
    write_config,
    write_funding,
)

from cli import instance_cli

pytestmark = pytest.mark.slow

PICTURES = ["drawdown.png", "equity.png", "position.png", "price.png"]
FILES = sorted([*PICTURES, "fills.csv", "index.html", "report.json"])
MINUS = "\N{MINUS SIGN}"


class Page(HTMLParser):
    """What a page says and what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action", "data", "poster", "background"):
                self.loads.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def sums(page: str, number: int) -> list[Decimal]:
    """The figures of one column that adds up, as the page shows them."""
    tables = re.findall(r'<table class="sums">.*?</table>', page, re.DOTALL)
    cells = re.findall(r'<td class="n">(.*?)</td>', tables[number])
    return [D(cell.strip().replace(",", "").replace(MINUS, "-")) for cell in cells]


@pytest.fixture
def world(tmp_path: Path) -> tuple[str, ...]:
    return world_in(tmp_path)


def world_in(root: Path) -> tuple[str, ...]:
    """A config, candles that fill it, and two funding rates, as words of a command line."""
    config = write_config(root, grid_type="long", open_initial=True)
    data = write_candles(root / "c.csv", wave(300))
    stamps = [START_MS + 7 * MINUTE_MS, START_MS + 100 * MINUTE_MS + 5]
    rates = write_funding(root / "f.csv", stamps)
    return "--config", config, "--data", str(data), "--funding", str(rates)


def written(root: Path, capsys: Any, words: tuple[str, ...], name: str = "out") -> Path:
    code, _, err = run_cli(root, capsys, *words, "--out", str(root / name))
    assert (code, err) == (0, "")
    return root / name


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, ...]]:
    """A folder that was written once, for tests that only read it, and the words that did it."""
    root = tmp_path_factory.mktemp("made")
    words = world_in(root)
    code = instance_cli.main(["--root", str(root), "backtest", *words, "--out", str(root / "out")])
    assert code == 0
    return root / "out", words


def test_the_folder_holds_page_pictures_and_data(made: tuple[Path, tuple[str, ...]]) -> None:
    """Everything is there, the pictures are PNGs of a readable size."""
    out, _ = made
    assert sorted(path.name for path in out.iterdir()) == FILES
    for name in PICTURES:
        head = (out / name).read_bytes()[:24]
        assert head[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", head[16:24])
        assert width > 1000 < 3 * height


@pytest.mark.slow
def test_the_folder_is_the_same_twice(tmp_path: Path, capsys: Any, world: tuple[str, ...]) -> None:
    """Byte for byte: no time of now, no duration, no version."""
    first, second = (written(tmp_path, capsys, world, name) for name in ("one", "two"))
    for name in FILES:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert b"Software" not in (first / "price.png").read_bytes()


def test_the_page_loads_nothing(made: tuple[Path, tuple[str, ...]]) -> None:
    """Pictures are inside, there is no script, and no address to fetch; its own policy says so."""
    text = (made[0] / "index.html").read_text()
    page = Page(text)
    assert len(page.loads) == 4
    assert all(load.startswith("data:image/png;base64,") for load in page.loads)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert not re.search(r"https?:|//|@import|url\(", re.sub(r'src="data:[^"]*"', "", text))
    assert "default-src &#x27;none&#x27;" in text


def test_the_numbers_are_the_same_everywhere(
    tmp_path: Path, capsys: Any, made: tuple[Path, tuple[str, ...]]
) -> None:
    """`--json`, report.json, the page and fills.csv agree, and the parts are the total exactly."""
    folder, words = made
    code, out, err = run_cli(folder.parent, capsys, *words, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    del told["seconds"]
    report = json.loads((folder / "report.json").read_text())
    assert {key: report[key] for key in told} == told
    page = (folder / "index.html").read_text()
    *parts, total = sums(page, 0)
    names = ("grid", "trend", "unrealized", "open_fees", "funding")
    signs = (1, 1, 1, -1, 1)
    assert parts == [sign * D(told[name]) for name, sign in zip(names, signs, strict=True)]
    assert sum(parts) == total == D(told["equity_change"])
    *parts, total = sums(page, 1)
    assert sum(parts) == total == D(report["figures"]["buy_and_hold"]["equity_change"])
    rows = list(csv.DictReader((folder / "fills.csv").read_text().splitlines()))
    assert len(rows) == told["fills"] + told["initial_fills"]
    assert sum(D(row["fee"]) for row in rows) == D(told["fees"])
    held = sum(D(row["quantity"]) * (1 if row["side"] == "BUY" else -1) for row in rows)
    assert held == D(told["position"])


def test_what_was_assumed_is_said(tmp_path: Path, capsys: Any, world: tuple[str, ...]) -> None:
    """Fill rule, slippage, fees, funding, limits, start price, period, candles and the grid."""
    folder = written(tmp_path, capsys, (*world, "--fill", "through", "--slippage", "0.002"))
    text = Page((folder / "index.html").read_text()).text
    for said in (
        "through: a resting order fills, whole and at its own price, when the price goes at",
        "at least one tick (1) beyond it",
        "0.2 % against the last price",
        "maker 0.02 %, taker 0.05 %",
        "f.csv; at each stamp",
        "tick 1, lot 0.001, minimum notional 0",
        "105, the first candle's open",
        "2022-01-01T00:00:00Z to 2022-01-01T05:00:00Z",
        "300 of 1 min from c.csv",
        "long, arithmetic, 100 to 110, 11 levels, 1 an order, with an initial entry",
        "judged at the open, low, high and close of every candle",
        "grid APR",
        "total APR",
        "max drawdown",
        "time in range",
    ):
        assert said in text, said


def test_hostile_text_stays_text(tmp_path: Path, capsys: Any) -> None:
    """A file name or symbol with markup in it is shown, not obeyed."""
    config = write_config(tmp_path)
    data = write_candles(tmp_path / "<img src=x onerror=alert(1)>&.csv", wave(50))
    folder = written(tmp_path, capsys, ("--config", config, "--data", str(data)))
    text = (folder / "index.html").read_text()
    assert "<img src=x" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;&amp;.csv" in text


def test_without_matplotlib_the_text_is_written(
    tmp_path: Path, capsys: Any, world: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 0 with a warning that names the fix; page, report and fills are there."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "cli.backtesting.plots", raising=False)
    code, _, err = run_cli(tmp_path, capsys, *world, "--out", str(tmp_path / "out"))
    assert code == 0
    assert "pip install 'gridfleet[backtest]'" in err
    assert len(err.splitlines()) == 1
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["fills.csv", "index.html", "report.json"]
    page = Page((tmp_path / "out" / "index.html").read_text())
    assert page.loads == []
    assert "matplotlib is not installed" in page.text


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_shortest_data_has_a_report(tmp_path: Path, capsys: Any, count: int) -> None:
    """One candle is enough, and a run without a fill divides by nothing."""
    config = write_config(tmp_path)
    data = write_candles(tmp_path / "c.csv", [(105, 105, 105, 105)] * count)
    folder = written(tmp_path, capsys, ("--config", config, "--data", str(data)))
    report = json.loads((folder / "report.json").read_text())
    assert (report["candles"], report["fills"], report["equity_change"]) == (count, 0, "0")
    assert report["figures"]["max_drawdown"] == "0"


def test_a_stopped_run_says_so(tmp_path: Path, capsys: Any) -> None:
    """The page names the stop and when it was; the curve ends there, flat."""
    config = write_config(tmp_path, stop_loss=5)
    rows = [(105, 105, 100, 100), (100, 100, 90, 90), *wave(40)]
    data = write_candles(tmp_path / "c.csv", rows)
    folder = written(tmp_path, capsys, ("--config", config, "--data", str(data)))
    report = json.loads((folder / "report.json").read_text())
    assert report["position"] == "0"
    assert "stop_loss" in report["ended_by"]
    assert report["assumptions"]["to"] < "2022-01-01T00:02:30Z"
    assert "ended this run before the data did" in (folder / "index.html").read_text()
