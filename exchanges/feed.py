"""The websocket reader: prices, orders and fills as the exchange tells them, on its own threads.

One reader thread a connection: Backpack has one, Aster two (its user stream has an address of its
own). Rules it keeps:

- **After every gap fills are read by REST before anything is placed**: when a connection is lost,
  and again when all of them stand, `FeedGap` makes the engine synchronise. While a stream is down
  it does so every `DOWN_POLL_S`, which keeps the grid correct by REST alone.
- It connects again for ever, with a doubling, jittered pause.
- Silence is looked into: after `PING_AFTER_S` it pings, after `DEAD_AFTER_S` it connects anew.
- A frame that cannot be read may have held a fill: it counts as a gap.
- Quotes that matter little (`set_wake_range`) are told at most every `QUIET_S`; orders and fills
  at once.
- No reason it gives holds an address: that of a user stream is a secret.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import websocket

from core.errors import ExchangeError
from core.model import FeedGap, Fill, MarketEvent, Order, PositionTold, Quote
from exchanges.wire import BookTop, MarkPrice, StreamEvent, StreamExpired, StreamRefused, WireError

CONNECT_TIMEOUT_S = 10.0
TICK_S = 0.5
PING_AFTER_S = 15.0
DEAD_AFTER_S = 45.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
STEADY_S = 30.0
"""A connection that stood this long was a good one: the next pause is short again."""

DOWN_POLL_S = 15.0
"""Seconds between two synchronisations by REST while a stream is down: 30 requests a minute."""

QUIET_S = 0.25
GAP_EVERY_S = 5.0
STOP_S = 5.0


class StreamBroken(Exception):
    """The connection is of no more use; the text says why, without its address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One connection. `url` and `hello` (the frames sent first) are asked anew for each attempt.

    `keep_alive` is called every `keep_alive_s` while it stands. Their errors: ExchangeError.
    """

    name: str
    url: Callable[[], str]
    hello: Callable[[], Sequence[str]] = tuple
    read: Callable[[str], Iterable[StreamEvent]]
    keep_alive: Callable[[], None] | None = None
    keep_alive_s: float = 1800.0


@dataclass(slots=True)
class _State:
    """One reader's state, for `age_s` and the gaps; written by its own thread alone."""

    is_up: bool = False
    heard_at: float | None = None
    kept_at: float = 0.0
    told_gap_at: float = field(default=-1e9)


