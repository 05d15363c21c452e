"""What the Aster exchange tells of its markets. Pure.

Source: its V1 document and a captured exchangeInfo.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from core.model import ZERO
from exchanges.simulator.books import Top
from exchanges.simulator.depth import View
from exchanges.simulator.limits import Listing
from exchanges.simulator.past import Bar
from exchanges.simulator.records import Trade
from exchanges.simulator.tape import Candle
from exchanges.simulator.text import plain, rounded

FUNDING_INTERVAL_MS = 8 * 3_600_000
FUNDING_RATE = Decimal("0.0001")
DAY_MS = 86_400_000
RATE_LIMITS = [
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400},
    {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300},
]
STATUSES = {
    "open": "TRADING",
    "post_only": "PENDING_TRADING",
    "cancel_only": "PRE_SETTLE",
    "closed": "SETTLING",
}


def exchange_info(listings: Mapping[str, Listing], now_ms: int) -> dict[str, Any]:
    quote = next(iter(listings.values())).instrument.quote_asset
    return {
        "timezone": "UTC",
        "serverTime": now_ms,
        "futuresType": "U_MARGINED",
        "rateLimits": RATE_LIMITS,
        "exchangeFilters": [],
        "assets": [{"asset": quote, "marginAvailable": True, "autoAssetExchange": "-10000"}],
        "symbols": [_symbol(listing) for listing in listings.values()],
    }


def _symbol(listing: Listing) -> dict[str, Any]:
    instrument, band = listing.instrument, listing.band
    lots = {
        "stepSize": plain(instrument.lot_size),
        "minQty": plain(instrument.min_quantity),
        "maxQty": plain(instrument.max_quantity or ZERO),
    }
    return {
        "symbol": listing.symbol,
        "pair": listing.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "onboardDate": 1627628400000,
        "status": STATUSES[listing.state],
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": instrument.base_asset,
        "quoteAsset": instrument.quote_asset,
        "marginAsset": instrument.quote_asset,
        "pricePrecision": 4,  # not the tick's: so it is for most symbols of the exchange
        "quantityPrecision": 3,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "symbolType": 0,
        "tradingMode": 0,
        "name": instrument.base_asset,
        "channel": "",
        "sequenceNo": 10,
        "twapMinNotional": "1000",
        "settlePlan": 0,
        "triggerProtect": "0.0200",
        "liquidationFee": "0.025000",
        "marketTakeBound": "0.02",
        "createTime": 1630045468108,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": plain(listing.min_price),
                "maxPrice": plain(listing.max_price),
                "tickSize": plain(instrument.tick_size) + "00",
            },
            {"filterType": "LOT_SIZE", **lots},
            {"filterType": "MARKET_LOT_SIZE", **lots},
            {"filterType": "MAX_NUM_ORDERS", "limit": instrument.max_open_orders or 0},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 10},
            {"filterType": "MIN_NOTIONAL", "notional": plain(instrument.min_notional)},
            {
                "filterType": "PERCENT_PRICE",
                "multiplierUp": f"{band.high:.4f}",
                "multiplierDown": f"{band.low:.4f}",
                "ltMultiplierUp": "0",
                "ltMultiplierDown": "0",
                "multiplierDecimal": "4",
            },
        ],
        "orderTypes": [
            "LIMIT",
            "MARKET",
            "STOP",
            "STOP_MARKET",
            "TAKE_PROFIT",
            "TAKE_PROFIT_MARKET",
            "TRAILING_STOP_MARKET",
        ],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "RPI", "HIDDEN"],
    }


def depth(seen: View, number: int, limit: int, now_ms: int) -> dict[str, Any]:
    """Best first on both sides."""
    return {
        "lastUpdateId": number,
        "E": now_ms,
        "T": now_ms,
        "bids": [[plain(p), plain(q)] for p, q in list(seen.bids.items())[:limit]],
        "asks": [[plain(p), plain(q)] for p, q in list(seen.asks.items())[:limit]],
    }


def trade(known: Trade) -> dict[str, Any]:
    return {
        "id": known.number,
        "price": plain(known.price),
        "qty": plain(known.quantity),
        "quoteQty": plain(known.price * known.quantity),
        "time": known.time_us // 1000,
        "isBuyerMaker": known.buyer_is_maker,
    }


def agg_trade(known: Trade) -> dict[str, Any]:
    return {
        "a": known.number,
        "p": plain(known.price),
        "q": plain(known.quantity),
        "f": known.number,
        "l": known.number,
        "T": known.time_us // 1000,
        "m": known.buyer_is_maker,
    }


def kline(candle: Candle) -> list[Any]:
    bar = candle.bar
    half, half_quote = plain(bar.volume / 2), plain(bar.quote_volume / 2)
    return [
        candle.start_ms,
        plain(bar.open),
        plain(bar.high),
        plain(bar.low),
        plain(bar.close),
        plain(bar.volume),
        candle.end_ms - 1,
        plain(bar.quote_volume),
        bar.trades,
        half,
        half_quote,
        "0",
    ]


def premium_index(symbol: str, price: Decimal, now_ms: int) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "markPrice": plain(price),
        "indexPrice": plain(price),
        "estimatedSettlePrice": plain(price),
        "lastFundingRate": plain(FUNDING_RATE),
        "nextFundingTime": next_funding_ms(now_ms),
        "interestRate": "0.0001",
        "time": now_ms,
    }


def next_funding_ms(now_ms: int) -> int:
    return (now_ms // FUNDING_INTERVAL_MS + 1) * FUNDING_INTERVAL_MS


def ticker_24h(symbol: str, day: Bar, now_ms: int) -> dict[str, Any]:
    change = day.close - day.open
    return {
        "symbol": symbol,
        "priceChange": plain(change),
        "priceChangePercent": rounded(change / day.open * 100, Decimal("0.001")),
        "weightedAvgPrice": rounded(day.quote_volume / day.volume if day.volume else day.close),
        "prevClosePrice": plain(day.open),
        "lastPrice": plain(day.close),
        "lastQty": "0.1",
        "openPrice": plain(day.open),
        "highPrice": plain(day.high),
        "lowPrice": plain(day.low),
        "volume": plain(day.volume),
        "quoteVolume": plain(day.quote_volume),
        "openTime": now_ms - DAY_MS,
        "closeTime": now_ms,
        "firstId": 28385,
        "lastId": 28385 + day.trades,
        "count": day.trades,
    }


def book_ticker(symbol: str, top: Top, now_ms: int) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "bidPrice": plain(top[0]),
        "bidQty": plain(top[1]),
        "askPrice": plain(top[2]),
        "askQty": plain(top[3]),
        "time": now_ms,
    }
