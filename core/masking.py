"""What may leave the process as text: secrets masked, control characters escaped, one line each.

Shared by the supervisor's log, the bot's log and the tables. Three nets, one behind another:
- by type: a `Secret` renders itself masked, whatever it is inside of;
- by key name: whatever is named like a secret, in fields, mappings, query strings and headers;
- by value: a secret that was announced with `remember` is masked wherever its text turns up.

Text from outside (an exchange, a file, a config) may hold newlines, escape sequences and
direction overrides; here they become visible escapes, so that no log line and no table cell can be
forged. Nothing here raises. Standard library only: a supervisor loads this.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping

MASK = "***"
MAX_TEXT = 16_384  # characters of one field; a whole HTML error page is cut here
MAX_DEPTH = 6

_NAMES = (
    r"secret|token|passw(?:or)?d|passphrase|signature|credential|authorization|cookie"
    r"|api[_-]?key|apikey|listen[_-]?key|private[_-]?key|access[_-]?key"
)
_SECRET_NAME = rf"{_NAMES}|[_-]key$"

# Each pattern begins at the start of a word and runs over it once: linear on hostile text.
_NAME = rf"(?<![\w.-])(?=[\w.-]*?(?:{_NAMES}|[_-]key\b))[\w.-]+"
_VALUE = (
    r"\\\"[^\"\\]*\\?\"?"  # a quoted value inside a quoted text
    r"|\"(?:[^\"\\]|\\.)*(?:\"|\\?\Z)|'(?:[^'\\]|\\.)*(?:'|\\?\Z)"  # also one that was cut
    r"|[^\s&;,\"'<>()\[\]{}\\]+"
)
_HINT = rf"{_NAMES}|[_-]key|bearer|basic|://[^/\s]*@"

# C0, DEL and C1; line and paragraph separators; direction marks and overrides; lone surrogates.
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)

_remembered: set[str] = set()


def remember(secret: str) -> None:
    """Mask this very text from now on, wherever it appears; under 8 characters is ignored."""
    if len(secret) >= 8:
        _remembered.add(secret)


def is_secret_name(name: str) -> bool:
    """Tell whether a field of this name holds a secret."""
    return _compiled(_SECRET_NAME).search(name) is not None


def mask_text(text: str) -> str:
    """Mask what looks like a secret inside free text: query strings, headers, dumps, addresses."""
    for secret in _remembered:
        text = text.replace(secret, MASK)
    if _compiled(_HINT).search(text) is None:
        return text
    for rule, masked in _rules():
        text = rule.sub(masked, text)
    return text


def mask_value(value: object, name: str = "", depth: int = 0) -> object:
    """Return what may be logged of a field: JSON types only, masked, cut to size."""
    if value is None or isinstance(value, bool):
        return value
    if name and is_secret_name(name):
        return MASK
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth >= MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {
            mask_text(str(key)): mask_value(item, str(key), depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [mask_value(item, "", depth + 1) for item in value]
    text = _text_of(value)
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}… ({len(text) - MAX_TEXT} more characters)"
    return mask_text(text)


def escape_controls(text: str, keep: str = "") -> str:
    """Make control characters visible (`\\x1b`, `\\u202e`); those in `keep` stay."""
    return _CONTROL.sub(lambda match: match[0] if match[0] in keep else _escape(match[0]), text)


def json_line(fields: Mapping[str, object]) -> bytes:
    """Render one line of JSON, masked, newline at its end. It always parses."""
    masked = {str(key): mask_value(value, str(key)) for key, value in fields.items()}
    try:
        text = json.dumps(masked, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError, UnicodeError) as error:
        text = json.dumps({"event": "log_line_unprintable", "error": type(error).__name__})
    # json has escaped C0 itself; what is left of the others stands inside strings.
    escaped = _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return escaped.encode("utf-8", "replace") + b"\n"


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compile at the first use: `list` masks nothing, and 8 of its 80 ms went here."""
    return re.compile(pattern, re.IGNORECASE)


@functools.cache
def _rules() -> tuple[tuple[re.Pattern[str], str], ...]:
    """What is replaced in free text, in this order: the scheme hides behind a header's name."""
    return (
        (_compiled(r"\b(bearer|basic)(\s+)[\w.~+/=-]{6,}"), rf"\1\2{MASK}"),
        (_compiled(rf"({_NAME})(\s*=\s*|%3D)({_VALUE})"), rf"\1\2{MASK}"),
        (_compiled(rf"(?<=[\"'])({_NAME})(\\?[\"']\s*:\s*)({_VALUE})"), rf'\1\2"{MASK}"'),
        (_compiled(rf"({_NAME})(\s*:\s*)([\w+/=.~-]{{16,}})"), rf"\1\2{MASK}"),
        (_compiled(r"(://)[^/\s@]+(@)"), rf"\1{MASK}\2"),
    )


def _text_of(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        return bytes(value[: MAX_TEXT + 1]).decode("utf-8", "backslashreplace")
    try:
        return str(value)
    except Exception as error:  # a broken __str__ must not cost the line
        return f"<{type(value).__name__} without text: {type(error).__name__}>"


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
