"""Messages in the user's language: English, or Traditional Chinese where the locale begins with zh.

As in gettext the English text is the key, so a text without a translation is simply shown in
English. Only what a person reads is translated: no JSON, no log line, no state name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Protocol


class Tell(Protocol):
    """Put values into a text: `t` for a person, `english` for a program or a log."""

    def __call__(self, text: str, /, **values: object) -> str: ...


def language(environ: Mapping[str, str] | None = None) -> str:
    """Give "zh" or "en": LC_ALL decides when it is set and not empty, else LANG."""
    env = os.environ if environ is None else environ
    return "zh" if (env.get("LC_ALL") or env.get("LANG") or "").lower().startswith("zh") else "en"


def t(text: str, /, **values: object) -> str:
    """Translate `text` and put the values in place of its `{names}`."""
    if language() == "zh":
        from core.locale_zh import CATALOGUE  # loaded only where it is read

        text = CATALOGUE.get(text, text)
    return text.format(**values) if values else text


def english(text: str, /, **values: object) -> str:
    """Put the values in place of the text's `{names}`, whatever the locale."""
    return text.format(**values) if values else text
