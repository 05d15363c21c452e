"""Price paths of the paper exchange: a candle file, or a seeded price process.

A path is a sequence of `Vertex`, with straight lines between them; which orders lie on a line is
none of this module's business. A path is deterministic: a `Place` says which vertex was reached
last, and a source that is opened at that place continues with the very next one.

**csv.** `timestamp_ms,open,high,low,close,volume`, read as a stream. A candle is walked
open-low-high-close when close >= open, else open-high-low-close; its four vertices are spread
evenly over its time, the first at its stamp. A candle lasts as long as the first one (first two
stamps), never beyond the next stamp; a gap in the stamps takes no time to pass. A row is refused
when a value is no positive finite number (the volume may be 0), when high < low, when open or close
lie outside of them, or when its stamp is not after the one before.

**csv funding.** `timestamp_ms,symbol,funding_rate`. A rate is due at the close of the last candle
stamped at or before it; rates before the first candle are not. Rows of the traded symbol are used,
or all of them when the file is about one symbol only, whatever its name there.

**synthetic.** One vertex a simulated second. The price moves by a share of itself, `volatility` x a
bell-shaped draw (sum of four uniforms), and is pulled back to `centre` so that it spends nearly all
its time within `band` of it (a share; standard deviation half of it). The draw of a step is a hash
of (seed, step), so step and price are all there is to keep. Integers only: the same everywhere.
Funding at a constant rate at 00:00, 08:00 and 16:00 of simulated UTC. Simulated time begins with
the account and never lags behind the wall clock: when the bot was away, it jumps there with the
price as it was, and no funding is due for the jump.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TextIO

from core.errors import ConfigError

CANDLE_HEADER = ["timestamp_ms", "open", "high", "low", "close", "volume"]
FUNDING_HEADER = ["timestamp_ms", "symbol", "funding_rate"]
SINGLE_CANDLE_MS = 60_000  # the length of a candle in a file that holds only one
SYNTHETIC_STEP_MS = 1_000
SYNTHETIC_FUNDING_MS = 8 * 3_600_000  # as Backpack, Binance and Aster pay: every 8 h of UTC

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
    """A path of prices that can be left and taken up again. Errors: ConfigError of any call."""

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


# Candle files ---------------------------------------------------------------------------------


class Candle(NamedTuple):
    """One row of a candle file."""

    time_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal

    def path(self) -> tuple[Decimal, Decimal, Decimal, Decimal]:
        """Where price goes within the candle: toward the close last."""
        if self.close >= self.open:
            return self.open, self.low, self.high, self.close
        return self.open, self.high, self.low, self.close


def read_candles(path: Path) -> Iterator[Candle]:
    """Stream a candle file, each row checked. Errors: ConfigError naming file, line and value."""
    with _open(path) as file:
        rows = _rows(file, path, CANDLE_HEADER)
        before = -1
        for line, row in rows:
            candle = _candle(row, path, line)
            if candle.time_ms <= before:
                raise ConfigError(
                    f"{path}: line {line}: timestamp_ms: was {row[0]}, "
                    f"expected a number above the row before, {before}"
                )
            before = candle.time_ms
            yield candle


def read_funding(path: Path, symbol: str) -> tuple[tuple[int, Decimal], ...]:
    """Read a funding file: (stamp in ms, rate), oldest first. Errors: ConfigError, as above."""
    by_symbol: dict[str, list[tuple[int, Decimal]]] = {}
    with _open(path) as file:
        for line, row in _rows(file, path, FUNDING_HEADER):
            try:
                time_ms, rate = int(row[0]), Decimal(row[2])
                if not rate.is_finite():
                    raise ValueError
            except (ValueError, ArithmeticError):
                raise ConfigError(
                    f"{path}: line {line}: was {','.join(row)!r}, expected an integer "
                    "timestamp_ms, a symbol and a funding_rate"
                ) from None
            rates = by_symbol.setdefault(row[1], [])
            if rates and time_ms <= rates[-1][0]:
                raise ConfigError(
                    f"{path}: line {line}: timestamp_ms: was {row[0]}, "
                    f"expected a number above the row before, {rates[-1][0]}"
                )
            rates.append((time_ms, rate))
    if symbol in by_symbol:
        return tuple(by_symbol[symbol])
    if len(by_symbol) > 1:
        raise ConfigError(
            f"{path}: symbol: was {', '.join(sorted(by_symbol))}, "
            f"expected rows of {symbol}, or of one symbol only"
        )
    return tuple(next(iter(by_symbol.values()), ()))


class CandleSource:
    """A candle file as a price path, with the funding rates that fall into it."""

    kind = "csv"

    def __init__(
        self,
        path: Path,
        funding: tuple[tuple[int, Decimal], ...] = (),
        *,
        preload: bool = False,
    ) -> None:
        """Walk a file as it is read, or, with `preload`, from memory. Errors: ConfigError."""
        self._path = path
        self._loaded = tuple(read_candles(path)) if preload else None
        self._funding = funding
        self._next_funding = 0
        self._candles: Iterator[Candle] = iter(())
        self._interval = SINGLE_CANDLE_MS
        self._first: Candle  # known once it was opened
        self._candle: Candle | None = None  # the one that is walked
        self._after: Candle | None = None  # the one after it
        self._number = 0  # of the vertex that comes next; four a candle

    @property
    def candle_count(self) -> int:
        """How many candles were preloaded."""
        return 0 if self._loaded is None else len(self._loaded)

    @property
    def beginning(self) -> Vertex:
        return Vertex(self._first.open, self._first.time_ms, 0, (0, self._first.time_ms))

    def open(
        self,
        saved: Mapping[str, Any] | None,
        now_ms: int,  # noqa: ARG002 - the protocol's; this path has its own time
    ) -> Place | None:
        self.close()
        self._candles = read_candles(self._path) if self._loaded is None else iter(self._loaded)
        first = next(self._candles)
        second = next(self._candles, None)
        self._first = first
        self._interval = SINGLE_CANDLE_MS if second is None else second.time_ms - first.time_ms
        kept = None if saved is None else saved["place"]
        place = None if kept is None else (int(kept[0]), int(kept[1]))
        if place is None:
            self._candle, self._after, self._number = first, second, 0
        else:
            self._resume(first, second, *place)
        self._next_funding = 0
        while self._candle is not None and self._due_before(self._candle.time_ms):
            self._next_funding += 1
        return place

    def next(self) -> Vertex | None:
        candle = self._candle
        if candle is None:
            return None
        number = self._number
        corner = number & 3
        step = self._span(candle) * corner // 4
        vertex = Vertex(
            candle.path()[corner],
            candle.time_ms + step,
            (number >> 2) * self._interval + step,
            (number, candle.time_ms),
            self._take_funding(candle) if corner == 3 else NO_FUNDING,
        )
        self._number = number + 1
        if corner == 3:
            self._advance()
        return vertex

    def skip(
        self, low: Decimal, high: Decimal, until_ms: int, limit: int
    ) -> tuple[Vertex | None, int]:
        if self._number & 3:
            return None, 0
        passed: Candle | None = None
        first = self._number
        stamp = self._funding_stamp()
        while (
            (candle := self._candle) is not None
            and low < candle.low
            and candle.high < high
            and self._end_ms(candle) <= stamp
            and (self._number >> 2) * self._interval + self._interval <= until_ms
            and self._number - first < limit
        ):
            passed = candle
            self._number += 4
            self._advance()
        if passed is None:
            return None, 0
        return self._closing(passed), self._number - first

    def save(self, place: Place | None) -> dict[str, Any]:
        return {"kind": self.kind, "place": None if place is None else list(place)}

    def close(self) -> None:
        close = getattr(self._candles, "close", None)  # a generator's: it closes the file
        if close is not None:
            close()
        self._candles = iter(())

    def _resume(self, first: Candle, second: Candle | None, number: int, stamp: int) -> None:
        """Stand behind vertex `number`, whose candle must still be there."""
        index = number >> 2
        rest = _chain(first, second, self._candles)
        candle = next(islice(rest, index, None), None)
        if candle is None or candle.time_ms != stamp:
            found = "the end of the file" if candle is None else f"timestamp_ms {candle.time_ms}"
            raise ConfigError(
                f"{self._path}: row {index + 1}: found {found}, expected timestamp_ms {stamp}, "
                "where the paper account of this instance stands; bring the file back, or use "
                "another instance_id or db_path for a new account"
            )
        self._candles = rest
        self._candle, self._after, self._number = candle, next(rest, None), number + 1
        if number & 3 == 3:
            self._advance()

    def _advance(self) -> None:
        self._candle = self._after
        self._after = next(self._candles, None) if self._candle is not None else None

    def _span(self, candle: Candle) -> int:
        return min(self._interval, self._end_ms(candle) - candle.time_ms)

    def _end_ms(self, candle: Candle) -> int:
        """The stamp from which on funding is the next candle's."""
        after = self._after
        return candle.time_ms + self._interval if after is None else after.time_ms

    def _closing(self, candle: Candle) -> Vertex:
        """The last corner of a candle that was passed."""
        number = self._number - 1
        end = candle.time_ms + self._interval if self._candle is None else self._candle.time_ms
        step = min(self._interval, end - candle.time_ms) * 3 // 4
        pace = (number >> 2) * self._interval + step
        return Vertex(candle.close, candle.time_ms + step, pace, (number, candle.time_ms))

    def _funding_stamp(self) -> int:
        if self._next_funding < len(self._funding):
            return self._funding[self._next_funding][0]
        return 1 << 62

    def _due_before(self, time_ms: int) -> bool:
        return self._funding_stamp() < time_ms

    def _take_funding(self, candle: Candle) -> tuple[tuple[int, Decimal], ...]:
        first, end = self._next_funding, self._end_ms(candle)
        while self._due_before(end):
            self._next_funding += 1
        return self._funding[first : self._next_funding]


