"""What users can write is documented: every config key, every option, every verb."""

from __future__ import annotations

import argparse
import contextlib
import re
from pathlib import Path

import pytest

from cli import instance_cli
from cli.backtest import add_arguments
from cli.backtesting.axes import KEYS
from core import daemon_manager
from core.bot_options import COMMAND_KEYS, OPTIONS
from core.config_sections import (
    DaemonConfig,
    ExchangeConfig,
    Metadata,
    PaperConfig,
    StrategyConfig,
)

ROOT = Path(__file__).parents[2]
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTIONS = (Metadata, DaemonConfig, ExchangeConfig, PaperConfig, StrategyConfig)


@pytest.mark.parametrize(
    "key", sorted({name for section in SECTIONS for name in section.model_fields})
)
def test_every_config_key_is_documented(key: str) -> None:
    """Each key stands in docs/configuration.md as code."""
    assert f"`{key}`" in CONFIGURATION


@pytest.mark.parametrize("key", sorted(o.key for o in OPTIONS if o.key not in COMMAND_KEYS))
def test_every_option_of_the_bot_is_a_documented_key(key: str) -> None:
    """Each long option of run.py is a key with underscores, and documented as one."""
    assert f"`{key}`" in CONFIGURATION


def test_every_verb_is_in_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    """Each verb that `--help` of either command names stands in the README."""
    verbs = set()
    for main in (daemon_manager.main, instance_cli.main):
        with contextlib.suppress(SystemExit):
            main(["--help"])
        verbs |= set(re.findall(r"^    ([a-z]+)(?:\s|$)", capsys.readouterr().out, re.MULTILINE))
    assert {"start", "resurrect", "pause", "cleanup", "backtest"} <= verbs
    missing = [verb for verb in sorted(verbs) if not re.search(rf"\b{verb}\b", README)]
    assert missing == []


def test_every_option_of_a_backtest_is_documented() -> None:
    """Each option, and each key that can be swept, stands in docs/backtest.md as code."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    flags = [flag for action in parser._actions for flag in action.option_strings]
    flags = [flag for flag in flags if flag.startswith("--") and flag != "--help"]
    assert len(flags) >= 12
    text = (ROOT / "docs" / "backtest.md").read_text(encoding="utf-8")
    assert [name for name in (*flags, *KEYS) if f"`{name}`" not in text] == []


def test_the_readme_links_to_files_that_are_there() -> None:
    """Every relative link and picture of the README exists."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_default_in_the_table_is_the_real_one() -> None:
    """The numbers of daemon_config's table are those of the code."""
    table = CONFIGURATION.split("## daemon_config")[1].split("## exchange_config")[0]
    shown = dict(re.findall(r"\| `([a-z_]+)` \| ([0-9.]+) \|", table))
    assert len(shown) > 12
    for key, value in shown.items():
        assert float(DaemonConfig.model_fields[key].default) == float(value), key
