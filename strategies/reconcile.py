"""Desired orders against working ones: the difference, and nothing else, is sent. Pure.

Rules it keeps (GRID.md 1, 3, 4, 5, 7):
- an order that still fits its slot keeps its place in the queue;
- a slot is used again only when its last order has ended by the exchange's evidence;
- an opening order is placed only when it fits under the limit beside every order that could
  still fill; exits need no room;
- an order that would meet or cross one of our own waits, live, in flight or cancel unconfirmed;
  an exit whose level the price has passed may take instead, one tick inside the own other side;
- no two cells' orders share a price and side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from core.model import ZERO, Instrument, Order, Side, TimeInForce
from strategies.desired import is_passed
from strategies.grid_state import TRIM_SLOT, DesiredOrder, Leg
from strategies.risk import fits

_SHARING = frozenset({Leg.CARRIED, Leg.CLOSING})
"""Legs whose orders may share a price and side with another's (I2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What the limit needs to know: lots held by the side that opened them, and the limit."""

    held_long: Decimal
    held_short: Decimal
    max_position: Decimal | None

    def held(self, side: Side) -> Decimal:
        return self.held_long if side is Side.BUY else self.held_short


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to send now. `waiting`: some desired order has to wait for another to end."""

    cancel: tuple[Order, ...] = ()
    place: tuple[DesiredOrder, ...] = ()
    waiting: bool = False

    @property
    def is_empty(self) -> bool:
        return not (self.cancel or self.place)


def is_opening(leg_of_slot: str) -> bool:
    """Tell from a slot whether its order opens (an entry or the initial one)."""
    return ".e" in leg_of_slot or is_initial(leg_of_slot)


def is_initial(slot: str) -> bool:
    """Tell from a slot whether its order is the initial entry."""
    return slot.endswith(".i")


def is_carried(slot: str) -> bool:
    """Tell from a slot whether its order is of no cell, so that it may share a price (I2)."""
    return slot.startswith(("k", "c")) or slot == TRIM_SLOT


def keeps_place(order: Order, desired: DesiredOrder) -> bool:
    """Tell whether a working order does what is desired, so that it need not be replaced."""
    if order.side is not desired.side or order.price != desired.price:
        return False
    leaves = order.quantity - order.filled_qty
    if leaves == desired.quantity:
        return True
    return desired.keep_smaller and leaves < desired.quantity


def plan_orders(
    desired: Sequence[DesiredOrder],
    working: Mapping[str, Order],
    cancelling: frozenset[str],
    price: Decimal,
    instrument: Instrument,
    exposure: Exposure,
    blocked: frozenset[str] = frozenset(),
) -> Plan:
    """Compare desired orders with working ones (by slot) and give the requests that may go now.

    `working`: every order that is not terminal by evidence, in flight included. `cancelling`:
    client ids whose cancel is under way. `blocked`: slots that must not be placed now.
    """
    best_sell: Decimal | None = None
    best_buy: Decimal | None = None
    opening = {Side.BUY: ZERO, Side.SELL: ZERO}
    taken: dict[tuple[Side, Decimal], str] = {}
    for order in working.values():
        side, at = order.side, order.price
        if side is Side.SELL:
            if best_sell is None or at < best_sell:
                best_sell = at
        elif best_buy is None or at > best_buy:
            best_buy = at
        if is_opening(order.slot):
            opening[side] += order.quantity - order.filled_qty
        if not is_carried(order.slot):
            taken[side, at] = order.slot
    cancel: list[Order] = []
    place: list[DesiredOrder] = []
    waiting = False
    wanted_slots = set()
    for wish in desired:
        wanted_slots.add(wish.slot)
        rests = working.get(wish.slot)
        if rests is not None:
            if keeps_place(rests, wish):
                continue  # it rests where it is wanted, so it meets none of our own (I15)
            if wish.time_in_force is TimeInForce.IOC:
                waiting = True  # it is on its way, with the price of when it left
                continue
        other = best_buy if wish.side is Side.SELL else best_sell
        want = _inside(wish, other, price, instrument, taken, desired)
        if rests is not None:
            if not keeps_place(rests, want):
                waiting = True
                if rests.client_order_id not in cancelling:
                    cancel.append(rests)
            continue
        if want.slot in blocked:
            continue
        if other is not None and _crosses(want, other):
            waiting = True
            continue
        shares = want.leg in _SHARING
        if not shares and (want.side, want.price) in taken:
            waiting = True
            continue
        opens = want.leg in (Leg.ENTRY, Leg.INITIAL)
        if opens and not fits(
            want.quantity, exposure.held(want.side), opening[want.side], exposure.max_position
        ):
            waiting = True
            continue
        place.append(want)
        if not shares:
            taken[want.side, want.price] = want.slot
        if opens:
            opening[want.side] += want.quantity
        if want.side is Side.SELL:
            best_sell = want.price if best_sell is None else min(best_sell, want.price)
        else:
            best_buy = want.price if best_buy is None else max(best_buy, want.price)
    cancel.extend(
        order
        for slot, order in working.items()
        if slot not in wanted_slots and order.client_order_id not in cancelling
    )
    return Plan(cancel=tuple(cancel), place=tuple(place), waiting=waiting)


def _inside(
    want: DesiredOrder,
    other: Decimal | None,
    price: Decimal,
    instrument: Instrument,
    taken: Mapping[tuple[Side, Decimal], str],
    desired: Sequence[DesiredOrder],
) -> DesiredOrder:
    """Move an exit that the price has passed one tick inside our own other side, if nearer.

    Where another cell has an order (`taken`, by slot) or its level, it is the next tick (I2).
    """
    opens = want.leg in (Leg.ENTRY, Leg.INITIAL)
    if other is None or opens or not is_passed(want.side, want.price, price):
        return want
    if not _crosses(want, other):
        return want
    step = -want.side.sign * instrument.tick_size
    at = other + step
    if want.leg not in _SHARING:
        levels = {
            d.price
            for d in desired
            if d.side is want.side and d.slot != want.slot and d.leg not in _SHARING
        }
        while at in levels or taken.get((want.side, at), want.slot) != want.slot:
            at += step
    return replace(want, price=at)


def _crosses(want: DesiredOrder, other: Decimal) -> bool:
    return want.price <= other if want.side is Side.SELL else want.price >= other


def match_survivors(
    desired: Sequence[DesiredOrder], working: Iterable[Order]
) -> tuple[dict[str, str], tuple[Order, ...]]:
    """Pair working orders with the desired ones of another grid by side, price, quantity and role.

    Gives the new slot by client order id, and the orders that find no place (GRID.md 7).
    """
    free: dict[tuple[Side, Decimal, bool], list[DesiredOrder]] = {}
    for want in desired:
        if want.time_in_force is TimeInForce.IOC:
            continue  # a resting order is none of those that take
        opens = want.leg in (Leg.ENTRY, Leg.INITIAL)
        free.setdefault((want.side, want.price, opens), []).append(want)
    slots: dict[str, str] = {}
    lost: list[Order] = []
    for order in working:
        places = free.get((order.side, order.price, is_opening(order.slot)), [])
        fit = next((want for want in places if keeps_place(order, want)), None)
        if fit is None:
            lost.append(order)
        else:
            places.remove(fit)
            slots[order.client_order_id] = fit.slot
    return slots, tuple(lost)
