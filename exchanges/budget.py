"""The request budget of an exchange, shared by every process that uses the same folder.

One small file a bucket that the exchange counts, named for host, bucket and (where it is counted
for each account) a hash of the key. In it the state of a GCRA, a leaky bucket written as one
moment: the *theoretical arrival time* (TAT) moves on by `period / rate` a request, and a request
may go while the TAT is at most `burst` requests ahead of now. Rules it keeps:

- `burst + rate x period` stays below what the exchange allows, in any window of its period.
- **Orders before polls**: a poll may use half of the burst, an order all of it.
- **A penalty is everybody's**: what one process is told by 429 or 418, all of them wait out.
- Time is the machine's boot-time clock, which no clock step moves and sleep does not stop; a stamp
  of another boot counts as none, a stamp from the future is cut to what can be true.
- A file is locked for microseconds, with flock, so that a death frees it. A request of several
  buckets takes all of them or none.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import ConfigError, Retryable
from core.files import make_private_dir, open_private
from exchanges.wire import Limit

USED_SHARE = 0.9  # of what the exchange allows: its clock and other programs need room
BURST_SHARE = 0.5  # of that in one go; the other half refills over the period
POLL_SHARE = 0.5  # of the burst is for polls
LONGEST_PENALTY_S = 3 * 24 * 3600.0  # documented: the longest ban
LOCK_PATIENCE_S = 2.0
PATIENCE_S = 5.0
"""How long a request waits for its turn; longer, and it is the caller's to come again."""

_RECORD = struct.Struct("<16sdddQQ")


def boot_time() -> float:
    """Seconds since the machine started, sleep included: the same in every process."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> bytes:
    """Tell this boot from others, in 16 bytes."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        text = ""
    return hashlib.sha256(text.strip().encode()).digest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketState:
    """What a bucket's file holds, by the boot-time clock."""

    arrival: float = 0.0
    blocked_until: float = 0.0
    window_start: float = 0.0
    window_count: int = 0
    count_before: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketUse:
    """How much of a bucket all processes together use. `blocked_s`: a penalty's rest, 0: none."""

    name: str
    used: int
    limit: int
    period_s: float
    blocked_s: float


# Decisions ------------------------------------------------------------------------------------


def step_of(limit: Limit) -> float:
    """Seconds of TAT that one request costs."""
    return limit.period_s / (limit.count * USED_SHARE * (1 - BURST_SHARE))


def burst_of(limit: Limit, *, is_write: bool) -> float:
    """How many requests may go at once."""
    burst = limit.count * USED_SHARE * BURST_SHARE
    return burst if is_write else burst * POLL_SHARE


def wait_for(state: BucketState, limit: Limit, cost: int, now: float, *, is_write: bool) -> float:
    """Seconds until `cost` requests may go; 0: now."""
    if state.blocked_until > now:
        return state.blocked_until - now
    arrival = max(state.arrival, now) + cost * step_of(limit)
    return max(0.0, arrival - now - burst_of(limit, is_write=is_write) * step_of(limit))


def charged(state: BucketState, limit: Limit, cost: int, now: float) -> BucketState:
    """Give the state after `cost` requests."""
    state = turned(state, limit, now)
    return replace(
        state,
        arrival=max(state.arrival, now) + cost * step_of(limit),
        window_count=state.window_count + cost,
    )


def turned(state: BucketState, limit: Limit, now: float) -> BucketState:
    """Give the state with its counting window, one period long, moved on to now."""
    passed, period = now - state.window_start, limit.period_s
    if passed < period:
        return state
    before = state.window_count if passed < 2 * period else 0
    start = state.window_start + period if passed < 2 * period else now
    return replace(state, window_start=start, window_count=0, count_before=before)


def plausible(state: BucketState, limit: Limit, now: float) -> BucketState:
    """Cut stamps from the future to the latest that can be true."""
    latest = now + (burst_of(limit, is_write=True) + limit.count) * step_of(limit)
    longest = now + LONGEST_PENALTY_S
    if state.arrival <= latest and state.blocked_until <= longest and state.window_start <= now:
        return state  # as nearly always, and before every order
    return replace(
        state,
        arrival=min(state.arrival, latest),
        blocked_until=min(state.blocked_until, longest),
        window_start=min(state.window_start, now),
    )


# Carrying them out ----------------------------------------------------------------------------


