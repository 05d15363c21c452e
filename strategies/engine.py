"""The bot's loop: inbox -> strategy -> reconcile -> admit -> exchange -> store -> Snapshot.

One thread owns everything here. The web and the signal handlers post to the inbox and read the
latest frozen Snapshot. What happens at a synchronisation is in `sync`, an adjust in `adjusting`,
the end in `ending`; the decisions are `perp_grid`'s and `reconcile`'s.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from core.errors import AuthError, ExchangeError, Retryable, StoreError
from core.model import (
    AdjustGrid,
    Balance,
    Command,
    CommandResult,
    Instrument,
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
from strategies import commands, ending, events, guards, planner, snapshots, sync
from strategies.boundary import Watch
from strategies.equity_curve import EquityCurve
from strategies.grid_state import DesiredOrder, pnl
from strategies.inbox import Inbox, Ticket
from strategies.journal import Book
from strategies.ledger import Ledger
from strategies.order_desk import ClientIds, DeskLog, OrderDesk
from strategies.settings import EngineSettings

SNAPSHOT_S = 0.2
"""Seconds between snapshots at most: a page cannot show more, and building one costs 0.3 ms."""

LEDGER_SNAPSHOT_S = 0.02
"""The same after a fill or an order, so that the status and the lists agree for who compares."""

IDLE_SNAPSHOT_S = 5.0
"""Seconds between snapshots at least, so that the ages of the checks stay true."""

BEAT_S = 1.0
BALANCE_S = 10.0
"""Seconds between two looks at the balance, and only after a fill: margin and what is free."""

HOUSEKEEPING_S = 3600.0
STORE_RETRY_S = 2.0
SLICE_S = 0.05
"""Seconds of market events handled in one go before the inbox is looked at again."""

POLL_S = 0.1
"""Seconds between two polls of a pulled feed that had nothing left: ten wake-ups a second."""


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
        self.inbox = Inbox()
        self.equity = EquityCurve(store, clock)
        self.dirty = True
        self.quiet: tuple[Decimal, Decimal] | None = None
        self.last_desired: tuple[DesiredOrder, ...] = ()  # of the last plan
        self.trigger_above: bool | None = None  # where the first price stood to the trigger
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
        self.balance_is_old = False
        self._next_housekeeping = clock.monotonic() + HOUSEKEEPING_S

    @property
    def book(self) -> Book:
        """The strategy's whole state."""
        return self.ledger.book

    # Other threads ------------------------------------------------------------------------------

    def submit(self, command: Command, timeout_s: float) -> CommandResult:
        """Hand a command to the engine thread and wait; PENDING when it takes longer than that."""
        ticket = self.inbox.post_command(command)
        if ticket.done.wait(timeout_s) and ticket.result is not None:
            return ticket.result
        if self.state is RunState.STOPPED:
            return CommandResult(outcome=Outcome.NOT_RUNNING, message="the bot has stopped")
        return CommandResult(
            outcome=Outcome.PENDING, message="accepted; it is still being carried out"
        )

    # The loop -----------------------------------------------------------------------------------

    def run(self) -> StopBot:
        """Trade until told to stop, or until the data or the duration has ended."""
        self.load()
        self.feed.start(self.inbox.post)
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
        self.book_changed()

    def step(self, timeout_s: float) -> None:
        """One turn: wait for something, take it, plan and send what follows from it."""
        try:
            for message in self.inbox.messages(timeout_s):
                if isinstance(message, Ticket):
                    self._on_ticket(message)
                else:
                    events.take(self, message)
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
        told = self.feed.poll()
        for event in told:
            events.take(self, event)
        now = self.clock.monotonic()
        self._retry_at = now if told else now + POLL_S
        return self.stop_request is None and events.trigger_reached(self, trigger)

    def _trade(self, now: float) -> None:
        """Handle due market events, one step of the feed at a time, for a slice of time."""
        slice_end = now + SLICE_S
        while self.stop_request is None and self.synced:
            told = self.feed.poll()
            for event in told:
                events.take(self, event)
            if self.desk.wants_backfill:
                sync.backfill(self)
            if self.dirty:
                planner.plan_and_send(self)
            now = self.clock.monotonic()
            if not told:
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
        if self.balance_is_old and now >= self._next_balance:
            sync.refresh_balance(self)

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

    def record(self, *entries: tuple[str, Mapping[str, Any]], time: datetime | None = None) -> None:
        """Append journal entries and take the book over. Errors: StoreError."""
        self.ledger.record(time or self.clock.now(), *entries)
        self.book_changed()

    def grid_replaced(self) -> None:
        """Another grid is in force: what was derived from the old one is void."""
        self.watch = Watch(zone=self.book.zone)
        self.book_changed()

    def book_changed(self) -> None:
        """The book has moved on: a new plan, and a snapshot before long."""
        self.quiet = None
        self.dirty = True
        self.publish_soon()

    # Commands -----------------------------------------------------------------------------------

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
                        self.inbox.adjusting = ticket
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
        ticket, self.inbox.adjusting = self.inbox.adjusting, None
        self.publish_now()
        if ticket is not None:
            ticket.answer(result)

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
        self.balance_is_old = False
        self._next_balance = self.clock.monotonic() + BALANCE_S

    def reconcile_within(self, seconds: float) -> None:
        """Reconcile sooner than the interval asks for."""
        self._next_reconcile = min(self._next_reconcile, self.clock.monotonic() + seconds)

    # Figures ------------------------------------------------------------------------------------

    def figures(self) -> PnL:
        """Give the accounting at the present mark price."""
        grid, quote = self.book.grid, self.quote
        return PnL() if grid is None else pnl(grid, None if quote is None else quote.mark)
