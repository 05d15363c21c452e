"""Trades on the simulator with ccxt and ccxt.pro as they are, for both kinds of Aster keys.

`ccxt_aster.py SIM v3|hmac`: wallet signatures by the current ccxt, or the HMAC keys of the last
one that has them (which the caller puts first on PYTHONPATH). Only URLs and keys are set.
Prints one JSON object of what it saw; any failure is a traceback and a non-zero exit.
"""

import asyncio
import json
import sys
import urllib.request

import ccxt
import ccxt.pro

SIM = json.loads(sys.argv[1])
IS_V3 = sys.argv[2] == "v3"
SYMBOL = "SOL/USDT:USDT"
MARKET = "SOLUSDT"


def control(path, body=None):
    sent = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(SIM["base_url"] + path, sent, headers)
    return json.load(urllib.request.urlopen(request, timeout=20))


def options():
    at_once = {"enableRateLimit": False}  # else it waits a third of a second before each call
    if IS_V3:
        return {"privateKey": SIM["secret_key"], **at_once}
    return {"apiKey": SIM["api_key"], "secret": SIM["secret_key"], **at_once}


def aim(exchange):
    api = exchange.urls["api"]
    api["fapiPublic"] = api["fapiPrivate"] = SIM["base_url"] + "/fapi"
    api["sapiPublic"] = api["sapiPrivate"] = SIM["base_url"] + "/api"
    if "ws" in api:
        base = SIM["ws_url"] + "/fstream"
        api["ws"] = {
            "public": {"spot": base + "/stream", "swap": base + "/stream"},
            "private": {"spot": base + "/ws", "swap": base + "/ws"},
        }
    return exchange


def refused(kind, call):
    try:
        call()
    except kind as error:
        return str(error)
    raise AssertionError(f"was not refused with {kind.__name__}")


