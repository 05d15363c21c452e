"""Secrets and control characters: what may leave the process as text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import masking
from core.masking import escape_controls, is_secret_name, json_line, mask_text, mask_value
from core.model import Secret

FAKE = "fk3S9aQ0zz8LwPq"

LEAKS = [
    f"https://fapi.example/fapi/v1/order?symbol=SOL&signature={FAKE}&timestamp=1",
    f"/wapi?apiKey={FAKE}",
    f"wss://x/ws?listenKey={FAKE}",
    f"signature%3D{FAKE}%26x%3D1",
    f"{{'X-API-Key': '{FAKE}', 'X-Window': '5000'}}",
    f'{{"secret_key": "{FAKE}", "x": 2}}',
    f'{{\\"api_key\\": \\"{FAKE}\\"}}',
    f'{{"password": "quo\\"ted{FAKE}"}}',
    f"X-MBX-APIKEY: {FAKE}{FAKE}",
    f"Authorization: Bearer {FAKE}",
    f"authorization=Basic {FAKE}==",
    f"BACKPACK_SECRET={FAKE}",
    f"BACKPACK_KEY='{FAKE} {FAKE}'",
    f"export ASTER_API_KEY = {FAKE}",
    f"https://user:{FAKE}@proxy.example:8080/x",
    f'ConnectionError(MaxRetryError("url: /api?token={FAKE} (Caused by …)"))',
    f'{{"secret_key": "{FAKE} cut off',
    f"passphrase={FAKE};next",
    f"WEB_TOKEN={FAKE}\nsecond line",
]

HARMLESS = [
    "config/active/x.json: exchange_config.api_key: is missing; set BACKPACK_KEY",
    "strategy_config.grid_num: was 1, expected an integer >= 2",
    "token: missing",
    "order sol-12 filled: price=150.00 quantity=0.1",
    "http://127.0.0.1:5001/api/status?limit=5",
    "key=value",
    "",
]


@pytest.mark.parametrize("text", LEAKS)
def test_a_secret_in_free_text_is_masked(text: str) -> None:
    """Query strings, headers, dumps of mappings, addresses, environment lines."""
    masked = mask_text(text)
    assert FAKE not in masked
    assert "***" in masked


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text_is_left_alone(text: str) -> None:
    """Messages that only name a secret stay readable."""
    assert mask_text(text) == text


@pytest.mark.parametrize(
    "name",
    [
        "api_key", "apiKey", "API-KEY", "secret", "secret_key", "client_secret", "password",
        "passwd", "passphrase", "token", "access_token", "WEB_TOKEN", "signature", "private_key",
        "Authorization", "Cookie", "listenKey", "BACKPACK_KEY", "credentials",
    ],
)  # fmt: skip
def test_a_field_of_a_secret_name_is_masked(name: str) -> None:
    """Whatever its value is, at whatever depth."""
    assert is_secret_name(name)
    assert mask_value({"a": [{name: FAKE}]}) == {"a": [{name: "***"}]}
    assert mask_value({name: {"nested": FAKE}}) == {name: "***"}
    assert mask_value({name: None, "n": True}) == {name: None, "n": True}


@pytest.mark.parametrize("name", ["client_order_id", "symbol", "price", "keys", "monkey", "event"])
def test_other_fields_are_shown(name: str) -> None:
    """A name that only looks a little like one is no secret."""
    assert mask_value({name: "x"}) == {name: "x"}


def test_a_secret_is_masked_by_type() -> None:
    """Wherever the value stands and whatever its field is called."""
    line = json_line({"a": Secret(FAKE), "b": [Secret(FAKE)], "c": f"{Secret(FAKE)}"})
    assert FAKE.encode() not in line


def test_a_remembered_secret_is_masked_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """An announced secret is masked in text that nothing else would give away."""
    monkeypatch.setattr(masking, "_remembered", set())
    masking.remember("correct horse battery")
    masking.remember("short")

    assert mask_text("it said: correct horse battery, short") == "it said: ***, short"


def test_masking_hostile_text_takes_no_time() -> None:
    """Long words, quotes and half-matches stay linear: 1 MB in seconds of work, not in minutes."""
    import time

    hostile = ["a" * 16_000, "=secret" * 3000, "x-" * 8000 + "=", "'" * 16_000 + ":"]
    hostile += ["api_key" * 2000 + "=", "basic " * 3000, "://" * 5000, "token:" * 3000]
    began = time.process_time()
    for text in hostile:
        mask_text(text * 8)
    assert time.process_time() - began < 10


CONTROLS = [
    ("\x1b[2Jgone", "\\x1b[2Jgone"),
    ("a\nb\r\tc", "a\\x0ab\\x0d\\x09c"),
    ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
    ("pay\u202eload", "pay\\u202eload"),
    ("x\u2028y", "x\\u2028y"),
    ("half \ud800", "half \\ud800"),
    ("實例 🟢 ±", "實例 🟢 ±"),
]


@pytest.mark.parametrize(("text", "shown"), CONTROLS)
def test_control_characters_become_visible(text: str, shown: str) -> None:
    """Nothing from outside moves the cursor, splits a line or turns the text around."""
    assert escape_controls(text) == shown


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "value",
    [
        float("nan"), float("inf"), b"\xff\x00", Unprintable(), {1, 2}, {"a": {"b": Unprintable()}},
        "x" * 100_000, "\ud800", "\x1b\n\u2028", 10**400, {3: 4}, ("a", None), 1e-400,
    ],
)  # fmt: skip
def test_a_line_always_parses(value: object) -> None:
    """Whatever is logged, the line is one JSON object of bounded size."""
    line = json_line({"event": "x", "value": value})
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert len(line) < 40_000
    assert json.loads(line)["event"] == "x"


def test_a_value_that_contains_itself_ends() -> None:
    """Recursion is cut, not followed."""
    endless: list[object] = []
    endless.append(endless)
    assert json.loads(json_line({"event": "x", "value": endless}))["event"] == "x"


@pytest.mark.slow
@given(st.dictionaries(st.text(), st.text() | st.binary() | st.floats() | st.integers()))
def test_every_line_is_one_json_object(fields: dict[str, object]) -> None:
    """For any fields: one line, and no control character in it but its end."""
    line = json_line(fields)
    assert isinstance(json.loads(line), dict)
    assert not any(byte < 0x20 for byte in line[:-1])
