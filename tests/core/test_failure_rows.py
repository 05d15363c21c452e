"""Every row of the list of failures is named by a test that fails without its guarantee.

Rows of bots are named `test_failure_05_...` or `FAILURES 5` (also `FAILURES 5, 6`) in a docstring,
rows of supervisors `S6`; the probes of the peers, which have no number, are named by their words.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
ROWS = TESTS.parents[1] / "shared" / "FAILURES.md"

NOT_YET: dict[str, str] = {}
"""Rows without a guarantee so far and why; one that has its test must go from here."""

PEERS = ("one copy", "no death", "none left", "no stranger touched")


def rows(text: str) -> set[str]:
    """The numbers in the first column of the tables."""
    return set(re.findall(r"^\| (S?\d+) \|", text, re.MULTILINE))


def all_tests() -> Iterator[tuple[str, str]]:
    """Name and docstring of every test function, whichever file it is in."""
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield node.name, ast.get_docstring(node) or ""


def named(name: str, words: str) -> set[str]:
    """The rows that a test says it stands for."""
    bots = re.findall(r"^test_failure_0*(\d+)_", name)
    for listed in re.findall(r"FAILURES (\d+(?:, \d+)*)", words):
        bots += listed.split(", ")
    return {*bots, *re.findall(r"\bS\d+\b", words)}


@pytest.fixture
def table() -> str:
    if not ROWS.exists():
        pytest.skip(f"no list of failures: {ROWS} is not there")
    return ROWS.read_text(encoding="utf-8")


def test_names_are_read_as_they_are_written() -> None:
    """A name, a list and a mark; a number of another kind is none."""
    assert named("test_failure_05_dust", "S6, S7: what S24x is not; FAILURES 9, 10.") == {
        *("5", "S6", "S7", "9", "10")
    }
    assert named("test_20_half_open", "200 sockets in 30 s") == set()


@pytest.mark.slow
def test_every_row_is_named_by_a_test(table: str) -> None:
    """None is forgotten, none is named that is not in the list, none is excused any longer."""
    listed, told = rows(table), list(all_tests())
    assert len(listed) >= 68
    have = set[str]().union(*(named(*test) for test in told))
    assert sorted(listed - have - set(NOT_YET)) == [], "rows without a test"
    assert sorted(have - listed) == [], "named, and not in the list"
    assert sorted(have & set(NOT_YET)) == [], "has its test: take it from NOT_YET"
    for words in PEERS:  # the sentence below the tables: a promise a test
        assert words in " ".join(table.split()), "the list's own words"
        assert any(words in " ".join(text.split()).lower() for _, text in told), words
