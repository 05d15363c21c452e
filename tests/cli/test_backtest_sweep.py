"""A sweep: the same numbers as single runs, whatever the number of processes, refusals as rows."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from backtest_world import D, run_cli, wave, write_candles, write_config, write_funding

from cli.backtesting.axes import bot_args, combinations, parse_axes, parse_axis
from cli.backtesting.setup import ACCOUNTING, Assumptions
from cli.backtesting.sweep import History, Row, Task, ranked, workers
from core.errors import ConfigError, GridfleetError
from exchanges.candles import Candles

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NUMS = ("5", "7", "11", "1", "21")  # 1 is refused by the config, 21 by the tick
KINDS = ("neutral", "long", "short")
SWEEP = ("--sweep", f"grid_num={','.join(NUMS)}", "--sweep", f"grid_type={','.join(KINDS)}")


@pytest.fixture
def world(tmp_path: Path) -> tuple[str, ...]:
    config = write_config(tmp_path)
    data = write_candles(tmp_path / "c.csv", wave(120))
    rates = write_funding(tmp_path / "f.csv", [1_640_995_200_000 + 1_800_000 * i for i in range(4)])
    return "--config", config, "--data", str(data), "--funding", str(rates)


def wait_until(holds: Callable[[], bool], seconds: float) -> None:
    """Wait for a condition of other processes, with a deadline."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not holds():
        assert time.monotonic() < deadline
        pause.wait(0.02)


def as_json(root: Path, capsys: Any, *words: str) -> dict[str, Any]:
    code, out, err = run_cli(root, capsys, *words, "--json")
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--fill", "through", "--slippage", "0.001")])
def test_a_sweep_equals_single_runs(
    tmp_path: Path, capsys: Any, world: tuple[str, ...], more: tuple[str, ...]
) -> None:
    """Every row has every figure of the run that has its values in its config."""
    rows = as_json(tmp_path, capsys, *world, *more, *SWEEP)["rows"]
    assert len(rows) == len(NUMS) * len(KINDS)
    compared = 0
    for row in rows:
        values = row["values"]
        name = write_config(tmp_path, "single", **{**values, "grid_num": int(values["grid_num"])})
        words = ("--config", name, *world[2:], *more, "--json")
        code, out, err = run_cli(tmp_path, capsys, *words)
        if "refused" in row:
            assert code == 2
            assert row["refused"].partition("expected")[2] in err.replace("\n", "; ")
            continue
        single = json.loads(out)
        assert {key: row[key] for key in ACCOUNTING} == {key: single[key] for key in ACCOUNTING}
        assert row["start_price"] == single["start_price"]
        compared += 1
    assert compared == 3 * len(KINDS)


@pytest.mark.slow
def test_processes_change_nothing(tmp_path: Path, capsys: Any, world: tuple[str, ...]) -> None:
    """One process or three: the same rows in the same order, the same folder byte for byte."""
    found = []
    for jobs in ("1", "3"):
        out = tmp_path / jobs
        told = as_json(tmp_path, capsys, *world, *SWEEP, "--jobs", jobs, "--out", str(out))
        del told["seconds"]
        report = json.loads((out / "report.json").read_text())
        assert report == told
        found.append((told, {path.name: path.read_bytes() for path in out.iterdir()}))
    assert found[0] == found[1]
    assert sorted(found[0][1]) == ["index.html", "report.json", "sweep.csv", "sweep.png"]


def test_rows_are_sorted_and_refusals_last(
    tmp_path: Path, capsys: Any, world: tuple[str, ...]
) -> None:
    """Best equity change first; what start would refuse has its reason, in the words of start."""
    rows = as_json(tmp_path, capsys, *world, *SWEEP)["rows"]
    good = [row for row in rows if "refused" not in row]
    assert rows[: len(good)] == good
    changes = [D(row["equity_change"]) for row in good]
    assert changes == sorted(changes, reverse=True)
    reasons = {row["values"]["grid_num"]: row["refused"] for row in rows[len(good) :]}
    assert reasons["1"] == '--grid-num: was "1", expected a whole number from 2 to 1000'
    assert "at least one tick" in reasons["21"]
    for row in good:
        parts = D(row["grid"]) + D(row["trend"]) + D(row["unrealized"]) + D(row["funding"])
        assert parts - D(row["open_fees"]) == D(row["equity_change"])


