"""Every option of every command refuses bad input: exit 2, the option and the value in words.

The options are read from the parsers themselves: one that is added without a case here fails. A
switch needs none, since all of them refuse a value in the same way.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli import bot, instance_cli
from core import daemon_manager
from core.bot_options import OPTIONS, Kind

CONFIG = {
    "metadata": {"instance_id": "good_01"},
    "exchange_config": {"mode": "paper"},
    "strategy_config": {
        "exchange": "backpack",
        "symbol": "SOL_USDC_PERP",
        "grid_lower_price": 140,
        "grid_upper_price": 160,
        "grid_num": 20,
        "max_position": 10,
    },
}

Main = Callable[[list[str]], int]
Case = tuple[list[str], tuple[str, ...]]
"""Words after the verb, and what the message must say."""

NO_CONFIG = (["--config", "nowhere.json"], ("--config", "nowhere.json", "expected a config file"))
NO_ID = ("../x", "[A-Za-z0-9]")
GOOD = ["--config", "good_01"]

MANAGER: dict[tuple[str, str], Case] = {
    ("start", "config"): NO_CONFIG,
    ("start", "instance_id"): ([*GOOD, "--instance-id", "../x"], ("--instance-id", *NO_ID)),
    ("start", "wait"): (["--wait", "soon"], ("--wait", "'soon'", "expected seconds")),
    ("restart", "config"): NO_CONFIG,
    ("restart", "instance_id"): (["--instance-id", "../x"], NO_ID),
    ("restart", "ids"): (["../x"], NO_ID),
    ("restart", "wait"): (["--wait", "-1"], ("--wait",)),
    ("reload", "config"): NO_CONFIG,
    ("reload", "instance_id"): (["--instance-id", "../x"], NO_ID),
    ("reload", "ids"): (["../x"], NO_ID),
    ("reload", "wait"): (["--wait", "1s"], ("--wait", "'1s'")),
    ("resurrect", "wait"): (["--wait", "1e3"], ("--wait", "'1e3'")),
    ("start", "stagger"): (["--stagger", "-1"], ("--stagger", "seconds")),
    ("resurrect", "stagger"): (["--stagger", "soon"], ("--stagger", "'soon'", "seconds")),
    ("install-service", "dir"): (
        ["--dir", "candles.csv/x"],
        ("--dir", "'candles.csv/x'", "folder"),
    ),
    ("stop", "config"): (["--config", "a b.json"], ("a b", "[A-Za-z0-9]")),
    ("stop", "instance_id"): (["--instance-id", "../x"], NO_ID),
    ("stop", "ids"): (["../x"], NO_ID),
    ("status", "config"): (["--config", "a b.json"], ("a b", "[A-Za-z0-9]")),
    ("status", "instance_id"): (["--instance-id", "../x"], NO_ID),
    ("status", "ids"): (["a", "../x"], NO_ID),
    ("logs", "id"): (["../x"], NO_ID),
    ("logs", "stream"): (["x", "--stream", "all"], ("--stream", "'all'", "daemon")),
    ("logs", "lines"): (["x", "-n", "-5"], ("-n", "'-5'", "a whole number")),
    ("validate", "config"): NO_CONFIG,
    ("validate", "instance_id"): ([*GOOD, "--instance-id", "../x"], ("--instance-id", *NO_ID)),
    ("adjust", "id"): (["../x", "--lower", "1"], NO_ID),
    ("adjust", "lower"): (["x", "--lower", "NaN"], ("--lower", "'NaN'", "a price")),
    ("adjust", "upper"): (["x", "--upper", "1e5"], ("--upper", "'1e5'", "a price")),
    ("adjust", "grid_num"): (["x", "--grid-num", "2.5"], ("--grid-num", "'2.5'", "whole number")),
    ("adjust", "lots"): (["x", "--lots", "sell"], ("--lots", "'sell'", "carry")),
    ("pause", "ids"): (["../x"], NO_ID),
    ("resume", "ids"): (["../x"], NO_ID),
}

DATA = ["--data", "candles.csv"]
SWEPT = [*GOOD, *DATA, "--sweep", "grid_num=5,9"]
WALKED = [*SWEPT, "--walk-forward", "2"]

FETCH = ["--exchange", "aster", "--symbol", "SOLUSDT", "--from", "2026-01-01", "--to", "2026-01-02"]

INSPECTOR: dict[tuple[str, str], Case] = {
    ("info", "id"): (["../x"], NO_ID),
    ("stats", "id"): (["../x"], NO_ID),
    ("audit", "id"): (["../x"], NO_ID),
    ("backtest", "config"): (["--config", "nowhere.json", *DATA], ("--config", "nowhere.json")),
    ("backtest", "data"): ([*GOOD, "--data", "nowhere.csv"], ("--data", "nowhere.csv")),
    ("backtest", "funding"): ([*GOOD, *DATA, "--funding", "nowhere.csv"], ("nowhere.csv",)),
    ("backtest", "out"): ([*GOOD, *DATA, "--out", "candles.csv/out"], ("--out", "candles.csv/out")),
    ("backtest", "fill"): ([*GOOD, *DATA, "--fill", "maybe"], ("--fill", "'maybe'", "through")),
    ("backtest", "slippage"): ([*GOOD, *DATA, "--slippage", "2"], ("--slippage", "'2'", "below 1")),
    ("backtest", "sweep"): ([*GOOD, *DATA, "--sweep", "grid_num=5:9"], ("grid_num=5:9", "three")),
    ("backtest", "objective"): ([*SWEPT, "--objective", "luck"], ("--objective", "'luck'", "grid")),
    ("backtest", "jobs"): ([*SWEPT, "--jobs", "0"], ("--jobs", "'0'", "from 1")),
    ("backtest", "walk_forward"): ([*SWEPT, "--walk-forward", "x"], ("--walk-forward", "'x'")),
    ("backtest", "train"): ([*WALKED, "--train", "7"], ("--train", "'7'", "between 0 and 1")),
    ("candles", "exchange"): (
        [*FETCH, "--exchange", "kraken"],
        ("--exchange", "'kraken'"),
    ),
    ("candles", "symbol"): ([*FETCH, "--symbol", "../x"], ("--symbol", "'../x'", "SOL_USDC_PERP")),
    ("candles", "start"): ([*FETCH, "--from", "soon"], ("--from", "'soon'", "2026-01-31")),
    ("candles", "end"): ([*FETCH, "--to", "2020-01-01"], ("--to", "2020-01-01", "after --from")),
    ("candles", "interval"): ([*FETCH, "--interval", "7m"], ("--interval", "'7m'", "15m")),
    ("candles", "out"): ([*FETCH, "--out", "candles.csv/x"], ("--out", "'candles.csv/x'")),
    ("candles", "base_url"): ([*FETCH, "--base-url", "http://x.org"], ("--base-url", "https://")),
}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with one good config and one candle; the current directory is it."""
    for name in ("config/active", "logs", "database"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "config" / "active" / "good_01.json").write_text(json.dumps(CONFIG))
    (tmp_path / "candles.csv").write_text(
        "timestamp_ms,open,high,low,close,volume\n1640995200000,150,151,149,150,1\n"
    )
    monkeypatch.setenv("GRID_ROOT", str(tmp_path))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.chdir(tmp_path)
    for name in ("CONFIG_FILE", "INSTANCE_ID", "WEB_TOKEN", "WEB_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def verbs_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("a parser without verbs")


def options_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every option and argument but --help and --root, which all verbs have."""
    for action in parser._actions:
        if action.dest not in ("help", "root"):
            yield action


def takes_a_value(action: argparse.Action) -> bool:
    return action.nargs != 0 and not isinstance(action, argparse.BooleanOptionalAction)


PROGRAMS: list[tuple[str, argparse.ArgumentParser, Main, dict[tuple[str, str], Case]]] = [
    ("daemon_manager", daemon_manager.build_parser(), daemon_manager.main, MANAGER),
    ("instance_cli", instance_cli._parser(["backtest", "candles"]), instance_cli.main, INSPECTOR),
]
VALUES = [
    pytest.param(main, verb, *case, id=f"{name}-{verb}-{dest}")
    for name, _, main, cases in PROGRAMS
    for (verb, dest), case in cases.items()
]
SWITCHES = [
    pytest.param(main, verb, action.option_strings[-1], id=f"{name}-{verb}-{action.dest}")
    for name, parser, main, _ in PROGRAMS
    for verb, sub in verbs_of(parser).items()
    for action in options_of(sub)
    if not takes_a_value(action)
]
VERBS = [
    pytest.param(main, verb, id=f"{name}-{verb}")
    for name, parser, main, _ in PROGRAMS
    for verb in verbs_of(parser)
]


def refused(main: Main, words: list[str], capsys: pytest.CaptureFixture[str], root: Path) -> str:
    """Run it; it must end with 2, say why on standard error alone, and leave nothing behind."""
    before = sorted(root.rglob("*"))
    try:
        code = main(words)
    except SystemExit as end:
        code = int(end.code or 0)
    said = capsys.readouterr()
    assert code == 2, said
    assert said.out == ""
    assert [path for path in sorted(root.rglob("*")) if path.suffix != ".lock"] == before
    return said.err


@pytest.mark.parametrize(
    ("parser", "cases"), [program[1::2] for program in PROGRAMS], ids=["manager", "inspector"]
)
def test_every_option_that_takes_a_value_has_a_case(
    parser: argparse.ArgumentParser, cases: dict[tuple[str, str], Case]
) -> None:
    """And there is no case of an option that is gone."""
    there = {
        (verb, action.dest)
        for verb, sub in verbs_of(parser).items()
        for action in options_of(sub)
        if takes_a_value(action)
    }
    assert set(cases) == there


@pytest.mark.parametrize(("main", "verb", "words", "said"), VALUES)
def test_a_bad_value_is_refused_by_name(
    main: Main,
    verb: str,
    words: list[str],
    said: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    root: Path,
) -> None:
    """The message has the option, the value and what would be right."""
    message = refused(main, [verb, *words], capsys, root)
    for part in said:
        assert part in message


@pytest.mark.parametrize(("main", "verb", "flag"), SWITCHES)
def test_a_switch_with_a_value_is_refused(
    main: Main, verb: str, flag: str, capsys: pytest.CaptureFixture[str], root: Path
) -> None:
    """`--all=no` is not guessed at."""
    message = refused(main, [verb, f"{flag}=no"], capsys, root)
    assert flag in message
    assert "no" in message


@pytest.mark.parametrize(("main", "verb"), VERBS)
def test_an_unknown_option_and_a_root_that_is_none(
    main: Main, verb: str, capsys: pytest.CaptureFixture[str], root: Path
) -> None:
    """For every verb, an abbreviation included: options are written out."""
    needed = {
        "info": ["x"],
        "audit": ["x"],
        "alerts": ["list"],
        "logs": ["x"],
        "adjust": ["x", "--lower", "1"],
        "backtest": [*GOOD, *DATA],
        "candles": FETCH,
    }
    words = [verb, *needed.get(verb, [])]
    assert "--nonsense" in refused(main, [*words, "--nonsense"], capsys, root)
    assert "--roo" in refused(main, [*words, "--roo", "."], capsys, root)
    message = refused(main, [*words, "--root", "/nonexistent"], capsys, root)
    assert "--root" in message
    assert "/nonexistent" in message


# run.py -----------------------------------------------------------------------------------------

RUN = ["--config", "good_01"]
RUN_CASES: dict[str, Case] = {
    "--config": NO_CONFIG,
    "--exchange": ([*RUN, "--exchange", "kraken"], ('"kraken"', "backpack, aster, paper")),
    "--symbol": ([*RUN, "--symbol", "SOL/USDC"], ('"SOL/USDC"',)),
    "--strategy": ([*RUN, "--strategy", "dca"], ('"dca"', '"perp_grid"')),
    "--market-type": ([*RUN, "--market-type", "spot"], ('"spot"', '"perp"')),
    "--grid-lower": ([*RUN, "--grid-lower", "170"], ("170", "less than grid_upper_price")),
    "--grid-upper": ([*RUN, "--grid-upper", "-1"], ('"-1"', "above 0")),
    "--grid-num": ([*RUN, "--grid-num", "1"], ('"1"', "from 2 to 1000")),
    "--grid-mode": ([*RUN, "--grid-mode", "log"], ('"log"', "arithmetic, geometric")),
    "--grid-type": ([*RUN, "--grid-type", "both"], ('"both"', "neutral, long, short")),
    "--quantity": ([*RUN, "--quantity", "11"], ("11", "at most max_position, which is 10")),
    "--max-position": ([*RUN, "--max-position", "0"], ('"0"', "above 0")),
    "--leverage": ([*RUN, "--leverage", "500"], ('"500"', "from 1 to 200")),
    "--stop-loss": ([*RUN, "--stop-loss", "-5"], ('"-5"', "above 0")),
    "--take-profit": ([*RUN, "--take-profit", "all"], ('"all"', "above 0")),
    "--boundary-action": ([*RUN, "--boundary-action", "panic"], ('"panic"', "stop_only")),
    "--boundary-tolerance": ([*RUN, "--boundary-tolerance", "2"], ('"2"', "a fraction")),
    "--price-range": ([*RUN, "--price-range", "100"], ('"100"', "per cent")),
    "--duration": ([*RUN, "--duration", "0"], ('"0"', "seconds above 0")),
    "--interval": ([*RUN, "--interval", "often"], ('"often"', "seconds")),
}


def test_every_option_of_the_bot_has_a_case() -> None:
    """Those that take a value; the others are switches."""
    values = {o.flag for o in OPTIONS if o.kind in (Kind.VALUE, Kind.COMMAND_VALUE)}
    assert set(RUN_CASES) == values


@pytest.mark.parametrize("flag", sorted(RUN_CASES))
def test_the_bot_refuses_a_bad_value_by_name(
    flag: str, capsys: pytest.CaptureFixture[str], root: Path
) -> None:
    """Exit 2, before anything is opened: no folder, no database, no port."""
    words, said = RUN_CASES[flag]
    message = refused(bot.main, words, capsys, root)
    for part in (flag, *said):
        assert part in message


@pytest.mark.parametrize(
    "flag",
    [o.flag for o in OPTIONS if o.kind not in (Kind.VALUE, Kind.COMMAND_VALUE)],
)
def test_a_switch_of_the_bot_with_a_value_is_refused(
    flag: str, capsys: pytest.CaptureFixture[str], root: Path
) -> None:
    """`--check=no` starts nothing and checks nothing."""
    assert flag in refused(bot.main, [*RUN, f"{flag}=no"], capsys, root)


def test_the_bot_refuses_what_it_does_not_know(
    capsys: pytest.CaptureFixture[str], root: Path
) -> None:
    """Unknown and abbreviated options, stray words, and no config at all."""
    for words, said in (
        ([*RUN, "--nonsense"], "--nonsense"),
        ([*RUN, "--grid-nu", "5"], "--grid-nu"),
        ([*RUN, "stray"], "stray"),
        ([*RUN, "--grid-num"], "--grid-num"),
        ([], "--config FILE"),
    ):
        assert said in refused(bot.main, words, capsys, root)
