"""How a fast replay begins: the grid laid out, its first orders, its initial entry filled. Pure.

The cells are the engine's own (`new_grid`, `on_fill`); the numbers of the first orders are those of
its first plan, and the proofs are that the exchange takes them all (`fast_proof`).
"""

from __future__ import annotations

from datetime import datetime
from decimal import Context, Decimal

from cli.fast_ledger import SEED_SEQ, Books
from cli.fast_proof import Bounds, NotProven
from cli.replayed import ReplayIds
from core.model import ZERO, Fill, GridType, OrderRequest, Side, TimeInForce
from exchanges.admission import is_marketable, taking_price
from exchanges.matching import Rules
from exchanges.track import Rates, Track
from strategies.grid_math import nearest_level
from strategies.grid_state import GridSpec, GridState, Leg, slot_of
from strategies.perp_grid import new_grid, on_fill
from strategies.settings import EngineSettings

_EXACT = Context(prec=200)


class FirstOrders:
    """The grid as it begins at `price` on an account of `balance`.

    `grid`: the state after the initial entry's fill, if there is one (`fills`). `hole`, `bottom`,
    `top`: as in `fast_walk`; `base`: the hole at which the position is zero.
    """

    def __init__(
        self,
        settings: EngineSettings,
        rules: Rules,
        spec: GridSpec,
        price: Decimal,
        at: datetime,
        balance: Decimal,
    ) -> None:
        request, self.settings, self.rules = settings.grid, settings, rules
        self.spec, self.price, self.at, self.balance = spec, price, at, balance
        self.quantity = spec.quantity - ZERO  # as an entry writes it
        count = spec.num - 1
        hole = nearest_level(spec.levels, price, spec.kind)
        grid = new_grid(
            spec, price, open_initial=request.open_initial, max_position=request.max_position
        )
        self.ids = ReplayIds()
        self.fills: list[Fill] = []
        self.bottom, self.top, self.hole = 0, count, hole
        self.limit_price = self.paid = price  # of the initial entry
        self.initial = grid.initial
        if self.initial:
            grid = self._open_initial(grid)
        elif spec.kind is GridType.LONG:
            self.top = max(hole, 1)
            if price <= spec.levels[0]:
                self.top = 0
            self.hole = self.top
        elif spec.kind is GridType.SHORT:
            self.bottom = min(hole, count - 1)
            if price >= spec.levels[-1]:
                self.bottom = count
            self.hole = self.bottom
        self.grid = grid
        self.base = {
            GridType.NEUTRAL: self.hole,
            GridType.LONG: self.top,
            GridType.SHORT: self.bottom,
        }[spec.kind]

    def _open_initial(self, grid: GridState) -> GridState:
        """Fill the initial entry: it takes at the price, whole, and goes to the nearest cells."""
        instrument, kind = self.rules.instrument, self.spec.kind
        side = Side.BUY if kind is GridType.LONG else Side.SELL
        limit = self.price * (1 + side.sign * self.settings.slippage_cap)
        at = instrument.price_up(limit) if side is Side.BUY else instrument.price_down(limit)
        self.limit_price = at
        count = len(grid.cells) - self.hole if kind is GridType.LONG else self.hole
        if grid.initial != self.quantity * count:
            raise NotProven("max_position limits the initial entry")
        order = OrderRequest(
            client_order_id=self.ids.make(1),
            symbol=instrument.symbol,
            side=side,
            price=at,
            quantity=grid.initial,
            post_only=False,
            reduce_only=False,
            time_in_force=TimeInForce.IOC,
        )
        if at <= 0 or not is_marketable(order, self.price):
            raise NotProven("the initial entry would not take")
        if grid.initial * at < instrument.min_notional:
            raise NotProven("the initial entry is worth too little")
        self.paid = taking_price(order, self.rules, self.price)
        fill = Fill(
            trade_id="T1",
            venue_order_id="P1",
            client_order_id=order.client_order_id,
            symbol=instrument.symbol,
            side=side,
            price=self.paid,
            quantity=grid.initial,
            fee=grid.initial * self.paid * instrument.taker_fee,
            fee_asset=instrument.quote_asset,
            is_maker=False,
            time=self.at,
        )
        self.fills.append(fill)
        slot = slot_of(grid.version, Leg.INITIAL)
        return on_fill(grid, fill, slot, SEED_SEQ + 1)

    @property
    def cash(self) -> Decimal:
        """The wallet less the signed cost of what is held, after the start (quote currency)."""
        size = self.quantity * (self.base - self.hole)
        return self.balance - size * self.paid - sum((fill.fee for fill in self.fills), ZERO)

    def check(self, bounds: Bounds) -> None:
        """Prove that the exchange takes the first orders, and the grid is not refused.

        Errors: NotProven.
        """
        levels, quantity, kind = self.spec.levels, self.quantity, self.spec.kind
        buys = levels[self.bottom : self.hole] if kind is not GridType.SHORT else ()
        sells = levels[self.hole + 1 : self.top + 1] if kind is not GridType.LONG else ()
        held = quantity * (self.base - self.hole) * self.price
        entries = quantity * sum(buys, ZERO), quantity * sum(sells, ZERO)
        if self.cash < bounds.margin(held, *entries):
            raise NotProven("the margin may be short for the first orders")
        if self.balance * self.rules.leverage < abs(self.initial) * max(
            self.paid, self.limit_price
        ):
            raise NotProven("the margin may be short for the initial entry")
        if not self.settings.allow_liquidation_in_range:
            self._check_liquidation(bounds, list(reversed(buys)), list(sells))

    def _check_liquidation(self, bounds: Bounds, buys: list[Decimal], sells: list[Decimal]) -> None:
        """Fill each side's first orders outward: no liquidation may lie within the range."""
        maker, taker = self.rules.instrument.maker_fee, self.rules.instrument.taker_fee
        sign = -1 if self.spec.kind is GridType.SHORT else 1
        size = sign * self.initial
        at = self.limit_price
        start = self.balance - size * at - self.initial * at * taker
        for side, prices, edge in (
            (1, buys, self.spec.levels[0]),
            (-1, sells, self.spec.levels[-1]),
        ):
            position, cash = size, start
            for price in [None, *prices]:
                if price is not None:
                    position += side * self.quantity
                    cash -= side * self.quantity * price + self.quantity * price * maker
                if position * side > 0 and cash < bounds.maintenance(position, edge):
                    raise NotProven("liquidation may lie inside the range")

    def books(self, track: Track, dues: list[tuple[int, Rates]], bounds: Bounds) -> Books:
        """Open the books with what the start did."""
        number, orders = self._numbers()
        instrument = self.rules.instrument
        return Books(
            track=track,
            dues=dues,
            grid=self.grid,
            bounds=bounds,
            fee_rate=instrument.maker_fee,
            fee_asset=instrument.quote_asset,
            symbol=instrument.symbol,
            order_id=self.ids.make,
            seeded_at=self.at,
            exit_prices=[instrument.round_price(level) for level in self.spec.levels],
            quantity=self.quantity,
            hole=self.hole,
            bottom=self.bottom,
            top=self.top,
            base=self.base,
            fills=list(self.fills),
            cash=int(_EXACT.scaleb(self.cash, bounds.digits)),
            orders=orders,
            number=number,
            seq=SEED_SEQ + len(self.fills),
            started=len(self.fills),
        )

    def _numbers(self) -> tuple[list[int], int]:
        """Number the first orders: the initial one, entries nearest price first, then exits."""
        below = list(range(self.hole - 1, self.bottom - 1, -1))
        above = list(range(self.hole, self.top))
        kind = self.spec.kind
        # Below are entries of a neutral or long grid, or exits of a short one, which come last.
        order = above + below[::-1] if kind is GridType.SHORT else below + above
        number = [0] * (self.spec.num - 1)
        first = 1 + len(self.fills)
        for count, cell in enumerate(order):
            number[cell] = first + count
        return number, first + len(order) - 1
