"""An audit of what the real engine books on the scripted exchange: never a false alarm.

Storms (every fault, race, crash and adjust that `storm` knows) and odd histories by name: a hand's
trade, a trim, a close from outside. After each the ledger is read from a file as the command reads
it, and compared with the exchange's own truth.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from fakes import EPOCH
from grid_world import OWN, SYMBOL, World, make_settings
from storm import Storm

from core.model import FeedGap, GridMode, GridType, LotsPolicy, Order, OrderStatus, Side
from database.db import Database
from database.reading import LedgerReader
from strategies.audit import Look, compare
from strategies.findings import ExchangeSide, Kind, LedgerSide

pytestmark = pytest.mark.slow

D = Decimal


def audit(world: World, folder: Path, *, do_ids_repeat: bool = False) -> Look:
    """Copy the ledger to a file, read it as `instance_cli audit` does, compare."""
    store, path = world.store, folder / "copy.db"
    assert isinstance(store, Database)
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as copy:
        store.session.connection.backup(copy)
    with LedgerReader(path) as reader:
        ledger = LedgerSide(
            orders=reader.orders(),
            fills=reader.fills(),
            funding=reader.funding(),
            events=reader.events(),
            checkpoint=reader.checkpoint(),
            do_ids_repeat=do_ids_repeat,
        )
    exchange = world.exchange
    side = ExchangeSide(
        open_orders=exchange.fetch_open_orders(SYMBOL),
        looked_up={
            order.client_order_id: exchange.fetch_order(SYMBOL, order.client_order_id)
            for order in ledger.orders
        },
        fills=exchange.fetch_fills(SYMBOL, None),
        fills_before=frozenset(fill.trade_id for fill in exchange.fills),
        funding=exchange.fetch_funding(SYMBOL, None),
        position=exchange.fetch_position(SYMBOL),
        mark=exchange.last,
    )
    return compare(ledger, side, lambda client_id: client_id.startswith(OWN))


class AuditedStorm(Storm):
    """A storm whose every lull is audited."""

    folder: Path
    audits = 0

    def check_lull(self) -> None:
        super().check_lull()
        look = audit(self.world, self.folder)
        assert look.differences == ()
        self.audits += 1


STORMS = [
    (kind, mode, limit, boundary)
    for kind, boundary in zip(
        (*GridType, *GridType, *GridType),
        ("none", "trail", "adjust_range", "stop_only", "none", "trail", "adjust_range", "none",
         "stop_only"),
        strict=True,
    )
    for mode, limit in ((GridMode.ARITHMETIC, "3"), (GridMode.GEOMETRIC, None))
]  # fmt: skip


@pytest.mark.parametrize(("kind", "mode", "limit", "boundary"), STORMS)
def test_every_lull_of_a_storm_is_equal(
    tmp_path: Path, kind: GridType, mode: GridMode, limit: str | None, boundary: str
) -> None:
    """Partial, late and doubled fills, lost cancels, crashes, adjusts: nothing to report."""
    for seed in (11, 12):
        storm = AuditedStorm(
            seed,
            kind=kind,
            mode=mode,
            max_position=limit,
            open_initial=seed == 12,
            boundary=boundary,
        )
        storm.folder = tmp_path
        storm.blow(40)
        storm.finish()
        assert audit(storm.world, tmp_path).differences == ()
        assert storm.audits


@pytest.mark.parametrize("lots", list(LotsPolicy), ids=lambda lots: lots.value)
def test_an_adjust_with_lots_is_equal(tmp_path: Path, lots: LotsPolicy) -> None:
    """Lots carried, spread or closed: the same money, booked once."""
    world = World(make_settings(kind=GridType.LONG), 105).go(102)
    world.adjust(95, 101, 4, lots=lots)
    assert audit(world, tmp_path).differences == ()
    world.go(107, 99, 104)
    look = audit(world, tmp_path)
    assert look.differences == ()
    assert look.position == look.exchange_position == world.grid.position


def test_a_hands_trade_is_a_different_position(tmp_path: Path) -> None:
    """It is counted as somebody else's fill, and the position says by how much."""
    world = World(make_settings(max_position=5), 105).go(103)
    world.exchange.add_foreign(Side.BUY, 200, "hand-9")
    world.exchange.tell(FeedGap(reason="cut"))
    world.settle(patience_s=6)
    look = audit(world, tmp_path)
    (found,) = look.differences
    assert (found.kind, found.ledger, found.exchange) == (Kind.POSITION, "2", "3")
    assert [fill.client_order_id for fill in look.foreign] == ["hand-9"]


def test_what_was_trimmed_is_equal_again(tmp_path: Path) -> None:
    """The trim is ours, what it took off was not: lots and position are as before it."""
    world = World(make_settings(max_position=3), 105).go(102)
    world.exchange.add_foreign(Side.BUY, 200, "hand-9")
    world.exchange.tell(FeedGap(reason="cut"))
    world.settle(patience_s=6)
    look = audit(world, tmp_path)
    assert look.differences == ()
    assert look.position == look.exchange_position == 3
    assert len(look.foreign) == 1