def rest():
    seen = {"ccxt": ccxt.__version__}
    exchange = aim(ccxt.aster(options()))
    market = exchange.load_markets()[SYMBOL]
    assert market["swap"], market
    assert (market["precision"]["price"], market["precision"]["amount"]) == (0.01, 0.001), market
    assert market["limits"]["cost"]["min"] == 5, market["limits"]
    assert abs(exchange.fetch_time() - exchange.milliseconds()) < 30_000
    assert exchange.fetch_ticker(SYMBOL)["last"] == 150
    book = exchange.fetch_order_book(SYMBOL, 5)
    assert book["bids"][0][0] == 149.99, book
    assert book["asks"][0][0] == 150.01, book
    now = exchange.milliseconds()
    candles = exchange.fetch_ohlcv(SYMBOL, "1m", now - 3_600_000, 30)
    assert len(candles) == 30
    assert len(exchange.fetch_ohlcv(SYMBOL, "1h", None, 10)) == 10
    exchange.fetch_trades(SYMBOL)
    assert exchange.fetch_funding_rate(SYMBOL)["fundingRate"] == 0.0001
    assert len(exchange.fetch_funding_rate_history(SYMBOL, limit=3)) == 3
    balance = exchange.fetch_balance({"type": "swap"})
    assert balance["USDT"]["total"] == 100_000, balance["USDT"]
    assert exchange.fetch_trading_fee(SYMBOL)["maker"] == 0.0002

    resting = exchange.create_order(SYMBOL, "limit", "buy", 1, 140)
    assert resting["status"] == "open", resting
    named = exchange.create_order(
        SYMBOL, "limit", "sell", 2, 160, {"postOnly": True, "clientOrderId": "grid-77"}
    )
    assert named["clientOrderId"] == "grid-77", named
    open_ids = {order["id"] for order in exchange.fetch_open_orders(SYMBOL)}
    assert open_ids == {resting["id"], named["id"]}
    assert exchange.fetch_order(named["id"], SYMBOL)["price"] == 160
    assert exchange.cancel_order(resting["id"], SYMBOL)["status"] == "canceled"
    seen["gone"] = refused(ccxt.BaseError, lambda: exchange.cancel_order(resting["id"], SYMBOL))
    crossing = exchange.create_order(SYMBOL, "limit", "buy", 1, 151, {"postOnly": True})
    crossed = exchange.fetch_order(crossing["id"], SYMBOL)
    assert (crossed["status"], crossed["filled"]) == ("canceled", 0), crossed
    exchange.set_leverage(5, SYMBOL)
    bought = exchange.create_order(SYMBOL, "market", "buy", 3)
    assert exchange.fetch_order(bought["id"], SYMBOL)["filled"] == 3
    ioc = exchange.create_order(SYMBOL, "limit", "buy", 1, 140, {"timeInForce": "IOC"})
    assert exchange.fetch_order(ioc["id"], SYMBOL)["status"] in ("canceled", "expired")
    position = exchange.fetch_positions([SYMBOL])[0]
    assert (position["side"], position["contracts"]) == ("long", 3), position
    assert position["leverage"] == 5, position
    exchange.create_order(SYMBOL, "market", "sell", 1, None, {"reduceOnly": True})
    seen["reduce_only"] = refused(
        ccxt.BaseError,
        lambda: exchange.create_order(SYMBOL, "market", "buy", 1, None, {"reduceOnly": True}),
    )
    seen["small"] = refused(
        ccxt.InvalidOrder, lambda: exchange.create_order(SYMBOL, "limit", "buy", 0.01, 140)
    )
    trades = exchange.fetch_my_trades(SYMBOL)
    assert [trade["amount"] for trade in trades] == [3, 1], trades
    assert trades[0]["fee"]["cost"] == 0.225, trades[0]
    if IS_V3:
        batch = exchange.create_orders(
            [
                {"symbol": SYMBOL, "type": "limit", "side": "buy", "amount": 1, "price": p}
                for p in (141, 142)
            ]
        )
    else:  # its create_orders never gets as far as a request
        batch = [exchange.create_order(SYMBOL, "limit", "buy", 1, p) for p in (141, 142)]
    assert len(batch) == 2, batch
    ended = exchange.cancel_orders([order["id"] for order in batch], SYMBOL)
    assert [order["status"] for order in ended] == ["canceled", "canceled"], ended
    assert len(exchange.fetch_orders(SYMBOL)) == 8
    control("/_sim/funding", {"symbol": MARKET, "rate": "0.001"})
    paid = exchange.fetch_funding_history(SYMBOL)
    assert paid[0]["amount"] == -0.3, paid
    refused(ccxt.NoChange, lambda: exchange.set_margin_mode("cross", SYMBOL))
    refused(ccxt.NoChange, lambda: exchange.set_position_mode(False))
    exchange.cancel_all_orders(SYMBOL)
    assert exchange.fetch_open_orders(SYMBOL) == []
    return seen


def figures():
    """The figures that ccxt makes of the answers, against the ledger of the simulator."""
    exchange = aim(ccxt.aster({**options(), "options": {"defaultType": "swap"}}))
    exchange.load_markets()
    for frame in ("1m", "1h", "1d"):
        assert len(exchange.fetch_ohlcv(SYMBOL, frame, None, 4)) == 4, frame
    marks = exchange.fetch_ohlcv(SYMBOL, "1h", None, 2, {"price": "mark"})
    assert marks[-1][4] == 150, marks
    assert exchange.fetch_leverage(SYMBOL)["longLeverage"] == 5
    assert exchange.fetch_margin_mode(SYMBOL)["marginMode"] == "cross"
    kinds = (  # type, side, price, params: status and amount filled, as fetched afterwards
        ("limit", "buy", 139, {"timeInForce": "HIDDEN"}, "open", 0),
        ("STOP_MARKET", "sell", None, {"stopPrice": 130}, "open", 0),
        ("TRAILING_STOP_MARKET", "sell", None, {"callbackRate": 5, "quantity": "1"}, "open", 0),
        ("limit", "sell", 149, {"timeInForce": "FOK", "newOrderRespType": "RESULT"}, "closed", 1),
    )
    for kind, side, price, params, status, filled in kinds:
        order = exchange.create_order(SYMBOL, kind, side, 1, price, params)
        assert (order["status"], order["filled"]) == (status, filled), order
        assert order["remaining"] == 1 - filled, order
    assert order["average"] == 150, order
    control("/_sim/price", {"symbol": MARKET, "price": "151"})
    truth = control("/_sim/ledger")["accounts"][SIM["api_key"]]
    held, cash = truth["positions"][0], truth["balances"][0]
    position = exchange.fetch_positions([SYMBOL])[0]
    assert (position["side"], position["contracts"]) == ("long", float(held["quantity"])), position
    assert position["unrealizedPnl"] == float(held["unrealized"]), (position, held)
    assert position["entryPrice"] == 150, position
    assert exchange.fetch_balance()["USDT"]["total"] == float(cash["balance"]), cash
    ledger = exchange.fetch_ledger("USDT")
    sums = sum(row["amount"] * (1 if row["direction"] == "in" else -1) for row in ledger)
    assert abs(100_000 + sums - float(cash["balance"])) < 1e-9, ledger
    exchange.cancel_all_orders(SYMBOL)
    return len(truth["fills"])


