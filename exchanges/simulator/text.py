"""How figures and moments are written on the wire. Pure."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any

from core.model import ZERO

_FIGURE = re.compile(r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")


def plain(value: Decimal) -> str:
    """A decimal without exponent and without trailing zeros."""
    text = f"{value:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def rounded(value: Decimal | None, step: Decimal = Decimal("1e-8")) -> str:
    """A figure that need not be exact (an average, a margin): to `step`, "0" for None."""
    return plain((ZERO if value is None else value).quantize(step, ROUND_HALF_EVEN))


def dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def utc(time_us: int) -> datetime:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).replace(
        microsecond=time_us % 1_000_000
    )


def iso(time_us: int) -> str:
    """`2025-06-24T19:23:41.402`: UTC without a zone, milliseconds."""
    return utc(time_us).replace(tzinfo=None).isoformat(timespec="milliseconds")


def wire_figure(text: str) -> Decimal | None:
    """A figure as both exchanges take it: digits and a point, no exponent, blank or plus sign."""
    return Decimal(text) if _FIGURE.fullmatch(text) else None


def decimal_or_none(text: str) -> Decimal | None:
    """A plain decimal figure; None when it is none."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() and "_" not in text else None
