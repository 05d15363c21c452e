"""Backpack's order routes, single and in batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from exchanges.simulator import backpack_views as views
from exchanges.simulator.backpack_auth import BackpackError, bad_request
from exchanges.simulator.backpack_call import NOT_FOUND, Call, Route, Routes, is_perp, object_of
from exchanges.simulator.backpack_orders import (
    MAX_BATCH,
    client_id,
    draft_of,
    order_id,
    refusal,
    symbol_of,
)
from exchanges.simulator.records import Refused, SimOrder, Why
from exchanges.simulator.venue import Venue


class TradingRoutes:
    """Places and cancels on the venue."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    def routes(self) -> Routes:
        signed: dict[tuple[str, str], tuple[str, Callable[[Call], Any]]] = {
            ("GET", "/api/v1/order"): ("orderQuery", self._get_order),
            ("POST", "/api/v1/order"): ("orderExecute", self._post_order),
            ("DELETE", "/api/v1/order"): ("orderCancel", self._delete_order),
            ("GET", "/api/v1/orders"): ("orderQueryAll", self._get_orders),
            ("POST", "/api/v1/orders"): ("orderExecute", self._post_orders),
            ("DELETE", "/api/v1/orders"): ("orderCancelAll", self._delete_orders),
        }
        return {key: Route(*value) for key, value in signed.items()}

    def _post_order(self, call: Call) -> Any:
        venue = self._venue
        draft = draft_of(
            object_of(call.body), venue.listings, lambda symbol: venue.markets[symbol].last
        )
        return views.order(venue.place(draft) if draft.trigger is None else venue.wait(draft))

    def _post_orders(self, call: Call) -> Any:
        if not isinstance(call.body, list) or not call.body:
            raise bad_request("parse request payload error: expected a list of orders")
        if len(call.body) > MAX_BATCH:
            raise bad_request(f"At most {MAX_BATCH} orders in a batch")
        results = []
        for item in call.body:
            try:
                results.append({"operation": "Ok", **self._post_order(Call({}, item))})
            except (BackpackError, Refused) as problem:
                error = problem if isinstance(problem, BackpackError) else refusal(problem)
                results.append({"operation": "Err", "code": error.code, "message": error.message})
        return results

    def _delete_order(self, call: Call) -> Any:
        order = self._named(object_of(call.body))
        if not order.is_open:
            raise Refused(Why.NOT_FOUND)
        return views.order(self._venue.cancel(order))

    def _delete_orders(self, call: Call) -> Any:
        body = object_of(call.body)
        symbol = symbol_of(body, self._venue.listings)
        kind = body.get("orderType")
        return [
            views.order(self._venue.cancel(order))
            for order in self._venue.open_orders(symbol)
            if kind is None or (kind == "ConditionalOrder") == order.is_waiting
        ]

    def _get_order(self, call: Call) -> Any:
        """Only while it rests."""
        try:
            order = self._named(call.query)
        except Refused as refused:
            raise (NOT_FOUND if refused.why is Why.NOT_FOUND else refusal(refused)) from None
        if not order.is_open:
            raise NOT_FOUND
        return views.order(order)

    def _get_orders(self, call: Call) -> Any:
        if not is_perp(call):
            return []
        symbol = symbol_of(call.query, self._venue.listings) if call.query.get("symbol") else None
        return [views.order(order) for order in self._venue.open_orders(symbol)]

    def _named(self, fields: Mapping[str, Any]) -> SimOrder:
        symbol = symbol_of(fields, self._venue.listings)
        number, client = order_id(fields), client_id(fields)
        if (number is None) == (client is None):
            raise bad_request("Must specify exactly one of `orderId` or `clientId`")
        return self._venue.find(symbol, number=number, client_id=client)
