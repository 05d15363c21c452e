"""What the words of a backtest's command line mean: files, counts, fractions."""

from __future__ import annotations

import os
from decimal import Decimal, InvalidOperation
from pathlib import Path

from core.errors import ConfigError


def readable(option: str, name: str) -> Path:
    """Give the path of a file that can be read. Errors: ConfigError naming the option."""
    path = Path(name)
    if not os.access(path, os.R_OK) or not path.is_file():
        what = "candle" if option == "--data" else "funding"
        raise ConfigError(f"{option}: was {name!r}, expected a readable {what} file")
    return path


def whole_number(option: str, text: str, most: int) -> int:
    """Read a count from 1 to `most`. Errors: ConfigError."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        raise ConfigError(f"{option}: was {text!r}, expected a whole number from 1 to {most}")
    return int(text)


def fraction(option: str, text: str, expected: str) -> Decimal:
    """Read a fraction from 0 to below 1. Errors: ConfigError."""
    try:
        value = Decimal(text)
        if text.isascii() and "_" not in text and value.is_finite() and 0 <= value < 1:
            return value
    except InvalidOperation:
        pass
    raise ConfigError(f"{option}: was {text!r}, expected {expected}")
