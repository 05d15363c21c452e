"""`MemoryStore`: a ledger that forgets with its process, the `Store` of core/ports.py for replays.

The same answers as `Database(":memory:")`, whose contract tests it passes, without turning values
into rows and back: a replay writes thousands. Values are frozen and kept as they are; journal
payloads and checkpoints are the writer's own, which it must not change afterwards.

A transaction keeps what undoes each of its writes. As in the database, a failed statement, or an
exception that leaves a nested block, undoes all of it at once, and everything is refused until the
outermost block is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from types import TracebackType
from typing import Any, NoReturn

from core.errors import StoreError
from core.model import EquitySample, Fill, FundingPayment, Order

_NAME = ":memory:"


class MemoryStore:
    """One ledger in lists and dictionaries. Errors of every method: StoreError."""

    def __init__(self) -> None:
        self._meta: dict[str, str] = {}
        self._next_number = 1
        self._orders: dict[str, Order] = {}
        self._born: dict[str, int] = {}  # the place in which an order was first saved
        self._live: dict[str, Order] = {}
        self._slots: dict[str, str] = {}  # of live orders: who holds it
        self._fills: list[Fill] = []
        self._trades: set[tuple[str, str]] = set()
        self._last_fill: datetime | None = None
        self._funding: dict[tuple[str, datetime], FundingPayment] = {}
        self._events: list[tuple[int, str, dict[str, Any], datetime]] = []
        self._checkpoint: tuple[int, dict[str, Any]] | None = None
        self._equity: list[EquitySample] = []
        self._block = _Block(self)
        self._depth = 0
        self._broken = ""
        self._undo: list[Callable[[], object]] = []
        self._closed = False

    def transaction(self, *, lazy: bool = False) -> AbstractContextManager[None]:
        """Keep all at the end, undo all on any exception; a nested one joins the outer."""
        del lazy  # there is no disk
        return self._block

    # Small facts ----------------------------------------------------------------------------

    def load_meta(self, key: str) -> str | None:
        self._check("read meta")
        return self._meta.get(key)

    def save_meta(self, key: str, value: str) -> None:
        self._check("save meta")
        self._put(self._meta, key, value)

    def reserve_order_numbers(self, count: int, *, lazy: bool = False) -> int:
        """Take `count` numbers, from 1; even an undone transaction gives none back."""
        del lazy  # there is no disk
        if count < 1:
            raise ValueError(f"count was {count}, expected 1 or more")
        self._check("reserve order numbers")
        first = self._next_number
        self._next_number += count
        return first

    # Orders ---------------------------------------------------------------------------------

    def save_order(self, order: Order) -> None:
        """Insert or update by client order id; a live order's slot is its own (I2)."""
        self._check("save an order")
        client_id, slot = order.client_order_id, order.slot
        live = not order.status.is_terminal
        if live and slot and self._slots.get(slot, client_id) != client_id:
            self._fail(
                "save an order: UNIQUE constraint failed, which is a bug of ours "
                f"[order {client_id!r}, slot {slot!r}, {order.status.value}]"
            )
        before = self._live.get(client_id)
        if before is not None and before.slot and (before.slot != slot or not live):
            self._take(self._slots, before.slot)
        self._put(self._orders, client_id, order)
        if client_id not in self._born:
            self._born[client_id] = len(self._born)  # harmless if it is undone
        if live:
            self._put(self._live, client_id, order)
            if slot:
                self._put(self._slots, slot, client_id)
        elif before is not None:
            self._take(self._live, client_id)

    def load_order(self, client_order_id: str) -> Order | None:
        self._check("read an order")
        return self._orders.get(client_order_id)

    def live_orders(self) -> tuple[Order, ...]:
        """All orders that are not terminal, oldest first."""
        self._check("read the live orders")
        born = self._born
        return tuple(
            sorted(self._live.values(), key=lambda o: (o.created_at, born[o.client_order_id]))
        )

    # Fills and funding ----------------------------------------------------------------------

    def insert_fill(self, fill: Fill, slot: str) -> bool:  # noqa: ARG002 - kept in the journal too
        """Append a fill; False, with nothing written, when its (symbol, trade id) is known."""
        self._check("append a fill")
        key = (fill.symbol, fill.trade_id)
        if key in self._trades:
            return False
        last = self._last_fill
        self._trades.add(key)
        self._fills.append(fill)
        if last is None or fill.time > last:
            self._last_fill = fill.time
        if self._depth:
            self._undo.append(lambda: self._take_back_fill(key, last))
        return True

    def load_fills(self, limit: int) -> tuple[Fill, ...]:
        """The newest fills by order of arrival, oldest first."""
        self._check("read fills")
        return tuple(self._fills[-limit:]) if limit > 0 else ()

    def fill_count(self) -> int:
        self._check("count the fills")
        return len(self._fills)

    def last_fill_time(self) -> datetime | None:
        """The latest time of any fill; None: there is none."""
        self._check("read the last fill's time")
        return self._last_fill

    def insert_funding(self, payment: FundingPayment) -> bool:
        """Append a payment; False when its (symbol, time) is known."""
        self._check("append a funding payment")
        key = (payment.symbol, payment.time)
        if key in self._funding:
            return False
        self._put(self._funding, key, payment)
        return True

    def last_funding_time(self) -> datetime | None:
        self._check("read the last funding's time")
        return max((payment.time for payment in self._funding.values()), default=None)

    # The journal ----------------------------------------------------------------------------

    def append_event(self, kind: str, payload: Mapping[str, Any], time: datetime) -> int:
        """Append to the journal; returns its sequence number, from 1, without gaps."""
        self._check("append to the journal")
        seq = len(self._events) + 1
        self._events.append((seq, kind, dict(payload), time))
        if self._depth:
            self._undo.append(self._events.pop)
        return seq

    def events_after(self, seq: int) -> Iterator[tuple[int, str, dict[str, Any], datetime]]:
        """Journal entries with a greater sequence number, in order, as far as it goes now."""
        self._check("read the journal")
        yield from self._events[max(seq, 0) :]

    def save_checkpoint(self, seq: int, payload: Mapping[str, Any]) -> None:
        """Keep the folded state as of journal entry `seq`; replaces the one before."""
        self._check("save the checkpoint")
        before = self._checkpoint
        self._checkpoint = (seq, dict(payload))
        if self._depth:
            self._undo.append(lambda: self._take_back_checkpoint(before))

    def load_checkpoint(self) -> tuple[int, dict[str, Any]] | None:
        self._check("read the checkpoint")
        return self._checkpoint

    # Equity and upkeep ----------------------------------------------------------------------

    def insert_equity(self, sample: EquitySample) -> None:
        self._check("save an equity sample")
        self._equity.append(sample)
        if self._depth:
            self._undo.append(self._equity.pop)

    def close(self) -> None:
        """Forget everything; it may be called again."""
        self._closed = True

    # Helpers --------------------------------------------------------------------------------

    def _put(self, table: dict[Any, Any], key: object, value: object) -> None:
        if self._depth:
            if key in table:
                before = table[key]
                self._undo.append(lambda: table.__setitem__(key, before))
            else:
                self._undo.append(lambda: table.pop(key))
        table[key] = value

    def _take(self, table: dict[Any, Any], key: object) -> None:
        before = table.pop(key)
        if self._depth:
            self._undo.append(lambda: table.__setitem__(key, before))

    def _take_back_fill(self, key: tuple[str, str], last: datetime | None) -> None:
        self._trades.discard(key)
        self._fills.pop()
        self._last_fill = last

    def _take_back_checkpoint(self, before: tuple[int, dict[str, Any]] | None) -> None:
        self._checkpoint = before

    def _check(self, doing: str) -> None:
        if self._broken:
            raise StoreError(
                f"{_NAME}: could not {doing}: the transaction has already failed ({self._broken})"
            )
        if self._closed:
            self._fail(f"could not {doing}: Cannot operate on a closed database.")

    def _fail(self, message: str) -> NoReturn:
        if self._depth:
            self._broken = message
            self._roll_back()
        raise StoreError(f"{_NAME}: {message}")

    def _enter(self) -> None:
        self._check("begin a transaction")
        self._depth += 1

    def _leave(self, error: BaseException | None) -> None:
        self._depth -= 1
        if error is not None and not self._broken:
            self._broken = f"{type(error).__name__}: {error}"
            self._roll_back()
        if self._depth:
            return
        self._undo.clear()
        cause, self._broken = self._broken, ""
        if cause and error is None:
            raise StoreError(f"{_NAME}: a part of it failed, so nothing was written ({cause})")

    def _roll_back(self) -> None:
        while self._undo:
            self._undo.pop()()


class _Block:
    """The one context manager of a store; the store counts the depth."""

    __slots__ = ("_store",)

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def __enter__(self) -> None:
        self._store._enter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._store._leave(error)
