"""`instance_cli backtest` over a trade file: one run, its folder, a sweep, a paper bot's feed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from backtest_world import START_MS, D, run_cli, write_config, write_funding

from exchanges.factory import paper_source
from exchanges.trade_file import TradeSource

pytestmark = pytest.mark.slow


def write_trades(path: Path, prices: list[str]) -> Path:
    """A trade every half second."""
    lines = ["timestamp_ms,id,side,price,amount"]
    lines += [
        f"{START_MS + 500 * i},{i},{'buy' if i % 3 else 'sell'},{price},0.5"
        for i, price in enumerate(prices)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


PRICES = ["105.0", "103.5", "102", "104", "104.5", "107", "107.0", "101", "99.5", "106"]


def test_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each trade is a price of the path; funding is due at the first trade from its stamp on."""
    name = write_config(tmp_path)
    trades = write_trades(tmp_path / "t.csv", PRICES)
    funding = write_funding(tmp_path / "f.csv", [START_MS + 900], rate="0.001")
    words = ("--config", name, "--data", str(trades), "--funding", str(funding), "--json")
    code, out, err = run_cli(tmp_path, capsys, *words)
    assert code == 0, err
    report = json.loads(out)
    # 105 to 103.5 buys 104; to 102 buys 103 and 102, where three are held at the stamp.
    assert D(report["funding"]) == -3 * 102 * D("0.001")
    assert (report["candles"], report["fills"], report["last_price"]) == (10, 21, "106")


def test_its_folder_and_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The curve has a point a trade; one of a sweep's runs is the run."""
    name = write_config(tmp_path)
    trades = write_trades(tmp_path / "t.csv", PRICES)
    words = ("--config", name, "--data", str(trades))
    folder = tmp_path / "out"
    code, _, err = run_cli(tmp_path, capsys, *words, "--out", str(folder))
    assert code == 0, err
    report = json.loads((folder / "report.json").read_text())
    assert "10 trades from" in (folder / "index.html").read_text()
    code, out, err = run_cli(
        tmp_path, capsys, *words, "--sweep", "grid_num=6:11:5", "--jobs", "2", "--json"
    )
    assert code == 0, err
    assert json.dumps(report["equity_change"]) in out


def test_a_bad_row_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its line and value, exit 2."""
    name = write_config(tmp_path)
    trades = write_trades(tmp_path / "t.csv", [*PRICES, "-1"])
    code, _, err = run_cli(tmp_path, capsys, "--config", name, "--data", str(trades))
    assert code == 2
    assert "line 12: price: was '-1'" in err


def test_a_paper_bot_follows_trades(tmp_path: Path) -> None:
    """`feed: csv` takes either kind of file."""
    from core.config_load import load
    from exchanges.factory import paper_rules

    write_trades(tmp_path / "t.csv", PRICES)
    name = write_config(tmp_path, paper={"feed": "csv", "file": "t.csv"})
    config = load(name, tmp_path).config
    source = paper_source(config, paper_rules(config).instrument, root=tmp_path)
    assert isinstance(source, TradeSource)
    source.open(None, 0)
    assert source.beginning.price == 105
