"""How deep JSON is nested, before it is parsed. Pure.

The parser recurses in C: its guard is the interpreter's recursion limit, and libraries raise that.
What comes from outside is judged first, so that no limit of another's ends the process.
"""

from __future__ import annotations

import re

_BRACKETS = re.compile(r"[\[\]{}]")


def is_deeper(text: str, most: int) -> bool:
    """Tell whether objects and arrays are nested deeper than `most`.

    Brackets inside strings count as well: a text that is near the limit by those is refused too.
    """
    if text.count("[") + text.count("{") <= most:
        return False
    depth = 0
    for bracket in _BRACKETS.findall(text):
        depth += 1 if bracket in "[{" else -1
        if depth > most:
            return True
    return False
