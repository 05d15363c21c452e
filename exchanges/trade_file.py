"""The path through a trade file: `TradeSource`, a `PriceSource`, and `Trades`, a `Track`.

**Rows.** `timestamp_ms,id,side,price,amount`. A row is refused when its price or amount is no
positive finite number, its side neither buy nor sell, or its stamp before the one above: several
trades may share a stamp. Each fault names file, line and value.

**Path.** Each trade's price is a vertex at its stamp, in the order of the file, with straight lines
between them. A funding rate is due at the first trade stamped at or after it; rates before the
first trade are not due.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from itertools import islice
from operator import le
from pathlib import Path
from typing import Any, NamedTuple, overload

from core.errors import ConfigError
from exchanges.candle_file import TOO_BIG, csv_rows, is_plain, open_csv
from exchanges.price_feed import NO_FUNDING, Place, Vertex
from exchanges.track import Rates, decimals_of, quiet_rows, to_units

TRADE_HEADER = ["timestamp_ms", "id", "side", "price", "amount"]
_SIDES = frozenset({"buy", "sell"})
_PLAIN = frozenset("0123456789.,\n")


class Trade(NamedTuple):
    """What counts of one row of a trade file."""

    time_ms: int
    price: Decimal


def is_trade_file(path: Path) -> bool:
    """Tell by its header whether a file holds trades. Errors: ConfigError."""
    with open_csv(path) as file:
        try:
            header = file.readline(1000)
        except UnicodeDecodeError:
            return False
    return [name.strip().lower() for name in header.split(",")[: len(TRADE_HEADER)]] == TRADE_HEADER


def read_trades(path: Path) -> Iterator[Trade]:
    """Stream a trade file, each row checked. Errors: ConfigError naming file, line and value."""
    with open_csv(path) as file:
        before = -1
        for line, row in csv_rows(file, path, TRADE_HEADER):
            trade = _trade(row, path, line)
            if trade.time_ms < before:
                raise ConfigError(
                    f"{path}: line {line}: timestamp_ms: was {row[0]}, "
                    f"expected no less than in the row before, {before}"
                )
            before = trade.time_ms
            yield trade


def _trade(row: list[str], path: Path, line: int) -> Trade:
    stamp, _, side, price, amount = row[:5]
    where = f"{path}: line {line}"
    if not (stamp.strip().isascii() and stamp.strip().isdigit()):
        raise ConfigError(f"{where}: timestamp_ms: was {stamp!r}, expected Unix milliseconds")
    if side.strip().lower() not in _SIDES:
        raise ConfigError(f"{where}: side: was {side!r}, expected buy or sell")
    _number("amount", amount, where)
    return Trade(int(stamp), _number("price", price, where))


def _number(name: str, text: str, where: str) -> Decimal:
    try:
        value = Decimal(text)
        if is_plain(text) and value.is_finite() and 0 < value < TOO_BIG:
            return value
    except ArithmeticError:
        pass
    raise ConfigError(f"{where}: {name}: was {text!r}, expected a finite number above 0")


class Trades(Sequence[Trade]):
    """The rows of one trade file, read and checked whole: a `Track` of one corner a row."""

    interval_ms = 1
    """How long a trade lasts: its stamp is all there is of it."""

    def __init__(self, times: Sequence[int], prices: Sequence[Decimal], path: Path) -> None:
        """Range: as `read_trades` checks them, at least one row."""
        self.path = path
        self.times = times
        self.digits = decimals_of(set(prices), path)
        self._prices = prices
        units = {price: to_units(price, self.digits) for price in set(prices)}
        self.lows: Sequence[int] = [units[price] for price in prices]
        self.highs = self.lows

    @classmethod
    def read(cls, path: Path) -> Trades:
        """Read a trade file. Errors: ConfigError naming file, line and value."""
        plain = _read_plain(path)
        if plain is None:
            trades = list(read_trades(path))
            plain = [trade.time_ms for trade in trades], [trade.price for trade in trades]
        return cls(*plain, path)

    def __len__(self) -> int:
        return len(self.times)

    @overload
    def __getitem__(self, row: int) -> Trade: ...

    @overload
    def __getitem__(self, row: slice) -> Trades: ...

    def __getitem__(self, row: int | slice) -> Trade | Trades:
        """One trade; or some, at least one, as if a file had them."""
        if isinstance(row, slice):
            return Trades(self.times[row], self._prices[row], self.path)
        return Trade(self.times[row], self._prices[row])

    @cached_property
    def lowest(self) -> Decimal:
        return min(self._prices)

    @cached_property
    def highest(self) -> Decimal:
        return max(self._prices)

    def corners(self, row: int) -> tuple[int]:
        return (self.lows[row],)

    def time_ms(self, row: int, corner: int) -> int:  # noqa: ARG002 - a trade is one corner
        return self.times[row]

    def price(self, row: int, corner: int) -> Decimal:  # noqa: ARG002 - the same
        return self._prices[row]

    def dues(self, funding: Rates) -> list[tuple[int, Rates]]:
        groups: dict[int, list[tuple[int, Decimal]]] = {}
        for stamp, rate in funding:
            if self.times[0] <= stamp <= self.times[-1]:
                groups.setdefault(bisect_left(self.times, stamp), []).append((stamp, rate))
        return [(row, tuple(rates)) for row, rates in groups.items()]


def _read_plain(path: Path) -> tuple[list[int], list[Decimal]] | None:
    """Read a plainly written file column by column; None: it is another or wrong somewhere."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None
    header, _, body = text.partition("\n")
    if header.strip().lower().split(",") != TRADE_HEADER:
        return None
    rows = body.count("\n") + (not body.endswith("\n"))
    fields = body.removesuffix("\n").replace("\n", ",").split(",")
    width = len(TRADE_HEADER)
    stamps, sides, prices, amounts = (fields[i::width] for i in (0, 2, 3, 4))
    if len(fields) != rows * width or not set(sides) <= _SIDES:
        return None
    if not (_are_plain(stamps) and _are_plain(prices) and _are_plain(amounts)):
        return None
    values: dict[str, Decimal] = {}
    try:
        times = list(map(int, stamps))
        for written in {*prices, *amounts}:
            values[written] = _number("", written, "")
    except (ValueError, ConfigError):
        return None
    if not all(map(le, times, islice(times, 1, None))):
        return None
    return times, [values[written] for written in prices]


