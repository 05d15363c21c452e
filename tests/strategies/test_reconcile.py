"""Desired against working orders, as tables: what is cancelled, placed, and what waits."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from fakes import EPOCH
from grid_world import make_instrument

from core.model import Order, OrderStatus, Side
from strategies.grid_state import DesiredOrder, Leg
from strategies.reconcile import Exposure, keeps_place, match_survivors, plan_orders
from strategies.risk import liquidation_price

D = Decimal
NO_LIMIT = Exposure(held_long=D(0), held_short=D(0), max_position=None)
LEGS = {"e": Leg.ENTRY, "x": Leg.EXIT, "k": Leg.CARRIED}


def wish(words: str) -> DesiredOrder:
    """`SELL 105 x4 0.5` -> an exit of cell 4; the quantity is 1 when it is not given."""
    side, price, place, *quantity = words.split()
    leg = LEGS[place[0]]
    return DesiredOrder(
        slot=place if leg is Leg.CARRIED else f"1.{place}",
        leg=leg,
        side=Side(side),
        price=D(price),
        quantity=D(quantity[0]) if quantity else D(1),
        post_only=leg is Leg.ENTRY,
        reduce_only=False,
        keep_smaller=len(quantity) > 1,
    )


def rests(words: str) -> Order:
    side, price, place, *quantity = words.split()
    return Order(
        client_order_id=place,
        symbol="BTCUSDT",
        side=Side(side),
        price=D(price),
        quantity=D(quantity[0]) if quantity else D(1),
        status=OrderStatus.NEW,
        created_at=EPOCH,
        updated_at=EPOCH,
        slot=place if place[0] == "k" else f"1.{place}",
    )


def plan(
    desired: str,
    working: str = "",
    price: str = "105",
    *,
    cancelling: str = "",
    exposure: Exposure = NO_LIMIT,
    blocked: str = "",
) -> tuple[str, str, bool]:
    """(cancelled, placed, waiting) of a plan; orders are separated by commas."""

    def split(text: str) -> list[str]:
        return [words.strip() for words in text.split(",") if words.strip()]

    live = {order.slot: order for order in map(rests, split(working))}
    result = plan_orders(
        [wish(words) for words in split(desired)],
        live,
        frozenset(split(cancelling)),
        D(price),
        make_instrument(),
        exposure,
        frozenset(f"1.{slot}" for slot in split(blocked)),
    )
    return (
        " ".join(o.client_order_id for o in result.cancel),
        ", ".join(f"{o.side.value} {o.price}" for o in result.place),
        result.waiting,
    )


@pytest.mark.parametrize(
    ("desired", "working", "expected"),
    [
        ("BUY 104 e4, SELL 106 e5", "", ("", "BUY 104, SELL 106", False)),
        ("BUY 104 e4", "BUY 104 e4", ("", "", False)),  # in its place already
        ("", "BUY 104 e4", ("e4", "", False)),  # nobody wants it any more
        ("BUY 103 e4", "BUY 104 e4", ("e4", "", True)),  # another price: cancel, await, place
        ("SELL 105 x4 0.5", "SELL 105 x4 1", ("x4", "", True)),  # the lot is smaller now
        ("SELL 105 x4 1", "SELL 105 x4 0.5", ("x4", "", True)),  # the lot is larger now
        ("BUY 104 e4 0.6 keep", "BUY 104 e4 0.4", ("", "", False)),  # smaller, and a lot is held
        ("BUY 104 e4 1", "BUY 104 e4 0.4", ("e4", "", True)),  # the lot is zero: back to q
        ("BUY 104 e4 0.4 keep", "BUY 104 e4 0.6", ("e4", "", True)),  # larger never keeps
    ],
)
def test_only_the_difference_is_sent(
    desired: str, working: str, expected: tuple[str, str, bool]
) -> None:
    """What fits keeps its place in the queue; a slot is used again when its order has ended."""
    assert plan(desired, working) == expected


def test_a_cancel_is_asked_for_once() -> None:
    """While it is under way it is not repeated, and its slot stays taken."""
    assert plan("BUY 103 e4", "BUY 104 e4", cancelling="e4") == ("", "", True)
    assert plan("", "BUY 104 e4", cancelling="e4") == ("", "", False)


@pytest.mark.parametrize(
    ("desired", "working", "expected"),
    [
        ("SELL 104 e3", "BUY 104 e4", ("e4", "", True)),  # meets a live one, though unwanted
        ("SELL 103 x2", "BUY 104 e4", ("e4", "SELL 105", False)),  # passed: one tick inside
        ("BUY 106 e6", "SELL 106 x5", ("x5", "", True)),
        ("SELL 106 e5, BUY 106 e6", "", ("", "SELL 106", True)),  # two of one plan meet
        ("BUY 104 e4, SELL 104 x3", "", ("", "BUY 104, SELL 105", False)),
    ],
)
def test_an_order_that_would_meet_an_own_one_waits(
    desired: str, working: str, expected: tuple[str, str, bool]
) -> None:
    """Live, unwanted or of the same plan: what would cross waits, a passed exit goes inside."""
    assert plan(desired, working) == expected


def test_the_inside_price_leaves_other_cells_their_places() -> None:
    """Two passed exits take two ticks, and never the level of another cell's order (I2)."""
    assert plan("SELL 102 x1, SELL 103 x2, SELL 106 x5, BUY 104 e4", "BUY 104 e4")[1] == (
        "SELL 105, SELL 107, SELL 106"
    )
    # carried exits may share
    assert plan("SELL 102 k1, SELL 103 k2", "BUY 104 e4")[1] == "SELL 105, SELL 105"
    # and what stands inside keeps its place in the next plan
    assert plan("SELL 102 x1, SELL 103 x2, BUY 104 e4", "BUY 104 e4, SELL 105 x1, SELL 106 x2") == (
        "",
        "",
        False,
    )


