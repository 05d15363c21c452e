"""The transport over real HTTP: what is tried again, what never, and what no error may hold."""

from __future__ import annotations

import json
import socket
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted_http import Answer, Scripted, Seen, scripted

from core.errors import (
    AuthError,
    ExchangeError,
    OutcomeUnknown,
    Rejected,
    RejectReason,
    Retryable,
)
from core.supervision import PROMISE_MAX_S
from exchanges import aster_wire, http_line, transport
from exchanges.aster_wire import LIMITS, HmacKeys
from exchanges.budget import PATIENCE_S, Budget, boot_time
from exchanges.transport import RestSession, Venue
from exchanges.wire import Call, Fields, load_json

KEY, SECRET = "k3y" + "0" * 61, "s3cret" + "f" * 58
TIME = aster_wire.public("/fapi/v1/time")
READ = aster_wire.query("/fapi/v1/openOrders", {"symbol": "SOLUSDT"}, weight=1)
WRITE = aster_wire.write("POST", "/fapi/v1/order", {"symbol": "SOLUSDT"}, orders=1)
SERVER_MS = 1_750_000_000_000


def venue(url: str) -> Venue:
    keys = HmacKeys(KEY, SECRET)
    return Venue(
        name="aster",
        base_url=url,
        build=lambda call, now_us: aster_wire.build(call, keys, now_us),
        read_error=aster_wire.read_error,
        time_call=TIME,
        read_time=lambda text: Fields("time", load_json(text, "time")).integer("serverTime"),
        weight_header=("X-MBX-USED-WEIGHT-1M", "weight", 2400),
    )


class World:
    """A scripted server and a session to it; `answers` are given in order to all but the time."""

    def __init__(self, server: Scripted, session: RestSession) -> None:
        self.server = server
        self.session = session
        self.answers: list[Answer] = []
        self.time = Answer(text=json.dumps({"serverTime": SERVER_MS}))

    def script(self, seen: Seen) -> Answer:
        if seen.path.endswith("/time"):
            return self.time
        return self.answers.pop(0) if self.answers else Answer(text="[]")

    @property
    def calls(self) -> list[Seen]:
        return [seen for seen in self.server.seen if not seen.path.endswith("/time")]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(transport, "READ_TIMEOUT_S", 0.3)
    monkeypatch.setattr(transport, "WRITE_TIMEOUT_S", 0.3)
    monkeypatch.setattr(transport, "SYNC_TIMEOUT_S", 0.3)
    monkeypatch.setattr(transport, "FAIL_FAST_S", 0.0)
    with scripted(lambda _: Answer()) as server:
        budget = Budget(tmp_path, host="h", account=KEY, limits=LIMITS)
        session = RestSession(venue(server.url), budget, sleep=lambda _: None)
        made = World(server, session)
        server.script = made.script
        yield made
        session.close()


def failed(world: World, call: Call) -> ExchangeError:
    """Send a call that fails; no key, no signature and no address is in what is raised."""
    with pytest.raises(ExchangeError) as caught:
        world.session.send(call)
    text = "".join(traceback.format_exception(caught.value))
    signatures = [seen.params["signature"] for seen in world.calls if "signature" in seen.params]
    for secret in (KEY, SECRET, "signature=", *signatures):
        assert secret not in text
    return caught.value


def test_every_attempt_is_signed_anew(world: World) -> None:
    """FAILURES 28: a read that is tried again carries a new timestamp and signature."""
    clock = world.session.server
    world.session.sleep = lambda _: clock.set(clock.now_ms() + 5000, boot_time())
    world.answers = [Answer(status=500), Answer(status=502, text="<html>"), Answer(text="[1]")]
    assert world.session.send(READ) == "[1]"
    stamps = [seen.params["timestamp"] for seen in world.calls]
    assert len(stamps) == 3
    for number, stamp in enumerate(stamps):
        assert int(stamp) >= SERVER_MS + 5000 * number, "an old stamp is refused after the pause"
    keys = HmacKeys(KEY, SECRET)
    for seen in world.calls:
        text, signature = seen.query.rsplit("&signature=", 1)
        assert keys.sign(text) == signature


def test_a_read_gives_up_after_a_few(world: World) -> None:
    """Three attempts, then the caller may come again later."""
    world.answers = [Answer(status=500)] * 9
    assert isinstance(failed(world, READ), Retryable)
    assert len(world.calls) == 3


@pytest.mark.parametrize("answer", [Answer(hang=True), Answer(cut=True), Answer(status=503)])
def test_a_write_is_never_sent_again(world: World, answer: Answer) -> None:
    """Whatever happened to it, an order leaves once; its fate is looked up."""
    world.session.now_ms()
    world.answers = [answer]
    assert isinstance(failed(world, WRITE), OutcomeUnknown)
    assert len(world.calls) == 1


