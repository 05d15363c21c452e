"""What a power cut may take, and that the next run ends in the same state (I8, I10).

An order under an id that was kept ready leaves while its row, and the fill that it answers, are
still on their way to the disk (docs/decisions/008). The next run has the ledger of before, and an
exchange that has gone on.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from grid_world import World, make_settings
from power import PoweredStore, SlowReserve
from storm import WEATHER, Storm

from core.errors import Retryable
from core.model import GridMode, GridType, OrderRequest
from database.db import Database
from database.reserve import FOLD_EVERY, Reserve, WalSync
from strategies.standby import answers

D = Decimal
NEVER, ALWAYS = 0.0, 1.0


class PowerWorld:
    """A grid whose disk the test syncs, and a machine that it can switch off."""

    def __init__(self, folder: Path, seed: int = 1) -> None:
        self.dice = random.Random(seed)
        self.store = PoweredStore(folder / "x.db")
        self.luck = ALWAYS
        self.world = World(make_settings(), 105, store=self.store, reserve=self.reserve)

    def reserve(self) -> SlowReserve:
        self.made = SlowReserve(self.store, self.dice, self.luck)
        return self.made

    def hold_disk(self) -> None:
        """From now on nothing reaches the disk but by a commit that waits for it."""
        self.made._luck = NEVER

    def switch_off(self) -> None:
        self.store = self.store.cut()
        self.world.store = self.store

    def adopted(self) -> int:
        return sum(event == "order_adopted" for event, _ in self.world.log)


def same(world: World, other: World) -> bool:
    """Whether two grids are in the same state: orders, lots and figures."""
    return (world.orders(), world.lots(), world.pnl) == (other.orders(), other.lots(), other.pnl)


def rests(_: PowerWorld) -> None:
    """The answer rests."""


def fills(power: PowerWorld) -> None:
    """The answer was filled, and its own answer never left."""
    power.world.exchange.jump(105)


def fills_in_part(power: PowerWorld) -> None:
    """A part of the answer was filled."""
    answer = next(o for o in power.world.own() if o.price == 105)
    power.world.exchange.fill(answer.client_order_id, D("0.4"))


def fills_in_part_and_ends(power: PowerWorld) -> None:
    """The exchange ended the answer after a part of it."""
    answer = next(o for o in power.world.own() if o.price == 105)
    power.world.exchange.fill(answer.client_order_id, D("0.4"))
    power.world.exchange.end(answer.client_order_id)


def is_followed(power: PowerWorld) -> None:
    """The price goes on to the next level: two fills and two answers are lost."""
    power.world.go(103)


FATES = (rests, fills, fills_in_part, fills_in_part_and_ends, is_followed)


@pytest.mark.parametrize("fate", FATES)
def test_a_power_cut_behind_a_send_costs_nothing(
    tmp_path: Path, fate: Callable[[PowerWorld], None]
) -> None:
    """The lost order is known again by its id, its fills are booked once, in their cells."""
    power = PowerWorld(tmp_path)
    power.hold_disk()
    world = power.world.go(104)
    answer = next(o for o in world.own() if o.price == 105)
    fate(power)
    before = world.store.fill_count()
    power.switch_off()
    assert power.store.load_order(answer.client_order_id) is None, "its row is lost"
    assert power.store.fill_count() < before, "and so is the fill that it answers"
    world.restart()
    steady = World(make_settings(), 105)
    steady.go(104)
    if fate is fills:
        steady.go(105)
    if fate is is_followed:
        steady.go(103)
    if fate in (fills_in_part, fills_in_part_and_ends):
        order = next(o for o in steady.own() if o.price == 105)
        steady.exchange.fill(order.client_order_id, D("0.4"))
        if fate is fills_in_part_and_ends:
            steady.exchange.end(order.client_order_id)
        steady.restart()
    assert same(world, steady), (world.orders(), steady.orders())
    assert world.grid.totals.stray_fills == 0
    assert power.adopted() >= 1
    assert not world.engine.frozen
    assert "looks like ours" not in world.alerts()


@pytest.mark.parametrize("calls", range(12))
def test_orders_in_a_row_are_known_again_whatever_fails_meanwhile(
    tmp_path: Path, calls: int
) -> None:
    """A fill, its answer's fill and the answer to that, all lost, in two slots that had orders.

    The later one waits until the end of the one before it in its slot is known, however often the
    exchange has to be asked.
    """
    power = PowerWorld(tmp_path)
    standby = power.world.engine.desk.standby
    assert standby is not None
    standby.fill_up(["1.e4"])
    power.hold_disk()
    power.world.go(104, 105)
    power.switch_off()
    power.world.exchange.fetch_faults.extend([None] * calls)
    power.world.exchange.fetch_faults.append(Retryable("busy", 0.5))
    power.world.restart()
    power.world.settle(patience_s=10)
    steady = World(make_settings(), 105).go(104, 105)
    assert same(power.world, steady), (power.world.orders(), steady.orders())
    assert power.adopted() == 2
    assert power.world.store.fill_count() == 2
    assert power.world.grid.totals.stray_fills == 0
    assert not power.world.engine.frozen


def test_the_answers_of_the_nearest_orders_are_kept_ready() -> None:
    """Of both sides, nearest first; what is no cell's order has no answer."""
    world = World(make_settings(), 105).go(104)
    orders = [*world.engine.desk.working.values()]
    trim = replace(orders[0], slot="trim", price=D("104.5"))
    carried = replace(orders[0], slot="k4", price=D("104.5"))
    assert answers([*orders, trim, carried], D(104), nearest=2) == [
        *("1.x3", "1.x2"),  # of BUY 103 and 102
        *("1.e4", "1.x5"),  # of SELL 105, which closes cell 4, and SELL 106, which opens cell 5
    ]


