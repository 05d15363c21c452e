"""Reads a plainly written candle file in columns: about ten times as fast as row by row.

Plainly written: the header of `candle_file`, and below it digits, points, commas and line ends
alone, without a blank line. Rows are taken in blocks. In a block most rows are written alike (as
many digits in each field, the volume apart); those are read column by column (`lanes`), and the
others one by one. The checks are the ones of `candle_file`; wherever one fails, or the text is not
plain, `read_columns` gives None, and the slow reader gives the result or finds the words.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from operator import lt
from pathlib import Path

from core.errors import ConfigError
from exchanges.candle_file import CANDLE_HEADER, Candle, parse_candle
from exchanges.lanes import CODES, MOST_DIGITS, NARROW, WIDE, Lanes
from exchanges.track import decimals_of, to_units

BLOCK_BYTES = 1 << 18
"""Small enough for a block, and all that is made of it, to stay in the processor's cache."""

_HEADER = ",".join(CANDLE_HEADER).encode()
_BOM = b"\xef\xbb\xbf"
_DIGITS = b"0123456789"
_MARKS = re.compile(rb",\.?,\.?,\.?,\.?,\.?")  # what is left of a plain row without its digits
_ODD_SHARE = 8
"""One row in so many may be written otherwise; a block with more is read row by row."""

_FIELDS = 5
_COMMA, _POINT, _LINE_END = ord(","), ord("."), ord("\n")
_OTHERS = {mark: bytes(byte != mark for byte in range(256)) for mark in (_COMMA, _POINT)}
"""Tables that turn a mark into 0 and every other byte into 1."""