@pytest.mark.parametrize("answer", [Answer(hang=True), Answer(cut=True)])
def test_a_read_without_an_answer_is_tried_again(world: World, answer: Answer) -> None:
    """Silence and a broken connection are the network's."""
    world.answers = [answer, Answer(text="[2]")]
    assert world.session.send(READ) == "[2]"


def test_a_write_that_never_left_is_retryable(world: World, tmp_path: Path) -> None:
    """No connection: nothing happened there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"  # bound, and nobody listens
        session = RestSession(venue(url), world.session.budget)
        session.server.set(SERVER_MS, session.clock())
        with pytest.raises(Retryable, match="no connection"):
            session.send(WRITE)


def test_a_refused_timestamp_is_mended_once(world: World) -> None:
    """FAILURES 27: it is fetched again, and the same order sent with a new stamp: once."""
    refused = Answer(status=400, text='{"code": -1021, "msg": "outside of the recvWindow"}')
    world.session.now_ms()
    world.time = Answer(text=json.dumps({"serverTime": SERVER_MS + 3_600_000}))
    world.answers = [refused, Answer(text='{"ok": 1}')]
    assert world.session.send(WRITE) == '{"ok": 1}'
    first, second = (int(seen.params["timestamp"]) for seen in world.calls)
    assert second - first > 3_500_000
    world.answers = [refused, refused]
    assert isinstance(failed(world, WRITE), Retryable)
    assert len(world.calls) == 4


def test_the_exchanges_time_is_asked_for_again_and_again(world: World) -> None:
    """FAILURES 27: not once at the start; our clock and theirs drift apart in days."""
    world.session.now_ms()
    world.session.send(READ)
    world.time = Answer(text=json.dumps({"serverTime": SERVER_MS + 3_600_000}))
    world.session.server.set(SERVER_MS, boot_time() - transport.RESYNC_S - 1)
    world.session.send(READ)
    first, second = (int(seen.params["timestamp"]) for seen in world.calls)
    assert first < SERVER_MS + 3_600_000 <= second


@pytest.mark.parametrize("answer", [Answer(status=500), Answer(text="soon"), Answer(hang=True)])
def test_nothing_signed_leaves_without_the_exchanges_time(world: World, answer: Answer) -> None:
    """A clock that cannot be corrected is refused, for reads and for orders."""
    world.time = answer
    error = failed(world, WRITE)
    assert isinstance(error, Retryable)
    assert "nothing signed is sent" in str(error)
    assert world.calls == []


def test_the_clock_is_never_ahead(world: World) -> None:
    """An answer's time counts as of its arrival: stamps of the future are refused."""
    assert SERVER_MS <= world.session.now_ms() < SERVER_MS + 30_000


@pytest.mark.parametrize(
    ("headers", "expected"), [({"Retry-After": "7"}, 7.0), ({}, aster_wire.THROTTLED_S)]
)
def test_429_is_not_pressed_and_holds_for_all(
    world: World, headers: dict[str, str], expected: float
) -> None:
    """FAILURES 26: one attempt; then no request of this machine leaves until the time is over."""
    world.answers = [Answer(status=429, text='{"code": -1003, "msg": "Too many"}', headers=headers)]
    error = failed(world, READ)
    assert isinstance(error, Retryable)
    assert error.retry_after_s == expected
    before = len(world.calls)
    again = failed(world, WRITE)
    assert isinstance(again, Retryable)
    assert 0 < again.retry_after_s <= expected
    assert len(world.calls) == before


def test_418_holds_until_the_ban_ends(world: World) -> None:
    """A ban names its end on the exchange's clock."""
    world.session.now_ms()
    until = world.session.now_ms() + 100_000
    text = json.dumps({"code": -1003, "msg": f"Way too many requests; IP banned until {until}."})
    world.answers = [Answer(status=418, text=text)]
    error = failed(world, READ)
    assert isinstance(error, Retryable)
    assert 60 < error.retry_after_s <= 100
    assert isinstance(failed(world, READ), Retryable)
    assert len(world.calls) == 1


def test_use_by_other_programs_is_seen(world: World) -> None:
    """The exchange counts all that comes from our address, and tells."""
    world.answers = [Answer(text="[]", headers={"X-MBX-USED-WEIGHT-1M": "2390"})]
    world.session.send(READ)
    assert {use.name: use.blocked_s > 0 for use in world.session.budget.use()}["weight"]


def test_refusals_keep_their_kind(world: World) -> None:
    """A refusal is an answer: it is neither tried again nor unknown."""
    world.answers = [Answer(status=401, text='{"code": -2015, "msg": "Invalid API-key"}')]
    assert isinstance(failed(world, READ), AuthError)
    world.answers = [Answer(status=400, text='{"code": -2019, "msg": "Margin is insufficient."}')]
    error = failed(world, WRITE)
    assert isinstance(error, Rejected)
    assert error.reason is RejectReason.MARGIN
    world.answers = [Answer(status=302, headers={"Location": "http://127.0.0.1:1/"})]
    assert isinstance(failed(world, READ), ExchangeError)
    assert len(world.calls) == 3


