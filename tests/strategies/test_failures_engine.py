"""What goes wrong in other grid bots, by its number in the list, and does not go wrong here.

Each test is the story of one row: the trouble, then what the engine makes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from fakes import CrashError, Fault
from grid_world import World, make_instrument, make_settings

from core.errors import (
    ConfigError,
    ExchangeError,
    OutcomeUnknown,
    Rejected,
    RejectReason,
    Retryable,
    StoreError,
)
from core.model import FeedGap, GridType, Order, OrderStatus, Outcome, RunState, Side, StopBot
from database.db import Database
from strategies import ending
from strategies.order_desk import MARGIN_PAUSE_S

D = Decimal
LONG = GridType.LONG
START = "BUY 102 103 104; SELL 106 107 108"


def limited(max_position: int | None = 3) -> World:
    return World(make_settings(max_position=max_position), 105)


@pytest.mark.parametrize("arrives", [True, False])
def test_failure_01_a_time_out_never_doubles_an_order(arrives: bool) -> None:
    """After a time-out the order is looked up by its id; the same id is never sent twice."""
    world = World(make_settings(max_position=3), 105, boot=False)
    fault = Fault(error=OutcomeUnknown("time-out"), arrives=arrives)
    world.exchange.place_faults.extend([fault] * 6)
    world.boot()
    assert len(world.exchange.requests) == 6, "nothing is sent again blind"
    world.exchange.place_faults.clear()
    world.settle(patience_s=3)
    assert world.orders() == START
    assert len(world.exchange.orders) == 6
    assert len(world.exchange.requests) == (6 if arrives else 12)


def test_failure_02_orders_in_flight_count_before_their_fills_are_known() -> None:
    """Fills that nobody has told yet make no room: the cell's order has not ended."""
    world = limited()
    world.exchange.deliver = lambda _: "late"
    world.asked()
    world.go(102)
    assert world.exchange.position == 3
    assert world.asked() == [], "the engine knows of no fill and must not open more"
    world.exchange.release()
    world.settle()
    assert world.grid.position == 3
    assert world.orders() == "SELL 103[c] 104[c] 105[c] 106 107 108"


def test_failure_03_absent_from_open_orders_is_a_question() -> None:
    """An order that the exchange ended is not taken as filled: no lot, and it is placed again."""
    world = limited()
    lost = next(o for o in world.own() if o.price == 104)
    world.exchange.end(lost.client_order_id, OrderStatus.CANCELED)
    world.exchange.tell(FeedGap(reason="cut"))
    world.settle(patience_s=2)
    assert world.grid.position == 0
    assert world.orders() == START


def test_failure_04_a_partial_close_keeps_its_rest() -> None:
    """After a part of an exit filled, the rest of it works on, and the lot is what is left."""
    world = limited()
    world.go(104)
    closing = next(o for o in world.own() if o.price == 105)
    world.exchange.last = D(105)
    world.exchange.fill(closing.client_order_id, D("0.4"))
    world.exchange.tell(world.exchange.quote())
    world.settle()
    assert world.lots() == {"104": "0.6"}
    assert "105[c]*0.6" in world.orders()
    assert world.pnl.total == world.exchange.equity_change


def test_failure_04_a_partial_fill_then_a_cancel_keeps_the_part() -> None:
    """The part that filled before the cancel is a lot with an exit; the rest is placed again."""
    world = limited()
    entry = next(o for o in world.own() if o.price == 104)
    world.exchange.last = D(104)
    world.exchange.fill(entry.client_order_id, D("0.3"))
    world.exchange.end(entry.client_order_id, OrderStatus.CANCELED)
    world.exchange.tell(world.exchange.quote())
    world.exchange.tell(FeedGap(reason="cut"))
    world.settle(patience_s=3)
    assert world.lots() == {"104": "0.3"}
    world.go("104.5")
    world.settle(patience_s=3)
    assert "104*0.7" in world.orders()
    assert "105[c]*0.3" in world.orders()