def test_no_order_leaves_whose_id_is_not_on_the_disk(tmp_path: Path) -> None:
    """I8: with its row, or as one kept for its slot; whatever has reached the disk."""
    power = PowerWorld(tmp_path)
    ahead = 0

    def on_place(request: OrderRequest) -> None:
        nonlocal ahead
        found = power.store.on_disk()
        try:
            kept = Reserve(found).load()
            if found.load_order(request.client_order_id) is None:
                assert request.client_order_id in kept
                order = power.store.load_order(request.client_order_id)
                assert order is not None
                assert kept[request.client_order_id] == order.slot
                ahead += 1
        finally:
            found.close()

    power.world.exchange.on_place = on_place
    power.made._luck = 0.3
    power.world.go(101, 108, 103, 107)
    power.world.adjust(98, 112)
    power.world.go(104, 109, 100)
    assert ahead > 5


def test_an_id_that_a_former_run_kept_is_not_used_again(tmp_path: Path) -> None:
    """It may have been: only the exchange knows, and an id stands for one order (I8)."""
    power = PowerWorld(tmp_path)
    kept = set(Reserve(power.store).load())
    assert kept
    sent: list[str] = []
    power.world.exchange.on_place = lambda request: sent.append(request.client_order_id)
    power.world.restart().go(103, 106, 104)
    assert sent
    assert not kept & set(sent)
    assert not kept & set(Reserve(power.store).load()), "they are forgotten once all is complete"


def test_what_is_not_on_the_disk_is_waited_for(tmp_path: Path) -> None:
    """With a disk that never comes to an end, every order takes the synced way."""
    power = PowerWorld(tmp_path)
    power.hold_disk()
    power.world.go(104)  # by an id that is on the disk
    before = power.store.synced_bytes
    power.world.go(105, 104, 105)  # the next ones of these slots are not
    assert power.store.synced_bytes > before
    assert same(power.world, World(make_settings(), 105).go(104, 105, 104, 105))


class PowerStorm(Storm):
    """A storm in which the crash may be the machine's own."""

    def __init__(self, folder: Path, seed: int, **options: object) -> None:
        self.dice = random.Random(seed + 1)
        store = PoweredStore(folder / f"{seed}.db")
        super().__init__(seed, store=store, reserve=self._reserve, **options)  # type: ignore[arg-type]  # passed on as they are

    def _reserve(self) -> SlowReserve:
        store = self.store
        assert isinstance(store, PoweredStore)
        return SlowReserve(store, self.dice, self.dice.choice((0.05, 0.5, 1.0)))

    def _recover(self) -> None:
        store = self.store
        assert isinstance(store, PoweredStore)
        if self.dice.random() < 0.7:
            self.seen_ops["power cut"] += 1
            store.fuse = None
            self.store = self.world.store = store.cut(self.dice)
        super()._recover()

    def finish(self) -> None:
        self.seen_ops["adopted"] += sum(e == "order_adopted" for e, _ in self.world.log)
        super().finish()
        self.store.close()


