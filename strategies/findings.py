"""What an audit looks at and what it may find: two sides as values, and differences. Pure.

A `Difference` names the thing and both values; the words for a reader are made where they are
printed. Its `key` tells whether two looks at a running bot found the same one.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from core.model import ZERO, Balance, Fill, FundingPayment, Order, Position
from strategies.grid_math import plain

Entry = tuple[int, str, Mapping[str, Any], datetime]
"""One journal entry: sequence number, kind, payload, time."""


class Kind(enum.Enum):
    """What can differ. The first part is the ledger against the exchange, the second itself."""

    ORDER_ONLY_ON_EXCHANGE = "order_only_on_exchange"
    ORDER_ONLY_IN_LEDGER = "order_only_in_ledger"
    ORDER = "order"
    FILL_ONLY_ON_EXCHANGE = "fill_only_on_exchange"
    FILL_ONLY_IN_LEDGER = "fill_only_in_ledger"
    FILL = "fill"
    FUNDING_ONLY_ON_EXCHANGE = "funding_only_on_exchange"
    FUNDING_ONLY_IN_LEDGER = "funding_only_in_ledger"
    FUNDING = "funding"
    POSITION = "position"
    EQUITY = "equity"

    JOURNAL = "journal"
    CHECKPOINT = "checkpoint"
    FILL_NOT_IN_JOURNAL = "fill_not_in_journal"
    FILL_ONLY_IN_JOURNAL = "fill_only_in_journal"
    FILL_JOURNAL = "fill_journal"
    FILL_TWICE = "fill_twice"
    FILL_WITHOUT_ORDER = "fill_without_order"
    FILL_ORDER = "fill_order"
    FUNDING_TWICE = "funding_twice"
    ORDER_FILLED = "order_filled"
    ORDER_STATUS = "order_status"
    SLOT_TWICE = "slot_twice"
    LOTS = "lots"
    FEES = "fees"
    FUNDING_SUM = "funding_sum"
    PNL = "pnl"


_MOVING = frozenset({Kind.POSITION, Kind.EQUITY})
"""What moves by itself on a trading account: these are the same difference at any value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not equal.

    `subject` is an id, a time or a place; `what` describes it in a few words. `exchange` is None
    where the ledger is compared with itself, and `expected` is what it should have held.
    `effect`: the signed quantity by which the ledger's position is off because of it.
    """

    kind: Kind
    subject: str = ""
    what: str = ""
    field: str = ""
    ledger: str | None = None
    exchange: str | None = None
    expected: str | None = None
    effect: Decimal = ZERO

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for two findings of one difference that has not moved between two looks."""
        if self.kind in _MOVING:
            return (self.kind,)
        return (self.kind, self.subject, self.field, self.ledger, self.exchange, self.expected)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSide:
    """The whole ledger at one instant. Fills come with their slots, all in order of arrival.

    `do_ids_repeat`: the exchange's client order ids begin again one day, see `order_ids`.
    """

    orders: Sequence[Order]
    fills: Sequence[tuple[Fill, str]]
    funding: Sequence[FundingPayment]
    events: Sequence[Entry]
    checkpoint: tuple[int, Mapping[str, Any]] | None
    do_ids_repeat: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeSide:
    """What the exchange says, all of it of one short moment.

    `fills` were fetched after the position, `fills_before` are the trade ids known before it: the
    position is of some moment between the two. `looked_up` has the orders that were asked for one
    by one; None: the exchange has none such. `history` is its own list of orders, complete for
    those made between `history_from` and `history_to` (None: it was not asked). `initial_equity`
    is what the account was opened with, where it is this instance's alone; None: the balance is
    not compared.
    """

    open_orders: Sequence[Order]
    looked_up: Mapping[str, Order | None] = field(default_factory=dict)
    history: Mapping[str, Order] = field(default_factory=dict)
    history_from: datetime | None = None
    history_to: datetime | None = None
    fills: Sequence[Fill]
    fills_before: frozenset[str]
    funding: Sequence[FundingPayment]
    position: Position
    mark: Decimal
    balance: Balance | None = None
    initial_equity: Decimal | None = None


def order_words(order: Order) -> str:
    """Describe an order: `BUY 0.5 at 142`."""
    return f"{order.side.value} {text(order.quantity)} at {text(order.price)}"


def fill_words(fill: Fill) -> str:
    """Describe a fill: `SELL 0.5 at 143, 2026-01-02T03:04:05+00:00`."""
    at = fill.time.isoformat(timespec="seconds")
    return f"{fill.side.value} {text(fill.quantity)} at {text(fill.price)}, {at}"


def text(value: object) -> str:
    """Write a value for a reader: decimals whole, without an exponent or trailing zeros."""
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
