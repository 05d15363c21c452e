"""Walk-forward: windows that neither overlap nor leak, choices from the training part alone."""

from __future__ import annotations

import json
from decimal import Decimal
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
from hypothesis import given
from hypothesis import strategies as st

from cli.backtesting.walk_forward import LEAST_CANDLES, split
from core.errors import ConfigError

pytestmark = pytest.mark.slow

SWEEP = ("--sweep", "grid_num=5,7,11", "--sweep", "grid_type=neutral,long,short")


@given(
    candles=st.integers(1, 5000),
    count=st.integers(1, 60),
    train=st.decimals("0.01", "0.99", places=2),
)
def test_windows_neither_overlap_nor_leak(candles: int, count: int, train: Decimal) -> None:
    """Consecutive; out of sample begins right after training; every candle is in one part."""
    try:
        windows = split(candles, count, train)
    except ConfigError:
        size = candles // count
        learn = int(size * train)
        assert learn < LEAST_CANDLES or size - learn < LEAST_CANDLES
        return
    assert len(windows) == count
    place = 0
    for window in windows:
        assert window.train[0] == place
        assert window.test[0] == window.train[1] > window.train[0]
        assert window.test[1] > window.test[0]
        place = window.test[1]
    assert place == candles
    assert len({window.train[1] - window.train[0] for window in windows}) == 1


@pytest.fixture
def world(tmp_path: Path) -> tuple[str, ...]:
    """Candles whose middle drifts, so that windows differ."""
    config = write_config(tmp_path, grid_num=None, max_position=8)
    rows = [tuple(price + i // 60 for price in row) for i, row in enumerate(wave(243))]
    data = write_candles(tmp_path / "c.csv", rows)  # type: ignore[arg-type]  # four prices each
    rates = write_funding(tmp_path / "f.csv", [START_MS + 30 * MINUTE_MS * i for i in range(8)])
    return "--config", config, "--data", str(data), "--funding", str(rates)


def walked(root: Path, capsys: Any, *words: str) -> dict[str, Any]:
    code, out, err = run_cli(root, capsys, *words, "--json")
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


def cut(root: Path, data: str, part: dict[str, Any]) -> str:
    """The candles of one part in a file of their own."""
    head, *lines = Path(data).read_text().splitlines()
    chosen = lines[part["first"] : part["first"] + part["candles"]]
    path = root / f"part_{part['first']}.csv"
    path.write_text("\n".join([head, *chosen]) + "\n")
    return str(path)


@pytest.mark.slow
def test_every_figure_is_that_of_a_run_on_the_part_alone(
    tmp_path: Path, capsys: Any, world: tuple[str, ...]
) -> None:
    """Cut the file by hand: the sweep on the training part picks the choice, and the choice run on
    the part after it gives the figures; nothing else was seen."""
    found = walked(tmp_path, capsys, *world, *SWEEP, "--walk-forward", "4")
    assert len(found["windows"]) == 4
    for window in found["windows"]:
        assert window["test"]["first"] == window["train"]["first"] + window["train"]["candles"]
        assert window["train"]["last"] < window["test"]["from"]
        words = (*world[:2], "--data", cut(tmp_path, world[3], window["train"]), *world[4:])
        (best, *_) = walked(tmp_path, capsys, *words, *SWEEP)["rows"]
        assert best.pop("values") == window["choice"]
        assert best == window["in_sample"]
        words = (*world[:2], "--data", cut(tmp_path, world[3], window["test"]), *world[4:])
        choice = [
            word
            for key, value in window["choice"].items()
            for word in ("--sweep", f"{key}={value}")
        ]
        (after,) = walked(tmp_path, capsys, *words, *choice)["rows"]
        assert after.pop("values") == window["choice"]
        assert after == window["out_of_sample"]
    for name in ("in_sample", "out_of_sample"):
        for key in ("equity_change", "grid", "fees"):
            parts = [D(window[name][key]) for window in found["windows"]]
            assert D(found["sums"][name][key]) == sum(parts)


@pytest.mark.slow
def test_the_folder_and_the_table(tmp_path: Path, capsys: Any, world: tuple[str, ...]) -> None:
    """Table, CSV and page have the windows and their sums; the split is stated; same twice."""
    words = (*world, *SWEEP, "--walk-forward", "3", "--train", "0.5", "--objective", "grid")
    pages = []
    for name, jobs in (("one", "1"), ("two", "2")):
        out = tmp_path / name
        code, text, err = run_cli(tmp_path, capsys, *words, "--jobs", jobs, "--out", str(out))
        assert (code, err) == (0, "")
        assert "the best grid of the first 50 % of each" in text
        pages.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert pages[0] == pages[1]
    assert sorted(pages[0]) == [
        "index.html",
        "report.json",
        "walk_forward.csv",
        "walk_forward.png",
    ]
    page = pages[0]["index.html"].decode()
    assert "3 windows of equal length" in page
    assert "the first 50 % of each is for choosing" in page
    lines = pages[0]["walk_forward.csv"].decode().splitlines()
    assert len(lines) == 1 + 3 + 1
    assert lines[0].startswith(
        "window,train_from,judged_from,to,grid_num,grid_type,equity_change_in"
    )


def test_a_window_where_nothing_may_start(tmp_path: Path, capsys: Any) -> None:
    """It has no choice and its reason; the others are as they are, and the sums leave it out."""
    config = write_config(tmp_path, trigger_price=104)
    far = [(200, 201, 200, 201)] * 20
    data = write_candles(tmp_path / "c.csv", [*wave(20), *far])  # type: ignore[list-item]  # fours
    words = ("--config", config, "--data", str(data), "--sweep", "grid_num=5,11")
    found = walked(tmp_path, capsys, *words, "--walk-forward", "2")
    first, second = found["windows"]
    assert (second["choice"], second["in_sample"], second["out_of_sample"]) == (None, None, None)
    assert "trigger_price: was 104" in second["refused"]
    assert found["sums"]["in_sample"]["grid"] == first["in_sample"]["grid"]
    code, text, _ = run_cli(
        tmp_path, capsys, *words, "--walk-forward", "2", "--out", str(tmp_path / "out")
    )
    assert code == 0
    assert "window 2: strategy_config.trigger_price" in text
