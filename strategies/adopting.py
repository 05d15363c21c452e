"""Orders of ours that the ledger does not know: their rows were lost in a power cut, not their ids.

An order under an id that was kept ready may leave before its row is on the disk. When the machine
loses its power in that moment, the next run finds the order by its id, among the open ones or by
its fills, and takes it over for the slot that the id was kept for (docs/decisions/008). Only ids
that a former run has kept are taken so; any other order that looks like ours is a stray (`sync`).
Engine thread only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from core.errors import Retryable
from core.model import ZERO, Order, OrderStatus
from strategies.grid_state import Leg, parse_slot
from strategies.session import Session


def is_lost(session: Session, client_order_id: str) -> bool:
    """Tell whether an order that the ledger does not know may be one of a former run's."""
    standby = session.desk.standby
    return standby is not None and client_order_id in standby.former


def adopt_lost(
    session: Session, open_now: Mapping[str, Order], backfill: Callable[[], None]
) -> None:
    """Take over the orders of a lost tail, oldest first, each with its fills (by `backfill`).

    Call it with the open orders, after the fills of what is known. Errors: ExchangeError,
    StoreError; what was taken over before stays right.
    """
    desk = session.desk
    if desk.standby is None:
        return
    former = desk.standby.former
    session.lost |= {name for name in open_now if name in former and desk.knows(name) is None}
    found = []
    for name in sorted(session.lost):
        seen = open_now.get(name) or session.client.fetch_order(session.settings.symbol, name)
        if seen is None:
            _forget(session, name)
        else:
            found.append(seen)
    for seen in sorted(found, key=lambda order: order.created_at):
        name = seen.client_order_id
        holder = desk.working.get(former[name])
        if holder is not None and holder.client_order_id not in open_now:
            # It was there before and has ended, or the two could not be: its end is not here yet.
            raise Retryable(f"{holder.client_order_id} is looked up, {name} comes after it", 1.0)
        is_ours = holder is None and _fits(session, seen, former[name])
        if is_ours:
            _adopt(session, seen, former[name])
        _forget(session, name)
        if is_ours:
            backfill()


def _forget(session: Session, name: str) -> None:
    """Each is judged once: what cannot be ours is not asked for again, it is a stray."""
    assert session.desk.standby is not None
    session.lost.discard(name)
    del session.desk.standby.former[name]


def _adopt(session: Session, seen: Order, slot: str) -> None:
    """Give an order the row that was lost."""
    desk, name = session.desk, seen.client_order_id
    session.log("order_adopted", client_order_id=name, slot=slot, status=seen.status.value)
    session.alert(
        f"{name} ({seen.side.value} {seen.quantity} at {seen.price}) is known again: its row was "
        "lost in a power cut"
    )
    desk.adopt(replace(seen, slot=slot, filled_qty=ZERO, status=OrderStatus.PENDING, reason=""))
    desk.report(seen)
    session.dirty = True


def _fits(session: Session, seen: Order, slot: str) -> bool:
    """Tell whether an order is of the side that its slot has in the present grid."""
    grid = session.book.grid
    place = None if grid is None else parse_slot(slot, grid.version)
    if grid is None or place is None or place[1] >= len(grid.cells):
        return False
    side = grid.cells[place[1]].side
    return seen.side is (side if place[0] is Leg.ENTRY else side.opposite)
