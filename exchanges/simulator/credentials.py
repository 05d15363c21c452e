"""The one account's keys: a throwaway pair, or those of a file.

Backpack: `api_key` is the Base64 of the Ed25519 public key, `secret_key` of its 32-byte seed.
Aster: the key and the HMAC secret of the older paths. For the V3 paths `secret_key` is also the
private key of a wallet (32 bytes in hexadecimal, with or without 0x), which signs for itself; an
`api_key` that is an address (0x and 40 digits) is the user for whom that wallet signs as agent. A
file may name them apart: `user` and `private_key`.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ConfigError

BACKPACK = "backpack"
ASTER = "aster"
_HEX_KEY = re.compile(r"(?:0x)?[0-9a-fA-F]{64}\Z")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """`private_key` None: no V3 signatures; `user` None: the wallet's own address alone."""

    api_key: str
    secret_key: str
    private_key: str | None = None
    user: str | None = None

    def __repr__(self) -> str:
        return "Credentials(***)"


def throwaway(protocol: str) -> Credentials:
    """A new pair that opens nothing anywhere else."""
    if protocol == BACKPACK:
        from nacl.signing import SigningKey

        key = SigningKey.generate()
        public = base64.b64encode(bytes(key.verify_key)).decode()
        return Credentials(api_key=public, secret_key=base64.b64encode(bytes(key)).decode())
    secret = secrets.token_hex(32)
    return Credentials(api_key=secrets.token_hex(32), secret_key=secret, private_key=secret)


def read(path: Path, protocol: str) -> Credentials:
    """Errors: ConfigError that names the file and what is wrong; it never prints a secret."""
    try:
        doc = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no JSON"
        raise ConfigError(f"--credentials {path}: cannot be read: {reason}") from None
    if not isinstance(doc, dict):
        raise ConfigError(f"--credentials {path}: expected an object with api_key and secret_key")
    api_key, secret = _text(doc, path, "api_key"), _text(doc, path, "secret_key")
    if protocol == BACKPACK:
        _check_pair(path, api_key, secret)
        return Credentials(api_key=api_key, secret_key=secret)
    private = _optional(doc, "private_key", "privateKey")
    if private is None and _HEX_KEY.match(secret):
        private = secret
    if private is not None and not _HEX_KEY.match(private):
        raise ConfigError(f"--credentials {path}: private_key: expected 64 hexadecimal digits")
    user = _optional(doc, "user", "wallet_address", "walletAddress")
    if user is None and _ADDRESS.match(api_key):
        user = api_key
    return Credentials(api_key=api_key, secret_key=secret, private_key=private, user=user)


def _check_pair(path: Path, api_key: str, secret: str) -> None:
    from nacl.signing import SigningKey

    try:
        seed = base64.b64decode(secret, validate=True)
        public = base64.b64encode(bytes(SigningKey(seed).verify_key)).decode()
    except ValueError:  # binascii.Error is one, and so is nacl's for a seed of another length
        raise ConfigError(
            f"--credentials {path}: secret_key: expected the Base64 of a 32-byte Ed25519 seed"
        ) from None
    if public != api_key:
        raise ConfigError(f"--credentials {path}: api_key: is not the public key of secret_key")


def _text(doc: dict[str, Any], path: Path, name: str) -> str:
    value = doc.get(name)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"--credentials {path}: {name}: missing, expected a text")
    return value


def _optional(doc: dict[str, Any], *names: str) -> str | None:
    for name in names:
        if isinstance(doc.get(name), str) and doc[name]:
            return str(doc[name])
    return None
