"""Broken requests, each with its status and the words of its message; the grid stays as it was.

SECURITY.md's item 14 and 19, and the "20 broken requests" of the work order: over real HTTP.
"""

from __future__ import annotations

import pytest
from fakes_web import Served

ADJUST = "/api/grid/adjust"
STOP = "/api/stop"

BROKEN: list[tuple[str, bytes, int, str]] = [
    (ADJUST, b"", 400, "no body"),
    (ADJUST, b"   \r\n ", 400, "no body"),
    (ADJUST, b"{", 400, "not JSON"),
    (ADJUST, b'{"grid_lower_price": 141,}', 400, "not JSON"),
    (ADJUST, b"{'grid_lower_price': 141}", 400, "not JSON"),
    (ADJUST, b'{"grid_lower_price": 141} extra', 400, "not JSON"),
    (ADJUST, b'{"grid_lower_price": 0141}', 400, "not JSON"),
    (ADJUST, b'\xef\xbb\xbf{"grid_lower_price": 141}', 400, "not JSON"),
    (ADJUST, b'{"grid_lower_price": "\xff"}', 400, "not UTF-8 (byte 22)"),
    (ADJUST, b"[1, 2]", 400, "was array, expected a JSON object"),
    (ADJUST, b"null", 400, "was null, expected a JSON object"),
    (ADJUST, b"7", 400, "was number, expected a JSON object"),
    (ADJUST, b'"text"', 400, "was text, expected a JSON object"),
    (ADJUST, b"{}", 400, "nothing to adjust"),
    (ADJUST, b'{"lots": "carry", "dry_run": true}', 400, "nothing to adjust"),
    (ADJUST, b'{"grid_lower_price": NaN}', 400, "NaN is not JSON"),
    (ADJUST, b'{"grid_lower_price": Infinity}', 400, "Infinity is not JSON"),
    (ADJUST, b'{"grid_lower_price": -Infinity}', 400, "-Infinity is not JSON"),
    (ADJUST, b'{"grid_lower_price": 1e400}', 400, "grid_lower_price: was 1E+400"),
    (ADJUST, b'{"grid_lower_price": 1e-400}', 400, "grid_lower_price: was 1E-400"),
    (ADJUST, b'{"grid_lower_price": 1e99999}', 400, "out of range"),
    (ADJUST, b'{"grid_lower_price": ' + b"9" * 5000 + b"}", 400, "out of range"),
    (ADJUST, b'{"grid_lower_price": "NaN"}', 400, "grid_lower_price: was 'NaN'"),
    (ADJUST, b'{"grid_lower_price": "Infinity"}', 400, "grid_lower_price: was 'Infinity'"),
    (ADJUST, b'{"grid_lower_price": "1e400"}', 400, "grid_lower_price: was '1e400'"),
    (ADJUST, b'{"grid_lower_price": "1_000"}', 400, "grid_lower_price: was '1_000'"),
    (ADJUST, b'{"grid_lower_price": " 141"}', 400, "grid_lower_price: was ' 141'"),
    (ADJUST, b'{"grid_lower_price": "141,5"}', 400, "expected a price such as"),
    (ADJUST, b'{"grid_lower_price": ""}', 400, "expected a price such as"),
    (ADJUST, '{"grid_lower_price": "１４１"}'.encode(), 400, "expected a price such as"),
    (ADJUST, b'{"grid_lower_price": 0}', 400, "expected a price above 0"),
    (ADJUST, b'{"grid_lower_price": -0.0}', 400, "expected a price above 0"),
    (ADJUST, b'{"grid_lower_price": -141}', 400, "grid_lower_price: was -141"),
    (ADJUST, b'{"grid_lower_price": true}', 400, "was boolean true"),
    (ADJUST, b'{"grid_lower_price": null}', 400, "was null"),
    (ADJUST, b'{"grid_lower_price": [141]}', 400, "was array [141]"),
    (ADJUST, b'{"grid_lower_price": {"a": 1}}', 400, "was object"),
    (ADJUST, b'{"grid_lower_price": 160, "grid_upper_price": 140}', 400, "was 160, expected less"),
    (ADJUST, b'{"grid_lower_price": 150, "grid_upper_price": 150}', 400, "expected less than"),
    (ADJUST, b'{"grid_lower_price": 170}', 400, "grid_lower_price: was 170"),
    (ADJUST, b'{"grid_num": 1}', 400, "grid_num: was 1, expected 2 to"),
    (ADJUST, b'{"grid_num": -5}', 400, "grid_num: was -5"),
    (ADJUST, b'{"grid_num": 1000000}', 400, "grid_num: was 1000000"),
    (ADJUST, b'{"grid_num": 20.0}', 400, "grid_num: was number 20.0, expected an integer"),
    (ADJUST, b'{"grid_num": "20"}', 400, "grid_num: was text '20'"),
    (ADJUST, b'{"grid_num": true}', 400, "grid_num: was boolean true"),
    (ADJUST, b'{"grid_num": 20, "lots": "sell"}', 400, "lots: was 'sell', expected one of carry"),
    (ADJUST, b'{"grid_num": 20, "lots": null}', 400, "lots: was null"),
    (ADJUST, b'{"grid_num": 20, "dry_run": "yes"}', 400, "dry_run: was text 'yes'"),
    (ADJUST, b'{"grid_num": 20, "dry_run": 1}', 400, "dry_run: was number 1"),
    (ADJUST, b'{"grid_num": 20, "grid_number": 21}', 400, "unknown field 'grid_number'"),
    (ADJUST, b'{"grid_num": 20, "\\u001b[31m": 1}', 400, "unknown field '\\x1b[31m'"),
    (ADJUST, b'{"grid_num": 20, "grid_num": 21}', 400, "field 'grid_num' is given twice"),
    (ADJUST, b'{"grid_num": 20, "a": {"b": 1, "b": 2}}', 400, "field 'b' is given twice"),
    (ADJUST, b'{"a":' * 9000 + b"1" + b"}" * 9000, 400, "nested too deeply"),
    (ADJUST, b"[" * 30_000, 400, "nested too deeply"),
    (STOP, b'{"keep_orders": "true"}', 400, "keep_orders: was text 'true'"),
    (STOP, b'{"force": true}', 400, "unknown field 'force'"),
    (STOP, b"[]", 400, "was array"),
    ("/api/pause", b'{"for": 60}', 400, "unknown field 'for': known are none"),
    ("/api/resume", b"{", 400, "not JSON"),
    ("/api/nothing", b"{}", 404, "no such route"),
    ("/api/status", b"{}", 405, "does not take this method"),
    ("/health", b"{}", 405, "does not take this method"),
    ("/api/grid/adjust/", b"{}", 404, "no such route"),
    ("/API/GRID/ADJUST", b"{}", 404, "no such route"),
]


