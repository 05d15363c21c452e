"""Reads candle files and funding files: rows in, checked values out. The I/O of the csv feed.

**Candles.** `timestamp_ms,open,high,low,close,volume`, read as a stream. A row is refused when a
value is no positive finite number (the volume may be 0), when high < low, when open or close lie
outside of them, or when its stamp is not after the one before.

**Funding.** `timestamp_ms,symbol,funding_rate`. Rows of the traded symbol are used, or all of them
when the file is about one symbol only, whatever its name there.

Each fault names file, line and value.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple, TextIO

from core.errors import ConfigError

CANDLE_HEADER = ["timestamp_ms", "open", "high", "low", "close", "volume"]
FUNDING_HEADER = ["timestamp_ms", "symbol", "funding_rate"]
SINGLE_CANDLE_MS = 60_000  # the length of a candle in a file that holds only one
TOO_BIG = Decimal("1e30")  # as for every number in a config


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
    with open_csv(path) as file:
        rows = csv_rows(file, path, CANDLE_HEADER)
        before = -1
        for line, row in rows:
            candle = parse_candle(row, path, line)
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
    with open_csv(path) as file:
        for line, row in csv_rows(file, path, FUNDING_HEADER):
            try:
                time_ms, rate = int(row[0]), Decimal(row[2])
                if not (rate.is_finite() and is_plain(row[0] + row[2])):
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


def open_csv(path: Path) -> TextIO:
    """Open a text file for the csv module. Errors: ConfigError."""
    try:
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def csv_rows(file: TextIO, path: Path, header: list[str]) -> Iterator[tuple[int, list[str]]]:
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


def parse_candle(row: list[str], path: Path, line: int) -> Candle:
    """Parse and check one row. Errors: ConfigError naming the line and the fault."""
    stamp, opened, high, low, close, volume = row[:6]
    try:
        candle = Candle(int(stamp), Decimal(opened), Decimal(high), Decimal(low), Decimal(close))
        if (
            0 < candle.low <= candle.open <= candle.high < TOO_BIG
            and candle.low <= candle.close <= candle.high
            and 0 <= Decimal(volume) < TOO_BIG
            and candle.time_ms >= 0
            and is_plain("".join(row[:6]))
        ):
            return candle
    except (ValueError, ArithmeticError):
        pass
    raise ConfigError(f"{path}: line {line}: {_row_fault(row)}")


def is_plain(text: str) -> bool:
    """Tell whether numbers are written as data files write them: Python would also take 46_000."""
    return text.isascii() and "_" not in text


def _row_fault(row: list[str]) -> str:
    """Say what is wrong with a row that `parse_candle` refused: the first fault, and its value."""
    if not (row[0].strip().isascii() and row[0].strip().isdigit()):
        return f"timestamp_ms: was {row[0]!r}, expected Unix milliseconds"
    values: dict[str, Decimal] = {}
    for name, text in zip(CANDLE_HEADER[1:], row[1:6], strict=True):
        try:
            values[name] = Decimal(text)
            if not is_plain(text):
                raise ArithmeticError
        except ArithmeticError:
            return f"{name}: was {text!r}, expected a number"
        least = "0 or more" if name == "volume" else "above 0"
        if not (values[name].is_finite() and 0 <= values[name] < TOO_BIG) or (
            name != "volume" and values[name] == 0
        ):
            return f"{name}: was {text!r}, expected a finite number {least}"
    if values["high"] < values["low"]:
        return f"high: was {row[2]}, expected at least the low, {row[3]}"
    name = "open" if not values["low"] <= values["open"] <= values["high"] else "close"
    text = row[1] if name == "open" else row[4]
    return f"{name}: was {text}, expected between the low, {row[3]}, and the high, {row[2]}"
