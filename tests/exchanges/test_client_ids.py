"""Client ids: unique for a number, recognised by their instance alone."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from exchanges.client_ids import AsterIds, BackpackIds

IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True)
NUMBERS = st.integers(min_value=1, max_value=(1 << 20) - 1)


@given(IDS, NUMBERS, NUMBERS)
def test_backpack_ids_are_ours_and_fit_a_uint32(name: str, one: int, other: int) -> None:
    """Every number gives its own id; ids of small numbers made by hand are not ours."""
    ids = BackpackIds(name)
    assert ids.owns(ids.make(one))
    assert 0 < int(ids.make(one)) < 1 << 32
    assert (ids.make(one) == ids.make(other)) is (one == other)
    assert not ids.owns(str(one))


@given(IDS, IDS, NUMBERS)
def test_aster_ids_fit_and_tell_instances_apart(name: str, other: str, number: int) -> None:
    """At most 36 characters of the allowed ones; no other instance takes them for its own."""
    ids = AsterIds(name)
    made = ids.make(number)
    assert re.fullmatch(r"[.A-Z:/a-z0-9_-]{1,36}", made)
    assert ids.owns(made)
    assert AsterIds(other).owns(made) is (name == other)


def test_strangers_are_not_ours() -> None:
    """Ids of other forms, of other scripts' digits and of the exchange's own orders."""
    backpack, aster = BackpackIds("bp_sol_01"), AsterIds("bp_sol_01")
    for text in ("", "venue:1", "liquidation:5", "x", "-5", "１２", "4294967296" * 3):
        assert not backpack.owns(text)
        assert not aster.owns(text)
    assert not aster.owns("bp_sol_01-")
    assert not aster.owns("bp_sol_01-5\n")
    assert not aster.owns("bp_sol_01-１")
