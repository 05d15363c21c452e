"""The ledger against the exchange, to the last digit: two sides in, differences out. Pure.

A bot that trades meanwhile is compared by a common cut: a position with what the exchange's own
fills of that moment add up to, and everything else one by one (an order, a fill, a payment), so
that `confirm` can drop what another look finds settled. What stands, unchanged, in every look is a
difference; what was only in flight is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from core.model import ZERO, Fill, FundingPayment, Order, OrderStatus, PnL
from strategies.audit_ledger import LIQUIDATION, Folded, examine
from strategies.findings import (
    Difference,
    ExchangeSide,
    Kind,
    LedgerSide,
    fill_words,
    order_words,
    text,
)
from strategies.grid_state import TRIM_SLOT, pnl

SAME_TIME = timedelta(seconds=1)
"""A stream and a history may stamp one trade with other digits of the second (milliseconds here,
microseconds there); money is compared exactly, the time of a fill to the second."""

_EXACT_FILL = ("side", "price", "quantity", "fee", "fee_asset", "is_maker")
_WHERE_KNOWN = ("venue_order_id", "client_order_id")
_FUNDING = ("rate", "mark_price", "position", "amount")
_ORDER = ("side", "price", "quantity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look found, and the figures it saw.

    `position` is the ledger's own with what was in flight, None before any grid. `foreign` are the
    exchange's fills on the symbol that are not this instance's.
    """

    differences: tuple[Difference, ...]
    position: Decimal | None
    exchange_position: Decimal
    pnl: PnL
    own_fills: int
    foreign: tuple[Fill, ...]


def compare(ledger: LedgerSide, exchange: ExchangeSide, owns: Callable[[str], bool]) -> Look:
    """Compare once. `owns` tells this instance's client order ids."""
    folded, inside = examine(ledger, exchange.mark)
    own, foreign = _split(ledger, exchange.fills, owns)
    trims = {order.client_order_id for order in ledger.orders if order.slot == TRIM_SLOT}

    def is_trim(fill: Fill) -> bool:
        return fill.client_order_id in trims  # it takes off what was never of this grid's lots

    found = [
        *_orders(ledger, exchange, owns),
        *_fills(ledger, own),
        *_funding(ledger, exchange, folded),
        *_position(exchange, folded, [fill for fill in own if not is_trim(fill)]),
        *_equity(exchange),
        *inside,
    ]
    book = folded.book
    grid = None if book is None else book.grid
    position = None
    if book is not None and grid is not None:
        flying = {fill.trade_id for fill, _ in ledger.fills}
        position = book.base + grid.position
        in_flight = [f for f in own if f.trade_id not in flying and not is_trim(f)]
        position += sum((fill.signed_quantity for fill in in_flight), ZERO)
    return Look(
        differences=tuple(found),
        position=position,
        exchange_position=exchange.position.quantity,
        pnl=PnL() if grid is None else pnl(grid, exchange.mark),
        own_fills=len(own),
        foreign=foreign,
    )


def confirm(looks: Sequence[Look]) -> tuple[Difference, ...]:
    """Keep what every look found, as the last one saw it: the rest was in flight.

    Fills that are on one side only put the position off by their sum: that is named too.
    """
    stands = set.intersection(*({d.key for d in look.differences} for look in looks))
    last = looks[-1]
    found = [difference for difference in last.differences if difference.key in stands]
    effect = sum((difference.effect for difference in found), ZERO)
    if effect and not any(difference.kind is Kind.POSITION for difference in found):
        there = last.exchange_position
        found.append(
            Difference(kind=Kind.POSITION, ledger=text(there - effect), exchange=text(there))
        )
    return tuple(found)


# Orders -----------------------------------------------------------------------------------------


