"""What a trader wants to know of a grid before it starts: one set of figures, pure.

Reuses the formulas of grid_math, risk, perp_grid and settings; adds only sums over the cells. A
figure that rests on an assumption says so at its field. `refusals` are reasons not to start beside
those of `settings.spec_faults`, which a `GridSpec` has passed already.

The most that one side may hold: every cell that can hold it is full, up to `max_position`. A long
grid's cells all can, since the price may rise first and wake them (GRID.md 2); of a neutral grid
the buy cells hold long lots, the sell cells short ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from core.model import ZERO, Balance, Instrument, Position, Side
from strategies.account_margin import ALONE, Demand, Sharing, remaining_of
from strategies.desired import desired_orders
from strategies.grid_math import cells_of, plain, thin_cells
from strategies.grid_state import GridSpec, Leg
from strategies.perp_grid import new_grid
from strategies.risk import WorstCase, liquidation_faults, liquidation_price, worst_case
from strategies.settings import EngineSettings

PERCENT = Decimal(100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The lowest and the highest of a figure over all cells."""

    low: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """The most that one side may come to hold.

    `quantity` base currency, unsigned; `cost` what it was opened for at its dearest, `margin` that
    over the leverage; `loss` what it is down at the far bound, fees and the exit's cost included,
    if nothing was earned before. All quote currency.
    """

    quantity: Decimal
    orders: int
    cost: Decimal
    margin: Decimal
    loss: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A reason not to start; `check` names the figures that it is about."""

    check: str  # "margin", "orders" or "liquidation"
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """The figures of one grid at one price, quote currency where nothing else is said.

    `step_percent` and `profit_percent` are of the cell's lower price and of its order's value
    there. `profit` is of one closed cell after the two maker fees. `most_orders`: that rest at
    once, partly filled cells not counted twice. `entry_cost`: what leaving at once would cost after
    the first fill, or after the initial entry. `used` is the margin that this bot's symbol holds
    back already, `others` the other bots of the account (`account_margin` has the rule).
    """

    spec: GridSpec
    price: Decimal
    width: Decimal
    width_percent: Decimal
    step: Range
    step_percent: Range
    profit: Range
    profit_percent: Range
    notional: Range
    orders_now: int
    most_orders: int
    order_limit: int | None
    long: Holding
    short: Holding
    leverage: Decimal
    available: Decimal
    used: Decimal
    others: tuple[Demand, ...]
    position: Decimal
    liquidation_now: Decimal | None
    worst: WorstCase
    thin_cells: int
    stop_loss: Decimal | None
    take_profit: Decimal | None
    cells_to_profit: int | None
    entry_cost: Decimal
    boundary_action: str
    breach: Range
    confirm_s: float
    moves_per_hour: int
    refusals: tuple[Refusal, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        """The refusals in words, for whoever asks only whether it may start and why not."""
        return tuple(refusal.words for refusal in self.refusals)

    @property
    def margin(self) -> Decimal:
        """Margin at the worst case: of the side that takes more."""
        return max(self.long.margin, self.short.margin)

    @property
    def others_remaining(self) -> Decimal:
        """Margin that the other bots of the account may still take."""
        return remaining_of(self.others)

    @property
    def worst_loss(self) -> Decimal:
        """What a full side is down at its far bound: of the side that loses more."""
        return max(self.long.loss, self.short.loss)


def preflight(
    settings: EngineSettings,
    spec: GridSpec,
    instrument: Instrument,
    price: Decimal,
    balance: Balance,
    position: Position,
    sharing: Sharing = ALONE,
) -> Preflight:
    """Work the figures out for a grid that would be laid out at `price`.

    `sharing`: who else trades on the account; by default nobody.
    """
    request = settings.grid
    grid = new_grid(
        spec, price, open_initial=request.open_initial, max_position=request.max_position
    )
    wanted = desired_orders(
        grid,
        price,
        instrument,
        max_position=request.max_position,
        slippage_cap=settings.slippage_cap,
    )
    cells, fee, quantity = cells_of(spec.levels), instrument.maker_fee, spec.quantity
    profits = [quantity * (high - low - fee * (high + low)) for low, high in cells]
    exit_rate = instrument.taker_fee + settings.slippage_cap
    buys = [low for cell, (low, _) in zip(grid.cells, cells, strict=True) if cell.side is Side.BUY]
    sells = [
        high for cell, (_, high) in zip(grid.cells, cells, strict=True) if cell.side is Side.SELL
    ]
    long = _holding(Side.BUY, buys, spec.levels[0], settings, spec, instrument, exit_rate)
    short = _holding(Side.SELL, sells, spec.levels[-1], settings, spec, instrument, exit_rate)
    worst = worst_case(position.quantity, position.entry_price, balance.wallet, wanted, instrument)
    initial = sum((order.quantity for order in wanted if order.leg is Leg.INITIAL), ZERO)
    first_fill = quantity * price * (fee + exit_rate)
    most_orders = long.orders + short.orders
    tolerance = settings.boundary_tolerance
    take_profit = settings.take_profit
    return Preflight(
        spec=spec,
        price=price,
        width=spec.levels[-1] - spec.levels[0],
        width_percent=(spec.levels[-1] / spec.levels[0] - 1) * PERCENT,
        step=_range([high - low for low, high in cells]),
        step_percent=_range([(high / low - 1) * PERCENT for low, high in cells]),
        profit=_range(profits),
        profit_percent=_range(
            [
                profit / (quantity * low) * PERCENT
                for profit, (low, _) in zip(profits, cells, strict=True)
            ]
        ),
        notional=_range([quantity * level for level in spec.levels]),
        orders_now=len(wanted),
        most_orders=most_orders,
        order_limit=instrument.max_open_orders,
        long=long,
        short=short,
        leverage=settings.leverage,
        available=balance.available,
        used=sharing.used,
        others=sharing.others,
        position=position.quantity,
        liquidation_now=_liquidation_now(position, balance.wallet, instrument),
        worst=worst,
        thin_cells=len(thin_cells(spec.levels, fee)),
        stop_loss=settings.stop_loss,
        take_profit=take_profit,
        cells_to_profit=None if take_profit is None else _ceiling(take_profit / max(profits)),
        entry_cost=max(first_fill, initial * price * (instrument.taker_fee + exit_rate)),
        boundary_action=settings.boundary_action,
        breach=Range(low=spec.levels[0] * (1 - tolerance), high=spec.levels[-1] * (1 + tolerance)),
        confirm_s=settings.boundary_confirm_s,
        moves_per_hour=settings.boundary_moves_per_hour,
        refusals=(
            *_refusals(
                "margin",
                _margin_faults(
                    max(long.margin, short.margin), balance.available, settings.leverage, sharing
                ),
            ),
            *_refusals("orders", _order_faults(most_orders, instrument.max_open_orders)),
            *_refusals(
                "liquidation",
                ()
                if settings.allow_liquidation_in_range
                else liquidation_faults(worst, spec.levels[0], spec.levels[-1]),
            ),
        ),
    )


# Helpers ----------------------------------------------------------------------------------------


def _range(values: Sequence[Decimal]) -> Range:
    return Range(low=min(values), high=max(values))


def _ceiling(value: Decimal) -> int:
    return int(value.to_integral_value(ROUND_CEILING))


def _holding(
    side: Side,
    prices: Sequence[Decimal],
    bound: Decimal,
    settings: EngineSettings,
    spec: GridSpec,
    instrument: Instrument,
    exit_rate: Decimal,
) -> Holding:
    """Fill one side's orders up to the limit; `bound` is where its lots are down the most.

    The dearest ones take the most margin. The loss is that of the ones farthest from the bound:
    for longs the dearest too, for shorts the cheapest.
    """
    limit = settings.max_position
    dearest = sorted(prices, reverse=True)
    outward = sorted(prices, reverse=side is Side.BUY)
    quantity, orders, cost = _fill_up(dearest, spec.quantity, limit, instrument)
    _, _, opened = _fill_up(outward, spec.quantity, limit, instrument)
    down = side.sign * (opened - quantity * bound)
    fees = opened * instrument.maker_fee + quantity * bound * exit_rate
    return Holding(
        quantity=quantity,
        orders=orders,
        cost=cost,
        margin=cost / settings.leverage,
        loss=max(ZERO, down + fees),
    )


def _fill_up(
    prices: Sequence[Decimal], quantity: Decimal, limit: Decimal | None, instrument: Instrument
) -> tuple[Decimal, int, Decimal]:
    """Give quantity, number of orders and cost of orders filled in turn up to the limit."""
    held, orders, cost = ZERO, 0, ZERO
    for price in prices:
        part = quantity
        if limit is not None and limit - held < quantity:
            part = instrument.floor_quantity(limit - held)
            if not instrument.is_tradable(part, price):
                break
        held, orders, cost = held + part, orders + 1, cost + part * price
    return held, orders, cost


def _liquidation_now(position: Position, wallet: Decimal, instrument: Instrument) -> Decimal | None:
    """Prefer the exchange's own figure (GRID.md 6)."""
    if position.liquidation_price is not None or position.entry_price is None:
        return position.liquidation_price
    return liquidation_price(
        position.quantity,
        position.entry_price,
        wallet,
        instrument.maintenance_rate,
        instrument.liquidation_fee,
    )


