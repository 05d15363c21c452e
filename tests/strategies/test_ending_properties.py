"""However a run ends and whatever fails, its end is proved or said not to be (GRID.md 8, 9).

Random paths with stops and boundaries that close everything, under random faults: what the end
claims is held against the exchange's own orders, position and equity.
"""

from __future__ import annotations

import random
from decimal import Decimal

import pytest
from fakes import Fault
from grid_world import World, make_instrument, make_settings
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from core.errors import ExchangeError, OutcomeUnknown, Rejected, RejectReason, Retryable
from core.model import GridType, RunState, Side
from strategies import ending

pytestmark = pytest.mark.slow

D = Decimal


def faults(chance: random.Random, share: float, count: int) -> list[Fault | None]:
    kinds = (
        Fault(error=Retryable("busy", 0.5)),
        Fault(error=OutcomeUnknown("time-out")),
        Fault(error=OutcomeUnknown("time-out"), arrives=True),
        Fault(error=Rejected(RejectReason.OTHER, "no")),
    )
    return [chance.choice(kinds) if chance.random() < share else None for _ in range(count)]


def fetch_faults(chance: random.Random, share: float, count: int) -> list[ExchangeError | None]:
    return [Retryable("busy", 0.5) if chance.random() < share else None for _ in range(count)]


@settings(max_examples=150)
@seed(11)
@given(
    number=st.integers(0, 2**32),
    kind=st.sampled_from(GridType),
    rule=st.sampled_from(("emergency_close", "stop_loss", "take_profit")),
    limit=st.sampled_from((None, 3)),
    open_initial=st.booleans(),
    share=st.sampled_from((0.0, 0.2, 0.5)),
)
def test_the_end_is_what_it_says(
    number: int, kind: GridType, rule: str, limit: int | None, open_initial: bool, share: float
) -> None:
    """Nothing of ours rests if it says so; the position is gone and booked if it says so."""
    chance = random.Random(number)
    rules: dict[str, object] = {
        "emergency_close": {"boundary_action": "emergency_close"},
        "stop_loss": {"stop_loss": D(5)},
        "take_profit": {"take_profit": D(2)},
    }[rule]  # type: ignore[assignment]  # a table of keyword arguments
    world = World(
        make_settings(kind=kind, max_position=limit, open_initial=open_initial, **rules),
        chance.randrange(101, 110),
        instrument=make_instrument(lot="0.1"),
    )
    exchange, engine = world.exchange, world.engine
    exchange.add_foreign(Side.BUY, 1, "hand-1")
    for _ in range(40):
        for _ in exchange.walk(chance.randrange(94, 118)):
            world.clock.advance(6)
            world.step()
        if engine.stop_request is not None:
            break
    else:
        return  # this path reached no stop
    exchange.place_faults.extend(faults(chance, share, 6))
    exchange.cancel_faults.extend(faults(chance, share, 30))
    exchange.fetch_faults.extend(fetch_faults(chance, share, 12))
    asked = len(exchange.orders)
    left = ending.shut_down(engine, engine.stop_request)
    placed = list(exchange.orders.values())[asked:]
    assert engine.state is RunState.STOPPED
    assert all(order.reduce_only for order in placed), "only the close is sent at the end"
    if left == 0:
        assert world.own() == []
    assert left == engine.orders_left
    if not engine.position_left:
        assert exchange.position == world.grid.position == 0
        assert world.pnl.total == exchange.equity_change
    if share == 0:
        assert left == 0
        assert not engine.position_left
    assert not exchange.orders["hand-1"].status.is_terminal

    # What could not be done is done by the next run, which knows why it is here.
    world.restart()
    engine = world.engine
    for faulty in (exchange.place_faults, exchange.cancel_faults, exchange.fetch_faults):
        faulty.clear()
    world.settle(patience_s=3)
    if exchange.position and engine.stop_request is not None:
        assert ending.shut_down(engine, engine.stop_request) == 0
        assert exchange.position == world.grid.position == 0
        assert world.own() == []
        assert world.pnl.total == exchange.equity_change