def test_failure_05_dust_is_closed_with_the_next_lot() -> None:
    """A lot below the exchange's minimum has no exit; its cell opens a full order beside it, and
    both are closed together: nothing is stranded."""
    instrument = make_instrument(lot="0.01", min_notional="20")
    world = World(make_settings(kind=LONG), 105, instrument=instrument)
    entry = next(o for o in world.own() if o.price == 104)
    world.exchange.last = D(104)
    world.exchange.fill(entry.client_order_id, D("0.1"))  # worth 10.40, the minimum is 20
    world.exchange.tell(world.exchange.quote())
    world.settle()
    assert "[c]" not in world.orders()
    world.exchange.fill(entry.client_order_id)
    world.go(103, "103.5")
    world.go(106)
    assert world.grid.position == world.exchange.position == 0
    assert world.pnl.total == world.exchange.equity_change


def test_failure_05_dust_keeps_a_full_order_when_its_entry_was_cancelled() -> None:
    """Dust plus a full order close as one exit of more than the grid's quantity."""
    instrument = make_instrument(lot="0.01", min_notional="20")
    world = World(make_settings(kind=LONG), 105, instrument=instrument)
    entry = next(o for o in world.own() if o.price == 104)
    world.exchange.last = D(104)
    world.exchange.fill(entry.client_order_id, D("0.1"))
    world.exchange.end(entry.client_order_id, OrderStatus.CANCELED)
    world.exchange.tell(FeedGap(reason="cut"))
    world.settle(patience_s=3)
    world.go("104.5")
    world.settle(patience_s=3)
    assert "BUY 100 101 102 103 104" in world.orders()
    world.go(104)
    assert "105[c]*1.1" in world.orders()
    world.go(105)
    assert world.grid.position == world.exchange.position == 0
    assert world.pnl.total == world.exchange.equity_change


@pytest.mark.parametrize("error", [Retryable("busy", 0.5), OutcomeUnknown("slow")])
def test_failure_06_an_error_is_not_read_as_flat(error: ExchangeError) -> None:
    """While the exchange cannot be read nothing is placed and no lot changes."""
    world = limited()
    world.go(102)
    world.asked()
    world.exchange.fetch_faults.extend([error] * 20)
    world.exchange.tell(FeedGap(reason="cut"))
    world.settle(patience_s=2)
    assert not world.engine.synced
    assert "exchange" in world.engine.frozen
    assert world.asked() == []
    assert world.grid.position == 3
    world.exchange.fetch_faults.clear()
    world.settle(patience_s=3)
    assert world.engine.synced
    assert not world.engine.frozen
    assert world.orders() == "SELL 103[c] 104[c] 105[c] 106 107 108"


def test_failure_07_a_fill_missed_while_flat_is_found() -> None:
    """The first fill ever is found although nothing was told and the ledger says zero."""
    world = limited()
    world.exchange.deliver = lambda _: "hidden"
    world.go(104)
    assert world.grid.position == 0
    world.exchange.tell(FeedGap(reason="cut"))
    world.settle(patience_s=3)
    assert world.grid.position == 1
    assert "105[c]" in world.orders()


@pytest.mark.parametrize("kind", list(GridType))
def test_failure_08_the_limit_holds_for_resting_orders(kind: GridType) -> None:
    """What rests could never fill to more than the limit, from the first order on."""
    world = World(make_settings(kind=kind, max_position="2.5"), 105)
    for side in Side:
        opening = sum(o.quantity for o in world.own() if o.side is side)
        assert opening <= D("2.5")
    assert "*0.5" in world.orders(), "what fits only partly is sent for what is left"


def test_failure_10_orders_of_others_are_never_touched() -> None:
    """Hand-made orders rest on through a start, an adjust and a stop."""
    world = World(make_settings(), 105, boot=False)
    hand = world.exchange.add_foreign(Side.BUY, 104, "hand-7")
    world.boot()
    assert world.adjust(98, 112, 8).outcome is Outcome.DONE
    assert world.stop() == 0
    assert world.own() == []
    assert not world.exchange.orders[hand].status.is_terminal
    assert "cancel" in " ".join(world.asked())


