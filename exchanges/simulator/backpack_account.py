"""Backpack's account routes: settings, balances, positions, histories."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from exchanges.simulator import backpack_views as views
from exchanges.simulator.backpack_auth import bad_request
from exchanges.simulator.backpack_call import (
    Call,
    Route,
    Routes,
    choice,
    is_perp,
    object_of,
    page,
    whole,
)
from exchanges.simulator.backpack_orders import SIDES, figure, order_id, refusal, symbol_of
from exchanges.simulator.records import LIQUIDATION, Refused, Why
from exchanges.simulator.text import plain
from exchanges.simulator.venue import MAX_LEVERAGE, Venue

FILL_TYPES = (
    "User",
    "BookLiquidation",
    "Adl",
    "Backstop",
    "Liquidation",
    "AllLiquidation",
    "CollateralConversion",
    "CollateralConversionAndSpotLiquidation",
)


class AccountRoutes:
    """Reads the venue; keeps the account's settings. `numbers`: the id of each position."""

    def __init__(self, venue: Venue, numbers: Mapping[str, int]) -> None:
        self._venue = venue
        self._numbers = numbers
        self._settings = dict.fromkeys(
            ("autoBorrowSettlements", "autoLend", "autoRepayBorrows"), False
        )

    def routes(self) -> Routes:
        venue = self._venue
        signed: dict[tuple[str, str], tuple[str, Callable[[Call], Any]]] = {
            ("GET", "/api/v1/account"): (
                "accountQuery",
                lambda _: views.account(venue, self._leverage(), self._settings),
            ),
            ("PATCH", "/api/v1/account"): ("accountUpdate", self._patch_account),
            ("GET", "/api/v1/account/limits/order"): ("maxOrderQuantity", self._max_order),
            ("GET", "/api/v1/account/limits/borrow"): (
                "maxBorrowQuantity",
                lambda call: {"maxBorrowQuantity": "0", "symbol": call.query.get("symbol", "")},
            ),
            ("GET", "/api/v1/account/limits/withdrawal"): (
                "maxWithdrawalQuantity",
                lambda call: {
                    "maxWithdrawalQuantity": plain(venue.portfolio.available),
                    "symbol": call.query.get("symbol", ""),
                    "autoBorrow": None,
                    "autoLendRedeem": None,
                },
            ),
            ("GET", "/api/v1/capital"): ("balanceQuery", lambda _: views.capital(venue)),
            ("GET", "/api/v1/capital/collateral"): (
                "collateralQuery",
                lambda _: views.collateral(venue),
            ),
            ("GET", "/api/v1/position"): ("positionQuery", self._positions),
            ("GET", "/wapi/v1/history/fills"): ("fillHistoryQueryAll", self._fills),
            ("GET", "/wapi/v1/history/orders"): ("orderHistoryQueryAll", self._order_history),
            ("GET", "/wapi/v1/history/funding"): ("fundingHistoryQueryAll", self._funding),
            ("GET", "/wapi/v1/history/position"): (
                "positionHistoryQueryAll",
                self._position_history,
            ),
        }
        return {key: Route(*value) for key, value in signed.items()}

    def _leverage(self) -> Decimal:
        return next(iter(self._venue.markets.values())).rules.leverage

    def _patch_account(self, call: Call) -> None:
        body = object_of(call.body)
        for name in self._settings:
            if name in body and not isinstance(body[name], bool):
                raise bad_request(f'parse request payload error: failed to parse "{name}"')
        leverage = figure(body, "leverageLimit")
        if leverage is not None:
            if leverage != int(leverage) or not 1 <= leverage <= MAX_LEVERAGE:
                raise refusal(Refused(Why.LEVERAGE))
            for symbol in self._venue.listings:
                self._venue.set_leverage(symbol, int(leverage))
        self._settings |= {name: body[name] for name in self._settings if name in body}

    def _max_order(self, call: Call) -> Any:
        symbol = symbol_of(call.query, self._venue.listings)
        side = call.query.get("side", "")
        if side not in SIDES:
            raise bad_request('failed to parse parameter `side`: failed to parse "Side"')
        market = self._venue.markets[symbol]
        price = figure(call.query, "price") or market.last
        reduces = call.query.get("reduceOnly")
        room = self._venue.portfolio.available * market.rules.leverage / price
        if reduces in ("true", "True"):
            room = max(Decimal(0), -market.account.position * SIDES[side].sign)
        return {
            "autoBorrow": None,
            "autoBorrowRepay": None,
            "autoLendRedeem": None,
            "maxOrderQuantity": plain(market.rules.instrument.floor_quantity(room)),
            "price": call.query.get("price"),
            "reduceOnly": None if reduces is None else reduces.lower() == "true",
            "side": side,
            "symbol": symbol,
        }

    def _positions(self, call: Call) -> Any:
        wanted = call.query.get("symbol")
        if wanted:
            symbol_of(call.query, self._venue.listings)
        if not is_perp(call):
            return []
        return [
            views.position(market, self._numbers[symbol])
            for symbol, market in self._venue.markets.items()
            if market.account.position and wanted in (None, "", symbol)
        ]

    def _position_history(self, call: Call) -> Any:
        is_ours = is_perp(call)
        rows = [
            views.position_history(market, self._numbers[symbol])
            for symbol, market in self._venue.markets.items()
            if is_ours and market.account.fees and call.query.get("symbol") in (None, "", symbol)
        ]
        state = choice(call, "state", "PositionState", ("Open", "Closed"))
        return page(call, [row for row in rows if state in (None, row["state"])])

    def _fills(self, call: Call) -> Any:
        start, end = whole(call, "from", None), whole(call, "to", None)
        number = order_id(call.query)
        kind = choice(call, "fillType", "FillType", FILL_TYPES)
        is_ours = is_perp(call) and not call.query.get("strategyId")  # no order has a strategy
        found = [
            known
            for known in self._venue.fills
            if is_ours
            and call.query.get("symbol") in (None, "", known.fill.symbol)
            and number in (None, known.order.number)
            and (start is None or known.time_us // 1000 >= start)
            and (end is None or known.time_us // 1000 <= end)
            and (kind is None or (kind == "User") == (known.order.origin != LIQUIDATION))
        ]
        return page(call, found, views.fill)

    def _order_history(self, call: Call) -> Any:
        number = order_id(call.query)
        is_ours = is_perp(call) and not call.query.get("strategyId")  # no order has a strategy
        found = [
            order
            for order in self._venue.orders.values()
            if is_ours
            and call.query.get("symbol") in (None, "", order.symbol)
            and number in (None, order.number)
        ]
        return page(call, found, views.order_history)

    def _funding(self, call: Call) -> Any:
        found = [
            event
            for event in self._venue.funding
            if call.query.get("symbol") in (None, "", event.payment.symbol)
        ]
        return page(call, found, views.funding)
