"""What the Backpack exchange tells of its markets. Pure. Source: its OpenAPI document."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from exchanges.simulator.depth import View
from exchanges.simulator.limits import Listing
from exchanges.simulator.past import Bar
from exchanges.simulator.records import Trade
from exchanges.simulator.tape import Candle
from exchanges.simulator.text import plain, rounded, utc

FUNDING_INTERVAL_MS = 3_600_000
FUNDING_RATE = Decimal("0.0000125")  # an hour's, as captures show it
MMF_BASE = Decimal("0.005")  # the engine's maintenance rate
BOOK_STATES = {
    "open": "Open",
    "post_only": "PostOnly",
    "cancel_only": "CancelOnly",
    "closed": "Closed",
}


def market(listing: Listing) -> dict[str, Any]:
    instrument = listing.instrument
    return {
        "symbol": listing.symbol,
        "baseSymbol": instrument.base_asset,
        "quoteSymbol": instrument.quote_asset,
        "marketType": "PERP",
        "filters": {
            "price": {
                "minPrice": plain(listing.min_price),
                "maxPrice": plain(listing.max_price),
                "tickSize": plain(instrument.tick_size),
                "minMultiplier": plain(listing.band.low),
                "maxMultiplier": plain(listing.band.high),
                "maxImpactMultiplier": None,
                "minImpactMultiplier": None,
                "meanMarkPriceBand": None,
                "meanPremiumBand": None,
                "borrowEntryFeeMaxMultiplier": None,
                "borrowEntryFeeMinMultiplier": None,
            },
            "quantity": {
                "minQuantity": plain(instrument.min_quantity),
                "maxQuantity": None
                if instrument.max_quantity is None
                else plain(instrument.max_quantity),
                "stepSize": plain(instrument.lot_size),
            },
        },
        "imfFunction": sqrt("0.02"),
        "mmfFunction": sqrt(plain(MMF_BASE)),
        "fundingInterval": FUNDING_INTERVAL_MS,
        "fundingRateUpperBound": "100",
        "fundingRateLowerBound": "-100",
        "openInterestLimit": "4000000",
        "orderBookState": BOOK_STATES[listing.state],
        "createdAt": "2025-01-21T06:34:54.691858",
        "visible": True,
        "positionLimitWeight": None,
    }


def assets(listings: list[Listing]) -> list[dict[str, Any]]:
    names: dict[str, None] = {}
    for listing in listings:
        names[listing.instrument.quote_asset] = None
        names[listing.instrument.base_asset] = None
    return [
        {
            "symbol": name,
            "displayName": name,
            "coingeckoId": None,
            "tokens": [
                {
                    "displayName": name,
                    "blockchain": "Solana",
                    "contractAddress": None,
                    "depositEnabled": True,
                    "minimumDeposit": "1",
                    "withdrawEnabled": True,
                    "minimumWithdrawal": "1",
                    "maximumWithdrawal": None,
                    "withdrawalFee": "1",
                }
            ],
        }
        for name in names
    ]


def collateral_parameters(quote: str) -> list[dict[str, Any]]:
    return [
        {
            "symbol": quote,
            "imfFunction": sqrt("0.02"),
            "mmfFunction": sqrt(plain(MMF_BASE)),
            "haircutFunction": {"weight": "1", "kind": {"type": "identity"}},
        }
    ]


def ticker(symbol: str, day: Bar) -> dict[str, Any]:
    change = day.close - day.open
    return {
        "symbol": symbol,
        "firstPrice": plain(day.open),
        "lastPrice": plain(day.close),
        "priceChange": plain(change),
        "priceChangePercent": rounded(change / day.open, Decimal("1e-6")),
        "high": plain(day.high),
        "low": plain(day.low),
        "volume": plain(day.volume),
        "quoteVolume": plain(day.quote_volume),
        "trades": str(day.trades),
    }


def depth(seen: View, number: int, limit: int, now_us: int) -> dict[str, Any]:
    """Both sides ascending by price: the best bid is the last."""
    return {
        "asks": [[plain(p), plain(q)] for p, q in list(seen.asks.items())[:limit]],
        "bids": [[plain(p), plain(q)] for p, q in reversed(list(seen.bids.items())[:limit])],
        "lastUpdateId": str(number),
        "timestamp": now_us,
    }


def kline(candle: Candle) -> dict[str, Any]:
    bar = candle.bar
    return {
        "start": f"{utc(candle.start_ms * 1000):%Y-%m-%d %H:%M:%S}",
        "end": f"{utc(candle.end_ms * 1000):%Y-%m-%d %H:%M:%S}",
        "open": plain(bar.open),
        "high": plain(bar.high),
        "low": plain(bar.low),
        "close": plain(bar.close),
        "volume": plain(bar.volume),
        "quoteVolume": plain(bar.quote_volume),
        "trades": str(bar.trades),
    }


def mark_price(symbol: str, price: Decimal, now_us: int) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "markPrice": plain(price),
        "indexPrice": plain(price),
        "fundingRate": plain(FUNDING_RATE),
        "nextFundingTimestamp": next_funding_ms(now_us),
    }


def next_funding_ms(now_us: int) -> int:
    return (now_us // 1000 // FUNDING_INTERVAL_MS + 1) * FUNDING_INTERVAL_MS


def funding_rate(symbol: str, end_ms: int) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "intervalEndTimestamp": utc(end_ms * 1000).replace(tzinfo=None).isoformat(),
        "fundingRate": plain(FUNDING_RATE),
    }


def trade(known: Trade) -> dict[str, Any]:
    return {
        "id": known.number,
        "price": plain(known.price),
        "quantity": plain(known.quantity),
        "quoteQuantity": plain(known.price * known.quantity),
        "timestamp": known.time_us // 1000,
        "isBuyerMaker": known.buyer_is_maker,
    }


def sqrt(base: str) -> dict[str, str]:
    return {"type": "sqrt", "base": base, "factor": "0.00006"}
