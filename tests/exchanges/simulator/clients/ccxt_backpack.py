"""Trades on the simulator with ccxt and ccxt.pro as they are; `base_url ws_url key secret` as JSON.

Nothing of ours is imported and nothing of ccxt is patched: only its URLs are set, as users do.
Prints one JSON object of what it saw; any failure is a traceback and a non-zero exit.
"""

import asyncio
import json
import sys
import urllib.request

import ccxt
import ccxt.pro

SIM = json.loads(sys.argv[1])
SYMBOL = "SOL/USDC:USDC"
MARKET = "SOL_USDC_PERP"


def control(path, body=None):
    sent = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(SIM["base_url"] + path, sent, headers)
    return json.load(urllib.request.urlopen(request, timeout=20))


def options():
    return {"apiKey": SIM["api_key"], "secret": SIM["secret_key"]}


def aim(exchange):
    exchange.urls["api"]["public"] = SIM["base_url"]
    exchange.urls["api"]["private"] = SIM["base_url"]
    if "ws" in exchange.urls["api"]:
        exchange.urls["api"]["ws"] = {"public": SIM["ws_url"], "private": SIM["ws_url"]}
    return exchange


def refused(kind, call):
    try:
        call()
    except kind as error:
        return str(error)
    raise AssertionError(f"was not refused with {kind.__name__}")


def rest():
    seen = {}
    exchange = aim(ccxt.backpack(options()))
    markets = exchange.load_markets()
    market = markets[SYMBOL]
    assert market["swap"], market
    assert market["precision"] == {**market["precision"], "price": 0.01, "amount": 0.001}
    assert exchange.fetch_status()["status"] == "ok"
    assert exchange.fetch_ticker(SYMBOL)["last"] == 150
    assert SYMBOL in exchange.fetch_tickers()
    book = exchange.fetch_order_book(SYMBOL, 5)
    assert book["bids"][0][0] == 149.99, book
    assert book["asks"][0][0] == 150.01, book
    candles = exchange.fetch_ohlcv(SYMBOL, "1m", exchange.milliseconds() - 3_600_000, 30)
    assert len(candles) == 30
    assert all(low <= min(o, c) and max(o, c) <= high for _, o, high, low, c, _ in candles)
    exchange.fetch_trades(SYMBOL)
    assert exchange.fetch_funding_rate(SYMBOL)["fundingRate"] == 0.0000125
    assert len(exchange.fetch_funding_rate_history(SYMBOL, limit=3)) == 3
    exchange.fetch_open_interest(SYMBOL)
    balance = exchange.fetch_balance()
    assert balance["USDC"]["total"] == 100_000, balance["USDC"]

    resting = exchange.create_order(SYMBOL, "limit", "buy", 1, 140)
    assert resting["status"] == "open", resting
    named = exchange.create_order(
        SYMBOL, "limit", "sell", 2, 160, {"postOnly": True, "clientOrderId": "77"}
    )
    assert named["clientOrderId"] == "77", named
    assert {order["id"] for order in exchange.fetch_open_orders(SYMBOL)} == {
        resting["id"],
        named["id"],
    }
    assert exchange.fetch_open_order(named["id"], SYMBOL)["price"] == 160
    assert exchange.cancel_order(resting["id"], SYMBOL)["status"] == "canceled"
    seen["gone"] = refused(ccxt.BaseError, lambda: exchange.cancel_order(resting["id"], SYMBOL))
    seen["post_only"] = refused(
        ccxt.InvalidOrder,
        lambda: exchange.create_order(SYMBOL, "limit", "buy", 1, 151, {"postOnly": True}),
    )
    bought = exchange.create_order(SYMBOL, "market", "buy", 3)
    assert bought["status"] == "closed", bought
    assert bought["filled"] == 3
    ioc = exchange.create_order(SYMBOL, "limit", "buy", 1, 140, {"timeInForce": "IOC"})
    assert ioc["status"] in ("canceled", "expired"), ioc
    assert exchange.fetch_positions([SYMBOL])[0]["side"] == "long"
    exchange.create_order(SYMBOL, "market", "sell", 1, None, {"reduceOnly": True})
    seen["reduce_only"] = refused(
        ccxt.InvalidOrder,
        lambda: exchange.create_order(SYMBOL, "market", "buy", 1, None, {"reduceOnly": True}),
    )
    trades = exchange.fetch_my_trades(SYMBOL)
    assert [trade["amount"] for trade in trades] == [3, 1], trades
    assert trades[0]["fee"] == {"cost": 0.225, "currency": "USDC"}, trades[0]
    batch = exchange.create_orders(
        [
            {"symbol": SYMBOL, "type": "limit", "side": "buy", "amount": 1, "price": p}
            for p in (141, 142)
        ]
    )
    assert len(batch) == 2, batch
    assert len(exchange.fetch_orders(SYMBOL)) == 7
    control("/_sim/funding", {"symbol": MARKET, "rate": "0.001"})
    paid = exchange.fetch_funding_history(SYMBOL)
    assert paid[0]["amount"] == -0.3, paid
    exchange.cancel_all_orders(SYMBOL)
    assert exchange.fetch_open_orders(SYMBOL) == []
    seen["bad_key"] = refused(
        ccxt.BaseError,
        lambda: aim(ccxt.backpack({**options(), "apiKey": "A" * 43 + "="})).fetch_balance(),
    )
    return seen


