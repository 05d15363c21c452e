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

from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from core.errors import ConfigError
from exchanges.candle_file import SINGLE_CANDLE_MS, Candle, read_candles
from exchanges.candle_file import read_funding as read_funding  # for those who build a CandleSource
from exchanges.track import Rates, quiet_rows

if TYPE_CHECKING:
    from exchanges.candles import Candles

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
    corners = 4
    """Vertices a row."""

    def __init__(
        self,
        data: Path | Candles,
        funding: Rates = (),
        *,
        preload: bool = False,
    ) -> None:
        """Give a file, which is read as a stream, or `Candles`, which are read already.

        `preload`: the first `open` reads and checks the whole file, which costs memory and saves
        time. What was read is kept: the source may be opened again, and `candles` may be given to
        any number of other sources, so that many replays read the file once.
        """
        self.candles = None if isinstance(data, Path) else data
        self._path = data if isinstance(data, Path) else data.path
        self.funding = funding
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
        if self._preload or self.candles is not None:
            self._rows = self.track().rows_from(0)
        else:
            self._rows = read_candles(self._path)
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

    def track(self) -> Candles:
        """The whole path in memory; reads the file if nobody has. Errors: ConfigError."""
        from exchanges.candles import Candles  # for replays: a bot reads its file as a stream

        if self.candles is None:
            self.candles = Candles.read(self._path)
        self.candle_count = len(self.candles)
        return self.candles

    def next(self) -> Vertex | None:
        if not self._corners:
            self._walk_candle()
        return self._corners.pop() if self._corners else None

    def skip(
        self, low: Decimal, high: Decimal, until_ms: int, limit: int
    ) -> tuple[Vertex | None, int]:
        if self._corners:
            return None, 0
        if self.candles is not None:
            return self._skip_rows(self.candles, low, high, until_ms, limit)
        first, interval = self._index, self._interval
        rate_ms = self.funding[self._rates][0] if self._rates < len(self.funding) else _NEVER_MS
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

    def _skip_rows(
        self, candles: Candles, low: Decimal, high: Decimal, until_ms: int, limit: int
    ) -> tuple[Vertex | None, int]:
        """Do the same over what was read already."""
        first, interval = self._index, self._interval
        last = min(first + min(limit // 4, until_ms // interval - first), len(candles))
        if self._rates < len(self.funding):
            last = min(last, candles.last_at(self.funding[self._rates][0]))
        count = quiet_rows(candles, first, last, low, high) if first < last else 0
        if count == 0:
            return None, 0
        row = first + count - 1
        candle = candles[row]
        step = candles.time_ms(row, 3) - candle.time_ms
        self._rows = candles.rows_from(row + 1)
        self._index, self._candle, self._after = row + 1, self._read(), self._read()
        place = (4 * row + 3, candle.time_ms)
        return Vertex(candle.close, candle.time_ms + step, row * interval + step, place), 4 * count

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
        first, rates = self._rates, self.funding
        while self._rates < len(rates) and rates[self._rates][0] < end_ms:
            self._rates += 1
        return rates[first : self._rates]