async def first(what, wait_s=30):
    return await asyncio.wait_for(what, wait_s)


async def streams():
    seen = {}
    exchange = aim(ccxt.pro.aster({**options(), "options": {"defaultType": "swap"}}))
    try:
        await exchange.load_markets()
        loop = asyncio.get_running_loop()
        orders = asyncio.create_task(first(exchange.watch_orders(SYMBOL)))
        await asyncio.sleep(0.5)  # two first calls at once would each ask for a listenKey
        mine = asyncio.create_task(first(exchange.watch_my_trades(SYMBOL)))
        positions = asyncio.create_task(first(exchange.watch_positions([SYMBOL])))
        balance = asyncio.create_task(first(exchange.watch_balance({"type": "swap"})))
        book = asyncio.create_task(first(exchange.watch_order_book(SYMBOL)))
        trades = asyncio.create_task(first(exchange.watch_trades(SYMBOL)))
        quotes = asyncio.create_task(first(exchange.watch_bids_asks([SYMBOL])))
        ticker = asyncio.create_task(first(exchange.watch_ticker(SYMBOL)))
        mark = asyncio.create_task(first(exchange.watch_mark_price(SYMBOL)))
        candles = asyncio.create_task(first(exchange.watch_ohlcv(SYMBOL, "1m")))
        waiting = [orders, mine, positions, balance, book, trades, quotes, ticker, mark, candles]
        waiting += [
            asyncio.create_task(first(exchange.watch_tickers([SYMBOL]))),
            asyncio.create_task(first(exchange.watch_order_book_for_symbols([SYMBOL]))),
            asyncio.create_task(first(exchange.watch_trades_for_symbols([SYMBOL]))),
            asyncio.create_task(first(exchange.watch_ohlcv_for_symbols([[SYMBOL, "5m"]]))),
        ]
        deadline = loop.time() + 40
        price = 149.9
        while not all(task.done() for task in waiting):  # move the market until all was heard
            assert loop.time() < deadline, [task for task in waiting if not task.done()]
            body = {"symbol": MARKET, "price": str(round(price, 2))}
            await asyncio.to_thread(control, "/_sim/price", body)
            price = price - 0.5 if price > 148 else 149.9
            await exchange.create_order(SYMBOL, "market", "buy", 0.1)
            await asyncio.sleep(0.2)
        seen["orders"] = [(o["status"], o["side"]) for o in orders.result()]
        seen["mine"] = [t["takerOrMaker"] for t in mine.result()]
        seen["balance"] = balance.result()["USDT"]["total"]
        assert book.result()["bids"][0][0] < book.result()["asks"][0][0]
        quote = quotes.result()[SYMBOL]
        assert quote["bid"] < quote["ask"], quote
        seen["last"] = ticker.result()["last"]
        assert mark.result()["symbol"] == SYMBOL
        assert len(candles.result()) >= 1
        seen["positions"] = [p["side"] for p in positions.result()]
    finally:
        await exchange.close()
    return seen


if __name__ == "__main__":
    print(json.dumps({"rest": rest(), "fills": figures(), "streams": asyncio.run(streams())}))