@pytest.mark.parametrize(
    ("path", "body", "status", "words"), BROKEN, ids=[f"{i}" for i in range(len(BROKEN))]
)
def test_a_broken_request_is_refused_in_words_and_changes_nothing(
    shared: Served, path: str, body: bytes, status: int, words: str
) -> None:
    """FAILURES 35: it has its status, its message, no traceback; the grid is as before."""
    before = shared.bot()
    answer = shared.post(path, body)
    assert answer.status == status, answer.body
    assert answer.json["success"] is False
    assert words in answer.json["message"]
    assert b"Traceback" not in answer.body
    assert len(answer.body) < 1000
    assert shared.bot() == before


QUERIES: list[tuple[str, str]] = [
    ("/api/fills?limit=0", "limit: was '0', expected an integer 1 to 100000"),
    ("/api/fills?limit=100001", "limit: was '100001'"),
    ("/api/fills?limit=-1", "limit: was '-1'"),
    ("/api/fills?limit=ten", "limit: was 'ten'"),
    ("/api/fills?limit=1.5", "limit: was '1.5'"),
    ("/api/fills?limit=", "limit: was ''"),
    ("/api/fills?limit=%201", "limit: was ' 1'"),
    ("/api/fills?limit=1_0", "limit: was '1_0'"),
    ("/api/fills?limit=%D9%A1", "limit: was '\\u0661'"),
    ("/api/fills?limit=1&limit=2", "limit: was given 2 times"),
    ("/api/fills?limit=" + "9" * 400, "limit: was"),
    ("/api/pnl?before=0", "before: was '0'"),
    ("/api/pnl?before=x", "before: was 'x'"),
    ("/api/orders?before=99999999999999999999", "before: was"),
    ("/api/orders?status=closed", "status: was 'closed', expected open or all"),
]


@pytest.mark.parametrize(("path", "words"), QUERIES)
def test_a_bad_query_is_refused_in_words(shared: Served, path: str, words: str) -> None:
    """A number that is not one, or out of range, is a 400 that names it."""
    answer = shared.get(path)
    assert answer.status == 400
    assert words in answer.json["message"]


def test_a_fault_inside_is_a_500_without_its_traceback(served: Served) -> None:
    """What nobody foresaw goes to the log with its traceback, and to the client as one line."""
    served.bot.answer = RuntimeError("secret detail")
    answer = served.post(ADJUST, {"grid_num": 22})
    assert answer.status == 500
    assert answer.json == {
        "success": False,
        "message": "a fault inside the bot: its log has the details",
    }
    faults = [fields for level, event, fields in served.log.lines if event == "web_fault"]
    assert len(faults) == 1
    assert "secret detail" in str(faults[0]["traceback"])
    served.history.fault = RuntimeError("disk")
    assert served.get("/api/fills").status == 500
    assert served.get("/api/fills?limit=5000").status == 500
