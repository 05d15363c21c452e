"""What the backtest's tests share: a config, candles that cross it, and the command in-process."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from cli import instance_cli

D = Decimal
HEADER = "timestamp_ms,open,high,low,close,volume"
START_MS = 1_640_995_200_000
MINUTE_MS = 60_000

PAPER: dict[str, Any] = {
    "tick_size": 1,
    "lot_size": 0.001,
    "min_notional": 0,
    "maker_fee": 0.0002,
    "taker_fee": 0.0005,
}
GRID: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "grid_lower_price": 100,
    "grid_upper_price": 110,
    "grid_num": 11,
    "quantity": 1,
}


def write_config(root: Path, name: str = "bt", paper: Any = None, **grid: object) -> str:
    """Write a config into the root and give its name; None among `grid` takes a key away."""
    folder = root / "config" / "active"
    folder.mkdir(parents=True, exist_ok=True)
    strategy = {key: value for key, value in {**GRID, **grid}.items() if value is not None}
    document = {
        "metadata": {"instance_id": name},
        "exchange_config": {"mode": "paper", "paper": {**PAPER, **(paper or {})}},
        "strategy_config": strategy,
    }
    (folder / f"{name}.json").write_text(json.dumps(document))
    return name


def write_candles(path: Path, rows: list[tuple[int, int, int, int]]) -> Path:
    """Minutes of (open, high, low, close)."""
    lines = [HEADER]
    for i, row in enumerate(rows):
        lines.append(",".join([str(START_MS + i * MINUTE_MS), *map(str, row), "1"]))
    path.write_text("\n".join(lines) + "\n")
    return path


def wave(count: int, *, low: int = 99, high: int = 111, step: int = 2) -> list[tuple[int, ...]]:
    """Candles that go up and down between two prices, without chance."""
    rows, price, way = [], 105, 1
    for _ in range(count):
        after = price + way * step
        if not low <= after <= high:
            way = -way
            after = price + way * step
        rows.append((price, max(price, after), min(price, after), after))
        price = after
    return rows


def write_funding(path: Path, stamps: list[int], rate: str = "0.0001") -> Path:
    """A rate of BTCUSDT at each stamp."""
    lines = ["timestamp_ms,symbol,funding_rate", *(f"{at},BTCUSDT,{rate}" for at in stamps)]
    path.write_text("\n".join(lines) + "\n")
    return path


Cli = Callable[..., tuple[int, str, str]]


def run_cli(root: Path, capsys: Any, *words: str) -> tuple[int, str, str]:
    """Run `instance_cli backtest` in this process; exit code, standard output, standard error."""
    code = instance_cli.main(["--root", str(root), "backtest", *words])
    seen = capsys.readouterr()
    return code, seen.out, seen.err
