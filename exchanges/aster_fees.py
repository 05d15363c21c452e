"""What a commission of Aster comes to as a fee: > 0 is a cost, < 0 a rebate. Pure but for memory.

Aster does not document the sign of `commission` in trades, nor of `n` on the stream: its example
shows a fee paid as a negative figure, captures of like exchanges a positive one, and a rebate is
then the other. So the sign is learned from what is known for certain:

1. A taker pays, and a maker pays while the account's maker rate is not negative: the sign of such a
   commission is a cost's, and any other commission of that channel is read by it. What a taker paid
   is believed before what a maker did, whose rate may have changed since.
2. Before that a maker's commission is a rebate when the account's maker rate is negative.
3. Nothing is known: it counts as a cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

from core.model import ZERO

FeeOf = Callable[[Decimal, bool], Decimal]
"""Gives the fee from a commission and whether the trade was a maker's."""


def as_cost(commission: Decimal, is_maker: bool) -> Decimal:  # noqa: ARG001 - a `FeeOf`
    """Read every commission as a cost."""
    return abs(commission)


class CommissionSigns:
    """The signs of one channel: REST and the stream may differ. Any thread may ask."""

    def __init__(self) -> None:
        self._maker_rate: Decimal | None = None
        self._taker_rate: Decimal | None = None
        self._taker_sign = 0
        self._maker_sign = 0

    def learn_rates(self, maker: Decimal, taker: Decimal) -> None:
        """Take the account's own rates, fractions."""
        self._maker_rate, self._taker_rate = maker, taker

    @property
    def knows_rates(self) -> bool:
        return self._maker_rate is not None

    def learn(self, trades: Iterable[tuple[Decimal, bool]]) -> None:
        """Look at commissions, each with whether it was a maker's."""
        for commission, is_maker in trades:
            if commission == 0:
                continue
            sign = 1 if commission > 0 else -1
            if not is_maker and (self._taker_rate is None or self._taker_rate >= 0):
                self._taker_sign = self._taker_sign or sign
            elif is_maker and self._maker_rate is not None and self._maker_rate >= 0:
                self._maker_sign = self._maker_sign or sign

    def fee(self, commission: Decimal, is_maker: bool) -> Decimal:
        """Give the fee; what it tells of the signs is learned first."""
        if commission == 0:
            return ZERO
        self.learn([(commission, is_maker)])
        cost_sign = self._taker_sign or self._maker_sign
        if cost_sign:
            return commission * cost_sign
        rate = self._maker_rate if is_maker else self._taker_rate
        return -abs(commission) if rate is not None and rate < 0 else abs(commission)