def test_failure_11_a_stop_ends_stopped_and_says_so() -> None:
    """After a stop the state is STOPPED, nothing rests, and further commands are refused."""
    world = limited()
    world.go(102)
    assert world.stop(reason="user") == 0
    assert world.is_in(RunState.STOPPED)
    assert world.own() == []
    assert world.engine.orders_left == 0


def test_failure_11_a_stop_can_close_the_position() -> None:
    """With `close_positions` the exchange's own position is zero, and all of it is in the books."""
    world = limited()
    world.go(102)
    assert world.stop(close_positions=True) == 0
    assert world.exchange.position == world.grid.position == 0
    assert world.pnl.total == world.exchange.equity_change
    assert world.pnl.open_fees == 0


def test_failure_12_nothing_is_placed_after_a_stop_was_asked_for() -> None:
    """Fills that arrive during the shut-down are booked, and no counter-order follows."""
    world = limited()
    world.asked()
    world.exchange.before_cancel = lambda: world.exchange.jump(103)
    assert world.stop() == 0
    asked = world.asked()
    assert asked
    assert all(word.startswith("cancel") for word in asked)
    assert world.own() == []
    assert world.grid.position == world.exchange.position == 2, "the fills are in the ledger"


def test_failure_12_a_stop_and_a_fill_in_one_turn_place_nothing() -> None:
    """A stop that arrives together with a fill wins."""
    world = limited()
    world.exchange.jump(104)
    world.asked()
    world.stop()
    assert not [word for word in world.asked() if not word.startswith("cancel")]


def test_failure_13_orders_that_cannot_be_proved_cancelled_are_told() -> None:
    """A stop while the exchange cannot be reached never claims that nothing rests."""
    world = limited()
    world.exchange.fetch_faults.extend([Retryable("down")] * 50)
    assert world.stop() > 0
    assert world.engine.orders_left > 0
    assert world.severity_of("could not be proved cancelled") == "critical"


def test_failure_13_a_stop_before_the_first_contact_still_cancels() -> None:
    """Orders of a former run are cancelled although this run never got to trade."""
    world = limited()
    world.exchange.fetch_faults.extend([Retryable("down")] * 3)
    world.restart()
    assert not world.engine.synced
    world.exchange.fetch_faults.clear()
    assert world.stop() == 0
    assert world.own() == []


def test_failure_15_a_log_line_with_any_argument_cannot_stop_a_stop() -> None:
    """The stop goes through with reasons that no format string would survive."""
    world = limited()
    assert world.stop(reason="100 % {of} %s %(x)d \\ ✓") == 0
    assert world.is_in(RunState.STOPPED)
    assert any(event == "stopping" for event, _ in world.log)


@pytest.mark.parametrize("delivery", ["hidden", "late"])
def test_failure_17_a_gap_is_filled_before_anything_is_placed(delivery: str) -> None:
    """After a cut the fills are fetched first; only then are orders placed."""
    world = limited()
    calls: list[str] = []
    world.exchange.deliver = lambda _: delivery
    world.go(103)
    world.exchange.on_call = calls.append
    world.exchange.tell(FeedGap(reason="listen key expired"))
    world.settle(patience_s=3)
    assert world.grid.position == 2
    assert calls.index("fills") < calls.index("place")


def test_failure_17_a_fill_that_was_never_told_is_found_behind_a_newer_one() -> None:
    """A hidden fill, minutes older than the last one we have, is looked for and found."""
    world = limited()
    hidden, told = iter(["hidden"]), "now"
    world.exchange.deliver = lambda _: next(hidden, told)
    world.go(104)
    world.clock.advance(300)
    world.go(103)
    world.clock.advance(120)
    world.exchange.tell(world.exchange.quote())
    world.settle(patience_s=10)
    assert world.grid.position == world.exchange.position == 2
    assert not world.engine.frozen


