"""Nesting is judged before a parser recurses, whatever the recursion limit is."""

from __future__ import annotations

import pytest

from core.json_depth import is_deeper


@pytest.mark.parametrize(
    ("text", "deeper"),
    [
        ("{}", False),
        ('{"a": [1, 2, {"b": 3}]}', False),
        ("[[[[]]]]", True),
        ("[[[]]]" * 1000, False),
        ('{"a":' * 4 + "1" + "}" * 4, True),
        ("[" * 1_000_000, True),
        ("]" * 10 + "[[[", False),
    ],
)
def test_more_than_three_levels_are_deeper_than_three(text: str, deeper: bool) -> None:
    """Levels count, not brackets."""
    assert is_deeper(text, 3) is deeper
