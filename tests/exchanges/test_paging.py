"""Lists in pages: complete, or said how far; never more requests than there may be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exchanges.paging import DAY_MS, HISTORY_REQUESTS, read_back

SIZE = 5
SPAN = 6 * DAY_MS


@given(
    times=st.lists(st.integers(0, SPAN), max_size=60),
    newest_first=st.booleans(),
    start=st.integers(0, DAY_MS),
)
def test_what_is_said_to_be_whole_is(times: list[int], newest_first: bool, start: int) -> None:
    """Whichever end a full page shows: every row since the time that is given, and no row twice."""
    rows = [(at, number) for number, at in enumerate(sorted(times))]
    asked = 0

    def fetch(first: int, last: int) -> list[tuple[int, int]]:
        nonlocal asked
        asked += 1
        found = [row for row in rows if first <= row[0] <= last]
        return found[-SIZE:] if newest_first else found[:SIZE]

    got, whole_from = read_back(fetch, start, SPAN, SIZE)
    assert asked <= HISTORY_REQUESTS
    assert whole_from >= start
    assert len(got) == len(set(got))
    assert {row for row in rows if row[0] >= whole_from} == set(got)


def test_a_quiet_week_is_read_to_its_beginning() -> None:
    """Few orders: in a few requests, whose spans grow."""
    asked: list[tuple[int, int]] = []

    def fetch(first: int, last: int) -> list[int]:
        asked.append((first, last))
        return []

    assert read_back(fetch, 0, SPAN, SIZE) == ([], 0)
    assert len(asked) == 3
    assert asked[0][1] == SPAN
    assert asked[-1][0] == 0
