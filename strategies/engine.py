"""The bot's loop: inbox -> strategy -> reconcile -> admit -> exchange -> store -> Snapshot.

One thread owns everything here. The web and the signal handlers post to the inbox and read the
latest frozen Snapshot. What happens at a synchronisation is in `sync`, an adjust in `adjusting`,
the end in `ending`; the decisions are `perp_grid`'s and `reconcile`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from core.errors import (
    AuthError,
    ExchangeError,
    OutcomeUnknown,
    Retryable,
    StoreError,
    Unavailable,
)
from core.model import (
    AdjustGrid,
    Command,
    CommandResult,
    Outcome,
    Pause,
    Resume,
    RunState,
    Snapshot,
    StopBot,
)
from core.ports import (
    Clock,
    DeadMansSwitch,
    ExchangeClient,
    Feed,
    IdReserve,
    MarketStates,
    Store,
)
from strategies import commands, ending, events, guards, planner, snapshots, sync
from strategies.countdown import Countdown
from strategies.inbox import Ticket
from strategies.market_watch import MarketWatch
from strategies.order_desk import DeskLog
from strategies.order_ids import ClientIds
from strategies.session import Session
from strategies.settings import EngineSettings

SNAPSHOT_S = 0.2
"""Seconds between snapshots at most: a page cannot show more, and building one costs 0.3 ms."""

IDLE_SNAPSHOT_S = 5.0
"""Seconds between snapshots at least, so that the ages of the checks stay true."""

BEAT_S = 1.0
HOUSEKEEPING_S = 3600.0
STORE_RETRY_S = 2.0
CLOSED_RETRY_S = 15.0
"""Seconds to the next synchronisation with an exchange or a symbol that says it is closed."""

SLICE_S = 0.05
"""Seconds of market events handled in one go before the inbox is looked at again."""

POLL_S = 0.1
"""Seconds between two polls of a pulled feed that had nothing left: ten wake-ups a second."""


class Engine(Session):
    """The loop over one session. `run` blocks on the engine thread until the bot has ended."""

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
        switch: DeadMansSwitch | None = None,
        market: MarketStates | None = None,
        reserve: IdReserve | None = None,
    ) -> None:
        super().__init__(
            settings=settings,
            client=client,
            feed=feed,
            store=store,
            clock=clock,
            ids=ids,
            log=log,
            wait=wait,
            reserve=reserve,
        )
        self.countdown = Countdown(switch, settings.dead_mans_switch_s)
        self.market_watch = MarketWatch(market)
        self._publish = publish
        self._beat = beat
        self._housekeeping = housekeeping
        self.loops = 0
        self._awaits_trigger = False
        self._snapshot_seq = 0
        self._retry_at = 0.0
        self._poll_at = 0.0
        self._idle_snapshot = 0.0
        self._next_beat = 0.0
        self._next_housekeeping = self.clock.monotonic() + HOUSEKEEPING_S

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
            self.countdown.switch_off(self)
        finally:
            self.feed.stop()
        return self.stop_request

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
        self.market_watch.follow(self)  # first: of a closed symbol not everything can be asked
        self._awaits_trigger = not sync.synchronise(self)
        if self._awaits_trigger:
            self._is_up()  # it waits as told: that is no failure to start
            return
        self.synced = True
        self.thaw("exchange")
        self.thaw("closed")
        self.dirty = True
        guards.resume(self)
        planner.plan_and_send(self)
        self._is_up()
        self.next_snapshot = 0.0

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
        in_doubt = self.positions.next_due is not None and self.positions.wants_look(self.ours, now)
        if now >= self.next_reconcile or self.desk.wants_position or in_doubt:
            if in_doubt:
                self.log("position_in_doubt", ours=self.ours)
            sync.reconcile(self)
        if self.desk.has_expired_block(now):
            self.dirty = True
        if self.balance_is_old and now >= self.next_balance:
            sync.refresh_balance(self)
        self.market_watch.follow(self)
        self.countdown.keep(self)

    def _timeout(self) -> float:
        """Seconds until the next thing that is due by itself."""
        now = self.clock.monotonic()
        times = [self._next_beat]
        if self.wants_snapshot:
            times.append(self.next_snapshot)
        if self.synced:
            if self.dirty and now >= self.desk.hold_until:
                return 0.0
            times.append(self.next_reconcile)
            due = self.feed.next_due()
            if due is not None:
                times.append(max(due, self._poll_at))
            timers = (
                self.desk.next_timer(),
                self.countdown.next_due,
                self.market_watch.next_due,
                self.positions.next_due,
            )
            times += [timer for timer in timers if timer is not None]
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
        if (self.wants_snapshot and now >= self.next_snapshot) or now >= self._idle_snapshot:
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
        self.published_at = now
        self.next_snapshot = now + SNAPSHOT_S
        self._idle_snapshot = now + IDLE_SNAPSHOT_S
        self.wants_snapshot = False
        self._snapshot_seq += 1
        if self._publish is not None:
            snapshot = snapshots.build(self, self._snapshot_seq)
            extra = {**snapshot.extra, **self.countdown.words(self)}
            self._publish(replace(snapshot, extra=extra))

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

    def _store_failed(self, error: StoreError) -> None:
        """A write failed: nothing more is sent until the database takes writes again."""
        self.freeze("database", f"the database failed, entries stopped: {error}", str(error))
        self.synced = False
        self._retry_at = self.clock.monotonic() + STORE_RETRY_S

    def _lost_contact(self, error: ExchangeError) -> None:
        """The exchange cannot be reached: nothing is placed before a full synchronisation."""
        delay = error.retry_after_s if isinstance(error, Retryable) else 1.0
        is_answer = not isinstance(error, (Retryable, OutcomeUnknown))
        if isinstance(error, Unavailable) or (is_answer and not self.market.state.takes_exits):
            # It was reached and has said so: no fault of ours or of the line. We are up and wait.
            self.thaw("exchange")
            words = "the exchange is closed for now, everything waits"
            self.freeze("closed", f"{words}: {error}", str(error))
            self._is_up()
            delay = max(delay, CLOSED_RETRY_S)
        else:
            self.freeze(
                "exchange", f"the exchange cannot be reached, entries frozen: {error}", str(error)
            )
        self.synced = False
        self.market_watch.look_soon()
        self._retry_at = self.clock.monotonic() + max(0.2, delay)
