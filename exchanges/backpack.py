"""The Backpack client: `ExchangeClient` over its REST interface, for one symbol of one account.

What is particular here: positions are one-way by nature; leverage is one limit of the whole
account; cancels have no batch, so they go a few at a time; an order that rests is asked for by
`GET order`, one that has ended is searched in the history, where its own id finds it at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from core.errors import (
    ConfigError,
    ExchangeError,
    OutcomeUnknown,
    Rejected,
    RejectReason,
    Unavailable,
)
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
from exchanges import backpack_replies as replies
from exchanges import backpack_wire as wire
from exchanges.budget import Budget
from exchanges.paging import HISTORY_REQUESTS, has_passed, read_pages
from exchanges.rest_client import RestClient, Terms, unknown_symbol
from exchanges.transport import RestSession, Venue
from exchanges.wire import Fields, from_ms, load_json, objects, plain, to_decimal

_UNKNOWN_SYMBOL = ("INVALID_SYMBOL", "INVALID_MARKET", "RESOURCE_NOT_FOUND", "Invalid market")


def backpack_venue(base_url: str | None, keys: wire.BackpackKeys | None) -> Venue:
    """Describe Backpack to the transport."""
    return Venue(
        name="backpack",
        base_url=base_url or wire.BASE_URL,
        build=lambda call, now_us: wire.build(call, keys, now_us // 1000),
        read_error=wire.read_error,
        time_call=wire.public("/api/v1/time"),
        read_time=lambda text: int(to_decimal(text.strip(), "time")),
    )


def open_session(budget: Budget, base_url: str | None, keys: wire.BackpackKeys) -> RestSession:
    return RestSession(backpack_venue(base_url, keys), budget)


class BackpackClient(RestClient):
    """One symbol of one Backpack (sub-)account."""

    name = "backpack"
    batch_size = wire.MAX_BATCH
    end_reasons = replies.END_REASONS

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

    # Market -------------------------------------------------------------------------------------

    def fetch_instrument(self, symbol: str) -> Instrument:
        """Fetch limits and fees, and see to it that the account is as the config wants it.

        Of a book that takes no orders now nothing is set: it is asked for again when it opens.
        Errors: UnknownSymbol; ConfigError for a setting that has to be changed by hand; Unavailable
        while the account is being liquidated.
        """
        market = self._market(symbol)
        account = self._account()
        if not replies.is_perpetual(market):
            raise unknown_symbol("Backpack", symbol)
        if replies.takes_exits(market):
            self._settle_account(account)
        instrument = replies.read_instrument(market, account)
        if symbol == self.symbol:
            self._quote_asset = instrument.quote_asset
        return instrument

    def account_words(self) -> tuple[str, ...]:
        """Say how the account stands, for a reader. Errors: ExchangeError."""
        account = self._account()
        return (
            f"leverage limit {account.text('leverageLimit')} for the whole account",
            "one-way positions",
        )

    def _market_report(self, symbol: str) -> MarketReport:
        """Say whether the exchange is up and the book takes orders. Errors as above."""
        status = load_json(self.session.send(wire.public("/api/v1/status")), "status")
        return replies.read_market_state(Fields("status", status), self._market(symbol))

    def _market(self, symbol: str) -> Fields:
        try:
            text = self.session.send(wire.public("/api/v1/market", {"symbol": symbol}))
        except Rejected as error:
            if any(word in str(error) for word in _UNKNOWN_SYMBOL):
                raise unknown_symbol("Backpack", symbol, ", such as SOL_USDC_PERP") from None
            raise
        return Fields("market", load_json(text, "market"))

    def _account(self) -> Fields:
        text = self.session.send(wire.query("/api/v1/account", "accountQuery"))
        return Fields("account", load_json(text, "account"))

    def _settle_account(self, account: Fields) -> None:
        if account.flag("liquidating"):
            raise Unavailable("the account is being liquidated", 30.0)
        wanted, limit = self.terms.leverage, account.decimal("leverageLimit")
        if wanted is None or wanted <= limit:
            return
        if self.terms.may_change and self.terms.allow_account_changes:
            self.session.send(wire.set_leverage(plain(wanted)))
            return
        if not self.terms.allow_account_changes:
            raise ConfigError(
                f"strategy_config.leverage: was {plain(wanted)}, expected at most {plain(limit)}, "
                "the account's limit at Backpack: lower it here, raise the account's there, or "
                "set allow_account_changes (it changes every symbol of the account)"
            )

    def fetch_quote(self, symbol: str) -> Quote:
        depth = self.session.send(wire.public("/api/v1/depth", {"symbol": symbol, "limit": "5"}))
        top = replies.read_depth(symbol, Fields("depth", load_json(depth, "depth")))
        marks = self.session.send(wire.public("/api/v1/markPrices", {"symbol": symbol}))
        return Quote(
            symbol=symbol,
            bid=top.bid,
            ask=top.ask,
            last=(top.bid + top.ask) / 2,
            mark=replies.read_mark(symbol, load_json(marks, "mark prices")),
            time=top.time,
        )

    # Orders -------------------------------------------------------------------------------------

    def fetch_open_orders(self, symbol: str) -> tuple[Order, ...]:
        call = wire.query("/api/v1/orders", "orderQueryAll", {"symbol": symbol})
        rows = objects("orders", load_json(self.session.send(call), "orders"))
        return tuple(self.see(replies.read_order(row)) for row in rows)

    def _can_exist(self, client_order_id: str) -> bool:
        return client_order_id.isascii() and client_order_id.isdigit()  # it knows numbers only

    def _recent(self, symbol: str, now_ms: int) -> tuple[Sequence[Order], datetime]:
        rows = self._history(symbol, 0)
        if len(rows) < wire.PAGE:
            return rows, from_ms(0)
        times = [row.created_at for row in rows]
        return rows, times[-1] if times[0] >= times[-1] else from_ms(now_ms)

    def _past_orders(
        self, symbol: str, since_ms: int, now_ms: int
    ) -> tuple[Sequence[Order], datetime]:
        since, rows = from_ms(since_ms), []
        for page in range(HISTORY_REQUESTS):
            found = self._history(symbol, page * wire.PAGE)
            rows += found
            times = [row.created_at for row in found]
            if len(found) < wire.PAGE or has_passed(times, since):
                return rows, since
            if times[0] < times[-1]:
                return rows, from_ms(now_ms)  # not newest first: how far it reaches is not known
        return rows, rows[-1].created_at

    def _history(self, symbol: str, offset: int, venue_id: str | None = None) -> list[Order]:
        params = _page(symbol, offset, "Desc")
        if venue_id is not None:
            params["orderId"] = venue_id
        call = wire.query("/wapi/v1/history/orders", "orderHistoryQueryAll", params)
        rows = objects("order history", load_json(self.session.send(call), "order history"))
        return [replies.read_order(row) for row in rows]

    def _search(self, symbol: str, client_order_id: str) -> Order | None:
        """Search the history, newest first: at once by the exchange's id where it is known."""
        known = self._venue_ids.get(client_order_id)
        sent_ms = self._valid_until.get(client_order_id, self.floor_ms(None))
        oldest = from_ms(sent_ms) - timedelta(minutes=1)

        def is_enough(rows: Sequence[Order]) -> bool:
            return any(row.client_order_id == client_order_id for row in rows) or has_passed(
                [row.created_at for row in rows], oldest
            )

        rows = read_pages(lambda at: self._history(symbol, at, known), wire.PAGE, is_enough)
        return next((row for row in rows if row.client_order_id == client_order_id), None)

    def _filled_since(self, symbol: str, since_ms: int) -> frozenset[str]:
        return frozenset(fill.client_order_id for fill in self._fills(symbol, since_ms))

    # Account ------------------------------------------------------------------------------------

    def fetch_fills(self, symbol: str, since: datetime | None) -> tuple[Fill, ...]:
        return self._fills(symbol, self.floor_ms(since))

    def _fills(self, symbol: str, since_ms: int) -> tuple[Fill, ...]:
        def fetch(offset: int) -> list[Fill]:
            params = _page(symbol, offset, "Asc") | {"from": since_ms}
            call = wire.query("/wapi/v1/history/fills", "fillHistoryQueryAll", params)
            rows = objects("fills", load_json(self.session.send(call), "fills"))
            return [self._named(replies.read_fill(row)) for row in rows]

        rows = read_pages(fetch, wire.PAGE)
        unique = {(fill.venue_order_id, fill.trade_id): fill for fill in rows}
        return tuple(sorted(unique.values(), key=lambda fill: fill.time))

    def _named(self, fill: Fill) -> Fill:
        """Give a fill without a client id the one of its order, where that was seen."""
        name = self.name_of(fill.venue_order_id)
        if name is None or not fill.client_order_id.startswith("venue:"):
            return fill
        return replace(fill, client_order_id=name)

    def fetch_funding(self, symbol: str, since: datetime | None) -> tuple[FundingPayment, ...]:
        floor = from_ms(self.floor_ms(since))

        def fetch(offset: int) -> list[FundingPayment]:
            params = _page(symbol, offset, "Desc")
            call = wire.query("/wapi/v1/history/funding", "fundingHistoryQueryAll", params)
            rows = objects("funding", load_json(self.session.send(call), "funding"))
            return [replies.read_funding(row) for row in rows]

        rows = read_pages(fetch, wire.PAGE, lambda page: has_passed([r.time for r in page], floor))
        unique = {row.time: row for row in rows if row.symbol == symbol and row.time >= floor}
        return tuple(unique[time] for time in sorted(unique))

    def fetch_position(self, symbol: str) -> Position:
        call = wire.query("/api/v1/position", "positionQuery", {"symbol": symbol})
        try:
            text = self.session.send(call)
        except Rejected as error:
            if error.reason is not RejectReason.NOT_FOUND:
                raise
            text = "[]"  # documented: 404 when flat
        return replies.read_position(symbol, load_json(text, "positions"))

    def fetch_balance(self) -> Balance:
        if self._quote_asset is None:
            self._quote_asset = self._market(self.symbol).text("quoteSymbol")
        call = wire.query("/api/v1/capital/collateral", "collateralQuery")
        fields = Fields("collateral", load_json(self.session.send(call), "collateral"))
        return replies.read_balance(self._quote_asset, fields)

    def fetch_used_margin(self) -> Mapping[str, Decimal]:
        """As the port says; of orders on a symbol without a position it is our own estimate."""
        positions = self.session.send(wire.query("/api/v1/position", "positionQuery"))
        orders = self.session.send(wire.query("/api/v1/orders", "orderQueryAll"))
        return replies.read_used_margin(
            load_json(positions, "positions"),
            load_json(orders, "orders"),
            self._account().decimal("leverageLimit"),
        )

    # Writing ------------------------------------------------------------------------------------

    def _check_request(self, request: OrderRequest) -> None:
        wire.order_params(request)

    def _send_batch(self, batch: Sequence[OrderRequest]) -> Sequence[Order | ExchangeError]:
        if len(batch) == 1:
            text = self.session.send(wire.place_one(batch[0]))
            return [replies.read_order(Fields("order", load_json(text, "order")))]
        text = self.session.send(wire.place_many(batch))
        outcomes: list[Order | ExchangeError] = []
        for item in replies.read_batch(text, len(batch), "orders"):
            if item.optional_text("operation", "Ok") == "Ok" and item.has("id"):
                outcomes.append(replies.read_order(item))
            else:
                outcomes.append(
                    wire.error_of(item.optional_text("code"), item.optional_text("message"))
                )
        return outcomes

    def cancel_orders(self, orders: Sequence[Order]) -> tuple[Order | ExchangeError, ...]:
        self._sweep = None
        results = self.session.send_many([wire.cancel_one(order) for order in orders])
        outcomes = []
        for order, result in zip(orders, results, strict=True):
            outcome: Order | ExchangeError
            if isinstance(result, ExchangeError):
                outcome = result
            elif not result.strip():  # 202: accepted, not executed yet
                outcome = OutcomeUnknown("the cancel was accepted, not carried out yet")
            else:
                try:
                    outcome = replies.read_order(Fields("order", load_json(result, "order")))
                except ExchangeError as error:
                    outcome = error
            outcomes.append(self.cancelled(order, outcome))
        return tuple(outcomes)


def _page(symbol: str, offset: int, direction: str) -> dict[str, object]:
    return {"symbol": symbol, "limit": wire.PAGE, "offset": offset, "sortDirection": direction}
