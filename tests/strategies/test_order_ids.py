"""Client order ids where the numbers begin again: none names two orders that may be meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from random import Random

import pytest
from fakes import EPOCH, Fault
from grid_world import SYMBOL, World, make_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import NotYet, OutcomeUnknown, Retryable, StoreError
from core.model import Order, OrderStatus, Side
from core.ports import Store
from database.db import Database
from exchanges.client_ids import BackpackIds
from strategies import order_ids
from strategies.order_ids import REUSE_AFTER, is_of_before, new_ids
from strategies.standby import Standby

D = Decimal


@dataclass(frozen=True)
class SmallIds:
    """As Backpack's, with room for few."""

    capacity: int | None = 16

    def make(self, number: int) -> str:
        assert self.capacity is not None
        return str(7000 + number % self.capacity)

    def owns(self, client_order_id: str) -> bool:
        return client_order_id.startswith("70")


def order(client_id: str, status: OrderStatus, age: timedelta) -> Order:
    return Order(
        client_order_id=client_id,
        symbol=SYMBOL,
        side=Side.BUY,
        price=D(100),
        quantity=D(1),
        status=status,
        created_at=EPOCH - age,
        updated_at=EPOCH - age,
    )


@contextmanager
def database() -> Iterator[Store]:
    store = Database(":memory:")
    try:
        yield store
    finally:
        store.close()


STATUSES = st.sampled_from(list(OrderStatus))
AGES = st.sampled_from([timedelta(0), REUSE_AFTER - timedelta(1), REUSE_AFTER + timedelta(1)])


@settings(max_examples=60)
@given(
    known=st.dictionaries(st.integers(0, 15), st.tuples(STATUSES, AGES), max_size=12),
    begin=st.integers(10, 40),
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=6),
)
def test_no_id_meets_an_order_that_may_live(
    known: dict[int, tuple[OrderStatus, timedelta]], begin: int, counts: list[int]
) -> None:
    """Around the wrap, whatever the ledger holds: live and recent ones are skipped, each id that
    is given is saved and so is not given again, and old ones may serve.
    """
    ids = SmallIds()
    with database() as store:
        blocked = set()
        for slot, (status, age) in known.items():
            client_id = ids.make(slot)
            store.save_order(order(client_id, status, age))
            if not status.is_terminal or age < REUSE_AFTER:
                blocked.add(client_id)
        store.reserve_order_numbers(16 + begin)
        given_out: list[str] = []
        for count in counts:
            if len(blocked) + len(given_out) + count > 16:
                return  # room for no more
            taken = new_ids(store, ids, count, EPOCH)
            assert len(taken) == len(set(taken)) == count
            assert blocked.isdisjoint(taken)
            assert set(given_out).isdisjoint(taken)
            for client_id in taken:
                store.save_order(order(client_id, OrderStatus.NEW, timedelta(0)))
            given_out += taken


def test_backpacks_own_ids_around_their_wrap() -> None:
    """Up to the wrap every id serves; after it the first ones do, but for one that lives."""
    ids = BackpackIds("live_01")
    assert ids.capacity == 1 << 20
    with database() as store:
        alive = ids.make(ids.capacity + 2)
        store.save_order(order(alive, OrderStatus.NEW, timedelta(400)))
        store.reserve_order_numbers(ids.capacity - 3)
        taken = new_ids(store, ids, 6, EPOCH)
        assert alive not in taken
        assert len(set(taken)) == 6
        assert all(ids.owns(client_id) and int(client_id) < 1 << 32 for client_id in taken)
        assert taken[:2] == [ids.make(ids.capacity - 2), ids.make(ids.capacity - 1)]


