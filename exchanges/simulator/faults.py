"""What goes wrong, by probability and by seed. Pure but for its own random numbers.

Requests, stream messages and fills draw from three generators of one seed, so that the number of
stream messages, which depends on time, does not change what happens to requests and fills.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from decimal import Decimal
from random import Random
from typing import Any

from core.model import Instrument, Order

PROBABILITIES = (
    "http_500",
    "http_429",
    "timeout_before",
    "timeout_after",
    "ws_drop",
    "duplicate_event",
    "reorder_event",
    "partial_fill",
)
MAX_LATENCY_MS = 60_000
MAX_SEED = (1 << 63) - 1


class Fate(enum.Enum):
    """What becomes of a request."""

    SERVED = "served"
    HTTP_500 = "http_500"
    HTTP_429 = "http_429"
    TIMEOUT_BEFORE = "timeout_before"
    TIMEOUT_AFTER = "timeout_after"


_FATES = (Fate.HTTP_500, Fate.HTTP_429, Fate.TIMEOUT_BEFORE, Fate.TIMEOUT_AFTER)


class Delivery(enum.Enum):
    """What becomes of a stream message."""

    ONCE = "once"
    TWICE = "twice"
    LATER = "later"  # after the next one
    DROP = "drop"  # with its connection


class Faults:
    """The probabilities in force and the draws from them. All are 0 at first."""

    def __init__(self, seed: int = 0) -> None:
        self._set: dict[str, float] = dict.fromkeys(PROBABILITIES, 0.0)
        self.latency_ms = 0.0
        self._reseed(seed)

    def merge(self, changes: Mapping[str, Any]) -> list[str]:
        """Put `changes` over what is set. Returns the faults found; then nothing was changed."""
        wrong = [problem for name, value in changes.items() if (problem := _problem(name, value))]
        if wrong:
            return wrong
        for name, value in changes.items():
            if name == "seed":
                self._reseed(int(value))
            elif name == "latency_ms":
                self.latency_ms = float(value)
            else:
                self._set[name] = float(value)
        return []

    def in_force(self) -> dict[str, float | int]:
        return {**self._set, "latency_ms": self.latency_ms, "seed": self._seed}

    def of_request(self) -> Fate:
        """Draw once for each fault, always, so that one's probability moves no other's draw."""
        drawn = Fate.SERVED
        for fate in reversed(_FATES):
            if self._requests.random() < self._set[fate.value]:
                drawn = fate
        return drawn

    def tells_first(self) -> bool:
        """Whether the stream tells of a request's effects before its answer leaves."""
        return self._requests.random() < 0.5

    def of_message(self) -> Delivery:
        drop, twice, later = (self._messages.random() for _ in range(3))
        if drop < self._set["ws_drop"]:
            return Delivery.DROP
        if twice < self._set["duplicate_event"]:
            return Delivery.TWICE
        return Delivery.LATER if later < self._set["reorder_event"] else Delivery.ONCE

    def part_of(self, order: Order, instrument: Instrument) -> Decimal:
        """How much of an order fills now: all, or some lots less. Never less than one lot."""
        left = order.quantity - order.filled_qty
        lots = int(left / instrument.lot_size)
        is_part = self._fills.random() < self._set["partial_fill"]
        if not is_part or lots < 2:
            return left
        return self._fills.randint(1, lots - 1) * instrument.lot_size

    def _reseed(self, seed: int) -> None:
        self._seed = seed
        self._requests = Random(f"requests {seed}")
        self._messages = Random(f"messages {seed}")
        self._fills = Random(f"fills {seed}")


def _problem(name: str, value: Any) -> str | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in PROBABILITIES:
        if not is_number or not 0 <= value <= 1:
            return f"{name}: was {value!r}, expected a number from 0 to 1"
    elif name == "latency_ms":
        if not is_number or not math.isfinite(value) or not 0 <= value <= MAX_LATENCY_MS:
            return f"latency_ms: was {value!r}, expected 0 to {MAX_LATENCY_MS}"
    elif name == "seed":
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_SEED:
            return f"seed: was {value!r}, expected an integer from 0"
    else:
        known = ", ".join((*PROBABILITIES, "latency_ms", "seed"))
        return f"{name}: no such fault, expected one of {known}"
    return None
