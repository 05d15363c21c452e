"""The grid that a bot trades now, which an adjust or the boundary may have moved from its config.

From the bot's own page where it answers, else from its ledger, read-only: the last checkpoint and
the journal after it. A bot that has no grid yet has none here either.
"""

from __future__ import annotations

import http.client
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.instance_stats import ask_page
from core.config_files import EnvFile, Variables
from core.errors import GridfleetError

if TYPE_CHECKING:
    from strategies.journal import Book

UNREADABLE = (GridfleetError, OSError, ValueError, KeyError, TypeError)
"""What a file of another version, a planted or a damaged one raises."""


def grid_in_force(entry: dict[str, Any], root: Path) -> dict[str, Any] | None:
    """Give lower, upper, num, mode, type and `source`, "page" or "database"; None: none known."""
    if entry["bot_pid"] is not None and entry["web_port"]:
        token = Variables(os.environ, [EnvFile(root / ".env", ".env")]).get("WEB_TOKEN", "")
        try:
            grid = ask_page(entry, token).get("grid")
        except (OSError, http.client.HTTPException, ValueError):
            pass
        else:
            keys = ("lower", "upper", "num", "mode", "type")
            if not isinstance(grid, dict):
                return None
            return {**{key: grid.get(key) for key in keys}, "source": "page"}
    try:
        return _from_database(Path(entry["db_path"] or ""))
    except UNREADABLE:
        return None


def grid_words(grid: dict[str, Any]) -> str:
    """Write it as the listings write a config's, e.g. `140-160 x20 arithmetic neutral`."""
    return "{lower}-{upper} x{num} {mode} {type}".format_map(grid)


def read_book(path: Path) -> Book | None:
    """Fold the whole ledger of an instance, read-only; None: there is no such file.

    Errors: StoreError, and `UNREADABLE` for what another version or a damaged file holds.
    """
    # The arms are loaded only when they are needed.
    from database.reading import LedgerReader
    from strategies.journal import Book, apply, decode_book

    if not path.is_file():
        return None
    with LedgerReader(path) as reader:
        checkpoint = reader.checkpoint()
        seq, book = 0, Book()
        if checkpoint is not None:
            seq, book = checkpoint[0], decode_book(checkpoint[1])
        for number, kind, payload, time in reader.events(after=seq):
            book = apply(book, kind, payload, number, time)
    return book


def _from_database(path: Path) -> dict[str, Any] | None:
    from strategies.grid_math import plain

    book = read_book(path)
    if book is None or book.grid is None:
        return None
    spec = book.grid.spec
    return {
        "lower": plain(spec.levels[0]),
        "upper": plain(spec.levels[-1]),
        "num": spec.num,
        "mode": spec.mode.value,
        "type": spec.kind.value,
        "source": "database",
    }
