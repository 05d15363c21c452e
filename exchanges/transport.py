"""The one way to an exchange's REST: time-outs, budget, fresh signatures, errors by kind.

Rules it keeps:

- **Nothing is sent again blind.** A read is tried again a few times; a write (POST, DELETE, PATCH)
  once. A write whose answer is lost is `OutcomeUnknown`; one that never left is `Retryable`.
- **Every attempt is signed anew**, by the exchange's own clock: its time is fetched, extrapolated
  by the boot-time clock, fetched again every quarter of an hour and when a timestamp is refused.
  Without it nothing signed is sent.
- **One budget for the machine** (`budget`), asked before every attempt; 429 and 418 go into it.
- **An exchange that does not answer costs its time once**: after a read has failed, others fail at
  once for a moment, so that a hundred look-ups in a row do not stall the engine.
- **Nobody is silent by surprise**: whoever waits here hears beforehand how long it may last.
- No exception carries an address, a header or a body of ours: they hold keys and signatures.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from urllib3.exceptions import MaxRetryError
from urllib3.util.retry import Retry

from core.errors import AuthError, ExchangeError, OutcomeUnknown, Retryable
from exchanges.budget import PATIENCE_S, Budget, boot_time
from exchanges.http_line import CONNECT_TIMEOUT_S, HttpLine, NoAnswer, NotSent
from exchanges.server_clock import ServerClock
from exchanges.wire import Call, HttpRequest, TimestampRefused

READ_TIMEOUT_S = 5.0
WRITE_TIMEOUT_S = 10.0  # an order may take its time; what comes later is looked up
READ_DEADLINE_S = 12.0  # of a read with all its attempts: well within the engine's 30 s
READ_RETRIES = 2
FAIL_FAST_S = 1.0
RESYNC_S = 900.0
SYNC_TRIES = 3
SYNC_TIMEOUT_S = 3.0
SYNC_ROUND_TRIP_S = 2.0  # a slower answer tells too little of the time, in a window of 5 s
RESOLVE_S = 30.0  # a resolver that is silent too, or many addresses: no time-out of ours bounds it
PARALLEL = 5  # single requests that an exchange has no batch for


class ReadError(Protocol):
    def __call__(
        self, status: int, text: str, *, is_write: bool, retry_after_s: float | None, now_ms: int
    ) -> ExchangeError: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """How an exchange is spoken to: its wire's functions, by name.

    `build` takes the time in microseconds. `weight_header` tells the use of a bucket (by name and
    limit) that other programs share with us; None: there is none.
    """

    name: str
    base_url: str
    build: Callable[[Call, int], HttpRequest]
    read_error: ReadError
    time_call: Call
    read_time: Callable[[str], int]
    weight_header: tuple[str, str, int] | None = None


@dataclass(slots=True)
class RestSession:
    """Sends calls to one exchange. Safe from any thread; each has connections of its own."""

    venue: Venue
    budget: Budget
    clock: Callable[[], float] = boot_time
    sleep: Callable[[float], object] = time.sleep
    on_wait: Callable[[float], None] | None = None  # see `_waiting`
    server: ServerClock = field(init=False)
    _local: threading.local = field(init=False, default_factory=threading.local)
    _lines: list[HttpLine] = field(init=False, default_factory=list)
    _guard: threading.Lock = field(init=False, default_factory=threading.Lock)
    _build_guard: threading.Lock = field(init=False, default_factory=threading.Lock)
    _sync_guard: threading.RLock = field(init=False, default_factory=threading.RLock)
    _fail_fast_until: float = field(init=False, default=0.0)
    _pool: ThreadPoolExecutor | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.server = ServerClock(self.clock)

    # Sending ------------------------------------------------------------------------------------

    def send(self, call: Call) -> str:
        """Send a call and give the answer's text (empty for 202 and 204).

        Errors: AuthError, Retryable, Rejected, OutcomeUnknown (writes only).
        """
        return self._write(call) if call.is_write else self._read(call)

    def send_many(self, calls: Sequence[Call]) -> list[str | ExchangeError]:
        """Send several writes, a few at a time; one outcome a call, in order.

        After an answer that says to stop (no access, too many requests, no answer at all) the
        calls that have not begun are Retryable: they were not sent.
        """
        stopped: list[ExchangeError] = []

        def one(call: Call) -> str | ExchangeError:
            if stopped:
                return self.not_sent(stopped[0])
            try:
                return self.send(call)
            except (AuthError, OutcomeUnknown, Retryable) as error:
                stopped.append(error)
                return error
            except ExchangeError as error:
                return error

        if len(calls) == 1:
            return [one(calls[0])]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(max_workers=PARALLEL, thread_name_prefix="rest")
        answers: list[str | ExchangeError] = []
        running = self._pool.map(one, calls)
        while len(answers) < len(calls):
            # In order: with the ones before it answered, the next is sent by now or sent next.
            with self._waiting(2 * (_SYNC_LONGEST_S + _longest_s(WRITE_TIMEOUT_S))):
                answers.append(next(running))
        return answers

    def not_sent(self, reason: ExchangeError) -> ExchangeError:
        """Say of a further request that it was not sent because of another one's fate."""
        if isinstance(reason, AuthError):
            return AuthError(str(reason))
        delay = reason.retry_after_s if isinstance(reason, Retryable) else 1.0
        return Retryable(f"not sent, after: {reason}", delay)

    def now_ms(self) -> int:
        """Give the exchange's time. Errors: Retryable when it cannot be learned."""
        self._learn_time()
        return self.server.now_ms()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None
        with self._guard:
            lines, self._lines = self._lines, []
        for line in lines:
            line.close()
        self.budget.close()

    def _read(self, call: Call) -> str:
        if self.clock() < self._fail_fast_until:
            raise Retryable(f"{self.venue.name} did not answer a moment ago", FAIL_FAST_S)
        deadline = self.clock() + READ_DEADLINE_S
        retry = Retry(total=READ_RETRIES, backoff_factor=0.2, backoff_jitter=0.1)
        while True:
            error, may_repeat = self._attempt(call)
            if error is None:
                return self._local.text  # type: ignore[no-any-return]
            if not may_repeat or self.clock() >= deadline:
                break
            try:
                retry = retry.increment(call.method, call.path, error=error)
            except MaxRetryError:
                break
            except ExchangeError:
                break
            self.sleep(retry.get_backoff_time())
        if may_repeat:
            self._fail_fast_until = self.clock() + FAIL_FAST_S
        raise error

    def _attempt(self, call: Call) -> tuple[ExchangeError | None, bool]:
        """Try a read once: what went wrong, and whether trying at once again makes sense."""
        try:
            self._local.text = self._once(call, READ_TIMEOUT_S)
        except (NotSent, NoAnswer) as error:
            return Retryable(f"{self.venue.name} {call.path}: {error}"), True
        except ServerTrouble as trouble:
            return trouble.error, True
        except ExchangeError as error:
            return error, False
        return None, False

    def _write(self, call: Call) -> str:
        try:
            return self._once(call, WRITE_TIMEOUT_S)
        except NotSent as error:
            raise Retryable(f"{self.venue.name} {call.path}: {error}") from None
        except NoAnswer as error:
            raise OutcomeUnknown(f"{self.venue.name} {call.path}: {error}") from None
        except ServerTrouble as trouble:
            raise trouble.error from None

    def _once(self, call: Call, timeout_s: float) -> str:
        """Send once; once more with a fresh clock when the timestamp was refused: that is safe."""
        try:
            return self._exchange(call, timeout_s)
        except TimestampRefused as first:
            with self._waiting(_SYNC_LONGEST_S), self._sync_guard:
                self._sync(f"the exchange refused our time ({first})")
            return self._exchange(call, timeout_s)

    def _exchange(self, call: Call, timeout_s: float) -> str:
        self._learn_time()
        with self._waiting(_longest_s(timeout_s)):
            self.budget.take(call.charges, is_write=call.is_write)
            with self._build_guard:  # a V3 nonce must grow from request to request
                request = self.venue.build(call, self.server.now_us())
            status, text, headers = self._line().exchange(request, timeout_s)
        self._note_use(headers)
        if status in (200, 201, 202, 204):
            return text
        error = self.venue.read_error(
            status,
            text,
            is_write=call.is_write,
            retry_after_s=_retry_after(headers),
            now_ms=self.server.now_ms(),
        )
        if status in (418, 429) and isinstance(error, Retryable):
            self.budget.punish(call.charges, error.retry_after_s)
        elif status >= 500 and not (isinstance(error, Retryable) and error.retry_after_s > 5):
            raise ServerTrouble(error)
        raise error

    @contextmanager
    def _waiting(self, longest_s: float) -> Iterator[None]:
        """Tell who waits, on its own thread, for how long at most, and 0 when it is over."""
        if self.on_wait is None:
            yield
            return
        self.on_wait(longest_s)
        try:
            yield
        finally:
            self.on_wait(0.0)

    def _line(self) -> HttpLine:
        line: HttpLine | None = getattr(self._local, "line", None)
        if line is None:
            line = self._local.line = HttpLine(self.venue.base_url, self.clock)
            with self._guard:
                self._lines.append(line)
        return line

    def _note_use(self, headers: Mapping[str, str]) -> None:
        """Hold back when other programs have nearly used up what we share with them."""
        if self.venue.weight_header is None:
            return
        header, bucket, limit = self.venue.weight_header
        told = headers.get(header, "")
        if told.isdigit() and int(told) >= limit * 0.9:
            self.budget.punish({bucket: 1}, 2.0)

    # Time ---------------------------------------------------------------------------------------

    def _learn_time(self) -> None:
        """Know the exchange's time, not older than a quarter of an hour."""
        if self.server.is_set and self.server.age_s < RESYNC_S:
            return
        with self._waiting(_SYNC_LONGEST_S), self._sync_guard:
            if self.server.is_set and self.server.age_s < RESYNC_S:
                return
            try:
                self._sync("its time is not known")
            except Retryable:
                if not self.server.is_set or self.server.age_s > 4 * RESYNC_S:
                    raise  # a known one drifts by milliseconds an hour: it will do for a while

    def _sync(self, reason: str) -> None:
        """Fetch the exchange's time. Errors: Retryable when no answer is quick enough."""
        best: tuple[float, int, float] | None = None
        problem = "no answer was quick enough"
        for _ in range(SYNC_TRIES):
            try:
                self.budget.take(self.venue.time_call.charges, is_write=False)
                sent = self.clock()
                status, text, _ = self._line().exchange(
                    self.venue.build(self.venue.time_call, 0), SYNC_TIMEOUT_S
                )
                received = self.clock()
                if status != 200:
                    problem = f"HTTP {status}"
                    continue
                server_ms = self.venue.read_time(text)
            except (NotSent, NoAnswer, ExchangeError) as error:
                problem = str(error)
                continue
            if best is None or received - sent < best[0]:
                best = (received - sent, server_ms, received)
            if best[0] < SYNC_ROUND_TRIP_S / 4:
                break
        if best is None or best[0] > SYNC_ROUND_TRIP_S:
            raise Retryable(
                f"{self.venue.name}: {reason} and could not be learned: {problem}; nothing signed "
                "is sent without it"
            )
        self.server.set(best[1], best[2])


def _longest_s(timeout_s: float) -> float:
    """The longest that one attempt can block: its turn, its address, its answer (`HttpLine`)."""
    return PATIENCE_S + RESOLVE_S + CONNECT_TIMEOUT_S + 3 * timeout_s


# Another thread may be at it first, and it may fail.
_SYNC_LONGEST_S = 2 * SYNC_TRIES * _longest_s(SYNC_TIMEOUT_S)


class ServerTrouble(Exception):
    """The exchange answered with a 5xx: a read may be tried again at once."""

    def __init__(self, error: ExchangeError) -> None:
        super().__init__(str(error))
        self.error = error


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After in seconds; the other form, a date, is left to the default."""
    text = headers.get("Retry-After", "").strip()
    try:
        value = float(text)
    except ValueError:
        return None
    return min(max(value, 0.0), 3 * 24 * 3600.0) if value == value else None
