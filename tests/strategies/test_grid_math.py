"""Levels, ties, the fee floor and the derived quantity: GRID.md 1, 2 and 6 as tables."""

from __future__ import annotations

from decimal import Decimal

import pytest
from grid_world import make_instrument

from core.model import GridMode, GridType
from strategies.grid_math import (
    cells_of,
    default_quantity,
    fee_floor_faults,
    fee_floor_warnings,
    level_prices,
    nearest_level,
    plain,
)

D = Decimal
ARITHMETIC, GEOMETRIC = GridMode.ARITHMETIC, GridMode.GEOMETRIC
NEUTRAL, LONG, SHORT = GridType.NEUTRAL, GridType.LONG, GridType.SHORT


@pytest.mark.parametrize(
    ("lower", "upper", "num", "mode", "tick", "expected"),
    [
        ("100", "110", 3, ARITHMETIC, "1", "100 105 110"),
        ("100", "101", 3, ARITHMETIC, "0.01", "100.00 100.50 101.00"),
        ("100", "103", 3, ARITHMETIC, "1", "100 102 103"),  # 101.5: half to even, up
        ("99", "102", 3, ARITHMETIC, "1", "99 100 102"),  # 100.5: half to even, down
        ("100", "110", 4, ARITHMETIC, "0.01", "100.00 103.33 106.67 110.00"),
        ("100", "400", 3, GEOMETRIC, "0.01", "100.00 200.00 400.00"),
        ("100", "800", 4, GEOMETRIC, "1", "100 200 400 800"),
        ("100", "110", 2, GEOMETRIC, "1", "100 110"),
    ],
)
def test_levels(lower: str, upper: str, num: int, mode: GridMode, tick: str, expected: str) -> None:
    """Each level is rounded to the tick once, half to even; the ends are the bounds."""
    levels = level_prices(D(lower), D(upper), num, mode, make_instrument(tick))
    assert levels == tuple(map(D, expected.split()))


def test_the_first_and_last_level_are_the_bounds_always() -> None:
    """No spacing and no number of levels moves the ends."""
    instrument = make_instrument("0.01")
    for mode in GridMode:
        for num in (2, 3, 7, 50, 333):
            levels = level_prices(D("33000.01"), D("48000.99"), num, mode, instrument)
            assert (levels[0], levels[-1], len(levels)) == (D("33000.01"), D("48000.99"), num)


@pytest.mark.parametrize(
    ("lower", "upper", "num", "message"),
    [
        ("110", "100", 5, "expected 0 < lower < upper"),
        ("100", "100", 5, "expected 0 < lower < upper"),
        ("0", "100", 5, "expected 0 < lower < upper"),
        ("-5", "100", 5, "expected 0 < lower < upper"),
        ("NaN", "100", 5, "both finite"),
        ("100", "Infinity", 5, "both finite"),
        ("100", "110", 1, "at least 2 levels"),
        ("100", "105", 11, "fall on the same price"),
        ("0.4", "110", 3, "rounds to 0"),
    ],
)
def test_levels_that_cannot_be(lower: str, upper: str, num: int, message: str) -> None:
    """A range that lays out no grid is refused with its reason, never merged or mended."""
    with pytest.raises(ValueError, match=message):
        level_prices(D(lower), D(upper), num, ARITHMETIC, make_instrument())


@pytest.mark.parametrize(
    ("price", "neutral", "short"),
    [
        ("90", 0, 0),
        ("100", 0, 0),
        ("104", 0, 0),
        ("105", 0, 1),  # a tie: down, for a short grid up
        ("106", 1, 1),
        ("115", 1, 2),
        ("120", 2, 2),
        ("999", 2, 2),
    ],
)
def test_the_nearest_level(price: str, neutral: int, short: int) -> None:
    """The nearest level counts; a tie goes down, for `short` up."""
    levels = tuple(map(D, ("100", "110", "120")))
    assert nearest_level(levels, D(price), NEUTRAL) == neutral
    assert nearest_level(levels, D(price), LONG) == neutral
    assert nearest_level(levels, D(price), SHORT) == short


@pytest.mark.parametrize(
    ("kind", "price", "max_position", "expected"),
    [
        (LONG, "105", "10", "1"),
        (SHORT, "101", "10", "1"),
        (NEUTRAL, "105", "10", "2"),  # five cells on either side
        (NEUTRAL, "108", "10", "1.25"),  # eight below, two above
        (NEUTRAL, "90", "10", "1"),  # all above
        (LONG, "105", "0.0109", "0.001"),  # 0.00109 down to the lot
        (LONG, "105", "0.005", "0"),
    ],
)
def test_the_derived_quantity(kind: GridType, price: str, max_position: str, expected: str) -> None:
    """max_position by cells, for `neutral` by the larger side, down to the lot."""
    instrument = make_instrument()
    levels = level_prices(D(100), D(110), 11, ARITHMETIC, instrument)
    got = default_quantity(D(max_position), levels, D(price), kind, instrument)
    assert got == D(expected)


def test_a_cell_at_break_even_is_refused() -> None:
    """A step of exactly (1 + f) / (1 - f) earns nothing and is refused; a tick more is not."""
    fee = D("0.2")  # (1 + f) / (1 - f) = 1.5
    assert fee_floor_faults((D(100), D(150)), fee)
    assert fee_floor_faults((D(100), D(149)), fee)
    assert not fee_floor_faults((D(100), D(151)), fee)


def test_every_rounded_cell_is_checked() -> None:
    """One thin cell among wide ones is named."""
    faults = fee_floor_faults(tuple(map(D, (100, 110, 111, 120))), D("0.02"))
    assert len(faults) == 1
    assert "110 to 111" in faults[0]


def test_many_thin_cells_are_named_in_short() -> None:
    """Three are named, the rest counted."""
    faults = fee_floor_faults(tuple(map(D, range(1000, 1010))), D("0.01"))
    assert len(faults) == 4
    assert "and 6 more" in faults[-1]


def test_a_warning_below_twice_the_fees() -> None:
    """A cell that earns, but less than twice its fees, is warned of."""
    levels = (D(100), D(103))
    assert not fee_floor_faults(levels, D("0.01"))
    assert "less than twice" in fee_floor_warnings(levels, D("0.01"))[0]
    assert fee_floor_warnings(levels, D("0.001")) == ()


def test_plain_and_cells() -> None:
    """Numbers for people have no exponent, no trailing zero, no minus zero; cells pair up."""
    words = [plain(D(x)) for x in ("1E+3", "1.500", "-0.00", "0.0000001", "100")]
    assert words == ["1000", "1.5", "0", "0.0000001", "100"]
    assert list(cells_of((D(1), D(2), D(3)))) == [(D(1), D(2)), (D(2), D(3))]