def test_failure_17_two_hidden_fills_that_net_to_zero_are_found() -> None:
    """The position alone cannot tell: the orders' own reports do."""
    world = World(make_settings(), 105)
    world.go(104)
    buy = next(o for o in world.own() if o.price == 103)
    sell = next(o for o in world.own() if o.price == 105)
    world.exchange.deliver = lambda _: "hidden"
    world.exchange.fill(buy.client_order_id, D("0.5"))
    world.exchange.fill(sell.client_order_id, D("0.5"))
    world.exchange.deliver = lambda _: "now"
    world.clock.advance(300)
    world.go(106)
    world.clock.advance(120)
    world.exchange.tell(FeedGap(reason="cut"))
    world.settle(patience_s=10)
    assert world.pnl.total == world.exchange.equity_change
    assert world.grid.totals.fees == sum(fill.fee for fill in world.exchange.fills)


def test_failure_18_a_trade_counts_once_however_often_it_is_told() -> None:
    """Twice in the stream, again by a backfill, again after a restart: one lot."""
    world = limited()
    world.exchange.deliver = lambda _: "twice"
    world.go(104)
    fill = world.exchange.fills[0]
    world.exchange.tell(FeedGap(reason="resync"))
    world.settle(patience_s=2)
    world.restart()
    world.exchange.tell(fill)
    world.settle()
    assert world.grid.position == 1
    assert world.grid.totals.fills == 1
    assert world.store.fill_count() == 1


def test_failure_18_fills_in_any_order_give_the_same_lots() -> None:
    """Three fills told newest first end in the same orders and figures."""
    world, other = limited(), limited()
    other.exchange.deliver = lambda _: "late"
    for each in (world, other):
        each.jump(102)
    other.exchange.release()
    other.settle()
    assert other.orders() == world.orders()
    assert other.lots() == world.lots()
    assert other.pnl == world.pnl


def test_failure_20_no_second_grid_is_placed_over_a_live_one() -> None:
    """With an empty ledger, the orders that are ours by their id are cancelled before any other."""
    world = limited()
    old = {o.client_order_id for o in world.own()}
    world.store = Forgetful(100)
    world.asked()
    world.restart()
    world.settle(patience_s=2)
    asked = world.asked()
    assert [word.split()[0] for word in asked[:6]] == ["cancel"] * 6
    assert world.orders() == START
    assert not old & {o.client_order_id for o in world.own()}


def test_failure_20_a_stray_that_will_not_go_keeps_the_grid_from_starting() -> None:
    """While an old order cannot be cancelled, no new one is placed beside it."""
    world = limited()
    world.store = Forgetful(100)
    world.asked()
    world.exchange.cancel_faults.extend([Fault(error=Retryable("busy"))] * 6)
    world.crash()
    world.engine = world._new_engine()
    world.engine.load()
    world.exchange.start(world.engine.inbox.post)
    world.step()
    assert all(word.startswith("cancel") for word in world.asked())
    world.settle(patience_s=5)
    assert world.orders() == START
    assert len(world.own()) == 6


def test_failure_36_a_second_bot_of_the_same_id_is_told_and_not_fought() -> None:
    """Orders with our ids that are not in our ledger keep appearing: an alert, entries frozen."""
    world = World(make_settings(interval_s=5.0), 105)
    for number in range(901, 904):
        world.exchange.add_foreign(Side.BUY, 90, f"bt-{number}")
        world.settle(patience_s=6)
    twins = [world.exchange.orders[f"bt-{number}"].status for number in range(901, 904)]
    assert twins == [OrderStatus.CANCELED, OrderStatus.CANCELED, OrderStatus.NEW]
    assert "keep appearing (bt-903)" in world.engine.frozen["twin"]
    assert world.alerts().count("does a second bot run as t") == 1
    world.asked()
    world.go(104, "105.5")
    assert world.asked() == ["SELL 105"], "exits go on, entries do not"
    world.exchange.end("bt-903")
    world.settle(patience_s=6)
    assert not world.engine.frozen


