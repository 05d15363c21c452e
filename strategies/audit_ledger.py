"""The ledger against itself: what must hold inside one database, whatever the exchange says. Pure.

- The journal runs 1, 2, 3 ... and folds; the checkpoint equals the fold at its entry (I12).
- Every fill stands once in the fills table and once in the journal, with the same values.
- Every fill's order is known; an order's filled quantity is the sum of its fills, and its status
  fits that; at most one live order a slot (I2).
- Lots = sum of signed fills (I1); fees and funding booked = the sums of their tables.
- The identity (I6), recomputed from the tables alone: -sum(signed quantity x price) - fees +
  funding + position x mark = grid + trend + unrealized - open fees + funding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from core.errors import IllegalTransition
from core.model import ZERO, Order, OrderStatus
from strategies import journal
from strategies.findings import Difference, Entry, Kind, LedgerSide, fill_words, order_words, text
from strategies.grid_state import TRIM_SLOT, pnl
from strategies.journal import Book
from strategies.order_ids import is_of_before

LIQUIDATION = "liquidation"
"""Begins the client order id of what the exchange itself closed: an order that is not ours."""

_UNREADABLE = (
    IllegalTransition,
    ArithmeticError,
    AttributeError,
    KeyError,
    IndexError,
    TypeError,
    ValueError,
)
"""What a damaged entry or checkpoint raises while it is read."""

_FILL_FIELDS = ("side", "price", "quantity", "fee")


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What the journal says. `book` is None when an entry could not be applied.

    `settled_quantity` and `settled_cash`: what was booked as closed without a fill, signed, and
    what that brought; both zero but for a position that was closed from outside.
    """

    book: Book | None
    settled_quantity: Decimal = ZERO
    settled_cash: Decimal = ZERO


def examine(ledger: LedgerSide, mark: Decimal) -> tuple[Folded, tuple[Difference, ...]]:
    """Fold the journal and name everything in which the ledger contradicts itself."""
    folded, found = fold(ledger.events, ledger.checkpoint)
    found += _fills_against_journal(ledger)
    found += _orders(ledger)
    found += _doubles(ledger)
    found += _sums(ledger, folded, mark)
    return folded, tuple(found)


# The journal ------------------------------------------------------------------------------------


def fold(
    events: Sequence[Entry], checkpoint: tuple[int, Mapping[str, Any]] | None
) -> tuple[Folded, list[Difference]]:
    """Apply every entry from the first on, and compare the checkpoint on the way."""
    book, quantity, cash = Book(), ZERO, ZERO
    at = 0 if checkpoint is None else checkpoint[0]
    found: list[Difference] = []
    seen = 0
    for number, kind, payload, time in events:
        if number != seen + 1:
            found.append(_journal(number, f"it follows entry {seen}, so entries are missing"))
            return Folded(book=None), found
        seen = number
        try:
            if kind == "settle" and book.grid is not None:
                held = book.grid.position
                quantity -= held
                cash += held * Decimal(payload["price"])
            book = journal.apply(book, kind, payload, number, time)
        except _UNREADABLE as error:
            found.append(_journal(number, f"{kind}: {type(error).__name__}: {error}"))
            return Folded(book=None), found
        if number == at and checkpoint is not None:
            found += _checkpoint(book, checkpoint)
    if at > seen:
        words = f"it is of entry {at}, the journal ends at {seen}"
        found.append(Difference(kind=Kind.CHECKPOINT, subject=str(at), field=words))
    return Folded(book=book, settled_quantity=quantity, settled_cash=cash), found


def _journal(number: int, words: str) -> Difference:
    return Difference(kind=Kind.JOURNAL, subject=str(number), field=words)


def _checkpoint(book: Book, checkpoint: tuple[int, Mapping[str, Any]]) -> list[Difference]:
    number, payload = checkpoint
    try:
        kept = journal.encode_book(journal.decode_book(payload))
    except _UNREADABLE as error:
        words = f"{type(error).__name__}: {error}"
        return [Difference(kind=Kind.CHECKPOINT, subject=str(number), field=words)]
    return [
        Difference(
            kind=Kind.CHECKPOINT, subject=str(number), field=path, ledger=one, expected=other
        )
        for path, one, other in _walk("", kept, journal.encode_book(book))
    ]


def _walk(path: str, one: object, other: object) -> Iterable[tuple[str, str, str]]:
    """Name the places where two JSON values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            inside = f"{path}.{key}" if path else key
            yield from _walk(inside, one.get(key), other.get(key))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from _walk(f"{path}[{index}]", a, b)
    elif one != other:
        yield path, str(one)[:200], str(other)[:200]


def _fills_against_journal(ledger: LedgerSide) -> list[Difference]:
    """Compare the fills table with the journal's own record of each fill."""
    written = {
        str(payload["trade_id"]): payload
        for _, _, payload, _ in ledger.events
        if "trade_id" in payload
    }
    found = []
    for fill, slot in ledger.fills:
        payload = written.pop(fill.trade_id, None)
        what = fill_words(fill)
        if payload is None:
            found.append(
                Difference(kind=Kind.FILL_NOT_IN_JOURNAL, subject=fill.trade_id, what=what)
            )
            continue
        values = {name: getattr(fill, name) for name in _FILL_FIELDS} | {"slot": slot}
        for name, value in values.items():
            if not _is_same(value, payload.get(name)):
                found.append(
                    Difference(
                        kind=Kind.FILL_JOURNAL,
                        subject=fill.trade_id,
                        what=what,
                        field=name,
                        ledger=text(value),
                        expected=str(payload.get(name)),
                    )
                )
    for trade_id, payload in written.items():
        words = " ".join(str(payload.get(name)) for name in ("side", "quantity", "price"))
        found.append(Difference(kind=Kind.FILL_ONLY_IN_JOURNAL, subject=trade_id, what=words))
    return found


