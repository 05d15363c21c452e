"""Reading lists that an exchange gives in pages: to the end, back to a time, or over a span. Pure.

What was not read to its end proves nothing: each function says how far it came, or raises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from core.errors import Retryable
from exchanges.wire import WireError, from_ms

MAX_PAGES = 50

HISTORY_REQUESTS = 10
"""Pages of an account's past orders that one look may ask for."""

DAY_MS = 86_400_000

Row = TypeVar("Row")


def read_pages(
    fetch: Callable[[int], Sequence[Row]],
    size: int,
    is_enough: Callable[[Sequence[Row]], bool] | None = None,
) -> list[Row]:
    """Fetch pages by offset to the end, or to the first page that `is_enough`.

    Errors: Retryable when there is no end within a sane number of pages: nothing is then proved.
    """
    found: list[Row] = []
    for page in range(MAX_PAGES):
        rows = fetch(page * size)
        found.extend(rows)
        if len(rows) < size or (is_enough is not None and is_enough(rows)):
            return found
    raise Retryable(f"more than {MAX_PAGES * size} rows: the list could not be read whole", 30.0)


def has_passed(times: Sequence[datetime], moment: datetime) -> bool:
    """Tell whether a page, newest first, has gone beyond a moment; one in another order has not."""
    return bool(times) and times[0] >= times[-1] and times[-1] < moment


def read_window(
    fetch: Callable[[int, int], Sequence[Row]], start_ms: int, end_ms: int, size: int
) -> list[Row]:
    """Fetch all rows of a span of time; a full page is cut in two, whichever end it showed.

    Errors: WireError when one millisecond alone fills a page.
    """
    rows = list(fetch(start_ms, end_ms))
    if len(rows) < size:
        return rows
    if start_ms >= end_ms:
        raise WireError(f"a page of {size} rows within one millisecond, at {from_ms(start_ms)}")
    middle = (start_ms + end_ms) // 2
    return [
        *read_window(fetch, start_ms, middle, size),
        *read_window(fetch, middle + 1, end_ms, size),
    ]


def read_back(
    fetch: Callable[[int, int], Sequence[Row]], start_ms: int, end_ms: int, size: int
) -> tuple[list[Row], int]:
    """Fetch the rows of a span of time from its end backwards, in at most `HISTORY_REQUESTS`.

    A full page counts for nothing, whichever end it showed: the piece is asked for in halves.
    Gives the rows and the time since when they are complete.
    """
    rows: list[Row] = []
    whole_from, span = end_ms + 1, DAY_MS
    for _ in range(HISTORY_REQUESTS):
        if whole_from <= start_ms:
            break
        first = max(start_ms, whole_from - span)
        found = fetch(first, whole_from - 1)
        if len(found) >= size:
            span = max(1, (whole_from - first) // 2)
            continue
        rows += found
        whole_from, span = first, span * 2
    return rows, whole_from
