"""Random weather for a grid: everything an exchange, a user and a crash can do, and the oracles.

A `Storm` drives one `World` with its own seeded generator. At every request that reaches the
exchange it holds the order against GRID.md 9 (`_judge_request`), after every lull against the rest
(`check_lull`). What is checked is the exchange's own truth: its orders, its position, its equity.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from fakes import CrashError, Fault
from grid_world import OWN, World, make_instrument, make_settings

from core.errors import OutcomeUnknown, Rejected, RejectReason, Retryable
from core.model import (
    ZERO,
    AdjustGrid,
    FeedGap,
    Fill,
    GridMode,
    GridType,
    Instrument,
    LotsPolicy,
    Order,
    OrderRequest,
    Outcome,
    Pause,
    Resume,
    Side,
    TimeInForce,
)
from core.ports import IdReserve
from database.db import Database
from strategies import journal, planning
from strategies.grid_state import Leg, slot_of
from strategies.journal import Book
from strategies.lots import quantity_of
from strategies.reconcile import is_opening

D = Decimal


class WatchedStore(Database):
    """The real ledger, which knows the trades it has and can die at any write."""

    def __init__(self, db_path: str | Path = ":memory:", *, durable: bool = False) -> None:
        self.seen: set[str] = set()
        self.fuse: int | None = None
        self.writes = 0
        super().__init__(db_path, durable=durable)

    def burn(self) -> None:
        """Die here if the fuse is at its end."""
        self.writes += 1
        if self.fuse is None:
            return
        self.fuse -= 1
        if self.fuse <= 0:
            self.fuse = None
            raise CrashError

    @contextmanager
    def transaction(self, *, lazy: bool = False) -> Iterator[None]:
        self.burn()
        with super().transaction(lazy=lazy):
            yield
            self.burn()
        self.burn()

    def save_order(self, order: Order) -> None:
        self.burn()
        super().save_order(order)

    def insert_fill(self, fill: Fill, slot: str) -> bool:
        self.burn()
        is_new = super().insert_fill(fill, slot)
        if is_new:
            self.seen.add(fill.trade_id)
        return is_new

    def recall(self) -> None:
        """Know again what is really there, after a crash."""
        self.seen = {fill.trade_id for fill in self.load_fills(1_000_000)}


class Storm:
    """One world, one seed. `ops` leaves some kinds of weather out."""

    def __init__(
        self,
        seed: int,
        *,
        kind: GridType,
        mode: GridMode = GridMode.ARITHMETIC,
        max_position: str | None = None,
        open_initial: bool = False,
        boundary: str = "none",
        store: WatchedStore | None = None,
        reserve: Callable[[], IdReserve] | None = None,
    ) -> None:
        self.random = random.Random(seed)
        self.kind = kind
        dusty = self.random.random() < 0.5
        self.instrument: Instrument = make_instrument(
            "0.01" if mode is GridMode.GEOMETRIC else "1",
            "0.1",
            min_quantity="0.3" if dusty else "0.1",
        )
        self.store = store or WatchedStore()
        self.events = 0
        self.seen_ops: Counter[str] = Counter()
        self.opens: dict[str, bool] = {}
        settings = make_settings(
            100,
            100 + self.random.choice((8, 12, 20)),
            self.random.choice((4, 5)) if self.random.random() < 0.3 else 9,
            kind=kind,
            mode=mode,
            max_position=max_position,
            open_initial=open_initial,
            interval_s=20.0,
            boundary_action=boundary,
            boundary_moves_per_hour=self.random.choice((1, 3, 100)),
        )
        self.world = World(
            settings,
            100 + self.random.randrange(0, 14),
            instrument=self.instrument,
            store=self.store,
            reserve=reserve,
            boot=False,
        )
        self.exchange = self.world.exchange
        self.exchange.on_place = self._judge_request
        self.exchange.on_call = self._burn
        self.exchange.add_foreign(Side.BUY, 1, "hand-1")
        self.world.after_step = self._judge_position
        self.world.boot()

    # Weather ------------------------------------------------------------------------------------

    def blow(self, ops: int) -> None:
        """Let `ops` things happen, one after the other, and check every lull."""
        for _ in range(ops):
            name = self.random.choices(list(WEATHER), [w for w, _ in WEATHER.values()])[0]
            self.seen_ops[name] += 1
            try:
                getattr(self, f"_{name}")()
            except CrashError:
                self._recover()
            if self.random.random() < 0.1:
                self.lull()
        self.lull()

    def lull(self) -> None:
        """Let everything that was held back or lost come to light, then hold the oracles to it."""
        exchange = self.exchange
        for faults in (exchange.place_faults, exchange.cancel_faults, exchange.fetch_faults):
            faults.clear()
        exchange.before_cancel = None
        exchange.margin_is_short = False
        exchange.ioc_liquidity = None
        exchange.deliver = _now
        self.store.fuse = None
        exchange.release()
        exchange.tell(FeedGap(reason="a lull"))
        self.world.settle(patience_s=3)
        self.world.clock.advance(40)
        exchange.tell(exchange.quote())
        self.world.settle(patience_s=3)
        self.check_lull()

    def _burn(self, _: str) -> None:
        """A process dies between two steps of a request as well as at a write."""
        self.store.burn()

    def _recover(self) -> None:
        self.store.fuse = None
        self.store.recall()
        self.world.restart()
        self.exchange.on_call = self._burn

    def _settle(self) -> None:
        """Let the engine react: fully, or only for a moment."""
        for _ in range(self.random.choice((1, 2, 3, 30))):
            self.world.step()
        self.world.clock.advance(0.01)

    def _level(self) -> Decimal:
        levels = self.world.grid.spec.levels
        at = min(range(len(levels)), key=lambda i: abs(levels[i] - self.exchange.last))
        at += self.random.choice((-3, -2, -1, -1, 0, 1, 1, 2, 3))
        if 0 <= at < len(levels):
            return levels[at]
        return max(D(90), self.exchange.last + (1 if at > 0 else -1))

    def _go(self) -> None:
        for _ in self.exchange.walk(self._level()):
            self.events += 1
            self._settle()

    def _jump(self) -> None:
        for _ in self.exchange.walk(self._level()):
            self.events += 1
        self._settle()

    def _between(self) -> None:
        half = (self._level() + self._level()) / 2
        price = self.instrument.round_price(half)
        for _ in self.exchange.walk(price):
            self.events += 1
            self._settle()

    def _partial(self) -> None:
        """The price comes to the nearest order and takes a part of it."""
        own = [o for o in self.exchange.open if o.client_order_id.startswith(OWN)]
        if not own:
            return
        order = min(own, key=lambda o: abs(o.price - self.exchange.last))
        blocking = [o for o in own if o.price == order.price]
        if len(blocking) > 1:
            return
        self.exchange.last = order.price
        tenths = int(order.leaves_qty / D("0.1"))
        part = D(self.random.randint(1, tenths)) / 10
        self.exchange.fill(order.client_order_id, part)
        self.exchange.tell(self.exchange.quote())
        self.events += 2
        self._settle()

    def _delivery(self) -> None:
        mode = self.random.choice(("now", "now", "twice", "late", "hidden"))
        self.exchange.deliver = lambda _: mode

    def _release(self) -> None:
        self.exchange.release()
        self._settle()

    def _fault(self) -> None:
        roll = self.random.random()
        error = self.random.choice(
            (
                Fault(error=Retryable("busy", 0.5)),
                Fault(error=OutcomeUnknown("time-out")),
                Fault(error=OutcomeUnknown("time-out"), arrives=True),
            )
        )
        if roll < 0.4:
            refused = Fault(
                error=Rejected(
                    self.random.choice((RejectReason.POST_ONLY, RejectReason.OTHER)), "no"
                )
            )
            self.exchange.place_faults.extend(
                self.random.choice((None, error, refused)) for _ in range(3)
            )
        elif roll < 0.8:
            self.exchange.cancel_faults.extend(self.random.choice((None, error)) for _ in range(2))
        else:
            self.exchange.fetch_faults.extend(
                self.random.choice((None, Retryable("busy", 0.5), OutcomeUnknown("slow")))
                for _ in range(4)
            )

    def _race(self) -> None:
        """The next cancel comes too late: the price was there first."""
        price = self._level()

        def race() -> None:
            self.exchange.jump(price)

        self.exchange.before_cancel = race

    def _wait(self) -> None:
        self.world.clock.advance(self.random.choice((0.3, 1.1, 5.0, 31.0)))
        self._settle()

    def _gap(self) -> None:
        self.exchange.tell(FeedGap(reason="weather"))
        self._settle()

    def _expire(self) -> None:
        """The exchange ends an order of its own accord."""
        own = [o for o in self.exchange.open if o.client_order_id.startswith(OWN)]
        if own:
            order = self.exchange.end(self.random.choice(own).client_order_id)
            if self.random.random() < 0.5:
                self.exchange.tell(order)
            self._settle()

    def _funding(self) -> None:
        self.world.clock.advance(1)
        payment = self.exchange.pay_funding(self.random.choice(("0.0001", "-0.0002")))
        if self.random.random() < 0.3:
            self.exchange.tell(payment)
        self._settle()

    def _adjust(self) -> None:
        now = self.world.grid.spec
        lower = now.lower + self.random.randrange(-4, 5)
        command = AdjustGrid(
            lower=max(D(90), lower),
            upper=max(D(90), lower) + self.random.choice((8, 10, 16, 20)),
            grid_num=self.random.choice((3, 5, 9)),
            lots=self.random.choice(list(LotsPolicy)),
            dry_run=self.random.random() < 0.2,
        )
        before = self.exchange.position
        ticket = self.world.post(command)
        moved = len(self.exchange.fills)
        self._settle()
        if ticket.result is not None and ticket.result.outcome is Outcome.DONE:
            self.seen_ops["adjusted"] += 1
            if len(self.exchange.fills) == moved and command.lots is not LotsPolicy.CLOSE:
                assert self.exchange.position == before, "I13"

    def _breach(self) -> None:
        """The price leaves the range and stays away long enough to count."""
        levels = self.world.grid.spec.levels
        away = self.random.randint(1, 4)
        target = levels[-1] + away if self.random.random() < 0.5 else levels[0] - away
        for _ in self.exchange.walk(max(D(80), target)):
            self.events += 1
            self._settle()
        for _ in range(3):
            self.world.clock.advance(11)
            self.exchange.tell(self.exchange.quote())
            self.events += 1
            self._settle()

    def _hour(self) -> None:
        """The hour of the moves is over."""
        self.world.clock.advance(3600)
        self.exchange.tell(self.exchange.quote())
        self._settle()

    def _thin(self) -> None:
        """What takes finds little, or nothing, from now on."""
        self.exchange.ioc_liquidity = self.random.choice((None, ZERO, D("0.3"), D("0.1")))

    def _margin(self) -> None:
        """The account's margin is short for a while."""
        self.exchange.margin_is_short = self.random.random() < 0.5

    def _pause(self) -> None:
        self.world.post(Pause())
        self._settle()

    def _resume(self) -> None:
        self.world.post(Resume())
        self._settle()

    def _crash(self) -> None:
        """Set a fuse, so that the process dies at one of its next writes; or die now."""
        if self.random.random() < 0.3:
            raise CrashError
        self.store.fuse = self.random.randint(1, 25)

    # Oracles ------------------------------------------------------------------------------------

    def _held(self, side: Side) -> Decimal:
        """Lots of one side, with the fills that the engine has not been told of."""
        grid = self.world.engine.book.grid
        held = ZERO if grid is None else grid.held(side)
        for fill in self.exchange.fills:
            if fill.trade_id in self.store.seen:
                continue
            opens = self.opens[fill.client_order_id]
            if opens and fill.side is side:
                held += fill.quantity
            elif not opens and fill.side is not side:
                held -= fill.quantity
        return held

    def _judge_request(self, request: OrderRequest) -> None:
        self.events += 1
        name = request.client_order_id
        intent = self.store.load_order(name)
        assert intent is not None, f"{name} was sent before it was written down (I8)"
        assert name not in self.exchange.orders, f"{name} was sent twice (I8)"
        self.opens[name] = opens = is_opening(intent.slot)
        own = [o for o in self.exchange.open if o.client_order_id.startswith(OWN)]
        slots = {self.world.slot(o) for o in own}
        assert intent.slot not in slots, f"{intent.slot} has an order already (I2)"
        if request.time_in_force is TimeInForce.IOC:
            return
        others = [o for o in own if not self.world.slot(o).startswith("k")]
        if not intent.slot.startswith("k"):
            assert request.price not in {o.price for o in others}, f"two orders at a price {own}"
        for other in own:
            if other.side is not request.side:
                buy, sell = (
                    (request.price, other.price)
                    if request.side is Side.BUY
                    else (other.price, request.price)
                )
                assert buy < sell, f"{request} would meet {other} (I15)"
        assert request.post_only == opens
        assert request.reduce_only == (not opens and self.kind is not GridType.NEUTRAL)
        limit = self.world.settings.max_position
        if opens and limit is not None:
            opening = sum(
                (
                    o.leaves_qty
                    for o in own
                    if o.side is request.side and self.opens[o.client_order_id]
                ),
                ZERO,
            )
            worst = self._held(request.side) + opening + request.quantity
            assert worst <= limit, f"{request} makes {worst} possible, the limit is {limit} (I3)"

    def _judge_position(self) -> None:
        """I4, after every step."""
        position = self.exchange.position
        assert self.kind is not GridType.LONG or position >= 0, position
        assert self.kind is not GridType.SHORT or position <= 0, position

    def _count(self) -> None:
        """What the strategy did of itself, for the test to see that it was tried."""
        kinds = Counter(kind for _, kind, _, _ in self.store.events_after(0))
        self.seen_ops["moved"] += sum(
            payload["move"] != "adjust"
            for _, kind, payload, _ in self.store.events_after(0)
            if kind == "adjust_begin"
        )
        self.seen_ops["closed"] += sum(
            self.opens.get(fill.client_order_id) is False and not fill.is_maker
            for fill in self.exchange.fills
        )
        self.seen_ops["zones"] += kinds["zone"]

    def check_lull(self) -> None:
        """Everything is known and done: state, exchange and ledger agree to the last digit."""
        world, exchange = self.world, self.exchange
        grid, engine = world.grid, world.engine
        assert not engine.frozen, engine.frozen
        assert engine.synced
        assert exchange.position == grid.position, "I1"
        assert world.pnl.total == exchange.equity_change, "I6"
        assert world.pnl.fees == sum((f.fee for f in exchange.fills), ZERO)
        assert grid.totals.stray_fills == 0
        assert engine.book.pending is None
        plan = planning.plan(engine)
        assert plan.is_empty, plan
        working = {o.client_order_id for o in engine.desk.working.values()}
        assert working == {o.client_order_id for o in world.own()}, "the desk knows what rests"
        assert engine.desk.is_settled
        assert not exchange.orders["hand-1"].status.is_terminal, "another's order (I9)"
        self._check_exits()
        self._check_idle()
        self._check_journal()

    def _check_exits(self) -> None:
        """I16: every lot has its closing order, or is too small for one."""
        grid, working = self.world.grid, self.world.engine.desk.working
        levels = grid.spec.levels
        places = [
            (slot_of(grid.version, Leg.EXIT, i), cell.side, levels[i], levels[i + 1], cell.lot)
            for i, cell in enumerate(grid.cells)
            if cell.lot
        ]
        places += [
            (slot_of(0, Leg.CARRIED, c.id), c.side, c.lower, c.upper, c.lot)
            for c in grid.carried
            if not c.closing
        ]
        for given_up in (c for c in grid.carried if c.closing):
            if not self.instrument.is_tradable(quantity_of(given_up.lot), self.exchange.last):
                continue
            touch = [
                o
                for o in self.world.own()
                if o.side is given_up.side and o.price == self.exchange.last
            ]
            assert touch, f"{given_up} is not closed, and no order of ours stands before it"
        for slot, side, lower, upper, lot in places:
            at = upper if side is Side.BUY else lower
            if not self.instrument.is_tradable(quantity_of(lot), at):
                continue
            order = working.get(slot)
            assert order is not None, f"lot {slot} {lot} has no way out (I16)"
            assert order.leaves_qty == quantity_of(lot)
            assert order.side is side.opposite

    def _check_idle(self) -> None:
        """I17: a grid with the price inside and room left has orders."""
        world, spec = self.world, self.world.grid.spec
        if world.book.paused or not spec.levels[0] < self.exchange.last < spec.levels[-1]:
            return
        limit = world.settings.max_position
        held = max(world.grid.held(Side.BUY), world.grid.held(Side.SELL))
        if limit is None or held < limit:
            # At a level itself both of its orders would take: it is a tick away from having one.
            assert world.own() or self.exchange.last in spec.levels, "I17"

    def _check_journal(self) -> None:
        """I12: the journal folds to the book in memory; a checkpoint brings it back whole."""
        book = Book()
        for seq, kind, payload, time in self.store.events_after(0):
            book = journal.apply(book, kind, payload, seq, time)
        assert book == self.world.book
        assert journal.decode_book(journal.encode_book(book)) == book

    def finish(self) -> None:
        """I9: after a stop none of ours rests, and what is not ours was never touched."""
        self._count()
        assert self.world.stop() == 0
        assert self.world.own() == []
        assert not self.exchange.orders["hand-1"].status.is_terminal


def _now(_: Fill) -> str:
    return "now"


WEATHER: dict[str, tuple[int, str]] = {
    "go": (30, "the price walks, the engine follows"),
    "jump": (10, "the price walks, the engine comes late"),
    "between": (10, "the price rests between two levels"),
    "partial": (20, "a part of an order fills"),
    "delivery": (8, "fills are told in another way from now on"),
    "release": (5, "late fills arrive, newest first"),
    "fault": (8, "requests fail"),
    "race": (3, "a cancel loses"),
    "wait": (8, "time passes"),
    "gap": (2, "the stream was cut"),
    "expire": (2, "the exchange ends an order"),
    "funding": (2, "funding is paid"),
    "adjust": (4, "the user moves the grid"),
    "breach": (2, "the price leaves the range"),
    "hour": (1, "an hour passes"),
    "thin": (1, "there is little to take"),
    "margin": (1, "the margin is short"),
    "pause": (1, "the user pauses"),
    "resume": (3, "the user resumes"),
    "crash": (2, "the process dies"),
}
