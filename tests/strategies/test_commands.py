"""Adjust, pause and resume as a user meets them: every refusal, the preview, and what it does."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from fakes import Fault
from grid_world import World, make_instrument, make_settings

from core.errors import ConfigError, OutcomeUnknown, Retryable
from core.model import (
    AdjustGrid,
    GridMode,
    GridType,
    LotsPolicy,
    Outcome,
    Pause,
    Resume,
    RunState,
    Side,
    StopBot,
)
from database.db import Database
from strategies.adjust import regrid
from strategies.grid_math import level_prices
from strategies.grid_state import pnl
from strategies.settings import GridRequest, build_spec, spec_faults, spec_warnings

D = Decimal
LONG, NEUTRAL, SHORT = GridType.LONG, GridType.NEUTRAL, GridType.SHORT


@pytest.mark.parametrize(
    ("lower", "upper", "num", "message"),
    [
        (None, None, None, "nothing to adjust"),
        ("110", "100", None, "expected 0 < lower < upper"),
        ("105", "105", None, "expected 0 < lower < upper"),
        ("0", None, None, "expected 0 < lower < upper"),
        ("-3", None, None, "expected 0 < lower < upper"),
        ("NaN", None, None, "both finite"),
        (None, "Infinity", None, "both finite"),
        (None, None, 1, "at least 2 levels"),
        (None, None, 30, "fall on the same price"),
        ("10000", "10010", 11, "does not earn its fees"),
        ("0.6", "105", 3, "the exchange wants at least 20"),
        ("200", "220", 11, "no opening order would be possible in 200 to 220"),
    ],
)
def test_an_adjust_that_is_refused(
    lower: str | None, upper: str | None, num: int | None, message: str
) -> None:
    """It names its reason and changes nothing: no request, no journal entry, the same grid."""
    instrument = make_instrument(min_notional="20")
    world = World(make_settings(kind=LONG), 105, instrument=instrument)
    world.go(103)
    world.asked()
    grid, entries = world.grid, len(list(world.store.events_after(0)))
    result = world.adjust(lower, upper, num)
    assert result.outcome is Outcome.INVALID
    assert message in result.message
    assert world.grid == grid
    assert len(list(world.store.events_after(0))) == entries
    assert world.asked() == []


def test_a_refusal_names_every_reason() -> None:
    """Fees and notional are both wrong, and both are said."""
    instrument = make_instrument(fee="0.02", min_notional="90")
    world = World(make_settings(100, 150, 5), 125, instrument=instrument)
    result = world.adjust(80, 86, 4)
    assert "does not earn its fees" in result.message
    assert "the exchange wants at least 90" in result.message


def test_lots_without_a_cell_can_be_closed() -> None:
    """`lots: close` sells at the market what finds no cell, all of it into trend."""
    world = World(make_settings(kind=LONG), 105)
    world.go(102)
    preview = world.adjust(98, 103, 6, lots=LotsPolicy.CLOSE, dry_run=True)
    assert [lot["upper"] for lot in preview.data["closed"]] == ["104", "105"]
    assert preview.data["carried"] == []
    assert "2 lots closed at the market" in preview.message
    assert preview.data["position"] == "1"
    assert [order["price"] for order in preview.data["placed"]] == ["98", "99"]
    world.asked()
    assert world.adjust(98, 103, 6, lots=LotsPolicy.CLOSE).outcome is Outcome.DONE
    requests = world.asked()
    assert sorted(requests[:2]) == ["cancel SELL 104", "cancel SELL 105"]
    assert sorted(requests[2:]) == ["BUY 98", "BUY 99", "SELL 102 reduce", "SELL 102 reduce"]
    assert world.orders() == "BUY 98 99 100 101; SELL 103[c]"
    assert world.exchange.position == world.grid.position == 1
    assert (world.pnl.grid, world.pnl.trend) == (D(0), D("-3.0822"))
    assert world.pnl.total == world.exchange.equity_change
    assert world.grid.totals.closed_cells == 0


def test_a_close_that_finds_no_taker_is_tried_again() -> None:
    """The answer waits until it is done; nothing is booked before the exchange's fill."""
    world = World(make_settings(kind=SHORT), 105)
    world.go(108)
    world.exchange.ioc_liquidity = D("0.3")
    ticket = world.post(AdjustGrid(lower=D(107), upper=D(112), grid_num=6, lots=LotsPolicy.CLOSE))
    world.settle()
    assert ticket.result is None
    assert -3 < world.exchange.position < -1
    world.exchange.ioc_liquidity = None
    world.settle(patience_s=3)
    assert ticket.result is not None
    assert ticket.result.outcome is Outcome.DONE
    assert world.exchange.position == world.grid.position == -1
    assert world.pnl.total == world.exchange.equity_change


