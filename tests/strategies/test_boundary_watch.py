"""The boundary: tolerance, confirmation over time, and hysteresis for the way back."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from fakes import EPOCH
from grid_world import World, make_settings

from core.model import BoundaryAction
from strategies.boundary import CONFIRM_S, Watch, Zone, judge

D = Decimal
INSIDE, ABOVE, BELOW = Zone.INSIDE, Zone.ABOVE, Zone.BELOW


def watch(*marks: tuple[float, str], zone: Zone = INSIDE) -> list[Zone]:
    """The zone after each (second, mark), in a range of 100 to 110 with 1 % tolerance."""
    seen, state = [], Watch(zone=zone)
    for second, mark in marks:
        at = EPOCH + timedelta(seconds=second)
        state = judge(state, D(mark), D(100), D(110), D("0.01"), at)
        seen.append(state.zone)
    return seen


@pytest.mark.parametrize(
    ("marks", "zones"),
    [
        ([(0, "111"), (60, "111.1")], [INSIDE, INSIDE]),  # within the tolerance, at its edge
        ([(0, "99"), (60, "99")], [INSIDE, INSIDE]),
        ([(0, "112"), (9, "112"), (10, "112")], [INSIDE, INSIDE, ABOVE]),
        ([(0, "98"), (9.9, "90"), (10, "95")], [INSIDE, INSIDE, BELOW]),
        ([(0, "112"), (5, "105"), (11, "112"), (20, "112")], [INSIDE] * 4),  # a wick starts anew
        ([(0, "112"), (8, "98"), (12, "98"), (18, "98")], [INSIDE, INSIDE, INSIDE, BELOW]),
    ],
)
def test_a_breach_needs_tolerance_and_time(
    marks: list[tuple[float, str]], zones: list[Zone]
) -> None:
    """Beyond the tolerance for the whole confirmation time, without a break, and not before."""
    assert watch(*marks) == zones


@pytest.mark.parametrize(
    ("zone", "marks", "zones"),
    [
        (ABOVE, [(0, "110.5"), (60, "110.5")], [ABOVE, ABOVE]),  # hysteresis: not inside yet
        (ABOVE, [(0, "110"), (10, "109")], [ABOVE, INSIDE]),
        (ABOVE, [(0, "110"), (5, "111"), (10, "110"), (15, "110")], [ABOVE] * 4),
        (BELOW, [(0, "99.5"), (60, "99.5")], [BELOW, BELOW]),
        (BELOW, [(0, "100"), (10, "101")], [BELOW, INSIDE]),
        (ABOVE, [(0, "90"), (10, "90")], [ABOVE, BELOW]),  # from one side to the other
    ],
)
def test_the_way_back_needs_the_bound_itself(
    zone: Zone, marks: list[tuple[float, str]], zones: list[Zone]
) -> None:
    """From outside only a price inside the bound itself counts, for as long."""
    assert watch(*marks, zone=zone) == zones


def breached() -> World:
    """A grid with a lot, and the price beyond its upper bound for long enough."""
    grid = make_settings(boundary_action=BoundaryAction.STOP_ONLY.value)
    world = World(grid, 105)
    world.go(104, 112)
    world.clock.advance(CONFIRM_S)
    return world.go("112.5")


def test_stop_only_cancels_entries_and_keeps_exits() -> None:
    """Beyond the bound no entry rests, the lots keep their closing orders, and one is told."""
    world = breached()
    assert world.book.zone is ABOVE
    assert world.orders() == "BUY 105[c] 106[c] 107[c] 108[c] 109[c]"
    assert world.severity_of("entries stop") == "warning"


def test_stop_only_resumes_when_the_price_is_back() -> None:
    """Back inside and confirmed, entries rest again."""
    world = breached()
    world.go(109)
    assert "SELL" not in world.orders()
    world.clock.advance(CONFIRM_S)
    world.go("108.5")
    assert world.book.zone is INSIDE
    assert world.severity_of("entries resume") == "info"
    assert world.orders() == ("BUY 100 101 102 103 104 105[c] 106[c] 107[c] 108[c]; SELL 110")


def test_the_zone_outlives_a_restart() -> None:
    """After a crash outside the range no entry is placed."""
    world = breached()
    before = world.orders()
    world.restart()
    assert world.book.zone is ABOVE
    assert world.orders() == before


def test_without_an_action_the_bound_means_nothing() -> None:
    """`none` leaves every order where it is."""
    world = World(make_settings(), 105)
    world.go(104, 115)
    world.clock.advance(60)
    world.go(116)
    assert world.book.zone is INSIDE
    assert "BUY 100 101 102 103 104 105[c]" in world.orders()
