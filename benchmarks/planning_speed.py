"""How long a grid thinks: from a fill to its counter-order, and a whole new plan.

    python benchmarks/planning_speed.py

The decision is what stands between the exchange's news and the next request: the fill advances its
cell, the wanted orders are derived, compared with those that work, and the difference is there. The
ledger's write and the request itself are not in it. Floor: the least comparison, one dictionary
look-up and two equalities for each order. Times are CPU of the thread, all calls counted, so that a
busy machine does not pass for a slow decision.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from core.model import Fill, GridMode, GridType, Instrument, Order, OrderStatus, Side
from strategies.desired import desired_orders
from strategies.grid_math import level_prices
from strategies.grid_state import GridSpec, GridState
from strategies.perp_grid import new_grid, on_fill
from strategies.reconcile import Exposure, Plan, plan_orders

FILLS = 4_000
NOW = datetime(2026, 1, 1, tzinfo=UTC)
INSTRUMENT = Instrument(
    symbol="BTC_USDC_PERP",
    base_asset="BTC",
    quote_asset="USDC",
    tick_size=Decimal(1),
    lot_size=Decimal("0.001"),
    min_quantity=Decimal("0.001"),
    min_notional=Decimal(5),
    maker_fee=Decimal("0.0002"),
    taker_fee=Decimal("0.0005"),
)


class Grid:
    """One grid whose orders rest as planned; `fill` trades the one next to the price."""

    def __init__(self, levels: int, limit: str | None) -> None:
        lower, upper = Decimal(10_000), Decimal(10_000 + 100 * (levels - 1))
        prices = level_prices(lower, upper, levels, GridMode.ARITHMETIC, INSTRUMENT)
        spec = GridSpec(
            lower=lower,
            upper=upper,
            mode=GridMode.ARITHMETIC,
            kind=GridType.NEUTRAL,
            quantity=Decimal("0.1"),
            levels=prices,
        )
        self.limit = None if limit is None else Decimal(limit)
        self.price = (lower + upper) / 2 + 10
        self.state: GridState = new_grid(
            spec, self.price, open_initial=False, max_position=self.limit
        )
        self.working: dict[str, Order] = {}
        self.seq = 0
        self.send(self.plan())

    def plan(self) -> Plan:
        resting = frozenset((order.side, order.price) for order in self.working.values())
        wanted = desired_orders(
            self.state, self.price, INSTRUMENT, max_position=self.limit, resting=resting
        )
        exposure = Exposure(
            held_long=self.state.held(Side.BUY),
            held_short=self.state.held(Side.SELL),
            max_position=self.limit,
        )
        return plan_orders(
            wanted, self.working, frozenset(), self.price, INSTRUMENT, exposure, frozenset()
        )

    def send(self, plan: Plan) -> None:
        for order in plan.cancel:
            del self.working[order.slot]
        for want in plan.place:
            self.seq += 1
            self.working[want.slot] = Order(
                client_order_id=f"bench-{self.seq}",
                symbol=INSTRUMENT.symbol,
                side=want.side,
                price=want.price,
                quantity=want.quantity,
                status=OrderStatus.NEW,
                created_at=NOW,
                updated_at=NOW,
                slot=want.slot,
            )

    def fill(self, side: Side) -> float:
        """Fill the order nearest the price on one side; seconds from the fill to the plan."""
        near = max if side is Side.BUY else min
        mine = [order for order in self.working.values() if order.side is side]
        if not mine:
            return self.fill(side.opposite)
        order = near(mine, key=lambda order: order.price)
        del self.working[order.slot]
        fill = Fill(
            trade_id=f"t{self.seq}",
            venue_order_id="",
            client_order_id=order.client_order_id,
            symbol=order.symbol,
            side=side,
            price=order.price,
            quantity=order.quantity,
            fee=order.price * order.quantity * INSTRUMENT.maker_fee,
            fee_asset="USDC",
            is_maker=True,
            time=NOW,
        )
        self.price = order.price
        began = time.thread_time()
        self.state = on_fill(self.state, fill, order.slot, self.seq)
        plan = self.plan()
        took = time.thread_time() - began
        self.send(plan)
        while not (plan := self.plan()).is_empty:
            self.send(plan)
        return took


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def decisions(levels: int, limit: str | None) -> list[float]:
    grid, chance = Grid(levels, limit), random.Random(1)
    return [grid.fill(chance.choice((Side.BUY, Side.SELL))) for _ in range(FILLS)]


def repeated(call: Callable[[], object], times: int = 2_000) -> list[float]:
    took = []
    for _ in range(times):
        began = time.thread_time()
        call()
        took.append(time.thread_time() - began)
    return took


def main() -> None:
    print(f"{'':<44}{'p50':>10}{'p99':>10}{'aim':>16}")
    for levels, limit in ((50, None), (50, "1.5"), (200, None)):
        took = decisions(levels, limit)
        name = f"fill to counter-order, {levels} levels{', a limit' if limit else ''}"
        aim = "200, 1,000" if levels == 50 else ""
        p50, p99 = statistics.median(took) * 1e6, percentile(took, 0.99) * 1e6
        print(f"{name:<44}{p50:>7.0f} us{p99:>7.0f} us{aim:>16}")
    for levels in (50, 200):
        grid = Grid(levels, None)
        took = repeated(grid.plan)
        fresh = repeated(lambda grid=grid: anew(grid), 300)  # type: ignore[misc]
        least = repeated(lambda grid=grid: floor(grid))  # type: ignore[misc]
        for name, values, aim in (
            (f"a new plan, {levels} levels", took, "1,000" if levels == 200 else ""),
            (f"the same with nothing remembered, {levels}", fresh, ""),
            (f"floor: {levels} look-ups and comparisons", least, ""),
        ):
            p50, p99 = statistics.median(values) * 1e6, percentile(values, 0.99) * 1e6
            print(f"{name:<44}{p50:>7.0f} us{p99:>7.0f} us{aim:>16}")


def anew(grid: Grid) -> None:
    """Plan as after an adjust: with an empty memo."""
    grid.state = replace(grid.state, spec=replace(grid.state.spec))
    grid.plan()


def floor(grid: Grid) -> int:
    working = grid.working
    return sum(
        other.price == order.price and other.quantity == order.quantity
        for slot, order in working.items()
        if (other := working.get(slot)) is not None
    )


if __name__ == "__main__":
    main()