def test_a_close_gives_up_only_what_finds_no_cell() -> None:
    """A long lot has a cell in a range above the price, a short one has none and is bought back."""
    world = World(make_settings(98, 104, 4), 103)
    world.go(100, 99)
    assert world.adjust(98, 102, 3).outcome is Outcome.DONE
    world.go(100)
    assert world.exchange.position == 0
    assert world.adjust(120, 124, 3, lots=LotsPolicy.CLOSE).outcome is Outcome.DONE
    assert world.exchange.position == world.grid.position == 1
    assert world.grid.carried == ()
    assert world.orders() == "SELL 122[c] 124"
    assert world.pnl.total == world.exchange.equity_change


def test_a_full_position_leaves_no_room_for_an_adjust() -> None:
    """With the limit reached and cells without a lot, the new grid would stand idle: refused."""
    world = World(make_settings(kind=LONG, max_position=2), 105)
    world.go(103)
    assert world.grid.position == 2
    result = world.adjust(90, 103, 14)
    assert result.outcome is Outcome.INVALID
    assert "no opening order would be possible" in result.message


def test_a_dry_run_tells_the_plan_and_changes_nothing() -> None:
    """Orders kept, cancelled and placed, DORMANT cells and carried lots; then the real one does
    exactly that."""
    world = World(make_settings(kind=LONG), 105)
    world.go(102)
    world.asked()
    grid = world.grid
    plan = world.adjust(98, 103, 6, dry_run=True)
    assert plan.outcome is Outcome.DONE
    assert plan.data["dry_run"] is True

    def prices(key: str) -> list[str]:
        orders = plan.data[key]
        assert isinstance(orders, list)
        return [f"{o['side']} {o['price']}" for o in orders]

    assert prices("kept") == ["BUY 100", "BUY 101", "SELL 103", "SELL 104", "SELL 105"]
    assert prices("cancelled") == []
    assert prices("placed") == ["BUY 98", "BUY 99"]
    assert plan.data["dormant_cells"] == []
    carried = plan.data["carried"]
    assert isinstance(carried, list)
    assert [c["upper"] for c in carried] == ["104", "105"]
    assert plan.data["position"] == "3"
    assert world.grid is grid
    assert world.asked() == []

    world.adjust(98, 103, 6)
    assert sorted(world.asked()) == prices("placed")


def test_an_adjust_to_the_range_in_force_changes_nothing() -> None:
    """It is done at once, with no request and the same version."""
    world = World(make_settings(), 105)
    world.asked()
    result = world.adjust("100.0", 110, 11)
    assert result.outcome is Outcome.DONE
    assert "in force already" in result.message
    assert world.asked() == []
    assert world.grid.version == 1


def test_one_adjust_at_a_time() -> None:
    """While one awaits its cancels another is turned away; then the first is answered."""
    world = World(make_settings(), 105)
    world.exchange.cancel_faults.extend([Fault(error=OutcomeUnknown("slow"), arrives=True)] * 20)
    first = world.post(AdjustGrid(lower=D(90), upper=D(97), grid_num=8))
    world.step()
    second = world.post(AdjustGrid(lower=D(98), upper=D(112)))
    world.step()
    assert first.result is None
    assert second.result is not None
    assert second.result.outcome is Outcome.NOT_RUNNING
    assert "another adjust" in second.result.message
    world.exchange.cancel_faults.clear()
    world.settle(patience_s=5)
    assert first.result is not None
    assert first.result.outcome is Outcome.DONE
    assert world.grid.spec.upper == 97


