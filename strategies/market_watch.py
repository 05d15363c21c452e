"""Whether the exchange takes our orders on the symbol now, and what waits while it does not.

The state is asked for before the first synchronisation, seldom afterwards, and soon after a refusal
that says that the book takes no such orders; the rule of each state is in `core.market_state`. A
refusal stops entries at once, whatever the exchange says of the book. Engine thread only.
"""

from __future__ import annotations

from core.errors import AuthError, ExchangeError
from core.market_state import MarketReport
from core.ports import MarketStates
from strategies.session import Session

REASON = "market"

QUIET_S = 600.0
"""Seconds between two looks at a market that trades."""

TROUBLED_S = 30.0
"""Seconds to the next look at one that does not, and after a first refusal."""

LONGEST_S = 480.0
"""The same after refusals by a market that is said to be open: they are not asked for."""


class MarketWatch:
    """Follows one symbol's state. Without a source only refusals count."""

    def __init__(self, source: MarketStates | None) -> None:
        self._source = source
        self._due = 0.0 if source is not None else float("inf")
        self._pause_s = TROUBLED_S

    @property
    def next_due(self) -> float | None:
        """When it wants to look, by the monotonic clock; None: never."""
        return None if self._due == float("inf") else self._due

    def look_soon(self) -> None:
        """Look at the next chance: what is known is of before the contact was lost."""
        if self._source is not None:
            self._due = 0.0

    def follow(self, session: Session) -> None:
        """Take refusals into account and look when it is time. Errors: AuthError."""
        now = session.clock.monotonic()
        refusal, session.desk.market_refusal = session.desk.market_refusal, ""
        if refusal:
            words = f"the exchange takes no such orders now, entries wait: {refusal}"
            session.freeze(REASON, words, refusal)
            self._due = now + self._pause_s
            self._pause_s = min(LONGEST_S, 2 * self._pause_s)
            return
        if now >= self._due:
            self._look(session, now)

    def _look(self, session: Session, now: float) -> None:
        report = MarketReport()
        if self._source is not None:
            try:
                report = self._source.fetch_market_state(session.settings.symbol)
            except AuthError:
                raise
            except ExchangeError as error:
                session.log("market_look_failed", error=str(error))
                self._due = now + TROUBLED_S
                return
        was, session.market = session.market, report
        if report.state.takes_exits and not was.state.takes_exits:
            session.instrument = None  # limits and the account's settings are looked at anew
            session.synced = False
        if not report.state.takes_entries:
            if report.state is not was.state:
                session.thaw(REASON)  # so that it is told anew
            session.freeze(REASON, report.words, report.words)
            session.dirty |= report.state is not was.state
            self._due = now + TROUBLED_S
            return
        if REASON in session.frozen:
            session.alert("the market trades again: entries resume", "info")
            session.thaw(REASON)
            self._due = now + QUIET_S if self._source is not None else float("inf")
            return
        self._pause_s = TROUBLED_S
        self._due = now + QUIET_S
