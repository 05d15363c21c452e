"""The seams between the arms, as protocols with the fewest methods that do the job.

The engine (strategies) works against these; `exchanges`, `database` and `web` provide or use them;
`cli` joins them. Nothing here has behaviour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from core.errors import ExchangeError
from core.market_state import MarketReport
from core.model import (
    Balance,
    Command,
    CommandResult,
    EquitySample,
    Fill,
    FundingPayment,
    Instrument,
    MarketEvent,
    Order,
    OrderRequest,
    Position,
    Quote,
    Snapshot,
)


class Clock(Protocol):
    """Time, so that tests and backtests can own it."""

    def now(self) -> datetime:
        """Wall time, UTC, aware. For stamps only, never for durations."""
        ...

    def monotonic(self) -> float:
        """Seconds that only ever grow. For durations and deadlines."""
        ...


class ExchangeClient(Protocol):
    """One account on one exchange, seen from one instance.

    Errors: AuthError, Retryable and OutcomeUnknown are raised by any call; `place_orders` and
    `cancel_orders` give each request its own outcome in its own place instead.
    An error or a time-out is never answered with an empty result (I11).
    """

    @property
    def name(self) -> str: ...

    def fetch_instrument(self, symbol: str) -> Instrument: ...

    def fetch_quote(self, symbol: str) -> Quote: ...

    def fetch_open_orders(self, symbol: str) -> tuple[Order, ...]:
        """All open orders of the account on the symbol, also those that are not ours."""
        ...

    def fetch_order(self, symbol: str, client_order_id: str) -> Order | None:
        """One order in its latest state; None only when the exchange proves it has none such."""
        ...

    def fetch_fills(self, symbol: str, since: datetime | None) -> tuple[Fill, ...]:
        """All fills at or after `since` (None: all there are), oldest first, complete."""
        ...

    def fetch_funding(self, symbol: str, since: datetime | None) -> tuple[FundingPayment, ...]:
        """All funding payments at or after `since`, oldest first, complete."""
        ...

    def fetch_position(self, symbol: str) -> Position: ...

    def fetch_balance(self) -> Balance: ...

    def place_orders(self, requests: Sequence[OrderRequest]) -> tuple[Order | ExchangeError, ...]:
        """Send; one outcome a request, in order: the accepted Order or what went wrong."""
        ...

    def cancel_orders(self, orders: Sequence[Order]) -> tuple[Order | ExchangeError, ...]:
        """Cancel; one outcome an order: its terminal state, Rejected(NOT_FOUND) or what went wrong.

        A cancel that lost the race answers with the FILLED order, or NOT_FOUND; the fill arrives
        as a Fill event and by `fetch_fills`.
        """
        ...

    def close(self) -> None: ...


class MarketStates(Protocol):
    """Where a symbol's state can be asked for: a real exchange's book closes at times."""

    def fetch_market_state(self, symbol: str) -> MarketReport:
        """Errors: ExchangeError."""
        ...


class DeadMansSwitch(Protocol):
    """A timer at the exchange that cancels all orders of a symbol; not every exchange has one."""

    def set_countdown(self, symbol: str, seconds: float) -> None:
        """Let all orders of the symbol end in so many seconds; each call replaces the last.

        0 stops it. Errors: ExchangeError.
        """
        ...


class Feed(Protocol):
    """Where market and account events come from.

    A pushing feed (a WebSocket) owns a thread and calls `post`; its `poll` is empty and its
    `next_due` is None. A pulled feed (paper) makes its events in `poll`, on the caller's thread,
    which is what makes replays deterministic.
    """

    def start(self, post: Callable[[MarketEvent], None]) -> None: ...

    def stop(self) -> None: ...

    def poll(self) -> Sequence[MarketEvent]:
        """The next events that are due now; empty when none is. Call again until it is empty."""
        ...

    def next_due(self) -> float | None:
        """When `poll` has something next, by the monotonic clock; None: it never will by itself."""
        ...

    def set_wake_range(self, low: Decimal | None, high: Decimal | None) -> None:
        """Quotes strictly between these matter little: a feed may leave all but the latest out.

        One None: no bound on that side; both: every quote is wanted.
        """
        ...

    def age_s(self) -> float | None:
        """Seconds since the feed last heard from the exchange; None: never yet."""
        ...


class Store(Protocol):
    """The instance's ledger. One writer thread. Errors: StoreError, with nothing half-written.

    `events` is the strategy's append-only journal: state is the fold over it (I12). Everything
    written inside one `transaction()` is committed together or not at all.
    """

    def transaction(self, *, lazy: bool = False) -> AbstractContextManager[None]:
        """Commit at the end, roll back on any exception; a nested one joins the outer.

        A lazy one need not wait for the disk: it outlives the process, and should the machine lose
        its power before the next one that is not lazy, it may be gone, with all after it. For what
        the exchange can be asked for again: an order's row only if its id is on the disk already.
        """
        ...

    def load_meta(self, key: str) -> str | None: ...

    def save_meta(self, key: str, value: str) -> None: ...

    def reserve_order_numbers(self, count: int, *, lazy: bool = False) -> int:
        """Take `count` numbers that were never given out before; returns the first.

        Lazy ones, as of a lazy transaction, may be given out again after a power cut: nothing may
        be sent under them before they are on the disk.
        """
        ...

    def save_order(self, order: Order) -> None:
        """Insert or update by client order id."""
        ...

    def load_order(self, client_order_id: str) -> Order | None: ...

    def live_orders(self) -> tuple[Order, ...]:
        """All orders that are not terminal, oldest first."""
        ...

    def insert_fill(self, fill: Fill, slot: str) -> bool:
        """Append a fill; False, with nothing written, when its (symbol, trade id) is known."""
        ...

    def load_fills(self, limit: int) -> tuple[Fill, ...]:
        """The newest fills, oldest first."""
        ...

    def fill_count(self) -> int: ...

    def last_fill_time(self) -> datetime | None: ...

    def insert_funding(self, payment: FundingPayment) -> bool:
        """Append a payment; False when its (symbol, time) is known."""
        ...

    def last_funding_time(self) -> datetime | None: ...

    def append_event(self, kind: str, payload: Mapping[str, Any], time: datetime) -> int:
        """Append to the journal; returns its sequence number, from 1, without gaps."""
        ...

    def events_after(self, seq: int) -> Iterator[tuple[int, str, dict[str, Any], datetime]]:
        """Journal entries with a greater sequence number, in order."""
        ...

    def save_checkpoint(self, seq: int, payload: Mapping[str, Any]) -> None:
        """Keep the folded state as of journal entry `seq`; replaces the one before."""
        ...

    def load_checkpoint(self) -> tuple[int, dict[str, Any]] | None: ...

    def insert_equity(self, sample: EquitySample) -> None: ...

    def close(self) -> None: ...


class IdReserve(Protocol):
    """Client order ids that are on the disk before they are needed, each for one slot.

    An order under such an id need not wait for the disk: should a power cut take its row, the id
    still tells what the order was for (docs/decisions/008). Engine thread; errors: StoreError.
    """

    def load(self) -> dict[str, str]:
        """All ids that are kept, with their slots."""
        ...

    def keep(self, slots: Mapping[str, str]) -> None:
        """Keep ids for slots, by id."""
        ...

    def drop(self, ids: Iterable[str]) -> None:
        """Forget ids: an order has taken them, or none ever will."""
        ...

    def sync_soon(self) -> int:
        """Have all that is committed brought to the disk, without waiting; gives a mark of it."""
        ...

    def is_synced(self, mark: int) -> bool:
        """Tell whether what was committed before that mark is on the disk by now."""
        ...


class PaperStore(Protocol):
    """Where the paper exchange keeps what an exchange keeps: account, orders, fills, feed place.

    It stands apart from `Store`: a commit here is what "the exchange has it" means, whatever the
    engine has or has not written yet.
    """

    def load_account(self) -> dict[str, Any] | None:
        """The account document last committed (JSON types only); None: a new account."""
        ...

    def load_open_orders(self) -> tuple[Order, ...]: ...

    def load_order(self, client_order_id: str) -> Order | None: ...

    def load_fills(self, since: datetime | None) -> tuple[Fill, ...]: ...

    def load_funding(self, since: datetime | None) -> tuple[FundingPayment, ...]: ...

    def commit(
        self,
        account: Mapping[str, Any],
        orders: Sequence[Order] = (),
        fills: Sequence[Fill] = (),
        funding: Sequence[FundingPayment] = (),
    ) -> None:
        """Write all of it in one transaction. Errors: StoreError, with nothing written."""
        ...


class History(Protocol):
    """Read-only pages for the web, newest first, safe from any thread.

    Each returns the rows and `next_before`, the cursor of the next page (None: no more).
    """

    def orders(
        self, limit: int, before: int | None, *, open_only: bool
    ) -> tuple[tuple[Order, ...], int | None]: ...

    def fills(self, limit: int, before: int | None) -> tuple[tuple[Fill, ...], int | None]: ...

    def equity(
        self, limit: int, before: int | None
    ) -> tuple[tuple[EquitySample, ...], int | None]: ...


class View(Protocol):
    """The latest snapshot; never blocks."""

    def __call__(self) -> Snapshot: ...


class Commands(Protocol):
    """Hand a command to the engine thread and wait for its result."""

    def submit(self, command: Command, timeout_s: float) -> CommandResult:
        """Answer within `timeout_s`; Outcome.PENDING when it is stored but not finished by then."""
        ...