def test_an_adjust_that_the_exchange_refuses_leaves_the_old_grid() -> None:
    """Nothing was cancelled yet: the old grid stands, and the answer says so."""
    world = World(make_settings(), 105)
    before = world.orders()
    world.exchange.cancel_faults.extend([Fault(error=Retryable("busy"))] * 20)
    result = world.adjust(90, 97, 8)
    assert result.outcome is Outcome.REFUSED
    assert "the old grid stands" in result.message
    world.exchange.cancel_faults.clear()
    world.settle(patience_s=3)
    assert world.orders() == before
    assert world.book.pending is None
    assert world.grid.version == 1


def test_an_adjust_whose_cancel_lost_its_race_plans_again() -> None:
    """The fill in between is carried: position before and after differ by that fill alone."""
    world = World(make_settings(kind=LONG), 105)
    world.exchange.before_cancel = lambda: world.exchange.jump(103)
    result = world.adjust(90, 101, 12)
    world.settle(patience_s=3)
    assert result.outcome is Outcome.DONE
    assert world.exchange.position == world.grid.position == 2
    assert "104[k] 105[k]" in world.orders()
    world.go(106)
    assert world.exchange.position == 0
    assert world.pnl.total == world.exchange.equity_change


def test_carried_pairs_close_each_other_in_the_books() -> None:
    """Long and short lots without a cell end against each other at the present price, in trend."""
    world = World(make_settings(98, 104, 4), 103)
    world.go(100, 99)
    world.adjust(98, 102, 3)
    world.go(100)
    assert world.lots() == {"-100": "1", "100": "1"}
    world.go("100.5")
    before = world.pnl
    one_cell = level_prices(D(99), D(102), 2, GridMode.ARITHMETIC, make_instrument())
    moved = regrid(
        world.grid,
        replace(world.grid.spec, lower=D(99), upper=D(102), levels=one_cell),
        D("100.5"),
        LotsPolicy.CARRY,
        D("0.0002"),
        D(2),  # no lot is large enough for a cell: both are carried
    )
    assert moved.carried == ()
    assert moved.position == world.grid.position == 0
    assert pnl(moved, D("100.5")).total == before.total
    assert moved.totals.trend == -D("0.04"), "bought and sold at 100: the two fees"


def test_dust_takes_no_cell_in_an_adjust() -> None:
    """A lot below the minimum notional is carried: a cell of its own would stand idle."""
    instrument = make_instrument(lot="0.01", min_notional="20")
    world = World(make_settings(kind=LONG), 105, instrument=instrument)
    entry = next(o for o in world.own() if o.price == 104)
    world.exchange.last = D(104)
    world.exchange.fill(entry.client_order_id, D("0.1"))
    world.exchange.tell(world.exchange.quote())
    world.settle()
    assert world.adjust(96, 112, 9).outcome is Outcome.DONE
    assert world.lots() == {}
    assert [sum(p.quantity for p in c.lot) for c in world.grid.carried] == [D("0.1")]
    assert world.grid.position == world.exchange.position == D("0.1")


def test_an_adjusted_range_outlives_a_restart() -> None:
    """The config file is unchanged: the moved grid goes on."""
    world = World(make_settings(), 105)
    world.adjust(98, 112, 8)
    before = world.orders()
    world.asked()
    world.restart()
    assert (world.grid.spec.lower, world.grid.spec.upper) == (D(98), D(112))
    assert world.orders() == before
    assert world.asked() == []


def test_an_adjusted_range_ends_when_the_configs_own_changes() -> None:
    """The range of the changed file comes into force, with the lots carried."""
    world = World(make_settings(), 105)
    world.go(104)
    world.adjust(98, 112, 8)
    world.restart(make_settings(96, 114, 10))
    world.settle(patience_s=2)
    spec = world.grid.spec
    assert (spec.lower, spec.upper, spec.num) == (D(96), D(114), 10)
    assert world.grid.position == world.exchange.position == 1
    world.restart()
    assert world.grid.spec.lower == 96


