"""What the commands print: one JSON value or words on standard output, messages beside it.

With `--json` standard output holds one JSON value and nothing else; every message goes to standard
error. Without it, results go to standard output and complaints to standard error.

Words are no part of the work: where they can't be said (a closed stream, a full disk, a reader that
went away) the command goes on with what it does.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import Any, TextIO

from core.i18n import t
from core.masking import escape_controls


class Console:
    """Where one command's words go."""

    def __init__(self, *, as_json: bool = False) -> None:
        _open_missing_streams()
        self.as_json = as_json
        self.unsaid: OSError | None = None  # what kept standard output from being written
        self.is_heard = True  # until a write finds nobody who reads, or no room

    def say(self, text: str, /, **values: object) -> None:
        """Tell the user something, translated; the `{names}` in the text are filled in."""
        self._write(sys.stderr if self.as_json else sys.stdout, t(text, **_safe(values)))

    def complain(self, text: str, /, **values: object) -> None:
        """Tell the user what went wrong, translated."""
        self._write(sys.stderr, t(text, **_safe(values)))

    def quote(self, lines: list[str], *, indent: str = "    ") -> None:
        """Show lines of a log, to standard error, with nothing in them that moves the cursor."""
        for line in lines:
            self._write(sys.stderr, indent + escape_controls(line, keep="\t"))

    def emit(self, value: Any) -> None:
        """Print the one JSON value."""
        self._write(sys.stdout, json.dumps(value, ensure_ascii=False, default=str))

    def ask(self, question: str) -> bool:
        """Ask for yes or no on the terminal; without one the answer is yes (CONTRACT 3)."""
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return True
        sys.stderr.write(f"{t(question)} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes", "是")

    def _write(self, stream: TextIO, text: str) -> None:
        try:
            _write(stream, text)
        except BrokenPipeError:
            self.is_heard &= stream is not sys.stdout
            _silence(stream)  # a reader that went away (`| head`) is no failure of the command
        except OSError as error:
            if stream is sys.stdout:
                self.unsaid = error
                self.is_heard = False
            _silence(stream)


def _safe(values: dict[str, object]) -> dict[str, object]:
    return {
        key: escape_controls(value, keep="\n\t") if isinstance(value, str) else value
        for key, value in values.items()
    }


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text + "\n")
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()


def _silence(stream: TextIO) -> None:
    """Let what is still in its buffer, and all that follows, go nowhere."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(null, stream.fileno())
        os.close(null)


def _open_missing_streams() -> None:
    """Open what the caller closed (`>&-`, some schedulers): the next file would get its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open("/dev/null", os.O_RDWR)
            os.dup2(opened, number)  # inheritable, as a standard stream is
            if opened != number:
                os.close(opened)
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
