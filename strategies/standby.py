"""Ids kept ready for the orders that may be wanted next, so that those need not wait for the disk.

The order that answers a fill is known before the fill: the other leg of the same cell. Its client
order id is written down with its slot ahead of time, and is used only once that is on the disk. A
power cut may then take an order's row, never the knowledge whose order it was: `former` tells it
to the next run (docs/decisions/008). Engine thread only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from core.model import Order, Side
from core.ports import IdReserve, Store
from strategies.order_ids import ClientIds, first_ids

NEAREST = 8
"""Resting orders of each side whose answers are kept ready: more than a jump of the price fills
before the next plan, and few enough to be written in one go."""


@dataclass(slots=True)
class Standby:
    """Ids by slot that are kept ready; and those of former runs, by id."""

    store: Store
    ids: ClientIds
    reserve: IdReserve
    former: dict[str, str] = field(default_factory=dict)
    _ready: dict[str, tuple[str, int]] = field(default_factory=dict)  # slot: id and its mark
    _is_over: bool = False  # the exchange's ids have begun again
    _outlived: list[str] = field(default_factory=list)  # still kept in the ledger, and for nothing

    def load(self) -> None:
        """Take over what former runs have kept: none of it is used again, for it may have been."""
        kept = self.reserve.load()
        self._ready.clear()
        self._outlived = list(kept)
        self.former.update(kept)

    def take(self, slots: Sequence[str]) -> list[str] | None:
        """Give an id for each slot that is on the disk; None, and none is taken, if one is not."""
        kept = [self._ready.get(slot) for slot in slots]
        found = [one[0] for one in kept if one is not None and self.reserve.is_synced(one[1])]
        if len(found) < len(slots):
            return None
        for slot in slots:
            del self._ready[slot]
        self._outlived += found  # the orders' own rows tell more, and come to the disk before
        return found

    def holds(self, client_order_id: str) -> bool:
        """Tell whether an id is kept, by this run or by a former one, and so is not free."""
        if client_order_id in self.former or client_order_id in self._outlived:
            return True
        return any(client_order_id == one[0] for one in self._ready.values())

    def fill_up(self, slots: Sequence[str]) -> None:
        """Keep an id ready for each of these slots, and for few others. Errors: StoreError.

        Call it when orders and fills are complete: what former runs have left is then settled.
        Where an exchange's ids begin again, none is kept any more: a row of an earlier order under
        such an id could be taken for the lost one.
        """
        missing = [slot for slot in slots if slot not in self._ready]
        if not missing or self._is_over:
            return
        gone = [] if len(self._ready) <= 4 * NEAREST else [s for s in self._ready if s not in slots]
        with self.store.transaction(lazy=True):
            names = first_ids(self.store, self.ids, len(missing))
            if names is None:
                self._is_over = True
                return
            kept = dict(zip(names, missing, strict=True))
            self.reserve.keep(kept)
            self.reserve.drop([*self._outlived, *(self._ready[slot][0] for slot in gone)])
        self._outlived.clear()
        for slot in gone:
            del self._ready[slot]
        mark = self.reserve.sync_soon()
        self._ready.update({slot: (client_id, mark) for client_id, slot in kept.items()})


def answers(working: Iterable[Order], price: Decimal, nearest: int = NEAREST) -> list[str]:
    """Name the slots that fills of the nearest resting cell orders would have orders placed in."""
    found = []
    for side in Side:
        orders = [o for o in working if o.side is side and (".e" in o.slot or ".x" in o.slot)]
        orders.sort(key=lambda order: abs(order.price - price))
        found += [_other_leg(order.slot) for order in orders[:nearest]]
    return found


def _other_leg(slot: str) -> str:
    return slot.replace(".e", ".x") if ".e" in slot else slot.replace(".x", ".e")
