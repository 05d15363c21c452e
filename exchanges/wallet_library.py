"""eth-account, loaded only where a wallet signs, and without what its import leaves behind."""

from __future__ import annotations

import sys
from typing import Any


def load_account() -> Any:
    """Give `eth_account.Account`. Errors: ImportError without the extra `aster-v3`."""
    limit = sys.getrecursionlimit()
    try:
        from eth_account import Account
    finally:
        sys.setrecursionlimit(limit)  # a library below raises it to 100,000: a crash in waiting
    return Account
