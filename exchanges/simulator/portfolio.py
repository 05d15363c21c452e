"""One cross-margin account over the markets of several symbols. Pure.

The matching engine knows one account on one instrument. Here each market's account is lent the
whole: before a market is used, its wallet is set to the shared wallet plus what the other symbols'
positions are worth, less what they hold back (their margin before an order is placed, their
maintenance margin before the price moves). With one symbol that changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal, localcontext

from core.model import ZERO
from exchanges.admission import exposure
from exchanges.margin_account import EXACT, Account, liquidation_price
from exchanges.matching import Market


class Portfolio:
    """Figures of the whole account, quote units."""

    def __init__(self, initial: Decimal, markets: Mapping[str, Market]) -> None:
        self.initial = initial
        self.transfers: list[tuple[int, Decimal]] = []  # microseconds, + deposit, - withdrawal
        self._markets = markets

    @property
    def paid_in(self) -> Decimal:
        """What the account was opened with, and what was moved in and out since."""
        return self.initial + sum((amount for _, amount in self.transfers), ZERO)

    @property
    def wallet(self) -> Decimal:
        """What was paid in, realized PnL, fees and funding, exact."""
        with localcontext(EXACT):
            return self.paid_in + sum((own(m.account) for m in self._markets.values()), ZERO)

    @property
    def unrealized(self) -> Decimal:
        with localcontext(EXACT):
            return sum((unrealized(m) for m in self._markets.values()), ZERO)

    @property
    def equity(self) -> Decimal:
        with localcontext(EXACT):
            return self.wallet + self.unrealized

    @property
    def position_margin(self) -> Decimal:
        return sum((position_margin(m) for m in self._markets.values()), ZERO)

    @property
    def margin(self) -> Decimal:
        """Initial margin of positions and orders."""
        return sum((margin(m) for m in self._markets.values()), ZERO)

    @property
    def maintenance(self) -> Decimal:
        return sum((maintenance(m) for m in self._markets.values()), ZERO)

    @property
    def available(self) -> Decimal:
        return max(ZERO, self.equity - self.margin)

    def lend(self, symbol: str, *, for_order: bool) -> Market:
        """Set the market's wallet to what the whole account can give it; returns the market."""
        market = self._markets[symbol]
        with localcontext(EXACT):
            wallet = self.paid_in + own(market.account)
            for other, held in self._markets.items():
                if other != symbol and (held.account.fees or held.book.orders):
                    kept = margin(held) if for_order else maintenance(held)
                    wallet += own(held.account) + unrealized(held) - kept
        if wallet != market.account.wallet:
            market.account = replace(market.account, wallet=wallet)
            market.liquidation = liquidation_price(market.account, market.rules.instrument)
        return market


def own(account: Account) -> Decimal:
    """What this symbol's trading has added to the wallet."""
    return account.realized - account.fees + account.funding


def unrealized(market: Market) -> Decimal:
    with localcontext(EXACT):
        return market.account.position * market.last - market.account.cost


def position_margin(market: Market) -> Decimal:
    return abs(market.account.position) * market.last / market.rules.leverage


def margin(market: Market) -> Decimal:
    return exposure(market.account, market.book, market.last) / market.rules.leverage


def maintenance(market: Market) -> Decimal:
    rate = market.rules.instrument.maintenance_rate
    return abs(market.account.position) * market.last * rate
