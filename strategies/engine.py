"""The bot's loop: inbox -> strategy -> reconcile -> admit -> exchange -> store -> Snapshot.

One thread owns everything here. The web and the signal handlers post to the inbox and read the
latest frozen Snapshot. Every change of the strategy's state is a journal entry, committed in the
transaction of what caused it, and taken over in memory only afterwards.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from core.errors import AuthError, ConfigError, ExchangeError, Retryable, StoreError
from core.model import (
    AdjustGrid,
    Balance,
    Command,
    CommandResult,
    EquitySample,
    FeedEnd,
    FeedGap,
    Fill,
    FundingPayment,
    Instrument,
    MarketEvent,
    Order,
    Outcome,
    Pause,
    Position,
    Quote,
    Resume,
    RunState,
    Side,
    Snapshot,
    StopBot,
)
from core.ports import Clock, ExchangeClient, Feed, Store
from strategies import commands, journal, snapshots
from strategies.boundary import Watch, Zone, judge
from strategies.journal import Book
from strategies.order_desk import ClientIds, DeskLog, OrderDesk
from strategies.perp_grid import (
    DesiredOrder,
    Leg,
    cells_to_wake,
    desired_orders,
    pnl,
    turning_prices,
)
from strategies.reconcile import Exposure, Plan, match_survivors, plan_orders
from strategies.settings import EngineSettings, build_spec

SNAPSHOT_S = 0.2
"""Seconds between snapshots at most: a page cannot show more, and building one costs 0.3 ms."""

BEAT_S = 1.0
EQUITY_S = 60.0
"""Seconds of market time between two points of the equity curve."""

EQUITY_WALL_S = 0.5
"""Seconds of wall time between two points at least, however fast the market's own time runs."""

STORE_RETRY_S = 2.0
SLICE_S = 0.05
"""Seconds of market events handled in one go before the inbox is looked at again."""

MAX_ROUNDS = 12
"""Rounds of plan and send in one step; what is left goes on in the next."""

CHECKPOINT_EVERY = 500
"""Journal entries between checkpoints: folding them at a start takes about 20 ms."""


@dataclass(slots=True)
class Ticket:
    """A command on its way through the engine, and the place where its asker waits."""

    command: Command
    done: threading.Event
    result: CommandResult | None = None

    def answer(self, result: CommandResult) -> None:
        self.result = result
        self.done.set()


