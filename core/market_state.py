"""What an exchange lets be done on a symbol: the states of its book and our rule for each. Pure.

| state | entries | exits | |
| --- | --- | --- | --- |
| OPEN | go | go | |
| POST_ONLY | wait | go, where they rest | no matching yet, or none that takes |
| CLOSING | stop | go, as the exchange lets them | no new positions: the symbol is to be settled |
| CANCEL_ONLY | wait | wait | what rests may be cancelled |
| CLOSED | stop | stop | settled or delisted: the exchange ends what is held |
| MAINTENANCE | wait | wait | |
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class MarketState(enum.Enum):
    """See the module docstring."""

    OPEN = "open"
    POST_ONLY = "post-only"
    CLOSING = "closing"
    CANCEL_ONLY = "cancel-only"
    CLOSED = "closed"
    MAINTENANCE = "in maintenance"

    @property
    def takes_entries(self) -> bool:
        return self is MarketState.OPEN

    @property
    def takes_exits(self) -> bool:
        return self in (MarketState.OPEN, MarketState.POST_ONLY, MarketState.CLOSING)


_RULES = {
    MarketState.OPEN: "all orders go",
    MarketState.POST_ONLY: "entries wait, exits rest",
    MarketState.CLOSING: "entries stop, exits go as long as the exchange takes them; close what is "
    "held, or it is settled",
    MarketState.CANCEL_ONLY: "entries and exits wait",
    MarketState.CLOSED: "entries and exits stop; the exchange settles what is held",
    MarketState.MAINTENANCE: "entries and exits wait",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketReport:
    """How a symbol stands. `told` is the exchange's own word for it."""

    state: MarketState = MarketState.OPEN
    told: str = ""

    @property
    def words(self) -> str:
        """Say it with the rule, for an alert and for the status."""
        said = f" ({self.told})" if self.told else ""
        return f"the market is {self.state.value}{said}: {_RULES[self.state]}"


NOT_LISTED = MarketReport(state=MarketState.CLOSED, told="not listed any more")
"""How a symbol stands that the exchange does not know, when we have traded it before."""
