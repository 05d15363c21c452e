"""The synthetic price path: a seeded, mean-reverting process, one vertex a simulated second. Pure.

The price moves by a share of itself, `volatility` x a bell-shaped draw (the sum of four uniforms),
and is pulled back to its start so that it spends nearly all its time within `band` of it (a share;
the standard deviation is half of it). The draw of a step is a hash of (seed, step), so step and
price are all there is to keep. Integers only: the same on every machine.

Funding at a constant rate at 00:00, 08:00 and 16:00 of simulated UTC. Simulated time begins with
the account and never lags behind the wall clock: when the bot was away, it jumps there with the
price as it was, and no funding is due for the jump.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from exchanges.price_feed import NO_FUNDING, Place, Vertex

STEP_MS = 1_000
FUNDING_MS = 8 * 3_600_000  # as Backpack, Binance and Aster pay: every 8 h of UTC
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
        second = now_ms // STEP_MS * STEP_MS
        kept = None if saved is None else saved["place"]
        start_ms = second if saved is None else int(saved["start_ms"])
        if kept is None:
            self._start_ms, self._step, self._units = start_ms, 0, self._start_units
            return None
        self._step, self._units = int(kept[0]) + 1, int(kept[1])
        self._start_ms = max(start_ms, second - self._step * STEP_MS)
        return self._step - 1, self._units

    def next(self) -> Vertex:
        step = self._step
        if step:
            self._units = self._moved(self._units, step)
        self._step = step + 1
        pace_ms = step * STEP_MS
        time_ms = self._start_ms + pace_ms
        due = time_ms % FUNDING_MS == 0 and self._funding_rate
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
