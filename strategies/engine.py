"""The bot's loop: inbox -> strategy -> reconcile -> admit -> exchange -> store -> Snapshot.

One thread owns everything here. The web and the signal handlers post to the inbox and read the
latest frozen Snapshot. What happens at a synchronisation is in `sync`, an adjust in `adjusting`,
the end in `ending`; the decisions are `perp_grid`'s and `reconcile`'s.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from core.errors import AuthError, ExchangeError, Retryable, StoreError
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
    PnL,
    Position,
    Quote,
    Resume,
    RunState,
    Snapshot,
    StopBot,
)
from core.ports import Clock, ExchangeClient, Feed, Store
from strategies import commands, ending, guards, planner, snapshots, sync
from strategies.boundary import Watch
from strategies.grid_state import TRIM_SLOT, DesiredOrder, pnl
from strategies.journal import Book
from strategies.ledger import Ledger
from strategies.order_desk import ClientIds, DeskLog, OrderDesk
from strategies.perp_grid import cells_to_wake
from strategies.settings import EngineSettings

SNAPSHOT_S = 0.2
"""Seconds between snapshots at most: a page cannot show more, and building one costs 0.3 ms."""

LEDGER_SNAPSHOT_S = 0.02
"""The same after a fill or an order, so that the status and the lists agree for who compares."""

IDLE_SNAPSHOT_S = 5.0
"""Seconds between snapshots at least, so that the ages of the checks stay true."""

BEAT_S = 1.0
EQUITY_S = 60.0
"""Seconds of market time between two points of the equity curve."""

EQUITY_WALL_S = 0.5
"""Seconds of wall time between two points at least, however fast the market's own time runs."""

BALANCE_S = 10.0
"""Seconds between two looks at the balance, and only after a fill: margin and what is free."""

HOUSEKEEPING_S = 3600.0
STORE_RETRY_S = 2.0
SLICE_S = 0.05
"""Seconds of market events handled in one go before the inbox is looked at again."""

