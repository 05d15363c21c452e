"""Every bad command line of a backtest: its exit code, the value in the message, and the fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from backtest_world import run_cli, wave, write_candles, write_config, write_funding

SWEEP = ("--sweep", "grid_num=5:11:2")

BAD = [
    (["--slippage", "x"], 2, ["--slippage: was 'x'", "fraction from 0"]),
    (["--slippage=-0.1"], 2, ["--slippage: was '-0.1'", "fraction from 0"]),
    (["--slippage", "1"], 2, ["--slippage: was '1'", "below 1"]),
    (["--slippage", "nan"], 2, ["--slippage: was 'nan'"]),
    (["--slippage", "0_1"], 2, ["--slippage: was '0_1'"]),
    (["--slippage", "0.02"], 2, ["was 0.02", "slippage_cap, 0.005"]),
    (["--fill", "maybe"], 2, ["'maybe'", "touch", "through"]),
    (["--sweep", "grid_num"], 2, ["was 'grid_num'", "KEY=START:STOP:STEP"]),
    (["--sweep", "=1,2"], 2, ["was '=1,2'", "KEY=START:STOP:STEP"]),
    (["--sweep", "grid_numb=1,2"], 2, ["'grid_numb' cannot be swept", "did you mean grid_num"]),
    (["--sweep", "zzz=1,2"], 2, ["'zzz' cannot be swept", "expected one of grid_lower_price"]),
    (["--sweep", "symbol=A,B"], 2, ["'symbol' cannot be swept"]),
    (["--sweep", "config=a,b"], 2, ["'config' cannot be swept"]),
    (["--sweep", "grid_num=10:20"], 2, ["was 'grid_num=10:20'", "three numbers"]),
    (["--sweep", "grid_num=10:20:5:5"], 2, ["three numbers"]),
    (["--sweep", "grid_num=a:20:5"], 2, ["was 'grid_num=a:20:5'", "three numbers"]),
    (["--sweep", "grid_num=10:20:0"], 2, ["the step is 0"]),
    (["--sweep", "grid_num=20:10:5"], 2, ["leads away from 10", "swap START and STOP"]),
    (["--sweep", "grid_num=10:20:-5"], 2, ["leads away from 20", "positive STEP"]),
    (["--sweep", "grid_num=inf:20:5"], 2, ["three numbers"]),
    (["--sweep", "grid_num=1e999:20:5"], 2, ["three numbers"]),
    (["--sweep", "grid_num="], 2, ["a value is empty"]),
    (["--sweep", "grid_num=5,,6"], 2, ["a value is empty"]),
    (["--sweep", "grid_num=5,5"], 2, ["a value is there twice"]),
    (["--sweep", "open_initial=yes,no"], 2, ["expected open_initial=true,false"]),
    ([*SWEEP, "--sweep", "grid-num=7,8"], 2, ["grid_num is swept already"]),
    (["--sweep", "quantity=1:2000000:1"], 2, ["2,000,000 values", "larger step"]),
    (
        ["--sweep", "quantity=1:1000:1", "--sweep", "grid_num=2:1000:1"],
        2,
        ["999,000 combinations", "quantity 1,000 x grid_num 999", "at most 100,000"],
    ),
    (["--sweep", "grid_num=0,1"], 2, ["every combination was refused", "from 2 to 1000"]),
    ([*SWEEP, "--jobs", "0"], 2, ["--jobs: was '0'", "from 1 to"]),
    ([*SWEEP, "--jobs", "many"], 2, ["--jobs: was 'many'"]),
    (["--jobs", "2"], 2, ["--jobs: was '2' without --sweep"]),
    (["--objective", "grid"], 2, ["--objective: was 'grid' without --sweep"]),
    ([*SWEEP, "--objective", "luck"], 2, ["'luck'", "equity_change"]),
    (["--walk-forward", "3"], 2, ["--walk-forward: was '3' without --sweep"]),
    ([*SWEEP, "--train", "0.5"], 2, ["--train: was '0.5' without --walk-forward"]),
    ([*SWEEP, "--walk-forward", "0"], 2, ["--walk-forward: was '0'", "from 1 to 1000"]),
    ([*SWEEP, "--walk-forward", "1.5"], 2, ["--walk-forward: was '1.5'"]),
    ([*SWEEP, "--walk-forward", "20"], 2, ["40 candles make windows of 2", "fewer"]),
    ([*SWEEP, "--walk-forward", "2", "--train", "1.5"], 2, ["--train: was '1.5'", "0.7"]),
    ([*SWEEP, "--walk-forward", "2", "--train", "0"], 2, ["0 to train"]),
    (
        ["--sweep", "quantity=1:2000:1", "--walk-forward", "900"],
        2,
        ["1,800,000 runs", "at most 1,000,000"],
    ),
    (["--data", "none.csv"], 2, ["--data: was 'none.csv'", "readable candle file"]),
    ([*SWEEP, "--data", "none.csv"], 2, ["--data: was 'none.csv'", "readable candle file"]),
    (["--funding", "none.csv"], 2, ["--funding: was 'none.csv'", "readable funding file"]),
    (["--config", "none"], 2, ["--config: was none"]),
    ([*SWEEP, "--config", "none"], 2, ["--config: was none"]),
    (["--out", "/proc/nowhere"], 2, ["--out: was '/proc/nowhere'"]),
    (["--surprise"], 2, ["--surprise"]),
]


@pytest.mark.parametrize(("words", "code", "said"), BAD, ids=[" ".join(row[0]) for row in BAD])
def test_a_bad_command_line_is_answered(
    tmp_path: Path, capsys: Any, words: list[str], code: int, said: list[str]
) -> None:
    """Exit 2; the message names the value and the fix, without a traceback; no report."""
    config = write_config(tmp_path)
    data = write_candles(tmp_path / "c.csv", wave(40))
    out = tmp_path / "out"
    base = ["--config", config, "--data", str(data), "--out", str(out)]
    found, _, err = run_cli(tmp_path, capsys, *base, *words)
    assert found == code
    for text in said:
        assert text in err, err
    assert "Traceback" not in err
    if "every combination" not in err:
        assert not out.exists() or list(out.iterdir()) == []


@pytest.mark.parametrize("sweep", [False, True])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1"),
        ("timestamp_ms,open,high,low,close,volume\n", "no rows"),
        ("timestamp_ms,open,high,low,close,volume\n1,2,1,1,1,1\n", "line 2"),
        ("a,b\n1,2\n", "expected the header"),
    ],
)
def test_bad_candles_are_named(
    tmp_path: Path, capsys: Any, text: str, said: str, sweep: bool
) -> None:
    """File, line and value, before anything is run."""
    config = write_config(tmp_path)
    data = tmp_path / "c.csv"
    data.write_text(text)
    words = ["--config", config, "--data", str(data), *(SWEEP if sweep else ())]
    code, out, err = run_cli(tmp_path, capsys, *words)
    assert (code, out) == (2, "")
    assert str(data) in err
    assert said in err


def test_funding_of_other_symbols_is_refused(tmp_path: Path, capsys: Any) -> None:
    """A sweep reads the funding of the config's own symbol, like a single run."""
    config = write_config(tmp_path)
    data = write_candles(tmp_path / "c.csv", wave(40))
    rates = write_funding(tmp_path / "f.csv", [1])
    rates.write_text(rates.read_text().replace("BTC", "SOL") + "2,ETHUSDT,0.1\n")
    for more in ((), SWEEP):
        words = ["--config", config, "--data", str(data), "--funding", str(rates), *more]
        code, out, err = run_cli(tmp_path, capsys, *words)
        assert (code, out) == (2, "")
        assert "expected rows of BTCUSDT" in err
