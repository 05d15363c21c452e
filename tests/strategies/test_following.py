"""The layouts of a grid that follows the price: the next index, the new middle; values only."""

from __future__ import annotations

from decimal import Decimal

import pytest
from grid_world import make_instrument
from hypothesis import given
from hypothesis import strategies as st

from core.model import GridMode, GridType
from strategies.boundary import Zone
from strategies.following import recentred, shift, shifted, step_of
from strategies.grid_math import level_prices
from strategies.grid_state import GridSpec, GridState
from strategies.perp_grid import new_grid

D = Decimal
TICK = make_instrument()


def spec(
    lower: str, upper: str, num: int, mode: GridMode = GridMode.ARITHMETIC, tick: str = "1"
) -> GridSpec:
    levels = level_prices(D(lower), D(upper), num, mode, make_instrument(tick))
    return GridSpec(
        lower=D(lower),
        upper=D(upper),
        mode=mode,
        kind=GridType.NEUTRAL,
        quantity=D(1),
        levels=levels,
    )


@pytest.mark.parametrize(
    ("kind", "zone", "step"),
    [
        ("long", Zone.ABOVE, 1),
        ("long", Zone.BELOW, 0),
        ("short", Zone.ABOVE, 0),
        ("short", Zone.BELOW, -1),
        ("neutral", Zone.ABOVE, 1),
        ("neutral", Zone.BELOW, -1),
        ("neutral", Zone.INSIDE, 0),
    ],
)
def test_each_kind_trails_its_own_way(kind: str, zone: Zone, step: int) -> None:
    """Up: long and neutral; down: short and neutral."""
    assert step_of(GridType(kind), zone) == step


@given(
    lower=st.integers(9_000, 12_000),
    width=st.integers(100, 400),
    num=st.integers(3, 20),
    steps=st.lists(st.sampled_from((1, -1)), min_size=1, max_size=12),
    mode=st.sampled_from(GridMode),
    tick=st.sampled_from(("0.1", "1")),
)
def test_levels_are_the_formulas_own_however_the_grid_came_there(
    lower: int, width: int, num: int, steps: list[int], mode: GridMode, tick: str
) -> None:
    """Up and down again is where it was; a level that both grids have is the same to the tick."""
    instrument = make_instrument(tick)
    start = spec(str(lower), str(lower + width), num, mode, tick)
    known = dict(enumerate(start.levels))
    moved, index = start, 0
    for step in steps:
        moved, index = shifted(moved, step, instrument), index + step
        for i, level in enumerate(moved.levels):
            assert known.setdefault(index + i, level) == level
    assert moved.num == num
    assert (moved.lower, moved.upper) == (moved.levels[0], moved.levels[-1])
    while index:
        moved, index = (
            shifted(moved, -1 if index > 0 else 1, instrument),
            index - (1 if index > 0 else -1),
        )
    assert moved.levels == start.levels


def test_a_grid_cannot_be_moved_below_zero() -> None:
    """The levels of the next index are judged as any others."""
    with pytest.raises(ValueError, match="lowest level"):
        shifted(spec("1", "11", 11), -1, TICK)


def at_rest(price: str) -> GridState:
    return new_grid(spec("100", "110", 11), D(price), open_initial=False, max_position=None)


def test_a_shift_keeps_every_cell_but_the_two_at_the_ends() -> None:
    """Cells stay the very same values, in the next place; the new one is as the price seeds it."""
    before = at_rest("105")
    up = shift(before, shifted(before.spec, 1, TICK), 1, D(112))
    assert up.cells[:-1] == before.cells[1:]
    assert up.cells[-1].side.value == "BUY"
    assert up.version == before.version + 1
    down = shift(before, shifted(before.spec, -1, TICK), -1, D(98))
    assert down.cells[1:] == before.cells[:-1]
    assert down.cells[0].side.value == "SELL"


@pytest.mark.parametrize(
    ("mode", "tick", "price", "bounds"),
    [
        (GridMode.ARITHMETIC, "1", "123", ("118", "128")),
        (GridMode.ARITHMETIC, "1", "122.5", ("118", "128")),  # half to even
        (GridMode.ARITHMETIC, "0.01", "98.765", ("93.76", "103.76")),
        (GridMode.GEOMETRIC, "0.01", "121", ("115.37", "126.91")),  # ratio 1.1
    ],
)
def test_a_new_middle_keeps_the_width_or_the_ratio(
    mode: GridMode, tick: str, price: str, bounds: tuple[str, str]
) -> None:
    """Arithmetic keeps upper - lower, geometric upper / lower; both on the tick."""
    moved = recentred(spec("100", "110", 11, mode, tick), D(price), make_instrument(tick))
    assert (moved.lower, moved.upper) == (D(bounds[0]), D(bounds[1]))
    assert moved.origin is None
    assert moved.num == 11