def _are_plain(column: list[str]) -> bool:
    return _PLAIN.issuperset("".join(column))


class TradeSource:
    """A trade file as a price path, with the funding rates that fall into it."""

    kind = "csv"
    corners = 1
    """Vertices a row."""

    def __init__(self, data: Path | Trades, funding: Rates = (), *, preload: bool = False) -> None:
        """Give a file, which is read as a stream, or `Trades`, which are read already.

        `preload`: the first `open` reads the whole file. What was read is kept, as in
        `CandleSource`.
        """
        self.trades = data if isinstance(data, Trades) else None
        self._path = data.path if isinstance(data, Trades) else data
        self.funding = funding
        self._preload = preload
        self._rows: Iterator[Trade] = iter(())
        self._fault: ConfigError | None = None
        self._first: Trade  # known once it was opened
        self._index = 0  # of the trade that comes next
        self._trade: Trade | None = None  # the one that comes next; None: the end
        self._rates = 0  # how many funding rates are behind us
        self.candle_count = 0  # how many trades; with `preload`, known once it was opened

    @property
    def walked(self) -> int:
        """How many trades are behind us; any thread may look."""
        return self._index

    @property
    def beginning(self) -> Vertex:
        first = self._first
        return Vertex(first.price, first.time_ms, 0, (0, first.time_ms))

    def open(
        self,
        saved: Mapping[str, Any] | None,
        now_ms: int,  # noqa: ARG002 - the protocol's; this path has its own time
    ) -> Place | None:
        self.close()
        self._fault = None
        if self._preload or self.trades is not None:
            self._rows = self._rows_from(self.track(), 0)
        else:
            self._rows = read_trades(self._path)
        self._first = next(self._rows)
        self._index, self._trade = 0, self._first
        kept = None if saved is None else saved["place"]
        place = None if kept is None else (int(kept[0]), int(kept[1]))
        self._rates = 0
        self._take_rates(self._first.time_ms - 1)
        if place is not None:
            self._find(*place)
        return place

    def track(self) -> Trades:
        """The whole path in memory; reads the file if nobody has. Errors: ConfigError."""
        if self.trades is None:
            self.trades = Trades.read(self._path)
        self.candle_count = len(self.trades)
        return self.trades

    def next(self) -> Vertex | None:
        trade = self._trade
        if trade is None:
            if self._fault is not None:
                raise self._fault
            return None
        vertex = self._vertex(trade, self._index, self._take_rates(trade.time_ms))
        self._advance()
        return vertex

    def skip(
        self, low: Decimal, high: Decimal, until_ms: int, limit: int
    ) -> tuple[Vertex | None, int]:
        if self.trades is not None:
            return self._skip_rows(self.trades, low, high, until_ms, limit)
        passed, count = None, 0
        while (
            (trade := self._trade) is not None
            and count < limit
            and low < trade.price < high
            and trade.time_ms - self._first.time_ms <= until_ms
            and not self._is_due(trade.time_ms)
        ):
            passed = self._vertex(trade, self._index, NO_FUNDING)
            self._advance()
            count += 1
        return passed, count

    def _skip_rows(
        self, trades: Trades, low: Decimal, high: Decimal, until_ms: int, limit: int
    ) -> tuple[Vertex | None, int]:
        """Do the same over what was read already."""
        begin = self._index
        end = min(begin + limit, len(trades))
        if until_ms < trades.times[-1] - self._first.time_ms:
            end = min(end, bisect_left(trades.times, self._first.time_ms + until_ms + 1))
        if self._rates < len(self.funding):
            end = min(end, bisect_left(trades.times, self.funding[self._rates][0]))
        count = quiet_rows(trades, begin, end, low, high) if begin < end else 0
        if count == 0:
            return None, 0
        row = begin + count - 1
        self._rows = self._rows_from(trades, row + 1)
        self._index, self._trade = row + 1, self._read()
        return self._vertex(trades[row], row, NO_FUNDING), count

    def save(self, place: Place | None) -> dict[str, Any]:
        return {"kind": self.kind, "place": None if place is None else list(place)}

    def close(self) -> None:
        close = getattr(self._rows, "close", None)  # a generator's: it closes the file
        if close is not None:
            close()
        self._rows = iter(())

    def _rows_from(self, trades: Trades, row: int) -> Iterator[Trade]:
        return map(trades.__getitem__, range(row, len(trades)))

    def _vertex(self, trade: Trade, index: int, funding: Rates) -> Vertex:
        pace_ms = trade.time_ms - self._first.time_ms
        return Vertex(trade.price, trade.time_ms, pace_ms, (index, trade.time_ms), funding)

    def _find(self, index: int, stamp: int) -> None:
        """Go on behind the trade of vertex `index`; it must still be there."""
        if index > 0:
            self._trade = next(islice(self._rows, index - 1, None), None)
        if self._trade is None or self._trade.time_ms != stamp:
            found = self._trade and f"timestamp_ms {self._trade.time_ms}"
            raise ConfigError(
                f"{self._path}: row {index + 1}: found {found or 'the end of the file'}, expected "
                f"timestamp_ms {stamp}, where the paper account of this instance stands; bring the "
                "file back, or use another instance_id or db_path for a new account"
            )
        self._index = index
        self._take_rates(stamp)
        self._advance()

    def _advance(self) -> None:
        self._index += 1
        self._trade = self._read()

    def _read(self) -> Trade | None:
        """Read ahead. A fault is kept until the walk comes to it: what is before it is good."""
        try:
            return next(self._rows, None)
        except ConfigError as error:
            self._fault = error
            return None

    def _is_due(self, time_ms: int) -> bool:
        return self._rates < len(self.funding) and self.funding[self._rates][0] <= time_ms

    def _take_rates(self, time_ms: int) -> Rates:
        first = self._rates
        while self._is_due(time_ms):
            self._rates += 1
        return self.funding[first : self._rates]
