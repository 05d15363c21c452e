"""Where an account would be liquidated: the formulas of GRID.md 6 and the worst case."""

from __future__ import annotations

from decimal import Decimal

import pytest
from grid_world import World, make_instrument, make_settings

from core.errors import ConfigError
from core.model import GridType, Outcome, Side
from strategies.grid_state import DesiredOrder, Leg
from strategies.risk import liquidation_faults, liquidation_price, worst_case

D = Decimal


def order(side: Side, price: int, quantity: int = 1, leg: Leg = Leg.ENTRY) -> DesiredOrder:
    return DesiredOrder(
        slot=f"1.e{price}",
        leg=leg,
        side=side,
        price=D(price),
        quantity=D(quantity),
        post_only=True,
        reduce_only=False,
    )


def test_the_formulas() -> None:
    """Long (Q E - M) / (Q (1 - m - f)), short (Q E + M) / (Q (1 + m + f)); flat or <= 0: none."""
    assert liquidation_price(D(2), D(100), D(50), D("0.005"), D(0)) == D(150) / (2 * D("0.995"))
    assert liquidation_price(D(-2), D(100), D(50), D("0.005"), D(0)) == D(250) / (2 * D("1.005"))
    assert liquidation_price(D(0), D(100), D(50), D("0.005"), D(0)) is None
    assert liquidation_price(D(1), D(100), D(500), D("0.005"), D(0)) is None


def test_the_walk_fills_from_the_price_outward_and_stops_where_the_account_ends() -> None:
    """Each fill moves the average and the margin; no order beyond the result is counted."""
    instrument = make_instrument(fee="0")
    orders = [order(Side.BUY, price) for price in (100, 90, 80, 70)]
    worst = worst_case(D(0), None, D(40), orders, instrument)
    # After 100, 90, 80: Q 3, E 90, so (270 - 40) / (3 x 0.995), above 70: there it ends.
    assert worst.falling == D(230) / (3 * D("0.995"))
    assert worst.rising is None


def test_liquidation_is_never_shown_beyond_the_level_just_filled() -> None:
    """A fill that ruins the account at once is shown at its own level."""
    instrument = make_instrument(fee="0")
    worst = worst_case(D(0), None, D(1), [order(Side.BUY, 100, 10)], instrument)
    assert worst.falling == D(100)
    mirrored = worst_case(D(0), None, D(1), [order(Side.SELL, 100, 10)], instrument)
    assert mirrored.rising == D(100)


def test_closing_orders_realize_into_the_margin() -> None:
    """A short that is bought back lower adds its profit before the long side is judged."""
    instrument = make_instrument(fee="0")
    without = worst_case(D(0), None, D(40), [order(Side.BUY, 90)], instrument)
    withit = worst_case(
        D(-1),
        D(110),
        D(40),
        [order(Side.BUY, 100, leg=Leg.EXIT), order(Side.BUY, 90)],
        instrument,
    )
    assert without.falling == (90 - D(40)) / D("0.995")
    assert withit.falling == (90 - D(50)) / D("0.995")


def test_a_neutral_grid_has_two_worst_cases() -> None:
    """One for each way, each with words that name the range and the way out."""
    instrument = make_instrument(fee="0")
    orders = [order(Side.BUY, 90, 5), order(Side.SELL, 110, 5)]
    worst = worst_case(D(0), None, D(10), orders, instrument)
    assert worst.falling is not None
    assert worst.rising is not None
    faults = liquidation_faults(worst, D(80), D(120))
    assert len(faults) == 2
    assert all("allow_liquidation_in_range" in fault for fault in faults)


def test_a_grid_that_would_be_liquidated_inside_its_range_is_refused() -> None:
    """At the start with a ConfigError; with the key set it is the trader's own wish."""
    settings = make_settings(1000, 2000, 11, quantity="5000", kind=GridType.LONG)
    with pytest.raises(ConfigError, match="allow_liquidation_in_range"):
        World(settings, 1950)
    allowed = make_settings(
        1000, 2000, 11, quantity="5000", kind=GridType.LONG, allow_liquidation_in_range=True
    )
    assert World(allowed, 1950).own()


def test_an_adjust_into_liquidation_is_refused_and_changes_nothing() -> None:
    """The same rule for a running grid; the preview names both worst cases."""
    world = World(make_settings(1900, 2000, 11, quantity="5000", kind=GridType.LONG), 1950)
    before = world.orders()
    result = world.adjust(1000, 2000, 11)
    assert result.outcome is Outcome.INVALID
    assert "liquidates" in result.message
    assert world.orders() == before
    preview = world.adjust(1910, 2000, 10, dry_run=True)
    assert preview.outcome is Outcome.DONE
    assert set(preview.data["worst_case"]) == {"falling", "rising"}  # type: ignore[call-overload]
