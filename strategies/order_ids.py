"""Client order ids for new orders: each names one order, also where the numbers begin again.

Backpack's ids hold 20 bits of the ledger's counter, so the 1,048,577th order would have the id of
the first. An id is given out again only when no order of it can still be meant: none in the ledger,
or one that ended `REUSE_AFTER` ago. Engine thread only.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from core.errors import StoreError
from core.model import Order
from core.ports import Store

REUSE_AFTER = timedelta(days=30)
"""Longer than any order of ours is asked about, and as long as ended orders without fills are kept;
35,000 orders a day, of which a grid has none, would use all ids up in that time."""

MAX_SKIPPED = 100_000
"""Ids looked at for one batch of orders, some seconds' worth: then nothing is placed for now."""


class ClientIds(Protocol):
    """How client order ids are made and recognised.

    `capacity`: after so many numbers the ids begin again; None: they never do.
    """

    @property
    def capacity(self) -> int | None: ...

    def make(self, number: int) -> str: ...

    def owns(self, client_order_id: str) -> bool: ...


def new_ids(
    store: Store,
    ids: ClientIds,
    count: int,
    now: datetime,
    is_kept: Callable[[str], bool] = lambda _: False,
) -> list[str]:
    """Take ids that are free, inside the caller's transaction. Errors: StoreError.

    `is_kept` tells of an id that waits for its order, and so has no row.
    """
    found: list[str] = []
    skipped = 0
    while len(found) < count:
        wanted = count - len(found)
        first = store.reserve_order_numbers(wanted)
        for number in range(first, first + wanted):
            client_id = ids.make(number)
            is_first = ids.capacity is None or number < ids.capacity
            if is_first or (_is_free(store.load_order(client_id), now) and not is_kept(client_id)):
                found.append(client_id)
            else:
                skipped += 1
        if skipped > MAX_SKIPPED:
            raise StoreError(
                f"no free client order id among {skipped}: this instance has used up its "
                f"{ids.capacity} within {REUSE_AFTER.days} days; go on with another instance_id"
            )
    return found


def first_ids(store: Store, ids: ClientIds, count: int) -> list[str] | None:
    """Take ids that no order ever had, inside the caller's lazy transaction; None: there are none.

    Errors: StoreError.
    """
    first = store.reserve_order_numbers(count, lazy=True)
    if ids.capacity is not None and first + count > ids.capacity:
        return None
    return [ids.make(number) for number in range(first, first + count)]


def is_of_before(order: Order, time: datetime, *, do_repeat: bool) -> bool:
    """Tell whether something of that time is of an order that had this order's id before.

    Only where ids `do_repeat`: a paper exchange may live years before our clock, in the time of
    its candles. Half of `REUSE_AFTER` lies beyond what any clock is wrong by.
    """
    return do_repeat and time < order.created_at - REUSE_AFTER / 2


def _is_free(known: Order | None, now: datetime) -> bool:
    if known is None:
        return True
    return known.status.is_terminal and known.updated_at < now - REUSE_AFTER
