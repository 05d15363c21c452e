"""Trades on the simulator with bpx-py as it is: its account and its public client.

Only the address of its two base classes is set. Prints one JSON object of what it saw; any failure
is a traceback and a non-zero exit.
"""

import asyncio
import json
import sys
import time

from bpx.account import Account
from bpx.async_.account import Account as AsyncAccount
from bpx.base.base_account import BaseAccount
from bpx.base.base_public import BasePublic
from bpx.public import Public

SIM = json.loads(sys.argv[1])
MARKET = "SOL_USDC_PERP"
for client in (BaseAccount, BasePublic):
    for name, value in vars(client).items():
        if isinstance(value, str) and value.startswith("https://api.backpack"):
            setattr(
                client, name, SIM["base_url"] + value.removeprefix("https://api.backpack.exchange")
            )


def public():
    client = Public()
    assert client.get_ping() == "pong"
    assert client.get_status()["status"] == "Ok"
    assert abs(int(client.get_time()) / 1000 - time.time()) < 30
    assert [market["symbol"] for market in client.get_markets()] == [MARKET]
    assert "USDC" in [asset["symbol"] for asset in client.get_assets()]
    assert client.get_collateral()[0]["symbol"] == "USDC"
    assert client.get_ticker(MARKET)["lastPrice"] == "150"
    assert client.get_tickers()[0]["symbol"] == MARKET
    assert client.get_depth(MARKET)["bids"][-1][0] == "149.99"
    start = int(time.time()) - 3_600
    assert len(client.get_klines(MARKET, "1m", start)) >= 59
    assert client.get_open_interest(MARKET)[0]["symbol"] == MARKET
    assert len(client.get_funding_interval_rates(MARKET, 5)) == 5
    assert isinstance(client.get_recent_trades(MARKET), list)
    assert isinstance(client.get_history_trades(MARKET), list)
    assert client.get_borrow_lend_markets() == []


def account():
    client = Account(SIM["api_key"], SIM["secret_key"])
    assert client.get_account()["leverageLimit"] == "10"
    assert client.get_balances()["USDC"]["available"] == "100000"
    assert client.get_collateral()["netEquity"] == "100000"
    assert client.get_open_positions() == []
    limit = client.get_max_order_quantity(MARKET, "Bid", price="150", reduce_only=False)
    assert float(limit["maxOrderQuantity"]) > 6_000, limit

    resting = client.execute_order(
        MARKET, "Bid", "Limit", "GTC", quantity="1.200", price="140.50", client_id=7, post_only=True
    )
    assert (resting["status"], resting["clientId"]) == ("New", 7), resting
    assert client.get_open_order(MARKET, client_id=7)["id"] == resting["id"]
    assert client.get_open_order(MARKET, order_id=resting["id"])["clientId"] == 7
    assert len(client.get_open_orders(symbol=MARKET)) == 1
    assert client.cancel_order(MARKET, client_id=7)["status"] == "Cancelled"
    crossing = client.execute_order(
        MARKET, "Bid", "Limit", quantity="1", price="151", post_only=True
    )
    assert crossing["code"] == "INVALID_ORDER", crossing
    bought = client.execute_order(MARKET, "Bid", "Market", quantity="2")
    assert (bought["status"], bought["executedQuoteQuantity"]) == ("Filled", "300"), bought
    spent = client.execute_order(MARKET, "Bid", "Market", quote_quantity="150")
    assert spent["executedQuantity"] == "1", spent
    ioc = client.execute_order(MARKET, "Ask", "Limit", "IOC", quantity="1", price="160")
    assert ioc["status"] == "Expired", ioc
    sold = client.execute_order(MARKET, "Ask", "Market", quantity="3", reduce_only=True)
    assert sold["status"] == "Filled", sold
    assert client.get_open_positions() == []
    client.execute_order(MARKET, "Bid", "Limit", quantity="1", price="140")
    client.execute_order(MARKET, "Ask", "Limit", quantity="1", price="160")
    assert len(client.cancel_all_orders(MARKET)) == 2
    fills = client.get_fill_history(symbol=MARKET)
    assert [fill["quantity"] for fill in fills] == ["3", "1", "2"], fills
    statuses = {order["status"] for order in client.get_order_history(symbol=MARKET)}
    assert statuses == {"Cancelled", "Filled", "Expired"}, statuses
    assert client.get_funding_payments(symbol=MARKET) == []
    assert client.get_settlements_history() == []
    for empty in (client.get_deposits, client.get_withdrawals, client.get_borrow_history):
        assert empty() == [], empty
    refused = client.withdrawal("x" * 40, "USDC", "Solana", "1")
    assert refused["code"] == "NOT_IMPLEMENTED", refused
    assert client.get_deposit_address("Solana")["code"] == "NOT_IMPLEMENTED"
    client.update_account(leverage_limit="5")
    assert client.get_account()["leverageLimit"] == "5"
    stranger = Account(SIM["api_key"], "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    refused = stranger.get_balances()
    assert refused == {"code": "INVALID_CLIENT_REQUEST", "message": "Invalid signature"}, refused
    return len(fills)


async def asynchronous():
    client = AsyncAccount(SIM["api_key"], SIM["secret_key"])
    placed = await client.execute_order(MARKET, "Bid", "Limit", quantity="1", price="139")
    gone = await client.cancel_order(MARKET, order_id=placed["id"])
    return gone["status"]


if __name__ == "__main__":
    public()
    print(json.dumps({"fills": account(), "async": asyncio.run(asynchronous())}))
