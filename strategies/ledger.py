"""The ledger: the book in memory and its journal in the database, always in step.

Every change is written in the transaction of what caused it and taken over in memory only after
the commit, so that a failed write changes nothing. Engine thread only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from core.model import Fill, FundingPayment, Order
from core.ports import Store
from strategies import journal
from strategies.grid_state import TRIM_SLOT, GridState
from strategies.journal import Book

CHECKPOINT_EVERY = 500
"""Journal entries between checkpoints: folding that many at a start takes about 20 ms."""

RECENT_FILLS = 50

CLOSE_SLOT = "close"
"""The slot of an order that closes the position as a whole; its fills go to trend (GRID.md 6)."""

_KINDS = {CLOSE_SLOT: "close", TRIM_SLOT: "trim"}
"""The journal's word for a fill that is not of a cell's order."""


class Ledger:
    """What is known to have happened, and the state that follows from it. Errors: StoreError."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.book = Book()
        self.recent_fills: deque[Fill] = deque(maxlen=RECENT_FILLS)
        self._seq = 0  # the last entry that is in `book`
        self._written = 0  # the last entry written, committed or not
        self._checkpoint = 0

    @property
    def grid(self) -> GridState | None:
        return self.book.grid

    def load(self) -> None:
        """Rebuild the book: the last checkpoint, then the journal after it."""
        checkpoint = self.store.load_checkpoint()
        book, seq = Book(), 0
        if checkpoint is not None:
            seq, payload = checkpoint
            book = journal.decode_book(payload)
        self._checkpoint = seq
        for number, kind, payload, time in self.store.events_after(seq):
            book = journal.apply(book, kind, payload, number, time)
            seq = number
        self._seq = self._written = seq
        self.book = book
        self.recent_fills.clear()
        self.recent_fills.extend(self.store.load_fills(RECENT_FILLS))

    def record(
        self, time: datetime, *entries: tuple[str, Mapping[str, Any]], lazy: bool = False
    ) -> None:
        """Append entries in one transaction and take the book over."""
        with self.store.transaction(lazy=lazy):
            book = self.book
            for kind, payload in entries:
                book = self.write(book, kind, payload, time)
        self.take(book)

    def write(self, book: Book, kind: str, payload: Mapping[str, Any], time: datetime) -> Book:
        """Append one entry and give the book it leads to; inside the caller's transaction."""
        seq = self.store.append_event(kind, payload, time)
        after = journal.apply(book, kind, payload, seq, time)
        if seq - self._checkpoint >= CHECKPOINT_EVERY:
            self.store.save_checkpoint(seq, journal.encode_book(after))
        self._written = seq
        return after

    def take(self, book: Book) -> None:
        """Take over a book whose entries are committed."""
        self.book = book
        self._seq = self._written
        if self._seq - self._checkpoint >= CHECKPOINT_EVERY:
            self._checkpoint = self._seq

    def take_fill(self, fill: Fill, order: Order | None) -> bool:
        """Append a fill, its order (None: not of ours, it closes lots) and its cell's advance.

        Gives False, with nothing changed, when the fill is known.
        """
        slot = "" if order is None else order.slot
        kind = "close" if order is None else _KINDS.get(slot, "fill")
        with self.store.transaction(lazy=True):  # the exchange has it: it can be asked again
            if not self.store.insert_fill(fill, slot):
                return False
            if order is not None:
                self.store.save_order(order)
            book = self.write(self.book, kind, journal.fill_payload(fill, slot), fill.time)
        self.take(book)
        self.recent_fills.append(fill)
        return True

    def take_funding(self, payment: FundingPayment) -> bool:
        """Book a funding payment; False when it is known, or of before the grid began.

        One stamped at that very moment is ours: candles begin at a stamp, and so do grids on them.
        """
        seeded = self.book.seeded_at
        if seeded is None or payment.time < seeded:
            return False
        with self.store.transaction():
            if not self.store.insert_funding(payment):
                return False
            book = self.write(self.book, "funding", {"amount": str(payment.amount)}, payment.time)
        self.take(book)
        return True

    def checkpoint(self) -> None:
        """Keep the folded book now, so that the next start folds nothing."""
        if self.book.grid is not None:
            self.store.save_checkpoint(self._seq, journal.encode_book(self.book))
