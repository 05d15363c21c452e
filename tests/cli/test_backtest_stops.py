"""A stop of the bot ends a backtest as it ends the bot: closed, at the price a taker gets."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from backtest_world import D, run_cli, write_candles, write_config

FALL = [(105, 105, 103, 103), (103, 103, 95, 95), (95, 96, 80, 80), (80, 120, 80, 120)]


def report(root: Path, capsys: Any, *words: str) -> dict[str, Any]:
    code, out, err = run_cli(root, capsys, *words, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.mark.parametrize("slippage", ["0", "0.004"])
def test_a_stop_loss_closes_the_position(tmp_path: Path, capsys: Any, slippage: str) -> None:
    """The position is 0, the rest of the data is not traded, and the accounting adds up."""
    config = write_config(tmp_path, stop_loss=40)
    data = write_candles(tmp_path / "c.csv", FALL)
    found = report(
        tmp_path, capsys, "--config", config, "--data", str(data), "--slippage", slippage
    )
    assert found["position"] == "0"
    assert found["unrealized"] == found["open_fees"] == "0"
    assert "stop_loss" in found["ended_by"]
    assert D(found["last_price"]) < 100
    assert D(found["equity_change"]) == D(found["grid"]) + D(found["trend"])


def test_slippage_costs_what_it_says(tmp_path: Path, capsys: Any) -> None:
    """The same stop, the same position: the difference is the slippage and its part of the fee."""
    config = write_config(tmp_path, stop_loss=40)
    data = write_candles(tmp_path / "c.csv", FALL)
    words = ("--config", config, "--data", str(data))
    without = report(tmp_path, capsys, *words)
    slipped = report(tmp_path, capsys, *words, "--slippage", "0.005")
    assert without["last_price"] == slipped["last_price"]
    last = D(without["last_price"])
    got = (last * (1 - D("0.005"))).to_integral_value(rounding="ROUND_DOWN")
    held = D(without["fills"])  # a fall: every fill of the grid bought one
    lost = held * (last - got)
    fee_saved = held * (last - got) * D("0.0005")
    assert D(without["equity_change"]) - D(slipped["equity_change"]) == lost - fee_saved


def test_without_a_stop_the_position_stays_open(tmp_path: Path, capsys: Any) -> None:
    """The data's end closes nothing, and nothing is said to have ended it."""
    config = write_config(tmp_path)
    data = write_candles(tmp_path / "c.csv", FALL[:2])
    found = report(tmp_path, capsys, "--config", config, "--data", str(data))
    assert (D(found["position"]), found["ended_by"]) == (Decimal(5), None)