def test_a_changed_range_keeps_the_size_that_was_derived_at_the_first_seed() -> None:
    """GRID.md 2: without a `quantity` it is fixed then and kept by adjusts, the file's own too."""
    world = World(make_settings(num=11, quantity=None, max_position=10), 105)
    assert world.grid.spec.quantity == 2
    world.restart(make_settings(num=21, upper=120, quantity=None, max_position=10))
    assert world.grid.spec.num == 21
    assert world.grid.spec.quantity == 2
    world.restart(make_settings(num=11, quantity="1", max_position=10))
    assert world.grid.spec.quantity == 1


def test_a_config_that_turns_a_grid_with_lots_around_is_refused() -> None:
    """A long grid's lots do not fit a short one: said at the start, nothing changed."""
    world = World(make_settings(kind=LONG), 105)
    world.go(104)
    with pytest.raises(ConfigError, match="lots of the other side are open"):
        world.restart(make_settings(kind=GridType.SHORT))


def test_pause_cancels_entries_and_resume_brings_them_back() -> None:
    """Exits stay; a repeat changes nothing; a restart remembers."""
    world = World(make_settings(), 105)
    world.go(104)
    before = world.orders()
    assert world.do(Pause()).outcome is Outcome.DONE
    assert world.is_in(RunState.PAUSED)
    assert world.orders() == "SELL 105[c]"
    world.asked()
    assert world.do(Pause()).outcome is Outcome.DONE
    world.restart()
    assert world.is_in(RunState.PAUSED)
    assert world.asked() == []
    assert world.do(Resume()).outcome is Outcome.DONE
    assert world.is_in(RunState.RUNNING)
    assert world.orders() == before


def test_an_exit_that_fills_while_paused_opens_nothing() -> None:
    """The lot is closed, and its cell waits for the resume."""
    world = World(make_settings(), 105)
    world.go(104)
    world.do(Pause())
    world.go(106)
    assert world.orders() == ""
    assert world.grid.position == 0


def test_commands_before_the_start_and_after_the_end_are_turned_away() -> None:
    """Not running is an answer of its own."""
    world = World(make_settings(), 105, boot=False)
    world.exchange.fetch_faults.extend([Retryable("down")] * 100)
    world.boot()
    for command in (Pause(), Resume(), AdjustGrid(lower=D(98))):
        ticket = world.post(command)
        world.step()
        assert ticket.result is not None
        assert ticket.result.outcome is Outcome.NOT_RUNNING
    world.stop()
    late = world.engine.submit(Pause(), 0.0)
    assert late.outcome in (Outcome.NOT_RUNNING, Outcome.PENDING)


def test_a_trigger_is_waited_for_without_a_request() -> None:
    """Nothing is placed, and nothing is asked of the exchange, until the price is there."""
    calls: list[str] = []
    world = World(make_settings(trigger=103), 105, boot=False)
    world.boot()
    world.exchange.on_call = calls.append
    world.go(104, "103.5")
    assert calls == []
    assert world.asked() == []
    world.go(103)
    world.settle(patience_s=1)
    assert world.is_in(RunState.RUNNING)
    assert world.orders() == "BUY 100 101 102; SELL 104 105 106 107 108 109 110"


# Settings -----------------------------------------------------------------------------------------


def request(**changes: object) -> GridRequest:
    values: dict[str, object] = {
        "lower": D(100),
        "upper": D(110),
        "num": 11,
        "mode": GridMode.ARITHMETIC,
        "kind": NEUTRAL,
        "quantity": D(1),
        "max_position": None,
    }
    return GridRequest(**{**values, **changes})  # type: ignore[arg-type]  # a table of fields