def figures():
    """The figures that ccxt makes of the answers, against the ledger of the simulator."""
    exchange = aim(ccxt.backpack(options()))
    exchange.load_markets()
    for frame in ("1m", "5m", "1h", "4h", "1d", "1w"):
        candles = exchange.fetch_ohlcv(SYMBOL, frame, None, 4)
        assert len(candles) == 4, (frame, candles)
        starts = [row[0] for row in candles]
        step = exchange.parse_timeframe(frame) * 1000
        assert starts == [starts[0] + step * n for n in range(4)], (frame, starts)
    assert candles[-1][4] == exchange.fetch_mark_ohlcv(SYMBOL, "1w", None, 1)[-1][4]
    kinds = (  # type, side, amount, price, params: status, filled
        ("limit", "buy", 1, 150, {}, "closed", 1),
        ("limit", "buy", 1, 149.99, {}, "open", 0),
        ("limit", "buy", 1, 151, {"timeInForce": "IOC"}, "closed", 1),
        ("limit", "buy", 1, 140, {"timeInForce": "FOK"}, "canceled", 0),
        ("limit", "buy", 1, 140, {"timeInForce": "PO"}, "open", 0),
        ("limit", "sell", 1, 160, {"reduceOnly": True}, "open", 0),
        ("market", "sell", 1, None, {"triggerPrice": 130}, "open", 0),
    )
    for kind, side, amount, price, params, status, filled in kinds:
        order = exchange.create_order(SYMBOL, kind, side, amount, price, params)
        assert (order["status"], order["filled"]) == (status, filled), order
        assert order["remaining"] == amount - filled, order
        assert order["average"] == (150 if filled else None), order
        assert abs(order["timestamp"] - exchange.milliseconds()) < 60_000, order
    moved = exchange.edit_order(order["id"], SYMBOL, "limit", "buy", 2, 141)
    assert (moved["amount"], moved["price"], moved["status"]) == (2, 141, "open"), moved
    control("/_sim/price", {"symbol": MARKET, "price": "149"})
    truth = control("/_sim/ledger")["accounts"][SIM["api_key"]]
    held, cash = truth["positions"][0], truth["balances"][0]
    position = exchange.fetch_positions([SYMBOL])[0]
    info = position["info"]
    assert (position["side"], info["netQuantity"]) == ("long", held["quantity"]), position
    assert info["pnlUnrealized"] == held["unrealized"], (info, held)
    assert float(position["entryPrice"]) == 149.998, position  # four at 150, one at 149.99
    balance = exchange.fetch_balance()["USDC"]
    assert balance["total"] == float(cash["balance"]), (balance, cash)
    fees = sum(trade["fee"]["cost"] for trade in exchange.fetch_my_trades(SYMBOL))
    assert abs(fees - sum(float(fill["fee"]) for fill in truth["fills"])) < 1e-9
    ended = exchange.cancel_all_orders(SYMBOL)
    assert {order["status"] for order in ended} == {"canceled"}, ended
    assert exchange.fetch_deposits() == exchange.fetch_withdrawals() == []
    refused(
        ccxt.OperationFailed, lambda: exchange.fetch_deposit_address("USDC", {"network": "SOL"})
    )
    return len(truth["fills"])


async def first(what, wait_s=30):
    return await asyncio.wait_for(what, wait_s)


async def streams():
    seen = {}
    exchange = aim(ccxt.pro.backpack(options()))
    try:
        await exchange.load_markets()
        loop = asyncio.get_running_loop()
        orders = asyncio.create_task(first(exchange.watch_orders(SYMBOL)))
        positions = asyncio.create_task(first(exchange.watch_positions([SYMBOL])))
        book = asyncio.create_task(first(exchange.watch_order_book(SYMBOL)))
        trades = asyncio.create_task(first(exchange.watch_trades(SYMBOL)))
        quotes = asyncio.create_task(first(exchange.watch_bids_asks([SYMBOL])))
        ticker = asyncio.create_task(first(exchange.watch_ticker(SYMBOL)))
        candles = asyncio.create_task(first(exchange.watch_ohlcv(SYMBOL, "1m")))
        price = 149.9
        waiting = [orders, positions, book, trades, quotes, ticker, candles]
        waiting += [
            asyncio.create_task(first(exchange.watch_tickers([SYMBOL]))),
            asyncio.create_task(first(exchange.watch_order_book_for_symbols([SYMBOL]))),
            asyncio.create_task(first(exchange.watch_trades_for_symbols([SYMBOL]))),
            asyncio.create_task(first(exchange.watch_ohlcv_for_symbols([[SYMBOL, "5m"]]))),
        ]
        deadline = loop.time() + 40
        await exchange.create_order(SYMBOL, "limit", "buy", 1, 149)
        while not all(task.done() for task in waiting):  # move the market until all was heard
            assert loop.time() < deadline, [task for task in waiting if not task.done()]
            await asyncio.to_thread(
                control, "/_sim/price", {"symbol": MARKET, "price": str(round(price, 2))}
            )
            price = price - 0.5 if price > 148 else 149.9
            await exchange.create_order(SYMBOL, "market", "buy", 0.1)
            await asyncio.sleep(0.2)
        seen["orders"] = [(o["status"], o["side"]) for o in orders.result()]
        seen["position"] = positions.result()[0]["side"]
        assert seen["position"] == "long"
        best_bid, best_ask = book.result()["bids"][0][0], book.result()["asks"][0][0]
        assert best_bid < best_ask
        seen["trades"] = len(trades.result())
        quote = quotes.result()[SYMBOL]
        assert quote["bid"] < quote["ask"], quote
        seen["last"] = ticker.result()["last"]
        assert len(candles.result()) >= 1
        await exchange.cancel_all_orders(SYMBOL)
        for leave in (exchange.un_watch_trades, exchange.un_watch_order_book):
            await first(leave(SYMBOL))
    finally:
        await exchange.close()
    return seen


if __name__ == "__main__":
    print(json.dumps({"rest": rest(), "fills": figures(), "streams": asyncio.run(streams())}))