def test_failure_20_nothing_is_placed_before_the_first_snapshot() -> None:
    """An exchange that cannot be read at the start gets no order."""
    world = World(make_settings(), 105, boot=False)
    world.exchange.fetch_faults.extend([Retryable("down")] * 3)
    world.boot()
    assert world.asked() == []
    assert world.is_in(RunState.STARTING)
    world.settle(patience_s=5)
    assert world.asked()
    assert world.is_in(RunState.RUNNING)


def test_failure_21_the_stream_and_the_poll_race_to_one_order() -> None:
    """A fill told by the stream and by a reconciliation at once leads to one counter-order."""
    world = limited()
    world.exchange.is_pushing = True
    world.asked()
    world.exchange.jump(104)
    world.exchange.tell(FeedGap(reason="reconnect"))
    world.settle(patience_s=2)
    assert world.asked().count("SELL 105") == 1
    prices = [(o.side, o.price) for o in world.own()]
    assert len(prices) == len(set(prices))


@pytest.mark.parametrize("reason", [RejectReason.PRECISION, RejectReason.NOTIONAL])
def test_failure_22_a_precision_reject_is_final_and_loud(reason: RejectReason) -> None:
    """The order is not sent again, however long one waits, and the operator is told."""
    world = World(make_settings(max_position=3), 105, boot=False)
    world.exchange.place_faults.append(Fault(error=Rejected(reason, "no")))
    world.boot()
    world.asked()
    for price in ("105.5", "104.5", "105"):
        world.go(price)
        world.clock.advance(100)
        world.settle(patience_s=2)
    assert world.asked() == []
    assert "for good" in world.alerts()
    assert len(world.own()) == 5


def test_failure_23_too_small_a_quantity_is_refused_at_the_start() -> None:
    """A grid whose orders are too small never starts with fewer levels: it says why."""
    instrument = make_instrument(min_quantity="2")
    world = World(make_settings(), 105, instrument=instrument, boot=False)
    with pytest.raises(ConfigError, match="the exchange wants at least 2"):
        world.boot()
    assert world.asked() == []


def test_failure_24_a_post_only_reject_comes_back_by_itself() -> None:
    """The level returns to the plan and is tried again; no quote is needed for that."""
    world = World(make_settings(max_position=3), 105, boot=False)
    refused = Fault(error=Rejected(RejectReason.POST_ONLY, "would take"))
    world.exchange.place_faults.extend([refused, refused])
    world.boot()
    assert len(world.own()) == 4
    assert world.engine.desk.rejections == 2
    world.settle(patience_s=1)
    assert world.orders() == START


def test_failure_25_reduce_only_rejects_make_no_storm() -> None:
    """A refused exit refreshes the position, is tried once a second, and keeps its flag."""
    world = World(make_settings(kind=LONG, max_position=3), 105)
    refused = Fault(error=Rejected(RejectReason.REDUCE_ONLY, "nothing to reduce"))
    world.exchange.place_faults.extend([refused, refused, refused])
    world.asked()
    world.go(104)
    tries = [word for word in world.asked() if word.startswith("SELL 105")]
    assert tries == ["SELL 105 reduce"]
    world.settle(patience_s=5)
    tries = [word for word in world.asked() if word.startswith("SELL 105")]
    assert tries == ["SELL 105 reduce"] * 3
    assert "SELL 105[c]" in world.orders()


class Failing(Database):
    """A ledger whose writes fail while `full`."""

    def __init__(self) -> None:
        super().__init__(":memory:")
        self.full = False

    def append_event(self, kind: str, payload: Mapping[str, Any], time: datetime) -> int:
        if self.full:
            raise StoreError("disk full")
        return super().append_event(kind, payload, time)

    def save_order(self, order: Order) -> None:
        if self.full:
            raise StoreError("disk full")
        super().save_order(order)


class Forgetful(Database):
    """A ledger that was lost; its order numbers go on, as on a venue that refuses used ids."""

    def __init__(self, first: int) -> None:
        super().__init__(":memory:")
        self.reserve_order_numbers(first)