def test_when_all_are_in_use_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is placed, with words, and no endless search."""
    monkeypatch.setattr(order_ids, "MAX_SKIPPED", 100)
    ids = SmallIds()
    with database() as store:
        for slot in range(16):
            store.save_order(order(ids.make(slot), OrderStatus.NEW, timedelta(0)))
        store.reserve_order_numbers(20)
        with pytest.raises(StoreError, match="another instance_id"):
            new_ids(store, ids, 1, EPOCH)


def test_the_exchanges_memory_of_an_older_order_is_not_ours() -> None:
    """Its last word on the id is of the order that had it before."""
    mine = order("1", OrderStatus.PENDING, timedelta(0))
    assert is_of_before(mine, EPOCH - REUSE_AFTER, do_repeat=True)
    assert not is_of_before(mine, EPOCH - timedelta(days=1), do_repeat=True)


def test_an_exchange_in_the_past_is_believed_where_ids_never_repeat() -> None:
    """A replay's orders bear the time of their candles, years before the engine's clock."""
    mine = order("1", OrderStatus.NEW, timedelta(0))
    assert not is_of_before(mine, EPOCH - timedelta(days=1500), do_repeat=False)


@pytest.mark.parametrize("seed", range(5))
def test_a_grid_trades_through_the_wrap(seed: int) -> None:
    """A long run with room for 48 ids, orders living through several wraps: the book is whole."""
    world = World(make_settings(), 105, boot=False)
    ids = SmallIds(capacity=48)
    world.engine.desk.ids = ids
    world.boot()
    chance, price = Random(seed), 105
    for _ in range(120):
        world.clock.advance(REUSE_AFTER.total_seconds() / 20)
        price = min(108, max(102, price + chance.choice((-1, 1))))
        world.go(price)
        for ended in [o for o in world.exchange.orders.values() if o.status.is_terminal]:
            del world.exchange.orders[ended.client_order_id]  # it knows ids of what rests only
    numbers = world.store.reserve_order_numbers(1)
    assert numbers > 2 * 48
    resting = [o.client_order_id for o in world.exchange.open]
    assert len(resting) == len(set(resting)) == 10
    assert sorted(resting) == sorted(world.engine.desk.by_id)
    assert world.grid.position == world.exchange.position
    assert not world.engine.frozen


# Look-ups ---------------------------------------------------------------------------------------


def in_doubt(world: World) -> None:
    """Three orders whose requests had no answer and never arrived."""
    for _ in range(3):
        world.exchange.place_faults.append(Fault(error=OutcomeUnknown("no answer"), arrives=False))


def live_on(world: World, seconds: int) -> None:
    for _ in range(seconds):
        world.clock.advance(1.0)
        world.settle()


def look_ups(world: World, error: Exception, seconds: int) -> int:
    """Count the look-ups within some seconds of an exchange that answers each with an error."""
    asked = 0

    def on_call(what: str) -> None:
        nonlocal asked
        if what == "order":
            asked += 1
            raise error

    world.exchange.on_call = on_call
    live_on(world, seconds)
    world.exchange.on_call = None
    return asked


def test_an_exchange_that_wants_to_be_left_alone_is() -> None:
    """One 429 holds every look-up back for its time; then all are made."""
    world = World(make_settings(interval_s=600.0), 105, boot=False)
    in_doubt(world)
    world.boot()
    assert look_ups(world, Retryable("429 too many requests", 30.0), 25) == 1
    live_on(world, 40)
    assert len(world.exchange.open) == 10
    assert not world.engine.desk.look_up_at


def test_an_answer_that_proves_nothing_holds_nobody_else_back() -> None:
    """It is about one order: the others are asked about, each at its own time."""
    world = World(make_settings(interval_s=600.0), 105, boot=False)
    in_doubt(world)
    world.boot()
    assert look_ups(world, NotYet("may still arrive", 5.0), 4) == 3


def test_an_older_order_of_the_id_is_no_answer() -> None:
    """The exchange shows one of months ago: ours is neither filled by it nor given up too soon."""
    world = World(make_settings(interval_s=600.0), 105, boot=False)
    world.engine.desk.ids = SmallIds(capacity=1 << 20)
    world.exchange.place_faults.append(Fault(error=OutcomeUnknown("no answer"), arrives=False))
    world.boot()
    (pending,) = [o for o in world.engine.desk.by_id.values() if o.status is OrderStatus.PENDING]
    world.exchange.orders[pending.client_order_id] = replace(
        pending,
        status=OrderStatus.FILLED,
        filled_qty=pending.quantity,
        venue_order_id="V-old",
        created_at=pending.created_at - REUSE_AFTER,
    )
    live_on(world, 30)
    assert pending.client_order_id in world.engine.desk.by_id
    live_on(world, 40)
    assert pending.client_order_id not in world.engine.desk.by_id
    assert world.grid.position == 0
    assert len(world.exchange.open) == 10


# Ids that are kept ready ------------------------------------------------------------------------


@dataclass
class KeptIds:
    """A reserve whose disk is always quick enough."""

    rows: dict[str, str]

    def load(self) -> dict[str, str]:
        return dict(self.rows)

    def keep(self, slots: Mapping[str, str]) -> None:
        assert not self.rows.keys() & slots.keys(), "an id kept twice"
        self.rows |= slots

    def drop(self, ids: Iterable[str]) -> None:
        for client_id in ids:
            del self.rows[client_id]

    def sync_soon(self) -> int:
        return 0

    def is_synced(self, mark: int) -> bool:
        return mark == 0

    def close(self) -> None:
        return


def test_an_id_that_waits_for_its_order_is_not_free() -> None:
    """After the wrap it has no row yet, and still it is another order's."""
    ids = SmallIds()
    with database() as store:
        standby = Standby(store, ids, KeptIds({}))
        standby.fill_up(["1.e0", "1.e1"])
        waiting = [ids.make(1), ids.make(2)]
        assert [standby.holds(client_id) for client_id in waiting] == [True, True]
        store.reserve_order_numbers(14)
        taken = new_ids(store, ids, 3, EPOCH, standby.holds)
        assert not set(taken) & set(waiting)
        assert standby.take(["1.e0", "1.e1"]) == waiting
        assert standby.holds(waiting[0]), "its order's row may not be on the disk"


def test_where_ids_begin_again_none_is_kept_ready() -> None:
    """An earlier order's row could be taken for the lost one: every order waits for the disk."""
    ids, reserve = SmallIds(), KeptIds({})
    with database() as store:
        standby = Standby(store, ids, reserve)
        store.reserve_order_numbers(14)
        standby.fill_up(["1.e0", "1.e1"])
        assert standby.take(["1.e0"]) is None
        before = store.reserve_order_numbers(1)
        standby.fill_up(["1.e0", "1.e1"])
        assert store.reserve_order_numbers(1) == before + 1, "and it uses up no more numbers"
        assert reserve.rows == {}