def run_storms(folder: Path, seeds: range, ops: int) -> Counter[str]:
    happened = Counter[str]()
    for seed in seeds:
        pick = random.Random(seed)
        storm = PowerStorm(
            folder,
            seed,
            kind=pick.choice(list(GridType)),
            mode=pick.choice(list(GridMode)),
            max_position=pick.choice((None, "3", "2.5")),
            open_initial=pick.random() < 0.5,
            boundary=pick.choice(("none", "stop_only", "trail", "adjust_range")),
        )
        storm.blow(ops)
        storm.finish()
        happened.update(storm.seen_ops)
    return happened


@pytest.fixture
def many_crashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WEATHER, "crash", (20, "the process dies, or the machine"))


@pytest.mark.slow
@pytest.mark.usefixtures("many_crashes")
def test_every_invariant_holds_over_power_cuts(tmp_path: Path) -> None:
    """GRID.md 9 at every request and in every lull, the machine switched off at any write."""
    happened = run_storms(tmp_path, range(6), 40)
    assert happened["power cut"] > 10


@pytest.mark.slow
@pytest.mark.usefixtures("many_crashes")
def test_every_invariant_holds_over_many_power_cuts(tmp_path: Path) -> None:
    happened = run_storms(tmp_path, range(100, 100 + int(os.environ.get("GRID_CUTS", "60"))), 120)
    assert happened["power cut"] > 300
    assert happened["adopted"] > 20


def wait_until(is_so: Callable[[], bool], deadline_s: float = 30.0) -> None:
    """Wait for another thread."""
    pause, end = threading.Event(), time.monotonic() + deadline_s
    while not is_so():
        assert time.monotonic() < end, "it does not come"
        pause.wait(0.002)


# The thread ---------------------------------------------------------------------------------------


def test_a_mark_is_reached_only_after_the_sync_that_began_behind_it(tmp_path: Path) -> None:
    """What was committed while a sync ran waits for the next one."""
    database = Database(tmp_path / "x.db", durable=True)
    running, may_end = threading.Semaphore(0), threading.Semaphore(0)

    def sync(file: int) -> None:
        os.fdatasync(file)
        running.release()
        assert may_end.acquire(timeout=30)

    wal = WalSync(database.path, sync)
    try:
        first = wal.begin()
        assert running.acquire(timeout=30)
        second = wal.begin()
        assert wal.done < first
        may_end.release()
        assert running.acquire(timeout=30)  # the second has begun: the first is over
        assert first <= wal.done < second
        may_end.release()
    finally:
        wal.close()
        database.close()
    assert wal.done == second


def test_the_log_is_folded_beside_the_writer(tmp_path: Path) -> None:
    """However many commits there are, none of them has to do it before an order leaves."""
    database = Database(tmp_path / "x.db", durable=True)
    reserve = Reserve(database)
    for _ in range(3 * FOLD_EVERY):
        with database.transaction(lazy=True):
            database.save_meta("a", "x" * 20_000)
        mark = reserve.sync_soon()
        wait_until(lambda mark=mark: reserve.is_synced(mark))
    log = (tmp_path / "x.db-wal").stat().st_size
    reserve.close()
    assert log < 3 * FOLD_EVERY * 20_000 / 2
    assert database.load_meta("a") == "x" * 20_000
    database.close()


def test_no_sync_is_trusted_behind_one_that_failed(tmp_path: Path) -> None:
    """The kernel tells a failure once: a later success says nothing of what was lost before it."""
    database = Database(tmp_path / "x.db", durable=True)
    calls: list[int] = []

    def sync(file: int) -> None:
        calls.append(file)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")

    wal = WalSync(database.path, sync)
    good = wal.begin()
    wait_until(lambda: wal.done == good)
    wal.begin()
    wait_until(lambda: len(calls) == 2)
    wal.begin()
    wal.close()
    assert wal.done == good
    assert len(calls) == 2
    database.close()
