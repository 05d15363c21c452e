"""The preflight's figures against numbers worked out by hand, and the words that are made of them.

100 to 110 with 11 levels, one base unit an order, both fees 0.02 %, slippage cap 0.5 %, leverage
10: an exit costs 0.52 % of what it closes.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from grid_world import SYMBOL, make_instrument, make_settings

from cli.preflight_words import document, lines, refused_checks
from core.i18n import english
from core.model import Balance, GridMode, GridType, Instrument, Position
from strategies.account_margin import ALONE, Sharing
from strategies.preflight import Preflight, preflight
from strategies.settings import EngineSettings, build_spec

D = Decimal
FLAT = Position(symbol=SYMBOL, quantity=D(0))


def money(amount: str) -> Balance:
    return Balance(asset="USDT", wallet=D(amount), equity=D(amount), available=D(amount))


def look(
    settings: EngineSettings,
    price: str = "105",
    *,
    wallet: str = "100000",
    instrument: Instrument | None = None,
    position: Position = FLAT,
    sharing: Sharing = ALONE,
) -> Preflight:
    instrument = instrument or make_instrument()
    spec = build_spec(settings.grid, D(price), instrument)
    return preflight(settings, spec, instrument, D(price), money(wallet), position, sharing)


def words(found: Preflight, instrument: Instrument | None = None) -> dict[str, str]:
    return dict(lines(found, instrument or make_instrument(), english))


LONG, SHORT, NEUTRAL = GridType.LONG, GridType.SHORT, GridType.NEUTRAL

# kind, max_position; long: quantity, orders, cost, loss; short: the same; orders now.
HOLDINGS: list[tuple[GridType, str | None, tuple[str, ...], tuple[str, ...], int]] = [
    # BUY 100..104 = 510, worth 500 at 100; SELL 106..110 = 540, worth 550 at 110.
    (NEUTRAL, None, ("5", "5", "510", "12.702"), ("5", "5", "540", "12.968"), 10),
    # The limit takes the dearest three for margin; a short is down the most by the cheapest three.
    (NEUTRAL, "3", ("3", "3", "309", "10.6218"), ("3", "3", "327", "10.7802"), 6),
    # Two and a half orders: 104 + 103 + half of 102; shorts 110 + 109 + half of 108.
    (NEUTRAL, "2.5", ("2.5", "3", "258", "9.3516"), ("2.5", "3", "273", "9.4834"), 6),
    # All ten cells may hold a long lot, once the price has been at the top: 100..109 = 1045.
    (LONG, None, ("10", "10", "1045", "50.409"), ("0", "0", "0", "0"), 5),
    (LONG, "3", ("3", "3", "324", "25.6248"), ("0", "0", "0", "0"), 3),
    # And all ten a short one: 101..110 = 1055, worth 1100 at 110.
    (SHORT, None, ("0", "0", "0", "0"), ("10", "10", "1055", "50.931"), 5),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "limit", "long", "short", "now"), HOLDINGS)
def test_the_most_that_each_side_may_hold(
    kind: GridType, limit: str | None, long: tuple[str, ...], short: tuple[str, ...], now: int
) -> None:
    """Quantity, orders, cost, margin and the loss at the far bound, for every kind and limit."""
    found = look(make_settings(kind=kind, max_position=limit))
    for side, numbers in ((found.long, long), (found.short, short)):
        quantity, orders, cost, loss = map(D, numbers)
        assert (side.quantity, side.orders, side.cost) == (quantity, orders, cost)
        assert side.margin == cost / 10
        assert side.loss == loss
    assert found.margin == max(found.long.cost, found.short.cost) / 10
    assert found.orders_now == now
    assert found.most_orders == found.long.orders + found.short.orders
    assert found.faults == ()


def test_a_closed_cell_after_its_fees() -> None:
    """1 - 0.0002 x (100 + 101) = 0.9598 at the bottom, 1 - 0.0002 x (109 + 110) at the top."""
    found = look(make_settings())
    assert (found.profit.low, found.profit.high) == (D("0.9562"), D("0.9598"))
    assert found.profit_percent.high == D("0.9598")
    assert found.profit_percent.low == D("95.62") / 109
    assert (found.step.low, found.step.high) == (1, 1)
    assert (found.width, found.width_percent) == (10, 10)
    assert (found.notional.low, found.notional.high) == (100, 110)


def test_a_geometric_grid_earns_the_same_share_everywhere() -> None:
    """100, 110, 121: each cell is 10 % wide and earns 9.958 % of its order."""
    found = look(make_settings(100, 121, 3, mode=GridMode.GEOMETRIC), "110")
    assert found.spec.levels == (100, 110, 121)
    assert (found.step.low, found.step.high) == (10, 11)
    assert (found.step_percent.low, found.step_percent.high) == (10, 10)
    assert (found.profit.low, found.profit.high) == (D("9.958"), D("10.9538"))
    assert found.profit_percent.low == found.profit_percent.high == D("9.958")


def test_an_initial_entry_is_paid_for_at_once() -> None:
    """Five lots bought and sold at 105: 5 x 105 x 0.54 %; a first fill alone is 105 x 0.54 %."""
    assert look(make_settings(kind=LONG)).entry_cost == D("0.567")
    found = look(make_settings(kind=LONG, open_initial=True))
    assert found.entry_cost == D("2.835")
    assert found.orders_now == 6


def test_where_the_account_would_be_liquidated() -> None:
    """One long lot at 100 on 20 - 0.02: (100 - 19.98) / 0.995."""
    found = look(make_settings(100, 110, 2, kind=LONG), "110", wallet="20")
    assert found.worst.falling == D("80.02") / D("0.995")
    assert found.worst.rising is None
    assert found.liquidation_now is None
    assert words(found)["liquidation"] == (
        "worst case, falling: about 80, 19.58 % below the lowest level"
    )


def test_a_position_that_is_there_already() -> None:
    """The exchange's own liquidation price is preferred; without one, it is worked out."""
    held = replace(FLAT, quantity=D(2), entry_price=D(100))
    found = look(make_settings(), wallet="50", position=held)
    assert found.liquidation_now == D(150) / (2 * D("0.995"))
    told = look(make_settings(), position=replace(held, liquidation_price=D(61)))
    assert told.liquidation_now == 61
    assert words(told)["liquidation"].startswith("now at about 61")
    assert words(told)["position"].startswith("the account holds 2 now; at most long 5 BTC")


