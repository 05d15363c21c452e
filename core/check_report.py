"""How `run.py --check` reports to a program: the variable that asks for it, the mark of its line.

Apart from `core.preflight`, which runs the check, so that a bot loads none of that.
"""

from __future__ import annotations

REPORT_VARIABLE = "GRID_CHECK_REPORT"
REPORT_MARK = "\x1e"
"""Begins the line of the check's output that is for a program: RFC 7464's record separator."""
