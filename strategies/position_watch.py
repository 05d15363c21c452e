"""The position as the stream tells it, held against the ledger's: a doubt, never a truth.

Fills alone move lots. But a position that disagrees with ours for longer than a moment says that
something was missed, or done by hand, before the next full look would find it: that look is then
made at once. Events may come late, twice, in any order, or never; a look by itself settles every
doubt, and there is no second one from here within `PAUSE_S`. Engine thread only.
"""

from __future__ import annotations

from decimal import Decimal

from core.model import PositionTold

DOUBT_S = 2.0
"""How long a disagreement may last: a fill and the position it makes are told apart."""

PAUSE_S = 15.0
"""Between two looks that this asks for; a mismatch that stands has a pace of its own."""


class PositionWatch:
    """What was told last, and since when it is not what we hold."""

    def __init__(self) -> None:
        self._told: PositionTold | None = None
        self._doubt_at: float | None = None
        self._quiet_until = 0.0

    @property
    def next_due(self) -> float | None:
        """When it wants to judge again, by the monotonic clock; None: nothing is in doubt."""
        return None if self._doubt_at is None else max(self._doubt_at, self._quiet_until)

    def take(self, told: PositionTold, ours: Decimal, now: float) -> None:
        """Take an event; one that is older than another has been overtaken."""
        if self._told is not None and told.time < self._told.time:
            return
        self._told = told
        if told.quantity == ours:
            self._doubt_at = None
        elif self._doubt_at is None:
            self._doubt_at = now + DOUBT_S

    def wants_look(self, ours: Decimal, now: float) -> bool:
        """Tell whether a full look is due: the disagreement has outlived its moment."""
        due = self.next_due
        if due is None or now < due:
            return False
        assert self._told is not None
        self._doubt_at = None
        if self._told.quantity == ours:
            return False
        self._quiet_until = now + PAUSE_S
        return True

    def settled(self) -> None:
        """A full look was made: what was told before it is of no more use."""
        self._told = self._doubt_at = None