def test_several_writes_stop_at_the_first_silence(world: World) -> None:
    """The rest of a long list is not sent into a silence: Retryable, in its own place."""
    world.session.now_ms()
    world.answers = [Answer(hang=True)] * 100
    outcomes = world.session.send_many([WRITE] * 100)
    assert len(outcomes) == 100
    unknown = [o for o in outcomes if isinstance(o, OutcomeUnknown)]
    unsent = [o for o in outcomes if isinstance(o, Retryable)]
    assert len(unknown) == len(world.calls) <= transport.PARALLEL * 2
    assert len(unknown) + len(unsent) == 100


def test_several_writes_keep_their_places(world: World) -> None:
    """Outcomes stand in the order of the calls, refusals among them."""

    def script(seen: Seen) -> Answer:
        if seen.path.endswith("/time"):
            return world.time
        number = seen.params["n"]
        if number == "3":
            return Answer(status=400, text='{"code": -2011, "msg": "Unknown order sent."}')
        return Answer(text=number)

    world.server.script = script
    calls = [aster_wire.write("DELETE", "/fapi/v1/order", {"n": n}) for n in range(8)]
    outcomes = world.session.send_many(calls)
    assert [o if isinstance(o, str) else type(o).__name__ for o in outcomes] == [
        "0", "1", "2", "Rejected", "4", "5", "6", "7",
    ]  # fmt: skip


def test_a_dead_exchange_costs_its_time_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a read that failed, a hundred look-ups in a row do not stall the engine."""
    monkeypatch.setattr(transport, "FAIL_FAST_S", 60.0)
    world.session.now_ms()
    world.answers = [Answer(cut=True)] * 3
    assert isinstance(failed(world, READ), Retryable)
    before = len(world.calls)
    for _ in range(100):
        assert isinstance(failed(world, READ), Retryable)
    assert len(world.calls) == before


def test_every_wait_is_told_to_who_waits(world: World) -> None:
    """Each attempt, and the time first: beforehand how long it may last, then that it is over."""
    told: list[float] = []
    world.session.on_wait = told.append
    world.answers = [Answer(cut=True), Answer(status=500), Answer(text="[]")]
    world.session.send(READ)
    longest = transport._longest_s(transport.READ_TIMEOUT_S)
    assert told == [transport._SYNC_LONGEST_S, 0.0, *[longest, 0.0] * 3]


@pytest.mark.parametrize("timeout_s", [transport.READ_TIMEOUT_S, transport.WRITE_TIMEOUT_S])
def test_a_wait_is_announced_longer_than_its_time_outs(timeout_s: float) -> None:
    """Its turn in the budget, its connection, its answer with all that it may be late."""
    bound = PATIENCE_S + transport.CONNECT_TIMEOUT_S + 3 * timeout_s
    assert bound < transport._longest_s(timeout_s) < PROMISE_MAX_S / 4


def test_single_requests_side_by_side_are_one_wait_after_another(world: World) -> None:
    """Threads of ours send them; the caller's own says each time that it waits."""
    told: list[tuple[str, float]] = []
    world.session.on_wait = lambda s: told.append((threading.current_thread().name, s))
    world.answers = [Answer(text="[]")] * 7
    assert len(world.session.send_many([WRITE] * 7)) == 7
    own = [s for name, s in told if name == threading.current_thread().name]
    assert own[1::2] == [0.0] * 7
    assert all(0 < s < PROMISE_MAX_S for s in own[::2])


def test_an_endless_answer_is_no_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply larger than any documented one is cut off."""
    monkeypatch.setattr(http_line, "MAX_REPLY", 1000)
    world.answers = [Answer(text="x" * 5000)] * 3
    assert isinstance(failed(world, READ), Retryable)
    world.answers = [Answer(text="x" * 5000)]
    assert isinstance(failed(world, WRITE), OutcomeUnknown)


def test_netrc_adds_nothing(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No password of the user's is sent to an exchange."""
    (tmp_path / ".netrc").write_text("default login me password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    world.session.send(READ)
    assert "Authorization" not in world.calls[0].headers


def test_the_request_is_sent_as_it_was_signed(world: World) -> None:
    """Odd characters in a query arrive byte for byte."""
    call = aster_wire.query("/fapi/v1/order", {"origClientOrderId": "a:b/c_d"}, weight=1)
    world.session.send(call)
    seen = world.calls[0]
    text, signature = seen.query.rsplit("&signature=", 1)
    assert "a%3Ab%2Fc_d" in text
    assert HmacKeys(KEY, SECRET).sign(text) == signature
