"""A plain grid table, as tabulate's "grid" draws it, for the commands that must answer at once.

`list` is typed, and watched, all day; importing tabulate takes longer than everything else that
`list` does (130 of 200 ms on the machine where this was measured). Its tests hold it equal to
tabulate with wcwidth. Other commands use tabulate itself. Cells are text of one line.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

HEADER_ROOM = 2  # tabulate leaves as much beside a header


def display_width(text: str) -> int:
    """Count terminal columns: a wide East Asian character or emoji takes two, a mark none."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def grid(rows: Sequence[Sequence[str]], headers: Sequence[str], right: frozenset[int]) -> str:
    """Draw the table; the columns in `right` are aligned to the right."""
    widths = [
        max([display_width(head) + HEADER_ROOM, *(display_width(row[index]) for row in rows)])
        for index, head in enumerate(headers)
    ]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    lines = [rule, _line(headers, widths, right), rule.replace("-", "=")]
    for row in rows:
        lines += [_line(row, widths, right), rule]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int], right: frozenset[int]) -> str:
    padded = []
    for index, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        space = " " * (width - display_width(cell))
        padded.append(f" {space}{cell} " if index in right else f" {cell}{space} ")
    return "|" + "|".join(padded) + "|"


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
