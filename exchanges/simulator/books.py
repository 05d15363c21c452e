"""The books of all symbols as they are published: the number of the latest change, and the chains.

A chain belongs to one depth stream; it begins when somebody subscribes, and steps either at each
change or at its own period. A book that nothing happens to is published anew every second: no real
one is silent, and clients wait for its first message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from exchanges.matching import Market
from exchanges.simulator.depth import FIRST_UPDATE, Chain, Step, View, view

BEAT_MS = 1_000

Top = tuple[Decimal, Decimal, Decimal, Decimal]


@dataclass(slots=True)
class _Published:
    chain: Chain
    symbol: str
    period_ms: int
    due_ms: int = 0


class Books:
    """Shared by REST and streams, so that their update ids meet."""

    def __init__(
        self,
        markets: Mapping[str, Market],
        is_hidden: Callable[[str], bool] = lambda _number: False,
    ) -> None:
        self._markets = markets
        self._is_hidden = is_hidden
        self._numbers = dict.fromkeys(markets, FIRST_UPDATE)
        self._published: dict[str, _Published] = {}
        self._tops: dict[str, Top] = {}
        self._changed_ms = dict.fromkeys(markets, 0)

    def changed(self, symbol: str, now_ms: int) -> None:
        self._numbers[symbol] += 1
        self._changed_ms[symbol] = now_ms

    def quiet(self, now_ms: int) -> list[str]:
        """The symbols whose books are to be published anew."""
        found = [s for s, changed_ms in self._changed_ms.items() if now_ms - changed_ms >= BEAT_MS]
        for symbol in found:
            self._tops.pop(symbol, None)
        return found

    def number(self, symbol: str) -> int:
        return self._numbers[symbol]

    def view(self, symbol: str) -> View:
        return view(self._markets[symbol], self._is_hidden)

    def new_top(self, symbol: str) -> Top | None:
        """Best bid, its size, best ask, its size, when they are others than told before."""
        top = self.top(symbol)
        if self._tops.get(symbol) == top:
            return None
        self._tops[symbol] = top
        return top

    def top(self, symbol: str) -> Top:
        now = self.view(symbol)
        return (*now.best_bid, *now.best_ask)

    def publish(self, stream: str, symbol: str, period_ms: int) -> None:
        """Begin a chain for a depth stream; one that runs is left alone."""
        if stream not in self._published:
            chain = Chain()
            chain.begin(self.view(symbol), self._numbers[symbol])
            self._published[stream] = _Published(chain, symbol, period_ms)

    def forget(self, stream: str) -> None:
        self._published.pop(stream, None)

    def steps(self, symbol: str | None, now_ms: int) -> list[tuple[str, str, Step]]:
        """What is due: (stream, symbol, step).

        With a symbol: the streams without a period, at a change. Without: the others, by time.
        """
        due: list[tuple[str, str, Step]] = []
        for stream, entry in self._published.items():
            is_due = (
                entry.period_ms > 0 and now_ms >= entry.due_ms
                if symbol is None
                else entry.period_ms == 0 and entry.symbol == symbol
            )
            if not is_due or self._numbers[entry.symbol] == entry.chain.last:
                continue
            entry.due_ms = now_ms + entry.period_ms
            step = entry.chain.step(self.view(entry.symbol), self._numbers[entry.symbol])
            if step is not None:
                due.append((stream, entry.symbol, step))
        return due
