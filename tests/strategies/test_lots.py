"""Lots: first in, first out, fees split to 1e-12, and what a close books (GRID.md 3 and 6)."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.model import Side
from strategies.lots import (
    Lot,
    Part,
    book_interval,
    book_trend,
    break_even,
    cost_of,
    fees_of,
    quantity_of,
    take,
)

D = Decimal


def lot(*parts: tuple[str, str, str]) -> Lot:
    return tuple(
        Part(quantity=D(q), price=D(p), fee=D(f), seq=i) for i, (q, p, f) in enumerate(parts)
    )


def test_the_oldest_is_taken_first() -> None:
    """A close takes whole parts in order and then a piece of the next."""
    held = lot(("1", "100", "0.1"), ("2", "90", "0.2"))
    taken, rest = take(held, D("1.5"))
    assert taken == (held[0], Part(quantity=D("0.5"), price=D(90), fee=D("0.05"), seq=1))
    assert rest == (Part(quantity=D("1.5"), price=D(90), fee=D("0.15"), seq=1),)


@pytest.mark.parametrize("quantity", ["0", "3", "5"])
def test_taking_nothing_all_or_more(quantity: str) -> None:
    """Nothing leaves all of it, all leaves nothing, more gives what there is."""
    held = lot(("1", "100", "0.1"), ("2", "90", "0.2"))
    taken, rest = take(held, D(quantity))
    assert (taken, rest) == (((), held) if quantity == "0" else (held, ()))


def test_a_part_of_a_fee_is_rounded_and_nothing_is_lost() -> None:
    """A third of a fee is rounded to 1e-12; the rest stays with the remainder."""
    taken, rest = take(lot(("3", "100", "0.1")), D(1))
    assert fees_of(taken) == D("0.033333333333")
    assert fees_of(rest) == D("0.066666666667")


quantities = st.integers(1, 999).map(lambda n: D(n) / 1000)


@given(
    parts=st.lists(st.tuples(quantities, quantities, quantities), min_size=1, max_size=5),
    pieces=st.lists(quantities, min_size=1, max_size=8),
)
def test_splitting_keeps_quantity_cost_and_fees(
    parts: list[tuple[Decimal, Decimal, Decimal]], pieces: list[Decimal]
) -> None:
    """However a lot is taken apart, the sums of the pieces are the lot's own, exactly."""
    held: Lot = tuple(Part(quantity=q, price=p, fee=f, seq=i) for i, (q, p, f) in enumerate(parts))
    rest, pulled = held, []
    for piece in pieces:
        taken, rest = take(rest, piece)
        pulled.append(taken)
    every = (*pulled, rest)
    for figure in (quantity_of, cost_of, fees_of):
        assert sum(map(figure, every)) == figure(held)


@pytest.mark.parametrize(
    ("side", "entry", "exit_", "grid", "trend"),
    [
        (Side.BUY, "100", "110", "9.79", "0"),  # 10 - 0.1 - 0.11
        (Side.BUY, "98", "110", "9.79", "2"),  # bought better than its level
        (Side.BUY, "100", "113", "9.79", "3"),  # sold better than its level
        (Side.BUY, "105", "110", "9.79", "-5"),  # the initial entry, inside the cell
        (Side.SELL, "110", "100", "9.79", "0"),
        (Side.SELL, "112", "100", "9.79", "2"),
        (Side.SELL, "110", "97", "9.79", "3"),
    ],
)
def test_an_interval_is_grid_and_the_rest_trend(
    side: Side, entry: str, exit_: str, grid: str, trend: str
) -> None:
    """grid = q (upper - lower) - both fees; trend is everything that is not one interval."""
    held = lot(("1", entry, "0.1"))
    booked = book_interval(held, side, D(100), D(110), D(exit_), D("0.11"))
    assert (booked.grid, booked.trend, booked.quantity) == (D(grid), D(trend), D(1))
    gross = (D(exit_) - D(entry)) * side.sign
    assert booked.grid + booked.trend == gross - D("0.21"), "identity"


@pytest.mark.parametrize(("side", "trend"), [(Side.BUY, "4.7"), (Side.SELL, "-5.3")])
def test_any_other_close_is_trend(side: Side, trend: str) -> None:
    """A close that is not the cell's own books all of it, fees too, as trend."""
    booked = book_trend(lot(("1", "100", "0.1")), side, D(105), D("0.2"))
    assert (booked.grid, booked.trend) == (D(0), D(trend))


@pytest.mark.parametrize("side", list(Side))
def test_break_even_loses_nothing(side: Side) -> None:
    """Closed at its break-even with the closing fee paid, a lot has neither won nor lost."""
    held, rate = lot(("1", "100", "0.02"), ("2", "90", "0.036")), D("0.0002")
    at = break_even(held, side, rate)
    fee = quantity_of(held) * at * rate
    booked = book_trend(held, side, at, fee)
    assert abs(booked.trend) < D("1e-40")
    assert (at > D(280) / 3) == (side is Side.BUY)