class Budget:
    """The buckets of one exchange host and account. Safe from any thread."""

    def __init__(
        self,
        folder: Path,
        *,
        host: str,
        account: str,
        limits: Sequence[Limit],
        clock: Callable[[], float] = boot_time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Open the buckets' files. `account` is hashed, never written. Errors: ConfigError."""
        self._clock = clock
        self._sleep = sleep
        self._boot = boot_id()
        self._limits = {limit.name: limit for limit in limits}
        self._guard = threading.Lock()
        self._files: dict[str, int] = {}
        place = re.sub(r"[^A-Za-z0-9.-]", "_", host)[:80]
        tag = hashlib.sha256(f"{host} {account}".encode()).hexdigest()[:12]
        try:
            make_private_dir(folder)
            for limit in limits:
                name = f"{place}.{limit.name}" + (f".{tag}" if limit.per_account else "")
                self._files[limit.name] = open_private(folder / name, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            self.close()
            raise ConfigError(
                f"{folder}: the request budget cannot be kept there: {error.strerror}"
            ) from None

    def take(
        self, charges: Mapping[str, int], *, is_write: bool, patience_s: float = PATIENCE_S
    ) -> None:
        """Wait for a turn and take it. Errors: Retryable when it is further off than that."""
        deadline = self._clock() + patience_s
        while True:
            wait = self._try(charges, is_write=is_write)
            if wait <= 0:
                return
            if self._clock() + wait > deadline:
                raise Retryable(
                    f"the request budget is used up for {wait:.1f} s more", max(0.1, wait)
                )
            self._sleep(min(wait, 1.0))

    def _try(self, charges: Mapping[str, int], *, is_write: bool) -> float:
        with self._locked(charges) as states:
            now = self._clock()
            wait = max(
                (
                    wait_for(state, self._limits[name], charges[name], now, is_write=is_write)
                    for name, state in states.items()
                ),
                default=0.0,
            )
            if wait > 0:
                return wait
            for name, state in states.items():
                self._write(name, charged(state, self._limits[name], charges[name], now))
        return 0.0

    def punish(self, buckets: Mapping[str, int], seconds: float) -> None:
        """Let nobody send on these buckets for so long; a longer penalty stays."""
        with self._locked(buckets) as states:
            until = self._clock() + min(seconds, LONGEST_PENALTY_S)
            for name, state in states.items():
                self._write(name, replace(state, blocked_until=max(until, state.blocked_until)))

    def use(self) -> tuple[BucketUse, ...]:
        """Tell the use of each bucket over its last period, by all processes."""
        with self._locked(self._limits) as states:
            now = self._clock()
        found = []
        for name, state in states.items():
            limit = self._limits[name]
            state = turned(state, limit, now)
            share = max(0.0, 1 - (now - state.window_start) / limit.period_s)
            used = state.window_count + state.count_before * share
            found.append(
                BucketUse(
                    name=name,
                    used=round(used),
                    limit=limit.count,
                    period_s=limit.period_s,
                    blocked_s=max(0.0, state.blocked_until - now),
                )
            )
        return tuple(found)

    def close(self) -> None:
        while self._files:
            os.close(self._files.popitem()[1])

    # Files --------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self, names: Mapping[str, object]) -> Iterator[dict[str, BucketState]]:
        """Hold the files of some buckets, always in one order, and read them."""
        with self._guard, contextlib.ExitStack() as stack:
            for name in sorted(names):
                fd = self._files[name]
                self._lock(fd)
                stack.callback(fcntl.flock, fd, fcntl.LOCK_UN)
            yield {name: self._read(name) for name in sorted(names)}

    def _lock(self, fd: int) -> None:
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:  # its holder was stopped in the middle
                    raise Retryable("the request budget is held by another process") from None
                time.sleep(0.0005)

    def _read(self, name: str) -> BucketState:
        data = os.pread(self._files[name], _RECORD.size, 0)
        if len(data) != _RECORD.size:
            return BucketState()
        boot, arrival, blocked, start, count, before = _RECORD.unpack(data)
        if boot != self._boot:
            return BucketState()
        state = BucketState(
            arrival=arrival,
            blocked_until=blocked,
            window_start=start,
            window_count=count,
            count_before=before,
        )
        return plausible(state, self._limits[name], self._clock())

    def _write(self, name: str, state: BucketState) -> None:
        data = _RECORD.pack(
            self._boot,
            state.arrival,
            state.blocked_until,
            state.window_start,
            state.window_count,
            state.count_before,
        )
        os.pwrite(self._files[name], data, 0)