FAULTS: list[tuple[dict[str, Any], str, tuple[str, ...]]] = [
    ({}, "54", ()),
    ({}, "53.99", ("54 of margin at leverage 10, 53.99 is available",)),
    ({"leverage": D(20)}, "27", ()),
    ({"leverage": D(20)}, "26.99", ("27 of margin at leverage 20",)),
    ({"max_position": 3}, "32.7", ()),
    ({"max_position": 3}, "32.6", ("32.7 of margin",)),
]


@pytest.mark.parametrize(("changes", "wallet", "said"), FAULTS)
def test_margin_at_the_worst_case(
    changes: dict[str, Any], wallet: str, said: tuple[str, ...]
) -> None:
    """540 of SELLs over the leverage: enough to the cent is enough."""
    settings = make_settings(**changes, allow_liquidation_in_range=True)
    faults = look(settings, wallet=wallet).faults
    assert len(faults) == len(said)
    for fault, words_of_it in zip(faults, said, strict=True):
        assert words_of_it in fault


def test_every_reason_is_told_at_once() -> None:
    """Margin, orders and liquidation on both ways: four faults."""
    few = replace(make_instrument(), max_open_orders=9)
    found = look(make_settings(), wallet="1", instrument=few)
    assert len(found.faults) == 4
    assert "up to 10 orders at once, the exchange takes 9" in found.faults[1]
    assert [
        way in fault for way, fault in zip(("falling", "rising"), found.faults[2:], strict=True)
    ]
    assert refused_checks(found) == {"margin", "orders", "liquidation"}
    said = words(found)
    assert "inside the range" in said["liquidation"]
    assert said["liquidation"].endswith("add margin, or set allow_liquidation_in_range")
    assert said["margin"].endswith("1 is available: lower quantity or max_position")
    assert said["orders"].endswith("use fewer levels or a lower max_position")
    allowed = look(make_settings(allow_liquidation_in_range=True), wallet="1", instrument=few)
    assert len(allowed.faults) == 2
    assert refused_checks(allowed) == {"margin", "orders"}


def test_as_many_orders_as_the_exchange_takes() -> None:
    """Ten of ten are well, and the limit is shown."""
    ten = replace(make_instrument(), max_open_orders=10)
    found = look(make_settings(), instrument=ten)
    assert found.faults == ()
    assert (
        words(found)["orders"] == "10 now, at most 10 of 10 at once; worth 100 to 110 USDT (from 0)"
    )


