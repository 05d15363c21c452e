"""Trades on the simulator with binance-futures-connector as it is, as users of older Aster keys do.

It sends everything in the query, batches percent-encoded. Prints one JSON object of what it saw;
any failure is a traceback and a non-zero exit.
"""

import json
import sys

from binance.error import ClientError
from binance.um_futures import UMFutures

SIM = json.loads(sys.argv[1])
MARKET = "SOLUSDT"


def main():
    client = UMFutures(SIM["api_key"], SIM["secret_key"], base_url=SIM["base_url"])
    assert client.exchange_info()["symbols"][0]["symbol"] == MARKET
    assert client.ticker_price(MARKET)["price"] == "150"
    assert client.book_ticker(MARKET)["bidPrice"] == "149.99"
    assert client.mark_price(MARKET)["markPrice"] == "150"
    assert len(client.klines(MARKET, "1h", limit=5)) == 5
    limit = {"symbol": MARKET, "side": "BUY", "type": "LIMIT", "quantity": "1"}
    placed = client.new_order(**limit, price="140", timeInForce="GTX", newClientOrderId="a:b/c")
    assert placed["clientOrderId"] == "a:b/c", placed
    batch = [{**limit, "price": str(price), "timeInForce": "GTC"} for price in (141, 142)]
    assert len(client.new_batch_order(batch)) == 2
    resting = client.get_orders(symbol=MARKET)
    ended = client.cancel_batch_order(MARKET, [resting[0]["orderId"], 5], [])
    assert [item.get("status", item.get("code")) for item in ended] == ["CANCELED", -2011], ended
    market = {"symbol": MARKET, "side": "SELL", "type": "MARKET", "newOrderRespType": "RESULT"}
    sold = client.new_order(**market, quantity="2")
    assert (sold["status"], sold["avgPrice"]) == ("FILLED", "150"), sold
    assert client.get_position_risk(symbol=MARKET)[0]["positionAmt"] == "-2"
    assert client.change_leverage(MARKET, 5)["leverage"] == 5
    assert client.get_account_trades(symbol=MARKET)[0]["qty"] == "2"
    assert client.get_income_history(incomeType="COMMISSION")[0]["income"] == "-0.15"
    assert client.balance()[0]["balance"] == "99999.85"
    client.cancel_open_orders(MARKET)
    assert client.get_orders(symbol=MARKET) == []
    key = client.new_listen_key()["listenKey"]
    client.renew_listen_key(key)
    client.close_listen_key(key)
    try:
        client.renew_listen_key(key)
    except ClientError as error:
        return {"gone": error.error_code}
    raise AssertionError("a closed listenKey was renewed")


if __name__ == "__main__":
    print(json.dumps(main()))