def _orders(
    ledger: LedgerSide, exchange: ExchangeSide, owns: Callable[[str], bool]
) -> list[Difference]:
    by_id = {order.client_order_id: order for order in ledger.orders}
    open_now = {
        order.client_order_id: order
        for order in exchange.open_orders
        if order.client_order_id in by_id or owns(order.client_order_id)
    }
    found: list[Difference] = []
    for client_id, seen in open_now.items():
        mine = by_id.get(client_id)
        if mine is None or mine.status.is_terminal:
            found.append(
                Difference(
                    kind=Kind.ORDER_ONLY_ON_EXCHANGE,
                    subject=client_id,
                    what=order_words(seen),
                    ledger="-" if mine is None else mine.status.value,
                    exchange=seen.status.value,
                )
            )
        else:
            found += _order_fields(mine, seen)
    for client_id, mine in by_id.items():
        if client_id in open_now:
            continue
        if client_id in exchange.looked_up:
            found += _looked_up(mine, exchange.looked_up[client_id])
        elif not mine.status.is_terminal:
            found.append(_only_in_ledger(mine, "-"))
        elif _must_be_in_history(mine, exchange):
            ended = exchange.history.get(client_id)
            if ended is None:
                found.append(_only_in_ledger(mine, "-"))
            else:  # both words for its end are the exchange's own, told at other times
                found += _order_fields(mine, ended, status=False)
    return found


def _must_be_in_history(mine: Order, exchange: ExchangeSide) -> bool:
    """Tell whether an order that was there and has ended is within what the history has whole."""
    start, end = exchange.history_from, exchange.history_to
    if start is None or end is None or mine.venue_order_id is None:
        return False
    was_there = mine.status is not OrderStatus.REJECTED
    return was_there and start <= mine.created_at and mine.updated_at <= end


def _looked_up(mine: Order, seen: Order | None) -> list[Difference]:
    """Compare an order that does not rest with the exchange's last word on it."""
    if seen is None:
        was_there = mine.filled_qty > 0 or not mine.status.is_terminal
        return [_only_in_ledger(mine, "-")] if was_there else []
    if not mine.status.is_terminal and seen.status.is_terminal:
        return [_only_in_ledger(mine, seen.status.value), *_order_fields(mine, seen, status=False)]
    return _order_fields(mine, seen)


def _only_in_ledger(mine: Order, seen: str) -> Difference:
    return Difference(
        kind=Kind.ORDER_ONLY_IN_LEDGER,
        subject=mine.client_order_id,
        what=order_words(mine),
        ledger=mine.status.value,
        exchange=seen,
    )


def _order_fields(mine: Order, seen: Order, *, status: bool = True) -> list[Difference]:
    pairs: list[tuple[str, object, object]] = [
        (name, getattr(mine, name), getattr(seen, name)) for name in _ORDER
    ]
    pairs.append(("filled", mine.filled_qty, seen.filled_qty))
    if mine.venue_order_id and seen.venue_order_id:
        pairs.append(("venue_order_id", mine.venue_order_id, seen.venue_order_id))
    # Whether an open order counts as partly filled is told by `filled`; the rest must be the same.
    ends = mine.status.is_terminal or seen.status.is_terminal
    if status and (ends or mine.status is OrderStatus.PENDING):
        pairs.append(("status", mine.status, seen.status))
    return [
        Difference(
            kind=Kind.ORDER,
            subject=mine.client_order_id,
            what=order_words(mine),
            field=name,
            ledger=text(one),
            exchange=text(other),
        )
        for name, one, other in pairs
        if one != other
    ]


# Fills ------------------------------------------------------------------------------------------


def _split(
    ledger: LedgerSide, fills: Sequence[Fill], owns: Callable[[str], bool]
) -> tuple[tuple[Fill, ...], tuple[Fill, ...]]:
    """Tell this instance's fills from those of others on the same account and symbol."""
    clients = {order.client_order_id for order in ledger.orders}
    venues = {order.venue_order_id for order in ledger.orders if order.venue_order_id}
    trades = {fill.trade_id for fill, _ in ledger.fills}

    def is_own(fill: Fill) -> bool:
        client_id = fill.client_order_id
        if client_id in clients or owns(client_id) or client_id.startswith(LIQUIDATION):
            return True
        return fill.trade_id in trades or fill.venue_order_id in venues

    own = tuple(fill for fill in fills if is_own(fill))
    return own, tuple(fill for fill in fills if not is_own(fill))


