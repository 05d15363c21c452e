"""One simulated margin account: what a trade and a funding payment do to it. Pure.

No clock, file, socket, thread or database. Rules:

- The position is netted one-way; `cost` is the signed sum of quantity x price of what is held, so
  that the entry price is never stored rounded.
- wallet = initial + realized - fees + funding, and equity = wallet + position x mark - cost, both
  exact. A part's share of the cost that has more than 12 decimals is rounded to 1e-12, and the rest
  stays with the remainder (GRID.md 3), which keeps both sums exact. Finite ones are rounded too:
  each division by 8 adds 3 digits, and after some months of them no precision is enough.
- Liquidation is due when equity is no more than notional x (maintenance rate + liquidation fee).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Context, Decimal, localcontext
from typing import Any

from core.model import ZERO, Instrument, Side

EXACT = Context(prec=80)  # digits enough for every sum and product here, so that none is rounded
COST_SHARE = Decimal("1e-12")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One margin account, quote currency, position netted one-way and signed.

    `fees` is what was paid, `funding` what was received; `cost` as in the module docstring.
    """

    initial: Decimal
    wallet: Decimal
    position: Decimal = ZERO
    cost: Decimal = ZERO
    realized: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO

    @property
    def entry_price(self) -> Decimal | None:
        """Average entry, for display; None when flat."""
        return self.cost / self.position if self.position else None

    def equity(self, mark: Decimal) -> Decimal:
        """Wallet and unrealized PnL, exact."""
        with localcontext(EXACT):
            return self.wallet + self.position * mark - self.cost

    def to_doc(self) -> dict[str, str]:
        """The account as JSON types."""
        return {name: str(getattr(self, name)) for name in _ACCOUNT_FIELDS}

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any]) -> Account:
        return cls(**{name: Decimal(doc[name]) for name in _ACCOUNT_FIELDS})


_ACCOUNT_FIELDS = ("initial", "wallet", "position", "cost", "realized", "fees", "funding")


def open_account(balance: Decimal) -> Account:
    """A new account that holds `balance` and nothing else."""
    return Account(initial=balance, wallet=balance)


def apply_trade(
    account: Account, side: Side, price: Decimal, quantity: Decimal, fee: Decimal
) -> Account:
    """Book one execution: average cost, one-way netting, exact. Range: quantity > 0."""
    with localcontext(EXACT):
        signed = quantity if side is Side.BUY else -quantity
        position, cost, realized = account.position, account.cost, ZERO
        if position == 0 or (position > 0) == (signed > 0):
            position += signed
            cost += signed * price
        else:
            held = abs(position)
            closed = min(quantity, held)
            removed = cost if closed == held else _share(cost, closed, held)
            realized = (closed if position > 0 else -closed) * price - removed
            opened = quantity - closed  # > 0 only when the position flips
            position += signed
            cost = (cost - removed) if opened == 0 else signed / quantity * opened * price
        return replace(
            account,
            wallet=account.wallet + realized - fee,
            position=position,
            cost=cost if position else ZERO,
            realized=account.realized + realized,
            fees=account.fees + fee,
        )


def apply_funding(account: Account, amount: Decimal) -> Account:
    """Book one funding payment; `amount` > 0 was received."""
    with localcontext(EXACT):
        return replace(account, wallet=account.wallet + amount, funding=account.funding + amount)


def liquidation_price(account: Account, instrument: Instrument) -> Decimal | None:
    """The first tick at which the position is liquidated; None: flat, or no positive price does it.

    Source: GRID.md 6, with M the wallet and E the average entry.
    """
    position = account.position
    if position == 0:
        return None
    rate = instrument.maintenance_rate + instrument.liquidation_fee
    if position > 0:
        price = instrument.price_down((account.cost - account.wallet) / (position * (1 - rate)))
    else:
        price = instrument.price_up((account.cost - account.wallet) / (position * (1 + rate)))
    return price if price > 0 else None


def _share(total: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """`total * part / whole`, rounded to `COST_SHARE` where it has more decimals than that."""
    share = total * part / whole
    rounded = share.quantize(COST_SHARE)
    return share if share == rounded else rounded
