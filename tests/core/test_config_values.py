"""Numbers from text, `${NAME}`, and the kinds of values a config holds."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config import decode
from core.config_text import (
    BrokenReference,
    Findings,
    MissingVariable,
    cleaned,
    expand_text,
    is_truthy,
    parse_boolean,
    parse_decimal,
    parse_integer,
    path_text,
    references,
    value_text,
)
from core.config_values import is_loopback

numbers = st.decimals(
    min_value=Decimal("-1e18"), max_value=Decimal("1e18"), allow_nan=False, places=9
).filter(lambda number: len(number.as_tuple().digits) <= 28)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
plain = st.text(st.characters(codec="utf-8")).filter(lambda text: "${" not in text)


@given(numbers)
def test_a_number_is_the_decimal_of_its_text(number: Decimal) -> None:
    """As a JSON number or as a string, a number is read exactly, never through a float."""
    text = format(number, "f")
    document = decode(f'{{"a": {text}, "b": "{text}"}}', Findings("x"))
    assert parse_decimal(document["a"]) == Decimal(text)
    assert parse_decimal(document["b"]) == Decimal(text)


@given(st.integers(-(10**17), 10**17))
def test_a_whole_number_stays_whole(number: int) -> None:
    """Integers as JSON, as text and with a zero fraction are the same integer."""
    assert parse_integer(number) == number
    assert parse_integer(str(number)) == number
    assert parse_integer(Decimal(f"{number}.0")) == number


@given(st.text())
def test_any_text_is_a_number_or_refused(text: str) -> None:
    """Whatever the text, the outcome is a finite Decimal of usable size or a ValueError."""
    try:
        number = parse_decimal(text)
    except ValueError:
        return
    assert number.is_finite()
    assert number == 0 or abs(number.adjusted()) <= 18


@pytest.mark.parametrize(
    "value",
    [True, None, [], {}, "", " ", "1e400", "-1e400", "1e999999999", "NaN", "Infinity", "0x10",
     "1_000", "１２", "1,5", "1.2.3", "--1", Decimal("1e400"), Decimal("NaN"), "9" * 29, 10**40],
    ids=repr,
)  # fmt: skip
def test_what_is_no_number(value: object) -> None:
    """Booleans, other scripts' digits, separators and absurd sizes are refused."""
    with pytest.raises(ValueError, match="number"):
        parse_decimal(value)


def test_booleans_also_come_as_text() -> None:
    """A variable holds text, so "true" is true; numbers are no booleans."""
    assert parse_boolean("True") is True
    assert parse_boolean(False) is False
    for value in (1, 0, "yes", "", None):
        with pytest.raises(ValueError, match="true or false"):
            parse_boolean(value)


@pytest.mark.parametrize("text", ["1", "true", "YES", "on", "2", "debug"])
def test_a_switch_that_is_on(text: str) -> None:
    """Anything but the usual words for off is on: a debugger is refused when in doubt."""
    assert is_truthy(text)
    assert not any(is_truthy(off) for off in ("", " ", "0", "false", "No", "OFF"))


# The expander ---------------------------------------------------------------------------------


@given(plain)
def test_text_without_references_is_unchanged(text: str) -> None:
    """Dollars and braces alone mean nothing."""
    assert expand_text(text, {}) == text


@given(plain.filter(lambda text: not text.endswith("$")), names, st.text(), plain)
def test_a_reference_becomes_its_value_once(before: str, name: str, value: str, after: str) -> None:
    """A value is put in as it is, also when it looks like a reference itself."""
    assert expand_text(f"{before}${{{name}}}{after}", {name: value}) == before + value + after


@given(names, st.text().filter(lambda text: "}" not in text))
def test_a_default_stands_in_for_unset_and_empty(name: str, default: str) -> None:
    """As in a shell, `:-` covers a variable that is unset or empty."""
    reference = f"${{{name}:-{default}}}"
    assert expand_text(reference, {}) == default
    assert expand_text(reference, {name: ""}) == default
    assert expand_text(reference, {name: "set"}) == "set"
    assert references(reference) == (name,)


@given(names)
def test_a_missing_variable_is_named(name: str) -> None:
    """Without a default, an unset variable is an error; an empty one is empty."""
    with pytest.raises(MissingVariable) as caught:
        expand_text(f"x${{{name}}}", {})
    assert caught.value.name == name
    assert expand_text(f"x${{{name}}}", {name: ""}) == "x"


@pytest.mark.parametrize("text", ["${", "${}", "${1A}", "${A", "${A:b}", "${A B}", "x${A-b}"])
def test_a_broken_reference_is_an_error(text: str) -> None:
    """Anything that begins like a reference and is none is refused, not passed on."""
    with pytest.raises(BrokenReference):
        expand_text(text, {"A": "x"})


def test_a_doubled_dollar_is_a_plain_one() -> None:
    """`$${A}` is the text `${A}`."""
    assert expand_text("$${A} ${A}", {"A": "x"}) == "${A} x"
    assert expand_text("$A $ {A}", {"A": "x"}) == "$A $ {A}"


# How things are shown -------------------------------------------------------------------------


def test_values_are_shown_short_and_without_secrets() -> None:
    """A value is shown as JSON, cut; a secret key's literal is masked, a reference is not."""
    assert value_text("a\nb") == '"a\\nb"'
    assert len(value_text("x" * 500)) <= 72
    assert value_text("sk_1", ("exchange_config", "api_key")) == "***"
    assert value_text("${KEY}", ("exchange_config", "api_key")) == '"${KEY}"'
    assert value_text("x", ("environment", "WEB_TOKEN")) == "***"
    assert value_text(Decimal("1.50")) == "1.50"
    assert value_text(None) == "null"


def test_paths_are_shown_with_odd_keys_escaped() -> None:
    """A key with control characters can't draw on a terminal."""
    assert path_text(("a", "b", 1)) == "a.b[1]"
    assert path_text(("a", "\x1b[31m")) == 'a["\\u001b[31m"]'
    assert path_text(()) == "$"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_json_comes_through_unchanged(value: object) -> None:
    """Decoding and cleaning change nothing of an ordinary document."""
    findings = Findings("x")
    assert cleaned(decode(json.dumps(value), findings), findings, []) == value
    assert findings.faults == []


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("localhost.evil.com", False),
     ("127.0.0.1.evil.com", False), ("", False)],
)  # fmt: skip
def test_loopback(host: str, expected: bool) -> None:
    """Only this machine's own addresses are loopback, whatever a name looks like."""
    assert is_loopback(host) is expected
