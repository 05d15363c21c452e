"""`Candles`: a candle file read and checked whole, for replays; as columns and as rows.

Read once, it may be replayed many times, by any number of `CandleSource`s, also in forked
processes. What is refused, and in which words, is `candle_file`'s.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import overload

from core.errors import ConfigError
from exchanges.candle_columns import Columns, columns_of, read_columns
from exchanges.candle_file import SINGLE_CANDLE_MS, Candle, read_candles
from exchanges.track import Rates, group_rates


class Candles(Sequence[Candle]):
    """The rows of one candle file: a `Track`, and a sequence of `Candle`.

    `times`: Unix milliseconds, ascending; `interval_ms`: how long a candle lasts at most.
    """

    def __init__(self, columns: Columns, path: Path) -> None:
        """Range: `columns` as the readers check them, at least one row."""
        self.path = path
        self.digits = columns.digits
        self.times: Sequence[int] = columns.times
        self.opens: Sequence[int] = columns.opens
        self.highs: Sequence[int] = list(columns.highs)  # read often: a list is read faster
        self.lows: Sequence[int] = list(columns.lows)
        self.closes: Sequence[int] = columns.closes
        self._odd = columns.odd
        self._blocks = columns.blocks
        times = columns.times
        self.interval_ms = times[1] - times[0] if len(times) > 1 else SINGLE_CANDLE_MS

    @classmethod
    def read(cls, path: Path) -> Candles:
        """Read a candle file. Errors: ConfigError naming file, line and value."""
        try:
            columns = read_columns(path)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
        return cls(columns or columns_of(list(read_candles(path)), path), path)

    def __len__(self) -> int:
        return len(self.times)

    @overload
    def __getitem__(self, row: int) -> Candle: ...

    @overload
    def __getitem__(self, row: slice) -> Candles: ...

    def __getitem__(self, row: int | slice) -> Candle | Candles:
        """One candle, its prices as the file writes them; or some of them, as if a file had them.

        Range of a slice: at least one row, one after the other.
        """
        if isinstance(row, slice):
            first, end, _ = row.indices(len(self))
            return self._part(first, end)
        if row < 0:
            row += len(self)
        if not 0 <= row < len(self):
            raise IndexError(row)
        candle = self._odd.get(row)
        if candle is not None:
            return candle
        block = bisect_right(self._blocks, row, key=itemgetter(0)) - 1
        prices = (self.opens[row], self.highs[row], self.lows[row], self.closes[row])
        return Candle(
            self.times[row],
            *(
                Decimal(units // 10 ** (self.digits - decimals)).scaleb(-decimals)
                for units, decimals in zip(prices, self._blocks[block][1], strict=True)
            ),
        )

    def __iter__(self) -> Iterator[Candle]:
        return self.rows_from(0)

    def _part(self, first: int, end: int) -> Candles:
        columns = Columns(
            digits=self.digits,
            times=self.times[first:end],
            opens=self.opens[first:end],
            highs=self.highs[first:end],
            lows=self.lows[first:end],
            closes=self.closes[first:end],
            odd={row - first: candle for row, candle in self._odd.items() if first <= row < end},
            blocks=[(max(0, row - first), decimals) for row, decimals in self._blocks if row < end],
        )
        return Candles(columns, self.path)

    def rows_from(self, row: int) -> Iterator[Candle]:
        """The candles from one on."""
        return map(self.__getitem__, range(row, len(self)))

    # As a track -----------------------------------------------------------------------------

    @cached_property
    def lowest(self) -> Decimal:
        return Decimal(min(self.lows)).scaleb(-self.digits)

    @cached_property
    def highest(self) -> Decimal:
        return Decimal(max(self.highs)).scaleb(-self.digits)

    def corners(self, row: int) -> tuple[int, int, int, int]:
        opened, close = self.opens[row], self.closes[row]
        if close >= opened:
            return opened, self.lows[row], self.highs[row], close
        return opened, self.highs[row], self.lows[row], close

    def time_ms(self, row: int, corner: int) -> int:
        times, span = self.times, self.interval_ms
        time_ms = times[row]
        if row + 1 < len(times):
            span = min(span, times[row + 1] - time_ms)
        return time_ms + span * corner // 4

    def price(self, row: int, corner: int) -> Decimal:
        return self[row].path()[corner]

    def dues(self, funding: Rates) -> list[tuple[int, Rates]]:
        return group_rates(funding, self.times, self.end_ms(len(self) - 1))

    # As a path ------------------------------------------------------------------------------

    def end_ms(self, row: int) -> int:
        """The stamp from which on time and funding are the next candle's."""
        times = self.times
        return times[row + 1] if row + 1 < len(times) else times[row] + self.interval_ms

    def last_at(self, stamp_ms: int) -> int:
        """The last candle stamped at or before a moment; -1: none."""
        return bisect_right(self.times, stamp_ms) - 1
