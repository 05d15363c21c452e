"""The path that a paper exchange's price takes, and the path through a candle file.

A path is a sequence of `Vertex`, with straight lines between them; which orders lie on a line is
none of this module's business. A path is deterministic: a `Place` says which vertex was reached
last, and a source that is opened at that place continues with the very next one.

A candle is walked open-low-high-close when close >= open, else open-high-low-close; its four
vertices are spread evenly over its time, the first at its stamp. A candle lasts as long as the
first one (first two stamps), never beyond the next stamp; a gap in the stamps takes no time to
pass.

A funding rate is due at the close of the last candle stamped at or before it, which is the candle
that has its stamp; rates before the first candle are not due. GRID.md's golden months want it so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from core.errors import ConfigError
from exchanges.candle_file import Candle as Candle  # a CandleSource is made of them
from exchanges.candle_file import read_candles as read_candles
from exchanges.candle_file import read_funding as read_funding  # for those who build a CandleSource

SINGLE_CANDLE_MS = 60_000  # the length of a candle in a file that holds only one
_NEVER_MS = 1 << 62

Place = tuple[int, int]
"""The vertex reached last. csv: its number from 0, its candle's stamp. synthetic: step, price."""

NO_FUNDING: tuple[tuple[int, Decimal], ...] = ()


class Vertex(NamedTuple):
    """A corner of the path. `pace_ms` is simulated time without the gaps, for pacing."""

    price: Decimal
    time_ms: int
    pace_ms: int
    place: Place
    funding: tuple[tuple[int, Decimal], ...] = NO_FUNDING  # (stamp, rate) due on reaching it


class PriceSource(Protocol):
    """A path of prices that can be left and taken up again.

    Errors: ConfigError of any call, and of every later `next` and `skip`: bad data is no end.
    """

    @property
    def kind(self) -> str: ...

    @property
    def beginning(self) -> Vertex:
        """The first vertex of the whole path; known once it was opened."""
        ...

    def open(self, saved: Mapping[str, Any] | None, now_ms: int) -> Place | None:
        """Go to the beginning (None), or to what `save` gave; returns the place stood at."""
        ...

    def next(self) -> Vertex | None:
        """The next vertex; None at the end, again and again."""
        ...

    def skip(
        self, low: Decimal, high: Decimal, until_ms: int, limit: int
    ) -> tuple[Vertex | None, int]:
        """Pass vertices whose prices all lie strictly inside (low, high), up to pace `until_ms`.

        Returns the last one passed (None: none) and how many, about `limit` at most. None that has
        funding is passed.
        """
        ...

    def save(self, place: Place | None) -> dict[str, Any]:
        """What to keep (JSON types) to continue after `place`; None: from the beginning."""
        ...

    def close(self) -> None: ...


