"""Aster's documented operations that are not simulated: refused by its own code -1020."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exchanges.simulator.aster_auth import AsterError
from exchanges.simulator.aster_orders import figure, symbol_of
from exchanges.simulator.aster_route import Route, Routes
from exchanges.simulator.venue import Venue

REFUSED = (
    ("POST", "/asset/wallet/transfer"),
    ("PUT", "/order"),
    ("GET", "/mmp"),
    ("POST", "/mmp"),
    ("DELETE", "/mmp"),
    ("POST", "/mmpReset"),
    ("POST", "/approveAgent"),
    ("POST", "/updateAgent"),
    ("DELETE", "/agent"),
    ("POST", "/approveBuilder"),
    ("POST", "/updateBuilder"),
    ("DELETE", "/builder"),
)
SPOT_REFUSED = ("/asset/wallet/transfer", "/aster/user-withdraw")


def routes(venue: Venue) -> Routes:
    def position_margin(params: Mapping[str, str]) -> Any:
        """Margin moves to and from isolated positions alone; here each is cross."""
        symbol = symbol_of(params, venue.listings)
        if not figure(params, "amount"):
            raise AsterError(-4055, "Amount must be positive.")
        if not venue.markets[symbol].account.position:
            raise AsterError(-4054, "Cannot add position margin: position is 0.")
        return refuse(params)

    def noop(_params: Mapping[str, str]) -> Any:
        """It takes the place of a queued request; nothing is ever queued here."""
        return {"code": 200, "msg": "success"}

    return {
        **{key: Route("signed", refuse) for key in REFUSED},
        ("POST", "/positionMargin"): Route("signed", position_margin),
        ("POST", "/noop"): Route("signed", noop),
    }


def refuse(_params: Mapping[str, str]) -> Any:
    raise AsterError(-1020, "This operation is not supported: not simulated here.")
