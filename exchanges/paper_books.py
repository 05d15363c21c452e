"""What the paper exchange has stored: the market as committed, and reads of what ended.

Rule: a change is made on a copy of the market; only when it is stored together with the feed's
place does the copy become the market. If storing fails, nothing has happened: Retryable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from core.errors import Retryable, StoreError
from core.model import Fill, FundingPayment, Order
from core.ports import PaperStore
from exchanges.changes import Changes
from exchanges.matching import Market, Rules

RETRY_AFTER_S = 1.0  # when the store cannot write
DOCUMENT_VERSION = 1

_K = TypeVar("_K")
_T = TypeVar("_T")


class PaperBooks:
    """The committed market and the store behind it. Errors of its methods: Retryable."""

    def __init__(self, market: Market, store: PaperStore) -> None:
        self.market = market
        self._store = store

    @classmethod
    def load(
        cls, rules: Rules, store: PaperStore
    ) -> tuple[PaperBooks | None, dict[str, Any] | None]:
        """Take up the stored account, and its feed's document; None: none. Errors: StoreError."""
        document = store.load_account()
        if document is None:
            return None, None
        market = Market.from_doc(rules, document["market"], store.load_open_orders())
        return cls(market, store), document["feed"]

    def commit(self, draft: Market, changes: Changes, feed: Mapping[str, Any] | None) -> None:
        """Store, then make it so. Errors: Retryable, with nothing changed."""
        document = {"v": DOCUMENT_VERSION, "market": draft.to_doc(), "feed": feed}
        try:
            self._store.commit(
                document, tuple(changes.orders.values()), changes.fills, changes.funding
            )
        except StoreError as error:
            raise _retryable(error) from error
        self.market = draft

    def order(self, client_order_id: str) -> Order | None:
        """Any order that ever was; None: there was none."""
        resting = self.market.book.orders.get(client_order_id)
        return resting or _read(self._store.load_order, client_order_id)

    def fills(self, since: datetime | None) -> tuple[Fill, ...]:
        return _read(self._store.load_fills, since)

    def funding(self, since: datetime | None) -> tuple[FundingPayment, ...]:
        return _read(self._store.load_funding, since)


def _read(load: Callable[[_K], _T], key: _K) -> _T:
    try:
        return load(key)
    except StoreError as error:
        raise _retryable(error) from error


def _retryable(error: StoreError) -> Retryable:
    return Retryable(f"paper exchange: {error}", RETRY_AFTER_S)
