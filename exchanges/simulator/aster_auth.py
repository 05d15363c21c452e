"""Whether an Aster request is signed by the account, and in time.

Source: the exchange's V1 and V3 documents. Older paths: HMAC-SHA256 over the bytes of query and
body as they came, the signature cut out. V3: an EIP-712 signature by a wallet over the parameter
text as it came; eth-account checks it and is loaded when the first such request comes.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from bisect import insort
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

from exchanges.simulator.credentials import Credentials
from exchanges.wallet_library import load_account

DEFAULT_WINDOW = 5_000
MAX_WINDOW = 60_000
AHEAD_MS = 1_000
NONCE_LIFE_US = 10_000_000
KEPT_NONCES = 100
CHAINS = (1666, 714)  # the main and the test network
_SIGNATURE = re.compile(rb"(?:^|&)signature=[^&]*")


class AsterError(Exception):
    """An answer that is an error."""

    def __init__(self, code: int, msg: str, status: int = 400) -> None:
        super().__init__(msg)
        self.code = code
        self.msg = msg
        self.status = status

    @property
    def body(self) -> dict[str, Any]:
        return {"code": self.code, "msg": self.msg}


def missing(name: str) -> AsterError:
    return AsterError(
        -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
    )


class Verifier:
    """Knows the account's keys."""

    def __init__(self, keys: Credentials) -> None:
        self._keys = keys
        self._wallet: str | None = None  # its address, once it was asked for
        self._nonces: list[int] = []  # the latest, ascending

    def check_key(self, headers: Mapping[str, str]) -> None:
        """The key header alone. Errors: AsterError."""
        api_key = headers.get("x-mbx-apikey", "")
        if not api_key:
            raise AsterError(-2014, "API-key format invalid.", 401)
        if api_key != self._keys.api_key:
            raise AsterError(-2015, "Invalid API-key, IP, or permissions for action.", 401)

    def check_signed(
        self,
        headers: Mapping[str, str],
        query: bytes,
        body: bytes,
        params: Mapping[str, str],
        now_us: int,
    ) -> None:
        """A signed request, of either kind. Errors: AsterError."""
        if "signer" in params or "nonce" in params:
            self._check_wallet(query, body, params, now_us)
            return
        self.check_key(headers)
        signature, timestamp = params.get("signature"), _whole(params.get("timestamp"))
        if not signature:
            raise missing("signature")
        if timestamp is None:
            raise missing("timestamp")
        window = _whole(params.get("recvWindow", str(DEFAULT_WINDOW)))
        if window is None or window > MAX_WINDOW:
            raise AsterError(-1130, "Data sent for parameter 'recvWindow' is not valid.")
        now_ms = now_us // 1000
        if timestamp >= now_ms + AHEAD_MS:
            text = "Timestamp for this request was 1000ms ahead of the server's time."
            raise AsterError(-1021, text)
        if now_ms - timestamp > window:
            raise AsterError(-1021, "Timestamp for this request is outside of the recvWindow.")
        signed = unsigned(query) + unsigned(body)
        expected = hmac.new(self._keys.secret_key.encode(), signed, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, signature.lower()):
            raise AsterError(-1022, "Signature for this request is not valid.")

    def _check_wallet(
        self, query: bytes, body: bytes, params: Mapping[str, str], now_us: int
    ) -> None:
        for name in ("user", "signer", "nonce", "signature"):
            if not params.get(name):
                raise missing(name)
        nonce = _whole(params["nonce"])
        if nonce is None:
            raise missing("nonce")
        wallet = self._address()
        users = {wallet, (self._keys.user or wallet).lower()}
        if params["signer"].lower() != wallet or params["user"].lower() not in users:
            raise AsterError(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        text = b"&".join(part for part in (unsigned(query), unsigned(body)) if part)
        if wallet not in _signers(text.decode("latin-1"), params["signature"]):
            raise AsterError(-1022, "Signature for this request is not valid.")
        self._use_nonce(nonce, now_us)

    def _use_nonce(self, nonce: int, now_us: int) -> None:
        """A nonce serves once, near the server's time, and not below all that are kept."""
        nonces = self._nonces
        is_old = len(nonces) == KEPT_NONCES and nonce < nonces[0]
        if abs(nonce - now_us) > NONCE_LIFE_US or nonce in nonces or is_old:
            raise AsterError(-4225, "Nonce Expired")
        insort(nonces, nonce)
        del nonces[:-KEPT_NONCES]

    def _address(self) -> str:
        if self._wallet is None:
            if self._keys.private_key is None:
                raise AsterError(-2015, "Invalid API-key, IP, or permissions for action.", 401)
            self._wallet = str(_eth_account().from_key(self._keys.private_key).address).lower()
        return self._wallet


def unsigned(text: bytes) -> bytes:
    """The text without its signature."""
    cut = _SIGNATURE.sub(b"", text, count=1)
    return cut.removeprefix(b"&")


def _signers(text: str, signature: str) -> set[str]:
    """Who may have signed: of the text as sent, or decoded, on either network."""
    from eth_account.messages import encode_typed_data

    account = _eth_account()
    found: set[str] = set()
    for message in dict.fromkeys((text, unquote_plus(text))):
        for chain in CHAINS:
            signable = encode_typed_data(
                domain_data={
                    "name": "AsterSignTransaction",
                    "version": "1",
                    "chainId": chain,
                    "verifyingContract": "0x" + "0" * 40,
                },
                message_types={"Message": [{"name": "msg", "type": "string"}]},
                message_data={"msg": message},
            )
            try:
                found.add(str(account.recover_message(signable, signature=signature)).lower())
            except Exception:  # eth-account raises what its parts raise: none is a signature
                return found
    return found


def _eth_account() -> Any:
    try:
        return load_account()
    except ImportError:
        text = "V3 signatures need eth-account here: pip install 'gridfleet[aster-v3]'"
        raise AsterError(-1022, text) from None


def _whole(text: str | None) -> int | None:
    is_whole = text is not None and text.isascii() and text.isdigit() and len(text) < 20
    return int(text) if is_whole and text is not None else None