@dataclass(slots=True, kw_only=True)
class Columns:
    """The columns of a candle file: stamps, and prices in units of `10 ** -digits`.

    How the prices were written: `odd` has some rows as they were read; of the others, from the row
    of each `blocks` entry on, the four prices have these decimals.
    """

    digits: int
    times: Sequence[int]
    opens: Sequence[int]
    highs: Sequence[int]
    lows: Sequence[int]
    closes: Sequence[int]
    odd: dict[int, Candle]
    blocks: list[tuple[int, tuple[int, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """How the rows of a block are written: where each field's digits stand, and its decimals."""

    length: int  # up to and with the first digit of the volume
    is_good: bool  # each field has a digit, the stamp no point
    marks: tuple[tuple[int, int], ...]  # commas and points: where, which
    places: tuple[tuple[int, ...], ...]
    decimals: tuple[int, ...]

    @classmethod
    def of(cls, row: bytes) -> _Shape:
        start, marks, places, decimals = 0, [], [], []
        for _ in range(_FIELDS):
            end = row.index(b",", start)
            point = row.find(b".", start, end)
            if point >= 0:
                marks.append((point, _POINT))
            marks.append((end, _COMMA))
            places.append(tuple(i for i in range(start, end) if i != point))
            decimals.append(0 if point < 0 else end - point - 1)
            start = end + 1
        return cls(
            length=start + 1,
            is_good=all(places) and marks[0][1] == _COMMA and row[start : start + 1].isdigit(),
            marks=tuple(marks),
            places=tuple(places),
            decimals=tuple(decimals),
        )


def read_columns(path: Path) -> Columns | None:
    """Read a candle file; None: not by this reader. Errors: OSError."""
    text = path.read_bytes()
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
    begin = len(_BOM) if text.startswith(_BOM) else 0
    end = text.find(b"\n")
    if text[begin:end] != _HEADER or end + 1 >= len(text):
        return None
    blocks: list[_Block] = []
    begin, first = end + 1, 0
    try:
        while begin < len(text):
            end = text.find(b"\n", begin + BLOCK_BYTES) + 1 or len(text)
            body = text[begin:end] if text[end - 1] == _LINE_END else text[begin:end] + b"\n"
            is_plain, is_alike = _judge(body)
            if not is_plain:
                return None
            blocks.append(_Block(body.split(b"\n")[:-1], first, path, is_alike=is_alike))
            begin, first = end, first + blocks[-1].count
    except ConfigError:  # the slow reader says it, and what came before
        return None
    return _join(blocks)


def columns_of(candles: Sequence[Candle], path: Path) -> Columns:
    """Lay rows that were read one by one out in columns. Errors: ConfigError for endless prices."""
    digits = decimals_of((price for candle in candles for price in candle[1:]), path)
    return Columns(
        digits=digits,
        times=[candle.time_ms for candle in candles],
        opens=[to_units(candle.open, digits) for candle in candles],
        highs=[to_units(candle.high, digits) for candle in candles],
        lows=[to_units(candle.low, digits) for candle in candles],
        closes=[to_units(candle.close, digits) for candle in candles],
        odd=dict(enumerate(candles)),
        blocks=[],
    )


def _judge(body: bytes) -> tuple[bool, bool]:
    """Tell whether every row is six fields of digits, or none, with at most one point each.

    The second tells whether all rows have their points in the same fields.
    """
    marks = body.translate(None, _DIGITS)
    first = marks[: marks.index(b"\n") + 1]
    if marks == first * (len(marks) // len(first)):
        return _MARKS.fullmatch(first[:-1]) is not None, True
    return all(_MARKS.fullmatch(kind) for kind in set(marks.split(b"\n")[:-1])), False


def _join(blocks: list[_Block]) -> Columns | None:
    digits = max(block.decimals for block in blocks)
    longest = max(block.whole_digits for block in blocks) + digits
    if longest > MOST_DIGITS[WIDE]:
        return None
    width = NARROW if longest <= MOST_DIGITS[NARROW] else WIDE
    code = CODES[width]
    columns = [array(CODES[WIDE]), *(array(code) for _ in range(_FIELDS - 1))]
    odd: dict[int, Candle] = {}
    for block in blocks:
        before = columns[0][-1] if columns[0] else -1
        numbers = block.columns(digits, width)
        if numbers is None or numbers[0][0] <= before:
            return None
        for column, more in zip(columns, numbers, strict=True):
            column += more
        odd.update((block.first + i, candle) for i, candle in block.odd.items())
    times, opens, highs, lows, closes = columns
    return Columns(
        digits=digits,
        times=times,
        opens=opens,
        highs=highs,
        lows=lows,
        closes=closes,
        odd=odd,
        blocks=[(block.first, block.price_decimals) for block in blocks],
    )


class _Block:
    """Some rows in one go."""

    def __init__(self, rows: Sequence[bytes], first: int, path: Path, *, is_alike: bool) -> None:
        """`is_alike`: all rows have their points in the same fields.

        Errors: ConfigError for a row that must be read by itself and is wrong.
        """
        self._is_alike = is_alike
        self.first = first
        self.count = len(rows)
        self._path = path
        self.odd: dict[int, Candle] = {}
        self._text = b""
        shape = self._shape = _Shape.of(rows[0])
        odd, starts = self._find_odd(rows) if shape.is_good else (range(len(rows)), [])
        stamp = shape.marks[0][0] + 1  # the stamp and its comma
        if len(odd) * _ODD_SHARE > len(rows) or any(rows[i].find(b",") + 1 != stamp for i in odd):
            odd = range(len(rows))
        for i in odd if len(odd) < len(rows) else ():
            starts[i] = rows[i][:stamp] + starts[0][stamp:]  # the stamp counts with the others
        for i in odd:
            fields = rows[i].decode().split(",")
            self.odd[i] = parse_candle(fields, path, first + i + 2)
        if len(odd) < len(rows):
            self._text = b"".join(starts)
        prices = [price for candle in self.odd.values() for price in candle[1:]]
        self.decimals = decimals_of(prices, path)
        self.whole_digits = max((price.adjusted() + 1 for price in prices), default=0)
        if self._text:
            for places, decimals in zip(shape.places[1:], shape.decimals[1:], strict=True):
                self.decimals = max(self.decimals, decimals)
                self.whole_digits = max(self.whole_digits, len(places) - decimals)

    def _find_odd(self, rows: Sequence[bytes]) -> tuple[Sequence[int], list[bytes]]:
        """The rows that are not written like the first one, and the beginnings of all."""
        length = self._shape.length
        odd: set[int] = set()
        starts = [row[:length] for row in rows]
        text = b"".join(starts)
        if len(text) != length * len(starts):
            odd.update(i for i, start in enumerate(starts) if len(start) < length)
            text = b"".join([start.ljust(length) for start in starts])
        volumes = text[length - 1 :: length]
        if volumes.translate(None, _DIGITS):
            odd.update(i for i, byte in enumerate(volumes) if byte not in _DIGITS)
        for position, mark in self._shape.marks:
            column = text[position::length]
            if column == bytes((mark,)) * len(rows):
                continue
            others = column.translate(_OTHERS[mark])
            i = others.find(1)
            while i >= 0:
                odd.add(i)
                i = others.find(1, i + 1)
        if not self._is_alike:  # one may have a point where the first row has a digit
            points = sum(mark == _POINT for _, mark in self._shape.marks)
            odd.update(i for i, start in enumerate(starts) if start.count(b".") != points)
        return sorted(odd), starts

    @property
    def price_decimals(self) -> tuple[int, ...]:
        """Of each price of a row that is written like the first."""
        return self._shape.decimals[1:]

    def columns(self, digits: int, width: int) -> list[array[int]] | None:
        """The block's stamps and prices, these in lanes of `width`; None when a row is wrong."""
        numbers = self._numbers(digits, width)
        if numbers is None:
            return None
        for i, candle in self.odd.items():
            numbers[0][i] = candle.time_ms
            for column, price in zip(numbers[1:], candle[1:], strict=True):
                column[i] = to_units(price, digits)
        if not self._text and not all(map(lt, numbers[0], islice(numbers[0], 1, None))):
            return None
        return numbers

    def _numbers(self, digits: int, width: int) -> list[array[int]] | None:
        """The rows that are written alike, column by column; None when one of them is wrong."""
        shape = self._shape
        if not self._text:
            codes = (CODES[WIDE], *[CODES[width]] * (_FIELDS - 1))
            return [array(code, bytes(array(code).itemsize * self.count)) for code in codes]
        if len(shape.places[0]) > MOST_DIGITS[WIDE]:
            return None
        stamps = Lanes(self._text, shape.length, WIDE)
        prices = stamps if width == WIDE else Lanes(self._text, shape.length, width)
        times = stamps.number(shape.places[0])
        opens, highs, lows, closes = (
            prices.number(places, digits - decimals)
            for places, decimals in zip(shape.places[1:], shape.decimals[1:], strict=True)
        )
        if not (
            stamps.ascends(times)
            and prices.none_above(prices.ones, lows)
            and prices.none_above(lows, opens)
            and prices.none_above(opens, highs)
            and prices.none_above(lows, closes)
            and prices.none_above(closes, highs)
        ):
            return None
        return [stamps.to_array(times), *map(prices.to_array, (opens, highs, lows, closes))]
