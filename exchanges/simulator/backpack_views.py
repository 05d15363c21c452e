"""What the Backpack exchange tells of the account. Pure.

Source: the exchange's OpenAPI document; absent optionals are printed as null on REST, as captures
have them.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from core.model import ZERO, OrderStatus, Side
from exchanges.admission import exposure
from exchanges.matching import Market
from exchanges.simulator.backpack_market_views import MMF_BASE, sqrt
from exchanges.simulator.portfolio import margin, unrealized
from exchanges.simulator.records import LIQUIDATION, FundingEvent, SimFill, SimOrder
from exchanges.simulator.text import iso, plain, rounded
from exchanges.simulator.venue import Venue

USER_ID = 1_000_001

STATUS = {
    OrderStatus.NEW: "New",
    OrderStatus.PARTIALLY_FILLED: "PartiallyFilled",
    OrderStatus.FILLED: "Filled",
    OrderStatus.CANCELED: "Cancelled",
    OrderStatus.EXPIRED: "Expired",
}
SIDE = {Side.BUY: "Bid", Side.SELL: "Ask"}
_ABSENT = (
    "relatedOrderId",
    "stopLossLimitPrice",
    "stopLossTriggerBy",
    "stopLossTriggerPrice",
    "strategyId",
    "takeProfitLimitPrice",
    "takeProfitTriggerBy",
    "takeProfitTriggerPrice",
    "triggerBy",
    "triggerPrice",
    "triggerQuantity",
)


def order(known: SimOrder) -> dict[str, Any]:
    """An order as the order calls print it: `createdAt` in milliseconds."""
    doc = {**_order(known), "createdAt": known.created_us // 1000}
    doc["clientId"] = None if known.client_id is None else int(known.client_id)
    doc["reduceOnly"] = known.extra.get("reduce_only") if known.origin != LIQUIDATION else True
    doc["triggeredAt"] = None if known.triggered_us is None else known.triggered_us // 1000
    if known.price is None:
        doc["quoteQuantity"] = _figure(known.quote_quantity)
    return doc


def order_history(known: SimOrder) -> dict[str, Any]:
    """An order as the history prints it: `createdAt` is text."""
    doc = {**_order(known), "createdAt": iso(known.created_us)}
    doc["clientId"] = None if known.client_id is None else int(known.client_id)
    doc["quoteQuantity"] = _figure(known.quote_quantity)
    doc["expiryReason"] = known.reason or None if known.status is OrderStatus.EXPIRED else None
    doc["systemOrderType"] = "LiquidatePositionOnBook" if known.origin == LIQUIDATION else None
    return doc


def _order(known: SimOrder) -> dict[str, Any]:
    doc: dict[str, Any] = dict.fromkeys(_ABSENT)
    doc |= {
        "id": str(known.number),
        "orderType": "Market" if known.price is None else "Limit",
        "symbol": known.symbol,
        "side": SIDE[known.side],
        "status": status(known),
        "timeInForce": known.tif,
        "selfTradePrevention": known.extra.get("stp", "RejectTaker"),
        "quantity": plain(known.quantity),
        "executedQuantity": plain(known.filled),
        "executedQuoteQuantity": plain(known.filled_quote),
    }
    doc |= known.extra.get("exits", {})
    if known.related is not None:
        doc["relatedOrderId"] = str(known.related)
    if known.trigger is not None:
        doc["triggerPrice"] = plain(known.trigger.price)
        doc["triggerQuantity"] = known.extra.get("trigger_quantity")
        doc["triggerBy"] = known.extra.get("trigger_by")
    if known.price is not None:
        doc["price"] = plain(known.price)
        doc["postOnly"] = known.post_only
    return doc


def status(known: SimOrder) -> str:
    return "TriggerPending" if known.is_waiting else STATUS[known.status]


def fill(known: SimFill) -> dict[str, Any]:
    done = known.fill
    is_liquidation = known.order.origin == LIQUIDATION
    return {
        "tradeId": known.number,
        "orderId": done.venue_order_id,
        "clientId": known.order.client_id,
        "symbol": done.symbol,
        "side": SIDE[done.side],
        "price": plain(done.price),
        "quantity": plain(done.quantity),
        "fee": plain(done.fee),
        "feeSymbol": done.fee_asset,
        "isMaker": done.is_maker,
        "systemOrderType": "LiquidatePositionOnBook" if is_liquidation else None,
        "timestamp": iso(known.time_us),
    }


def funding(event: FundingEvent) -> dict[str, Any]:
    payment = event.payment
    return {
        "userId": USER_ID,
        "subaccountId": None,
        "symbol": payment.symbol,
        "quantity": plain(payment.amount),
        "intervalEndTimestamp": payment.time.replace(tzinfo=None).isoformat(),
        "fundingRate": plain(payment.rate or ZERO),  # the engine knows its rates
    }


def position(held: Market, number: int) -> dict[str, Any]:
    account, last = held.account, held.last
    quantity = account.position
    exposed = exposure(account, held.book, last)
    entry = account.entry_price or ZERO
    fees = account.fees * (1 if quantity >= 0 else -1)
    return {
        "symbol": held.rules.instrument.symbol,
        "positionId": str(number),
        "userId": USER_ID,
        "subaccountId": None,
        "netQuantity": plain(quantity),
        "netExposureQuantity": rounded(exposed / last),
        "netExposureNotional": plain(exposed),
        "netCost": plain(account.cost),
        "entryPrice": rounded(entry),
        "breakEvenPrice": rounded(entry + fees / abs(quantity) if quantity else ZERO),
        "markPrice": plain(last),
        "estLiquidationPrice": plain(held.liquidation or ZERO),
        "imf": rounded(1 / held.rules.leverage),
        "imfFunction": sqrt("0.02"),
        "mmf": plain(MMF_BASE),
        "mmfFunction": sqrt(plain(MMF_BASE)),
        "pnlRealized": plain(account.realized),
        "pnlUnrealized": plain(unrealized(held)),
        "cumulativeFundingPayment": plain(account.funding),
        "cumulativeInterest": "0",
    }


def position_history(held: Market, number: int) -> dict[str, Any]:
    row = position(held, number)
    kept = ("symbol", "netQuantity", "netExposureQuantity", "netExposureNotional", "netCost")
    return {
        **{name: row[name] for name in (*kept, "markPrice", "entryPrice", "imf")},
        "id": row["positionId"],
        "cumulativePnlRealized": row["pnlRealized"],
        "unrealizedPnl": row["pnlUnrealized"],
        "fundingQuantity": row["cumulativeFundingPayment"],
        "interest": "0",
        "liquidated": "0",
        "fees": plain(held.account.fees),
        "state": "Open" if held.account.position else "Closed",
        "closedVolume": "0",
        "liquidationFees": "0",
        "closingPrice": None,
        "accountLeverage": plain(held.rules.leverage),
        "openedAt": None,
        "closedAt": None,
    }


def account(venue: Venue, leverage: Decimal, settings: dict[str, bool]) -> dict[str, Any]:
    instrument = next(iter(venue.listings.values())).instrument
    return {
        "autoBorrowSettlements": settings["autoBorrowSettlements"],
        "autoLend": settings["autoLend"],
        "autoRealizePnl": False,
        "autoRepayBorrows": settings["autoRepayBorrows"],
        "borrowLimit": "0",
        "futuresMakerFee": plain(instrument.maker_fee * 10_000),
        "futuresTakerFee": plain(instrument.taker_fee * 10_000),
        "leverageLimit": plain(leverage),
        "limitOrders": sum(not order.is_waiting for order in venue.open_orders()),
        "liquidating": False,
        "positionLimit": "10000000",
        "spotMakerFee": "8",
        "spotTakerFee": "10",
        "triggerOrders": sum(order.is_waiting for order in venue.open_orders()),
    }


def capital(venue: Venue) -> dict[str, Any]:
    """Cash only: the PnL of positions is in `collateral`."""
    quote = next(iter(venue.listings.values())).instrument.quote_asset
    locked = min(venue.portfolio.margin, venue.portfolio.wallet)
    return {
        quote: {
            "available": plain(venue.portfolio.wallet - locked),
            "locked": plain(locked),
            "staked": "0",
        }
    }


def collateral(venue: Venue) -> dict[str, Any]:
    portfolio = venue.portfolio
    quote = next(iter(venue.listings.values())).instrument.quote_asset
    held = sum((margin(m) * m.rules.leverage for m in venue.markets.values()), ZERO)
    wallet = plain(portfolio.wallet)
    locked = portfolio.margin
    leverage = next(iter(venue.markets.values())).rules.leverage
    return {
        "assetsValue": wallet,
        "borrowLiability": "0",
        "collateral": [
            {
                "symbol": quote,
                "assetMarkPrice": "1",
                "totalQuantity": wallet,
                "balanceNotional": wallet,
                "collateralWeight": "1",
                "collateralValue": wallet,
                "openOrderQuantity": "0",
                "lendQuantity": "0",
                "availableQuantity": wallet,
            }
        ],
        "imf": rounded(1 / leverage),
        "liabilitiesValue": "0",
        "marginFraction": rounded(portfolio.equity / held) if held else None,
        "mmf": plain(MMF_BASE),
        "netEquity": plain(portfolio.equity),
        "netEquityAvailable": plain(portfolio.available),
        "netEquityLocked": plain(locked),
        "netExposureFutures": plain(held),
        "pnlUnrealized": plain(portfolio.unrealized),
        "unsettledEquity": "0",
    }


def _figure(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)
