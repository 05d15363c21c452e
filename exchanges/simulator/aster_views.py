"""What the Aster exchange tells of the account. Pure. Source: its V1 document."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from core.model import ZERO
from exchanges.matching import Market
from exchanges.simulator.portfolio import maintenance, margin, position_margin, unrealized
from exchanges.simulator.records import LIQUIDATION, FundingEvent, SimFill, SimOrder
from exchanges.simulator.text import plain, rounded
from exchanges.simulator.venue import MAX_LEVERAGE, Venue

MAX_NOTIONAL = "20000000"


def order(known: SimOrder, *, is_ack: bool = False) -> dict[str, Any]:
    """As POST and DELETE print it; an ACK tells of nothing that came after the acceptance."""
    filled = ZERO if is_ack else known.filled
    quote = ZERO if is_ack else known.filled_quote
    average = rounded(quote / filled) if filled else "0.00000"
    trigger = known.trigger
    doc = {
        "orderId": known.number,
        "clientOrderId": client_id(known),
        "symbol": known.symbol,
        "status": "NEW" if is_ack else known.status.value,
        "side": known.side.value,
        "positionSide": "BOTH",
        "type": kind(known),
        "origType": known.extra.get("type", kind(known)),
        "timeInForce": known.extra.get("tif", "GTC"),
        "price": "0" if known.price is None else plain(known.price),
        "avgPrice": average,
        "origQty": plain(known.quantity),
        "executedQty": plain(filled),
        "cumQty": plain(filled),
        "cumQuote": plain(quote),
        "reduceOnly": known.reduce_only,
        "closePosition": trigger is not None and trigger.share is not None,
        "stopPrice": "0" if trigger is None else plain(trigger.price),
        "workingType": known.extra.get("working_type", "CONTRACT_PRICE"),
        "priceProtect": known.extra.get("price_protect", False),
        "updateTime": known.updated_us // 1000,
    }
    if trigger is not None and trigger.callback is not None:
        doc |= {
            "stopPrice": "0",
            "activatePrice": plain(trigger.price),
            "priceRate": plain(trigger.callback * 100),
        }
    return doc


def kind(known: SimOrder) -> str:
    """Its type: until its trigger was reached, that of the conditional order."""
    if known.trigger is not None and known.triggered_us is None:
        return str(known.extra["type"])
    return "LIMIT" if known.price is not None else "MARKET"


def order_found(known: SimOrder) -> dict[str, Any]:
    """As GET prints it."""
    doc = order(known)
    del doc["cumQty"]
    return {**doc, "time": known.created_us // 1000}


def client_id(known: SimOrder) -> str:
    """The client's own, or the one that the exchange made up."""
    if known.origin == LIQUIDATION:
        return f"autoclose-{known.number}"
    return known.client_id if known.client_id is not None else f"web_{known.number:x}"


def user_trade(known: SimFill) -> dict[str, Any]:
    fill = known.fill
    return {
        "id": known.number,
        "orderId": known.order.number,
        "symbol": fill.symbol,
        "side": fill.side.value,
        "positionSide": "BOTH",
        "price": plain(fill.price),
        "qty": plain(fill.quantity),
        "quoteQty": plain(fill.price * fill.quantity),
        "realizedPnl": rounded(known.realized),
        "commission": plain(fill.fee),
        "commissionAsset": fill.fee_asset,
        "buyer": fill.side.sign > 0,
        "maker": fill.is_maker,
        "time": known.time_us // 1000,
    }


def income_of_fill(known: SimFill) -> list[dict[str, Any]]:
    """The commission, and the realized PnL if there is any."""
    fill = known.fill
    rows = [("COMMISSION", -fill.fee)]
    if known.realized:
        rows.append(("REALIZED_PNL", known.realized))
    return [
        {
            "symbol": fill.symbol,
            "incomeType": kind,
            "income": plain(amount),
            "asset": fill.fee_asset,
            "info": kind,
            "time": known.time_us // 1000,
            "tranId": str(known.number),
            "tradeId": str(known.number),
        }
        for kind, amount in rows
    ]


def income_of_funding(event: FundingEvent, number: int, asset: str) -> dict[str, Any]:
    payment = event.payment
    return {
        "symbol": payment.symbol,
        "incomeType": "FUNDING_FEE",
        "income": plain(payment.amount),
        "asset": asset,
        "info": "FUNDING_FEE",
        "time": int(payment.time.timestamp() * 1000),
        "tranId": str(8_000_000_000 + number),
        "tradeId": "",
    }


