"""From a config to an exchange: paper as configured, live by its keys."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from paper_world import D, TurnedClock, request, write_path

from core.config import InstanceConfig, parse
from core.errors import ConfigError, Rejected
from core.model import Order, Quote, Side
from exchanges.factory import create_exchange, create_paper, split_symbol
from exchanges.paper_memory import MemoryPaperStore

SYMBOL = "SOL_USDC_PERP"


def config(
    paper: dict[str, Any] | None = None, strategy: dict[str, Any] | None = None, mode: str = "paper"
) -> InstanceConfig:
    document = {
        "metadata": {"instance_id": "t_01", "exchange": "backpack", "symbol": SYMBOL},
        "exchange_config": {
            "mode": mode,
            "paper": paper or {},
            **({} if mode == "paper" else {"api_key": "k", "secret_key": "s"}),
        },
        "strategy_config": {
            "grid_lower_price": 140,
            "grid_upper_price": 160,
            "grid_num": 20,
            "max_position": 10,
            **(strategy or {}),
        },
    }
    return parse(document, stem="t_01")[0]


def test_defaults_are_the_contract() -> None:
    """Synthetic from the middle of the range; tick, lot, minimum, fees and balance as written."""
    client, feed = create_exchange(config(), MemoryPaperStore(), TurnedClock())
    instrument = client.fetch_instrument(SYMBOL)
    assert id(client) == id(feed)
    assert client.fetch_quote(SYMBOL).last == 150
    assert (instrument.base_asset, instrument.quote_asset) == ("SOL", "USDC")
    assert (instrument.tick_size, instrument.lot_size) == (D("0.01"), D("0.001"))
    assert (instrument.min_quantity, instrument.min_notional) == (D("0.001"), D(5))
    assert (instrument.maker_fee, instrument.taker_fee) == (D("0.0002"), D("0.0005"))
    assert client.fetch_balance().wallet == 100_000


@pytest.mark.parametrize(
    ("paper", "strategy", "price"),
    [
        ({"start_price": "151.237"}, {}, "151.24"),
        ({"tick_size": "7"}, {"grid_num": 2}, "147"),
        ({"start_price": 99}, {}, "99"),
        ({"start_price": 42}, {"auto_price": True, "price_range": 5}, "42"),
    ],
)
def test_start_price_is_given_or_the_middle_on_the_tick(
    paper: dict[str, Any], strategy: dict[str, Any], price: str
) -> None:
    """`start_price`, else the middle of the range; rounded to the tick."""
    client, _ = create_exchange(config(paper, strategy), MemoryPaperStore(), TurnedClock())
    assert client.fetch_quote(SYMBOL).last == D(price)


def test_settings_reach_the_exchange() -> None:
    """Leverage bounds the exposure; fees, balance and minimum are the config's."""
    paper = {"balance": 1000, "taker_fee": "0.001", "min_notional": 100}
    client, feed = create_exchange(
        config(paper, {"leverage": 2, "quantity": 1, "max_position": 5}),
        MemoryPaperStore(),
        TurnedClock(),
    )
    large, small, taken = client.place_orders(
        [
            on_sol("large", 150, 14),
            on_sol("small", 140, "0.5"),
            on_sol("taken", 155, 1),
        ]
    )
    assert isinstance(large, Rejected)
    assert "allows 2000" in str(large)
    assert isinstance(small, Rejected)
    assert isinstance(taken, Order)
    (fill,) = client.fetch_fills(SYMBOL, None)
    assert fill.fee == 150 * D("0.001")
    assert list(feed.poll()) == [fill]


def on_sol(name: str, price: int, quantity: int | str) -> Any:
    from dataclasses import replace

    return replace(request(name, Side.BUY, price, quantity), symbol=SYMBOL)


def test_candle_files_resolve_against_the_root(tmp_path: Path) -> None:
    """A relative file is under the root, an absolute one where it says; a missing one is named."""
    write_path(tmp_path / "prices.csv", [145, 146])
    for file in ("prices.csv", str(tmp_path / "prices.csv")):
        chosen = config({"feed": "csv", "file": file, "speed": 0})
        client, feed = create_exchange(chosen, MemoryPaperStore(), TurnedClock(), root=tmp_path)
        assert client.fetch_quote(SYMBOL).last == 145
        assert isinstance(feed.poll()[0], Quote)
    absent = config({"feed": "csv", "file": "absent.csv"})
    with pytest.raises(ConfigError, match=r"absent\.csv: cannot be read"):
        create_exchange(absent, MemoryPaperStore(), TurnedClock(), root=tmp_path)


def test_through_is_a_choice_of_the_caller(tmp_path: Path) -> None:
    """A backtest may ask that a touch does not fill."""
    path = write_path(tmp_path / "prices.csv", [150, 145, 146])
    for through in (False, True):
        exchange = create_paper(
            config({"feed": "csv", "file": str(path), "speed": 0}),
            MemoryPaperStore(),
            TurnedClock(),
            fill_through=through,
        )
        exchange.place_orders([on_sol("b", 145, 1)])
        while exchange.next_due() is not None:
            exchange.poll()
        assert bool(exchange.fetch_fills(SYMBOL, None)) is not through


def test_live_keys_that_are_none_are_refused_in_words(tmp_path: Path) -> None:
    """A live config goes to the real client, which names a key that is none."""
    with pytest.raises(ConfigError, match=r"exchange_config.api_key: is no Backpack key"):
        create_exchange(config(mode="live"), MemoryPaperStore(), TurnedClock(), root=tmp_path)


@pytest.mark.parametrize(
    ("symbol", "assets"),
    [
        ("SOL_USDC_PERP", ("SOL", "USDC")),
        ("BTCUSDT", ("BTC", "USDT")),
        ("BTC-USD", ("BTC", "USD")),
        ("ETHBTC", ("ETH", "BTC")),
        ("1000PEPEUSDT", ("1000PEPE", "USDT")),
        ("BTCUSDT_PERP", ("BTC", "USDT")),
        ("USDT", ("USDT", "USD")),
        ("XYZ", ("XYZ", "USD")),
    ],
)
def test_symbols_tell_their_assets(symbol: str, assets: tuple[str, str]) -> None:
    """Both venues' spellings; a symbol that names no quote asset is quoted in USD."""
    assert split_symbol(symbol) == assets


def test_paper_loads_no_network_library() -> None:
    """A paper bot carries no HTTP client, websocket or signature library in its memory."""
    code = (
        "import sys, exchanges.factory, exchanges.paper, exchanges.synthetic_feed\n"
        "heavy = {'requests', 'websocket', 'nacl', 'urllib3', 'socket', 'ssl', 'sqlite3'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