class StreamFeed:
    """A pushing `Feed` over one or more websocket connections."""

    def __init__(
        self,
        channels: Sequence[Channel],
        *,
        symbol: str,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._channels = tuple(channels)
        self._symbol = symbol
        self._clock = clock
        self._jitter = jitter
        self._states = [_State() for _ in self._channels]
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._post: Callable[[MarketEvent], None] | None = None
        self._wake: tuple[Decimal | None, Decimal | None] = (None, None)
        self._book: BookTop | None = None
        self._mark: MarkPrice | None = None
        self._held: Quote | None = None
        self._posted_at = -1e9

    # Feed ---------------------------------------------------------------------------------------

    def start(self, post: Callable[[MarketEvent], None]) -> None:
        self._post = post
        self._stopping.clear()
        self._threads = [
            threading.Thread(
                target=self._run, args=(channel, state), name=f"feed-{channel.name}", daemon=True
            )
            for channel, state in zip(self._channels, self._states, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(STOP_S)
        self._threads = []

    def poll(self) -> Sequence[MarketEvent]:
        return ()

    def next_due(self) -> float | None:
        return None

    def set_wake_range(self, low: Decimal | None, high: Decimal | None) -> None:
        self._wake = (low, high)

    def age_s(self) -> float | None:
        """Seconds since the connection heard from last was heard; None: one of them never was."""
        times = [state.heard_at for state in self._states]
        known = [at for at in times if at is not None]
        if len(known) < len(times):
            return None
        return max(0.0, self._clock() - min(known))

    @property
    def is_up(self) -> bool:
        """Whether every connection stands."""
        return all(state.is_up for state in self._states)

    # The readers --------------------------------------------------------------------------------

    def _run(self, channel: Channel, state: _State) -> None:
        pause = FIRST_PAUSE_S
        while not self._stopping.is_set():
            connected_at = None
            try:
                connection = self._connect(channel)
                try:
                    connected_at = state.heard_at = state.kept_at = self._clock()
                    state.is_up = True
                    self._came_up(channel)
                    self._read(channel, state, connection)
                finally:
                    _close(connection)
                reason = "stopped"
            except (StreamBroken, ExchangeError) as error:
                reason = str(error)
            except (websocket.WebSocketException, OSError, ValueError) as error:
                reason = type(error).__name__
            if self._stopping.is_set():
                return
            was_up, state.is_up = state.is_up, False
            if was_up:
                self._gap(state, f"the {channel.name} stream broke: {reason}")
            if connected_at is not None and self._clock() - connected_at >= STEADY_S:
                pause = FIRST_PAUSE_S
            self._wait(channel, state, pause * (0.5 + self._jitter()))
            pause = min(LONGEST_PAUSE_S, pause * 2)

    def _wait(self, channel: Channel, state: _State, seconds: float) -> None:
        """Wait for the next attempt; the engine goes on by REST meanwhile."""
        end = self._clock() + seconds
        while not self._stopping.is_set():
            now = self._clock()
            if now - state.told_gap_at >= DOWN_POLL_S:
                self._gap(state, f"the {channel.name} stream is down: read by REST")
            if now >= end:
                return
            self._stopping.wait(min(TICK_S, end - now))

    def _connect(self, channel: Channel) -> Any:
        connection = websocket.create_connection(
            channel.url(), timeout=CONNECT_TIMEOUT_S, skip_utf8_validation=True
        )
        try:
            for frame in channel.hello():
                connection.send(frame)
            connection.settimeout(TICK_S)
        except BaseException:
            _close(connection)
            raise
        return connection

    def _came_up(self, channel: Channel) -> None:
        """When all stand, what happened meanwhile is read by REST."""
        if self.is_up:
            self._tell(FeedGap(reason=f"the {channel.name} stream stands: catching up"))

    def _gap(self, state: _State, reason: str) -> None:
        state.told_gap_at = self._clock()
        self._tell(FeedGap(reason=reason))

    def _read(self, channel: Channel, state: _State, connection: Any) -> None:
        """Read until the end. Errors: StreamBroken and the library's own."""
        pinged_at = -1e9
        while not self._stopping.is_set():
            held = self._held is not None
            connection.settimeout(min(TICK_S, QUIET_S) if held else TICK_S)
            try:
                opcode, data = connection.recv_data(control_frame=True)
            except websocket.WebSocketTimeoutException:
                now = self._clock()
                assert state.heard_at is not None
                silence = now - state.heard_at
                if silence >= DEAD_AFTER_S:
                    raise StreamBroken(f"silent for {silence:.0f} s") from None
                if silence >= PING_AFTER_S and now - pinged_at >= PING_AFTER_S:
                    connection.ping()
                    pinged_at = now
            else:
                state.heard_at = self._clock()
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    raise StreamBroken("closed by the exchange")
                if opcode == websocket.ABNF.OPCODE_TEXT:
                    self._take(channel, state, data.decode("utf-8", "replace"))
            self._flush()
            if channel.keep_alive is not None:
                now = self._clock()
                if now - state.kept_at >= channel.keep_alive_s:
                    channel.keep_alive()
                    state.kept_at = now

    def _take(self, channel: Channel, state: _State, text: str) -> None:
        try:
            events = tuple(channel.read(text))
        except WireError as error:
            if self._clock() - state.told_gap_at >= GAP_EVERY_S:
                self._gap(
                    state, f"a frame of the {channel.name} stream was not understood: {error}"
                )
            return
        for event in events:
            match event:
                case BookTop() | MarkPrice():
                    if event.symbol == self._symbol:
                        self._take_price(event)
                case Order() | Fill():
                    if event.symbol == self._symbol:
                        if isinstance(event, Fill):
                            self._drop_held()
                        self._tell(event)
                case PositionTold():
                    if event.symbol == self._symbol:
                        self._tell(event)
                case StreamRefused(reason=reason) | StreamExpired(reason=reason):
                    raise StreamBroken(reason)

    # Prices -------------------------------------------------------------------------------------

    def _take_price(self, event: BookTop | MarkPrice) -> None:
        if isinstance(event, BookTop):
            self._book = event
        else:
            self._mark = event
        book, mark = self._book, self._mark
        if book is None:
            return
        middle = (book.bid + book.ask) / 2
        self._held = Quote(
            symbol=self._symbol,
            bid=book.bid,
            ask=book.ask,
            last=middle,
            mark=middle if mark is None else mark.price,
            time=event.time,
        )
        low, high = self._wake
        if (low is not None and middle <= low) or (high is not None and middle >= high):
            self._post_quote()
        else:
            self._flush()

    def _drop_held(self) -> None:
        """A fill has moved the price on: what was held back is of before, the next goes at once.

        Told after the fill, the old price would have the engine plan by it until the next one.
        """
        self._held = None
        self._posted_at = -1e9

    def _flush(self) -> None:
        """Tell the quote that was held back, when it is time."""
        if self._held is not None and self._clock() - self._posted_at >= QUIET_S:
            self._post_quote()

    def _post_quote(self) -> None:
        quote, self._held = self._held, None
        if quote is not None:
            self._posted_at = self._clock()
            self._tell(quote)

    def _tell(self, event: MarketEvent) -> None:
        if self._post is not None and not self._stopping.is_set():
            self._post(event)


def _close(connection: Any) -> None:
    try:
        connection.close(timeout=1)
    except (websocket.WebSocketException, OSError):
        connection.shutdown()