def test_an_exit_inside_makes_way_for_the_cell_whose_level_it_stands_on() -> None:
    """The other cell's order waits for the end of it: never two of two cells at a price."""
    working = "BUY 104 e4, SELL 105 x1"
    assert plan("SELL 102 x1, BUY 104 e4, SELL 105 e9", working, "104.5") == ("x1", "", True)


@pytest.mark.parametrize(
    ("held", "limit", "desired", "working", "expected"),
    [
        ("0", "2", "BUY 104 e4, BUY 103 e3", "", ("", "BUY 104, BUY 103", False)),
        ("1", "2", "BUY 104 e4, BUY 103 e3", "", ("", "BUY 104", True)),
        # the farthest has no room any more: cancelled, and the nearer one waits for its end
        ("0", "2", "BUY 105 e5, BUY 104 e4", "BUY 104 e4, BUY 103 e3", ("e3", "", True)),
        ("0", "2", "BUY 105 e5, BUY 104 e4", "BUY 104 e4", ("", "BUY 105", False)),
        # exits need no room
        ("2", "2", "SELL 106 x5", "", ("", "SELL 106", False)),
    ],
)
def test_room_is_counted_with_what_could_still_fill(
    held: str, limit: str, desired: str, working: str, expected: tuple[str, str, bool]
) -> None:
    """Lots, live orders and unconfirmed cancels together stay within the limit (I3)."""
    exposure = Exposure(held_long=D(held), held_short=D(0), max_position=D(limit))
    assert plan(desired, working, "105.5", exposure=exposure) == expected


def test_an_unconfirmed_cancel_still_takes_room() -> None:
    """Until its end is known it could fill."""
    exposure = Exposure(held_long=D(0), held_short=D(0), max_position=D(1))
    asked = plan("BUY 104 e4", "BUY 103 e3", cancelling="e3", exposure=exposure)
    assert asked == ("", "", True)


def test_a_blocked_slot_waits_and_keeps_what_it_has() -> None:
    """Nothing is placed there; an order that rests there stays."""
    assert plan("BUY 104 e4, BUY 103 e3", blocked="e4") == ("", "BUY 103", False)
    assert plan("BUY 104 e4", "BUY 104 e4", blocked="e4") == ("", "", False)


def test_survivors_are_paired_by_what_they_are() -> None:
    """Side, price, quantity and role must match; each place is given once."""
    desired = [wish("BUY 104 e1"), wish("SELL 106 x2"), wish("SELL 106 k1"), wish("BUY 103 e0")]
    working = [
        rests("BUY 104 e4"),
        rests("SELL 106 x5"),
        rests("SELL 106 x6"),
        rests("SELL 106 x7"),
        rests("BUY 103 e3 2"),
        rests("BUY 102 e2"),
    ]
    slots, lost = match_survivors(desired, working)
    assert slots == {"e4": "1.e1", "x5": "1.x2", "x6": "k1"}
    assert [o.client_order_id for o in lost] == ["x7", "e3", "e2"]


def test_an_entry_never_survives_as_an_exit() -> None:
    """The role is part of what an order is: a neutral grid's SELL entry is no exit."""
    slots, lost = match_survivors([wish("SELL 106 x5")], [rests("SELL 106 e5")])
    assert slots == {}
    assert len(lost) == 1


def test_keeps_place_looks_at_what_is_left() -> None:
    """A partly filled order is compared by its rest."""
    order = rests("BUY 104 e4")
    part = replace(order, filled_qty=D("0.4"))
    assert keeps_place(part, wish("BUY 104 e4 0.6"))
    assert not keeps_place(part, wish("BUY 104 e4 1"))
    assert not keeps_place(order, wish("SELL 104 x4"))


@pytest.mark.parametrize(
    ("position", "entry", "margin", "expected"),
    [
        ("0", "100", "10", None),
        ("1", "100", "10", "90.452"),  # (100 - 10) / 0.995
        ("-1", "100", "10", "109.453"),  # (100 + 10) / 1.005
        ("1", "100", "100", None),  # nothing to fear down to zero
        ("2", "100", "-10", "105.528"),
    ],
)
def test_liquidation(position: str, entry: str, margin: str, expected: str | None) -> None:
    """The formula of GRID.md 6, and none where no positive price does it."""
    price = liquidation_price(D(position), D(entry), D(margin), D("0.005"), D(0))
    assert (None if price is None else str(price.quantize(D("0.001")))) == expected
