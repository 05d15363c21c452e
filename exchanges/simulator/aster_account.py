"""Aster's account routes: balance, positions, leverage, modes, histories."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from exchanges.simulator import aster_views as views
from exchanges.simulator.aster_auth import AsterError, missing
from exchanges.simulator.aster_market import limit_of
from exchanges.simulator.aster_orders import symbol_of, whole
from exchanges.simulator.aster_route import Route, Routes
from exchanges.simulator.aster_streams import AsterStreams
from exchanges.simulator.records import SimFill
from exchanges.simulator.text import plain
from exchanges.simulator.venue import Venue

Params = Mapping[str, str]
WEEK_MS = 7 * 86_400_000


class AccountRoutes:
    """Reads the venue; keeps the account's modes."""

    def __init__(self, venue: Venue, streams: AsterStreams) -> None:
        self._venue = venue
        self._streams = streams
        self.is_hedged = False
        self._is_multi_asset = False
        self._margin_types = dict.fromkeys(venue.listings, "cross")

    def routes(self) -> Routes:
        venue = self._venue
        signed: dict[tuple[str, str], tuple[Callable[[Params], Any], int]] = {
            ("GET", "/balance"): (lambda _: views.balance(venue), 5),
            ("GET", "/account"): (lambda _: views.account(venue), 5),
            ("GET", "/accountWithJoinMargin"): (lambda _: views.account(venue), 5),
            ("GET", "/positionRisk"): (self._position_risk, 5),
            ("POST", "/leverage"): (self._set_leverage, 1),
            ("POST", "/marginType"): (self._set_margin_type, 1),
            ("GET", "/positionSide/dual"): (lambda _: {"dualSidePosition": self.is_hedged}, 30),
            ("POST", "/positionSide/dual"): (self._set_dual, 1),
            ("GET", "/multiAssetsMargin"): (
                lambda _: {"multiAssetsMargin": self._is_multi_asset},
                30,
            ),
            ("POST", "/multiAssetsMargin"): (self._set_multi_asset, 1),
            ("GET", "/userTrades"): (self._user_trades, 5),
            ("GET", "/income"): (self._income, 30),
            ("GET", "/leverageBracket"): (self._leverage_bracket, 1),
            ("GET", "/commissionRate"): (self._commission_rate, 20),
            ("GET", "/forceOrders"): (lambda _: [], 20),
            ("GET", "/adlQuantile"): (lambda _: [], 5),
            ("GET", "/positionMargin/history"): (lambda _: [], 1),
            ("GET", "/builder"): (lambda _: [], 1),
            ("GET", "/agent"): (lambda _: [], 1),
        }
        return {key: Route("signed", *value) for key, value in signed.items()}

    def _position_risk(self, params: Params) -> Any:
        wanted = symbol_of(params, self._venue.listings) if params.get("symbol") else None
        return [
            views.position_risk(held, self._margin_types[symbol], self._venue.now_us // 1000)
            for symbol, held in self._venue.markets.items()
            if wanted in (None, symbol)
        ]

    def _set_leverage(self, params: Params) -> Any:
        symbol = symbol_of(params, self._venue.listings)
        leverage = whole(params, "leverage")
        if leverage is None:
            raise missing("leverage")
        self._venue.set_leverage(symbol, leverage)
        return {"leverage": leverage, "maxNotionalValue": views.MAX_NOTIONAL, "symbol": symbol}

    def _set_margin_type(self, params: Params) -> Any:
        symbol = symbol_of(params, self._venue.listings)
        kind = {"ISOLATED": "isolated", "CROSSED": "cross"}.get(params.get("marginType", ""))
        if kind is None:
            raise AsterError(-1130, "Data sent for parameter 'marginType' is not valid.")
        if self._margin_types[symbol] == kind:
            raise AsterError(-4046, "No need to change margin type.")
        if self._venue.open_orders(symbol):
            raise AsterError(-4047, "Margin type cannot be changed if there exists open orders.")
        if self._venue.markets[symbol].account.position:
            raise AsterError(-4048, "Margin type cannot be changed if there exists position.")
        self._margin_types[symbol] = kind
        return {"code": 200, "msg": "success"}

    def _set_dual(self, params: Params) -> Any:
        wanted = _flag(params, "dualSidePosition")
        if wanted == self.is_hedged:
            raise AsterError(-4059, "No need to change position side.")
        if self._venue.open_orders():
            raise AsterError(-4067, "Position side cannot be changed if there exists open orders.")
        if any(held.account.position for held in self._venue.markets.values()):
            raise AsterError(-4068, "Position side cannot be changed if there exists position.")
        self.is_hedged = wanted
        self._tell_modes()
        return {"code": 200, "msg": "success"}

    def _set_multi_asset(self, params: Params) -> Any:
        wanted = _flag(params, "multiAssetsMargin")
        if wanted == self._is_multi_asset:
            raise AsterError(-4171, "No need to change multi-assets margin mode.")
        self._is_multi_asset = wanted
        self._tell_modes()
        return {"code": 200, "msg": "success"}

    def _tell_modes(self) -> None:
        modes = {"j": self._is_multi_asset, "f": False, "d": self.is_hedged}
        self._streams.modes_changed(modes)

    def _user_trades(self, params: Params) -> Any:
        symbol = symbol_of(params, self._venue.listings)
        limit = limit_of(params, 500, 1_000)
        since = whole(params, "fromId")
        start, end = window(params)
        if since is not None and (start is not None or end is not None):
            raise AsterError(-1128, "Combination of optional parameters invalid.")
        number = whole(params, "orderId")

        def is_wanted(known: SimFill) -> bool:
            return (
                known.fill.symbol == symbol
                and (since is None or known.number >= since)
                and number in (None, known.order.number)
                and in_window(known.time_us // 1000, start, end, self._venue.now_us // 1000)
            )

        found = [known for known in self._venue.fills if is_wanted(known)]
        is_forward = since is not None or start is not None
        return [views.user_trade(known) for known in cut(found, limit, is_forward)]

    def _income(self, params: Params) -> Any:
        if params.get("symbol"):
            symbol_of(params, self._venue.listings)
        limit = limit_of(params, 100, 1_000)
        start, end = whole(params, "startTime"), whole(params, "endTime")
        asset = next(iter(self._venue.listings.values())).instrument.quote_asset
        rows = [row for known in self._venue.fills for row in views.income_of_fill(known)]
        rows += [
            views.income_of_funding(event, index, asset)
            for index, event in enumerate(self._venue.funding)
        ]
        rows += [
            views.income_of_transfer(at_us, amount, asset)
            for at_us, amount in self._venue.portfolio.transfers
        ]
        rows.sort(key=lambda row: row["time"])
        found = [
            row
            for row in rows
            if params.get("symbol") in (None, "", row["symbol"])
            and params.get("incomeType") in (None, "", row["incomeType"])
            and (start is None or row["time"] >= start)
            and (end is None or row["time"] <= end)
        ]
        return list(cut(found, limit, start is not None))

    def _leverage_bracket(self, params: Params) -> Any:
        if params.get("symbol"):
            return views.leverage_bracket(symbol_of(params, self._venue.listings))
        return [views.leverage_bracket(symbol) for symbol in self._venue.listings]

    def _commission_rate(self, params: Params) -> Any:
        symbol = symbol_of(params, self._venue.listings)
        instrument = self._venue.listings[symbol].instrument
        return {
            "symbol": symbol,
            "makerCommissionRate": plain(instrument.maker_fee),
            "takerCommissionRate": plain(instrument.taker_fee),
        }


def window(params: Params) -> tuple[int | None, int | None]:
    """startTime and endTime, at most 7 days apart. Errors: AsterError."""
    start, end = whole(params, "startTime"), whole(params, "endTime")
    if start is not None and end is not None and end - start > WEEK_MS:
        raise AsterError(-1127, "More than 7 days between startTime and endTime.")
    return start, end


def in_window(time_ms: int, start: int | None, end: int | None, now_ms: int) -> bool:
    """Whether a row lies in the window; with one end alone it is 7 days wide."""
    if start is None and end is None:
        return True
    first = start if start is not None else (now_ms if end is None else end) - WEEK_MS
    last = end if end is not None else first + WEEK_MS
    return first <= time_ms <= last


def cut(rows: Sequence[Any], limit: int, is_forward: bool) -> Sequence[Any]:
    """The first `limit` rows from a given start, else the latest; oldest first."""
    return rows[:limit] if is_forward else rows[-limit:]


def _flag(params: Params, name: str) -> bool:
    value = params.get(name, "").lower()
    if value not in ("true", "false"):
        raise missing(name)
    return value == "true"
