"""`instance_cli` as its users call it: exit codes and messages of every verb."""

from __future__ import annotations

from pathlib import Path

import pytest
from instance_shell import Cli

from cli import instance_cli
from core.instance_manager import InstanceRegistry

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("english")]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nonsense"],
        ["list", "--nonsense"],
        ["list", "--al"],
        ["list", "--watch", "--json"],
        ["info"],
        ["info", "../x"],
        ["info", "a\n"],
        ["info", ""],
        ["stats", "-rf"],
        ["audit"],
        ["audit", "../x"],
        ["audit", ""],
        ["stats", "a/b"],
        ["backtest"],
    ],
)
def test_bad_usage_is_2(cli: Cli, words: list[str]) -> None:
    """Nothing on standard output, the reason on standard error."""
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    assert err


@pytest.mark.parametrize("verb", ["info", "stats"])
def test_an_unknown_id_is_1(cli: Cli, registry: InstanceRegistry, verb: str) -> None:
    """The message names what there is."""
    registry.register("a", {"status": "FATAL"})
    code, out, err = cli(verb, "b", "--json")
    assert (code, out) == (1, "")
    assert "no instance b" in err
    assert "known: a" in err


def test_a_root_that_is_none_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    """`--root` names an existing folder."""
    assert instance_cli.main(["list", "--root", "/nonexistent"]) == 2
    assert "--root" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["list", "cleanup", "info", "stats", "audit", "backtest"])
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` of each, and all of them in the overview."""
    assert instance_cli.main([verb, "--help"]) == 0
    assert verb in capsys.readouterr().out
    assert instance_cli.main(["--help"]) == 0
    assert f"    {verb} " in capsys.readouterr().out


def test_backtest_is_reached(cli: Cli, tmp_path: Path) -> None:
    """The verb hands over to the engine's own command, with its exit code for a bad file."""
    code, out, err = cli("backtest", "--config", "missing.json", "--data", "missing.csv")
    assert (code, out) == (2, "")
    assert "missing" in err


def test_backtest_out_is_judged_before_the_replay(cli: Cli, tmp_path: Path) -> None:
    """A folder that cannot be is refused in words, whatever else is wrong, and at once."""
    (tmp_path / "there").write_text("a file")
    for name in ("there", "there/below"):
        out_dir = str(tmp_path / name)
        code, out, err = cli("backtest", "--config", "x", "--data", "y", "--out", out_dir)
        assert (code, out) == (2, "")
        assert f"--out: was '{out_dir}'" in err
        assert "Errno" not in err