POLL_S = 0.1
"""Seconds between two polls of a pulled feed that had nothing left: ten wake-ups a second."""


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
        housekeeping: Callable[[datetime], None] | None = None,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self.settings = settings
        self.client = client
        self.feed = feed
        self.store = store
        self.clock = clock
        self.log = log
        self.ledger = Ledger(store)
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
        self.instrument: Instrument | None = None
        self.quote: Quote | None = None
        self.position: Position | None = None
        self.balance: Balance | None = None
        self.balance_pnl = PnL()  # what the ledger said when `balance` was fetched
        self.trim: DesiredOrder | None = None  # of a position above the limit, not of a cell
        self.watch = Watch()
        self.alerts: deque[str] = deque(maxlen=20)
        self.synced = False
        self.frozen: dict[str, str] = {}
        self.stop_request: StopBot | None = None
        self.started_at = clock.now()
        self.last_contact: float | None = None
        self.loops = 0
        self.orders_left = 0
        self.position_left = False  # whether a close that was asked for did not succeed
        self.adjust_touched = False
        self.move_refused = ""  # why the grid does not follow the price; empty: it does
        self.move_retry_at: datetime | None = None  # market time
        self._publish = publish
        self._beat = beat
        self._housekeeping = housekeeping
        self.wait = wait if wait is not None else threading.Event().wait
        self._inbox: queue.SimpleQueue[Ticket | MarketEvent] = queue.SimpleQueue()
        self._adjusting: Ticket | None = None
        self.dirty = True
        self.quiet: tuple[Decimal, Decimal] | None = None
        self.last_desired: tuple[DesiredOrder, ...] = ()  # of the last plan
        self._trigger_above: bool | None = None
        self._awaits_trigger = False
        self._snapshot_seq = 0
        self.wants_snapshot = True
        self._retry_at = 0.0
        self._poll_at = 0.0
        self._next_snapshot = 0.0
        self._published_at = 0.0
        self._idle_snapshot = 0.0
        self._next_beat = 0.0
        self._next_reconcile = 0.0
        self._next_balance = 0.0
        self._balance_is_old = False
        self._next_housekeeping = clock.monotonic() + HOUSEKEEPING_S
        self._next_equity: datetime | None = None
        self._next_equity_at = 0.0

    @property
    def book(self) -> Book:
        """The strategy's whole state."""
        return self.ledger.book

    # Other threads ------------------------------------------------------------------------------

    def submit(self, command: Command, timeout_s: float) -> CommandResult:
        """Hand a command to the engine thread and wait; PENDING when it takes longer than that."""
        ticket = self.post_command(command)
        if ticket.done.wait(timeout_s) and ticket.result is not None:
            return ticket.result
        if self.state is RunState.STOPPED:
            return CommandResult(outcome=Outcome.NOT_RUNNING, message="the bot has stopped")
        return CommandResult(
            outcome=Outcome.PENDING, message="accepted; it is still being carried out"
        )

    def post_command(self, command: Command) -> Ticket:
        """Hand a command over without waiting; safe in a signal handler."""
        ticket = Ticket(command=command, done=threading.Event())
        self._inbox.put(ticket)
        return ticket

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
            ending.shut_down(self, self.stop_request)
        finally:
            self.feed.stop()
        return self.stop_request

    def load(self) -> None:
        """Rebuild the state from the database."""
        self.ledger.load()
        self.watch = Watch(zone=self.book.zone)
        self.desk.load()
        self._book_changed()

    def step(self, timeout_s: float) -> None:
        """One turn: wait for something, take it, plan and send what follows from it."""
        try:
            self._take_messages(timeout_s)
            now = self.clock.monotonic()
            if self.stop_request is None and not self.synced and now >= self._retry_at:
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

    def _synchronise(self) -> None:
        if self._awaits_trigger and not self._follow_to_trigger():
            return
        self._awaits_trigger = not sync.synchronise(self)
        if self._awaits_trigger:
            self._is_up()  # it waits as told: that is no failure to start
            return
        self.synced = True
        self.thaw("exchange")
        self.dirty = True
        guards.resume(self)
        planner.plan_and_send(self)
        self._is_up()
        self._next_snapshot = 0.0

    def _is_up(self) -> None:
        if self.state is RunState.STARTING:
            self.state = RunState.PAUSED if self.book.paused else RunState.RUNNING
            self._next_beat = 0.0

    def _follow_to_trigger(self) -> bool:
        """Follow the feed alone, without a request, until the price has reached the trigger."""
        trigger = self.settings.grid.trigger_price
        assert trigger is not None
        events = self.feed.poll()
        for event in events:
            self.take_event(event)
        now = self.clock.monotonic()
        self._retry_at = now if events else now + POLL_S
        return self.stop_request is None and self.trigger_reached(trigger)

    def _trade(self, now: float) -> None:
        """Handle due market events, one step of the feed at a time, for a slice of time."""
        slice_end = now + SLICE_S
        while self.stop_request is None and self.synced:
            events = self.feed.poll()
            for event in events:
                self.take_event(event)
            if self.desk.wants_backfill:
                sync.backfill(self)
            if self.dirty:
                planner.plan_and_send(self)
            now = self.clock.monotonic()
            if not events:
                self._poll_at = now + POLL_S
                break
            if now >= slice_end:
                self._poll_at = now
                break
        if any(at <= now for at in self.desk.look_up_at.values()):
            self.desk.look_up_due()
            self.dirty = True
        if now >= self._next_reconcile or self.desk.wants_position:
            sync.reconcile(self)
        if self.desk.has_expired_block(now):
            self.dirty = True
        if self._balance_is_old and now >= self._next_balance:
            sync.refresh_balance(self)

    def _take_messages(self, timeout_s: float) -> None:
        try:
            if timeout_s > 0:
                message = self._inbox.get(timeout=timeout_s)
            else:
                message = self._inbox.get_nowait()
            while True:
                if isinstance(message, Ticket):
                    self._on_ticket(message)
                else:
                    self.take_event(message)
                message = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _timeout(self) -> float:
        """Seconds until the next thing that is due by itself."""
        now = self.clock.monotonic()
        times = [self._next_beat]
        if self.wants_snapshot:
            times.append(self._next_snapshot)
        if self.synced:
            if self.dirty and now >= self.desk.hold_until:
                return 0.0
            times.append(self._next_reconcile)
            due = self.feed.next_due()
            if due is not None:
                times.append(max(due, self._poll_at))
            timer = self.desk.next_timer()
            if timer is not None:
                times.append(timer)
        else:
            times.append(self._retry_at)
        return max(0.0, min(times) - now)

    def _keep_time(self) -> None:
        """Beat, publish, tidy up, and end when the duration is over."""
        now = self.clock.monotonic()
        self.loops += 1
        if now >= self._next_beat:
            self._next_beat = now + BEAT_S
            if self._beat is not None:
                self._beat(self.loops, self.state in (RunState.RUNNING, RunState.PAUSED))
        if (self.wants_snapshot and now >= self._next_snapshot) or now >= self._idle_snapshot:
            self.publish_now()
        if now >= self._next_housekeeping:
            self._next_housekeeping = now + HOUSEKEEPING_S
            self._tidy_up()
        end = self.settings.end_at
        if end is not None and self.stop_request is None and self.clock.now() >= end:
            self.stop_request = StopBot(reason="the duration is over")

    def _tidy_up(self) -> None:
        if self._housekeeping is None:
            return
        try:
            self._housekeeping(self.clock.now())
        except StoreError as error:
            self.log("housekeeping_failed", error=str(error))

    def publish_now(self) -> None:
        """Publish a fresh snapshot."""
        now = self.clock.monotonic()
        self._published_at = now
        self._next_snapshot = now + SNAPSHOT_S
        self._idle_snapshot = now + IDLE_SNAPSHOT_S
        self.wants_snapshot = False
        self._snapshot_seq += 1
        if self._publish is not None:
            self._publish(snapshots.build(self, self._snapshot_seq))

    def publish_soon(self) -> None:
        """Have a fresh snapshot published before long: the ledger has moved."""
        self.wants_snapshot = True
        self._next_snapshot = min(self._next_snapshot, self._published_at + LEDGER_SNAPSHOT_S)

    # Events -------------------------------------------------------------------------------------

    def take_event(self, event: MarketEvent) -> None:
        """Take one event of the market or the account. Errors: StoreError."""
        match event:
            case Quote():
                self.take_quote(event)
            case Fill():
                self.take_fill(event)
            case Order():
                self.desk.report(event)
                self.dirty = True
            case FundingPayment():
                self.take_funding(event)
            case FeedGap():
                self.log("feed_gap", reason=event.reason)
                self.synced = False
            case FeedEnd():
                self.stop_request = self.stop_request or StopBot(reason=event.reason)

    def take_quote(self, quote: Quote) -> None:
        """Take a price: cells may wake, the boundary may be crossed. Errors: StoreError."""
        self.quote = quote
        self.wants_snapshot = True
        grid = self.book.grid
        if grid is None:
            return
        self._sample_equity(quote)
        if self.synced and guards.has_stops(self):
            guards.judge_stops(self, quote)
        quiet, watched = self.quiet, self.watch
        guards.judge_boundary(self, quote)  # by the mark, which moves where the last price is quiet
        if quiet is not None and quiet[0] < quote.last < quiet[1] and self.watch is watched:
            return
        waking = cells_to_wake(grid, quote.last)
        if waking:
            self.ledger.record(quote.time, ("wake", {"cells": list(waking)}))
            self._book_changed()
        self.dirty = True

    def take_fill(self, fill: Fill) -> None:
        """Take one fill once, whatever the order and number of its arrivals. Errors: StoreError."""
        order = self.desk.filled(fill)
        if order is None and not self._closes_from_outside(fill):
            return
        if not self.ledger.take_fill(fill, order):
            return
        if order is not None:
            self.desk.settle(order)
            if order.slot == TRIM_SLOT:
                self.trim = None  # how much is left to trim is the exchange's to say
                self.desk.wants_position = True
            self._take_price_of(fill)
            self._balance_is_old = True
        else:
            self.alert(f"closed from outside: {fill.side.value} {fill.quantity} at {fill.price}")
        self._book_changed()

    def _take_price_of(self, fill: Fill) -> None:
        """A fill of a resting order is a trade at its price, often told before the quote is.

        With the price of before, room would go to the next order for that moment (GRID.md P1).
        """
        quote = self.quote
        if quote is not None and fill.is_maker and fill.time >= quote.time:
            self.take_quote(replace(quote, last=fill.price, time=fill.time))

    def take_funding(self, payment: FundingPayment) -> None:
        """Book a funding payment, once. Errors: StoreError."""
        if self.book.grid is not None and self.ledger.take_funding(payment):
            self.wants_snapshot = True

    def _closes_from_outside(self, fill: Fill) -> bool:
        """Tell whether a fill without an order of ours changes our lots (a liquidation)."""
        return self.book.grid is not None and fill.client_order_id.startswith("liquidation")

    def record(self, *entries: tuple[str, Mapping[str, Any]], time: datetime | None = None) -> None:
        """Append journal entries and take the book over. Errors: StoreError."""
        self.ledger.record(time or self.clock.now(), *entries)
        self._book_changed()

    def grid_replaced(self) -> None:
        """Another grid is in force: what was derived from the old one is void."""
        self.watch = Watch(zone=self.book.zone)
        self._book_changed()

    def _book_changed(self) -> None:
        self.quiet = None
        self.dirty = True
        self.publish_soon()

    def trigger_reached(self, trigger: Decimal) -> bool:
        """Tell whether the price has reached the trigger since the first look at it."""
        assert self.quote is not None
        is_above = self.quote.last > trigger
        if self._trigger_above is None:
            self._trigger_above = is_above
        return self.quote.last == trigger or is_above is not self._trigger_above

    # Commands -----------------------------------------------------------------------------------

    @property
    def is_adjusting(self) -> bool:
        """Whether somebody waits for the end of an adjust."""
        return self._adjusting is not None

    def _on_ticket(self, ticket: Ticket) -> None:
        try:
            match ticket.command:
                case StopBot():
                    self.stop_request = self.stop_request or ticket.command
                    self.state = RunState.STOPPING
                    result = CommandResult(outcome=Outcome.DONE, message="the bot is stopping")
                case Pause():
                    result = commands.pause(self, paused=True)
                case Resume():
                    result = commands.pause(self, paused=False)
                case AdjustGrid():
                    begun = commands.begin_adjust(self, ticket.command)
                    if begun is None:
                        self._adjusting = ticket
                        self.adjust_touched = False
                        return
                    result = begun
        except StoreError as error:
            result = CommandResult(
                outcome=Outcome.REFUSED,
                message=f"nothing changed, the database failed: {error}",
            )
            self._store_failed(error)
        self.publish_now()
        ticket.answer(result)

    def answer_adjust(self, result: CommandResult) -> None:
        """Answer who waits for an adjust, with a snapshot that already shows its result."""
        ticket, self._adjusting = self._adjusting, None
        self.publish_now()
        if ticket is not None:
            ticket.answer(result)

    def refuse_waiting(self) -> None:
        """Answer everybody who still waits: the bot is at its end."""
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

    # Trouble ------------------------------------------------------------------------------------

    def alert(self, message: str) -> None:
        """Tell the operator: in the log, on the page, in the status."""
        self.alerts.append(f"{self.clock.now().astimezone(UTC):%Y-%m-%d %H:%M:%SZ} {message}")
        self.wants_snapshot = True
        self.log("alert", message=message)

    def freeze(self, reason: str, message: str, detail: str) -> None:
        """Place no entries until `thaw`; the alert is given once."""
        if reason not in self.frozen:
            self.alert(message)
        self.frozen[reason] = detail
        self.wants_snapshot = True

    def thaw(self, reason: str) -> None:
        """Entries may go again, as far as this reason is concerned."""
        if self.frozen.pop(reason, None) is not None:
            self.dirty = True
            self.wants_snapshot = True

    def _store_failed(self, error: StoreError) -> None:
        """A write failed: nothing more is sent until the database takes writes again."""
        self.freeze("database", f"the database failed, entries stopped: {error}", str(error))
        self.synced = False
        self._retry_at = self.clock.monotonic() + STORE_RETRY_S

    def _lost_contact(self, error: ExchangeError) -> None:
        """The exchange cannot be reached: nothing is placed before a full synchronisation."""
        delay = error.retry_after_s if isinstance(error, Retryable) else 1.0
        self.freeze(
            "exchange", f"the exchange cannot be reached, entries frozen: {error}", str(error)
        )
        self.synced = False
        self._retry_at = self.clock.monotonic() + max(0.2, delay)

    def reconciled(self) -> None:
        """A full reconciliation has just succeeded."""
        self.balance_fetched()
        self.last_contact = self.clock.monotonic()
        self._next_reconcile = self.last_contact + self.settings.interval_s
        self.desk.wants_position = False
        self.wants_snapshot = True

    def balance_fetched(self) -> None:
        """`balance` is the exchange's word of this moment."""
        self.balance_pnl = self.figures()
        self._balance_is_old = False
        self._next_balance = self.clock.monotonic() + BALANCE_S

    def reconcile_within(self, seconds: float) -> None:
        """Reconcile sooner than the interval asks for."""
        self._next_reconcile = min(self._next_reconcile, self.clock.monotonic() + seconds)

    # Figures ------------------------------------------------------------------------------------

    def figures(self) -> PnL:
        """Give the accounting at the present mark price."""
        grid, quote = self.book.grid, self.quote
        return PnL() if grid is None else pnl(grid, None if quote is None else quote.mark)

    def _sample_equity(self, quote: Quote) -> None:
        if self._next_equity is not None and quote.time < self._next_equity:
            return
        grid, now = self.book.grid, self.clock.monotonic()
        if grid is None or now < self._next_equity_at:
            return  # a replay at full speed: the curve has enough points
        self._next_equity_at = now + EQUITY_WALL_S
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
