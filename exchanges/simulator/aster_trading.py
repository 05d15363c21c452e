"""Aster's order routes, single and in batches, and the countdown that cancels them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from exchanges.simulator import aster_views as views
from exchanges.simulator.aster_account import AccountRoutes, cut, in_window, window
from exchanges.simulator.aster_auth import AsterError, missing
from exchanges.simulator.aster_market import limit_of
from exchanges.simulator.aster_orders import (
    MAX_BATCH,
    MAX_CANCELS,
    draft_of,
    refusal,
    symbol_of,
    whole,
)
from exchanges.simulator.aster_route import Route, Routes
from exchanges.simulator.records import Draft, Refused, SimOrder, Why
from exchanges.simulator.venue import Venue

Params = Mapping[str, str]
UNKNOWN_ORDER = AsterError(-2011, "Unknown order sent.")
DONE = "The operation of cancel all open order is done."


class TradingRoutes:
    """Places and cancels on the venue."""

    def __init__(self, venue: Venue, account: AccountRoutes) -> None:
        self._venue = venue
        self._account = account
        self._countdowns: dict[str, asyncio.TimerHandle] = {}

    def routes(self) -> Routes:
        return {
            ("POST", "/order"): Route("signed", self._post_order, orders=1),
            ("POST", "/order/test"): Route("signed", self._test_order),
            ("GET", "/order"): Route("signed", self._get_order),
            ("DELETE", "/order"): Route("signed", self._delete_order),
            ("POST", "/batchOrders"): Route("signed", self._post_batch, weight=5, orders=5),
            ("DELETE", "/batchOrders"): Route("signed", self._delete_batch),
            ("DELETE", "/allOpenOrders"): Route("signed", self._delete_all),
            ("POST", "/countdownCancelAll"): Route("signed", self._countdown, weight=10),
            ("GET", "/openOrder"): Route("signed", self._get_open_order),
            ("GET", "/openOrders"): Route("signed", self._get_open_orders),
            ("GET", "/allOrders"): Route("signed", self._get_all, weight=5),
        }

    # Placing ----------------------------------------------------------------------------------

    def _post_order(self, params: Params) -> Any:
        draft = self._draft(params)
        order = self._venue.place(draft) if draft.trigger is None else self._venue.wait(draft)
        return views.order(order, is_ack=params.get("newOrderRespType", "ACK") != "RESULT")

    def _test_order(self, params: Params) -> Any:
        self._draft(params)
        return {}

    def _draft(self, params: Params) -> Draft:
        venue, is_hedged = self._venue, self._account.is_hedged
        return draft_of(
            params, venue.listings, lambda symbol: venue.markets[symbol].last, is_hedged=is_hedged
        )

    def _post_batch(self, params: Params) -> Any:
        text = params.get("batchOrders")
        if not text:
            raise missing("batchOrders")
        try:
            items = json.loads(text, parse_float=str)
        except ValueError:
            raise AsterError(-1130, "Data sent for parameter 'batchOrders' is not valid.") from None
        if not isinstance(items, list) or not 1 <= len(items) <= MAX_BATCH:
            raise AsterError(
                -4082, f"Invalid number of batch place order requests: 1 to {MAX_BATCH}."
            )
        return [self._try(lambda fields=item: self._post_order(_texts(fields))) for item in items]

    # Cancelling -------------------------------------------------------------------------------

    def _delete_order(self, params: Params) -> Any:
        symbol = symbol_of(params, self._venue.listings)
        return self._cancel(symbol, whole(params, "orderId"), params.get("origClientOrderId"))

    def _delete_batch(self, params: Params) -> Any:
        """The lists may be named in lower case: ccxt does."""
        symbol = symbol_of(params, self._venue.listings)
        lower = {name.lower(): value for name, value in params.items()}
        numbers = _json_list(lower.get("orderidlist"), "orderIdList")
        names = _json_list(lower.get("origclientorderidlist"), "origClientOrderIdList")
        if not numbers and not names:
            raise missing("orderIdList")
        if len(numbers) + len(names) > MAX_CANCELS:
            raise AsterError(-4082, f"Invalid number of batch cancel requests: 1 to {MAX_CANCELS}.")
        for number in numbers:
            if not str(number).isdigit():
                raise AsterError(-1130, "Data sent for parameter 'orderIdList' is not valid.")
        results = [self._try(lambda n=int(n): self._cancel(symbol, n, None)) for n in numbers]
        return results + [
            self._try(lambda name=str(name): self._cancel(symbol, None, name)) for name in names
        ]

    def _delete_all(self, params: Params) -> Any:
        self._cancel_all(symbol_of(params, self._venue.listings))
        return {"code": "200", "msg": DONE}

    def _countdown(self, params: Params) -> Any:
        """One timer for each symbol; 0 stops it."""
        symbol = symbol_of(params, self._venue.listings)
        time_ms = whole(params, "countdownTime")
        if time_ms is None:
            raise missing("countdownTime")
        before = self._countdowns.pop(symbol, None)
        if before is not None:
            before.cancel()
        if time_ms:
            loop = asyncio.get_running_loop()
            self._countdowns[symbol] = loop.call_later(time_ms / 1000, self._cancel_all, symbol)
        return {"symbol": symbol, "countdownTime": str(time_ms)}

    def _cancel_all(self, symbol: str) -> None:
        for order in self._venue.open_orders(symbol):
            self._venue.cancel(order)

    def _cancel(self, symbol: str, number: int | None, client_id: str | None) -> Any:
        try:
            return views.order(self._venue.cancel(self._find(symbol, number, client_id)))
        except Refused as refused:
            raise (UNKNOWN_ORDER if refused.why is Why.NOT_FOUND else refusal(refused)) from None

    # Reading ----------------------------------------------------------------------------------

    def _get_order(self, params: Params) -> Any:
        return views.order_found(self._named(params))

    def _get_open_order(self, params: Params) -> Any:
        order = self._named(params)
        if not order.is_open:
            raise Refused(Why.NOT_FOUND)
        return views.order_found(order)

    def _get_open_orders(self, params: Params) -> Any:
        symbol = symbol_of(params, self._venue.listings) if params.get("symbol") else None
        return [views.order_found(order) for order in self._venue.open_orders(symbol)]

    def _get_all(self, params: Params) -> Any:
        symbol = symbol_of(params, self._venue.listings)
        limit = limit_of(params, 500, 1_000)
        since = whole(params, "orderId")
        start, end = window(params)
        now_ms = self._venue.now_us // 1000
        found = [
            order
            for order in self._venue.orders.values()
            if order.symbol == symbol
            and (since is None or order.number >= since)
            and in_window(order.created_us // 1000, start, end, now_ms)
        ]
        is_forward = since is not None or start is not None
        return [views.order_found(order) for order in cut(found, limit, is_forward)]

    def _named(self, params: Params) -> SimOrder:
        symbol = symbol_of(params, self._venue.listings)
        return self._find(symbol, whole(params, "orderId"), params.get("origClientOrderId"))

    def _find(self, symbol: str, number: int | None, client_id: str | None) -> SimOrder:
        if number is None and not client_id:
            raise AsterError(-1102, "Param 'origClientOrderId' or 'orderId' must be sent.")
        if number is None and client_id is not None:
            for order in self._venue.open_orders(symbol):  # an id that the exchange made up
                if views.client_id(order) == client_id:
                    return order
        return self._venue.find(symbol, number=number, client_id=client_id)

    def _try(self, act: Any) -> Any:
        try:
            return act()
        except AsterError as error:
            return error.body
        except Refused as refused:
            return refusal(refused).body


def _texts(item: Any) -> dict[str, str]:
    if not isinstance(item, dict):
        raise AsterError(-1130, "Data sent for parameter 'batchOrders' is not valid.")
    return {
        str(name): str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in item.items()
        if value is not None
    }


def _json_list(text: str | None, name: str) -> list[Any]:
    if not text:
        return []
    try:
        found = json.loads(text)
    except ValueError:
        found = [word.strip().strip('"') for word in text.strip("[]").split(",")]
    if not isinstance(found, list):
        raise AsterError(-1130, f"Data sent for parameter '{name}' is not valid.")
    return found
