"""How much of Aster's request limits was used: told in headers, never enforced. Pure."""

from __future__ import annotations

MINUTE_US = 60_000_000
TEN_SECONDS_US = 10_000_000


class Usage:
    """Counts by whole minutes and tens of seconds, as the exchange's headers do."""

    def __init__(self) -> None:
        self._weight = [0, 0]  # the period, the count
        self._orders = [0, 0]
        self._quick = [0, 0]

    def add(self, now_us: int, weight: int, orders: int) -> None:
        _count(self._weight, now_us // MINUTE_US, weight)
        _count(self._orders, now_us // MINUTE_US, orders)
        _count(self._quick, now_us // TEN_SECONDS_US, orders)

    def headers(self, now_us: int) -> tuple[tuple[str, str], ...]:
        self.add(now_us, 0, 0)
        return (
            ("x-mbx-used-weight-1m", str(self._weight[1])),
            ("x-mbx-order-count-1m", str(self._orders[1])),
            ("x-mbx-order-count-10s", str(self._quick[1])),
        )


def _count(counter: list[int], period: int, more: int) -> None:
    if counter[0] != period:
        counter[0], counter[1] = period, 0
    counter[1] += more
