"""What must hold for a replay to need no engine, and the bounds that prove it while it runs. Pure.

`fast_walk` is right where every order is accepted and fills whole. Whether it is can be told from
the account's cash alone, cash being the wallet less the signed cost of what is held: equity at a
price is cash + position x price. For each place of the hole there is a least cash with which

- the exchange has margin for every order that rests there (`admission`), and
- no price that can be reached before the hole moves on liquidates the position (`margin_account`).

A replay whose cash is ever below it proves nothing: `NotProven`, and the engine decides.
Cash and bounds are integers in units of `10 ** -digits` of the quote currency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal

from core.model import ZERO, GridType
from exchanges.admission import Rules
from strategies.grid_state import GridSpec
from strategies.settings import EngineSettings

MOST_DIGITS = 54
"""Digits of the largest sum of money: the ledger keeps 60, and nothing here is ever rounded."""

MOST_MAINTENANCE = Decimal("0.5")  # no exchange asks for more, and the formula needs less than 1

_EXACT = Context(prec=200)
_NO_BOUND = Decimal("-1e40")
_SLACK = Decimal("1e-9")  # on the maintenance rate: far above any rounding of the engine's


class NotProven(Exception):
    """The short way cannot be shown to give what the engine gives; the text says why."""


def check_settings(settings: EngineSettings, rules: Rules) -> None:
    """Refuse what more than price acts upon. Errors: NotProven."""
    if settings.stop_loss is not None or settings.take_profit is not None:
        raise NotProven("stop_loss and take_profit are judged at every price")
    if settings.end_at is not None:
        raise NotProven("the run has an end of its own")
    if settings.interval_s <= 0:
        raise NotProven("it reconciles all the time")
    if settings.symbol != rules.instrument.symbol:
        raise NotProven("the symbol is not traded here")
    rate = rules.instrument.maintenance_rate + rules.instrument.liquidation_fee
    if not 0 <= rate < MOST_MAINTENANCE:
        raise NotProven(f"the maintenance rate with the liquidation fee is {rate}")


def check_boundary(
    settings: EngineSettings, levels: Sequence[Decimal], low: Decimal, high: Decimal
) -> None:
    """Refuse a boundary action that a price may cause. Errors: NotProven."""
    if settings.boundary_action == "none":
        return
    tolerance = settings.boundary_tolerance
    if low < levels[0] * (1 - tolerance) or high > levels[-1] * (1 + tolerance):
        raise NotProven(f"the price leaves the range and boundary_action is set: {low} to {high}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Gives the least cash. `low` and `high`: prices that the path never goes beyond."""

    spec: GridSpec
    quantity: Decimal
    rules: Rules
    low: Decimal
    high: Decimal
    digits: int

    @property
    def beyond(self) -> Decimal:
        """How far the price must go beyond an order's own to fill it."""
        return self.rules.instrument.tick_size if self.rules.fill_through else ZERO

    def units(self, money: Decimal) -> int:
        """Money in units, rounded up, so that a bound is never too low."""
        return int(_EXACT.scaleb(money, self.digits).to_integral_value(ROUND_CEILING))

    def least_cash(self, bottom: int, top: int, base: int) -> list[int]:
        """Give the least cash by the place of the hole (0: the lowest level).

        The cells from `bottom` to `top` - 1 have orders; the position is quantity x (base - hole).
        """
        levels, quantity, kind = self.spec.levels, self.quantity, self.spec.kind
        worth = [quantity * level for level in levels]
        buys, sells = ZERO, ZERO
        if kind is not GridType.LONG:
            sells = sum(worth[bottom + 1 : top + 1], ZERO)
        least = [0] * len(levels)
        for hole in range(bottom, top + 1):
            if hole > bottom:
                if kind is not GridType.SHORT:
                    buys += worth[hole - 1]
                if kind is not GridType.LONG:
                    sells -= worth[hole]
            position = base - hole
            margin = self.margin(position * worth[hole], buys, sells)
            below = levels[hole - 1] - self.beyond if hole > bottom else self.low
            above = levels[hole + 1] + self.beyond if hole < top else self.high
            kept = self.maintenance(position * quantity, below if position > 0 else above)
            least[hole] = max(self.units(margin), self.units(kept))
        return least

    def margin(self, held: Decimal, buys: Decimal, sells: Decimal) -> Decimal:
        """Give the cash with which the exchange accepts orders beside what is held (notionals)."""
        exposure = max(abs(held), held + buys, sells - held)
        return exposure / self.rules.leverage - held

    def maintenance(self, position: Decimal, price: Decimal) -> Decimal:
        """Give the cash with which a position is not liquidated at `price`, nor nearer."""
        if position == 0:
            return _NO_BOUND
        rate = self.rules.instrument.maintenance_rate + self.rules.instrument.liquidation_fee
        if position > 0:
            return -position * price * (1 - rate - _SLACK)
        return -position * price * (1 + rate + _SLACK)
