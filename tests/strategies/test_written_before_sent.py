"""What leaves is on the disk before it leaves (I8), and what need not be does not wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from grid_world import World, make_settings

from core.model import GridType, Order, OrderRequest, OrderStatus
from database.db import Database


class SyncWatch(Database):
    """A ledger that knows which orders a synced commit holds, and counts the commits."""

    def __init__(self) -> None:
        self.synced: set[str] = set()
        self.synced_commits = self.lazy_commits = 0
        self._open: list[str] = []
        self._depth = 0
        super().__init__(":memory:")

    @contextmanager
    def transaction(self, *, lazy: bool = False) -> Iterator[None]:
        self._depth += 1
        try:
            with super().transaction(lazy=lazy):
                yield
        finally:
            self._depth -= 1
        if self._depth == 0:
            if lazy:
                self.lazy_commits += 1
            else:
                self.synced_commits += 1
                self.synced.update(self._open)
                self._open.clear()

    def save_order(self, order: Order) -> None:
        super().save_order(order)
        if order.status is OrderStatus.PENDING:
            self._open.append(order.client_order_id)


@pytest.mark.parametrize("kind", list(GridType))
def test_no_order_leaves_before_a_synced_commit_of_it(kind: GridType) -> None:
    """At a start, after fills, over a move: the exchange sees no order that is not on the disk."""
    store = SyncWatch()
    world = World(make_settings(kind=kind, open_initial=True), 105, store=store, boot=False)
    sent: list[str] = []

    def on_place(request: OrderRequest) -> None:
        assert request.client_order_id in store.synced, request
        sent.append(request.client_order_id)

    world.exchange.on_place = on_place
    world.boot().go(101, 108, 103, 107)
    world.adjust(98, 112)
    assert len(sent) > 20


def test_a_fill_and_its_answer_wait_for_the_disk_once() -> None:
    """The fill goes to the disk with the order that answers it."""
    store = SyncWatch()
    world = World(make_settings(), 105, store=store).go(104)
    before = store.synced_commits, store.lazy_commits, len(world.exchange.fills)
    world.go(103)
    assert len(world.exchange.fills) == before[2] + 1
    assert store.synced_commits == before[0] + 1
    assert store.lazy_commits > before[1]
