"""Aster's V3 envelope: an API wallet signs every request as EIP-712. Pure.

Loaded only when a config names a wallet: `eth-account` is the extra `aster-v3`. Source: Aster V3
futures document, chapter authentication, 2026-06; checked against its vectors.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

from core.errors import ConfigError
from exchanges.aster_form import encoded, wrapped
from exchanges.wallet_library import load_account
from exchanges.wire import Call, HttpRequest

DOMAIN = {
    "name": "AsterSignTransaction",
    "version": "1",
    "chainId": 1666,
    "verifyingContract": "0x0000000000000000000000000000000000000000",
}
TYPES = {"Message": [{"name": "msg", "type": "string"}]}

_VERSION = re.compile(r"^/fapi/v\d+/")
_RENAMED = {"/fapi/v4/account": "/fapi/v3/accountWithJoinMargin"}


class WalletKeys:
    """An account's address and the private key of its API wallet (agent)."""

    def __init__(self, user: str, private_key: str) -> None:
        """Take both. Errors: ConfigError for a key that is none, or without the extra."""
        if not re.fullmatch(r"(0x)?[0-9a-fA-F]{64}", private_key):
            raise ConfigError(
                f"exchange_config.secret_key: is no private key ({len(private_key)} characters), "
                "expected the 64 hex digits of the API wallet that signs for the account in "
                "exchange_config.api_key"
            )
        try:
            account = load_account()
        except ImportError:
            raise ConfigError(
                "exchange_config.api_key: a wallet needs the extra: "
                "pip install 'gridfleet[aster-v3]'"
            ) from None
        self._wallet: Any = account.from_key(private_key)
        self.account = user.lower()
        self.signer = str(self._wallet.address).lower()
        self._last_nonce = 0

    def sign(self, message: str) -> str:
        signed = self._wallet.sign_typed_data(DOMAIN, TYPES, {"msg": message})
        return "0x" + bytes(signed.signature).hex()

    def message(self, call: Call, nonce: int) -> str:
        """Write the text that is signed and sent."""
        head = urlencode({"nonce": nonce, "user": self.account, "signer": self.signer})
        text = encoded(call)
        return f"{head}&{text}" if text else head

    def envelope(self, call: Call, timestamp_us: int, window: int) -> HttpRequest:  # noqa: ARG002 - V3 has no window
        """Sign with a nonce that was never used: the time in microseconds, and always growing."""
        self._last_nonce = max(timestamp_us, self._last_nonce + 1)
        text = self.message(call, self._last_nonce)
        path = _RENAMED.get(call.path) or _VERSION.sub("/fapi/v3/", call.path)
        return wrapped(call.method, path, f"{text}&signature={self.sign(text)}", {})
