"""What the commands print: one JSON value or words on standard output, messages beside it.

With `--json` standard output holds one JSON value and nothing else; every message goes to standard
error. Without it, results go to standard output and complaints to standard error.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any, TextIO

from core.i18n import t
from core.masking import escape_controls


class Console:
    """Where one command's words go."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json

    def say(self, text: str, /, **values: object) -> None:
        """Tell the user something, translated; the `{names}` in the text are filled in."""
        _write(sys.stderr if self.as_json else sys.stdout, t(text, **_safe(values)))

    def complain(self, text: str, /, **values: object) -> None:
        """Tell the user what went wrong, translated."""
        _write(sys.stderr, t(text, **_safe(values)))

    def quote(self, lines: list[str], *, indent: str = "    ") -> None:
        """Show lines of a log, to standard error, with nothing in them that moves the cursor."""
        for line in lines:
            _write(sys.stderr, indent + escape_controls(line, keep="\t"))

    def emit(self, value: Any) -> None:
        """Print the one JSON value."""
        _write(sys.stdout, json.dumps(value, ensure_ascii=False, default=str))

    def ask(self, question: str) -> bool:
        """Ask for yes or no on the terminal; without one the answer is yes (CONTRACT 3)."""
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return True
        sys.stderr.write(f"{t(question)} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes", "是")


def _safe(values: dict[str, object]) -> dict[str, object]:
    return {
        key: escape_controls(value, keep="\n\t") if isinstance(value, str) else value
        for key, value in values.items()
    }


def _write(stream: TextIO, text: str) -> None:
    # A reader that went away (`| head`) is no failure of the command.
    with contextlib.suppress(BrokenPipeError):
        try:
            stream.write(text + "\n")
        except UnicodeEncodeError:
            encoding = stream.encoding or "ascii"
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        stream.flush()
