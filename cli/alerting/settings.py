"""Where alerts go: ALERT_URLS and ALERT_LEVEL, from the environment, then `.env` at the root.

An apprise address holds a password or a token. It is never shown: a fault names it by its number
and its scheme, and every part of it is masked wherever it turns up (`hide`).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from core.alert_lines import LEVELS
from core.config_files import EnvFile, Variables
from core.errors import ConfigError
from core.masking import remember
from core.model import Secret

URLS = "ALERT_URLS"
LEVEL = "ALERT_LEVEL"
DEFAULT_LEVEL = "warning"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31})://")
_TWO_IN_ONE = re.compile(r"[,;][A-Za-z][A-Za-z0-9+.-]{0,31}://")
_PARTS = re.compile(r"[/?&=@:#,]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One channel: its apprise address, a name for people and an id for the state file."""

    name: str
    id: str
    url: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """What is to be delivered where. `level`: the least that is sent."""

    addresses: tuple[Address, ...]
    level: str


def load_settings(root: Path, environ: Mapping[str, str] | None = None) -> AlertSettings:
    """Read both. Errors: ConfigError; an address is named by its number, never shown."""
    file = EnvFile(root / ".env", ".env")
    env = os.environ if environ is None else environ
    variables = Variables(env, [file])
    text = variables.get(URLS, "")
    if file.fault:
        raise ConfigError(f".env: {file.fault}")
    if URLS not in env and text and file.open_mode is not None:
        raise ConfigError(
            f".env: others can read it (mode {file.open_mode:o}), and it holds {URLS}; "
            "do: chmod 600 .env"
        )
    level = variables.get(LEVEL, "").strip().lower() or DEFAULT_LEVEL
    if level not in LEVELS:
        raise ConfigError(f"{LEVEL}: was {level[:20]!r}, expected one of {', '.join(LEVELS)}")
    words = text.split()
    if not words:
        raise ConfigError(
            f"{URLS}: was not set, expected apprise addresses with spaces or new lines between "
            "them, in the environment or .env; see docs/alerts.md"
        )
    return AlertSettings(addresses=tuple(_addresses(words)), level=level)


def hide(url: Secret) -> None:
    """Have this address, and each longer part of it, masked in everything that is said."""
    text = url.reveal()
    rest = text.partition("://")[2]
    for part in (text, rest, *_PARTS.split(rest)):
        remember(part)
        remember(unquote(part))


def _addresses(words: list[str]) -> list[Address]:
    found: list[Address] = []
    counts: dict[str, int] = {}
    for number, word in enumerate(words, start=1):
        match = _SCHEME.match(word)
        if match is None or _TWO_IN_ONE.search(word):
            why = "no scheme://" if match is None else "two addresses with no space between them"
            raise ConfigError(
                f"{URLS}: address {number} of {len(words)} has {why}; expected apprise addresses "
                "with spaces or new lines between them"
            )
        digest = hashlib.sha256(word.encode()).hexdigest()[:16]
        if any(address.id == digest for address in found):
            continue  # twice the same
        scheme = match[1].lower()
        counts[scheme] = counts.get(scheme, 0) + 1
        name = scheme if counts[scheme] == 1 else f"{scheme} {counts[scheme]}"
        found.append(Address(name=name, id=digest, url=Secret(word)))
    return found
