"""One trading session: what the engine thread owns, and what every step of it may touch.

The loop (`engine`) and its steps (`events`, `sync`, `planner`, `adjusting`, `ending` ...) share
this one object; nobody else sees it. It holds values and says what changed; it decides nothing.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from core.market_state import MarketReport
from core.model import (
    Balance,
    CommandResult,
    Instrument,
    PnL,
    Position,
    Quote,
    RunState,
    StopBot,
)
from core.ports import Clock, ExchangeClient, Feed, IdReserve, Store
from strategies.boundary import Watch
from strategies.equity_curve import EquityCurve
from strategies.grid_state import DesiredOrder, pnl
from strategies.inbox import Inbox
from strategies.journal import Book
from strategies.ledger import Ledger
from strategies.order_desk import DeskLog, OrderDesk
from strategies.order_ids import ClientIds
from strategies.position_watch import PositionWatch
from strategies.settings import EngineSettings
from strategies.standby import Standby

LEDGER_SNAPSHOT_S = 0.02
"""Seconds to a snapshot after a fill or an order, so that the status and the lists agree."""

BALANCE_S = 10.0
"""Seconds between two looks at the balance, and only after a fill: margin and what is free."""


class Session(ABC):
    """One grid on one instrument, as far as it is known. Engine thread only, but for `inbox`."""

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
        wait: Callable[[float], object] | None = None,
        reserve: IdReserve | None = None,
    ) -> None:
        # The parts, and what goes through them.
        self.settings = settings
        self.client = client
        self.feed = feed
        self.store = store
        self.clock = clock
        self.log = log
        self.wait = wait if wait is not None else threading.Event().wait
        self.inbox = Inbox()
        self.ledger = Ledger(store)
        self.equity = EquityCurve(store, clock)
        self.desk = OrderDesk(
            client=client,
            store=store,
            clock=clock,
            symbol=settings.symbol,
            ids=ids,
            log=log,
            alert=self.alert,
            standby=None if reserve is None else Standby(store, ids, reserve),
        )
        # What the exchange has told.
        self.instrument: Instrument | None = None
        self.quote: Quote | None = None
        self.position: Position | None = None
        self.balance: Balance | None = None
        self.balance_pnl = PnL()  # what the ledger said when `balance` was fetched
        self.balance_is_old = False
        self.last_contact: float | None = None
        self.market = MarketReport()
        self.foreign: set[str] = set()  # client ids of others' orders on the symbol
        self.positions = PositionWatch()
        self.lost: set[str] = set()  # client ids of orders whose row a power cut has taken
        self.stray_looks = 0  # in how many looks there were orders of ours that we do not know
        # Where the run stands.
        self.state = RunState.STARTING
        self.started_at = clock.now()
        self.synced = False
        self.stop_request: StopBot | None = None
        self.frozen: dict[str, str] = {}
        self.alerts: deque[str] = deque(maxlen=20)
        self.orders_left = 0
        self.position_left = False  # whether a close that was asked for did not succeed
        # What the next plan follows from, beside the book.
        self.dirty = True
        self.quiet: tuple[Decimal, Decimal] | None = None
        self.last_desired: tuple[DesiredOrder, ...] = ()  # of the last plan
        self.trim: DesiredOrder | None = None  # of a position above the limit, not of a cell
        self.watch = Watch()
        self.adjust_touched = False
        self.move_refused = ""  # why the grid does not follow the price; empty: it does
        self.move_retry_at: datetime | None = None  # market time
        self.trigger_above: bool | None = None  # where the first price stood to the trigger
        # When something is due, by the monotonic clock.
        self.wants_snapshot = True
        self.next_snapshot = 0.0
        self.published_at = 0.0
        self.next_reconcile = 0.0
        self.next_balance = 0.0

    @property
    def book(self) -> Book:
        """The strategy's whole state."""
        return self.ledger.book

    @property
    def ours(self) -> Decimal:
        """The position that the ledger makes of the exchange's: what was there before, and lots."""
        assert self.book.grid is not None
        return self.book.base + self.book.grid.position

    @abstractmethod
    def publish_now(self) -> None:
        """Publish a fresh snapshot."""

    @abstractmethod
    def answer_adjust(self, result: CommandResult) -> None:
        """Answer who waits for an adjust, with a snapshot that already shows its result."""

    def load(self) -> None:
        """Rebuild the state from the database."""
        self.ledger.load()
        self.watch = Watch(zone=self.book.zone)
        self.desk.load()
        self.book_changed()

    # What changed -------------------------------------------------------------------------------

    def publish_soon(self) -> None:
        """Have a fresh snapshot published before long: the ledger has moved."""
        self.wants_snapshot = True
        self.next_snapshot = min(self.next_snapshot, self.published_at + LEDGER_SNAPSHOT_S)

    # Events -------------------------------------------------------------------------------------

    def record(
        self,
        *entries: tuple[str, Mapping[str, Any]],
        time: datetime | None = None,
        lazy: bool = False,
    ) -> None:
        """Append journal entries and take the book over. Errors: StoreError."""
        self.ledger.record(time or self.clock.now(), *entries, lazy=lazy)
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

    # Trouble ------------------------------------------------------------------------------------

    def alert(self, message: str, severity: str = "warning") -> None:
        """Tell the operator: in the log, on the page, in the status, by what alerts go out.

        `severity` is "info" (it is well again), "warning" or "critical" (money is at stake now).
        """
        self.alerts.append(f"{self.clock.now().astimezone(UTC):%Y-%m-%d %H:%M:%SZ} {message}")
        self.wants_snapshot = True
        self.log("alert", message=message, severity=severity)

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

    def reconciled(self) -> None:
        """A full reconciliation has just succeeded."""
        self.balance_fetched()
        self.last_contact = self.clock.monotonic()
        self.next_reconcile = self.last_contact + self.settings.interval_s
        self.desk.wants_position = False
        self.positions.settled()
        self.wants_snapshot = True

    def balance_fetched(self) -> None:
        """`balance` is the exchange's word of this moment."""
        self.balance_pnl = self.figures()
        self.balance_is_old = False
        self.next_balance = self.clock.monotonic() + BALANCE_S

    def reconcile_within(self, seconds: float) -> None:
        """Reconcile sooner than the interval asks for."""
        self.next_reconcile = min(self.next_reconcile, self.clock.monotonic() + seconds)

    # Figures ------------------------------------------------------------------------------------

    def figures(self) -> PnL:
        """Give the accounting at the present mark price."""
        grid, quote = self.book.grid, self.quote
        return PnL() if grid is None else pnl(grid, None if quote is None else quote.mark)