def _chain(first: Candle, second: Candle | None, rest: Iterator[Candle]) -> Iterator[Candle]:
    yield first
    if second is not None:
        yield second
        yield from rest


def _open(path: Path) -> TextIO:
    try:
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def _rows(file: TextIO, path: Path, header: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Rows with their line numbers, the header checked and gone; at least one."""
    reader = csv.reader(file)
    width, count = len(header), 0
    try:
        found = next(reader, [])
        if [name.strip().lower() for name in found[:width]] != header:
            raise ConfigError(
                f"{path}: line 1: was {','.join(found)[:80]!r}, "
                f"expected the header {','.join(header)}"
            )
        for row in reader:
            if len(row) < width:
                if not row:  # a blank line
                    continue
                raise ConfigError(
                    f"{path}: line {reader.line_num}: was {','.join(row)[:80]!r}, "
                    f"expected {width} columns"
                )
            count += 1
            yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"{path}: line {reader.line_num + 1}: no CSV text in UTF-8 ({error})"
        ) from None
    if count == 0:
        raise ConfigError(f"{path}: has no rows below its header")


def _candle(row: list[str], path: Path, line: int) -> Candle:
    """Parse and check one row."""
    stamp, opened, high, low, close, volume = row[:6]
    try:
        candle = Candle(int(stamp), Decimal(opened), Decimal(high), Decimal(low), Decimal(close))
        if (
            0 < candle.low <= candle.open <= candle.high < _TOO_BIG
            and candle.low <= candle.close <= candle.high
            and 0 <= Decimal(volume) < _TOO_BIG
            and candle.time_ms >= 0
        ):
            return candle
    except (ValueError, ArithmeticError):
        pass
    raise ConfigError(f"{path}: line {line}: {_row_fault(row)}")


_TOO_BIG = Decimal("1e30")


def _row_fault(row: list[str]) -> str:
    """Say what is wrong with a row that `_candle` refused: the first fault, and its value."""
    if not (row[0].strip().isascii() and row[0].strip().isdigit()):
        return f"timestamp_ms: was {row[0]!r}, expected Unix milliseconds"
    values: dict[str, Decimal] = {}
    for name, text in zip(CANDLE_HEADER[1:], row[1:6], strict=True):
        try:
            values[name] = Decimal(text)
        except ArithmeticError:
            return f"{name}: was {text!r}, expected a number"
        least = "0 or more" if name == "volume" else "above 0"
        if not (values[name].is_finite() and 0 <= values[name] < _TOO_BIG) or (
            name != "volume" and values[name] == 0
        ):
            return f"{name}: was {text!r}, expected a finite number {least}"
    if values["high"] < values["low"]:
        return f"high: was {row[2]}, expected at least the low, {row[3]}"
    name = "open" if not values["low"] <= values["open"] <= values["high"] else "close"
    text = row[1] if name == "open" else row[4]
    return f"{name}: was {text}, expected between the low, {row[3]}, and the high, {row[2]}"


# The synthetic process ------------------------------------------------------------------------

_UNIT = 10**12  # the state is an integer in 1e-12 of the quote currency, finer than any tick
_PPB = 10**9
_MASK = (1 << 64) - 1
_DRAW_DEVIATION = 37_837  # standard deviation of the sum of four uniform 16-bit numbers
_DRAW_MEAN = 2 * 65_535


class SyntheticSource:
    """A seeded, mean-reverting price process, one vertex a simulated second."""

    kind = "synthetic"

    def __init__(
        self,
        *,
        seed: int,
        start_price: Decimal,
        tick_size: Decimal,
        volatility: Decimal,
        band: Decimal,
        funding_rate: Decimal,
    ) -> None:
        """Range: `volatility` (a second's) and `band` are shares; 0 <= volatility < band < 1."""
        self._seed = (seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) & _MASK
        self._tick = tick_size
        self._tick_units = int(tick_size * _UNIT)
        self._start_units = int(start_price * _UNIT)
        self._volatility_ppb = int(volatility * _PPB)
        # A pull k a step gives a deviation of volatility / sqrt(2 k); that is band / 2.
        self._pull_ppb = int(2 * volatility * volatility / (band * band) * _PPB)
        self._funding_rate = funding_rate
        self._start_ms = 0
        self._step = 0  # of the vertex that comes next
        self._units = self._start_units  # at the vertex before it

    @property
    def beginning(self) -> Vertex:
        price = self._price(self._start_units)
        return Vertex(price, self._start_ms, 0, (0, self._start_units))

    def open(self, saved: Mapping[str, Any] | None, now_ms: int) -> Place | None:
        second = now_ms // SYNTHETIC_STEP_MS * SYNTHETIC_STEP_MS
        kept = None if saved is None else saved["place"]
        start_ms = second if saved is None else int(saved["start_ms"])
        if kept is None:
            self._start_ms, self._step, self._units = start_ms, 0, self._start_units
            return None
        self._step, self._units = int(kept[0]) + 1, int(kept[1])
        self._start_ms = max(start_ms, second - self._step * SYNTHETIC_STEP_MS)
        return self._step - 1, self._units

    def next(self) -> Vertex:
        step = self._step
        if step:
            self._units = self._moved(self._units, step)
        self._step = step + 1
        pace_ms = step * SYNTHETIC_STEP_MS
        time_ms = self._start_ms + pace_ms
        due = time_ms % SYNTHETIC_FUNDING_MS == 0 and self._funding_rate
        funding = ((time_ms, self._funding_rate),) if due else NO_FUNDING
        return Vertex(self._price(self._units), time_ms, pace_ms, (step, self._units), funding)

    def skip(
        self, low: Decimal, high: Decimal, until_ms: int, limit: int
    ) -> tuple[Vertex | None, int]:
        passed: Vertex | None = None
        count = 0
        while count < limit:
            before = self._step, self._units
            vertex = self.next()
            if vertex.funding or vertex.pace_ms > until_ms or not low < vertex.price < high:
                self._step, self._units = before
                break
            passed = vertex
            count += 1
        return passed, count

    def save(self, place: Place | None) -> dict[str, Any]:
        # The price as text: its integer outgrows what other JSON readers keep exactly.
        kept = None if place is None else [place[0], str(place[1])]
        return {"kind": self.kind, "place": kept, "start_ms": self._start_ms}

    def close(self) -> None:
        """Nothing is held."""

    def _moved(self, units: int, step: int) -> int:
        bits = _mix(self._seed + step)
        draw = (bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) + (bits >> 48)
        shock = units * self._volatility_ppb * (draw - _DRAW_MEAN) // (_PPB * _DRAW_DEVIATION)
        pull = (self._start_units - units) * self._pull_ppb // _PPB
        return max(units + shock + pull, self._tick_units)

    def _price(self, units: int) -> Decimal:
        return (units + self._tick_units // 2) // self._tick_units * self._tick


def _mix(counter: int) -> int:
    """Hash a counter to 64 bits. Source: SplitMix64, Steele, Lea and Flood, OOPSLA 2014."""
    z = counter * 0x9E3779B97F4A7C15 & _MASK
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & _MASK
    return z ^ z >> 31