def _is_same(value: object, written: object) -> bool:
    if isinstance(value, Decimal):
        try:
            return value == Decimal(str(written))
        except ArithmeticError:
            return False
    return text(value) == written


# Orders -----------------------------------------------------------------------------------------


def _orders(ledger: LedgerSide) -> list[Difference]:
    """Compare every order with its fills, and every fill with its order."""
    found: list[Difference] = []
    by_id = {order.client_order_id: order for order in ledger.orders}
    sums: dict[str, Decimal] = {}
    for fill, _ in ledger.fills:
        client_id = fill.client_order_id
        order = by_id.get(client_id)
        if order is not None and is_of_before(order, fill.time, do_repeat=ledger.do_ids_repeat):
            continue  # of an order whose id was given out again, long after it had ended
        sums[client_id] = sums.get(client_id, ZERO) + fill.quantity
        if order is None:
            if not client_id.startswith(LIQUIDATION):
                found.append(
                    Difference(
                        kind=Kind.FILL_WITHOUT_ORDER,
                        subject=fill.trade_id,
                        what=fill_words(fill),
                        field=client_id,
                    )
                )
        elif order.side is not fill.side or order.symbol != fill.symbol:
            found.append(
                Difference(
                    kind=Kind.FILL_ORDER,
                    subject=fill.trade_id,
                    what=fill_words(fill),
                    field=client_id,
                    ledger=f"{fill.side.value} {fill.symbol}",
                    expected=f"{order.side.value} {order.symbol}",
                )
            )
    slots: dict[str, str] = {}
    for order in ledger.orders:
        filled = sums.get(order.client_order_id, ZERO)
        if order.filled_qty != filled:
            found.append(_order(Kind.ORDER_FILLED, order, text(order.filled_qty), text(filled)))
        fitting = _status_for(order, order.filled_qty)
        if order.status is not fitting:
            found.append(_order(Kind.ORDER_STATUS, order, order.status.value, fitting.value))
        if order.slot and not order.status.is_terminal:
            other = slots.setdefault(order.slot, order.client_order_id)
            if other != order.client_order_id:
                found.append(_order(Kind.SLOT_TWICE, order, other, None, order.slot))
    return found


def _status_for(order: Order, filled: Decimal) -> OrderStatus:
    """Say which status fits the quantity filled: the order's own wherever that is possible."""
    if filled >= order.quantity:
        return OrderStatus.FILLED
    if order.status is OrderStatus.FILLED:
        return OrderStatus.PARTIALLY_FILLED if filled else OrderStatus.NEW
    if order.status.is_terminal:
        return order.status
    if filled:
        return OrderStatus.PARTIALLY_FILLED
    return OrderStatus.NEW if order.status is OrderStatus.PARTIALLY_FILLED else order.status


def _order(
    kind: Kind, order: Order, ledger: str | None, expected: str | None, field: str = ""
) -> Difference:
    return Difference(
        kind=kind,
        subject=order.client_order_id,
        what=order_words(order),
        field=field,
        ledger=ledger,
        expected=expected,
    )


def _doubles(ledger: LedgerSide) -> list[Difference]:
    """Name trades and funding stamps that stand in their table twice."""
    found = []
    trades: set[str] = set()
    for fill, _ in ledger.fills:
        if fill.trade_id in trades:
            found.append(
                Difference(kind=Kind.FILL_TWICE, subject=fill.trade_id, what=fill_words(fill))
            )
        trades.add(fill.trade_id)
    stamps = set()
    for payment in ledger.funding:
        stamp = (payment.symbol, payment.time)
        if stamp in stamps:
            found.append(
                Difference(
                    kind=Kind.FUNDING_TWICE,
                    subject=text(payment.time),
                    ledger=text(payment.amount),
                )
            )
        stamps.add(stamp)
    return found


# Sums -------------------------------------------------------------------------------------------


def _sums(ledger: LedgerSide, folded: Folded, mark: Decimal) -> list[Difference]:
    """Compare what was booked with what the tables add up to."""
    book = folded.book
    if book is None:
        return []
    quantity, cash, fees = folded.settled_quantity, folded.settled_cash, ZERO
    for fill, slot in ledger.fills:
        fees += fill.fee
        if slot != TRIM_SLOT:  # a trim takes off what a hand put on: only its fee is ours
            quantity += fill.signed_quantity
            cash -= fill.signed_quantity * fill.price
    funding = sum((payment.amount for payment in ledger.funding), ZERO)
    grid = book.grid
    held = ZERO if grid is None else grid.position
    booked_fees = ZERO if grid is None else grid.totals.fees
    booked_funding = ZERO if grid is None else grid.totals.funding
    total = ZERO if grid is None else pnl(grid, mark).total
    pairs = (
        (Kind.LOTS, held, quantity),
        (Kind.FEES, booked_fees, fees),
        (Kind.FUNDING_SUM, booked_funding, funding),
        (Kind.PNL, total, cash - fees + funding + quantity * mark),
    )
    return [
        Difference(kind=kind, ledger=text(booked), expected=text(summed))
        for kind, booked, summed in pairs
        if booked != summed
    ]
