"""Whether a Backpack request is signed by the account, and in time. Pure.

Source: the exchange's OpenAPI document, "Authentication". The signed text is `instruction=<name>`,
the sorted parameters of query and body, `timestamp` and `window`. Where clients differ and the
document is silent (percent-encoding, null), every plausible text is accepted.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

DEFAULT_WINDOW = 5_000
MAX_WINDOW = 60_000

Pairs = list[tuple[str, Any]]


class BackpackError(Exception):
    """An answer other than 2xx."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def bad_request(message: str, code: str = "INVALID_CLIENT_REQUEST") -> BackpackError:
    return BackpackError(400, code, message)


class Verifier:
    """Knows the account's public key."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key
        self._key = VerifyKey(base64.b64decode(api_key))

    def check(
        self,
        headers: Mapping[str, str],
        instruction: str,
        parts: Iterable[Pairs],
        now_ms: int,
    ) -> None:
        """Check a signed REST request; `parts` is one list of pairs, or one for each order.

        Errors: BackpackError.
        """
        api_key = headers.get("x-api-key", "")
        if api_key != self._api_key:
            raise BackpackError(401, "UNAUTHORIZED", "Unauthorized")
        self._check(
            headers.get("x-signature", ""),
            headers.get("x-timestamp", ""),
            headers.get("x-window", str(DEFAULT_WINDOW)),
            instruction,
            list(parts),
            now_ms,
        )

    def check_subscribe(self, signature: Any, now_ms: int) -> None:
        """Check the four texts of a private SUBSCRIBE. Errors: BackpackError."""
        if not isinstance(signature, list) or len(signature) != 4:
            raise bad_request("Invalid signature")
        key, signed, timestamp, window = (str(part) for part in signature)
        if key != self._api_key:
            raise BackpackError(401, "UNAUTHORIZED", "Unauthorized")
        self._check(signed, timestamp, window, "subscribe", [[]], now_ms)

    def _check(
        self,
        signature: str,
        timestamp: str,
        window: str,
        instruction: str,
        parts: list[Pairs],
        now_ms: int,
    ) -> None:
        stamp, width = _whole(timestamp), _whole(window)
        if stamp is None:
            raise bad_request("Invalid timestamp")
        if width is None or not 0 < width <= MAX_WINDOW:
            raise bad_request("Invalid window")
        try:
            signed = base64.b64decode(signature, validate=True)
        except (binascii.Error, ValueError):
            raise bad_request("Invalid X-Signature header") from None
        if len(signed) != 64:
            raise bad_request("Invalid X-Signature header")
        if stamp > now_ms + width:
            raise bad_request("Invalid timestamp")
        if now_ms > stamp + width:
            raise bad_request("Request has expired")
        end = f"timestamp={timestamp}&window={window}"
        if not any(self._is_signed(text + end, signed) for text in _texts(instruction, parts)):
            raise bad_request("Invalid signature")

    def _is_signed(self, text: str, signature: bytes) -> bool:
        try:
            self._key.verify(text.encode(), signature)
        except BadSignatureError:
            return False
        return True


def _texts(instruction: str, parts: list[Pairs]) -> Iterator[str]:
    """Every text that may have been signed, the documented one first, each but once."""
    seen = set()
    for encode in (str, quote_plus, lambda text: quote(text, safe="")):
        for null in ("null", "None", None):
            text = ""
            for pairs in parts:
                text += f"instruction={instruction}&"
                for name, value in sorted(pairs, key=lambda pair: pair[0]):
                    if value is not None or null is not None:
                        text += f"{name}={encode(_render(value, null or ''))}&"
            if text not in seen:
                seen.add(text)
                yield text


def _render(value: Any, null: str) -> str:
    if value is None:
        return null
    if value is True or value in ("True", "true"):
        return "true"
    if value is False or value in ("False", "false"):
        return "false"
    return str(value)


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
