"""How fast history passes: `instance_cli backtest`, and a supervised replay with its page alive.

    .venv/bin/python benchmarks/replay_speed.py [--runs 3]

Input: btc_perp_1m_2022-01.csv, 45,031 minutes of BTC, in ../shared/market_data or GRID_DATA;
without it nothing is measured. Floor: parsing the same file (csv and five Decimals a row). The
supervised replay trades at speed 0 into its ledger on disk; meanwhile its page is asked for
/api/status, one request after the other, and its parts of the profit must add up every time.
"""

from __future__ import annotations

import csv
import json
import time
from decimal import Decimal
from typing import Any

from rig import DATA, MONTH, Fleet, Row, arguments, fleet, show, warm_up

PAPER = {
    "tick_size": 1,
    "lot_size": 0.001,
    "min_notional": 0,
    "taker_fee": 0.0002,
}
GRID = {
    "symbol": "BTCUSDT",
    "grid_lower_price": 33000,
    "grid_upper_price": 48000,
    "grid_num": 50,
    "quantity": "0.1",
    "max_position": 100,
}


def parse() -> tuple[int, float]:
    """Parse the file; candles and seconds."""
    count = 0
    began = time.perf_counter()
    with MONTH.open(newline="") as file:
        rows = csv.reader(file)
        next(rows)
        for row in rows:
            _ = int(row[0]), *map(Decimal, row[1:])
            count += 1
    return count, time.perf_counter() - began


def supervised(one: Fleet, name: str) -> tuple[float, int, int]:
    """Replay under a supervisor; seconds from ready to its end, fills, page answers meanwhile."""
    one.write(name, paper={"feed": "csv", "file": str(MONTH), "speed": 0, **PAPER}, **GRID)
    began = time.perf_counter()
    one.start(name)
    answers, last = 0, began
    note = one.root / "logs" / name / "exit.json"
    status: dict[str, Any] = {}
    while not note.exists():
        try:
            status = one.get(name, "/api/status")
        except OSError:
            continue  # it has just ended; the note follows
        pnl = {part: Decimal(value) for part, value in status["pnl"].items()}
        total = pnl["grid"] + pnl["trend"] + pnl["unrealized"] - pnl["open_fees"] + pnl["funding"]
        assert pnl["total"] == total, status["pnl"]
        answers, last = answers + 1, time.perf_counter()
    assert json.loads(note.read_text())["code"] == 0, note.read_text()
    one.stop()
    return last - began, int(status["fills"]), answers


def main() -> None:
    runs = arguments(__doc__, 3).runs
    if not MONTH.exists():
        print(f"skipped: no market data at {DATA}; set GRID_DATA to its folder")
        return
    warm_up()
    parsed = [parse() for _ in range(runs)]
    candles = parsed[0][0]
    floor = [candles / seconds for _, seconds in parsed]
    with fleet() as one:
        one.write("bench_bt", paper=PAPER, **GRID)
        words = ("backtest", "--config", "bench_bt", "--data", str(MONTH), "--json")
        reports = []
        walls = []
        for _ in range(runs):
            began = time.perf_counter()
            reports.append(json.loads(one.run("instance_cli", *words)))
            walls.append(time.perf_counter() - began)
        # An instance of its own for each run: a ledger goes on where it ended.
        replays = [supervised(one, f"bench_replay_{number}") for number in range(runs)]
    name = "parsing the file"
    show(
        f"a month of BTC, {candles:,} candles, {reports[0]['fills']} fills",
        [
            Row(
                name="instance_cli backtest, its run",
                ours=[report["candles"] / report["seconds"] for report in reports],
                floor=floor,
                floor_name=name,
                unit="candles/s",
                more_is_better=True,
            ),
            Row(
                name="instance_cli backtest, whole command",
                ours=[candles / wall for wall in walls],
                floor=floor,
                floor_name=name,
                unit="candles/s",
                more_is_better=True,
            ),
            Row(
                name="supervised, from the command to its end",
                ours=[candles / seconds for seconds, _, _ in replays],
                floor=floor,
                floor_name=name,
                unit="candles/s",
                more_is_better=True,
            ),
            Row(name="supervised, seconds", ours=[x for x, _, _ in replays], unit="s"),
            Row(name="supervised, fills", ours=[fills for _, fills, _ in replays], unit="fills"),
            Row(
                name="page answers a second meanwhile",
                ours=[answers / seconds for seconds, _, answers in replays],
                unit="/s",
                more_is_better=True,
            ),
        ],
    )


if __name__ == "__main__":
    main()