def test_a_position_that_was_there_before_is_not_ours(tmp_path: Path) -> None:
    """It is the base of the comparison, not a difference."""
    world = World(make_settings(), 105, boot=False)
    world.exchange.add_foreign(Side.BUY, 200, "hand-1")
    world.boot()
    world.go(103, 106)
    look = audit(world, tmp_path)
    assert look.differences == ()
    assert look.position == look.exchange_position == world.grid.position + 1


def test_a_close_at_the_end_is_equal(tmp_path: Path) -> None:
    """Everything is closed and booked once, orders gone."""
    world = World(make_settings(kind=GridType.LONG), 105).go(102)
    world.stop(close_positions=True)
    look = audit(world, tmp_path)
    assert look.differences == ()
    assert look.position == look.exchange_position == 0


def test_a_position_that_a_hand_closed_before_the_end_is_equal(tmp_path: Path) -> None:
    """The lots were settled at the mark without a fill: base, lots and position agree again."""
    world = World(make_settings(kind=GridType.LONG), 105).go(102)
    held = world.exchange.position
    for number in range(int(held)):
        world.exchange.add_foreign(Side.SELL, 1, f"hand-{number}")
    assert world.exchange.position == 0
    world.stop(close_positions=True)
    look = audit(world, tmp_path)
    assert look.differences == ()
    assert (look.position, look.exchange_position) == (0, 0)


def test_what_one_side_does_not_tell_is_no_difference(tmp_path: Path) -> None:
    """A rate that was not to be had when a payment was booked, or is not now; the amount is."""
    world = World(make_settings(), 105).go(104)
    world.clock.advance(3600)
    paid = world.exchange.pay_funding("0.0001")
    world.settle()
    for change in ({"rate": None}, {"mark_price": None, "position": None}):
        world.exchange.payments[-1] = replace(paid, **change)
        assert audit(world, tmp_path).differences == ()
    world.exchange.payments[-1] = replace(paid, rate=D("0.0002"))
    assert [d.field for d in audit(world, tmp_path).differences] == ["rate"]


def test_an_id_that_was_given_out_again_spoils_no_audit(tmp_path: Path) -> None:
    """The fills of the order that had it a month before are not counted to the new one."""
    world = World(make_settings(), 105).go(104)
    (first,) = world.exchange.fills
    old = world.store.load_order(first.client_order_id)
    assert old is not None
    world.store.save_order(
        replace(
            old,
            status=OrderStatus.CANCELED,
            filled_qty=D(0),
            venue_order_id=None,
            created_at=first.time + timedelta(days=40),
            updated_at=first.time + timedelta(days=40),
        )
    )
    look = audit(world, tmp_path, do_ids_repeat=True)
    # The exchange of this test knows one order an id.
    assert {d.kind for d in look.differences} <= {Kind.ORDER}
    # Where ids never repeat, the clocks of ledger and exchange may be years apart, as in a replay.
    assert Kind.ORDER_FILLED in {d.kind for d in audit(world, tmp_path).differences}
    world.store.save_order(replace(old, filled_qty=D(0), status=OrderStatus.CANCELED))
    assert Kind.ORDER_FILLED in {d.kind for d in audit(world, tmp_path).differences}


def test_an_ended_order_that_the_history_lacks_is_named(tmp_path: Path) -> None:
    """Within what the history has whole, and only there; one that is there is compared."""
    world = World(make_settings(), 105).go(104)
    world.clock.advance(3600)
    store = world.store
    assert isinstance(store, Database)
    path = tmp_path / "copy.db"
    with closing(sqlite3.connect(path)) as copy:
        store.session.connection.backup(copy)
    with LedgerReader(path) as reader:
        ledger = LedgerSide(
            orders=reader.orders(),
            fills=reader.fills(),
            funding=reader.funding(),
            events=reader.events(),
            checkpoint=reader.checkpoint(),
        )
    exchange = world.exchange
    (filled,) = [o for o in ledger.orders if o.status is OrderStatus.FILLED]

    def found(history: dict[str, Order], since: float, until: float) -> list[tuple[Kind, str]]:
        side = ExchangeSide(
            open_orders=exchange.fetch_open_orders(SYMBOL),
            history=history,
            history_from=EPOCH + timedelta(seconds=since),
            history_to=EPOCH + timedelta(seconds=until),
            fills=exchange.fetch_fills(SYMBOL, None),
            fills_before=frozenset(fill.trade_id for fill in exchange.fills),
            funding=(),
            position=exchange.fetch_position(SYMBOL),
            mark=exchange.last,
        )
        look = compare(ledger, side, lambda client_id: client_id.startswith(OWN))
        return [(d.kind, d.subject) for d in look.differences]

    name = filled.client_order_id
    assert found({}, -60, 3000) == [(Kind.ORDER_ONLY_IN_LEDGER, name)]
    assert found({}, 60, 3000) == []  # made before what the history has whole
    assert found({}, -60, -1) == []  # ended after it
    assert found({name: filled}, -60, 3000) == []
    other = replace(filled, filled_qty=D("0.5"))
    assert found({name: other}, -60, 3000) == [(Kind.ORDER, name)]