STOPS: list[tuple[dict[str, Any], str, str]] = [
    # A first fill at 105 costs 0.567 to leave; a full short side is down 12.968 at 110.
    ({"stop_loss": D("0.567")}, "warning", "leaving after the first fill costs 0.57"),
    ({"stop_loss": D("0.568")}, "stop_loss", "reached inside the range, a full side loses 12.97"),
    ({"stop_loss": D("12.968")}, "stop_loss", "reached inside the range"),
    ({"stop_loss": D("12.969")}, "stop_loss", "beyond the range, a full side loses 12.97 inside"),
    ({"take_profit": D("0.9562")}, "warning", "one closed cell earns it"),
    ({"take_profit": D("0.9599")}, "take_profit", "2 closed cells"),
    ({"take_profit": D(10)}, "take_profit", "11 closed cells"),
    ({}, "boundary", "the grid waits"),
    ({"boundary_action": "stop_only"}, "boundary", "below 99.9 or above 110.11 for 10 s: entries"),
    ({"boundary_action": "emergency_close", "boundary_tolerance": D(0)}, "boundary",
     "below 100 or above 110 for 10 s: all is cancelled and closed"),
    ({"boundary_action": "adjust_range"}, "boundary", "around the price, 12 an hour"),
    ({"boundary_action": "trail"}, "boundary", "follows the price cell by cell"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "name", "said"), STOPS)
def test_stops_and_boundary_in_words(changes: dict[str, Any], name: str, said: str) -> None:
    """When each would come, and a warning for one that comes at once."""
    assert said in words(look(make_settings(**changes)))[name]


def test_thin_cells_are_warned_of() -> None:
    """At 0.24 % a step of 1 is less than twice the fees where low + high is 209 or more: six."""
    costly = make_instrument(fee="0.0024")
    found = look(make_settings(), instrument=costly)
    assert found.thin_cells == 6
    assert words(found, costly)["warning"].startswith("6 of 10 cells earn less than twice")
    assert "warning" not in words(look(make_settings()))


def test_the_words_of_a_whole_preflight() -> None:
    """Every line, as a trader reads it."""
    instrument = make_instrument(min_notional="5")
    assert words(look(make_settings(), instrument=instrument), instrument) == {
        "grid": "11 levels (10 cells), arithmetic, neutral, 1 BTC an order",
        "range": "100 to 110, 10 wide (10 %); levels 1 apart (0.92 to 1 %)",
        "profit": "a closed cell earns 0.9562 to 0.9598 USDT after fees"
        " (0.8772 to 0.9598 % of its order)",
        "orders": "10 now, at most 10 at once; worth 100 to 110 USDT (at least 5)",
        "margin": "a full side takes 54 USDT at leverage 10, 100000 is available",
        "position": "at most long 5 BTC for 510 USDT, down 12.7 at the lowest level; or short 5 BTC"
        " for 540 USDT, down 12.97 at the highest level",
        "liquidation": "worst case, rising: about 20008, 18089.04 % above the highest level",
        "boundary": "outside the range nothing is done: the grid waits for the price to come back",
    }


def test_the_document_holds_exact_decimals_as_text() -> None:
    """Money is exact; a count is a number; what there is none of is null."""
    made = document(look(make_settings(stop_loss=D("100.5"))), make_instrument())
    assert made["worst_case"]["short"] == {
        "quantity": "5",
        "orders": 5,
        "cost": "540",
        "margin": "54",
        "loss_at_bound": "12.968",
    }
    assert made["profit_per_cell"] == {"min": "0.9562", "max": "0.9598"}
    assert made["profit_per_cell_percent"] == {"min": "0.87724771", "max": "0.9598"}
    assert (made["stop_loss"], made["take_profit"]) == ("100.5", None)
    assert (made["levels"], made["cells"], made["order_limit"]) == (11, 10, None)


def test_a_short_grid_mirrors_a_long_one() -> None:
    """100 to 110 at 105, mirrored about 105: quantity and the plain loss are the same."""
    long = look(make_settings(kind=LONG)).long
    short = look(make_settings(kind=SHORT)).short
    rates = D("0.0052")
    assert long.quantity == short.quantity
    plain_long = long.loss - long.cost * D("0.0002") - long.quantity * 100 * rates
    plain_short = short.loss - short.cost * D("0.0002") - short.quantity * 110 * rates
    assert plain_long == plain_short == 45
