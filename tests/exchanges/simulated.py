"""The simulator as a process of its own, and the real clients that trade on it."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.config import InstanceConfig, parse
from core.model import OrderRequest
from exchanges.client_ids import AsterIds, BackpackIds
from exchanges.live import Live, create_live
from exchanges.wallet_library import load_account

SYMBOLS = {"backpack": "SOL_USDC_PERP", "aster": "SOLUSDT"}
ROOT = Path(__file__).parents[2]
needs_simulator = pytest.mark.skipif(
    importlib.util.find_spec("exchanges.simulator") is None,
    reason="exchanges.simulator is not installed",
)
DEADLINE_S = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulator:
    """A running simulator: its addresses, its keys and its control routes."""

    protocol: str
    base_url: str
    ws_url: str
    api_key: str
    secret_key: str
    pid: int
    account: str = ""  # how the ledger names it, where that is not the key

    @property
    def symbol(self) -> str:
        return SYMBOLS[self.protocol]

    def control(self, path: str, **values: object) -> Any:
        data = json.dumps(values).encode()
        request = urllib.request.Request(
            f"{self.base_url}/_sim/{path}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def price(self, price: object) -> None:
        self.control("price", symbol=self.symbol, price=str(price))

    def ledger(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.base_url}/_sim/ledger", timeout=20) as answer:
            found: dict[str, Any] = json.load(answer)["accounts"][self.account or self.api_key]
            return found

    def config(
        self, instance_id: str = "live_01", strategy: dict[str, Any] | None = None, **keys: str
    ) -> InstanceConfig:
        return parse(self.document(instance_id, strategy, **keys), stem=instance_id)[0]

    def document(
        self, instance_id: str = "live_01", strategy: dict[str, Any] | None = None, **keys: str
    ) -> dict[str, Any]:
        return {
            "metadata": {
                "instance_id": instance_id,
                "exchange": self.protocol,
                "symbol": self.symbol,
                "strategy": "perp_grid",
            },
            "exchange_config": {
                "mode": "live",
                "api_key": self.api_key,
                "secret_key": self.secret_key,
                "base_url": self.base_url,
                "ws_url": self.ws_url,
                **keys,
            },
            "strategy_config": {
                "grid_lower_price": "140",
                "grid_upper_price": "160",
                "grid_num": 21,
                "quantity": "0.5",
                "max_position": "6",
                **(strategy or {}),
            },
        }

    def open(
        self,
        root: Path,
        *,
        history_from: datetime | None = None,
        strategy: dict[str, Any] | None = None,
        **keys: str,
    ) -> Live:
        config = self.config("live_01", strategy, **keys)
        return create_live(config, root=root, history_from=history_from)

    def by_wallet(self) -> Simulator:
        """The same account, signed for by its wallet (Aster V3)."""
        address = load_account().from_key(self.secret_key).address
        return replace(self, api_key=address, account=self.api_key)

    def ids(self, instance_id: str = "live_01") -> BackpackIds | AsterIds:
        kind = BackpackIds if self.protocol == "backpack" else AsterIds
        return kind(instance_id)


@contextmanager
def simulator(protocol: str, *options: str) -> Iterator[Simulator]:
    """Run one until the end of the block; its price stands still unless it is told to move."""
    command = [sys.executable, "-m", "exchanges.simulator", "--protocol", protocol]
    process = subprocess.Popen(
        [*command, "--feed", "none", "--price", "150", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield Simulator(protocol=protocol, pid=process.pid, **told)
    finally:
        process.terminate()
        process.send_signal(signal.SIGCONT)  # a test may have stopped it
        process.communicate()


def order_request(
    sim: Simulator, number: int, side: Any, price: object, quantity: object = "0.5", **more: bool
) -> OrderRequest:
    return OrderRequest(
        client_order_id=sim.ids().make(number),
        symbol=sim.symbol,
        side=side,
        price=Decimal(str(price)),
        quantity=Decimal(str(quantity)),
        post_only=more.get("post_only", True),
        reduce_only=more.get("reduce_only", False),
    )


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for a condition with a deadline; gives its value."""
    end, pause = time.monotonic() + DEADLINE_S, threading.Event()
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {DEADLINE_S} s: {what}")
        pause.wait(0.02)
    return found
