"""The control routes, `/_sim/...`: move the market, set faults, fund, and tell the truth."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from core.model import ZERO
from exchanges.simulator.faults import Faults
from exchanges.simulator.http import Reply, Request
from exchanges.simulator.limits import STATES
from exchanges.simulator.records import Refused, SimFill, SimOrder, TransferEvent
from exchanges.simulator.text import decimal_or_none, dumps, plain, utc
from exchanges.simulator.venue import Venue

_MOST = Decimal("1e12")
_EXACT = ("price", "rate", "amount")  # money, from its text


class BadControl(Exception):
    """A control request that cannot be carried out; nothing changed."""


class Control:
    """See the module docstring. Good requests are answered with 200, others with 400 and why."""

    def __init__(self, venue: Venue, faults: Faults, api_key: str) -> None:
        self._venue = venue
        self._faults = faults
        self._api_key = api_key
        self._routes: dict[tuple[str, str], Callable[[Mapping[str, Any]], Any]] = {
            ("POST", "/_sim/price"): self._price,
            ("POST", "/_sim/faults"): self._set_faults,
            ("GET", "/_sim/faults"): lambda _body: self._faults.in_force(),
            ("GET", "/_sim/ledger"): lambda _body: self._ledger(),
            ("POST", "/_sim/funding"): self._funding,
            ("POST", "/_sim/transfer"): self._transfer,
            ("POST", "/_sim/market"): self._market,
        }

    def handle(self, request: Request) -> Reply:
        route = self._routes.get((request.method, request.path.rstrip("/")))
        if route is None:
            known = any(path == request.path for _method, path in self._routes)
            return Reply(405 if known else 404, dumps({"error": f"no {request.path}"}))
        try:
            return Reply(200, dumps(route(_body(request) if request.method == "POST" else {})))
        except BadControl as error:
            return Reply(400, dumps({"error": str(error)}))
        except Refused:
            traded = ", ".join(self._venue.listings)
            return Reply(400, dumps({"error": f"symbol: not traded here, expected {traded}"}))

    # Routes -----------------------------------------------------------------------------------

    def _price(self, body: Mapping[str, Any]) -> Any:
        symbol = _symbol(body)
        price = _figure(body, "price")
        if price <= 0:
            raise BadControl(f"price: was {price}, expected a positive figure")
        before = len(self._venue.fills)
        self._venue.move(symbol, price)
        last = self._venue.market(symbol).last
        return {"symbol": symbol, "price": plain(last), "fills": len(self._venue.fills) - before}

    def _set_faults(self, body: Mapping[str, Any]) -> Any:
        wrong = self._faults.merge(body)
        if wrong:
            raise BadControl("; ".join(wrong))
        return self._faults.in_force()

    def _funding(self, body: Mapping[str, Any]) -> Any:
        symbol, rate = _symbol(body), _figure(body, "rate")
        if abs(rate) >= 1:
            raise BadControl(f"rate: was {rate}, expected a fraction between -1 and 1")
        event = self._venue.fund(symbol, rate)
        amount = "0" if event is None else plain(event.payment.amount)
        return {"symbol": symbol, "rate": plain(rate), "amount": amount}

    def _transfer(self, body: Mapping[str, Any]) -> Any:
        portfolio, amount = self._venue.portfolio, _figure(body, "amount")
        if amount == 0 or portfolio.available + amount < 0:
            raise BadControl(f"amount: was {amount}, expected what can be moved, not 0")
        portfolio.transfers.append((self._venue.now_us, amount))
        self._venue.tell(TransferEvent(amount))
        return {"amount": plain(amount), "balance": plain(portfolio.wallet)}

    def _market(self, body: Mapping[str, Any]) -> Any:
        symbol, state = _symbol(body), body.get("state")
        self._venue.market(symbol)
        if state not in STATES:
            raise BadControl(f"state: was {state!r}, expected one of {', '.join(STATES)}")
        self._venue.listings[symbol] = replace(self._venue.listings[symbol], state=state)
        return {"symbol": symbol, "state": state}

    def _ledger(self) -> Any:
        venue = self._venue
        portfolio = venue.portfolio
        quote = next(iter(venue.listings.values())).instrument.quote_asset
        account = {
            "orders": [_order(order) for order in venue.orders.values()],
            "fills": [fill_doc(known) for known in venue.fills],
            "positions": [
                {
                    "symbol": symbol,
                    "quantity": plain(market.account.position),
                    "entry_price": None
                    if market.account.entry_price is None
                    else plain(market.account.entry_price),
                    "unrealized": plain(
                        market.account.position * market.last - market.account.cost
                    ),
                    "leverage": plain(market.rules.leverage),
                }
                for symbol, market in venue.markets.items()
            ],
            "balances": [
                {
                    "asset": quote,
                    "initial": plain(portfolio.initial),
                    "balance": plain(portfolio.wallet),
                    "equity": plain(portfolio.equity),
                    "available": plain(portfolio.available),
                }
            ],
            "funding": [
                {
                    "symbol": event.payment.symbol,
                    "time": event.payment.time.isoformat(timespec="milliseconds"),
                    "rate": plain(event.payment.rate or ZERO),
                    "mark_price": plain(event.payment.mark_price or ZERO),
                    "position": plain(event.payment.position or ZERO),
                    "amount": plain(event.payment.amount),
                }
                for event in venue.funding
            ],
        }
        prices = {symbol: plain(market.last) for symbol, market in venue.markets.items()}
        return {"accounts": {self._api_key: account}, "prices": prices}


def fill_doc(known: SimFill) -> dict[str, Any]:
    """A fill as `/api/fills` writes it (CONTRACT 7)."""
    fill = known.fill
    return {
        "trade_id": fill.trade_id,
        "order_id": fill.venue_order_id,
        "client_order_id": fill.client_order_id,
        "symbol": fill.symbol,
        "side": fill.side.value,
        "price": plain(fill.price),
        "quantity": plain(fill.quantity),
        "fee": plain(fill.fee),
        "fee_asset": fill.fee_asset,
        "is_maker": fill.is_maker,
        "time": utc(known.time_us).isoformat(timespec="milliseconds"),
    }


def _order(order: SimOrder) -> dict[str, Any]:
    return {
        "order_id": str(order.number),
        "client_order_id": order.client_id or "",
        "symbol": order.symbol,
        "side": order.side.value,
        "type": "MARKET" if order.price is None else "LIMIT",
        "price": plain(order.average or ZERO) if order.price is None else plain(order.price),
        "quantity": plain(order.quantity),
        "filled": plain(order.filled),
        "status": order.status.value,
        "post_only": order.post_only,
        "reduce_only": order.reduce_only,
        "time": utc(order.created_us).isoformat(timespec="milliseconds"),
    }


def _body(request: Request) -> Mapping[str, Any]:
    try:
        body = json.loads(request.body or b"{}", parse_float=_Text)
    except ValueError:
        raise BadControl("body: was no JSON, expected a JSON object") from None
    if not isinstance(body, dict):
        raise BadControl("body: expected a JSON object")
    return {
        name: float(value) if isinstance(value, _Text) and name not in _EXACT else value
        for name, value in body.items()
    }


class _Text(str):
    """A JSON number with a point, as its text."""


def _symbol(body: Mapping[str, Any]) -> str:
    symbol = body.get("symbol")
    if not isinstance(symbol, str):
        raise BadControl(f"symbol: was {symbol!r}, expected a text")
    return symbol


def _figure(body: Mapping[str, Any], name: str) -> Decimal:
    value = body.get(name)
    is_number = isinstance(value, str | int) and not isinstance(value, bool)
    figure = decimal_or_none(str(value)) if is_number else None
    if figure is None or abs(figure) > _MOST:
        raise BadControl(f"{name}: was {value!r}, expected a figure")
    return figure
