"""The Aster client: `ExchangeClient` over its REST interface, for one symbol of one account.

What is particular here: position mode and multi-asset mode belong to the whole account, leverage
and margin type to the symbol; trades carry no client id and are joined by their order; history
is asked for in spans below seven days; batches take 5 orders and 10 cancels.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from core.errors import ExchangeError, Rejected, RejectReason
from core.market_state import MarketReport
from core.model import (
    Balance,
    Fill,
    FundingPayment,
    Instrument,
    Order,
    OrderRequest,
    Position,
    Quote,
)
from exchanges import aster_replies as replies
from exchanges import aster_wire as wire
from exchanges.aster_fees import CommissionSigns
from exchanges.aster_settings import AccountSettings
from exchanges.budget import Budget
from exchanges.paging import read_back, read_window
from exchanges.rest_client import RestClient, Terms, is_stop, unknown_symbol
from exchanges.transport import RestSession, Venue
from exchanges.wire import Call, Fields, WireError, batches, from_ms, load_json, objects

RECENT_MS = 3_600_000
FUNDING_SLACK_MS = 3_600_000
"""A payment's stamp may lie a little after its rate's: the rates are asked for from before."""


def aster_venue(base_url: str | None, keys: wire.AsterKeys | None) -> Venue:
    """Describe Aster to the transport."""
    return Venue(
        name="aster",
        base_url=base_url or wire.BASE_URL,
        build=lambda call, now_us: wire.build(call, keys, now_us),
        read_error=wire.read_error,
        time_call=wire.public("/fapi/v1/time"),
        read_time=lambda text: Fields("time", load_json(text, "time")).integer("serverTime"),
        weight_header=("X-MBX-USED-WEIGHT-1M", "weight", wire.LIMITS[0].count),
    )


def open_session(budget: Budget, base_url: str | None, keys: wire.AsterKeys) -> RestSession:
    return RestSession(aster_venue(base_url, keys), budget)


class AsterClient(RestClient):
    """One symbol of one Aster account."""

    name = "aster"
    batch_size = wire.MAX_BATCH

    def __init__(
        self,
        session: RestSession,
        *,
        symbol: str,
        terms: Terms,
        history_from: datetime | None = None,
    ) -> None:
        super().__init__(session, symbol=symbol, terms=terms, history_from=history_from)
        self._quote_asset: str | None = None
        self._settings = AccountSettings(session, terms)
        self._signs = CommissionSigns()  # of trades
        self.stream_signs = CommissionSigns()

    def _ask(self, call: Call, what: str) -> Any:
        return load_json(self.session.send(call), what)

    # Market -------------------------------------------------------------------------------------

    def fetch_instrument(self, symbol: str) -> Instrument:
        """Fetch limits and fees, and see to it that the account is as the config wants it.

        Of a symbol that takes no orders now nothing is set: it is asked for again when it opens.
        Errors: UnknownSymbol; ConfigError for a setting that has to be changed by hand.
        """
        market = self._market(symbol)
        if not replies.is_perpetual(market):
            raise unknown_symbol("Aster", symbol)
        if replies.read_market_state(market).state.takes_exits:
            self._settings.settle(symbol)
        fees = self._fetch_fees(symbol)
        brackets = self._ask(
            wire.query("/fapi/v1/leverageBracket", {"symbol": symbol}, weight=1), "brackets"
        )
        instrument = replies.read_instrument(
            market, fees, replies.read_maintenance(brackets, symbol)
        )
        if symbol == self.symbol:
            self._quote_asset = instrument.quote_asset
        return instrument

    def learn_fees(self) -> None:
        """See to it that the account's rates are known. Errors: ExchangeError."""
        if not self._signs.knows_rates:
            self._fetch_fees(self.symbol)

    def _fetch_fees(self, symbol: str) -> Fields:
        call = wire.query("/fapi/v1/commissionRate", {"symbol": symbol}, weight=20)
        fees = Fields("commission", self._ask(call, "commission"))
        maker, taker = fees.decimal("makerCommissionRate"), fees.decimal("takerCommissionRate")
        for signs in (self._signs, self.stream_signs):
            signs.learn_rates(maker, taker)
        return fees

    def _market_report(self, symbol: str) -> MarketReport:
        """Say whether the symbol trades; its word stands in the list of all. Errors as above."""
        return replies.read_market_state(self._market(symbol))

    def _market(self, symbol: str) -> Fields:
        info = Fields("exchangeInfo", self._ask(wire.public("/fapi/v1/exchangeInfo"), "info"))
        market = replies.find_symbol(symbol, info)
        if market is None:
            names = [item.text("symbol") for item in info.objects("symbols")]
            close = difflib.get_close_matches(symbol.replace("_", ""), names, 3)
            raise unknown_symbol("Aster", symbol, f"; near it: {', '.join(close)}" if close else "")
        return market

    def account_words(self) -> tuple[str, ...]:
        return self._settings.words(self.symbol)

    def fetch_quote(self, symbol: str) -> Quote:
        book = self._ask(
            wire.public("/fapi/v1/ticker/bookTicker", {"symbol": symbol}), "book ticker"
        )
        top = replies.read_book_top(Fields("book ticker", book))
        premium = Fields(
            "premium index",
            self._ask(wire.public("/fapi/v1/premiumIndex", {"symbol": symbol}), "premium index"),
        )
        return Quote(
            symbol=symbol,
            bid=top.bid,
            ask=top.ask,
            last=(top.bid + top.ask) / 2,
            mark=premium.decimal("markPrice"),
            time=top.time,
        )

    # Orders -------------------------------------------------------------------------------------

    def fetch_open_orders(self, symbol: str) -> tuple[Order, ...]:
        rows = self._ask(wire.query("/fapi/v1/openOrders", {"symbol": symbol}, weight=1), "orders")
        return tuple(self.see(replies.read_order(row)) for row in objects("orders", rows))

    def _can_exist(self, client_order_id: str) -> bool:
        return bool(client_order_id)

    def _search(self, symbol: str, client_order_id: str) -> Order | None:
        """Ask for the order itself. One that ended without a fill is forgotten after 7 days."""
        return self._look_up(symbol, {"origClientOrderId": client_order_id})

    def _filled_since(self, symbol: str, since_ms: int) -> frozenset[str]:
        del symbol, since_ms  # trades name no client id: whoever has one is known by its order
        return frozenset()

    def _look_up(self, symbol: str, which: dict[str, object]) -> Order | None:
        call = wire.query("/fapi/v1/order", {"symbol": symbol, **which}, weight=1)
        try:
            row = self._ask(call, "order")
        except Rejected as error:
            if error.reason is RejectReason.NOT_FOUND:
                return None
            raise
        return self.see(replies.read_order(Fields("order", row)))

    def _recent(self, symbol: str, now_ms: int) -> tuple[Sequence[Order], datetime]:
        start = now_ms - RECENT_MS
        orders = self._all_orders({"symbol": symbol, "startTime": start})
        return orders, from_ms(start if len(orders) < wire.PAGE else now_ms)

    def _past_orders(
        self, symbol: str, since_ms: int, now_ms: int
    ) -> tuple[Sequence[Order], datetime]:
        """Go back in spans; what ended without a fill is forgotten after a week."""

        def fetch(start: int, end: int) -> Sequence[Order]:
            return self._all_orders({"symbol": symbol, "startTime": start, "endTime": end})

        oldest = max(since_ms, now_ms - wire.HISTORY_WINDOW_MS)
        rows, whole_from_ms = read_back(fetch, oldest, now_ms, wire.PAGE)
        return rows, from_ms(whole_from_ms)

    def _all_orders(self, which: dict[str, object]) -> list[Order]:
        params = {**which, "limit": wire.PAGE}
        rows = self._ask(wire.query("/fapi/v1/allOrders", params, weight=5), "all orders")
        return [replies.read_order(row) for row in objects("all orders", rows)]

    # Account ------------------------------------------------------------------------------------

    def fetch_fills(self, symbol: str, since: datetime | None) -> tuple[Fill, ...]:
        now = self.session.now_ms()

        def fetch(start: int, end: int) -> list[Fields]:
            params = {"symbol": symbol, "startTime": start, "endTime": end, "limit": wire.PAGE}
            rows = self._ask(wire.query("/fapi/v1/userTrades", params, weight=5), "trades")
            return list(objects("trades", rows))

        rows = self._spans(fetch, self._oldest(since, now), now)
        unique = {row.text("id"): row for row in rows}
        self._learn_names(symbol, {row.text("orderId") for row in unique.values()})
        if unique:
            self.learn_fees()
        self._signs.learn((r.decimal("commission"), r.flag("maker")) for r in unique.values())
        fills = [
            replies.read_fill(
                row,
                self.name_of(row.text("orderId")) or f"venue:{row.text('orderId')}",
                self._signs.fee,
            )
            for row in unique.values()
        ]
        return tuple(sorted(fills, key=lambda fill: (fill.time, int(fill.trade_id))))

    def _oldest(self, since: datetime | None, now: int) -> int:
        """Give where to begin; without any word on it a year back, further than any history."""
        return self.floor_ms(since) or now - 365 * 24 * 3_600_000

    def _spans(
        self, fetch: Callable[[int, int], list[Fields]], start: int, now: int
    ) -> list[Fields]:
        """Read a span of any length in pieces that the exchange answers."""
        rows: list[Fields] = []
        end = now + 60_000  # what is stamped a moment ahead belongs to it
        while start <= end:
            last = min(end, start + wire.HISTORY_WINDOW_MS)
            rows += read_window(fetch, start, last, wire.PAGE)
            start = last + 1
        return rows

    def _learn_names(self, symbol: str, venue_ids: set[str]) -> None:
        """Learn the client ids of orders that trades name, a page at a time."""
        unknown = sorted(int(v) for v in venue_ids if self.name_of(v) is None)
        if len(unknown) > 3:
            for order in self._all_orders({"symbol": symbol, "orderId": unknown[0]}):
                self.see(order)
        for venue_id in unknown:
            if self.name_of(str(venue_id)) is None:
                self._look_up(symbol, {"orderId": venue_id})

    def fetch_funding(self, symbol: str, since: datetime | None) -> tuple[FundingPayment, ...]:
        now = self.session.now_ms()

        def fetch(start: int, end: int) -> list[Fields]:
            params = {
                "symbol": symbol,
                "incomeType": "FUNDING_FEE",
                "startTime": start,
                "endTime": end,
                "limit": wire.PAGE,
            }
            rows = self._ask(wire.query("/fapi/v1/income", params, weight=30), "income")
            return list(objects("income", rows))

        start = self._oldest(since, now)
        rows = [
            row
            for row in self._spans(fetch, start, now)
            if row.text("incomeType") == "FUNDING_FEE" and row.text("symbol") == symbol
        ]
        if not rows:
            return ()
        rates = self._rates(symbol, min(row.integer("time") for row in rows))
        unique = {
            row.integer("time"): replies.read_funding(
                row, replies.rate_at(rates, row.integer("time"))
            )
            for row in rows
        }
        return tuple(unique[stamp] for stamp in sorted(unique))

    def _rates(self, symbol: str, start_ms: int) -> list[tuple[int, Decimal]]:
        """Fetch the rates paid since a time; they are for display, so none is no error."""
        params = {"symbol": symbol, "startTime": start_ms - FUNDING_SLACK_MS, "limit": wire.PAGE}
        try:
            rows = self._ask(wire.public("/fapi/v1/fundingRate", params), "rates")
            return sorted(
                (row.integer("fundingTime"), row.decimal("fundingRate"))
                for row in objects("rates", rows)
            )
        except (Rejected, WireError):
            return []

    def fetch_position(self, symbol: str) -> Position:
        call = wire.query("/fapi/v2/positionRisk", {"symbol": symbol}, weight=5)
        return replies.read_position(symbol, self._ask(call, "positions"))

    def fetch_balance(self) -> Balance:
        if self._quote_asset is None:
            self._quote_asset = self._market(self.symbol).text("quoteAsset")
        rows = self._ask(wire.query("/fapi/v2/balance", weight=5), "balances")
        return replies.read_balance(self._quote_asset, rows)

    def fetch_used_margin(self) -> Mapping[str, Decimal]:
        account = self._ask(wire.query("/fapi/v4/account", weight=5), "account")
        return replies.read_used_margin(Fields("account", account))

    # Writing ------------------------------------------------------------------------------------

    def _check_request(self, request: OrderRequest) -> None:
        wire.order_params(request)

    def _send_batch(self, batch: Sequence[OrderRequest]) -> Sequence[Order | ExchangeError]:
        if len(batch) == 1:
            row = self._ask(wire.place_one(batch[0]), "order")
            return [replies.read_order(Fields("order", row))]
        return self._batch(wire.place_many(batch), len(batch))

    def _batch(self, call: Call, count: int) -> list[Order | ExchangeError]:
        items = list(objects("batch", self._ask(call, "batch")))
        if len(items) != count:
            raise WireError(f"batch: was {len(items)} results, expected {count}")
        return [
            wire.item_error(item) if replies.is_error(item) else replies.read_order(item)
            for item in items
        ]

    def cancel_orders(self, orders: Sequence[Order]) -> tuple[Order | ExchangeError, ...]:
        self._sweep = None
        outcomes: list[Order | ExchangeError] = []
        stopped: ExchangeError | None = None
        for batch in batches(orders, wire.MAX_CANCEL_BATCH):
            if stopped is None:
                results = self._cancel_batch(batch)
                stopped = next((o for o in results if is_stop(o)), None)
            else:
                results = [self.session.not_sent(stopped)] * len(batch)
            outcomes += [
                self.cancelled(order, result) for order, result in zip(batch, results, strict=True)
            ]
        return tuple(outcomes)

    def set_countdown(self, symbol: str, seconds: float) -> None:
        """Let all orders of the symbol end in so many seconds, 0 never. Errors: ExchangeError."""
        self.session.send(wire.countdown(symbol, seconds))

    def _cancel_batch(self, batch: Sequence[Order]) -> Sequence[Order | ExchangeError]:
        try:
            if len(batch) == 1:
                row = self._ask(wire.cancel_one(batch[0]), "cancel")
                return [replies.read_order(Fields("cancel", row))]
            return self._batch(wire.cancel_many(batch[0].symbol, batch), len(batch))
        except ExchangeError as error:
            return [error] * len(batch)
