"""How soon a reader of the snapshot sees what the ledger's lists already say."""

from __future__ import annotations

from decimal import Decimal

from grid_world import World, make_settings

from core.model import Snapshot

D = Decimal


def watched() -> tuple[World, list[Snapshot]]:
    world = World(make_settings(), 105)
    seen: list[Snapshot] = []
    world.engine._publish = seen.append
    world.clock.advance(1)
    world.settle()
    seen.clear()
    return world, seen


def test_a_fill_and_its_counter_order_are_shown_within_20_ms() -> None:
    """/api/status and the lists of the ledger agree as soon as a person could compare them."""
    world, seen = watched()
    for count, price in enumerate((104, 103, 102), start=1):
        world.exchange.jump(price)
        world.step()
        world.clock.advance(0.02)
        world.step()
        assert seen[-1].fill_count == count == world.grid.totals.fills
        assert seen[-1].position == world.grid.position
        assert len(seen[-1].open_orders) == len(world.own())


def test_prices_alone_are_shown_five_times_a_second() -> None:
    """A fast market costs no more snapshots than a page can show."""
    world, seen = watched()
    for step in range(200):
        world.exchange.jump(D("104.9") if step % 2 else D("104.8"))
        world.clock.advance(0.01)
        world.step()
    assert 8 <= len(seen) <= 12