def income_of_transfer(at_us: int, amount: Decimal, asset: str) -> dict[str, Any]:
    return {
        "symbol": "",
        "incomeType": "TRANSFER",
        "income": plain(amount),
        "asset": asset,
        "info": "TRANSFER",
        "time": at_us // 1000,
        "tranId": str(at_us),
        "tradeId": "",
    }


def position_risk(held: Market, margin_type: str, now_ms: int) -> dict[str, Any]:
    account = held.account
    return {
        "symbol": held.rules.instrument.symbol,
        "positionAmt": plain(account.position),
        "entryPrice": rounded(account.entry_price),
        "markPrice": plain(held.last),
        "unRealizedProfit": plain(unrealized(held)),
        "liquidationPrice": plain(held.liquidation or ZERO),
        "leverage": plain(held.rules.leverage),
        "maxNotionalValue": MAX_NOTIONAL,
        "marginType": margin_type,
        "isolatedMargin": "0.00000000",
        "isAutoAddMargin": "false",
        "positionSide": "BOTH",
        "notional": plain(
            account.position * held.last
        ),  # undocumented; clients tell the side by it
        "updateTime": now_ms,
    }


def balance(venue: Venue) -> list[dict[str, Any]]:
    portfolio = venue.portfolio
    wallet, available = plain(portfolio.wallet), plain(portfolio.available)
    return [
        {
            "accountAlias": "SgsR",
            "asset": _quote(venue),
            "balance": wallet,
            "crossWalletBalance": wallet,
            "crossUnPnl": plain(portfolio.unrealized),
            "availableBalance": available,
            "maxWithdrawAmount": available,
            "marginAvailable": True,
            "updateTime": venue.now_us // 1000,
        }
    ]


def account(venue: Venue) -> dict[str, Any]:
    portfolio, now_ms = venue.portfolio, venue.now_us // 1000
    margins = rounded(portfolio.margin)
    positions = rounded(portfolio.position_margin)
    orders = rounded(portfolio.margin - portfolio.position_margin)
    wallet, equity = plain(portfolio.wallet), plain(portfolio.equity)
    available, gain = plain(portfolio.available), plain(portfolio.unrealized)
    maintained = rounded(portfolio.maintenance)
    return {
        "feeTier": 0,
        "canTrade": True,
        "canDeposit": True,
        "canWithdraw": True,
        "updateTime": 0,
        "totalInitialMargin": margins,
        "totalMaintMargin": maintained,
        "totalWalletBalance": wallet,
        "totalUnrealizedProfit": gain,
        "totalMarginBalance": equity,
        "totalPositionInitialMargin": positions,
        "totalOpenOrderInitialMargin": orders,
        "totalCrossWalletBalance": wallet,
        "totalCrossUnPnl": gain,
        "availableBalance": available,
        "maxWithdrawAmount": available,
        "assets": [
            {
                "asset": _quote(venue),
                "walletBalance": wallet,
                "unrealizedProfit": gain,
                "marginBalance": equity,
                "maintMargin": maintained,
                "initialMargin": margins,
                "positionInitialMargin": positions,
                "openOrderInitialMargin": orders,
                "crossWalletBalance": wallet,
                "crossUnPnl": gain,
                "availableBalance": available,
                "maxWithdrawAmount": available,
                "marginAvailable": True,
                "updateTime": now_ms,
            }
        ],
        "positions": [_position(held, now_ms) for held in venue.markets.values()],
    }


def _position(held: Market, now_ms: int) -> dict[str, Any]:
    at_work = position_margin(held)
    return {
        "symbol": held.rules.instrument.symbol,
        "initialMargin": rounded(margin(held)),
        "maintMargin": rounded(maintenance(held)),
        "unrealizedProfit": plain(unrealized(held)),
        "positionInitialMargin": rounded(at_work),
        "openOrderInitialMargin": rounded(margin(held) - at_work),
        "leverage": plain(held.rules.leverage),
        "isolated": False,
        "entryPrice": rounded(held.account.entry_price),
        "maxNotional": MAX_NOTIONAL,
        "positionSide": "BOTH",
        "positionAmt": plain(held.account.position),
        "notional": plain(held.account.position * held.last),
        "updateTime": now_ms,
    }


def leverage_bracket(symbol: str) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "brackets": [
            {
                "bracket": 1,
                "initialLeverage": MAX_LEVERAGE,
                "notionalCap": int(MAX_NOTIONAL),
                "notionalFloor": 0,
                "maintMarginRatio": 0.005,
                "cum": 0,
            }
        ],
    }


def _quote(venue: Venue) -> str:
    return next(iter(venue.listings.values())).instrument.quote_asset