@pytest.mark.parametrize("objective", ["grid", "realized"])
def test_another_objective(
    tmp_path: Path, capsys: Any, world: tuple[str, ...], objective: str
) -> None:
    """The order follows it; the figures stay."""
    rows = as_json(tmp_path, capsys, *world, *SWEEP, "--objective", objective)["rows"]
    good = [row for row in rows if "refused" not in row]
    values = [D(row["grid"]) + (D(row["trend"]) if objective == "realized" else 0) for row in good]
    assert values == sorted(values, reverse=True)


def test_the_table_and_the_csv(tmp_path: Path, capsys: Any, world: tuple[str, ...]) -> None:
    """The table has every accounting column and the refusals; the CSV has a line a combination."""
    out = tmp_path / "out"
    code, text, err = run_cli(tmp_path, capsys, *world, *SWEEP, "--out", str(out))
    assert (code, err) == (0, "")
    for name in ACCOUNTING[:-2]:
        assert name.replace("_", " ") in text
    assert "6 refused, as start would:" in text
    assert "grid_num=21 grid_type=long: " in text
    rows = list(csv.DictReader((out / "sweep.csv").read_text().splitlines()))
    assert len(rows) == 15
    assert {row["grid_num"] for row in rows if row["refused"]} == {"1", "21"}


def test_a_price_range_is_centred_on_the_first_price(
    tmp_path: Path, capsys: Any, world: tuple[str, ...]
) -> None:
    """price_range brings auto_price, although the config has a range of its own."""
    words = ("--sweep", "price_range=4:10:6", "--sweep", "grid_num=5")
    rows = as_json(tmp_path, capsys, *world, *words)["rows"]
    found = {row["values"]["price_range"]: (row["lower"], row["upper"]) for row in rows}
    assert found == {"4": ("101", "109"), "10": ("94", "116")}


def test_a_config_may_leave_to_the_sweep_what_it_sweeps(
    tmp_path: Path, capsys: Any, world: tuple[str, ...]
) -> None:
    """The file alone would be refused for want of grid_num; with it, it is whole."""
    config = write_config(tmp_path, "part", grid_num=None)
    rows = as_json(tmp_path, capsys, "--config", config, *world[2:], "--sweep", "grid_num=5,11")
    assert all("refused" not in row for row in rows["rows"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("--sweep", "grid_num=5:11:3"),
        ("--sweep", "grid_type=neutral,long,short"),
        ("--sweep", "grid_num=5:11:3", "--sweep", "price_range=4,5"),
        ("--sweep", "grid_num=5:11:3", "--sweep", "price_range=4,5", "--sweep", "quantity=1,2"),
        ("--sweep", "open_initial=true,false", "--sweep", "grid_type=long,short"),
        ("--sweep", "grid_num=5"),
    ],
)
def test_every_shape_has_a_picture_and_a_page(
    tmp_path: Path, capsys: Any, world: tuple[str, ...], words: tuple[str, ...]
) -> None:
    """One, two and three keys, numbers and words."""
    out = tmp_path / "out"
    code, _, err = run_cli(tmp_path, capsys, *world, *words, "--out", str(out))
    assert (code, err) == (0, "")
    assert (out / "sweep.png").read_bytes()[:4] == b"\x89PNG"
    page = (out / "index.html").read_text()
    assert page.count("<img") == page.count('src="data:image/png;base64,') == 1
    assert "<script" not in page


