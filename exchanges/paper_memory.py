"""A `PaperStore` in memory, for backtests and tests: it forgets with its process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from core.errors import StoreError
from core.model import Fill, FundingPayment, Order


class MemoryPaperStore:
    """What the paper exchange keeps, in dictionaries. Same answers as the stored one."""

    def __init__(self) -> None:
        self._account: dict[str, Any] | None = None
        self._orders: dict[str, Order] = {}
        self._live: dict[str, Order] = {}
        self._fills: dict[str, Fill] = {}
        self._funding: dict[tuple[str, datetime], FundingPayment] = {}

    def load_account(self) -> dict[str, Any] | None:
        return None if self._account is None else dict(self._account)

    def load_open_orders(self) -> tuple[Order, ...]:
        return tuple(self._live.values())

    def load_order(self, client_order_id: str) -> Order | None:
        return self._orders.get(client_order_id)

    def load_fills(self, since: datetime | None) -> tuple[Fill, ...]:
        return tuple(f for f in self._fills.values() if since is None or f.time >= since)

    def load_funding(self, since: datetime | None) -> tuple[FundingPayment, ...]:
        return tuple(p for p in self._funding.values() if since is None or p.time >= since)

    def commit(
        self,
        account: Mapping[str, Any],
        orders: Sequence[Order] = (),
        fills: Sequence[Fill] = (),
        funding: Sequence[FundingPayment] = (),
    ) -> None:
        """Keep all of it. Errors: StoreError, with nothing kept, for a trade or payment known."""
        known = [fill.trade_id for fill in fills if fill.trade_id in self._fills]
        known += [str(p.time) for p in funding if (p.symbol, p.time) in self._funding]
        if known:
            raise StoreError(f"stored before: {', '.join(known)}")
        self._account = dict(account)
        for order in orders:
            self._orders[order.client_order_id] = order
            if order.status.is_terminal:
                self._live.pop(order.client_order_id, None)
            else:
                self._live[order.client_order_id] = order
        self._fills.update((fill.trade_id, fill) for fill in fills)
        self._funding.update(((p.symbol, p.time), p) for p in funding)
