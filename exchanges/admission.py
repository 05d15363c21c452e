"""Which orders the simulated exchange accepts. Pure.

- Post-only that is marketable is rejected (POST_ONLY): an order at exactly the price would fill.
- Off the tick or lot: PRECISION. Below the minimum notional: NOTIONAL, reduce-only excepted.
- A known client order id is a DUPLICATE_ID: judged by the caller, who has every id ever used.
- Reduce-only is accepted while the reduce-only orders of its side, itself included, do not exceed
  the position; else REDUCE_ONLY.
- Exposure is the largest of |position|, position + BUYs and SELLs - position, in quote units at the
  last price and the orders' own prices; reduce-only orders do not count. An order that raises it
  above equity x leverage is rejected (MARGIN); one that does not raise it never is.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from core.errors import Rejected, RejectReason
from core.model import ZERO, Instrument, OrderRequest, Side
from exchanges.book import Book
from exchanges.margin_account import Account

LIQUIDATION_PREFIX = "liquidation-"  # begins the client order ids that are the exchange's own

_TOO_BIG = Decimal("1e15")  # so that value / step has fewer digits than Decimal keeps (28)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What this exchange allows, and how well it fills.

    `fill_through`: a resting order waits until the path goes a whole tick beyond its price.
    `slippage`: the fraction by which what takes pays more, or gets less, than the last price.
    `shrinks`: a reduce-only order that the position no longer covers keeps what it still does.
    """

    instrument: Instrument
    leverage: Decimal
    fill_through: bool = False
    slippage: Decimal = ZERO
    shrinks: bool = False


def is_marketable(request: OrderRequest, last: Decimal) -> bool:
    """Tell whether the order would take at the last price."""
    return request.price >= last if request.side is Side.BUY else request.price <= last


def taking_price(request: OrderRequest, rules: Rules, last: Decimal) -> Decimal:
    """At what price a marketable order fills: slippage off the last, on the tick, within its limit.

    Rounding is against the taker, as slippage is.
    """
    if rules.slippage == 0:
        return last
    slipped = last * (1 + request.side.sign * rules.slippage)
    if request.side is Side.BUY:
        return min(rules.instrument.price_up(slipped), request.price)
    return max(rules.instrument.price_down(slipped), request.price)


def exposure(
    account: Account,
    book: Book,
    last: Decimal,
    side: Side | None = None,
    notional: Decimal = ZERO,
) -> Decimal:
    """What is held or may come to be held, quote units; with one more order of `notional`."""
    held = account.position * last
    buys = book.notional(Side.BUY) + (notional if side is Side.BUY else ZERO)
    sells = book.notional(Side.SELL) + (notional if side is Side.SELL else ZERO)
    return max(abs(held), held + buys, sells - held)


def refusal(
    request: OrderRequest, rules: Rules, account: Account, book: Book, last: Decimal
) -> Rejected | None:
    """Say why an order is refused; None: it is accepted."""
    instrument = rules.instrument
    price, quantity = request.price, request.quantity
    what = f"{request.client_order_id} {request.side.value} {quantity} @ {price}"
    if request.client_order_id.startswith(LIQUIDATION_PREFIX):
        text = f"{what}: {LIQUIDATION_PREFIX!r} begins the exchange's own ids"
        return Rejected(RejectReason.OTHER, text)
    if request.symbol != instrument.symbol:
        text = f"{what}: symbol {request.symbol} is not traded here, only {instrument.symbol}"
        return Rejected(RejectReason.OTHER, text)
    if not _is_multiple(price, instrument.tick_size):
        text = f"{what}: price is no positive multiple of the tick {instrument.tick_size}"
        return Rejected(RejectReason.PRECISION, text)
    if not _is_multiple(quantity, instrument.lot_size) or quantity < instrument.min_quantity:
        text = f"{what}: quantity is no positive multiple of the lot {instrument.lot_size}"
        return Rejected(RejectReason.PRECISION, text)
    if not request.reduce_only and quantity * price < instrument.min_notional:
        text = f"{what}: worth {quantity * price}, the minimum is {instrument.min_notional}"
        return Rejected(RejectReason.NOTIONAL, text)
    if request.reduce_only:
        closable = max(ZERO, -account.position * request.side.sign)
        reducing = book.reducing(request.side) + quantity
        if reducing > closable:
            text = f"{what}: reduce-only orders would be {reducing}, they can close {closable}"
            return Rejected(RejectReason.REDUCE_ONLY, text)
    if request.post_only and is_marketable(request, last):
        text = f"{what}: would take at the last price {last}"
        return Rejected(RejectReason.POST_ONLY, text)
    if not request.reduce_only:
        return _margin_refusal(request, rules, account, book, last)
    return None


def _is_multiple(value: Decimal, step: Decimal) -> bool:
    return value.is_finite() and 0 < value < _TOO_BIG and value % step == 0


def _margin_refusal(
    request: OrderRequest, rules: Rules, account: Account, book: Book, last: Decimal
) -> Rejected | None:
    takes = is_marketable(request, last)
    price = taking_price(request, rules, last) if takes else request.price
    before = exposure(account, book, last)
    after = exposure(account, book, last, request.side, request.quantity * price)
    allowed = account.equity(last) * rules.leverage
    if after > before and after > allowed:
        text = (
            f"{request.client_order_id}: exposure would be {after}, "
            f"equity x leverage allows {allowed}"
        )
        return Rejected(RejectReason.MARGIN, text)
    return None