@pytest.mark.parametrize(
    ("changes", "limits", "message"),
    [
        ({"quantity": None}, {}, "neither quantity nor max_position"),
        ({"quantity": D("0.0005")}, {}, "wants at least 0.001"),
        ({"quantity": D("1.0005")}, {}, "multiple of the lot 0.001"),
        ({"quantity": None, "max_position": D("0.001")}, {}, "the quantity of one order is 0 BTC"),
        ({}, {"min_notional": "101"}, "wants at least 101"),
        ({"max_position": D("0.5")}, {}, "max_position 0.5 is less than one order of 1"),
        ({}, {"fee": "0.006"}, "does not earn its fees"),
        ({"num": 30}, {}, "fall on the same price"),
    ],
)
def test_a_grid_that_cannot_trade(
    changes: dict[str, object], limits: dict[str, str], message: str
) -> None:
    """Every fault is said with its value and what to do."""
    with pytest.raises(ValueError, match=message):
        build_spec(request(**changes), D(105), make_instrument(**limits))


def test_too_large_an_order_is_named() -> None:
    """The exchange's largest order bounds the quantity."""
    instrument = replace(make_instrument(), max_quantity=D("0.5"))
    spec = build_spec(request(), D(105), make_instrument())
    assert any("takes at most 0.5" in fault for fault in spec_faults(spec, None, instrument))


def test_a_range_in_percent_is_centred_on_the_price() -> None:
    """`price_range` 10: ninety to a hundred and ten percent, rounded to the tick."""
    spec = build_spec(
        request(lower=None, upper=None, price_range=D(10), num=3), D("105.5"), make_instrument()
    )
    assert (spec.lower, spec.upper) == (D(95), D(116))


def test_a_config_is_told_by_its_own_range() -> None:
    """Range, number, spacing and kind name a config; quantity and limit do not."""
    base = request().fingerprint()
    assert request(quantity=D(2), max_position=D(9)).fingerprint() == base
    for change in ({"lower": D(99)}, {"num": 12}, {"kind": LONG}, {"mode": GridMode.GEOMETRIC}):
        assert request(**change).fingerprint() != base
    assert request(lower=D("100.0")).fingerprint() == base


def test_warnings_are_of_thin_cells() -> None:
    """A grid that trades may still be warned of."""
    assert spec_warnings(tuple(map(D, (1000, 1003))), make_instrument(fee="0.001"))
    assert spec_warnings(tuple(map(D, (100, 110))), make_instrument()) == ()


def test_sides_of_a_grid_are_of_its_kind() -> None:
    """A long grid never sells to open, a short one never buys to open."""
    for kind, side in ((LONG, Side.BUY), (GridType.SHORT, Side.SELL)):
        world = World(make_settings(kind=kind), 105)
        assert {o.side for o in world.own()} == {side}


class RealClock:
    """The machine's own time, for the one test that lets the loop run."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


def test_another_thread_commands_a_running_loop() -> None:
    """Commands from outside are answered by the engine's thread, and a stop ends it."""
    world = World(make_settings(), 105, boot=False)
    world.engine.clock = world.engine.desk.clock = RealClock()
    world.store.close()
    ended: list[StopBot] = []

    def live() -> None:
        world.store = world.engine.store = world.engine.desk.store = Database(":memory:")
        world.engine.ledger.store = world.store
        ended.append(world.engine.run())

    thread = threading.Thread(target=live)
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not world.is_in(RunState.RUNNING) and time.monotonic() < deadline:
            world.engine.submit(Resume(), 0.05)
        assert world.engine.submit(Pause(), 10).outcome is Outcome.DONE
        assert world.engine.submit(Resume(), 10).outcome is Outcome.DONE
        moved = world.engine.submit(AdjustGrid(lower=D(98), upper=D(112), grid_num=8), 10)
        assert moved.outcome is Outcome.DONE
    finally:
        stopped = world.engine.submit(StopBot(reason="test"), 10)
        thread.join(10)
    assert stopped.outcome is Outcome.DONE
    assert not thread.is_alive()
    assert [request.reason for request in ended] == ["test"]
    assert world.own() == []
