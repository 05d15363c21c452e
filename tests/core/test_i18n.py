"""Messages in two languages."""

from __future__ import annotations

import string
from pathlib import Path

import pytest

from core.i18n import language, t
from core.locale_zh import CATALOGUE

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "en"),
        ({"LANG": "zh_TW.UTF-8"}, "zh"),
        ({"LANG": "zh"}, "zh"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LC_ALL": "zh_TW.UTF-8", "LANG": "en_US.UTF-8"}, "zh"),
        ({"LC_ALL": "C", "LANG": "zh_TW.UTF-8"}, "en"),
        ({"LC_ALL": "", "LANG": "zh_TW.UTF-8"}, "zh"),
        ({"LC_ALL": "ZH_tw"}, "zh"),
        ({"LC_MESSAGES": "zh_TW"}, "en"),
    ],
)
def test_language(environ: dict[str, str], expected: str) -> None:
    """LC_ALL where it is set, else LANG (CONTRACT 4)."""
    assert language(environ) == expected


def test_translation_fills_in_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values go in after the translation and are not looked into themselves."""
    monkeypatch.setenv("LC_ALL", "zh_TW.UTF-8")
    assert t("see why: {command}", command="{x}") == "查看原因：{x}"
    assert t("not in the catalogue {n}", n=1) == "not in the catalogue 1"
    assert t("with {braces} and no values") == "with {braces} and no values"


def test_every_translation_has_the_same_values() -> None:
    """A name that is in one language only would be an error in the user's terminal."""

    def names(text: str) -> set[str | None]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}

    assert {key: names(key) for key in CATALOGUE} == {
        key: names(value) for key, value in CATALOGUE.items()
    }


def test_every_translation_is_used() -> None:
    """Each English text stands in the code: a changed message drops its translation loudly."""
    code = "".join(
        path.read_text() for folder in ("core", "cli") for path in (ROOT / folder).rglob("*.py")
        if not path.name.startswith("locale_zh")
    )  # fmt: skip
    assert [key for key in CATALOGUE if f'"{key}"' not in code] == []