class CandleSource:
    """A candle file as a price path, with the funding rates that fall into it.

    It reads one candle ahead: that one tells where the candle before it ends.
    """

    kind = "csv"

    def __init__(
        self,
        path: Path,
        funding: tuple[tuple[int, Decimal], ...] = (),
        *,
        preload: bool = False,
        candles: Sequence[Candle] | None = None,
    ) -> None:
        """`preload`: `open` reads and checks the whole file, which costs memory and saves time.

        `candles`: rows of it that were read and checked already (at least one); the file is not
        opened.
        """
        self._path = path
        self._candles = candles
        self._funding = funding
        self._preload = preload
        self._rates = 0  # how many funding rates are behind us
        self._rows: Iterator[Candle] = iter(())
        self._fault: ConfigError | None = None
        self._interval = SINGLE_CANDLE_MS
        self._first: Candle  # known once it was opened
        self._index = 0  # of the candle that comes next
        self._candle: Candle | None = None  # the one that comes next; None: the end
        self._after: Candle | None = None  # the one after it
        self._corners: list[Vertex] = []  # what is left of the candle that is walked, last first
        self.candle_count = 0  # with `preload`, known once it was opened

    @property
    def walked(self) -> int:
        """How many candles are behind us; any thread may look."""
        return self._index

    @property
    def beginning(self) -> Vertex:
        return Vertex(self._first.open, self._first.time_ms, 0, (0, self._first.time_ms))

    def open(
        self,
        saved: Mapping[str, Any] | None,
        now_ms: int,  # noqa: ARG002 - the protocol's; this path has its own time
    ) -> Place | None:
        self.close()
        self._fault = None
        self._rows = read_candles(self._path) if self._candles is None else iter(self._candles)
        if self._candles is not None:
            self.candle_count = len(self._candles)
        elif self._preload:
            candles = list(self._rows)
            self.candle_count = len(candles)
            self._rows = iter(candles)
        self._first = next(self._rows)
        second = self._read()
        if second is not None:
            self._interval = second.time_ms - self._first.time_ms
        self._index, self._candle, self._after, self._corners = 0, self._first, second, []
        kept = None if saved is None else saved["place"]
        place = None if kept is None else (int(kept[0]), int(kept[1]))
        if place is not None:
            self._find(*place)
        self._rates = 0
        if self._candle is not None:
            self._take_rates(self._candle.time_ms)
        if place is not None:
            self._walk_candle()
            del self._corners[3 - (place[0] & 3) :]
        return place

    def next(self) -> Vertex | None:
        if not self._corners:
            self._walk_candle()
        return self._corners.pop() if self._corners else None

    def skip(
        self, low: Decimal, high: Decimal, until_ms: int, limit: int
    ) -> tuple[Vertex | None, int]:
        if self._corners:
            return None, 0
        first, interval = self._index, self._interval
        rate_ms = self._funding[self._rates][0] if self._rates < len(self._funding) else _NEVER_MS
        last = first + min(limit // 4, until_ms // interval - first)
        passed: Vertex | None = None
        while (
            (candle := self._candle) is not None
            and low < candle.low
            and candle.high < high
            and self._index < last
            and (end_ms := self._end_ms(candle)) <= rate_ms
        ):
            step = min(interval, end_ms - candle.time_ms) * 3 // 4
            index = self._index
            passed = Vertex(
                candle.close,
                candle.time_ms + step,
                index * interval + step,
                (4 * index + 3, candle.time_ms),
            )
            self._advance()
        return passed, 4 * (self._index - first)

    def save(self, place: Place | None) -> dict[str, Any]:
        return {"kind": self.kind, "place": None if place is None else list(place)}

    def close(self) -> None:
        close = getattr(self._rows, "close", None)  # a generator's: it closes the file
        if close is not None:
            close()
        self._rows = iter(())

    def _find(self, number: int, stamp: int) -> None:
        """Make the candle of vertex `number` the next one; it must still be there."""
        index = number >> 2
        if index > 0:
            self._candle = (
                self._after if index == 1 else next(islice(self._rows, index - 2, None), None)
            )
            self._after = self._read() if self._candle is not None else None
        self._index = index
        candle = self._candle
        if candle is None or candle.time_ms != stamp:
            found = "the end of the file" if candle is None else f"timestamp_ms {candle.time_ms}"
            raise ConfigError(
                f"{self._path}: row {index + 1}: found {found}, expected timestamp_ms {stamp}, "
                "where the paper account of this instance stands; bring the file back, or use "
                "another instance_id or db_path for a new account"
            )

    def _walk_candle(self) -> None:
        """Lay out the corners of the next candle; none at the end."""
        candle = self._candle
        if candle is None:
            if self._fault is not None:
                raise self._fault
            return
        time_ms = candle.time_ms
        end_ms = self._end_ms(candle)
        span = min(self._interval, end_ms - time_ms)
        pace_ms, number = self._index * self._interval, self._index * 4
        funding = self._take_rates(end_ms)
        a, b, c, d = candle.path()
        one, two, three = span // 4, span // 2, span * 3 // 4
        self._corners = [
            Vertex(d, time_ms + three, pace_ms + three, (number + 3, time_ms), funding),
            Vertex(c, time_ms + two, pace_ms + two, (number + 2, time_ms)),
            Vertex(b, time_ms + one, pace_ms + one, (number + 1, time_ms)),
            Vertex(a, time_ms, pace_ms, (number, time_ms)),
        ]
        self._advance()

    def _advance(self) -> None:
        self._index += 1
        self._candle = self._after
        self._after = self._read()

    def _read(self) -> Candle | None:
        """Read ahead. A fault is kept until the walk comes to it: what is before it is good."""
        try:
            return next(self._rows, None)
        except ConfigError as error:
            self._fault = error
            return None

    def _end_ms(self, candle: Candle) -> int:
        """The stamp from which on time and funding are the next candle's."""
        after = self._after
        return candle.time_ms + self._interval if after is None else after.time_ms

    def _take_rates(self, end_ms: int) -> tuple[tuple[int, Decimal], ...]:
        first, rates = self._rates, self._funding
        while self._rates < len(rates) and rates[self._rates][0] < end_ms:
            self._rates += 1
        return rates[first : self._rates]
