"""The order desk: sends plans to the exchange and knows what works there.

Rules it keeps: an order is in the database before it leaves, and its client order id is on the
disk (I8); it ends only by the exchange's evidence (I7), and not before every fill that the exchange
reports for it is in the ledger; a request of unknown outcome is looked up by client order id and
never sent again blind. Used by the engine thread alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Protocol

from core.errors import (
    AuthError,
    ExchangeError,
    NotYet,
    OutcomeUnknown,
    Rejected,
    RejectReason,
    Retryable,
    Unavailable,
)
from core.model import Fill, Order, OrderStatus, Side, TimeInForce
from core.orders import apply_fill, apply_report, is_missing_fills
from core.ports import Clock, ExchangeClient, Store
from strategies.desired import Resting
from strategies.grid_state import DesiredOrder
from strategies.order_forms import pending_order, request_of
from strategies.order_ids import ClientIds, is_of_before, new_ids
from strategies.reconcile import Plan, is_initial
from strategies.standby import Standby

LOOK_UP_S = 1.0
"""Seconds between look-ups of one order whose outcome is unknown."""

ARRIVED_BY = timedelta(minutes=1)
"""By then a request has arrived or never will, where another order shows under its id."""

MARGIN_PAUSE_S = 30.0
"""Seconds without new entries after the exchange found too little margin or took no orders."""

POST_ONLY_PAUSE_S = 0.25
"""Seconds before a slot whose order would have taken is tried again, by the same test."""


class DeskLog(Protocol):
    def __call__(self, event: str, **fields: object) -> None: ...


@dataclass(slots=True)
class OrderDesk:
    """Working orders by slot, and the requests under way."""

    client: ExchangeClient
    store: Store
    clock: Clock
    symbol: str
    ids: ClientIds
    log: DeskLog
    alert: Callable[[str], None]
    standby: Standby | None = None  # None: every order waits for the disk
    working: dict[str, Order] = field(default_factory=dict)
    by_id: dict[str, Order] = field(default_factory=dict)
    cancelling: set[str] = field(default_factory=set)
    look_up_at: dict[str, float] = field(default_factory=dict)
    told_filled: dict[str, Decimal] = field(default_factory=dict)
    blocked_until: dict[str, float] = field(default_factory=dict)
    hold_until: float = 0.0
    entries_hold_until: float = 0.0
    wants_backfill: bool = False
    wants_position: bool = False
    initial_ended: bool = False
    rejections: int = 0
    market_refusal: str = ""  # that the book takes no such orders; who reads it empties it

    # What works ---------------------------------------------------------------------------------

    def load(self) -> None:
        """Take over from the database what may still work on the exchange."""
        self.working.clear()
        self.by_id.clear()
        self.cancelling.clear()
        self.look_up_at.clear()
        self.told_filled.clear()
        if self.standby is not None:
            self.standby.load()
        for order in self.store.live_orders():
            self._keep(order)

    @property
    def is_settled(self) -> bool:
        """Whether no request is under way and nothing waits for a look-up."""
        return not self.cancelling and not any(
            order.status is OrderStatus.PENDING for order in self.working.values()
        )

    def resting(self) -> Resting:
        """Name side and price of every working order."""
        return frozenset((order.side, order.price) for order in self.working.values())

    def blocked(self, now: float) -> frozenset[str]:
        """Name the slots that must not be placed now; what has expired is forgotten."""
        if self.entries_hold_until <= now:
            self.entries_hold_until = 0.0
        for slot in [slot for slot, until in self.blocked_until.items() if until <= now]:
            del self.blocked_until[slot]
        return frozenset(self.blocked_until)

    def has_expired_block(self, now: float) -> bool:
        """Tell whether a slot, or all entries, may go again that could not at the last plan."""
        if 0 < self.entries_hold_until <= now:
            return True
        return any(until <= now for until in self.blocked_until.values())

    def next_timer(self) -> float | None:
        """When something here wants to be looked at again, by the monotonic clock."""
        times = list(self.look_up_at.values())
        now = self.clock.monotonic()
        times += [t for t in (*self.blocked_until.values(), self.hold_until) if t > now]
        if self.entries_hold_until > now:
            times.append(self.entries_hold_until)
        finite = [t for t in times if t != float("inf")]
        return min(finite) if finite else None

    def reslot(self, slots: Mapping[str, str]) -> None:
        """Give surviving orders their slots in the new grid; inside the caller's transaction."""
        for client_id, slot in slots.items():
            order = self.by_id[client_id]
            if order.slot != slot:
                # Through a name no grid uses, so that two orders can swap slots under the
                # database's rule of one live order a slot.
                self.store.save_order(replace(order, slot=f"moving.{client_id}"))
        for client_id, slot in slots.items():
            order = self.by_id[client_id]
            if order.slot != slot:
                self.store.save_order(replace(order, slot=slot))

    def resloted(self, slots: Mapping[str, str]) -> None:
        """Take the new slots over once the transaction is committed."""
        orders = [
            replace(order, slot=slots.get(client_id, order.slot))
            for client_id, order in self.by_id.items()
        ]
        self.working.clear()
        self.by_id.clear()
        for order in orders:
            self._keep(order)
        self.blocked_until.clear()

    # Sending ------------------------------------------------------------------------------------

    def cancel(self, orders: Sequence[Order]) -> list[ExchangeError]:
        """Ask for these orders to end; gives what went wrong. Errors: AuthError, StoreError."""
        if not orders:
            return []
        self.cancelling.update(order.client_order_id for order in orders)
        faults: list[ExchangeError] = []
        for order, outcome in zip(orders, self._cancel_outcomes(orders), strict=True):
            if isinstance(outcome, Order):
                self.report(outcome)
                continue
            if isinstance(outcome, Rejected) and outcome.reason is RejectReason.NOT_FOUND:
                self._look_up_soon(order.client_order_id, 0.0)  # a question, not an answer (I7)
                continue
            faults.append(outcome)
            self.log("cancel_failed", client_order_id=order.client_order_id, error=str(outcome))
            match outcome:
                case AuthError():
                    raise outcome
                case Retryable(retry_after_s=delay):
                    self.cancelling.discard(order.client_order_id)
                    self._hold(delay)
                case OutcomeUnknown():
                    self._look_up_soon(order.client_order_id, LOOK_UP_S)
                case _:
                    self.cancelling.discard(order.client_order_id)
                    self._look_up_soon(order.client_order_id, LOOK_UP_S)
                    self._hold(LOOK_UP_S)
        return faults

    def _cancel_outcomes(self, orders: Sequence[Order]) -> Sequence[Order | ExchangeError]:
        try:
            return self.client.cancel_orders(orders)
        except ExchangeError as error:
            return [error] * len(orders)

    def place(self, wanted: Sequence[DesiredOrder]) -> None:
        """Write the orders down, send them, take the answers. Errors: AuthError, StoreError."""
        if not wanted:
            return
        now = self.clock.now()
        standby = self.standby
        kept = None if standby is None else standby.take([want.slot for want in wanted])
        with self.store.transaction(lazy=kept is not None):
            names = kept
            if names is None:
                is_kept = (lambda _: False) if standby is None else standby.holds
                names = new_ids(self.store, self.ids, len(wanted), now, is_kept)
            orders = [
                pending_order(want, name, self.symbol, now)
                for name, want in zip(names, wanted, strict=True)
            ]
            for order in orders:
                self.store.save_order(order)
        for order in orders:
            self._keep(order)
        requests = [request_of(order) for order in orders]
        try:
            outcomes: Sequence[Order | ExchangeError] = self.client.place_orders(requests)
        except ExchangeError as error:
            outcomes = [error] * len(orders)
        with self.store.transaction(lazy=True):  # an answer that is lost is looked up
            for order, outcome in zip(orders, outcomes, strict=True):
                if isinstance(outcome, Order):
                    self.report(outcome)
                else:
                    self._not_placed(order, outcome)
        if kept is not None and standby is not None:
            standby.reserve.sync_soon()  # not before: its thread would get in the request's way

    def _not_placed(self, order: Order, error: ExchangeError) -> None:
        """Carry out the rule of each kind of refusal (GRID.md 4)."""
        now = self.clock.monotonic()
        fields = {"client_order_id": order.client_order_id, "slot": order.slot}
        match error:
            case OutcomeUnknown():
                self.log("order_outcome_unknown", error=str(error), **fields)
                self._look_up_soon(order.client_order_id, LOOK_UP_S)
                return
            case Rejected(reason=RejectReason.DUPLICATE_ID):
                self._look_up_soon(order.client_order_id, 0.0)
                return
            case Retryable(retry_after_s=delay):
                if isinstance(error, Unavailable):
                    self.market_refusal = str(error)
                self._hold(delay)
            case Rejected(reason=RejectReason.MARKET):
                self.market_refusal = str(error)
                self.blocked_until[order.slot] = now + MARGIN_PAUSE_S
            case Rejected(reason=RejectReason.POST_ONLY):
                self.blocked_until[order.slot] = now + POST_ONLY_PAUSE_S
            case Rejected(reason=RejectReason.PRECISION | RejectReason.NOTIONAL):
                self.blocked_until[order.slot] = float("inf")
                self.alert(f"the exchange refused {_words(order)} for good: {error}")
            case Rejected(reason=RejectReason.MARGIN):
                self.entries_hold_until = now + MARGIN_PAUSE_S
                self.blocked_until[order.slot] = now + MARGIN_PAUSE_S
                self.alert(f"not enough margin for {_words(order)}; entries wait: {error}")
            case Rejected(reason=RejectReason.REDUCE_ONLY):
                self.wants_position = True
                self.blocked_until[order.slot] = now + LOOK_UP_S
            case _:
                self.blocked_until[order.slot] = now + MARGIN_PAUSE_S
                self.alert(f"the exchange refused {_words(order)}: {error}")
        self.initial_ended |= isinstance(error, Rejected) and is_initial(order.slot)
        self.rejections += 1
        self.log("order_not_placed", error=str(error), kind=type(error).__name__, **fields)
        ended = replace(
            order,
            status=OrderStatus.REJECTED,
            reason=str(error)[:200],
            updated_at=self.clock.now(),
        )
        self.store.save_order(ended)
        self._drop(ended)
        if isinstance(error, AuthError):
            raise error

    # Evidence -----------------------------------------------------------------------------------

    def report(self, seen: Order) -> None:
        """Take the exchange's word on one of our orders; others are ignored.

        An order that has ended with more filled than the ledger knows is kept until those fills
        are here: `wants_backfill` asks for them.
        """
        mine = self.by_id.get(seen.client_order_id)
        if mine is None:
            return
        if is_missing_fills(mine, seen):
            self.wants_backfill = True
            self.told_filled[mine.client_order_id] = seen.filled_qty
            if seen.status.is_terminal:
                self._look_up_soon(mine.client_order_id, LOOK_UP_S)
        after = apply_report(mine, seen, self.clock.now())
        if after is not mine:
            with self.store.transaction(lazy=True):
                self.store.save_order(after)
            self.settle(after)

    @property
    def lacks_fills(self) -> bool:
        """Whether the exchange reports more filled of an order than the ledger has fills for."""
        return any(
            self.by_id[client_id].filled_qty < quantity
            for client_id, quantity in self.told_filled.items()
        )

    def filled(self, fill: Fill) -> Order | None:
        """Say what the order looks like after a new fill; None for a fill that is not of ours.

        Nothing is changed here: the caller saves the result with the fill, then calls `settle`.
        """
        order = self.knows(fill.client_order_id)
        return None if order is None else apply_fill(order, fill)

    def knows(self, client_order_id: str) -> Order | None:
        """Give an order of ours as the ledger has it, ended ones too."""
        return self.by_id.get(client_order_id) or self.store.load_order(client_order_id)

    def adopt(self, order: Order) -> None:
        """Write down an order that has left already, and count it as under way."""
        self.store.save_order(order)
        self._keep(order)

    def settle(self, order: Order) -> None:
        """Take over an order changed by a fill, once that is committed."""
        if order.status.is_terminal:
            self.initial_ended |= is_initial(order.slot)
            if order.time_in_force is TimeInForce.IOC and order.status is not OrderStatus.FILLED:
                self.blocked_until[order.slot] = self.clock.monotonic() + LOOK_UP_S
            self._drop(order)
        else:
            self._keep(order)

    def look_up_due(self) -> None:
        """Ask the exchange about orders whose fate is in doubt. Errors: AuthError, StoreError."""
        now = self.clock.monotonic()
        for client_id in [cid for cid, at in self.look_up_at.items() if at <= now]:
            if self.look_up_at[client_id] > now:
                continue  # the exchange wants to be left alone
            order = self.by_id.get(client_id)
            if order is None:
                del self.look_up_at[client_id]
                continue
            self.look_up_at[client_id] = now + LOOK_UP_S
            self.look_up(order)

    def look_up(self, order: Order) -> None:
        """Ask about one order and take the answer; an error leaves everything as it is."""
        client_id = order.client_order_id
        try:
            seen = self.client.fetch_order(self.symbol, client_id)
        except AuthError:
            raise
        except ExchangeError as error:
            self.log("look_up_failed", client_order_id=client_id, error=str(error))
            self._look_up_later(client_id, error)
            return
        do_repeat = self.ids.capacity is not None
        if seen is not None and is_of_before(order, seen.created_at, do_repeat=do_repeat):
            if self.clock.now() - order.created_at < ARRIVED_BY:
                self._look_up_soon(client_id, LOOK_UP_S)
                return
            seen = None
        if seen is None:
            if order.status is not OrderStatus.PENDING:
                self.alert(f"the exchange no longer knows {_words(order)}; counted as canceled")
            status = (
                OrderStatus.REJECTED
                if order.status is OrderStatus.PENDING
                else OrderStatus.CANCELED
            )
            ended = replace(
                order, status=status, reason="never arrived", updated_at=self.clock.now()
            )
            self.store.save_order(ended)
            self._drop(ended)
            return
        if not seen.status.is_terminal:
            self.look_up_at.pop(client_id, None)
            self.cancelling.discard(client_id)  # it rests: if it is unwanted, it is asked again
        self.report(seen)

    # Helpers ------------------------------------------------------------------------------------

    def send(self, plan: Plan) -> None:
        """Carry a plan out: cancels first, so that they make room."""
        self.cancel(plan.cancel)
        self.place(plan.place)

    def exposure_of(self, side: Side) -> Decimal:
        """Sum what working orders of one side may still fill."""
        return sum(
            (o.quantity - o.filled_qty for o in self.working.values() if o.side is side), Decimal(0)
        )

    def _keep(self, order: Order) -> None:
        self.working[order.slot or order.client_order_id] = order
        self.by_id[order.client_order_id] = order

    def _drop(self, order: Order) -> None:
        client_id = order.client_order_id
        known = self.by_id.pop(client_id, None)
        if known is not None:
            self.working.pop(known.slot or client_id, None)
        self.cancelling.discard(client_id)
        self.look_up_at.pop(client_id, None)
        self.told_filled.pop(client_id, None)

    def _look_up_soon(self, client_id: str, delay_s: float) -> None:
        self.look_up_at[client_id] = self.clock.monotonic() + delay_s

    def _look_up_later(self, client_id: str, error: ExchangeError) -> None:
        """Ask again when the exchange wants to be asked; what it holds back is held for all."""
        delay = error.retry_after_s if isinstance(error, Retryable) else 0.0
        self._look_up_soon(client_id, max(LOOK_UP_S, delay))
        if isinstance(error, Retryable) and not isinstance(error, NotYet):
            until = self.clock.monotonic() + delay
            for other, at in self.look_up_at.items():
                self.look_up_at[other] = max(at, until)

    def _hold(self, delay_s: float) -> None:
        self.hold_until = max(self.hold_until, self.clock.monotonic() + delay_s)


def _words(order: Order) -> str:
    return f"{order.side.value} {order.quantity} at {order.price}"
