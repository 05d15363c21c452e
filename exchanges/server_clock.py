"""The exchange's own time, carried on by ours from the moment when it was told."""

from __future__ import annotations

from collections.abc import Callable

from exchanges.budget import boot_time


class ServerClock:
    """The exchange's clock: never ahead of the true one, behind by one round trip at most."""

    def __init__(self, clock: Callable[[], float] = boot_time) -> None:
        self._clock = clock
        self._ms: float | None = None
        self._at = 0.0

    def set(self, server_ms: int, received_at: float) -> None:
        """Take a time told by the exchange, as of the moment when it came."""
        self._ms, self._at = float(server_ms), received_at

    @property
    def is_set(self) -> bool:
        return self._ms is not None

    @property
    def age_s(self) -> float:
        return self._clock() - self._at

    def now_us(self) -> int:
        assert self._ms is not None
        return int(self._ms * 1000 + (self._clock() - self._at) * 1_000_000)

    def now_ms(self) -> int:
        return self.now_us() // 1000
