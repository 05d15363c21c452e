"""S24: a script can use every verb: one JSON value on demand, exit codes that are written down."""

from __future__ import annotations

import argparse

import pytest

from cli.instance_cli import _parser
from core.daemon_manager import build_parser
from core.errors import ExitCode

PLAIN = {"logs": "its lines are the log's own, whose daemon.log is JSON already"}


def verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Each verb, and in place of one that has verbs of its own those: `alerts list`."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, verb in action.choices.items():
                under = verbs(verb)
                found |= {f"{name} {n}": v for n, v in under.items()} if under else {name: verb}
    return found


@pytest.mark.parametrize(
    ("command", "count"),
    [(build_parser(), 13), (_parser(["backtest", "candles", "alerts"]), 11)],
    ids=["daemon_manager", "instance_cli"],
)
def test_every_verb_tells_json(command: argparse.ArgumentParser, count: int) -> None:
    """S24: `--json` is an option of each, but of one whose output is somebody else's."""
    found = verbs(command)
    assert len(found) >= count
    without = {name for name, verb in found.items() if "--json" not in verb.format_help()}
    assert without == set(PLAIN) & set(found)


def test_the_numbers_of_exit_codes_stay() -> None:
    """S24: scripts and systemd units are built on them (CONTRACT 3 and 6)."""
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "NOT_RUNNING": 3,
        "AUTH": 4,
        "FATAL_LIMIT": 5,
        "PORT_TAKEN": 6,
        "CRASH": 70,
    }