class Engine:
    """One grid on one instrument. `run` blocks on the engine thread until the bot has ended."""

    def __init__(
        self,
        *,
        settings: EngineSettings,
        client: ExchangeClient,
        feed: Feed,
        store: Store,
        clock: Clock,
        ids: ClientIds,
        log: DeskLog,
        publish: Callable[[Snapshot], None] | None = None,
        beat: Callable[[int, bool], None] | None = None,
    ) -> None:
        self.settings = settings
        self.client = client
        self.feed = feed
        self.store = store
        self.clock = clock
        self.log = log
        self.publish = publish
        self.beat = beat
        self.desk = OrderDesk(
            client=client,
            store=store,
            clock=clock,
            symbol=settings.symbol,
            ids=ids,
            log=log,
            alert=self.alert,
        )
        self.state = RunState.STARTING
        self.book = Book()
        self.instrument: Instrument | None = None
        self.quote: Quote | None = None
        self.position: Position | None = None
        self.balance: Balance | None = None
        self.watch = Watch()
        self.alerts: deque[str] = deque(maxlen=20)
        self.fills: deque[Fill] = deque(maxlen=50)
        self.synced = False
        self.frozen: dict[str, str] = {}
        self.stop_request: StopBot | None = None
        self.started_at = clock.now()
        self.loops = 0
        self._inbox: queue.SimpleQueue[Ticket | MarketEvent] = queue.SimpleQueue()
        self._adjusting: Ticket | None = None
        self._journal_seq = 0
        self._checkpoint_seq = 0
        self._dirty = True
        self._quiet: tuple[Decimal, Decimal] | None = None
        self._snapshot_seq = 0
        self._retry_at = 0.0
        self._next_snapshot = 0.0
        self._next_beat = 0.0
        self._next_reconcile = 0.0
        self._next_equity: datetime | None = None
        self._next_equity_at = 0.0
        self.last_contact: float | None = None
        self._wants_snapshot = True
        self.orders_left = 0

    # Other threads ------------------------------------------------------------------------------

    def submit(self, command: Command, timeout_s: float) -> CommandResult:
        """Hand a command to the engine thread and wait; PENDING when it takes longer than that."""
        ticket = Ticket(command=command, done=threading.Event())
        self._inbox.put(ticket)
        if ticket.done.wait(timeout_s) and ticket.result is not None:
            return ticket.result
        if self.state is RunState.STOPPED:
            return CommandResult(outcome=Outcome.NOT_RUNNING, message="the bot has stopped")
        return CommandResult(
            outcome=Outcome.PENDING, message="stored; it is still being carried out"
        )

    def post(self, event: MarketEvent) -> None:
        """Take a market event from a feed's own thread."""
        self._inbox.put(event)

    # The loop -----------------------------------------------------------------------------------

    def run(self) -> StopBot:
        """Trade until told to stop, or until the data or the duration has ended."""
        self.load()
        self.feed.start(self.post)
        try:
            while self.stop_request is None:
                self.step(self._timeout())
        finally:
            self.feed.stop()
        self.shut_down(self.stop_request)
        return self.stop_request

    def load(self) -> None:
        """Rebuild the state from the database: the last checkpoint, then the journal after it."""
        checkpoint = self.store.load_checkpoint()
        book, seq = Book(), 0
        if checkpoint is not None:
            seq, payload = checkpoint
            book = journal.decode_book(payload)
        self._checkpoint_seq = seq
        for number, kind, payload, time in self.store.events_after(seq):
            book = journal.apply(book, kind, payload, number, time)
            seq = number
        self._journal_seq = seq
        self.book = book
        self.watch = Watch(zone=book.zone)
        self.desk.load()
        self.fills.clear()
        self.fills.extend(self.store.load_fills(50))

    def step(self, timeout_s: float) -> None:
        """One turn: wait for something, take it, plan and send what follows from it."""
        self._take_messages(timeout_s)
        now = self.clock.monotonic()
        try:
            if not self.synced and now >= self._retry_at:
                self._synchronise()
            if self.synced:
                self._trade(now)
        except StoreError as error:
            self._store_failed(error)
        except AuthError:
            raise
        except ExchangeError as error:
            self._lost_contact(error)
        self._keep_time()

    def _trade(self, now: float) -> None:
        """Handle due market events, one by one, for a slice of time."""
        slice_end = now + SLICE_S
        while self.stop_request is None:
            events = self.feed.poll()
            for event in events:
                self._on_event(event)
            if self.desk.wants_backfill:
                self._backfill()
            if self._dirty:
                self._plan_and_send()
            if not events or not self.synced or self.clock.monotonic() >= slice_end:
                break
        now = self.clock.monotonic()
        if any(at <= now for at in self.desk.look_up_at.values()):
            self.desk.look_up_due()
            self._dirty = True
        if now >= self._next_reconcile:
            self.reconcile()
        if self.book.pending is not None or self.desk.wants_position:
            self._dirty = True

    def _take_messages(self, timeout_s: float) -> None:
        try:
            message = self._inbox.get(timeout=timeout_s) if timeout_s > 0 else None
            if message is None:
                message = self._inbox.get_nowait()
            while True:
                if isinstance(message, Ticket):
                    self._on_ticket(message)
                else:
                    self._on_event(message)
                message = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _timeout(self) -> float:
        now = self.clock.monotonic()
        if self._dirty and self.synced:
            return 0.0
        times = [self._next_beat, self._next_snapshot if self._wants_snapshot else now + BEAT_S]
        if self.synced:
            times.append(self._next_reconcile)
            due = self.feed.next_due()
            if due is not None:
                times.append(due)
            timer = self.desk.next_timer()
            if timer is not None:
                times.append(timer)
        else:
            times.append(self._retry_at)
        return max(0.0, min(times) - now)

    def _keep_time(self) -> None:
        """Beat, publish, and end when the duration is over."""
        now = self.clock.monotonic()
        self.loops += 1
        if now >= self._next_beat:
            self._next_beat = now + BEAT_S
            if self.beat is not None:
                self.beat(self.loops, self.state in (RunState.RUNNING, RunState.PAUSED))
        if now >= self._next_snapshot and self._wants_snapshot:
            self.publish_now()
        end = self.settings.end_at
        if end is not None and self.stop_request is None and self.clock.now() >= end:
            self.stop_request = StopBot(reason="the duration is over")

    def publish_now(self) -> None:
        """Publish a fresh snapshot."""
        self._next_snapshot = self.clock.monotonic() + SNAPSHOT_S
        self._wants_snapshot = False
        self._snapshot_seq += 1
        if self.publish is not None:
            self.publish(snapshots.build(self, self._snapshot_seq))

    # Synchronising ------------------------------------------------------------------------------

    def _synchronise(self) -> None:
        """Bring state and exchange together before anything is placed (FAILURES 17, 20)."""
        try:
            if self.frozen.pop("database", None) is not None:
                self.load()  # what could not be written is not there: take up from what is
            if self.instrument is None:
                self.instrument = self.client.fetch_instrument(self.settings.symbol)
            self._take_quote(self.client.fetch_quote(self.settings.symbol))
            self.reconcile()
            if self.book.grid is None and not self._seed():
                return
            self._config_range_changed()
        except AuthError:
            raise
        except ExchangeError as error:
            self._lost_contact(error)
            return
        self.synced = True
        self.frozen.pop("exchange", None)
        self._dirty = True
        self._plan_and_send()
        if self.state is RunState.STARTING:
            self.state = RunState.PAUSED if self.book.paused else RunState.RUNNING
            self._next_beat = 0.0
        self._wants_snapshot = True
        self._next_snapshot = 0.0

    def reconcile(self) -> None:
        """Compare everything with the exchange: orders, fills, funding, position, balance.

        Errors: any ExchangeError, StoreError; what was taken over until then is right.
        """
        symbol = self.settings.symbol
        open_now = {o.client_order_id: o for o in self.client.fetch_open_orders(symbol)}
        for order in list(self.desk.by_id.values()):
            seen = open_now.get(order.client_order_id)
            if seen is not None:
                self.desk.report(seen)
            else:
                self.desk.look_up(order)  # absent from open orders is a question (I7)
        strays = [
            order
            for client_id, order in open_now.items()
            if self.desk.ids.owns(client_id) and client_id not in self.desk.by_id
        ]
        self._backfill()
        for order in strays:
            if order.client_order_id not in self.desk.by_id:
                self.alert(f"canceling order {order.client_order_id}: ours, but not in the ledger")
                self.client.cancel_orders([order])
        payments = self.client.fetch_funding(symbol, self.store.last_funding_time())
        for payment in payments:
            self._on_funding(payment)
        self.position = self.client.fetch_position(symbol)
        self.balance = self.client.fetch_balance()
        self.last_contact = self.clock.monotonic()
        self._next_reconcile = self.last_contact + self.settings.interval_s
        self.desk.wants_position = False
        self._check_position()
        self._wants_snapshot = True

    def _backfill(self) -> None:
        """Fetch the fills since the last one we have; every one is taken once."""
        self.desk.wants_backfill = False
        since = self.store.last_fill_time()
        if since is not None:
            since -= timedelta(seconds=1)  # fills of one instant may arrive apart
        for fill in self.client.fetch_fills(self.settings.symbol, since):
            self._on_fill(fill)

    def _check_position(self) -> None:
        """I1: the exchange's position equals the lots; a mismatch freezes entries."""
        if self.book.grid is None or self.position is None:
            return
        ours = self.book.base + self.book.grid.position
        if self.position.quantity == ours:
            if self.frozen.pop("position", None):
                self._dirty = True
            return
        words = f"the exchange holds {self.position.quantity}, the ledger {ours}"
        if "position" not in self.frozen:
            self.alert(f"position mismatch, entries frozen: {words}")
        self.frozen["position"] = words
        self._next_reconcile = self.clock.monotonic() + min(5.0, self.settings.interval_s)

    def _seed(self) -> bool:
        """Lay out the first grid at the present price; False while the trigger is not reached."""
        assert self.quote is not None
        assert self.instrument is not None
        request, price = self.settings.grid, self.quote.last
        try:
            spec = build_spec(request, price, self.instrument)
        except ValueError as error:
            raise ConfigError(f"strategy_config: {error}") from error
        position = self.client.fetch_position(self.settings.symbol)
        with self.store.transaction():
            book = self._write(
                self.book,
                "seed",
                {
                    "spec": journal.encode_spec(spec),
                    "price": str(price),
                    "open_initial": request.open_initial,
                    "max_position": _text(request.max_position),
                    "base": str(position.quantity),
                    "source": request.fingerprint(),
                },
                self.quote.time,
            )
        self._took(book)
        self.log("grid_seeded", price=price, levels=spec.num, quantity=spec.quantity)
        return True

    def _config_range_changed(self) -> None:
        """An adjusted range ends when the config file's own range changes (GRID.md 7)."""
        source = self.settings.grid.fingerprint()
        if self.book.source == source or self.book.grid is None or self.book.pending is not None:
            return
        result = commands.adjust_to_config(self)
        self.log("config_range_changed", old=self.book.source, new=source, result=result)

    # Events -------------------------------------------------------------------------------------

    def _on_event(self, event: MarketEvent) -> None:
        match event:
            case Quote():
                self._take_quote(event)
            case Fill():
                self._on_fill(event)
            case Order():
                self.desk.report(event)
                self._dirty = True
            case FundingPayment():
                self._on_funding(event)
            case FeedGap():
                self.log("feed_gap", reason=event.reason)
                self.synced = False
            case FeedEnd():
                self.stop_request = self.stop_request or StopBot(reason=event.reason)

    def _take_quote(self, quote: Quote) -> None:
        self.quote = quote
        self._wants_snapshot = True
        grid = self.book.grid
        if grid is None:
            return
        quiet = self._quiet
        if quiet is not None and quiet[0] < quote.last < quiet[1]:
            if self.watch.candidate is not None:
                self._judge_boundary(quote)
            self._sample_equity(quote)
            return
        waking = cells_to_wake(grid, quote.last)
        if waking:
            with self.store.transaction():
                book = self._write(self.book, "wake", {"cells": list(waking)}, quote.time)
            self._took(book)
        self._judge_boundary(quote)
        self._sample_equity(quote)
        self._dirty = True

    def _judge_boundary(self, quote: Quote) -> None:
        if self.settings.boundary_action == "none" or self.book.grid is None:
            return
        spec = self.book.grid.spec
        self.watch = judge(
            self.watch,
            quote.mark,
            spec.levels[0],
            spec.levels[-1],
            self.settings.boundary_tolerance,
            quote.time,
        )
        if self.watch.zone is self.book.zone:
            return
        with self.store.transaction():
            book = self._write(self.book, "zone", {"zone": self.watch.zone.value}, quote.time)
        self._took(book)
        if self.watch.zone is Zone.INSIDE:
            self.alert("the price is back inside the range: entries resume")
        else:
            self.alert(f"the price is {self.watch.zone.value} the range: entries stop, exits stay")

    def _on_fill(self, fill: Fill) -> None:
        """Append the fill and advance its cell in one transaction; a known one changes nothing."""
        order = self.desk.filled(fill)
        with self.store.transaction():
            if order is None:
                if not self._is_outside_fill(fill) or not self.store.insert_fill(fill, ""):
                    return
                book = self._write(self.book, "close", journal.fill_payload(fill, ""), fill.time)
            else:
                if not self.store.insert_fill(fill, order.slot):
                    return
                self.store.save_order(order)
                book = self._write(
                    self.book, "fill", journal.fill_payload(fill, order.slot), fill.time
                )
        if order is not None:
            self.desk.settle(order)
        else:
            self.alert(f"closed from outside: {fill.side.value} {fill.quantity} at {fill.price}")
        self._took(book)
        self.fills.append(fill)
        self._dirty = True
        self._wants_snapshot = True

    def _is_outside_fill(self, fill: Fill) -> bool:
        """Tell whether a fill without an order of ours changes our position (a liquidation)."""
        return self.book.grid is not None and fill.client_order_id.startswith("liquidation")

    def _on_funding(self, payment: FundingPayment) -> None:
        if self.book.grid is None:
            return
        with self.store.transaction():
            if not self.store.insert_funding(payment):
                return
            book = self._write(self.book, "funding", {"amount": str(payment.amount)}, payment.time)
        self._took(book)
        self._wants_snapshot = True

    def _write(self, book: Book, kind: str, payload: Mapping[str, Any], time: datetime) -> Book:
        """Append a journal entry and give the book it leads to; inside a transaction."""
        seq = self.store.append_event(kind, payload, time)
        after = journal.apply(book, kind, payload, seq, time)
        if seq - self._checkpoint_seq >= CHECKPOINT_EVERY:
            self.store.save_checkpoint(seq, journal.encode_book(after))
        self._journal_seq = seq
        return after

    def _took(self, book: Book) -> None:
        """Take a committed book over."""
        self.book = book
        self._quiet = None
        if self._journal_seq - self._checkpoint_seq >= CHECKPOINT_EVERY:
            self._checkpoint_seq = self._journal_seq

    def journal(self, *entries: tuple[str, Mapping[str, Any]]) -> None:
        """Append entries in one transaction and take the book over. Errors: StoreError."""
        book = self.book
        with self.store.transaction():
            for kind, payload in entries:
                book = self._write(book, kind, payload, self.clock.now())
        self._took(book)
        self._dirty = True
        self._wants_snapshot = True

    # Planning -----------------------------------------------------------------------------------

    def _plan_and_send(self) -> None:
        """Plan and send until nothing is left to send now, or for a bounded number of rounds."""
        for _ in range(MAX_ROUNDS):
            now = self.clock.monotonic()
            if self.stop_request is not None or not self.synced or now < self.desk.hold_until:
                return
            if self.book.pending is not None and not self._advance_adjust():
                break
            plan = self.plan()
            if plan.is_empty:
                self._dirty = False
                self._find_quiet_range()
                break
            self.desk.send(plan)
            self._end_initial()
            if self.desk.wants_backfill:
                self._backfill()
            self._wants_snapshot = True
        self._answer_adjust()

    def plan(self) -> Plan:
        """Say what would be sent now."""
        assert self.quote is not None
        assert self.instrument is not None
        grid = self.book.grid
        assert grid is not None
        desired = self.desired(self.book, resting=True)
        blocked = self.desk.blocked(self.clock.monotonic())
        if self.frozen or self.clock.monotonic() < self.desk.entries_hold_until:
            blocked |= {order.slot for order in desired if order.leg in (Leg.ENTRY, Leg.INITIAL)}
        return plan_orders(
            desired,
            self.desk.working,
            frozenset(self.desk.cancelling),
            self.quote.last,
            self.instrument,
            self.exposure(self.book),
            blocked,
        )

    def exposure(self, book: Book) -> Exposure:
        """What the lots take of the limit."""
        assert book.grid is not None
        return Exposure(
            held_long=book.grid.held(Side.BUY),
            held_short=book.grid.held(Side.SELL),
            max_position=self.settings.max_position,
        )

    def desired(self, book: Book, *, resting: bool) -> tuple[DesiredOrder, ...]:
        """Derive the orders that should rest for a book at the present price."""
        assert self.quote is not None
        assert self.instrument is not None
        assert book.grid is not None
        outside = self.settings.boundary_action != "none" and book.zone is not Zone.INSIDE
        return desired_orders(
            book.grid,
            self.quote.last,
            self.instrument,
            max_position=self.settings.max_position,
            entries=not (book.paused or outside),
            resting=self.desk.resting() if resting else frozenset(),
            slippage_cap=self.settings.slippage_cap,
        )

    def _end_initial(self) -> None:
        """The initial entry is sent once: when its order has ended, what is missing stays so."""
        grid = self.book.grid
        if grid is None or grid.initial == 0 or self.desk.wants_backfill:
            return
        if not any(slot.endswith(".i") for slot in self.desk.working):
            self.journal(("initial_end", {}))

    def _find_quiet_range(self) -> None:
        """Find the prices within which nothing here can change: the levels around the price."""
        grid, quote = self.book.grid, self.quote
        if grid is None or quote is None or self.desk.blocked_until or self.watch.candidate:
            self._quiet = None
            self.feed.set_wake_range(None, None)
            return
        prices = turning_prices(grid, self.desired(self.book, resting=True), self.desk.working)
        if self.settings.boundary_action != "none":
            tolerance = self.settings.boundary_tolerance
            lower, upper = grid.spec.levels[0], grid.spec.levels[-1]
            prices |= {lower, upper, lower * (1 - tolerance), upper * (1 + tolerance)}
        below = max((p for p in prices if p <= quote.last), default=Decimal(0))
        above = min((p for p in prices if p >= quote.last), default=Decimal("Infinity"))
        self._quiet = (below, above)
        self.feed.set_wake_range(below, above)

    def _advance_adjust(self) -> bool:
        """Cancel what the new grid has no place for; commit it when all of that has ended.

        Gives True when the new grid is in force. A fill in between only means a new look.
        """
        pending = self.book.pending
        assert pending is not None
        assert self.quote is not None
        candidate = journal.apply(
            self.book, "adjust", {"price": str(self.quote.last)}, 0, self.clock.now()
        )
        slots, lost = match_survivors(
            self.desired(candidate, resting=True), self.desk.working.values()
        )
        if lost:
            fresh = [o for o in lost if o.client_order_id not in self.desk.cancelling]
            untouched = not self.desk.cancelling and self._adjusting is not None
            faults = self.desk.cancel(fresh)
            if self.desk.wants_backfill:
                self._backfill()
            if untouched and fresh and len(faults) == len(fresh) and not self.desk.cancelling:
                self._abort_adjust(faults[0])
                return True
            return all(o.client_order_id not in self.desk.by_id for o in lost) and (
                self._advance_adjust()
            )
        book = self.book
        with self.store.transaction():
            book = self._write(book, "adjust", {"price": str(self.quote.last)}, self.clock.now())
            self.desk.reslot(slots)
        self.desk.resloted(slots)
        self._took(book)
        self.watch = Watch(zone=book.zone)
        self._wants_snapshot = True
        assert book.grid is not None
        self.log(
            "grid_adjusted",
            lower=book.grid.spec.lower,
            upper=book.grid.spec.upper,
            levels=book.grid.spec.num,
            kept=len(slots),
        )
        return True

    def _abort_adjust(self, error: ExchangeError) -> None:
        """The exchange refused before anything was cancelled: the old grid stands."""
        self.journal(("adjust_abort", {"reason": str(error)[:200]}))
        ticket, self._adjusting = self._adjusting, None
        if ticket is not None:
            ticket.answer(
                CommandResult(
                    outcome=Outcome.REFUSED,
                    message=f"the exchange refused to cancel orders, the old grid stands: {error}",
                )
            )

    def _answer_adjust(self) -> None:
        """Answer the asker once the new grid is stored and its orders are on the exchange."""
        ticket = self._adjusting
        if ticket is None or self.book.pending is not None or not self.desk.is_settled:
            return
        if self.plan().is_empty:
            self._adjusting = None
            ticket.answer(commands.adjusted(self))

    # Commands -----------------------------------------------------------------------------------

    def _on_ticket(self, ticket: Ticket) -> None:
        try:
            match ticket.command:
                case StopBot():
                    self.stop_request = self.stop_request or ticket.command
                    self.state = RunState.STOPPING
                    ticket.answer(CommandResult(outcome=Outcome.DONE, message="stopping"))
                case Pause():
                    ticket.answer(commands.pause(self, paused=True))
                case Resume():
                    ticket.answer(commands.pause(self, paused=False))
                case AdjustGrid():
                    result = commands.begin_adjust(self, ticket.command)
                    if result is None:
                        self._adjusting = ticket
                    else:
                        ticket.answer(result)
        except StoreError as error:
            ticket.answer(
                CommandResult(
                    outcome=Outcome.REFUSED,
                    message=f"nothing changed, the database failed: {error}",
                )
            )
            self._store_failed(error)

    # Trouble ------------------------------------------------------------------------------------

    def alert(self, message: str) -> None:
        """Tell the operator: in the log, on the page, in the status."""
        self.alerts.append(f"{self.clock.now().astimezone(UTC):%Y-%m-%d %H:%M:%SZ} {message}")
        self._wants_snapshot = True
        self.log("alert", message=message)

    def _store_failed(self, error: StoreError) -> None:
        """A write failed: nothing more is sent until the database takes writes again."""
        if "database" not in self.frozen:
            self.alert(f"the database failed, entries stopped: {error}")
        self.frozen["database"] = str(error)
        self.synced = False
        self._retry_at = self.clock.monotonic() + STORE_RETRY_S

    def _lost_contact(self, error: ExchangeError) -> None:
        """The exchange cannot be reached: nothing is placed before a full synchronisation."""
        delay = error.retry_after_s if isinstance(error, Retryable) else 1.0
        if "exchange" not in self.frozen:
            self.alert(f"the exchange cannot be reached, entries frozen: {error}")
        self.frozen["exchange"] = str(error)
        self.synced = False
        self._retry_at = self.clock.monotonic() + max(0.2, delay)

    # The end ------------------------------------------------------------------------------------

    def shut_down(self, request: StopBot) -> int:
        """Cancel all own orders and prove that none rests; gives how many are left (I9).

        The write gate is shut first: nothing is placed from here on (FAILURES 12).
        """
        self.state = RunState.STOPPING
        self.log("stopping", reason=request.reason, keep_orders=request.keep_orders)
        self.publish_now()
        left = 0
        if not request.keep_orders and self.instrument is not None:
            left = self._cancel_all()
        try:
            if self.book.grid is not None:
                self.store.save_checkpoint(self._journal_seq, journal.encode_book(self.book))
        except StoreError as error:
            self.alert(f"the last checkpoint could not be written: {error}")
        self.orders_left = left
        self.state = RunState.STOPPED
        self.publish_now()
        self._refuse_waiting()
        return left

    def _cancel_all(self) -> int:
        """Cancel until the exchange shows no order of ours; at most a few rounds."""
        mine: list[Order] = []
        for _ in range(5):
            try:
                mine = [
                    order
                    for order in self.client.fetch_open_orders(self.settings.symbol)
                    if self.desk.ids.owns(order.client_order_id)
                ]
                if not mine:
                    break
                for outcome in self.client.cancel_orders(mine):
                    if isinstance(outcome, ExchangeError):
                        self.log("cancel_failed", error=str(outcome))
            except AuthError:
                raise
            except ExchangeError as error:
                self.log("cancel_all_failed", error=str(error))
        try:
            self._backfill()
            for order in list(self.desk.by_id.values()):
                self.desk.look_up(order)
        except (ExchangeError, StoreError) as error:
            self.alert(f"the ledger could not be brought up to date at the end: {error}")
        if mine:
            self.alert(f"{len(mine)} orders of ours could not be proved cancelled")
        return len(mine)

    def _refuse_waiting(self) -> None:
        tickets = [self._adjusting] if self._adjusting else []
        while True:
            try:
                message = self._inbox.get_nowait()
            except queue.Empty:
                break
            if isinstance(message, Ticket):
                tickets.append(message)
        for ticket in tickets:
            ticket.answer(CommandResult(outcome=Outcome.NOT_RUNNING, message="the bot is stopping"))

    # Figures ------------------------------------------------------------------------------------

    def _sample_equity(self, quote: Quote) -> None:
        if self._next_equity is not None and quote.time < self._next_equity:
            return
        now = self.clock.monotonic()
        if now < self._next_equity_at:
            return  # a replay at full speed: the curve has enough points
        self._next_equity_at = now + EQUITY_WALL_S
        grid = self.book.grid
        if grid is None:
            return
        self._next_equity = quote.time + timedelta(seconds=EQUITY_S)
        figures = pnl(grid, quote.mark)
        self.store.insert_equity(
            EquitySample(
                time=quote.time,
                price=quote.last,
                position=grid.position,
                pnl=figures,
                equity=figures.total,
            )
        )


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)
