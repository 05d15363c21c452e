"""The dead man's switch: a timer at the exchange that cancels every order when we fall silent.

It is told anew at a quarter of its time, as long as ledger and exchange are in step, so that it
runs out when the process, the machine or the line is gone. It ends every order of the symbol,
whoever placed it: with an order of somebody else there it is switched off, and on again once that
is gone. A failed call is no trouble of the grid's: it is tried again soon. Engine thread only.
"""

from __future__ import annotations

from core.errors import AuthError, ExchangeError
from core.ports import DeadMansSwitch
from strategies.session import Session

RENEWALS = 4
"""Calls in one run of the timer; Aster's document suggests 120 s every 30 s."""

RETRY_SHARE = 12
"""A failed call is tried again after this part of the time: there is room for several."""


class Countdown:
    """Keeps one symbol's timer. Without a switch or seconds it does nothing."""

    def __init__(self, switch: DeadMansSwitch | None, seconds: float | None) -> None:
        self._switch = None if seconds is None else switch
        self._seconds = seconds or 0.0
        self._told: float | None = None  # the seconds told last; None: what an earlier run has told
        self._runs_out_at = 0.0
        self._is_held_off = False
        self._due = 0.0

    @property
    def next_due(self) -> float | None:
        """When it wants to be looked at, by the monotonic clock; None: never."""
        return None if self._switch is None else self._due

    def keep(self, session: Session) -> None:
        """Tell it anew when it is time, or at once when we are no longer alone, or alone again.

        Errors: AuthError.
        """
        if self._switch is None:
            return
        now = session.clock.monotonic()
        is_alone = not session.foreign
        if now < self._due and is_alone is not self._is_held_off:
            return
        if is_alone is self._is_held_off:
            self._turned(session, is_alone=is_alone)
        if not is_alone and self._told == 0:
            self._due = now + self._seconds / RENEWALS
            return
        try:
            self._set(session, self._seconds if is_alone else 0.0)
        except AuthError:
            raise
        except ExchangeError as error:
            session.log("dead_mans_switch_failed", error=str(error))
            self._due = session.clock.monotonic() + self._seconds / RETRY_SHARE

    def switch_off(self, session: Session) -> None:
        """Stop the timer at the end of a run, unless orders are left: those are its to cancel."""
        if self._switch is None or self._told == 0:
            return
        if session.orders_left:
            left = f"{session.orders_left} orders are left"
            session.alert(f"{left}: the exchange cancels them within {self._seconds:g} s")
            return
        try:
            self._set(session, 0.0)
        except ExchangeError as error:
            session.alert(f"the dead man's switch could not be turned off: {error}")

    def words(self, session: Session) -> dict[str, str]:
        """Say how it stands, for the status."""
        if self._switch is None:
            return {}
        if self._is_held_off:
            return {"dead_mans_switch": f"off: {len(session.foreign)} orders of others rest"}
        if not self._told:
            return {"dead_mans_switch": "not set yet"}
        left = max(0.0, self._runs_out_at - session.clock.monotonic())
        return {"dead_mans_switch": f"all orders are cancelled in {left:.0f} s unless renewed"}

    def _turned(self, session: Session, *, is_alone: bool) -> None:
        self._is_held_off = not is_alone
        if is_alone:
            session.alert("the dead man's switch is on again: no order of others rests")
        else:
            session.alert(
                "the dead man's switch is off while orders of others rest on "
                f"{session.settings.symbol}: it would cancel them too"
            )

    def _set(self, session: Session, seconds: float) -> None:
        assert self._switch is not None
        self._switch.set_countdown(session.settings.symbol, seconds)
        now = session.clock.monotonic()
        self._told = seconds
        session.wants_snapshot = True
        self._runs_out_at = now + seconds
        self._due = now + self._seconds / RENEWALS