def test_failure_29_nothing_is_sent_that_was_not_written_down() -> None:
    """While the ledger cannot be written no order leaves; what filled meanwhile is found after."""
    store = Failing()
    world = World(make_settings(max_position=3), 105, store=store)
    world.asked()
    store.full = True
    world.exchange.jump(103)
    for _ in range(40):
        world.step()
        world.clock.advance(0.25)
    assert world.asked() == []
    assert "database" in world.engine.frozen
    assert world.alerts().count("the database failed") == 1, "told once, not every two seconds"
    assert world.grid.position == 0
    store.full = False
    world.settle(patience_s=6)
    assert world.grid.position == world.exchange.position == 2
    assert not world.engine.frozen
    assert world.orders() == "BUY 102; SELL 104[c] 105[c] 106 107 108"


def test_failure_29_a_failing_ledger_does_not_end_a_pushing_feed() -> None:
    """The same with a stream that posts from its own thread: the loop goes on."""
    store = Failing()
    world = World(make_settings(max_position=3), 105, store=store)
    world.exchange.is_pushing = True
    store.full = True
    world.exchange.jump(104)
    world.step()
    store.full = False
    world.settle(patience_s=6)
    assert world.grid.position == 1


def test_failure_29_a_death_between_sending_and_writing_loses_no_order() -> None:
    """The process dies after the exchange took the order: the successor finds it by its id."""
    world = World(make_settings(max_position=3), 105, boot=False)
    world.exchange.place_faults.extend([None, None, Fault(error=CrashError(), arrives=True)])
    with pytest.raises(CrashError):
        world.boot()
    world.restart()
    world.settle(patience_s=2)
    assert world.orders() == START
    assert len(world.exchange.orders) == 6


def test_failure_30_funding_is_booked_once() -> None:
    """Told twice, fetched again and again after a restart: one payment; two stamps: two."""
    world = limited()
    world.go(103)
    world.clock.advance(10)
    first = world.exchange.pay_funding("0.001")
    world.exchange.tell(first)
    world.settle()
    world.exchange.tell(FeedGap(reason="cut"))
    world.settle(patience_s=2)
    world.restart()
    assert world.grid.totals.funding == first.amount
    world.clock.advance(10)
    second = world.exchange.pay_funding("-0.001")
    world.settle()
    assert world.grid.totals.funding == first.amount + second.amount
    assert world.pnl.total == world.exchange.equity_change


def test_failure_30_funding_of_before_the_grid_is_not_its_own() -> None:
    """What the account received before this grid began is never booked as its funding."""
    world = World(make_settings(), 105, boot=False)
    world.exchange.account = world.exchange.account
    hand = world.exchange.add_foreign(Side.BUY, 106, "hand-2")
    del hand
    world.exchange.outbox.clear()
    world.exchange.pay_funding("0.001")
    world.exchange.outbox.clear()
    world.clock.advance(60)
    world.boot()
    world.clock.advance(120)
    world.exchange.tell(FeedGap(reason="cut"))
    world.settle(patience_s=2)
    assert world.grid.totals.funding == 0


def test_failure_32_a_margin_reject_holds_entries_and_never_exits() -> None:
    """Entries wait for half a minute, closing orders go on, and then entries come back."""
    world = World(make_settings(kind=LONG, max_position=3), 105)
    world.go(103)
    world.exchange.margin_is_short = True
    world.asked()
    world.go(104)
    assert "not enough margin" in world.alerts()
    assert "SELL 105[c]" in world.orders()
    storm = len(world.asked())
    world.settle(patience_s=MARGIN_PAUSE_S / 2)
    assert world.asked() == []
    assert storm <= 3
    world.exchange.margin_is_short = False
    world.settle(patience_s=MARGIN_PAUSE_S)
    assert world.orders() == "BUY 102 103; SELL 105[c]"