def test_a_killed_process_is_said(
    tmp_path: Path, world: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No half a table: the sweep fails and says what may have happened."""

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr("cli.backtesting.sweep.one", die)
    history = History(
        config=tmp_path / "config/active/bt.json",
        root=tmp_path,
        data=tmp_path / "c.csv",
        candles=Candles.read(tmp_path / "c.csv"),
        rates=(),
        assumptions=Assumptions(),
        axes=parse_axes(["grid_num=5,7"]),
    )
    tasks = [Task(values=(value,), span=history.whole) for value in ("5", "7")]
    with (
        workers(history, 2) as run_all,
        pytest.raises(GridfleetError, match="lack of memory: try fewer --jobs than 2"),
    ):
        list(run_all(tasks))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_no_process_outlives_the_command(tmp_path: Path, world: tuple[str, ...], name: str) -> None:
    """Whatever ends the command, its workers are gone soon, in the middle of a run too."""
    write_candles(tmp_path / "c.csv", wave(20_000))
    # A stop is the engine's to judge, a long way round: the command cannot end before its signal.
    sweep = ("--sweep", "quantity=1:40:1", "--sweep", "stop_loss=1000000:1040000:1000")
    words = (*world, "--sweep", "grid_num=11", *sweep, "--jobs", "2")
    command = [sys.executable, "-m", "cli.instance_cli", "--root", str(tmp_path), "backtest"]
    process = subprocess.Popen(
        [*command, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT
    )
    try:
        parent = psutil.Process(process.pid)
        wait_until(lambda: len(parent.children()) == 2, 60)
        workers_of_it = parent.children()
        process.send_signal(signal.Signals[name])
        _, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
    wait_until(lambda: not any(worker.is_running() for worker in workers_of_it), 60)
    assert process.returncode == (130 if name == "SIGINT" else -signal.Signals[name])
    assert b"Traceback" not in err


# Specs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "values"),
    [
        ("grid_num=10:100:30", "grid_num", ["10", "40", "70", "100"]),
        ("grid_num=10:99:30", "grid_num", ["10", "40", "70"]),
        ("price_range=0.1:0.4:0.1", "price_range", ["0.1", "0.2", "0.3", "0.4"]),
        ("price_range=2:1:-0.5", "price_range", ["2", "1.5", "1"]),
        ("grid_num=7:7:1", "grid_num", ["7"]),
        ("grid-lower=1,2", "grid_lower_price", ["1", "2"]),
        ("grid_type= long , short", "grid_type", ["long", "short"]),
        ("quantity=1e-3:3e-3:1e-3", "quantity", ["0.001", "0.002", "0.003"]),
    ],
)
def test_a_spec_is_read_exactly(text: str, key: str, values: list[str]) -> None:
    """Steps are decimals: 0.1 three times is 0.3; the end is included when it is hit."""
    axis = parse_axis(text)
    assert (axis.key, list(axis.values)) == (key, values)


def test_combinations_and_options() -> None:
    """The last key moves fastest; each combination is options of run.py."""
    axes = parse_axes(["price_range=2,3", "open_initial=true,false"])
    found = [bot_args(axes, values) for values in combinations(axes)]
    assert found[0] == ["--price-range=2", "--auto-price", "--open-initial"]
    assert found[1] == ["--price-range=2", "--auto-price", "--no-open-initial"]
    assert found[3] == ["--price-range=3", "--auto-price", "--no-open-initial"]


def test_the_limit_of_combinations_is_exact() -> None:
    """100,000 may be asked for, one more may not."""
    assert len(parse_axis("quantity=1:100000:1").values) == 100_000
    with pytest.raises(ConfigError, match="100,001 values"):
        parse_axis("quantity=1:100001:1")


def test_equals_keep_their_order() -> None:
    """Of equals the one that was asked for first is the best."""
    rows = [
        Row(values=(str(i),), result={"equity_change": change} if change else None)
        for i, change in enumerate(["1", "", "2", "1", "2", "1.0"])
    ]
    assert [row.values[0] for row in ranked(rows, "equity_change")] == list("240351")