def _fills(ledger: LedgerSide, own: Sequence[Fill]) -> list[Difference]:
    found: list[Difference] = []
    there = {fill.trade_id: fill for fill in own}
    here = {fill.trade_id: fill for fill, _ in ledger.fills}
    for trade_id, seen in there.items():
        mine = here.get(trade_id)
        if mine is None:
            found.append(
                Difference(
                    kind=Kind.FILL_ONLY_ON_EXCHANGE,
                    subject=trade_id,
                    what=fill_words(seen),
                    field=seen.client_order_id,
                    effect=seen.signed_quantity,
                )
            )
        else:
            found += _fill_fields(mine, seen)
    for trade_id, mine in here.items():
        if trade_id not in there:
            found.append(
                Difference(
                    kind=Kind.FILL_ONLY_IN_LEDGER,
                    subject=trade_id,
                    what=fill_words(mine),
                    field=mine.client_order_id,
                    effect=-mine.signed_quantity,
                )
            )
    return found


def _fill_fields(mine: Fill, seen: Fill) -> list[Difference]:
    names = [name for name in _EXACT_FILL if getattr(mine, name) != getattr(seen, name)]
    names += [
        name
        for name in _WHERE_KNOWN
        if getattr(mine, name)
        and getattr(seen, name)
        and getattr(mine, name) != getattr(seen, name)
    ]
    if abs(mine.time - seen.time) >= SAME_TIME:
        names.append("time")
    differences = []
    for name in names:
        effect = ZERO
        if name in ("side", "quantity"):
            effect = seen.signed_quantity - mine.signed_quantity
        differences.append(
            Difference(
                kind=Kind.FILL,
                subject=mine.trade_id,
                what=fill_words(seen),
                field=name,
                ledger=text(getattr(mine, name)),
                exchange=text(getattr(seen, name)),
                effect=effect,
            )
        )
    return differences


# Funding, position, equity ----------------------------------------------------------------------


def _funding(ledger: LedgerSide, exchange: ExchangeSide, folded: Folded) -> list[Difference]:
    """Compare the payments after the grid's first moment, which are the ones that are booked."""
    began = None if folded.book is None else folded.book.seeded_at
    if began is None:
        return []
    there = {(p.symbol, p.time): p for p in exchange.funding if p.time > began}
    here = {(p.symbol, p.time): p for p in ledger.funding}
    found: list[Difference] = []
    for stamp, seen in there.items():
        mine = here.get(stamp)
        if mine is None:
            found.append(_payment(Kind.FUNDING_ONLY_ON_EXCHANGE, seen, exchange=text(seen.amount)))
            continue
        found += [
            _payment(
                Kind.FUNDING,
                seen,
                field=name,
                ledger=text(getattr(mine, name)),
                exchange=text(getattr(seen, name)),
            )
            for name in _FUNDING
            if getattr(mine, name) != getattr(seen, name)
            and None not in (getattr(mine, name), getattr(seen, name))  # not told: nothing differs
        ]
    found += [
        _payment(Kind.FUNDING_ONLY_IN_LEDGER, mine, ledger=text(mine.amount))
        for stamp, mine in here.items()
        if stamp not in there
    ]
    return found


def _payment(kind: Kind, payment: FundingPayment, **values: str) -> Difference:
    return Difference(kind=kind, subject=text(payment.time), what=payment.symbol, **values)  # type: ignore[arg-type]  # texts all


def _position(exchange: ExchangeSide, folded: Folded, own: Sequence[Fill]) -> list[Difference]:
    """Compare the position with the base and our fills, as of some moment of its fetching."""
    book = folded.book
    if book is None or book.grid is None:
        return []
    wanted = book.base + folded.settled_quantity
    wanted += sum((f.signed_quantity for f in own if f.trade_id in exchange.fills_before), ZERO)
    possible = [wanted]
    for fill in own:
        if fill.trade_id not in exchange.fills_before:
            possible.append(possible[-1] + fill.signed_quantity)
    there = exchange.position.quantity
    if there in possible:
        return []
    return [Difference(kind=Kind.POSITION, ledger=text(possible[-1]), exchange=text(there))]


def _equity(exchange: ExchangeSide) -> list[Difference]:
    """Compare the account's equity with what its fills and funding make of its beginning."""
    balance, equity = exchange.balance, exchange.initial_equity
    if balance is None or equity is None:
        return []
    held = ZERO
    for fill in exchange.fills:
        held += fill.signed_quantity
        equity -= fill.signed_quantity * fill.price + fill.fee
    equity += sum((payment.amount for payment in exchange.funding), ZERO)
    equity += held * exchange.mark
    if equity == balance.equity:
        return []
    return [Difference(kind=Kind.EQUITY, ledger=text(equity), exchange=text(balance.equity))]