def _refusals(check: str, faults: Sequence[str]) -> tuple[Refusal, ...]:
    return tuple(Refusal(check=check, words=words) for words in faults)


def _margin_faults(
    margin: Decimal, available: Decimal, leverage: Decimal, sharing: Sharing
) -> tuple[str, ...]:
    others = remaining_of(sharing.others)
    if max(ZERO, margin - sharing.used) + others <= available:
        return ()
    full = f"a full side takes about {_cents(margin)} of margin at leverage {plain(leverage)}" + (
        f" ({_cents(sharing.used)} of it already)" if sharing.used else ""
    )
    if not others:
        words = f"{full}, {_cents(available)} is available; lower quantity or max_position"
        return (words,)
    names = ", ".join(
        f"{other.instance_id} {_cents(other.remaining)}"
        for other in sharing.others
        if other.remaining
    )
    words = (
        f"{full}, the other bots of this account may still take {_cents(others)} ({names}), "
        f"{_cents(available)} is available; lower quantity or max_position of one of them, or "
        "give this one a (sub-)account of its own"
    )
    return (words,)


def _cents(amount: Decimal) -> str:
    return plain(amount.quantize(Decimal("0.01")))


def _order_faults(orders: int, limit: int | None) -> tuple[str, ...]:
    if limit is None or orders <= limit:
        return ()
    words = (
        f"grid_num: the grid has up to {orders} orders at once, the exchange takes {limit}: use "
        "fewer levels or a lower max_position"
    )
    return (words,)