def test_failure_32_entries_come_back_after_an_adjust_in_the_meantime() -> None:
    """The wait for margin ends by itself although the grid it was for is gone."""
    world = World(make_settings(), 105)
    world.exchange.margin_is_short = True
    assert world.adjust(98, 112, 8).outcome is Outcome.DONE
    assert world.orders() == "BUY 100 102; SELL 106 108 110"
    assert world.adjust(97, 113, 9).outcome is Outcome.DONE
    assert world.own() == []
    world.exchange.margin_is_short = False
    world.settle(patience_s=40)
    assert world.orders() == "BUY 97 99 101 103; SELL 107 109 111 113"


def test_failure_19_a_divergence_freezes_entries_until_it_heals() -> None:
    """A hand's trade: entries freeze, exits go on, it is told; when it is undone all goes on."""
    world = World(make_settings(), 105)
    world.go(104)
    hand = world.exchange.add_foreign(Side.BUY, 104, "hand-9")
    assert world.exchange.orders[hand].status is OrderStatus.FILLED
    world.exchange.tell(FeedGap(reason="cut"))
    world.settle(patience_s=2)
    assert "the exchange holds 2, the ledger 1" in world.engine.frozen["position"]
    assert world.alerts().count("position mismatch") == 1
    world.asked()
    world.go("105.5")
    assert world.grid.position == 0
    assert world.asked() == [], "the cell's next entry waits"
    world.exchange.add_foreign(Side.SELL, 100, "hand-10")
    world.settle(patience_s=10)
    assert not world.engine.frozen
    assert "BUY 104" in world.asked()


@pytest.mark.parametrize("side", list(Side), ids=lambda side: side.value)
def test_failure_08_what_a_hand_puts_on_above_the_limit_is_taken_off(side: Side) -> None:
    """GRID.md 5: an alert, a reduce-only limit order near the touch, the lots as they were."""
    world = World(make_settings(max_position=3), 105)
    world.go(102 if side is Side.BUY else 108)
    held, lots = world.exchange.position, world.lots()
    assert abs(held) == 3
    world.exchange.add_foreign(side, 200 if side is Side.BUY else 50, "hand-9")
    world.asked()
    world.exchange.tell(FeedGap(reason="cut"))
    world.settle(patience_s=6)
    (request,) = [word for word in world.asked() if word.endswith("reduce")]
    assert request == f"{side.opposite.value} {world.exchange.last} reduce"
    assert "above max_position 3" in world.alerts()
    assert world.exchange.position == world.grid.position == held
    assert world.lots() == lots
    assert not world.engine.frozen
    assert world.engine.trim is None
    world.restart()
    assert world.exchange.position == world.grid.position == held


def test_failure_08_what_a_hand_puts_on_below_the_limit_is_left_alone() -> None:
    """It freezes entries and is told; nobody asked for it to be sold."""
    world = World(make_settings(max_position=5), 105)
    world.go(104)
    world.exchange.add_foreign(Side.BUY, 200, "hand-9")
    world.asked()
    world.exchange.tell(FeedGap(reason="cut"))
    world.settle(patience_s=6)
    assert "position" in world.engine.frozen
    assert world.asked() == []


def test_failure_03_a_cancel_that_finds_nothing_is_looked_up() -> None:
    """NOT_FOUND is a question: the order's own end is read, and the cancel is asked once."""
    world = limited()
    for order in world.own():
        world.exchange.end(order.client_order_id)
    world.asked()
    assert world.adjust(80, 95, 4).outcome is Outcome.DONE
    asked = world.asked()
    assert sum(word.startswith("cancel") for word in asked) == 6
    assert world.grid.position == 0


def test_shut_down_is_what_the_loop_does_at_its_end() -> None:
    """`ending.shut_down` keeps the orders when told so, and says that none is left over."""
    world = limited()
    world.post(StopBot(keep_orders=True))
    world.engine.step(0.0)
    assert world.engine.stop_request is not None
    assert ending.shut_down(world.engine, world.engine.stop_request) == 0
    assert world.orders() == START
