"""What several bots of one account may take together, against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from grid_world import make_instrument, make_settings
from test_preflight import look, words

from core.model import GridType, Side
from strategies.account_margin import (
    Demand,
    Sharing,
    full_margin,
    remaining_of,
    used_margin,
)
from strategies.grid_state import Carried
from strategies.lots import Part
from strategies.perp_grid import new_grid
from strategies.settings import build_spec

D = Decimal


def demand(worst: str, used: str = "0", name: str = "live_02") -> Demand:
    return Demand(instance_id=name, symbol="BTC", worst=D(worst), used=D(used))


# Own: 5 shorts from 106 to 110 = 540 at leverage 10, 54 of margin.
TABLE: list[tuple[str, str, list[Demand], bool]] = [
    # available, own used, others, fits
    ("54", "0", [], True),
    ("53.99", "0", [], False),
    ("54", "0", [demand("0.01")], False),
    ("100", "0", [demand("46")], True),
    ("100", "0", [demand("46.01")], False),
    ("100", "0", [demand("66", "20")], True),  # 20 of it is missing in `available` already
    ("100", "0", [demand("66", "19.99")], False),
    ("100", "0", [demand("66", "80"), demand("46")], True),  # more than its worst frees nothing
    ("100", "0", [demand("23"), demand("23.01", name="live_03")], False),
    ("44", "10", [], True),  # a bot that trades already: what it holds is counted once
    ("43.99", "10", [], False),
]


@pytest.mark.parametrize(("available", "used", "others", "fits"), TABLE)
def test_what_fits_into_the_account(
    available: str, used: str, others: list[Demand], fits: bool
) -> None:
    """Every unit of margin counts once: in use, available, or still to be taken."""
    sharing = Sharing(used=D(used), others=tuple(others))
    found = look(make_settings(kind=GridType.NEUTRAL), wallet=available, sharing=sharing)
    assert (found.faults == ()) is fits
    assert {refusal.check for refusal in found.refusals} == (set() if fits else {"margin"})


def test_a_refusal_names_the_others() -> None:
    """Who takes how much, and what to do; one that takes nothing more is not blamed."""
    others = (demand("66", "6"), demand("5", "9", "live_03"))
    sharing = Sharing(used=D(0), others=others)
    found = look(make_settings(), wallet="100", sharing=sharing)
    refusal = (
        "a full side takes about 54 of margin at leverage 10, the other bots of this account may "
        "still take 60 (live_02 60), 100 is available; lower quantity or max_position of one of "
        "them, or give this one a (sub-)account of its own"
    )
    assert found.faults == (refusal,)
    told = words(found)["margin"]
    assert told.startswith("a full side takes 54 USDT at leverage 10, 100 is available; the other ")
    assert "live_02 (BTC) 60, live_03 (BTC) 0: lower quantity or max_position of one" in told


def test_a_grid_in_force_takes_what_its_config_would() -> None:
    """With no lot and no carried one both ways of counting agree, for every kind and limit."""
    for kind in GridType:
        for limit in (None, "3", "2.5"):
            settings = make_settings(kind=kind, max_position=limit)
            spec = build_spec(settings.grid, D(105), make_instrument())
            grid = new_grid(spec, D(105), open_initial=False, max_position=settings.max_position)
            found = look(settings)
            assert full_margin(grid, settings.max_position, D(10)) == found.margin


def test_carried_lots_count_beside_the_cells() -> None:
    """A lot without a cell keeps its margin until it is closed; the limit holds for all."""
    spec = build_spec(make_settings(kind=GridType.LONG).grid, D(105), make_instrument())
    grid = new_grid(spec, D(105), open_initial=False, max_position=None)
    lot = (Part(quantity=D(2), price=D(120), fee=D(0), seq=1),)
    carried = Carried(id=1, side=Side.BUY, lower=D(120), upper=D(121), lot=lot)
    grid = replace(grid, carried=(carried,))
    assert full_margin(grid, None, D(10)) == (D(1045) + 240) / 10
    assert full_margin(grid, D(3), D(10)) == (D(240) + 109) / 10


def test_what_was_there_before_a_bot_is_not_its_own() -> None:
    """A base position's share of the symbol's margin is taken off, and never below nothing."""
    spec = build_spec(make_settings().grid, D(105), make_instrument())
    grid = new_grid(spec, D(105), open_initial=False, max_position=None)
    assert used_margin(grid, D(0), D(50), D(10)) == 50
    assert used_margin(grid, D(-2), D(50), D(10)) == 50 - 22
    assert used_margin(grid, D(9), D(50), D(10)) == 0


def test_nobody_takes_less_than_nothing() -> None:
    """More in use than the worst case makes no room for the others."""
    assert remaining_of([demand("5", "9"), demand("7", "3")]) == 4
